"""Floating-point operations of a forward pass, counted from the settings."""


def dense_flops(tokens, inputs, outputs):
    """Of tokens x inputs times inputs x outputs: a multiplication and an addition each."""
    return 2 * tokens * inputs * outputs


def encoder_flops(encoder, tokens, kept=1.0):
    """Of one sequence through an Encoder.

    Counts matrix products only, each multiply-add as two operations: the four projections of attention, scores and weighted
    sum, the FFN or the K experts of each token, and the router where a block makes a routing of its own. Rows that experts
    compute for nobody, where their groups are rounded up or of static size, do not count.

    Args:
      encoder: a widenet.Encoder.
      tokens: length of the sequence.
      kept: the share of assignments that experts compute; the others are dropped.
    """
    width = encoder.width
    attention = 4 * dense_flops(tokens, width, width) + 2 * dense_flops(tokens, width, tokens)
    ffn = 2 * dense_flops(tokens, width, encoder.ffn_dim)
    expert_dim = encoder.ffn_dim if encoder.expert_dim is None else encoder.expert_dim
    experts = kept * 2 * dense_flops(tokens * encoder.top_k, width, expert_dim)
    routings = len({block.routing for block in encoder.blocks if block.is_moe})
    router = dense_flops(tokens, width, encoder.num_experts)
    return sum(attention + (experts if block.is_moe else ffn) for block in encoder.blocks) + routings * router

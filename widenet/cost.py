"""What an encoder amounts to, counted from its settings: instances of each component, and floating-point operations."""


def instances(encoder):
    """The instances of each component that an Encoder's blocks use, such as "1 attention, 1 MoE, 12 norms for 12 blocks"."""
    parts = {
        "attention": len(encoder.attentions),
        "FFN": len(encoder.dense_layers),
        "MoE": len(encoder.moe_layers),
        "norms": encoder.attention_norm.depth,
    }
    return ", ".join(f"{count} {part}" for part, count in parts.items() if count) + f" for {encoder.depth} blocks"


def dense_flops(tokens, inputs, outputs):
    """Operations of the product of [tokens, inputs] and [inputs, outputs]; each multiply-add counts as two."""
    return 2 * tokens * inputs * outputs


def encoder_flops(encoder, tokens, kept=1.0):
    """Operations of one sequence's forward pass through an Encoder.

    Counts matrix products only: the four projections of attention, its scores and its weighted sum, the FFN or the K experts of
    each token, and the router in every block that makes a routing. Rows that pad the experts' groups do not count.

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

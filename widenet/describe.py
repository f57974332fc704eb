"""What a deployment comes to, in words."""


def instances(encoder):
    """How many instances of each component the blocks of an Encoder use, such as "1 attention, 1 MoE, 12 norms for 12 blocks"."""
    parts = {
        "attention": len(encoder.attentions),
        "FFN": len(encoder.dense_layers),
        "MoE": len(encoder.moe_layers),
        "norms": encoder.attention_norm.depth,
    }
    return ", ".join(f"{count} {part}" for part, count in parts.items() if count) + f" for {encoder.depth} blocks"

"""The rows of the paper's ablations on ImageNet-1K.

Command: that of vision/configs/imagenet.py, with --config=vision/configs/imagenet_ablation.py:ROW
Rows: the keys of ROWS below; experts_N is WideNet-B/16 with N experts and top-2 routing (top-1 for N = 1).
Data and cost: those of vision/configs/imagenet.py. Not run here.
Accuracy: see the paper's table of ablations; widenet_l16_12_blocks has 78.2 top-1 there.
"""

from vision.recipes import ABLATIONS, choose, imagenet_recipe

ROWS = {
    "shared_norms_b16": ("widenet_b16", ABLATIONS["shared_norms"]),
    "no_moe_b16": ("widenet_b16", ABLATIONS["no_moe"]),
    "no_moe_l16": ("widenet_l16", ABLATIONS["no_moe"]),
    "no_moe_h16": ("widenet_h16", ABLATIONS["no_moe"]),
    "no_sharing_b16": ("widenet_b16", ABLATIONS["no_sharing"]),
    "no_sharing_l16": ("widenet_l16", {**ABLATIONS["no_sharing"], "moe_blocks": 4}),
    "widenet_l16_12_blocks": ("widenet_l16", dict(depth=12)),
    "shared_vit_l16": ("vit_l16", dict(attention_groups=1, ffn_groups=1, norm_groups=1)),
    "shared_vit_l16_wide": ("vit_l16", dict(attention_groups=1, ffn_groups=1, norm_groups=1, ffn_dim=8192)),
    **{f"experts_{n}": ("widenet_b16", dict(num_experts=n, top_k=min(n, 2))) for n in (1, 2, 4, 8)},
    **{f"routing_groups_{n}": ("widenet_b16", dict(routing_groups=n)) for n in (1, 2, 3, 4, 6, 12)},
}


def get_config(row="shared_norms_b16"):
    """The recipe; `row` is a key of ROWS."""
    model, overrides = choose(row, ROWS, "row")
    return imagenet_recipe(model, **overrides)

"""Which weights are shared over depth: the one idea of this package, and the models as rows of one table."""

import dataclasses
from typing import Any, Literal, NamedTuple

from widenet.checks import check_choice, check_count, refuse
from widenet.layer import register

GROUP_SETTINGS = ("attention_groups", "ffn_groups", "norm_groups", "routing_groups")


class Block(NamedTuple):
    """What one block of an encoder uses.

    Attributes:
      attention: index of its self-attention.
      ffn: index of its feed-forward layer among the dense ones, or of its MoE layer among the MoE layers.
      norm: index of its norms in their banks.
      routing: its routing group.
      is_moe: whether its feed-forward layer is an MoE layer.
    """

    attention: int
    ffn: int
    norm: int
    routing: int
    is_moe: bool


@register
@dataclasses.dataclass(frozen=True)
class Deployment:
    """A parameter deployment of a transformer encoder; the defaults are WideNet's for images.

    For a component with g groups, block i of L uses instance i * g // L: g = 1 shares one over all blocks, g = L (or None)
    gives each block its own, anything between shares in runs. Where dense and MoE blocks fall into one FFN group, each kind has
    its own instance.

    Attributes:
      attention_groups: instances of self-attention.
      ffn_groups: instances of the feed-forward layer or the MoE layer (router included).
      norm_groups: instances of each block's two layer norms; a final norm is never shared.
      routing_groups: routings; the blocks of one group reuse the routing of its first MoE block (the paper's G).
      moe_blocks: the blocks whose FFN is an MoE: "all", the number of last ones, or a tuple of block indices.
      norm_position: "pre" (ViT: before attention and FFN, and a final norm) or "post" (BERT: after each residual sum).

    Raises:
      ValueError: at construction, for a value that is wrong at any depth; in `blocks`, for one that is wrong at this depth.
    """

    attention_groups: int | None = 1
    ffn_groups: int | None = 1
    norm_groups: int | None = None
    routing_groups: int | None = None
    moe_blocks: Literal["all"] | int | tuple[int, ...] = "all"
    norm_position: Literal["pre", "post"] = "pre"

    def __post_init__(self):
        for setting in GROUP_SETTINGS:
            if getattr(self, setting) is not None:
                check_count(setting, getattr(self, setting), why=", or None for one a block")
        if isinstance(self.moe_blocks, (tuple, list)):
            for block in self.moe_blocks:
                check_count("moe_blocks", block, minimum=0, why=" where it is a tuple of block indices")
            object.__setattr__(self, "moe_blocks", tuple(sorted(set(self.moe_blocks))))
        elif self.moe_blocks != "all":
            check_count("moe_blocks", self.moe_blocks, minimum=0, why=', "all" or a tuple of block indices')
        check_choice("norm_position", self.norm_position, ("pre", "post"))

    def blocks(self, depth: int) -> tuple[Block, ...]:
        """What each of `depth` blocks uses, a tuple of Blocks.

        Raises:
          ValueError: more groups or MoE blocks than blocks, or a block index outside the depth.
        """
        check_count("depth", depth)
        why = f" (depth={depth}), or None for one a block"
        groups = {}
        for setting in GROUP_SETTINGS:
            given = getattr(self, setting)
            groups[setting] = depth if given is None else given
            check_count(setting, groups[setting], maximum=depth, why=why)
        moe_blocks = self._moe_block_indices(depth)
        blocks = []
        seen = {True: [], False: []}  # the FFN groups that have an MoE layer, and those that have a dense one
        for i in range(depth):
            attention, ffn, norm, routing = (i * groups[setting] // depth for setting in GROUP_SETTINGS)
            is_moe = i in moe_blocks
            if ffn not in seen[is_moe]:
                seen[is_moe].append(ffn)
            blocks.append(Block(attention, seen[is_moe].index(ffn), norm, routing, is_moe))
        return tuple(blocks)

    def _moe_block_indices(self, depth):
        if self.moe_blocks == "all":
            return range(depth)
        if isinstance(self.moe_blocks, tuple):
            if any(block >= depth for block in self.moe_blocks):
                refuse("moe_blocks", self.moe_blocks, f"block indices from 0 to {depth - 1} (depth={depth})")
            return self.moe_blocks
        check_count("moe_blocks", self.moe_blocks, minimum=0, maximum=depth, why=f" (depth={depth})")
        return range(depth - self.moe_blocks, depth)

    def get_config(self) -> dict[str, Any]:
        config = dataclasses.asdict(self)
        return {**config, "moe_blocks": list(self.moe_blocks) if isinstance(self.moe_blocks, tuple) else self.moe_blocks}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Deployment":
        return cls(**config)


_ONE_A_BLOCK = dict(attention_groups=None, ffn_groups=None, norm_groups=None, routing_groups=None)

# The models by name. WideNet for text is that for images with norm_position="post".
DEPLOYMENTS = {
    "vit": Deployment(**_ONE_A_BLOCK, moe_blocks=0),
    "vit_moe": Deployment(**_ONE_A_BLOCK, moe_blocks=2),
    "widenet": Deployment(attention_groups=1, ffn_groups=1, moe_blocks="all"),
    "bert": Deployment(**_ONE_A_BLOCK, moe_blocks=0, norm_position="post"),
    "albert": Deployment(attention_groups=1, ffn_groups=1, norm_groups=1, moe_blocks=0, norm_position="post"),
}

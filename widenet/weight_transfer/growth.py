"""Grows a model with experts out of a dense one of the same depth and width, whose function it begins with.

Axes as in widenet.routing: experts E, choices K, width D. For each MoE layer of the grown model, "child", what the blocks that
use it have in the dense one, "parent", decides:

- One FFN: all experts are copies of it, and the router's kernel is 0, so that all gates are equal. With `renormalize` the K gates
  are 1/K each, and MoE(x) = sum_i g_i(x) e_i(x) (the paper's section "Conditional Computation with MoE") is the FFN's output.
  Without it they are 1/E each, and kernel_out and bias_out are multiplied by E / K. Noise on the logits (the paper's section
  "Routing") then sends tokens to different experts, which so become different.
- Several FFNs: each expert is one of them, and the router is fitted to know a block from its input (block_router.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from widenet.checks import check_count, refuse
from widenet.weight_transfer.block_router import BlockRouting, RouterFit, measure
from widenet.weight_transfer.layers import Row, full_names, shapes, split_names, transfer_parts, weights_by_name
from widenet.weight_transfer.mapping import format_ranges
from widenet.weight_transfer.model import assign_weights

# Settings of the encoder that decide about its function, besides its deployment and its experts.
SAME = ("depth", "width", "heads", "activation", "norm_epsilon")


class Growth(NamedTuple):
    """What became of a model's weights when it was grown, and how near it is to the one that it was grown from.

    Attributes:
      rows: list of Rows, in the order of the model, then the layers that only the parent has.
      notes: list of sentences: what a training run has to know.
      own_share: of each block with a fitted router, the share of held-out tokens that go to the expert that it is to use, a list
        of floats; None where no router was fitted.
      unexplained: of each block, the share of the variance of the parent's outputs that the child's leave unexplained on held-out
        tokens, a list of floats; None where no router was fitted.
    """

    rows: list
    notes: list
    own_share: list | None
    unexplained: list | None


class _Plan(NamedTuple):
    """Which layers of the parent's encoder those of the child's take.

    Attributes:
      attentions: {instance of the child: that of the parent}, and so for `ffns` and `norms`.
      experts: {MoE layer of the child: tuple of the parent's FFNs that its experts take}; equal ones for copies.
      fitted: list of BlockRoutings, of the MoE layers whose experts differ.
    """

    attentions: dict
    ffns: dict
    norms: dict
    experts: dict
    fitted: list


def grow_model(
    child: tf.keras.Model,
    parent: tf.keras.Model,
    *,
    experts: Sequence[int] | None = None,
    attention: Sequence[int] | None = None,
    inputs: Iterable[Any] | None = None,
    special: Mapping[str, Callable[..., Any]] | None = None,
) -> Growth:
    """Gives a model with experts the weights of a dense one, so that it computes the same function or begins near it.

    Outside training it computes the parent's function of all real tokens if every instance of the child's encoder is used by
    blocks that share that instance in the parent: ViT to ViT-MoE, BERT to experts in some or all blocks, ALBERT to WideNet, whose
    norm becomes all individual ones. In float32 the outputs are the very same numbers where K is a power of two and, without
    `renormalize`, E too: E / K and 1 / E are then exact. Otherwise they are 1e-6 of their size apart. (A matrix product may add
    in another order if it has another number of rows or, with wider experts, of columns.) At padding the experts give zeros, the
    FFN does not. In training, with noise and nothing dropped, the outputs are 1e-6 apart with `renormalize`; without it, noise
    lifts the K gates, whose sum the notes tell.

    Where blocks of the child share what they do not share in the parent, an attention is that of one block, and of the FFNs each
    becomes an expert. A linear router without a bias is fitted to the inputs by ridge regression, so that it knows a block from
    its input. With K = 1 and without `renormalize` the function is nearest to the parent's, and the loss trains the router, too.

    Args:
      child: a built model with an Encoder called "encoder", its weights under their full names; its weights are assigned.
      parent: the dense model, with all its weights.
      experts: blocks of the parent, the first is 0, whose FFNs become the experts of each MoE layer whose blocks have several: E
        for each such layer, in order. None spreads them evenly over the layer's blocks.
      attention: the block of the parent that each attention of the child is taken from, one for each attention, in order; it must
        be a block that uses that attention. None takes the middle one.
      inputs: batches of inputs, as both models take them; read only if a router is fitted.
      special: as in widenet.weight_transfer.transfer_parts, for layers other than the encoder; those that it does not name are
        taken if all shapes agree.

    Returns:
      A Growth.

    Raises:
      ValueError: two models of which one cannot be grown out of the other, or that could not learn, naming the setting; then
        nothing is changed.
    """
    for whose, model in (("child", child), ("parent", parent)):
        if "attention_0" in split_names(weights_by_name(model)):
            raise ValueError(f"{whose}: its weights must have their full names, which loading a .keras file does not keep")
    encoder = child.get_layer("encoder")
    plan = _plan(encoder, parent.get_layer("encoder"), experts, attention)
    fit = RouterFit(parent, plan.fitted, inputs) if plan.fitted else None
    kernels = fit.kernels() if fit else {}

    def grow(name, target, given):
        return _grow_encoder(encoder, plan, kernels, split_names(given), split_names(target))

    weights = {name: weight.numpy() for name, weight in weights_by_name(parent).items()}
    values, rows = transfer_parts("", weights_by_name(child), weights, {**(special or {}), encoder.name: grow})
    assign_weights(child, values)
    own_share = unexplained = None
    if fit:
        fit.add(child)
        for i, kernel in fit.kernels().items():
            encoder.moe_layers[i].router.kernel.assign(kernel)
        own_share, unexplained = measure(child, parent, fit.targets, fit.held_out)
    return Growth(rows, _notes(encoder, plan), own_share, unexplained)


def _plan(child, parent, experts, attention):
    """The _Plan of two Encoders. Raises ValueError for what `grow_model` refuses."""
    for setting in SAME:
        own, theirs = getattr(child, setting), getattr(parent, setting)
        if own != theirs:
            refuse(setting, own, f"{theirs!r}, as of the model that it grows out of")
    position = parent.deployment.norm_position
    if child.deployment.norm_position != position:
        refuse("norm_position", child.deployment.norm_position, f"{position!r}, as of the model that it grows out of")
    moe = [b for b, block in enumerate(parent.blocks) if block.is_moe]
    if moe:
        where = f"block{'s' if len(moe) > 1 else ''} {format_ranges(moe)}"
        raise ValueError(f"The model to grow is not allowed: it must be dense (moe_blocks=0), and it has experts in {where}")
    if not child.moe_layers:
        refuse("moe_blocks", child.deployment.moe_blocks, "'all', the number of last blocks with experts, or their indices")

    norms = {i: _only(child, parent, "norm", blocks) for i, blocks in _users(child, "norm").items()}
    dense = {i: _only(child, parent, "ffn", blocks) for i, blocks in _users(child, "ffn", is_moe=False).items()}
    if dense and child.ffn_dim != parent.ffn_dim:
        refuse("ffn_dim", child.ffn_dim, f"{parent.ffn_dim}, that of the dense blocks of the model that it grows out of")
    if child.moe_layers[0].hidden_dim < parent.ffn_dim:
        name = "ffn_dim" if child.expert_dim is None else "expert_dim"
        refuse(name, child.moe_layers[0].hidden_dim, f"at least {parent.ffn_dim}, the ffn_dim of the model that it grows out of")
    attentions = _choose_attentions(child, parent, attention)
    chosen, fitted = _choose_experts(child, parent, experts)
    if len(fitted) < len(child.moe_layers):
        _check_copies(child)
    if fitted:
        _check_fitted(child, fitted)
    return _Plan(attentions, dense, norms, chosen, fitted)


def _users(encoder, kind, is_moe=None):
    """{instance: blocks that use it} of a field of widenet.deployment.Block; for "ffn", of MoE blocks or of the others."""
    users = {}
    for b, block in enumerate(encoder.blocks):
        if is_moe in (None, block.is_moe):
            users.setdefault(getattr(block, kind), []).append(b)
    return users


def _only(child, parent, kind, blocks):
    """The one instance that some blocks use in the parent. Raises ValueError if they use several."""
    used = {getattr(parent.blocks[b], kind) for b in blocks}
    if len(used) > 1:
        setting = f"{kind}_groups"
        what = {"norm": "norms", "ffn": "FFNs, which they can share as experts only"}[kind]
        refuse(
            setting,
            getattr(child.deployment, setting),
            f"None, or such that blocks {format_ranges(blocks)} share nothing: in the model to grow they have their own {what}",
        )
    return used.pop()


def _choose_attentions(child, parent, given):
    """{attention of the child: that of the parent}."""
    users = _users(child, "attention")
    if given is not None and len(given) != len(users):
        refuse("attention", given, f"a list of {len(users)}, a block for each attention of the grown model")
    chosen = {}
    for i, blocks in users.items():
        block = blocks[(len(blocks) - 1) // 2] if given is None else given[i]
        if block not in blocks:
            refuse("attention", given, f"one of blocks {format_ranges(blocks)} for attention {i}, the blocks that use it")
        chosen[i] = parent.blocks[block].attention
    return chosen


def _choose_experts(child, parent, given):
    """({MoE layer of the child: the parent's FFNs that its experts take}, list of BlockRoutings of layers with several)."""
    count = child.num_experts
    users = _users(child, "ffn", is_moe=True)
    own = {i: {b: parent.blocks[b].ffn for b in blocks} for i, blocks in users.items()}
    several = [i for i in users if len(set(own[i].values())) > 1]
    if given is not None:
        if not several:
            refuse("experts", given, "left out: the blocks of each MoE layer have one FFN, of which all its experts are copies")
        if len(given) != count * len(several):
            refuse("experts", given, f"{count * len(several)} blocks, {count} for each MoE layer whose blocks have several FFNs")
    chosen, fitted = {}, []
    for i, ffns in own.items():
        known = list(dict.fromkeys(ffns.values()))
        if i not in several:
            chosen[i] = tuple(known * count)
            continue
        check_count("num_experts", count, minimum=2, maximum=len(known), why=f", the FFNs of blocks {format_ranges(ffns)}")
        if given is None:
            chosen[i] = tuple(known[round(e * (len(known) - 1) / (count - 1))] for e in range(count))
        else:
            blocks = given[several.index(i) * count :][:count]
            if not set(blocks) <= set(ffns) or len({ffns[b] for b in blocks}) < count:
                refuse(
                    "experts", given, f"{count} different ones of blocks {format_ranges(ffns)}, one for each expert of moe_{i}"
                )
            chosen[i] = tuple(ffns[b] for b in blocks)
        fitted.append(BlockRouting(i, ffns, chosen[i]))
    return chosen, fitted


def _check_copies(child):
    """Refuses settings under which experts that start equal stay so."""
    check_count("num_experts", child.num_experts, minimum=2)
    if not child.noise:
        refuse(
            "noise",
            False,
            "True: experts that start as copies get equal gradients without it and stay equal (jitter changes nothing, since it "
            "multiplies the input of a router that starts at 0)",
        )
    if child.top_k == 1 and child.renormalize:
        refuse("renormalize", True, "False with top_k=1: a gate that is always 1 gives the router nothing to learn from")


def _check_fitted(child, fitted):
    """Refuses settings under which most tokens of a block find no room at the one expert that all of them go to."""
    for setting in ("capacity_factor", "eval_capacity_factor"):
        factor, needed = getattr(child, setting), child.num_experts / child.top_k
        if factor is not None and factor < needed:
            refuse(setting, factor, f"None, or at least E / K = {needed:g}: at first all tokens of a block go to one expert")
    for layer in fitted:
        if len({child.blocks[b].routing for b in layer.ffns}) < len(layer.ffns):
            needed = "None: blocks that share experts but had FFNs of their own need routings of their own"
            refuse("routing_groups", child.deployment.routing_groups, needed)


def _grow_encoder(encoder, plan, kernels, sources, targets):
    """The values and Rows of an Encoder, as of `transfer_layer`.

    Args:
      kernels: {MoE layer: router kernel} of those that are fitted.
      sources, targets: {layer: {name within it: array or variable}}.
    """
    values, rows = {}, []

    def take(kind, choice):
        for i, j in choice.items():
            values.update(full_names(f"{kind}_{i}", sources[f"{kind}_{j}"]))
        if choice:
            name, reason = _named(kind, choice, kind), ""
            if len(set(choice.values())) < _count(kind, sources) and kind == "attention":
                reason = f"of {_count(kind, sources)} in the source"
            rows.append(Row(name, shapes(targets[f"{kind}_{min(choice)}"]), "loaded", reason))

    take("attention", plan.attentions)
    take("ffn", plan.ffns)
    scale = 1 if encoder.renormalize else encoder.num_experts / encoder.top_k
    for i, ffns in plan.experts.items():
        target = split_names(targets[f"moe_{i}"])
        values[f"moe_{i}/router/kernel"] = kernels.get(i, np.zeros(target["router"]["kernel"].shape))
        for e, j in enumerate(ffns):
            expert = _expert(sources[f"ffn_{j}"], target[f"expert_{e}"], 1 if i in kernels else scale)
            values.update(full_names(f"moe_{i}/expert_{e}", expert))
    for are_fitted in (False, True):
        layers = {i: ffns for i, ffns in plan.experts.items() if (i in kernels) == are_fitted}
        rows += _expert_rows(encoder, layers, targets, sources, scale, are_fitted)
    for bank in ("attention_norm", "ffn_norm"):
        order = [plan.norms[i] for i in sorted(plan.norms)]
        values.update({f"{bank}/{part}": array[order] for part, array in sources[bank].items()})
        is_shared = len(set(order)) == 1 < len(order)
        rows.append(Row(bank, shapes(targets[bank]), "loaded", "shared in the source" if is_shared else ""))
    if "final_norm" in targets:
        values.update(full_names("final_norm", sources["final_norm"]))
        rows.append(Row("final_norm", shapes(targets["final_norm"]), "loaded"))
    rows += _unused("attention", plan.attentions.values(), sources)
    rows += _unused("ffn", [*plan.ffns.values(), *(j for ffns in plan.experts.values() for j in ffns)], sources)
    values, rows = full_names(encoder.name, values), [row._replace(weight=f"{encoder.name}/{row.weight}") for row in rows]
    return values, rows


def _expert(ffn, target, scale):
    """The weights of an expert, {name: array}, that gives `scale` times the output of an FFN of at most its width.

    Hidden units that the FFN lacks keep their initial kernel_in, and their rows of kernel_out are 0.
    """
    width, wider = ffn["bias_in"].shape[0], target["bias_in"].shape[0]
    scale = np.float32(scale)
    kernel_in = np.concatenate([ffn["kernel_in"], target["kernel_in"].numpy()[:, width:]], axis=1)
    return {
        "kernel_in": kernel_in,
        "bias_in": np.pad(ffn["bias_in"], [0, wider - width]),
        "kernel_out": np.pad(ffn["kernel_out"] * scale, [[0, wider - width], [0, 0]]),
        "bias_out": ffn["bias_out"] * scale,
    }


def _expert_rows(encoder, layers, targets, sources, scale, are_fitted):
    """Rows of the MoE layers, {index: FFNs of the experts}, that are all copies or all fitted."""
    if not layers:
        return []
    first = split_names(targets[f"moe_{min(layers)}"])
    moe, count = f"moe_{format_ranges(layers)}", encoder.num_experts
    router = "fitted to know a block from its input" if are_fitted else "zeros: all gates are equal"
    ffns = [j for i in sorted(layers) for j in layers[i]]
    if are_fitted:
        experts = "expert e is number e of these"
    else:
        times = f", kernel_out and bias_out times E / K = {scale:g}" if scale != 1 else ""
        experts = f"{count} copies{times}"
    wider = encoder.moe_layers[0].hidden_dim - sources["ffn_0"]["bias_in"].shape[0]
    if wider:
        experts += f"; {wider} hidden units are new, with zeros in kernel_out"
    return [
        Row(f"{moe}/router", shapes(first["router"]), "grown", router),
        Row(f"{moe}/expert_0..{count - 1} <- ffn_{format_ranges(ffns)}", shapes(first["expert_0"]), "grown", experts),
    ]


def _named(kind, choice, source):
    """The name of a Row of several instances, {instance of the child: that of the parent}."""
    name = f"{kind}_{format_ranges(choice)}"
    changed = any(i != j for i, j in choice.items())
    return f"{name} <- {source}_{format_ranges(choice.values())}" if changed else name


def _count(kind, layers):
    return sum(name.startswith(f"{kind}_") and name.removeprefix(f"{kind}_").isdigit() for name in layers)


def _unused(kind, used, sources):
    """A Row of the instances of the parent that nothing takes, in a list; [] if there are none."""
    unused = [j for j in range(_count(kind, sources)) if j not in set(used)]
    if not unused:
        return []
    return [Row(f"{kind}_{format_ranges(unused)}", shapes(sources[f"{kind}_{unused[0]}"]), "dropped", "no block takes it")]


def _notes(encoder, plan):
    """Sentences on how training begins."""
    notes = []
    count, choices = encoder.num_experts, encoder.top_k
    if len(plan.fitted) < len(plan.experts):
        if not encoder.renormalize:
            lift = gate_lift(count, choices)
            notes.append(
                f"In training, noise lifts the {choices} gates that a token uses: their sum is {lift:.2f} times that outside "
                "training, and so are the experts' outputs at first. With renormalize=True it is the same."
            )
        factor = encoder.eval_capacity_factor
        if factor is not None and factor < count / choices:
            notes.append(
                f"eval_capacity_factor={factor} drops tokens at first: outside training all tokens go to the first {choices} of "
                f"{count} equal experts. None, or at least {count / choices:g}, drops none."
            )
    if plan.fitted:
        if encoder.balance_weight:
            notes.append(
                f"balance_weight={encoder.balance_weight} works against the fitted router, which sends all tokens of a block to "
                "one expert; 0 keeps it."
            )
        if encoder.top_k == 1 and encoder.renormalize:
            notes.append("top_k=1 with renormalize=True: the gate is always 1, so the task's loss does not train the router.")
    return notes


def gate_lift(num_experts, top_k, samples=200_000):
    """How many times the sum of the K gates, without `renormalize`, is larger with noise than without, for a router of zeros.

    That is E / K times the mean sum of the K largest of softmax(n), where n are E normal numbers of deviation 1/E, from samples.
    """
    logits = np.random.default_rng(0).normal(0, 1 / num_experts, (samples // num_experts, num_experts))
    gates = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(np.sort(gates, axis=1)[:, -top_k:].sum(axis=1).mean() * num_experts / top_k)

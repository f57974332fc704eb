"""The formulas of the paper in NumPy float64, a token, a choice and an expert at a time: slow, plain, no line of the library.

Layers are only read for their weights and settings. Axes: tokens T, experts E, choices K, width D.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Routing(NamedTuple):
    gates: np.ndarray  # [T, K]
    experts: np.ndarray  # [T, K]
    probabilities: np.ndarray  # [T, E]


class MoeCall(NamedTuple):
    """What one MoE block did."""

    routing: Routing
    kept: np.ndarray  # bool [T, K]
    new: bool  # whether it made its routing itself


def weight(variable):
    return np.asarray(variable, np.float64)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def layer_norm(x, gamma, beta, epsilon):
    mean = np.mean(x, axis=-1, keepdims=True)
    variance = np.mean((x - mean) ** 2, axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def feed_forward(layer, x):
    hidden = gelu(x @ weight(layer.kernel_in) + weight(layer.bias_in))
    return hidden @ weight(layer.kernel_out) + weight(layer.bias_out)


def attention(layer, x, mask=None):
    """[batch, length, D], an example and a head at a time; every example needs a real token."""
    size = layer.width // layer.heads
    output = np.zeros(x.shape)
    for b in range(len(x)):
        query, key, value = (x[b] @ weight(d.kernel) + weight(d.bias) for d in (layer.query, layer.key, layer.value))
        context = np.zeros(x[b].shape)
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            scores = query[:, own] @ key[:, own].T / math.sqrt(size)
            if mask is not None:
                scores[:, ~mask[b]] = -np.inf
            context[:, own] = softmax(scores) @ value[:, own]
        output[b] = context @ weight(layer.output_dense.kernel) + weight(layer.output_dense.bias)
    return output


def capacity(tokens, num_experts, top_k, factor):
    """ceil(C K T / E) with C the decimal number it is written as; everything fits where C is None."""
    if factor is None:
        return tokens
    exact = Fraction(str(factor)) * top_k * tokens / num_experts
    return math.ceil(exact)


def route(x, kernel, top_k, renormalize=False):
    """Routes tokens [T, D] one at a time; no noise."""
    gates, experts, probabilities = [], [], []
    for token in x:
        p = softmax(token @ kernel)
        chosen = sorted(range(len(p)), key=lambda e: -p[e])[:top_k]
        g = np.array([p[e] for e in chosen])
        gates.append(g / g.sum() if renormalize else g)
        experts.append(chosen)
        probabilities.append(p)
    return Routing(np.array(gates), np.array(experts), np.array(probabilities))


def kept_assignments(experts, mask, num_experts, limit):
    """Bool [T, K]: first choices take slots before second choices, tokens in their order, padding takes none."""
    tokens, choices = experts.shape
    taken = [0] * num_experts
    kept = np.zeros((tokens, choices), bool)
    for k in range(choices):
        for t in range(tokens):
            if mask[t] and taken[experts[t, k]] < limit:
                taken[experts[t, k]] += 1
                kept[t, k] = True
    return kept


def balance_loss(probabilities, experts, mask=None):
    """E * sum_i m_i * P_i over the real tokens of [T, E] and [T, K]."""
    tokens, num_experts = probabilities.shape
    real = [t for t in range(tokens) if mask is None or mask[t]]
    if not real:
        return 0.0
    total = 0.0
    for i in range(num_experts):
        m = sum(i in experts[t] for t in real) / len(real)
        p = sum(probabilities[t, i] for t in real) / len(real)
        total += m * p
    return num_experts * total


def moe(layer, x, mask=None, routing=None, training=False):
    """[batch, length, D] to the same and a MoeCall."""
    tokens = x.reshape(-1, x.shape[-1])
    real = np.ones(len(tokens), bool) if mask is None else mask.reshape(-1)
    new = routing is None
    if new:
        routing = route(tokens, weight(layer.router.kernel), layer.top_k, layer.renormalize)
    factor = layer.capacity_factor if training else layer.eval_capacity_factor
    limit = capacity(int(real.sum()), layer.num_experts, layer.top_k, factor)
    kept = kept_assignments(routing.experts, real, layer.num_experts, limit)
    output = np.zeros(tokens.shape)
    for t, k in zip(*np.nonzero(kept), strict=True):
        output[t] += routing.gates[t, k] * feed_forward(layer.experts[routing.experts[t, k]], tokens[t])
    return output.reshape(x.shape), MoeCall(routing, kept, new)


def moe_gradients(layer, x, upstream, mask=None, training=False):
    """Gradients of sum(moe(x) * upstream), without balance loss, by the chain rule, an assignment at a time.

    Returns:
      Dict: "x" [batch, length, D], "router" [D, E], and for each expert e ("kernel_in", e), ("bias_in", e), ("kernel_out", e) and
      ("bias_out", e).
    """
    tokens, upstream = x.reshape(-1, x.shape[-1]), upstream.reshape(-1, x.shape[-1])
    _, call = moe(layer, x, mask, training=training)
    router = weight(layer.router.kernel)
    names = ("kernel_in", "bias_in", "kernel_out", "bias_out")
    weights = {(name, e): weight(getattr(expert, name)) for e, expert in enumerate(layer.experts) for name in names}
    gradients = {key: np.zeros(value.shape) for key, value in weights.items()}
    by_x, by_gates = np.zeros(tokens.shape), np.zeros(call.routing.probabilities.shape)
    for t, k in zip(*np.nonzero(call.kept), strict=True):
        e, gate = call.routing.experts[t, k], call.routing.gates[t, k]
        before = tokens[t] @ weights["kernel_in", e] + weights["bias_in", e]
        hidden = gelu(before)
        by_gates[t, e] = upstream[t] @ (hidden @ weights["kernel_out", e] + weights["bias_out", e])
        by_output = gate * upstream[t]
        gradients["kernel_out", e] += np.outer(hidden, by_output)
        gradients["bias_out", e] += by_output
        # The derivative of x Phi(x) is Phi(x) + x phi(x).
        phi = np.exp(-(before**2) / 2) / math.sqrt(2 * math.pi)
        by_before = (weights["kernel_out", e] @ by_output) * (gelu(before) / before + before * phi)
        gradients["kernel_in", e] += np.outer(tokens[t], by_before)
        gradients["bias_in", e] += by_before
        by_x[t] += weights["kernel_in", e] @ by_before
    p = call.routing.probabilities
    by_logits = p * (by_gates - np.sum(by_gates * p, axis=-1, keepdims=True))
    return {"x": (by_x + by_logits @ router.T).reshape(x.shape), "router": tokens.T @ by_logits, **gradients}


def instance(block, groups, depth):
    """Which of `groups` instances block `block` of `depth` uses; None is one a block."""
    return block * (depth if groups is None else groups) // depth


def moe_block_indices(deployment, depth):
    if deployment.moe_blocks == "all":
        return set(range(depth))
    if isinstance(deployment.moe_blocks, int):
        return set(range(depth - deployment.moe_blocks, depth))
    return set(deployment.moe_blocks)


def ffn_instance(deployment, block, depth):
    """The place of a block's FFN group among the groups that have a block of its kind (dense or MoE)."""
    moe_blocks = moe_block_indices(deployment, depth)
    alike = [i for i in range(depth) if (i in moe_blocks) == (block in moe_blocks)]
    groups = sorted({instance(i, deployment.ffn_groups, depth) for i in alike})
    return groups.index(instance(block, deployment.ffn_groups, depth))


def encode(encoder, x, mask=None, training=False):
    """[batch, length, D] to the same and a MoeCall for each MoE block; no dropout, no noise."""
    deployment, depth = encoder.deployment, encoder.depth
    moe_blocks = moe_block_indices(deployment, depth)
    calls, routings = [], {}

    def norm(bank, x, i):
        return layer_norm(x, weight(bank.gamma)[i], weight(bank.beta)[i], encoder.norm_epsilon)

    def ffn(x, i):
        index = ffn_instance(deployment, i, depth)
        if i not in moe_blocks:
            return feed_forward(encoder.dense_layers[index], x)
        group = instance(i, deployment.routing_groups, depth)
        output, call = moe(encoder.moe_layers[index], x, mask, routings.get(group), training)
        routings[group] = call.routing
        calls.append(call)
        return output

    for i in range(depth):
        own_attention = encoder.attentions[instance(i, deployment.attention_groups, depth)]
        own_norm = instance(i, deployment.norm_groups, depth)
        if deployment.norm_position == "pre":
            x = x + attention(own_attention, norm(encoder.attention_norm, x, own_norm), mask)
            x = x + ffn(norm(encoder.ffn_norm, x, own_norm), i)
        else:
            x = norm(encoder.attention_norm, x + attention(own_attention, x, mask), own_norm)
            x = norm(encoder.ffn_norm, x + ffn(x, i), own_norm)
    if deployment.norm_position == "pre":
        x = norm(encoder.final_norm, x, 0)
    return x, calls


def randomize(layer, seed=0, scale=0.5):
    """Gives every weight of a built layer, zeros and ones at first included, random values of its own."""
    random = np.random.default_rng(seed)
    for variable in layer.variables:
        start = 1.0 if "gamma" in variable.name else 0.0
        variable.assign((start + random.normal(scale=scale, size=variable.shape)).astype(variable.dtype.as_numpy_dtype))

"""Case (benchmarks/worker.py) of TF Model Garden's mixture-of-experts layer. Needs `sh benchmarks/peers/setup.sh garden`.

Imports nothing of this project: it runs isolated, in an environment in which `official` is the Model Garden.
"""

import importlib.metadata
import platform

import numpy as np
import tensorflow as tf

from official.nlp.modeling.layers import moe


def moe_layer(
    tokens,
    width,
    experts,
    hidden,
    top_k,
    precision,
    mode,
    sequence=196,
    sequences_per_group=1.0,
    jit_compile=None,
):
    """MoeLayer on inputs for which it does exactly the work of dropless token choice with `top_k` experts.

    The Model Garden's only router lets experts choose tokens. Each expert has capacity for its even share of tokens * top_k, and
    the inputs are such that every token is chosen by its `top_k` best experts. So an expert's batch has no padding and lacks
    no row. facts["kept"] is the share of the tokens' assignments for which this holds.

    Args:
      precision: "float32" or "mixed_bfloat16".
      mode: "train": outputs and the gradients of inputs and weights; "forward": outputs.
      sequence: tokens of one sequence.
      sequences_per_group: number of sequences that share an expert's capacity; fewer make the dispatch masks smaller.
      jit_compile: whether XLA compiles the step. None selects the fastest: only in float32, since XLA's bfloat16 products take
        nearly twice as long as TensorFlow's.
    """
    jit_compile = precision == "float32" if jit_compile is None else jit_compile
    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    router = moe.ExpertsChooseMaskedRouter(experts, export_metrics=False)
    layer = moe.MoeLayer(
        moe.FeedForwardExperts(experts, hidden),  # its activation is the exact GELU
        router,
        train_capacity_factor=top_k,
        eval_capacity_factor=top_k,
        examples_per_group=sequences_per_group,
    )
    layer(tf.zeros([tokens // sequence, sequence, width]), training=False)

    router_kernel = router.router_weights.kernel.numpy()
    inputs = _balanced_inputs(tokens, top_k, router_kernel).reshape(-1, sequence, width)
    inputs = tf.constant(inputs, layer.compute_dtype)
    cotangent = tf.cast(tf.random.stateless_normal(inputs.shape, [0, 1]), layer.compute_dtype)

    @tf.function(jit_compile=jit_compile)
    def forward(inputs):
        return layer(inputs, training=False)

    @tf.function(jit_compile=jit_compile)
    def train(inputs, cotangent):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return outputs, tape.gradient(outputs, [inputs, *layer.trainable_variables], cotangent)

    def step():
        outputs = train(inputs, cotangent)[0] if mode == "train" else forward(inputs)
        outputs.numpy()  # waits for it

    facts = {
        "kept": _kept(router, inputs, sequence * sequences_per_group, top_k),
        "flops": 4 * tokens * top_k * width * hidden * (3 if mode == "train" else 1),
        "parameters": int(sum(np.prod(variable.shape) for variable in layer.trainable_variables)),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "tf-models-official": importlib.metadata.version("tf-models-official"),
        },
        "settings": {"sequences_per_group": sequences_per_group, "jit_compile": jit_compile},
        "differs": "experts choose tokens, with dispatch masks as matrix products; balanced inputs make it the work of "
        "dropless token choice.",
    }
    return step, facts


def _balanced_inputs(tokens, top_k, router_kernel):
    """Random normal [tokens, width], changed just enough for the router to give all experts equally many tokens per group."""
    experts = router_kernel.shape[1]
    inputs = np.random.default_rng(0).standard_normal((tokens, router_kernel.shape[0]))
    logits = np.full((tokens, experts), -3.0)
    chosen = np.arange(tokens * top_k).reshape(tokens, top_k) % experts
    np.put_along_axis(logits, chosen, 3.0, axis=1)
    return inputs + (logits - inputs @ router_kernel) @ np.linalg.pinv(router_kernel)


def _kept(router, inputs, group, top_k):
    """The share of the tokens' top-k assignments that the router dispatches."""
    group = int(group)
    experts = router.num_experts
    inputs = tf.reshape(inputs, [-1, group, inputs.shape[-1]])
    dispatched = router(inputs, expert_capacity=round(top_k * group / experts), training=False).dispatch_mask
    dispatched = tf.reduce_sum(tf.cast(dispatched, tf.float32), axis=-1)
    own = tf.reduce_sum(tf.one_hot(tf.math.top_k(router.router_weights(inputs), top_k).indices, experts), axis=-2)
    return float(tf.reduce_sum(dispatched * own) / tf.reduce_sum(own))

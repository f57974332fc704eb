"""What the contestants compute is what their rows say."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import vision
from benchmarks.anchor import shared_vit
from benchmarks.image_models import zoo
from benchmarks.layer_contestants import shared_moe
from benchmarks.peak import products
from vision.models import forward_flops

SMALL = dict(depth=3, width=32, heads=2, ffn_dim=64, image_size=32, patch_size=8, classes=7)


def products_in_the_graph(model):
    """Floating-point operations of the matrix products and the patch convolution for one image, by TensorFlow's own count."""
    size = model.input_shape[1]
    function = tf.function(model).get_concrete_function(tf.TensorSpec([1, size, size, 3]))
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(convert_variables_to_constants_v2(function).graph.as_graph_def(), name="")
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    kinds = ("MatMul", "BatchMatMulV2", "Einsum", "Conv2D")
    return {child.name: child.total_float_ops for child in profile.children if child.name in kinds}


def test_the_anchor_has_the_products_of_our_dense_model():
    """All kinds that the profiler knows; attention's own products, which Keras writes as Einsum, by hand."""
    anchor = shared_vit(**SMALL)
    ours = vision.create_model("widenet_ti16", moe_blocks=0, **SMALL)
    tokens, width, depth = 16, SMALL["width"], SMALL["depth"]
    attention = depth * (4 * 2 * tokens * width * width + 2 * 2 * tokens * tokens * width)
    counted = products_in_the_graph(anchor)
    assert "Einsum" not in counted  # the profiler does not count it, so the sum below counts nothing twice
    assert sum(counted.values()) + attention == forward_flops(ours)


def test_the_anchor_is_as_wide_as_two_experts():
    wide = vision.create_model("widenet_ti16", depth=2, width=32, heads=2, expert_dim=48, image_size=32)
    dense = vision.create_model("widenet_ti16", depth=2, width=32, heads=2, ffn_dim=96, moe_blocks=0, image_size=32)
    router = 2 * (2 * 4 * 32 * 4)
    assert forward_flops(wide) - router == forward_flops(dense)


def test_the_anchor_shares_its_weights():
    """Three blocks have the weights of one and three pairs of norms."""
    one, three = shared_vit(**{**SMALL, "depth": 1}), shared_vit(**SMALL)
    assert three.count_params() - one.count_params() == 2 * 2 * 2 * SMALL["width"]


def test_a_train_step_changes_the_weights_and_counts_the_kept():
    step, facts = zoo("widenet_ti16", "float32", "train", 2, **{**SMALL, "expert_dim": 48}, capacity_factor=0.5)
    step()
    assert 0 < facts["kept"] <= 0.5
    assert facts["flops"] > 0


def test_layer_contestant_in_all_ways():
    shape = dict(batch=2, length=5, width=8, experts=4, hidden=16, top_k=2)
    for settings in (dict(), dict(compiled=False), dict(jit_compile=True)):
        step, facts = shared_moe("float32", "train", **shape, **settings)
        step()
        assert facts["flops"] == 3 * 2 * 2 * 10 * 2 * 8 * 16


def test_peak_does_what_it_counts():
    step, facts = products("float32", seconds=0.05)
    step()
    m, k, n = map(int, facts["product"].split("x"))
    assert facts["flops"] % (2 * m * k * n) == 0

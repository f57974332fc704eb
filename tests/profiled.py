"""TensorFlow's own count of a model's operations."""

import tensorflow as tf


def profiled_flops(model):
    """{operation type: floating-point operations} that TensorFlow's own profiler finds in the graph of one image."""
    image = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(image).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    found, nodes = {}, [profile]
    while nodes:
        node = nodes.pop()
        if node.total_float_ops and node.name != "_TFProfRoot":
            found[node.name] = node.total_float_ops - sum(child.total_float_ops for child in node.children)
        nodes.extend(node.children)
    return found

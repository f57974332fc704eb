"""TensorFlow's own count of a model's operations."""

import tensorflow as tf


def profiled_flops(model):
    """{operation type: floating-point operations} that TensorFlow's own profiler finds in the graph of one example."""
    example = tf.nest.map_structure(lambda x: tf.TensorSpec([1, *x.shape[1:]], x.dtype), model.input)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(example).graph
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

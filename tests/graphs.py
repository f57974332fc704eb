"""What a traced graph holds."""

import tensorflow as tf


def xla_calls(function_or_graph_def):
    """Names of what XLA must compile, in all functions of a graph."""
    graph = function_or_graph_def
    found = [f"{f.signature.name}" for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return found + [node.name for node in nodes if "Xla" in node.op or node.attr["_XlaMustCompile"].b]


def graph_def_of(function, *arguments):
    return tf.function(function).get_concrete_function(*arguments).graph.as_graph_def()

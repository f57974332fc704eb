"""What tests of exported models share: a look at what a graph holds."""

from tensorflow.core.protobuf import saved_model_pb2

from tests.graphs import xla_calls


def xla_calls_of(saved_model):
    """tests.graphs.xla_calls of a SavedModel's folder, a pathlib.Path."""
    saved = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    (graph,) = (meta.graph_def for meta in saved.meta_graphs)
    return xla_calls(graph)

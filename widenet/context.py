"""How this package's layers compute at the moment, and what records their experts' load.

Each thread has its own settings, since the replicas of a MirroredStrategy run in threads of their own. The context managers that
change them are in widenet.fast_path and widenet.expert_load.
"""

import contextlib
import threading


class Context(threading.local):
    """The settings of one thread.

    Attributes:
      xla_elementwise: whether XLA compiles elementwise functions of tensors of a known size.
      xla_unknown_sizes: whether it compiles those of a size that is unknown while the graph is made, too.
      plain_autodiff: whether TensorFlow derives all gradients itself, and no layer uses its own.
      shared_weights: {reference to a weight: [number of uses, copies not used yet]}, weights that are cast once for all uses.
      loads, assignments, margins: the lists that record every MoE call; None where nothing is recorded.
      exporting: whether the graphs made now are to be saved: calls of a widenet.Model then count no load.
    """

    xla_elementwise = False
    xla_unknown_sizes = False
    plain_autodiff = False
    shared_weights = None
    loads = None
    assignments = None
    margins = None
    exporting = False


CONTEXT = Context()


@contextlib.contextmanager
def setting(**fields):
    """Inside, this thread's CONTEXT has these fields; afterwards it has what it had before."""
    before = {name: getattr(CONTEXT, name) for name in fields}
    vars(CONTEXT).update(fields)
    try:
        yield
    finally:
        vars(CONTEXT).update(before)

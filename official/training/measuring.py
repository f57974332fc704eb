"""What `train.log_norms` and `train.profile_steps` add to a run: norms, FLOP utilisation, and a profile of chosen steps.

With w, all trained weights as one vector, g, their gradient summed over the replicas, and w', the weights after the step:

    gradient_norm     ||g||, before clipping
    update_to_weight  ||w' - w|| / ||w||, with everything that a step does: clipping, learning rate, decay, layer_decay
    flop_utilisation  3 F * examples a second / (peak * devices), where F are the operations of one example's forward pass

The first two are means over the steps of an epoch, as the loss is. The last one is the "model FLOPs utilization" of
arXiv:2204.02311, appendix B: a backward pass counts as two forward passes, and what is computed twice counts once. Its peak is
that of large matrix products on this machine, and not its maker's.
"""

import contextlib

import tensorflow as tf

from official.training.callbacks import StepCallback

PASSES = 3  # a forward pass, and a backward pass that counts as two
NORMS = ("gradient_norm", "update_to_weight")


class LogNorms(tf.keras.callbacks.Callback):
    """Makes the norms of every step metrics of a model, which its optimizer, one of official.training.optimizers, updates.

    Create it in the strategy's scope, after the model is compiled. A step then needs memory for a copy of the weights.
    """

    def __init__(self, model):
        super().__init__()
        self._gradient_norm, self._update_to_weight = means = [tf.keras.metrics.Mean(name) for name in NORMS]
        model._metrics.extend(means)  # and not as attributes, which would be in checkpoints
        model.optimizer.norms = self

    def measure_gradients(self, gradients):
        """Takes the gradients of a step, dense tensors that are summed over the replicas."""
        self._gradient_norm.update_state(tf.linalg.global_norm(gradients))

    def measure_step(self, weights, step):
        """Makes a step and measures it.

        Args:
          weights: the variables that the step changes.
          step: function that makes it.

        Returns:
          What the function returns.
        """
        before = [tf.identity(weight) for weight in weights]
        result = step()
        update = tf.linalg.global_norm([weight.read_value() - old for weight, old in zip(weights, before, strict=True)])
        self._update_to_weight.update_state(tf.math.divide_no_nan(update, tf.linalg.global_norm(before)))
        return result

    def on_epoch_end(self, epoch, logs=None):
        for name in NORMS:
            logs.pop(f"val_{name}", None)  # an evaluation makes no steps


class LogUtilisation(tf.keras.callbacks.Callback):
    """Adds `flop_utilisation` to the logs of every epoch; stands after the StepCounter, whose speed it takes.

    Args:
      flops: function of the share of assignments that experts compute; it returns F, or None where that is not known.
      rate: the logs' name for the examples a second.
      peak: operations a second of all devices.
    """

    def __init__(self, flops, rate, peak):
        super().__init__()
        self._flops = flops
        self._rate = rate
        self._peak = peak

    def on_epoch_end(self, epoch, logs=None):
        flops = self._flops(1 - logs.get("dropped", 0.0))
        if flops is not None:
            logs["flop_utilisation"] = PASSES * flops * logs[self._rate] / self._peak


class ProfileSteps(StepCallback):
    """Profiles steps for TensorBoard's Profile page; stands after the StepCounter.

    Where the device makes several steps at a time, the profile has all steps of these times.

    Args:
      steps: (first, last), counted from 1.
      counter: the StepCounter.
      steps_per_execution: steps that the device makes at a time.
      folder: the TensorBoard folder, a pathlib.Path; the files are in plugins/profile/ in it.
      writing: function that returns a context in which files are written.
    """

    def __init__(self, steps, counter, steps_per_execution, folder, writing=contextlib.nullcontext):
        super().__init__()
        self._first, self._last = steps
        self._counter = counter
        self._at_a_time = steps_per_execution
        self._folder = folder
        self._writing = writing
        self._is_on = False

    @contextlib.contextmanager
    def session(self):
        """A context that ends the profile of a run that is stopped within it."""
        try:
            yield
        finally:
            self._stop()

    def on_train_batch_begin(self, batch, logs=None):
        if not self._is_on and self._first - self._at_a_time <= self._counter.step < self._last:
            tf.profiler.experimental.start(str(self._folder))
            self._is_on = True

    def on_train_batch_end(self, batch, logs=None):
        if self._is_on and self._counter.step >= self._last:
            float(logs["loss"])  # waits for the device
            self._stop()

    def _stop(self):
        if self._is_on:
            self._is_on = False
            with self._writing():
                tf.profiler.experimental.stop()

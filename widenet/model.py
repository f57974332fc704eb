"""A Keras model that also measures the load of its experts."""

import tensorflow as tf

from widenet.encoder import Encoder
from widenet.expert_load import ExpertLoad, join_assignments, recording, recording_assignments, recording_margins
from widenet.fast_path import plain_autodiff, xla_elementwise
from widenet.layer import register


@register
class Model(tf.keras.Model):
    """A functional tf.keras.Model whose `fit` and `evaluate` also report the load of its encoder's experts.

    The metrics `balance` (mean over blocks of E * sum_i m_i * P_i, at best K) and `dropped` (share of assignments dropped) join
    the others; `expert_load.table()` has every block. All are counted on the device: nothing waits for them within an epoch.
    Calls, `predict` and exports do not count.

    Where outputs are a dict its keys are `output_names`, by which losses and metrics are given and named; those of a list within
    it are "key", "key_1", "key_2", ... No loss need be given for any of them.

    Attributes:
      expert_load: an ExpertLoad of the current epoch or evaluation, or None where no block is an MoE.
    """

    # Keras saves a functional subclass as a functional model only where its constructor has exactly these arguments.
    def __init__(self, inputs, outputs, name=None, trainable=True):
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        if isinstance(outputs, dict):
            self.output_names = _names(outputs)
        encoders = [module for module in self.submodules if isinstance(module, Encoder)]
        blocks = sum(block.is_moe for encoder in encoders for block in encoder.blocks)
        load = ExpertLoad(blocks, max(encoder.num_experts for encoder in encoders)) if blocks else None
        # Not tracked: what was counted is neither among the model's weights nor part of its checkpoints.
        object.__setattr__(self, "expert_load", load)

    @property
    def metrics(self):
        """Keras resets these at the start of every epoch and evaluation."""
        return super().metrics + ([self.expert_load] if self.expert_load else [])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, self.by_name(y_pred), sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight):
        return super().compute_metrics(x, y, self.by_name(y_pred), sample_weight)

    def by_name(self, outputs):
        """What the model gives, as a flat dict by `output_names` where it is a dict.

        Signatures of a SavedModel take no lists within dicts, and Keras looks for the losses of such outputs at the wrong ones.
        """
        return dict(zip(self.output_names, tf.nest.flatten(outputs), strict=True)) if isinstance(outputs, dict) else outputs

    def export(self, filepath):
        """Writes an inference-only SavedModel whose endpoint `serve` takes what a call takes; of outputs it gives a flat dict."""

        def serve(inputs):
            return self.by_name(self(inputs, training=False))

        archive = tf.keras.export.ExportArchive()
        archive.track(self)
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, x.name), self.input)
        with self.export_scope():
            archive.add_endpoint("serve", serve, [specs])
            archive.write_out(filepath)

    def export_scope(self):
        """A context to make graphs in that are to be saved: without custom gradients, each of which would be saved by itself."""
        return plain_autodiff()

    def train_step(self, data):
        with xla_elementwise():
            return self._measure(super().train_step, data)

    def test_step(self, data):
        with xla_elementwise(unknown_sizes=False):
            return self._measure(super().test_step, data)

    def predict_step(self, data):
        with xla_elementwise(unknown_sizes=False):
            return super().predict_step(data)

    def call_with_assignments(self, inputs):
        """A forward pass, as `predict` makes it, that also counts which experts each example's tokens were sent to.

        Args:
          inputs: as for a call.

        Returns:
          The model's outputs, and int32 [batch, blocks, E]: for each example, MoE block and expert the (token, choice) that the
          router gave to that expert, whether or not a capacity factor outside training left room for it. Padding counts nowhere,
          so a block's counts add up to K times the real tokens. None where no block is an MoE.
        """
        with xla_elementwise(unknown_sizes=False), recording_assignments() as records:
            outputs = self(inputs, training=False)
        if self.expert_load is None:
            return outputs, None
        return outputs, join_assignments(records, self.expert_load.blocks, self.expert_load.num_experts)

    def call_with_margins(self, inputs):
        """A forward pass that also tells how near each example came to being sent to other experts.

        Args:
          inputs: as for a call.

        Returns:
          The model's outputs, and float [batch]: the least by which, over all MoE blocks and real tokens of an example, the K-th
          expert's probability is above the next one's. Where it is within the error of another runtime's arithmetic, that
          runtime may choose the other expert. None where no block is an MoE.
        """
        with recording_margins() as records:
            outputs = self(inputs, training=False)
        return outputs, tf.reduce_min(tf.stack(records), axis=0) if records else None

    def _measure(self, step, data):
        if self.expert_load is None:
            return step(data)
        with recording() as records:
            logs = step(data)
        self.expert_load.update_state(records)
        return {**logs, **self.expert_load.result()}


def _names(outputs):
    """A name for each tensor of a dict of tensors and lists of them, in the order of tf.nest.flatten."""
    return [f"{key}_{i}" if i else key for key in sorted(outputs) for i in range(len(tf.nest.flatten(outputs[key])))]

"""One transformer encoder for every parameter deployment."""

import collections
import contextlib
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from widenet.attention import SelfAttention, check_heads
from widenet.checks import check_count, check_known, check_positive, check_rate, refuse
from widenet.deployment import Deployment
from widenet.draws import Dropout
from widenet.fast_path import CONTEXT, cast_once, setting
from widenet.feed_forward import FeedForward, plain_activation
from widenet.layer import (
    Activation,
    Initializer,
    Layer,
    Regularizer,
    at_least_float32,
    check_initializer,
    check_regularizer,
    real_tokens,
    register,
)
from widenet.moe import SharedMoE
from widenet.norm import IndividualLayerNorm
from widenet.routing import MOE_SETTINGS, balance_loss


class Encoding(NamedTuple):
    """All results of an Encoder's forward pass; a NamedTuple, so that it passes through functional models.

    Attributes:
      output: float [batch, length, width].
      block_outputs: list of the same, one a block. The last one is the output of a post-norm encoder; in a pre-norm encoder it is
        the input of the final norm.
      balance_loss: scalar, float32 or float64, the sum of balance_weight * l_balance over the routings; 0 if no block is an MoE.
        In training the layer's `losses` have the same terms, so add only one of the two to a loss. Outside training `losses` has
        at most those of a kernel_regularizer.
    """

    output: tf.Tensor
    block_outputs: list[tf.Tensor]
    balance_loss: tf.Tensor


class BlockRecord(NamedTuple):
    """What a block is recorded as while `widenet.fast_path.CONTEXT.blocks` is a list (`recording_blocks`).

    Attributes:
      ffn_input: float [batch, length, width], what the block's FFN or experts take.
      output: float [batch, length, width], the block's output.
      mask: bool [batch, length], False where a token is padding; None if all are real.
    """

    ffn_input: tf.Tensor
    output: tf.Tensor
    mask: tf.Tensor | None


@contextlib.contextmanager
def recording_blocks():
    """Yields a list that gets the BlockRecord of every block of each Encoder called inside, in the order of the calls."""
    records = []
    with setting(blocks=records):
        yield records


@register
class Encoder(Layer):
    """`depth` blocks of self-attention and FFN or MoE, whose weights are shared as `deployment` says.

    A pre-norm block (the paper's section "Individual Layer Normalization") computes x += attention(norm_a(x)) and
    x += moe(norm_f(x)), and a final norm follows the last block; a post-norm block computes x = norm_a(x + attention(x)) and
    x = norm_f(x + moe(x)).

    Args:
      depth: number of blocks L.
      width: size D of a token.
      heads: attention heads; divides width.
      ffn_dim: hidden width of dense FFNs.
      expert_dim: hidden width of each expert; None for ffn_dim.
      deployment: a Deployment; the default is WideNet's for images.
      moe: dict of the settings of its MoE layers, those of widenet.routing.MOE_SETTINGS: num_experts (4 by default), top_k,
        capacity_factor and others. They may also be given as keywords of the Encoder, as its config has them.
      activation: of FFNs and experts, a name of widenet.feed_forward.ACTIVATIONS or a function. A model whose function is not
        registered with Keras (tf.keras.saving.register_keras_serializable) cannot be saved as a whole.
      dropout: rate after attention and inside FFNs and experts.
      attention_dropout: rate on the attention probabilities.
      drop_path: rate at which the last block's residual branches are dropped for a whole example (stochastic depth,
        arXiv:1603.09382); it grows linearly from 0 at the first block.
      norm_epsilon: epsilon of every norm.
      kernel_initializer: name, config or unseeded instance of a Keras initializer, for every kernel.
      kernel_regularizer: name, config or instance of a Keras regularizer of every kernel, or None.

    Attributes:
      moe: all settings of its MoE layers, a dict; each is an attribute too, such as `num_experts`.
      blocks: the Block of each depth, which says what of `attentions`, `dense_layers`, `moe_layers` and the norms it uses.
      attentions, dense_layers, moe_layers: lists of SelfAttention, FeedForward and SharedMoE.
      attention_norm, ffn_norm: IndividualLayerNorm banks of the norms before (or after) attention and FFN.
      final_norm: IndividualLayerNorm of depth 1, or None in post-norm encoders.
      recompute: whether training keeps only the input of each block but the last, and computes the block again in the backward
        pass; False at first. Not part of the config. `widenet.Model.recompute_blocks` sets it.

    Raises:
      ValueError: a setting out of range or a deployment that this depth does not allow, at construction.
    """

    table = MOE_SETTINGS

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        ffn_dim: int,
        expert_dim: int | None = None,
        deployment: Deployment = Deployment(),
        moe: Mapping[str, Any] | None = None,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_epsilon: float = 1e-6,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer = None,
        **kwargs: Any,
    ):
        # Of MoE layers all settings are checked even where no block is an MoE, so that an ablation does not hide a wrong value.
        super().__init__(**_merged(moe, kwargs))
        check_heads(width, heads)
        check_count("ffn_dim", ffn_dim)
        if expert_dim is not None:
            check_count("expert_dim", expert_dim)
        check_rate("drop_path", drop_path)
        check_positive("norm_epsilon", norm_epsilon)
        if not isinstance(deployment, Deployment):
            refuse("deployment", deployment, "a widenet.Deployment")
        self.depth = depth
        self.width = width
        self.heads = heads
        self.ffn_dim = ffn_dim
        self.expert_dim = expert_dim
        self.deployment = deployment
        self.activation = plain_activation(activation)
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.drop_path = drop_path
        self.norm_epsilon = norm_epsilon
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)

        self.recompute = False
        self.blocks = deployment.blocks(depth)
        self.attentions = [self._new_attention(i) for i in range(1 + self.blocks[-1].attention)]
        self.dense_layers = [self._new_dense(i) for i in sorted({block.ffn for block in self.blocks if not block.is_moe})]
        self.moe_layers = [self._new_moe(i) for i in sorted({block.ffn for block in self.blocks if block.is_moe})]
        norms = 1 + self.blocks[-1].norm
        self.attention_norm = self._new_norm(norms, "attention_norm")
        self.ffn_norm = self._new_norm(norms, "ffn_norm")
        self.final_norm = self._new_norm(1, "final_norm") if deployment.norm_position == "pre" else None
        self._drop_paths = [
            Dropout(drop_path * i / max(depth - 1, 1), noise_shape=(None, 1, 1), dtype=self.dtype_policy) for i in range(depth)
        ]

    @classmethod
    def settings(cls) -> list[str]:
        """With those of the MoE layers one by one, and not as `moe`: configs in files have this form."""
        return [name for name in super().settings() if name != "moe"]

    @property
    def moe(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in MOE_SETTINGS}

    def _new_attention(self, index):
        return SelfAttention(
            self.width,
            self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            name=f"attention_{index}",
            dtype=self.dtype_policy,
        )

    def _new_dense(self, index):
        return FeedForward(
            self.ffn_dim,
            activation=self.activation,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            name=f"ffn_{index}",
            dtype=self.dtype_policy,
        )

    def _new_moe(self, index):
        return SharedMoE(
            hidden_dim=self.ffn_dim if self.expert_dim is None else self.expert_dim,
            **self.moe,
            activation=self.activation,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            name=f"moe_{index}",
            dtype=self.dtype_policy,
        )

    def _new_norm(self, depth, name):
        return IndividualLayerNorm(depth, epsilon=self.norm_epsilon, name=name, dtype=self.dtype_policy)

    def build(self, input_shape: tf.TensorShape) -> None:
        norms = [self.attention_norm, self.ffn_norm] + ([self.final_norm] if self.final_norm else [])
        for child in (*self.attentions, *self.dense_layers, *self.moe_layers, *norms):
            self.build_child(child, input_shape)
        super().build(input_shape)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None, details: bool = False
    ) -> tf.Tensor | Encoding:
        """Encodes a batch of sequences.

        Args:
          x: float [batch, length, width].
          mask: bool [batch, length], or integers, False or 0 where a token is padding; None if all are real.
          training: whether dropouts, router noise, balance loss and the training capacity are on.
          details: whether to return an Encoding.

        Returns:
          float [batch, length, width], or an Encoding.
        """
        mask = real_tokens(mask, x)
        counts = collections.Counter(layer for block in self.blocks for layer in self._feed_forwards(block))
        recomputes = self.recompute and training and not tf.is_tensor(training)
        with cast_once(list(counts.items()), added_early=recomputes):
            block_outputs, routings = self._encode(x, mask, training, recomputes)
        output = self.final_norm(block_outputs[-1], 0) if self.final_norm else block_outputs[-1]
        return Encoding(output, block_outputs, self._balance_loss(routings, mask)) if details else output

    def _encode(self, x, mask, training, recomputes):
        """The output of every block, and the Routing of each routing group."""
        block_outputs, routings = [], {}
        for number, block in enumerate(self.blocks):
            run = functools.partial(self._run, number, training)
            inputs = x, mask, routings.get(block.routing) if block.is_moe else None
            # The last block's results are those that the backward pass needs first.
            if recomputes and number + 1 < self.depth:
                h, x, routing = _recomputed(run, inputs, self._feed_forwards(block), self.compute_dtype)
            else:
                h, x, routing = run(inputs)
            if routing is not None:
                routings[block.routing] = routing
            block_outputs.append(x)
            if CONTEXT.blocks is not None:
                CONTEXT.blocks.append(BlockRecord(h, x, mask))
        return block_outputs, routings

    def _run(self, number, training, inputs):
        """One block.

        Args:
          number: from 0 on.
          training: as of a call.
          inputs: (x, mask, Routing of an earlier block to reuse or None).

        Returns:
          (what the FFN or experts take, or None where blocks are not recorded; the output; the Routing if it is new).
        """
        x, mask, routing = inputs
        block, drop_path, pre_norm = self.blocks[number], self._drop_paths[number], self.final_norm is not None
        h = self.attention_norm(x, block.norm) if pre_norm else x
        x += drop_path(self.attentions[block.attention](h, mask=mask, training=training), training=training)
        if not pre_norm:
            x = self.attention_norm(x, block.norm)
        h = self.ffn_norm(x, block.norm) if pre_norm else x
        is_new = block.is_moe and routing is None
        if is_new:
            routing = self.moe_layers[block.ffn].route(h, mask=mask, training=training)
        if block.is_moe:
            output = self.moe_layers[block.ffn](h, mask=mask, routing=routing, training=training)
        else:
            output = self.dense_layers[block.ffn](h, training=training)
        x += drop_path(output, training=training)
        if not pre_norm:
            x = self.ffn_norm(x, block.norm)
        return None if CONTEXT.blocks is None else h, x, routing if is_new else None

    def _feed_forwards(self, block):
        """The FeedForward layers that a block uses."""
        return self.moe_layers[block.ffn].experts if block.is_moe else [self.dense_layers[block.ffn]]

    def _balance_loss(self, routings, mask):
        terms = [balance_loss(routing.probabilities, routing.experts, mask) for routing in routings.values()]
        return self.balance_weight * tf.add_n(terms) if terms else tf.zeros([], at_least_float32(self.compute_dtype))

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor | None:
        """Passes the mask of the tokens on with the output."""
        return real_tokens(mask)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Encoder":
        return cls(**{**config, "deployment": Deployment.from_config(config["deployment"])})


def _recomputed(*arguments):
    from widenet.recomputation import recomputed  # which most runs need not import

    return recomputed(*arguments)


def _merged(moe, kwargs):
    """The settings of `moe`, a dict or None, and those given as keywords."""
    if moe is None:
        return kwargs
    if not isinstance(moe, Mapping):
        refuse("moe", moe, "a dict of settings of widenet.SharedMoE")
    check_known(moe, MOE_SETTINGS, "setting of moe")
    for name in moe.keys() & kwargs.keys():
        refuse(name, kwargs[name], f"given once: moe has {name}={moe[name]!r}")
    return {**moe, **kwargs}

"""The mixture of experts that several blocks can share."""

from typing import Any

import tensorflow as tf

from widenet.checks import check_rate
from widenet.dispatch import combine_outputs, gather_tokens, join_groups, length, plan_dispatch, split_groups
from widenet.expert_load import record_assignments, record_load, record_margins
from widenet.fast_path import compiles_elementwise, in_xla, xla_elementwise
from widenet.feed_forward import FeedForward, plain_activation
from widenet.layer import Activation, Initializer, Layer, Regularizer, check_initializer, check_regularizer, real_tokens, register
from widenet.router import Router
from widenet.routing import MOE_SETTINGS, ROUTER_SETTINGS, Routing, batch_priority, expert_capacity

# Settings under which, outside training, the answer to an example does not depend on the others of its batch.
DROPS_NOTHING = {"eval_capacity_factor": None}


@register
class SharedMoE(Layer):
    """A router and E feed-forward experts, called once a block with the same weights.

    MoE(x) = sum_i g(x)_i e(x)_i (the paper's section "Conditional Computation with MoE"). The tokens of one call on one replica
    form a dispatch group: an expert keeps at most ceil(C * K * T / E) of its T real tokens, and a token adds nothing for the
    experts that have no room for it.

    Args:
      num_experts: E.
      hidden_dim: width of the experts' hidden layer.
      top_k: K, from 1 to E.
      capacity_factor: C in training; None drops nothing.
      eval_capacity_factor: C outside training; None drops nothing.
      balance_weight: lambda of the balance loss, added in training once a routing.
      noise: whether the router adds noise in training.
      renormalize: whether a token's K gates are divided by their sum.
      activation: a name of widenet.feed_forward.ACTIVATIONS, or a function.
      dropout: rate of the experts' dropouts.
      kernel_initializer: name, config or unseeded instance of a Keras initializer, for router and experts.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernels of router and experts, or None.
      **kwargs: other settings of widenet.routing.MOE_SETTINGS, and Keras's `name`, `dtype` and `trainable`.

    Weights: `router.kernel` and, for each `experts[e]`, `kernel_in`, `bias_in`, `kernel_out`, `bias_out`: separate variables,
    so that each expert starts as a Dense of its own would and gets its own trust ratio from LAMB.

    Raises:
      ValueError: a setting out of range, at construction.
    """

    table = MOE_SETTINGS

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        top_k: int = 2,
        capacity_factor: float | None = 1.2,
        eval_capacity_factor: float | None = None,
        balance_weight: float = 0.01,
        noise: bool = True,
        renormalize: bool = False,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer = None,
        **kwargs: Any,
    ):
        super().__init__(
            num_experts=num_experts,
            top_k=top_k,
            capacity_factor=capacity_factor,
            eval_capacity_factor=eval_capacity_factor,
            balance_weight=balance_weight,
            noise=noise,
            renormalize=renormalize,
            **kwargs,
        )
        check_rate("dropout", dropout)
        self.hidden_dim = hidden_dim
        self.activation = plain_activation(activation)
        self.dropout = dropout
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.router = Router(
            **{name: getattr(self, name) for name in ROUTER_SETTINGS},
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            name="router",
            dtype=self.dtype_policy,
        )
        self.experts = [
            FeedForward(
                hidden_dim,
                activation=activation,
                dropout=dropout,
                kernel_initializer=self.kernel_initializer,
                kernel_regularizer=self.kernel_regularizer,
                name=f"expert_{e}",
                dtype=self.dtype_policy,
            )
            for e in range(num_experts)
        ]

    def build(self, input_shape: tf.TensorShape) -> None:
        for child in (self.router, *self.experts):
            self.build_child(child, input_shape)
        super().build(input_shape)

    def route(self, x: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None) -> Routing:
        """The `Routing` of x, for later blocks that reuse it. Arguments as for a call."""
        # Only if no mask is named at all does Keras pass the one that x carries.
        given = {} if mask is None else {"mask": mask}
        return self(x, training=training, route_only=True, **given)

    def call(
        self,
        x: tf.Tensor,
        mask: tf.Tensor | None = None,
        routing: Routing | None = None,
        training: bool | None = None,
        route_only: bool = False,
    ) -> tf.Tensor | Routing:
        """Sends every token through its experts.

        Args:
          x: float [batch, length, D].
          mask: bool [batch, length], or integers, False or 0 where a token is padding: it takes no slot and gets zeros; None if
            all are real.
          routing: a Routing of the same tokens to reuse; None makes a new one, with its balance loss.
          training: whether noise, dropout, balance loss and the training capacity are on.
          route_only: whether to return the Routing instead; `route` sets it.

        Returns:
          float [batch, length, D].
        """
        mask = real_tokens(mask, x)
        if routing is None:
            routing = self.router(x, mask=mask, training=training)
        if route_only:
            return routing
        # A functional model that was saved and loaded passes a list.
        gates, experts, probabilities = routing
        tokens = tf.reshape(x, [-1, x.shape[-1]])  # [T, D]
        flat = Routing(
            tf.reshape(gates, [-1, gates.shape[-1]]),
            tf.reshape(experts, [-1, experts.shape[-1]]),
            tf.reshape(probabilities, [-1, probabilities.shape[-1]]),
        )
        real = tf.ones_like(tokens[:, 0], tf.bool) if mask is None else tf.reshape(mask, [-1])
        record_assignments(flat, real, x)
        record_margins(flat, real, x)
        output = self._dispatch(tokens, flat, real, padded=mask is not None, training=training)
        return tf.reshape(output, tf.shape(x))

    def _dispatch(self, tokens, routing, real, padded, training):
        """[T, D] to [T, D]; `padded` says whether any token may be padding."""
        count = length(tokens)
        factor = self.capacity_factor if training else self.eval_capacity_factor
        room = capacity = count
        if factor is not None:
            # The size of static groups follows from all tokens, which XLA knows; the capacity from the real tokens alone.
            room = self._at_most(count, self._capacity(count, factor))
            capacity = room
            if padded:
                capacity = self._at_most(room, self._capacity(tf.reduce_sum(tf.cast(real, tf.int64)), factor))
        # If nothing is dropped the order does not matter, and other runtimes may lack the sort.
        order = batch_priority(routing.gates) if self.batch_priority and factor is not None else None
        group_size = room if in_xla() else None
        dispatch = plan_dispatch(routing.experts, real, self.num_experts, capacity, group_size, order)
        record_load(routing, dispatch.loads, real)
        return combine_outputs(self._experts(gather_tokens(tokens, dispatch), dispatch.sizes, training), routing.gates, dispatch)

    def _experts(self, rows, sizes, training):
        """Every expert on its group of rows, [R, D] to [R, D]; the last rows, which belong to no expert, are zero."""
        hidden = [expert.project_in(group) for expert, group in zip(self.experts, split_groups(rows, sizes), strict=True)]
        elements = length(rows) * self.hidden_dim if isinstance(length(rows), int) else None
        if compiles_elementwise(elements):
            # Joined, so that the shape does not depend on the routing.
            hidden = split_groups(self.experts[0].activate(join_groups(hidden, length(rows))), sizes)
        else:
            # Groups vary in length, and compiled functions would be compiled again for every length.
            with xla_elementwise(False):
                hidden = [expert.activate(group) for expert, group in zip(self.experts, hidden, strict=True)]
        outputs = [expert.project_out(group, training) for expert, group in zip(self.experts, hidden, strict=True)]
        return join_groups(outputs, length(rows))

    def _capacity(self, tokens, factor):
        if tf.is_tensor(tokens):
            tokens = tf.cast(tokens, tf.int64)
        return expert_capacity(tokens, self.num_experts, self.top_k, factor)

    @staticmethod
    def _at_most(limit, count):
        """min, as a Python int where both are."""
        if tf.is_tensor(limit) or tf.is_tensor(count):
            return tf.minimum(tf.cast(limit, tf.int32), tf.cast(count, tf.int32))
        return min(limit, count)

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor | None:
        """Passes the mask of the tokens on with them."""
        return real_tokens(mask)

"""The router of an MoE layer."""

from typing import Any

import tensorflow as tf

from widenet.layer import (
    Initializer,
    Layer,
    Regularizer,
    at_least_float32,
    check_initializer,
    check_regularizer,
    compute_dtype_of,
    new_initializer,
    real_tokens,
    register,
)
from widenet.routing import ROUTER_SETTINGS, Routing, top_k_routing


@register
class Router(Layer):
    """Routes each token to K of E experts: g(x) = TopK(softmax(f(x) + noise)), the paper's section "Routing".

    f is linear without a bias. Weights and computation are float32, or float64 under a float64 policy, never smaller. In
    training it adds balance_weight * l_balance (the paper's section "Balanced Loading") through `add_loss`, once a call.

    Args:
      num_experts: E.
      top_k: K, from 1 to E.
      noise: whether normal noise of standard deviation 1/E is added to the logits, in training only.
      renormalize: whether the K gates are divided by their sum; the paper does not.
      balance_weight: lambda.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernel, or None.
      **kwargs: other settings of widenet.routing.ROUTER_SETTINGS, and Keras's `name`, `dtype` and `trainable`.

    Weights: `kernel` [D, E].

    Raises:
      ValueError: a setting out of range, at construction.
    """

    table = ROUTER_SETTINGS

    def __init__(
        self,
        num_experts: int,
        top_k: int = 2,
        noise: bool = True,
        renormalize: bool = False,
        balance_weight: float = 0.01,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer = None,
        **kwargs: Any,
    ):
        # In place of a policy that computes below float32, under which the kernel would be rounded whenever it is read.
        kwargs["dtype"] = at_least_float32(compute_dtype_of(kwargs.get("dtype")))
        super().__init__(
            num_experts=num_experts,
            top_k=top_k,
            noise=noise,
            renormalize=renormalize,
            balance_weight=balance_weight,
            **kwargs,
        )
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.num_experts),
            initializer=new_initializer(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None) -> Routing:
        """Routes every token.

        Args:
          x: float [..., D].
          mask: bool [...], or integers, False or 0 where a token is padding, which the losses leave out; None if all are real.
          training: whether the options at the stages of widenet.routing are on: noise, balance loss and others.

        Returns:
          A `Routing`, float32 or float64.
        """

        def options(stage):
            """(function, value of the setting) of the options at that stage that are on."""
            settings = self.table.items() if training else ()
            return [(s.function, getattr(self, name)) for name, s in settings if s.stage == stage and getattr(self, name)]

        mask = real_tokens(mask, x)
        x = tf.cast(x, self.kernel.dtype)
        for function, value in options("tokens"):
            x = function(x, value)
        logits = tf.tensordot(x, self.kernel, axes=1)
        for function, value in options("logits"):
            logits = function(logits, value)
        routing = top_k_routing(logits, self.top_k, self.renormalize)
        for function, weight in options("loss"):
            self.add_loss(weight * function(logits, routing, mask))
        return routing

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> None:
        """A routing carries no mask of its own."""
        return None

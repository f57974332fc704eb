"""The router of an MoE layer."""

import tensorflow as tf

from widenet.checks import check_not_negative, check_switch
from widenet.layer import Layer, at_least_float32, check_initializer, compute_dtype_of, new_initializer, register
from widenet.routing import balance_loss, check_routing, router_z_loss, top_k_routing


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
      z_loss_weight: weight of `router_z_loss`, added in training through `add_loss`; 0 for none.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.

    Weights: `kernel` [D, E].

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(
        self,
        num_experts,
        top_k=2,
        noise=True,
        renormalize=False,
        balance_weight=0.01,
        z_loss_weight=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        # In place of a policy that computes below float32, under which the kernel would be rounded whenever it is read.
        kwargs["dtype"] = at_least_float32(compute_dtype_of(kwargs.get("dtype")))
        super().__init__(**kwargs)
        check_routing(num_experts, top_k)
        check_not_negative("balance_weight", balance_weight)
        check_not_negative("z_loss_weight", z_loss_weight)
        check_switch("noise", noise)
        check_switch("renormalize", renormalize)
        self.num_experts = num_experts
        self.top_k = top_k
        self.noise = noise
        self.renormalize = renormalize
        self.balance_weight = balance_weight
        self.z_loss_weight = z_loss_weight
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.num_experts), initializer=new_initializer(self.kernel_initializer)
        )
        super().build(input_shape)

    def call(self, x, mask=None, training=None):
        """Routes every token.

        Args:
          x: float [..., D].
          mask: bool [...], False where a token is padding, which the balance loss leaves out; None if all are real.
          training: whether noise and balance loss are on.

        Returns:
          A `Routing`, float32 or float64.
        """
        logits = tf.tensordot(tf.cast(x, self.kernel.dtype), self.kernel, axes=1)
        if training and self.noise:
            logits += tf.random.normal(tf.shape(logits), stddev=1 / self.num_experts, dtype=logits.dtype)
        routing = top_k_routing(logits, self.top_k, self.renormalize)
        if training and self.balance_weight:
            self.add_loss(self.balance_weight * balance_loss(routing.probabilities, routing.experts, mask))
        if training and self.z_loss_weight:
            self.add_loss(self.z_loss_weight * router_z_loss(logits, mask))
        return routing

    def compute_mask(self, inputs, mask=None):
        """A routing carries no mask of its own."""
        return None

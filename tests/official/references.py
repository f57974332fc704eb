"""Optimizers in NumPy and float64, with clipping, schedule, scaled updates and averages, written from their papers."""

import math

import numpy as np


class Reference:
    """One optimizer on a list of weights.

    Args:
      weights: initial values.
      decays: for each weight, whether it decays (and LAMB adapts to it).
      train: official.config.train_settings without warm-up; read are lr, steps, clip_norm, weight_decay, ema_decay and the
        optimizer's own.
      scales: for each weight the factor of its updates, a number or an array.

    Attributes:
      weights, averages: lists of float64 arrays.
    """

    def __init__(self, weights, decays, train, scales=None):
        self.weights = [np.asarray(weight, np.float64) for weight in weights]
        self.averages = [weight.copy() for weight in self.weights]
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self.decays = decays
        self.train = train
        self.scales = scales or [1.0] * len(self.weights)
        self.step = 0

    def apply(self, gradients):
        """One step; returns the gradients' global norm."""
        gradients = [np.asarray(gradient, np.float64) for gradient in gradients]
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
        lr = self.train.lr * 0.5 * (1 + math.cos(math.pi * self.step / self.train.steps))
        self.step += 1
        for i, gradient in enumerate(gradients):
            change = self.change(i, gradient * min(1, self.train.clip_norm / norm), lr)
            self.weights[i] = self.weights[i] + self.scales[i] * change
            self.averages[i] = self.train.ema_decay * self.averages[i] + (1 - self.train.ema_decay) * self.weights[i]
        return norm

    def decay(self, i):
        return self.train.weight_decay * self.weights[i] if self.decays[i] else 0.0

    def moments(self, i, gradient):
        """Adam's moments m and v, without the bias of their start at zero (arXiv:1412.6980, algorithm 1)."""
        beta_1, beta_2 = self.train.beta_1, self.train.beta_2
        self.first[i] = beta_1 * self.first[i] + (1 - beta_1) * gradient
        self.second[i] = beta_2 * self.second[i] + (1 - beta_2) * gradient**2
        return self.first[i] / (1 - beta_1**self.step), self.second[i] / (1 - beta_2**self.step)


class Lamb(Reference):
    """LAMB (arXiv:1904.00962, algorithm 2), decay inside the trust ratio."""

    def change(self, i, gradient, lr):
        m, v = self.moments(i, gradient)
        update = m / (np.sqrt(v) + self.train.epsilon) + self.decay(i)
        weight_norm, update_norm = np.linalg.norm(self.weights[i]), np.linalg.norm(update)
        adapted = self.decays[i] and weight_norm and update_norm
        return -lr * (weight_norm / update_norm if adapted else 1.0) * update


class AdamW(Reference):
    """AdamW (arXiv:1711.05101, algorithm 2), the decay times the learning rate, and Adam's "epsilon hat" (its section 2)."""

    def change(self, i, gradient, lr):
        m, v = self.moments(i, gradient)
        epsilon = self.train.epsilon / math.sqrt(1 - self.train.beta_2**self.step)
        return -lr * (m / (np.sqrt(v) + epsilon) + self.decay(i))


class Sgd(Reference):
    """SGDW (arXiv:1711.05101, algorithm 1), the decay times the learning rate; the velocity sums steps."""

    def change(self, i, gradient, lr):
        self.first[i] = self.train.momentum * self.first[i] - lr * gradient
        return self.first[i] - lr * self.decay(i)


REFERENCES = {"lamb": Lamb, "adamw": AdamW, "sgd": Sgd}

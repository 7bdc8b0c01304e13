"""Adam and its family, each rule for one array, as Keras 2 writes them; AdamW as Keras 3.

What makes up for means that start at 0 depends on the step alone: `rates` computes it once for all arrays.
"""

from typing import Any

import jax.numpy as jnp

from kjax.optim.optimizer import Optimizer, Slots
from kjax.optim.rules import Step, root

Rates = tuple[Any, dict[str, Any]]
"""What `rule` gets for `lr`, and the new scalars."""


class Adam(Optimizer):
    """Steps along the gradient's recent mean, divided by the root of its recent mean square.

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        p = p - lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

    With amsgrad, the largest v so far divides instead of v.

    Args:
        lr: the learning rate.
        beta_1: how much of the mean stays, in [0, 1).
        beta_2: how much of the mean square stays, in [0, 1).
        epsilon: the paper's "epsilon hat", as in Keras; PyTorch's would here be epsilon * sqrt(1 - beta_2^t).
        decay: of the learning rate, per update.
        amsgrad: whether steps may never grow again.

    Source: Kingma and Ba, 2014 (arXiv:1412.6980), in the order that ends section 2; amsgrad: Reddi et al.,
    2018, On the convergence of Adam and beyond; Keras 2.

    >>> optimizer, p = Adam(0.5, epsilon=0), jnp.array([1.0, 1.0])
    >>> optimizer.update(jnp.array([0.1, -7.0]), optimizer.init(p), p)[0].round(6).tolist()
    [0.5, 1.5]
    """

    lr: Any = 0.001
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    decay: Any = 0.0
    amsgrad: bool = False

    def slots(self) -> tuple[str, ...]:
        return adam_slots(self)

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> Rates:
        return lr * adam_correction(self, t), scalars

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        step, slots = adam_step(self, g, slots)
        return p - lr * step, slots


class AdamW(Optimizer):
    """Adam with weight decay by default, which the means do not see.

        p = p * (1 - lr * weight_decay)     and then as Adam

    Args:
        lr: the learning rate.
        weight_decay: the part of the weights that each step removes, times lr.
        beta_1: how much of the mean stays, in [0, 1).
        beta_2: how much of the mean square stays, in [0, 1).
        epsilon: as in Adam.
        amsgrad: whether steps may never grow again.

    Source: Loshchilov and Hutter, 2017, Decoupled weight decay regularization (arXiv:1711.05101); Keras 3,
    whose order of arguments and defaults these are.

    >>> optimizer, p = AdamW(0.5, weight_decay=0.5), jnp.array([8.0])
    >>> optimizer.update(jnp.array([0.0]), optimizer.init(p), p)[0].tolist()
    [6.0]
    """

    lr: Any = 0.001
    weight_decay: Any = 0.004
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-7
    amsgrad: bool = False

    slots, rates, rule = Adam.slots, Adam.rates, Adam.rule


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root mean square.

        m = beta_1 * m + (1 - beta_1) * g
        u = max(beta_2 * u, |g|)
        p = p - lr / (1 - beta_1^t) * m / (u + epsilon)

    Args:
        lr: the learning rate.
        beta_1: how much of the mean stays, in [0, 1).
        beta_2: how much of the largest gradient stays, in [0, 1).
        epsilon: against division by 0.
        decay: of the learning rate, per update.

    Source: Kingma and Ba, 2014 (arXiv:1412.6980), section 7; Keras 2.

    >>> optimizer, p = Adamax(0.5, epsilon=0), jnp.array([1.0, 1.0])
    >>> optimizer.update(jnp.array([0.1, -7.0]), optimizer.init(p), p)[0].round(6).tolist()
    [0.5, 1.5]
    """

    lr: Any = 0.002
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    decay: Any = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("m", "u")

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> Rates:
        return lr / one_minus_power(self.beta_1, t), scalars

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        m = self.beta_1 * slots["m"] + (1 - self.beta_1) * g
        u = jnp.maximum(self.beta_2 * slots["u"], jnp.abs(g))
        return p - lr * m / (u + self.epsilon), {"m": m, "u": u}


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead, and a momentum that grows to beta_1 on a schedule.

        mu(t) = beta_1 * (1 - 0.5 * 0.96^(t * schedule_decay)),   M(t) = mu(1) * ... * mu(t)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        step = (1 - mu(t)) * g / (1 - M(t)) + mu(t+1) * m / (1 - M(t+1))
        p = p - lr * step / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Args:
        lr: the learning rate.
        beta_1: how much of the mean stays, in [0, 1).
        beta_2: how much of the mean square stays, in [0, 1).
        epsilon: against division by 0.
        schedule_decay: how fast the momentum grows; Keras 3 fixes it at 1.

    Source: Dozat, 2016, Incorporating Nesterov momentum into Adam; Keras 2.

    >>> optimizer, p = Nadam(0.5), jnp.array([1.0])
    >>> p, state = optimizer.update(jnp.array([2.0]), optimizer.init(p), p)
    >>> round(float(state.scalars["m_schedule"]), 5)
    0.45007
    """

    lr: Any = 0.002
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    schedule_decay: Any = 0.004

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def scalars(self) -> dict[str, float]:
        return {"m_schedule": 1.0}

    def momentum(self, t: Any) -> Any:
        """mu(t)."""
        return self.beta_1 * (1 - 0.5 * 0.96 ** (t * self.schedule_decay))

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> Rates:
        mu, following = self.momentum(t), self.momentum(t + 1)
        product = scalars["m_schedule"] * mu
        of_g, of_m = (1 - mu) / (1 - product), following / (1 - product * following)
        return (lr * of_g, lr * of_m, 1 / one_minus_power(self.beta_2, t)), {"m_schedule": product}

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        of_g, of_m, of_v = lr
        m, v = means(self, g, slots)
        return p - (of_g * g + of_m * m) / (root(of_v * v) + self.epsilon), {"m": m, "v": v}


def means(optimizer: Any, g: Any, slots: Slots) -> tuple[Any, Any]:
    """The recent means of the gradient and of its square."""
    m = optimizer.beta_1 * slots["m"] + (1 - optimizer.beta_1) * g
    v = optimizer.beta_2 * slots["v"] + (1 - optimizer.beta_2) * g**2
    return m, v


def adam_slots(optimizer: Any) -> tuple[str, ...]:
    """The names of what Adam keeps."""
    return ("m", "v", "v_max") if optimizer.amsgrad else ("m", "v")


def adam_correction(optimizer: Any, t: Any) -> Any:
    """What makes up for means that started at 0: sqrt(1 - beta_2^t) / (1 - beta_1^t)."""
    return root(one_minus_power(optimizer.beta_2, t)) / one_minus_power(optimizer.beta_1, t)


def adam_step(optimizer: Any, g: Any, slots: Slots) -> Step:
    """m / (sqrt(v) + epsilon), and the new slots."""
    m, v = means(optimizer, g, slots)
    if not optimizer.amsgrad:
        return m / (root(v) + optimizer.epsilon), {"m": m, "v": v}
    v_max = jnp.maximum(slots["v_max"], v)
    return m / (root(v_max) + optimizer.epsilon), {"m": m, "v": v, "v_max": v_max}


def one_minus_power(beta: Any, t: Any) -> Any:
    """1 - beta^t without the rounding of beta^t, which is nearly 1 where training begins.

    >>> float(one_minus_power(jnp.float32(0.9), jnp.float32(1))).__round__(6)
    0.1
    """
    return -jnp.expm1(t * jnp.log1p(beta - 1))

"""Update rules, each for one array, as Keras 2 writes them: frameworks differ in where epsilon stands.

`Optimizer` tells of the arguments that all share (`lr`, `clipnorm`, ...). In formulas, `lr` is this step's:
lr / (1 + decay * updates made before).
"""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.optim.optimizer import Optimizer, Slots

Step = tuple[Any, Slots]
"""The new parameter and its new slots."""


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's look-ahead.

        v = momentum * v - lr * g
        p = p + v                        or, with nesterov, p + momentum * v - lr * g

    Args:
        lr: the learning rate.
        momentum: the part of the last step that goes into this one, in [0, 1). The plain number 0 keeps no
            velocity; an array does, even of 0.
        decay: of the learning rate, per update.
        nesterov: whether to look ahead.

    Source: Sutskever et al., 2013, On the importance of initialization and momentum in deep learning;
    Keras 2. PyTorch multiplies by lr after it has added gradients up: the same while lr stays the same.

    >>> optimizer, p = SGD(0.1, momentum=0.5), jnp.array([1.0])
    >>> p, state = optimizer.update(jnp.array([2.0]), optimizer.init(p), p)
    >>> p.tolist(), state.slots["velocity"].tolist()
    ([0.800000011920929], [-0.20000000298023224])
    """

    lr: Any = 0.01
    momentum: Any = 0.0
    decay: Any = 0.0
    nesterov: bool = False

    absent_at_zero = ("momentum", "weight_decay")

    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.has("momentum") else ()

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        if not slots:
            return p - lr * g, {}
        v = self.momentum * slots["velocity"] - lr * g
        return p + (self.momentum * v - lr * g if self.nesterov else v), {"velocity": v}


class RMSprop(Optimizer):
    """Steps divided by the root of the gradient's recent mean square.

        a = rho * a + (1 - rho) * g^2
        p = p - lr * g / (sqrt(a) + epsilon)

    Args:
        lr: the learning rate.
        rho: how much of the mean stays, in [0, 1).
        epsilon: outside the root, as in Keras 2 and PyTorch; Keras 3 adds it inside.
        decay: of the learning rate, per update.

    Source: Tieleman and Hinton, 2012, Lecture 6.5; Keras 2.

    >>> optimizer, p = RMSprop(0.1, epsilon=0), jnp.array([1.0])
    >>> round(float(optimizer.update(p, optimizer.init(p), p)[0][0]), 4)
    0.6838
    """

    lr: Any = 0.001
    rho: Any = 0.9
    epsilon: Any = 1e-6
    decay: Any = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("accumulator",)

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        a = self.rho * slots["accumulator"] + (1 - self.rho) * g**2
        return p - lr * g / (root(a) + self.epsilon), {"accumulator": a}


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

        a = a + g^2
        p = p - lr * g / (sqrt(a) + epsilon)

    Args:
        lr: the learning rate.
        epsilon: outside the root, as in Keras 2 and PyTorch; Keras 3 adds it inside, and begins at a = 0.1.
        decay: of the learning rate, per update.

    Source: Duchi, Hazan and Singer, 2011, Adaptive subgradient methods; Keras 2.

    >>> optimizer, p = Adagrad(0.5, epsilon=0), jnp.array([1.0])
    >>> optimizer.update(p, optimizer.init(p), p)[0].tolist()
    [0.5]
    """

    lr: Any = 0.01
    epsilon: Any = 1e-6
    decay: Any = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("accumulator",)

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        a = slots["accumulator"] + g**2
        return p - lr * g / (root(a) + self.epsilon), {"accumulator": a}


class Adadelta(Optimizer):
    """Steps as long as recent steps were, relative to recent gradients; lr is 1 in the paper.

        a = rho * a + (1 - rho) * g^2
        u = g * sqrt(d + epsilon) / sqrt(a + epsilon)
        p = p - lr * u
        d = rho * d + (1 - rho) * u^2

    Args:
        lr: what the steps are multiplied by.
        rho: how much of the means stays, in [0, 1).
        epsilon: inside the roots, where it sets the length of the first step.
        decay: of lr, per update.

    Source: Zeiler, 2012, ADADELTA (arXiv:1212.5701); Keras 2.

    >>> optimizer, p = Adadelta(rho=0.75, epsilon=0.25), jnp.array([1.0])
    >>> p, state = optimizer.update(p, optimizer.init(p), p)
    >>> round(float(p[0]), 4), sorted(state.slots)
    (0.2929, ['accumulator', 'delta_accumulator'])
    """

    lr: Any = 1.0
    rho: Any = 0.95
    epsilon: Any = 1e-6
    decay: Any = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("accumulator", "delta_accumulator")

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        a, d = slots["accumulator"], slots["delta_accumulator"]
        a = self.rho * a + (1 - self.rho) * g**2
        u = g * root(d + self.epsilon) / root(a + self.epsilon)
        d = self.rho * d + (1 - self.rho) * u**2
        return p - lr * u, {"accumulator": a, "delta_accumulator": d}


class Lion(Optimizer):
    """Steps of one length, in the direction of the sign of an interpolated momentum.

        p = p - lr * sign(beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g

    Args:
        lr: the learning rate; 3 to 10 times smaller than Adam's.
        beta_1: the momentum's part of the direction, in [0, 1).
        beta_2: how much of the momentum stays, in [0, 1).

    Source: Chen et al., 2023, Symbolic discovery of optimization algorithms (arXiv:2302.06675); Keras 3.

    >>> optimizer, p = Lion(0.5), jnp.array([1.0, 1.0])
    >>> optimizer.update(jnp.array([0.1, -7.0]), optimizer.init(p), p)[0].tolist()
    [0.5, 1.5]
    """

    lr: Any = 0.001
    beta_1: Any = 0.9
    beta_2: Any = 0.99

    def slots(self) -> tuple[str, ...]:
        return ("m",)

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        m = slots["m"]
        direction = jnp.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        return p - lr * direction, {"m": self.beta_2 * m + (1 - self.beta_2) * g}


@jax.custom_jvp
def root(x: Any) -> Any:
    """The square root, with slope 0 at 0: no NaN from parameters whose gradient has always been 0."""
    return jnp.sqrt(x)


@root.defjvp
def _root_jvp(primals: Any, tangents: Any) -> Any:
    y = root(primals[0])
    return y, tangents[0] * jnp.where(y > 0, 0.5 / jnp.where(y > 0, y, 1), 0)

"""Learning rates as functions of the number of updates made before: `Adam(lr=CosineDecay(1e-3, 10_000))`.

A schedule's numbers are leaves, as an optimizer's are: other ones compile nothing again. So is any function
`step -> rate` of `jax.numpy` a schedule, its constants compiled in.

>>> from kjax.optim import SGD
>>> optimizer = SGD(lr=LinearWarmup(ExponentialDecay(0.5, decay_steps=2, decay_rate=0.25), warmup_steps=2))
>>> [float(optimizer.learning_rate_at(step)) for step in (0, 1, 2, 4)]
[0.0, 0.25, 0.5, 0.125]
"""

import math
from typing import Any, ClassVar

import jax.numpy as jnp

from kjax.optim.tunable import Tunable, is_number


class Schedule(Tunable):
    """Base of the schedules: a subclass defines `__call__(self, step)`, of an integer scalar or array.

    >>> class Halving(Schedule):
    ...     initial_learning_rate: float
    ...
    ...     def __call__(self, step):
    ...         return self.initial_learning_rate * 0.5 ** floating(step)
    >>> float(Halving(1.0)(3))
    0.125
    """

    limits: ClassVar[dict[str, float]] = {
        **dict.fromkeys(("initial_learning_rate", "end_learning_rate", "decay_rate", "power", "alpha"), math.inf),
        **dict.fromkeys(("warmup_target", "m_mul"), math.inf),
    }
    positive: ClassVar[tuple[str, ...]] = (
        "decay_steps",
        "first_decay_steps",
        "max_lr",
        "div_factor",
        "final_div_factor",
    )

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, step)")


class ExponentialDecay(Schedule):
    """initial_learning_rate * decay_rate^(step / decay_steps).

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the steps that one factor of decay_rate takes.
        decay_rate: the factor.
        staircase: whether the rate falls once every decay_steps, instead of a little each step.

    Source: Keras 3.

    >>> float(ExponentialDecay(1.0, decay_steps=10, decay_rate=0.5, staircase=True)(25))
    0.25
    """

    initial_learning_rate: Any
    decay_steps: Any
    decay_rate: Any
    staircase: bool = False

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate * self.decay_rate ** periods(self, step)


class InverseTimeDecay(Schedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: how often the decay is applied.
        decay_rate: the decay.
        staircase: whether step / decay_steps is rounded down.

    Source: Keras 3.

    >>> float(InverseTimeDecay(1.0, decay_steps=1, decay_rate=0.5)(2))
    0.5
    """

    initial_learning_rate: Any
    decay_steps: Any
    decay_rate: Any
    staircase: bool = False

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate / (1 + self.decay_rate * periods(self, step))


class PiecewiseConstantDecay(Schedule):
    """values[i] for the steps up to and including boundaries[i], and values[-1] after them.

    Args:
        boundaries: growing step numbers.
        values: rates, one more than boundaries.

    Source: Keras 3.

    >>> rate = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])
    >>> [float(rate(step)) for step in (0, 10, 11, 20, 21)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    boundaries: Any
    values: Any

    def validate(self) -> None:
        given = self.boundaries, self.values
        if (
            not all(isinstance(v, tuple) and all(map(is_number, v)) for v in given)
            or len(given[0]) != len(given[1]) - 1
        ):
            raise ValueError(
                f"PiecewiseConstantDecay: boundaries and values are lists of numbers, with one more value; "
                f"got {self.boundaries!r} and {self.values!r}"
            )
        if all(isinstance(b, float) for b in self.boundaries) and list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(f"PiecewiseConstantDecay: boundaries must grow; got {self.boundaries!r}")

    def __call__(self, step: Any) -> Any:
        rate = self.values[0]
        for boundary, value in zip(self.boundaries, self.values[1:], strict=True):
            rate = jnp.where(floating(step) > boundary, value, rate)
        return rate


class PolynomialDecay(Schedule):
    """(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps)^power + end_learning_rate.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: when end_learning_rate is reached; it stays then.
        end_learning_rate: the last rate.
        power: of the polynomial; 1 is a straight line.
        cycle: whether, instead of staying, decay_steps doubles, triples ... each time that it is reached.

    Source: Keras 3.

    >>> float(PolynomialDecay(1.0, decay_steps=4, end_learning_rate=0.0, power=2)(2))
    0.25
    """

    initial_learning_rate: Any
    decay_steps: Any
    end_learning_rate: Any = 0.0001
    power: Any = 1.0
    cycle: bool = False

    def __call__(self, step: Any) -> Any:
        part = floating(step) / self.decay_steps
        part = part / jnp.maximum(jnp.ceil(part), 1) if self.cycle else jnp.minimum(part, 1)
        return (self.initial_learning_rate - self.end_learning_rate) * (1 - part) ** self.power + self.end_learning_rate


class CosineDecay(Schedule):
    """Half a cosine, from initial_learning_rate to alpha times it; with warmup_target, after a linear warm-up.

        rate = initial_learning_rate * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha)

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the steps that the decay takes, after the warm-up.
        alpha: the last rate, as a part of the highest.
        warmup_target: the rate at the end of the warm-up, where the decay begins; None for no warm-up.
        warmup_steps: the steps from initial_learning_rate to warmup_target.

    Source: Loshchilov and Hutter, 2016, SGDR (arXiv:1608.03983); Keras 3.

    >>> float(CosineDecay(1.0, decay_steps=10, alpha=0.5)(5))
    0.75
    """

    initial_learning_rate: Any
    decay_steps: Any
    alpha: Any = 0.0
    warmup_target: Any = None
    warmup_steps: Any = 0

    def validate(self) -> None:
        super().validate()
        if self.warmup_target is None and isinstance(self.warmup_steps, float) and self.warmup_steps:
            raise ValueError("CosineDecay: warmup_steps needs a warmup_target, the rate at the end of the warm-up")
        if self.warmup_target is not None:
            self.require_positive("warmup_steps")

    def __call__(self, step: Any) -> Any:
        step, first = floating(step), self.initial_learning_rate
        if self.warmup_target is None:
            return first * half_cosine(step / self.decay_steps, self.alpha)
        rising = first + (self.warmup_target - first) * step / self.warmup_steps
        falling = self.warmup_target * half_cosine((step - self.warmup_steps) / self.decay_steps, self.alpha)
        return jnp.where(step < self.warmup_steps, rising, falling)


class CosineDecayRestarts(Schedule):
    """Half cosines one after the other, each t_mul times as long and m_mul times as high as the last.

    Args:
        initial_learning_rate: the rate at step 0.
        first_decay_steps: the length of the first half cosine.
        t_mul: how much longer the next is; at least 1.
        m_mul: how much higher the next is.
        alpha: the lowest rate, as a part of initial_learning_rate.

    Source: Loshchilov and Hutter, 2016, SGDR (arXiv:1608.03983); Keras 3.

    >>> [round(float(CosineDecayRestarts(1.0, 2, m_mul=0.5)(step)), 4) for step in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    initial_learning_rate: Any
    first_decay_steps: Any
    t_mul: Any = 2.0
    m_mul: Any = 1.0
    alpha: Any = 0.0

    def validate(self) -> None:
        super().validate()
        if not is_number(self.t_mul) or (isinstance(self.t_mul, float) and self.t_mul < 1):
            raise ValueError(f"CosineDecayRestarts: t_mul must be a number of at least 1; got {self.t_mul!r}")

    def __call__(self, step: Any) -> Any:
        part = floating(step) / self.first_decay_steps
        equal = jnp.equal(self.t_mul, 1)
        t_mul = jnp.where(equal, 2.0, self.t_mul)  # no division by 0 in the branch that is not taken
        # At a restart itself the logarithm may come out a rounding below the whole number.
        grown = jnp.floor(jnp.log1p(part * (t_mul - 1)) / jnp.log(t_mul) + 1e-5)
        begun = (t_mul**grown - 1) / (t_mul - 1)
        restarts = jnp.where(equal, jnp.floor(part), grown)
        within = jnp.where(equal, part - jnp.floor(part), (part - begun) / t_mul**grown)
        height = self.m_mul**restarts
        return self.initial_learning_rate * ((1 - self.alpha) * height * half_cosine(within, 0.0) + self.alpha)


class OneCycle(Schedule):
    """From max_lr / div_factor up to max_lr, then down to that beginning / final_div_factor: one cycle for a run.

    Args:
        max_lr: the highest rate.
        total_steps: the steps of the whole run, at least 2; the last rate stays.
        pct_start: the part of the steps in which the rate rises.
        anneal_strategy: "cos" or "linear", the form of the ways up and down.
        div_factor: how much lower the first rate is than max_lr.
        final_div_factor: how much lower the last rate is than the first.
        three_phase: whether to go down as long as up, to the first rate, and only then to the last.

    Source: Smith and Topin, 2017, Super-convergence (arXiv:1708.07120); PyTorch's OneCycleLR, whose arguments these
    are; momentum stays.

    >>> rate = OneCycle(1.0, total_steps=10, pct_start=0.5, anneal_strategy="linear", div_factor=5)
    >>> [round(float(rate(step)), 4) for step in (0, 2, 4, 9)]
    [0.2, 0.6, 1.0, 0.0]
    """

    max_lr: Any
    total_steps: Any
    pct_start: Any = 0.3
    anneal_strategy: str = "cos"
    div_factor: Any = 25.0
    final_div_factor: Any = 1e4
    three_phase: bool = False

    def validate(self) -> None:
        super().validate()
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycle: anneal_strategy is 'cos' or 'linear'; got {self.anneal_strategy!r}")
        if not is_number(self.total_steps) or (isinstance(self.total_steps, float) and self.total_steps < 2):
            raise ValueError(f"OneCycle: total_steps must be a number of at least 2; got {self.total_steps!r}")
        top = 0.5 if self.three_phase else 1
        if not is_number(self.pct_start) or (isinstance(self.pct_start, float) and not 0 < self.pct_start < top):
            raise ValueError(f"OneCycle: pct_start must be between 0 and {top}; got {self.pct_start!r}")

    def __call__(self, step: Any) -> Any:
        step, end, first = floating(step), self.total_steps - 1, self.max_lr / self.div_factor
        top = self.pct_start * self.total_steps - 1
        up, last = self._way(first, self.max_lr, step / top), first / self.final_div_factor
        if not self.three_phase:
            return jnp.where(step <= top, up, self._way(self.max_lr, last, (step - top) / (end - top)))
        foot = 2 * top
        down = self._way(self.max_lr, first, (step - top) / top)
        out = self._way(first, last, (step - foot) / (end - foot))
        return jnp.where(step <= top, up, jnp.where(step <= foot, down, out))

    def _way(self, start: Any, end: Any, part: Any) -> Any:
        part = jnp.clip(part, 0, 1)
        left = half_cosine(part, 0.0) if self.anneal_strategy == "cos" else 1 - part
        return end + (start - end) * left


class LinearWarmup(Schedule):
    """A straight line up to where another schedule begins, and then that.

    Args:
        after: a schedule, a function of the step, or a number to stay at.
        warmup_steps: the steps of the line.
        initial_learning_rate: where it begins.

    Source: Goyal et al., 2017, Accurate, large minibatch SGD (arXiv:1706.02677), section 2.2.

    >>> [float(LinearWarmup(0.5, warmup_steps=2)(step)) for step in range(4)]
    [0.0, 0.25, 0.5, 0.5]
    """

    after: Any
    warmup_steps: Any
    initial_learning_rate: Any = 0.0

    positive = ("warmup_steps",)

    def validate(self) -> None:
        super().validate()
        if not (is_number(self.after) or callable(self.after)):
            raise TypeError(f"LinearWarmup: after is a schedule, a function or a number; got {self.after!r}")

    def __call__(self, step: Any) -> Any:
        left = jnp.maximum(floating(step) - self.warmup_steps, 0)
        later = self.after(left) if callable(self.after) else self.after
        part = jnp.minimum(floating(step) / self.warmup_steps, 1)
        return self.initial_learning_rate * (1 - part) + later * part


def periods(schedule: Any, step: Any) -> Any:
    """step / decay_steps, rounded down for a staircase."""
    part = floating(step) / schedule.decay_steps
    return jnp.floor(part) if schedule.staircase else part


def half_cosine(part: Any, alpha: Any) -> Any:
    """From 1 down to alpha while `part` goes from 0 to 1; beyond, alpha."""
    return (1 - alpha) * 0.5 * (1 + jnp.cos(math.pi * jnp.minimum(part, 1))) + alpha


def floating(step: Any) -> Any:
    """The step as a float: float32, or float64 where that is enabled."""
    return jnp.asarray(step, jnp.result_type(float))

"""The optimizer contract: a frozen dataclass that is also a pytree of its own numbers.

    opt_state = optimizer.init(params)
    params, opt_state = optimizer.update(grads, opt_state, params)

`params` is any pytree of floating-point arrays; nothing is changed in place or kept outside `opt_state`.

An optimizer's numbers and arrays (`lr`, `momentum`, ...) are its leaves; flags, None and plain functions are
static. So another `lr` compiles nothing again, `jax.vmap` over an optimizer with an array of them trains a
population, and `jax.grad` goes through `update` to any of them. A rule is written for one array:

>>> class SignSGD(Optimizer):
...     def rule(self, g, p, slots, lr, t):
...         return p - lr * jnp.sign(g), {}
>>> optimizer, params = SignSGD(0.5), {"w": jnp.array([1.0, 2.0])}
>>> params, opt_state = optimizer.update({"w": jnp.array([3.0, -4.0])}, optimizer.init(params), params)
>>> params["w"].tolist(), int(opt_state.step)
([0.5, 2.5], 1)
"""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from kjax.optim.lift import cast, clip, lift, require_alike, require_floating, widest
from kjax.optim.tunable import Tunable, made

Params = Any
Slots = dict[str, Any]


class OptState(NamedTuple):
    """What an optimizer remembers; a pytree."""

    step: jax.Array
    """int32: the updates made so far."""
    slots: dict[str, Any]
    """By name, one tree like the params for each array that the rule keeps: {"velocity": ...}."""
    scalars: dict[str, jax.Array]
    """By name, what a rule keeps once for all arrays: Nadam's product of momenta; empty for most."""


class Optimizer(Tunable):
    """Base of the optimizers: subclasses list their slots and write `rule`, for one array.

    Args:
        lr: the learning rate: a number, an array, or a function of the number of updates made before (an
            int32 scalar). `learning_rate` is another name for it.
        clipnorm: the largest Euclidean norm of each array's gradient; a longer one is scaled down.
        clipvalue: the largest absolute value of a gradient's element.
        global_clipnorm: the largest norm of all gradients taken together.

    Norms are clipped first, then values. (As in Keras 3; Keras 2.2's `clipnorm` is `global_clipnorm`.)

    Parameters and slots keep their dtype. What is narrower than float32 is computed in float32 in between: in
    bfloat16 the number 0.999 would be 1.

    Raises:
        ValueError: a number is out of its range, or both norms are given.
        TypeError: something is no number, or the argument does not exist.
    """

    lr: Any = 0.01
    clipnorm: Any = dataclasses.field(default=None, kw_only=True)
    clipvalue: Any = dataclasses.field(default=None, kw_only=True)
    global_clipnorm: Any = dataclasses.field(default=None, kw_only=True)

    limits: ClassVar[dict[str, float]] = {
        **dict.fromkeys(("decay", "epsilon", "weight_decay", "schedule_decay"), math.inf),
        "momentum": 1, "rho": 1, "beta_1": 1, "beta_2": 1,
    }  # fmt: skip

    # What a rule is made of: override these.

    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept beside each parameter; they start as zeros."""
        return ()

    def scalars(self) -> dict[str, float]:
        """The numbers kept once for all parameters, as they start."""
        return {}

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What a step computes once for all arrays, as `rule` gets it for `lr`, and the new scalars.

        Args:
            lr: this step's learning rate, decayed.
            t: this step's number, from 1, as a float.
            scalars: as the last step left them.
        """
        return lr, scalars

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> tuple[Any, Slots]:
        """The new parameter and the new slots, for one array: the formula.

        All have one dtype, the optimizer's own numbers too.

        Args:
            g: the gradient.
            p: the parameter.
            slots: by name, arrays like `p`.
            lr: what `rates` gave: the learning rate, unless overridden.
            t: this step's number, from 1, as a float.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rule(self, g, p, slots, lr, t)")

    # The contract.

    def init(self, params: Params) -> OptState:
        """The state to begin with; each of its arrays has a buffer of its own.

        Raises:
            TypeError: a parameter is not of a floating-point type.
        """
        require_floating(params, type(self).__name__)
        slots = {name: jax.tree.map(_zeros_like, params) for name in self.slots()}
        scalars = {name: jnp.asarray(value, widest(params)) for name, value in self.scalars().items()}
        return OptState(jnp.zeros((), jnp.int32), slots, scalars)

    def update(self, grads: Params, opt_state: OptState, params: Params) -> tuple[Params, OptState]:
        """The params one step further, and the new state.

        Args:
            grads: a tree like `params`.
            opt_state: from `init` or the last `update`.
            params: a tree of arrays.

        Raises:
            ValueError: the trees or their shapes differ.
        """
        self._require_alike(grads, opt_state, params)
        step, dtype = opt_state.step, widest(params)
        wide, t = self._cast(dtype), step.astype(dtype) + 1
        lr, scalars = wide.rates(self.learning_rate_at(step, dtype), t, opt_state.scalars)

        def settings(dtype: Any) -> Any:
            return self._cast(dtype), cast(lr, dtype), cast(t, dtype)

        clipped = clip(grads, wide.clipnorm, wide.clipvalue, wide.global_clipnorm)
        params, slots = lift(type(self).rule, settings, clipped, opt_state.slots, params)
        return params, OptState(step + 1, slots, cast(scalars, dtype))

    def learning_rate_at(self, step: Any, dtype: Any = jnp.float32) -> jax.Array:
        """lr / (1 + decay * step), with `step` the number of updates made before: Keras 2's arithmetic.

        >>> import kjax
        >>> float(kjax.optim.SGD(0.5, decay=1.0).learning_rate_at(1))
        0.25
        """
        lr = jnp.asarray(self.lr(step) if callable(self.lr) else self.lr, dtype)
        return lr / (1 + jnp.asarray(getattr(self, "decay", 0.0), dtype) * jnp.asarray(step, dtype))

    def _cast(self, dtype: Any) -> Any:
        """The same optimizer with its numbers as arrays of this dtype."""
        names = [name for name in self._static[0] if not callable(getattr(self, name))]
        return made(type(self), {**self.__dict__, **{name: self._scalar(name, dtype) for name in names}})

    def _scalar(self, name: str, dtype: Any) -> jax.Array:
        value = getattr(self, name)
        if jnp.ndim(value):
            raise ValueError(
                f"{type(self).__name__}: {name} has shape {jnp.shape(value)} where one number is wanted; "
                f"to train a population, jax.vmap a function of the optimizer over it"
            )
        return jnp.asarray(value, dtype)

    def _require_alike(self, grads: Params, opt_state: OptState, params: Params) -> None:
        owner = type(self).__name__
        if {*opt_state.slots} != {*self.slots()} or {*opt_state.scalars} != {*self.scalars()}:
            raise ValueError(
                f"{owner} keeps the slots {[*self.slots(), *self.scalars()]}, but opt_state has "
                f"{[*opt_state.slots, *opt_state.scalars]}: make it with optimizer.init(params)"
            )
        slots = {f"opt_state.slots[{name!r}]": tree for name, tree in opt_state.slots.items()}
        require_alike(owner, params, {"grads": grads, **slots})

    @property
    def learning_rate(self) -> Any:
        """Another name of `lr`."""
        return self.lr

    def replace(self, **changes: Any) -> Any:
        """A copy with some settings changed: `optimizer.replace(lr=0.1)`."""
        return super().replace(**self.translate(changes))

    # How settings are taken, refused, shown and compared.

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "learning_rate" not in kwargs:
            return kwargs
        if "lr" in kwargs:
            raise TypeError(f"{cls.__name__}: learning_rate is another name of lr: give one of them")
        return {("lr" if name == "learning_rate" else name): value for name, value in kwargs.items()}

    def convert(self, name: str, value: Any) -> Any:
        """No epsilon is Keras's 1e-7."""
        return super().convert(name, 1e-7 if name == "epsilon" and value is None else value)

    def validate(self) -> None:
        super().validate()
        if not callable(self.lr):
            self.require_number("lr", " or a function of the step")
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            if getattr(self, name) is not None:
                self.require_positive(name, ", or None for no clipping")
        if self.clipnorm is not None and self.global_clipnorm is not None:
            cls = type(self).__name__
            raise ValueError(f"{cls}: give clipnorm (for each array) or global_clipnorm (for all together), not both")


def _zeros_like(p: Any) -> jax.Array:
    return jnp.zeros_like(p, dtype=jnp.result_type(p))

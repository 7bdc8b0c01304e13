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
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from kjax.optim.averaging import Advance, accumulating, averaging, zeros_like
from kjax.optim.lift import cast, clip, flatten, lift, require_alike, require_floating, widest
from kjax.optim.paths import Group, PerPath, groups_of
from kjax.optim.tunable import Tunable, is_number, made

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
        weight_decay: the part of the weights that each step removes, times lr, before the rule moves them.
        exclude_from_weight_decay: globs on the paths of parameters that keep all of theirs: `["*bias", "*gamma"]`.
        gradient_accumulation_steps: how many gradients a step waits for; it is made by their mean.
        use_ema: whether to keep a moving average of the weights, which `averaged` gives.
        ema_momentum: how much of that average a step leaves, in [0, 1).
        ema_overwrite_frequency: after how many steps the weights are set to their average; None: never.

    `lr` may also be a dict from globs to rates: `{"head*": 1e-3, "*": 1e-5}`; the first that matches a path counts.
    A path is `dense_1/kernel`; only parameters that are trained have one here.

    Gradients of equal batches gathered are that of one big batch, to rounding, where every example counts the same
    and the network does not mix examples (as batch normalization does): batches whose weights differ in sum, and a
    last short one, count as much as others. `opt_state.step`, which schedules go by, counts the steps made. (In Keras 3
    schedules count the gradients.)

    Keras 3 also sets the weights to their average when `fit` ends; here `model.averaged_weights()` does so on demand.

    Norms are clipped first, then values. (As in Keras 3; Keras 2.2's `clipnorm` is `global_clipnorm`.)

    Parameters and slots keep their dtype. What is narrower than float32 is computed in float32 in between: in
    bfloat16 the number 0.999 would be 1.

    Raises:
        ValueError: a number is out of its range, or both norms are given; in `init` and `update` a pattern that
            matches nothing, or a parameter without a rate.
        TypeError: something is no number, or the argument does not exist.
    """

    lr: Any = 0.01
    clipnorm: Any = dataclasses.field(default=None, kw_only=True)
    clipvalue: Any = dataclasses.field(default=None, kw_only=True)
    global_clipnorm: Any = dataclasses.field(default=None, kw_only=True)
    weight_decay: Any = dataclasses.field(default=0.0, kw_only=True)
    exclude_from_weight_decay: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    gradient_accumulation_steps: int | None = dataclasses.field(default=None, kw_only=True)
    use_ema: bool = dataclasses.field(default=False, kw_only=True)
    ema_momentum: Any = dataclasses.field(default=0.99, kw_only=True)
    ema_overwrite_frequency: int | None = dataclasses.field(default=None, kw_only=True)

    absent_at_zero: ClassVar[tuple[str, ...]] = ("weight_decay",)
    counts: ClassVar[tuple[str, ...]] = ("gradient_accumulation_steps", "ema_overwrite_frequency")
    limits: ClassVar[dict[str, float]] = {
        **dict.fromkeys(("decay", "epsilon", "weight_decay", "schedule_decay"), math.inf),
        "momentum": 1, "rho": 1, "beta_1": 1, "beta_2": 1, "ema_momentum": 1,
    }  # fmt: skip

    # What a rule is made of: override these.

    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept beside each parameter; they start as zeros."""
        return ()

    def slot_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a slot beside a parameter of this shape."""
        return shape

    def slot_start(self, name: str) -> Any:
        """The number that a slot starts with."""
        return 0.0

    def variants(self) -> tuple["Optimizer", ...]:
        """The optimizers that share the parameters between them: this one alone, unless overridden."""
        return (self,)

    def choose(self, paths: list[str], shapes: list[tuple[int, ...]]) -> list[int]:
        """For each parameter, by its path and shape, the number of the variant that moves it."""
        return [0] * len(paths)

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
            slots: by name, arrays, of `p`'s shape unless `slot_shape` says otherwise.
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
        groups = groups_of(self, params)
        slots = {name: self._map_slot(name, self._fresh, groups, params) for name in self.slots()}
        extra = [name for name, there in (("gradient_sum", self._gathers), ("ema", self.use_ema)) if there]
        slots |= {name: zeros_like(params) for name in extra}
        scalars = {name: jnp.asarray(value, widest(params)) for name, value in self._all_scalars().items()}
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
        advance: Advance = self._advance
        if self.use_ema:
            advance = averaging(self.ema_momentum, self.ema_overwrite_frequency, advance)
        if self._gathers:
            advance = accumulating(self.gradient_accumulation_steps or 1, advance)
        return advance(grads, opt_state, params)

    def averaged(self, opt_state: OptState, params: Params) -> Params:
        """The moving average of the weights, in the dtypes of `params`; before the first step, the params.

        Raises:
            ValueError: the optimizer keeps none.
        """
        if not self.use_ema:
            raise ValueError(f"{type(self).__name__} keeps no average of the weights: give it use_ema=True")

        def of(a: Any, p: Any) -> Any:
            return jnp.where(opt_state.step == 0, p, a.astype(jnp.result_type(p)))

        return jax.tree.map(of, opt_state.slots["ema"], params)

    def learning_rate_at(self, step: Any, dtype: Any = jnp.float32) -> Any:
        """lr / (1 + decay * step), with `step` the number of updates made before: Keras 2's arithmetic.

        Where `lr` is a dict by patterns, so is this.

        >>> import kjax
        >>> float(kjax.optim.SGD(0.5, decay=1.0).learning_rate_at(1))
        0.25
        """

        def at(lr: Any) -> Any:
            lr = self._scalar("lr", lr(step) if callable(lr) else lr, dtype)
            return lr / (1 + jnp.asarray(getattr(self, "decay", 0.0), dtype) * jnp.asarray(step, dtype))

        return self.lr.map(at) if isinstance(self.lr, PerPath) else at(self.lr)

    # How a step is made.

    def _advance(self, grads: Params, opt_state: OptState, params: Params) -> tuple[Params, OptState]:
        step, dtype, groups = opt_state.step, widest(params), groups_of(self, params)
        wide, t, lr = self._cast(dtype), step.astype(dtype) + 1, self.learning_rate_at(step, dtype)
        plain = [*lr.values()] if isinstance(lr, dict) else [lr]
        variants, slots, scalars = self.variants(), {n: opt_state.slots[n] for n in self.slots()}, opt_state.scalars
        given = {}
        for group in dict.fromkeys(groups):
            variant = variants[group.variant]._cast(dtype)
            given[group], scalars = variant.rates(plain[group.rate], t, opt_state.scalars)

        def settings(dtype: Any, group: Group) -> Any:
            own = variants[group.variant]._cast(dtype)
            decays = group.decays and own.has("weight_decay")
            stays = 1 - cast(plain[group.rate], dtype) * own.weight_decay if decays else None
            return own, stays, cast(given[group], dtype), cast(t, dtype)

        clipped = clip(grads, wide.clipnorm, wide.clipvalue, wide.global_clipnorm)
        params, slots = lift(settings, groups, clipped, slots, params)
        scalars = {**opt_state.scalars, **cast(scalars, dtype)}
        return params, OptState(step + 1, {**opt_state.slots, **slots}, scalars)

    @property
    def _gathers(self) -> bool:
        return self.gradient_accumulation_steps is not None

    def _all_scalars(self) -> dict[str, float]:
        return {**self.scalars(), **({"gradients": 0.0} if self._gathers else {})}

    def _map_slot(self, name: str, make: Callable, groups: list[Group], params: Params) -> Any:
        """A tree of `make(variant, name, p)`, with the variant that moves each parameter."""
        leaves, treedef = flatten(params)
        variants = self.variants()
        return treedef.unflatten(
            [make(variants[group.variant], name, p) for group, p in zip(groups, leaves, strict=True)]
        )

    @staticmethod
    def _fresh(variant: "Optimizer", name: str, p: Any) -> jax.Array:
        dtype = jnp.result_type(p)
        return jnp.full(variant.slot_shape(name, jnp.shape(p)), variant.slot_start(name), dtype)

    @staticmethod
    def _slot_spec(variant: "Optimizer", name: str, p: Any) -> Any:
        return jax.ShapeDtypeStruct(variant.slot_shape(name, jnp.shape(p)), jnp.result_type(p))

    def _cast(self, dtype: Any) -> Any:
        """The same optimizer with its numbers as arrays of this dtype."""
        names = [name for name in self._static[0] if name != "lr" and is_number(getattr(self, name))]
        new = {name: self._scalar(name, getattr(self, name), dtype) for name in names}
        return made(type(self), {**self.__dict__, **new})

    def _scalar(self, name: str, value: Any, dtype: Any) -> jax.Array:
        if jnp.ndim(value):
            raise ValueError(
                f"{type(self).__name__}: {name} has shape {jnp.shape(value)} where one number is wanted; "
                f"to train a population, jax.vmap a function of the optimizer over it"
            )
        return jnp.asarray(value, dtype)

    def _require_alike(self, grads: Params, opt_state: OptState, params: Params) -> None:
        owner = type(self).__name__
        slots = [*self.slots(), *(["gradient_sum"] if self._gathers else []), *(["ema"] if self.use_ema else [])]
        if {*opt_state.slots} != {*slots} or {*opt_state.scalars} != {*self._all_scalars()}:
            raise ValueError(
                f"{owner} keeps the slots {[*slots, *self._all_scalars()]}, but opt_state has "
                f"{[*opt_state.slots, *opt_state.scalars]}: make it with optimizer.init(params)"
            )
        require_alike(owner, params, {"grads": grads})
        groups = groups_of(self, params)
        for name, tree in opt_state.slots.items():
            wanted = self._map_slot(name, self._slot_spec, groups, params) if name in self.slots() else params
            require_alike(owner, wanted, {f"opt_state.slots[{name!r}]": tree})

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
        """No epsilon is Keras's 1e-7, no weight decay 0, a dict of rates one per path."""
        if name == "lr" and isinstance(value, dict):
            return PerPath(tuple(value), tuple(value.values()))
        if name == "exclude_from_weight_decay":
            return (value,) if isinstance(value, str) else super().convert(name, value)
        absent = {"epsilon": 1e-7, "weight_decay": 0.0}
        return super().convert(name, absent.get(name) if value is None else value)

    def absent(self) -> list[str]:
        return [*super().absent(), *([] if self.use_ema else ["ema_momentum"])]

    def validate(self) -> None:
        super().validate()
        self._require_rates()
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            if getattr(self, name) is not None:
                self.require_positive(name, ", or None for no clipping")
        if self.clipnorm is not None and self.global_clipnorm is not None:
            cls = type(self).__name__
            raise ValueError(f"{cls}: give clipnorm (for each array) or global_clipnorm (for all together), not both")

    def _require_rates(self) -> None:
        rates = self.lr.values if isinstance(self.lr, PerPath) else (self.lr,)
        for lr in rates:
            if not callable(lr):
                self.require_number("lr", lr, " or a function of the step")
        globs = [*self.exclude_from_weight_decay, *(self.lr.patterns if isinstance(self.lr, PerPath) else ())]
        for glob in globs:
            if not isinstance(glob, str):
                raise TypeError(f"{type(self).__name__}: a pattern is a text such as '*bias'; got {glob!r}")

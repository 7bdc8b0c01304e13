"""What cells share: one step of a recurrence each. `kjax.nn.recurrent` runs them over time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax.activations import sigmoid, tanh
from kjax.frozen import is_int, require_between, require_int
from kjax.nn import kernels
from kjax.nn.core import add_bias
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import over

States = tuple[Any, ...]


class Cell(Layer):
    """Base of cells, those of your own included: what a recurrent layer does at each time step.

    A subclass says `state_size` (an integer, a shape, or a tuple of them, one for each state) and defines
    `step(self, params, x, states) -> (y, states)`, besides `build` for its weights. `RNN(cell)` runs it over time.
    By itself a cell is a layer that takes `(x, *states)`, or `x` alone for states of zeros, and gives `(y, *states)`.

    Three more methods may be overridden: `project`, to do for all time steps at once what does not depend on the
    states; `prepare`, for what all steps of a sequence share; `first_states`, where they are not zeros.

    >>> from kjax import nn
    >>> class Leaky(nn.Cell):
    ...     units: int
    ...     kernel_initializer: object = "glorot_uniform"
    ...
    ...     @property
    ...     def state_size(self):
    ...         return self.units
    ...
    ...     def build(self, key, x):
    ...         return self.weights(key, x.dtype, kernel=(x.shape[-1], self.units)), {}
    ...
    ...     def step(self, params, x, states):
    ...         h = 0.9 * states[0] + jnp.tanh(x @ params["kernel"])
    ...         return h, (h,)
    >>> layer = nn.RNN(Leaky(3))
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 7, 2)))
    >>> layer.apply(params, state, jnp.ones((5, 7, 2)))[0].shape
    (5, 3)
    """

    min_ndim = 2
    axes = "(batch, features) and states"

    # What a cell defines.

    @property
    def state_size(self) -> Any:
        """The size (or shape) of the state of one example; a tuple of them for several states."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of its state_size")

    def step(self, params: Params, x: Any, states: States) -> tuple[Any, States]:
        """The output and the new states; `x` is what `project` gave."""
        raise NotImplementedError(f"{type(self).__name__} defines no step(self, params, x, states)")

    def prepare(self, params: Params, x: Any, states: States, training: bool, key: Any) -> Params:
        """The params with what all steps of a sequence share; `x` and `states` are those of one step."""
        return params

    def project(self, params: Params, x: Any) -> Any:
        """What of a step does not depend on its states; `x` may have a time axis in front of the batch axis."""
        return x

    def first_states(self, x: Any) -> States:
        """What a sequence begins with; `x` has the shape and dtype of one step."""
        sizes = self.state_size if isinstance(self.state_size, tuple | list) else (self.state_size,)
        shapes = ((size,) if is_int(size) else tuple(size) for size in sizes)
        return tuple(jnp.zeros((x.shape[0], *shape), x.dtype) for shape in shapes)

    def last_output(self, states: States) -> Any:
        """The output that led to these states, which a masked step repeats."""
        return states[0]

    # The rest follows.

    def init(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return super().init(key, x[0] if isinstance(x, tuple | list) else x)

    def check_input(self, x: Any) -> None:
        if isinstance(x, tuple | list):
            self._check_rank(x[0])
            self.check_states(x[0], x[1:])

    def check_states(self, x: Any, states: Sequence[Any], owner: Layer | None = None) -> None:
        """Refuses states of another number or of other shapes than those of a step like `x`."""
        wanted = [tuple(s.shape) for s in jax.eval_shape(self.first_states, x)]
        got = [tuple(s.shape) for s in states]
        if got and got != wanted:
            (owner or self).refuse(f"takes {len(wanted)} initial state(s) of shapes {wanted}, not {got}", x)

    def rank_hint(self, x: Any) -> str:
        return "it is one step; RNN(cell) runs it over time" if len(x.shape) > self.min_ndim else super().rank_hint(x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        x, *given = x if isinstance(x, tuple | list) else (x,)
        states = tuple(given) or self.first_states(x)
        params = self.prepare(params, x, states, training, key)
        y, states = self.step(params, self.project(params, x), states)
        return (y, *states), state

    def over_time(self, params: Params, x: Any, states: States, mask: Any, options: "Options") -> Any:
        """The outputs of all steps and the last states; `x`, as `project` gave it, and `mask` have time in front."""

        def body(states: States, given: Any) -> Any:
            y, new = self.step(params, given[0], states)
            return self.held(given[1], options, y, new, states)[::-1]

        states, ys = jax.lax.scan(body, states, (x, mask), reverse=options.reverse, unroll=options.unroll)
        return ys, states

    def held(self, mask: Any, options: "Options", y: Any, states: States, before: States) -> tuple[Any, States]:
        """The output and states of a step, or those before it for examples that the mask leaves out."""
        if mask is None:
            return y, states
        idle = jnp.zeros_like(y) if options.zero_output else self.last_output(before)
        choose: Callable = lambda new, old: jnp.where(over(mask, new), new, old)  # noqa: E731
        return choose(y, idle), jax.tree.map(choose, tuple(states), tuple(before))


@dataclasses.dataclass(frozen=True)
class Options:
    """How a cell is run over time."""

    reverse: bool = False
    unroll: bool = False
    zero_output: bool = False


class KernelCell(Cell):
    """Base of the cells with a kernel, a recurrent kernel and a bias, and Keras's options for them.

    Args:
        dropout: the share of the inputs to drop in training; one draw for all steps of a sequence.
        recurrent_dropout: the same for the state on its way to the next step.
        seed: an integer mixed into the key of both draws.
        implementation: 1 draws inputs to drop for each gate alone, 2 for all gates together. With recurrent_dropout
            each gate has draws of its own in any case.
    """

    kernel_initializer: Any = dataclasses.field(default="glorot_uniform", kw_only=True)
    recurrent_initializer: Any = dataclasses.field(default="orthogonal", kw_only=True)
    bias_initializer: Any = dataclasses.field(default="zeros", kw_only=True)
    kernel_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    recurrent_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    bias_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    kernel_constraint: Any = dataclasses.field(default=None, kw_only=True)
    recurrent_constraint: Any = dataclasses.field(default=None, kw_only=True)
    bias_constraint: Any = dataclasses.field(default=None, kw_only=True)
    dropout: float = dataclasses.field(default=0.0, kw_only=True)
    recurrent_dropout: float = dataclasses.field(default=0.0, kw_only=True)
    seed: int | None = dataclasses.field(default=None, kw_only=True)
    implementation: int = dataclasses.field(default=2, kw_only=True)

    ndim = 2
    counted: ClassVar[str] = "units"
    gates: ClassVar[int] = 1
    gate_axis: ClassVar[int] = -1

    # The weight is called recurrent_kernel, Keras's options are not.
    recurrent_kernel_initializer = property(lambda self: self.recurrent_initializer)
    recurrent_kernel_regularizer = property(lambda self: self.recurrent_regularizer)
    recurrent_kernel_constraint = property(lambda self: self.recurrent_constraint)

    def advance(self, sums: Any, others: Any, states: States, keeps: Any) -> tuple[Any, States]:
        """The output and the new states; `sums` as `kernels.recurrence` has them, `keeps` the dropout of the state."""
        raise NotImplementedError

    def product(self, left: Any, weight: Any) -> Any:
        """What a state gives to the next step."""
        return left @ weight

    def input_product(self, x: Any, kernel: Any) -> Any:
        """What an input gives to its step; there may be a time axis in front."""
        return kernels.tensordot(x, kernel)

    def check_features(self, params: Params, x: Any) -> None:
        """Refuses a step of other features than at `init`."""
        if x.shape[-1] != params["kernel"].shape[0]:
            self.refuse(f"was built for {params['kernel'].shape[0]} features (the last axis) at each step", x)

    def loop_weights(self, params: Params) -> list[Any]:
        """The weights of the sums: one matrix for all gates, or one for each where they drop on their own."""
        return jnp.split(params["recurrent_kernel"], len(params.get("keep_state", ())) or 1, axis=-1)

    def validate(self) -> None:
        owner = type(self).__name__
        require_int(getattr(self, self.counted), self.counted, owner)
        for name in ("dropout", "recurrent_dropout"):
            require_between(getattr(self, name), name, owner, 0, 1, open_top=True)
        if self.seed is not None and not is_int(self.seed):
            raise ValueError(f"{owner}: seed must be an integer; got {self.seed!r}")
        if self.implementation not in (1, 2):
            raise ValueError(f"{owner}: implementation is 1 or 2; got {self.implementation!r}")

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self.dropout > 0 or self.recurrent_dropout > 0

    @property
    def state_size(self) -> Any:
        return self.units  # type: ignore[attr-defined]

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        size = self.gates * self.units  # type: ignore[attr-defined]
        bias = {"bias": self.bias_shape(size)} if self.use_bias else {}  # type: ignore[attr-defined]
        shapes = dict(kernel=(x.shape[-1], size), recurrent_kernel=(size // self.gates, size), **bias)
        return self.weights(key, x.dtype, **shapes), {}

    def bias_shape(self, size: int) -> tuple[int, ...]:
        """The shape of the bias for `size` sums."""
        return (size,)

    def prepare(self, params: Params, x: Any, states: States, training: bool, key: Any) -> Params:
        self.check_features(params, x)
        if not (training and self.draws):
            return params
        key = key if self.seed is None else jax.random.fold_in(key, self.seed)
        n = self.gates if self.implementation == 1 or self.recurrent_dropout else 1
        kinds = (("keep_input", self.dropout, x), ("keep_state", self.recurrent_dropout, states[0]))
        keys = (jax.random.fold_in(key, i) for i in range(2))
        return {**params, **{name: keeps(k, rate, like, n) for k, (name, rate, like) in zip(keys, kinds, strict=True)}}

    def project(self, params: Params, x: Any) -> Any:
        """The kernel's and the bias's part of all gates."""
        dropped = [x * spread(keep, x) for keep in params.get("keep_input", ())] or [x]
        parts = jnp.split(params["kernel"], len(dropped), axis=-1)
        y = join([self.input_product(x, part) for x, part in zip(dropped, parts, strict=True)], self.gate_axis)
        return self.with_bias(y, params)

    def with_bias(self, y: Any, params: Params) -> Any:
        """The sums plus the bias, where there is one."""
        return add_bias(y, params)

    def parts(self, params: Params, x: Any) -> Any:
        """What `project` gave, as the inputs of `kernels.recurrence`: a part for each weight, and others."""
        n = len(params.get("keep_state", ())) or 1
        return tuple(jnp.split(x, n, axis=self.gate_axis)), ()

    def step(self, params: Params, x: Any, states: States) -> tuple[Any, States]:
        (plus, others), weights = self.parts(params, x), self.loop_weights(params)
        sums = [lambda left, w=w, p=p: self.product(left, w) + p for w, p in zip(weights, plus, strict=True)]
        return self.advance(sums, others, states, params.get("keep_state", ()))

    def over_time(self, params: Params, x: Any, states: States, mask: Any, options: Options) -> Any:
        if params.get("keep_state") or options.unroll or not self._has_loop():
            return self._any_loop(params, x, states, mask, options)
        ys, states = self.loop(params, x, states, mask, options.reverse)
        return jnp.where(over(mask, ys), ys, 0) if options.zero_output and mask is not None else ys, states

    def loop(self, params: Params, x: Any, states: States, mask: Any, backwards: bool) -> Any:
        """`over_time` by a kernel of its own, where a subclass has one for its usual activations, without dropout."""
        raise NotImplementedError

    def _has_loop(self) -> bool:
        """Whether a step is the one that `loop` knows."""
        owner = next(kind for kind in type(self).__mro__ if "loop" in vars(kind))
        steps = "advance", "product", "parts", "loop_weights", "total", "held", "last_output"
        known = owner is not KernelCell and all(getattr(type(self), name) is getattr(owner, name) for name in steps)
        usual = self.activation, getattr(self, "recurrent_activation", sigmoid)  # type: ignore[attr-defined]
        return known and usual == (tanh, sigmoid)

    def _any_loop(self, params: Params, x: Any, states: States, mask: Any, options: Options) -> Any:
        def step(sums: Any, others: Any, states: States, keeps: Any, mask: Any) -> Any:
            return self.held(mask, options, *self.advance(sums, others, states, keeps), states)

        plan, inputs = kernels.Plan(step, self.product, options.reverse, options.unroll), self.parts(params, x)
        return kernels.recurrence(plan, self.loop_weights(params), inputs, states, params.get("keep_state", ()), mask)

    def total(self, sums: Any, h: Any, keeps: Any) -> Any:
        """The sums of all gates for the state `h`, after its dropout."""
        return join([add(left) for add, left in zip(sums, dropped(h, keeps), strict=True)], self.gate_axis)


def keeps(key: jax.Array, rate: float, like: Any, n: int) -> tuple[Any, ...]:
    """What to multiply by to drop a share `rate`, `n` draws for something like `like`; () for a rate of zero."""
    if not rate:
        return ()
    keep = kernels.keep_mask(key, rate, (n, *like.shape))
    return tuple(jnp.where(keep, 1 / (1 - rate), 0.0).astype(like.dtype))


def dropped(h: Any, keeps: Any) -> list[Any]:
    """The state after each draw, or the state itself."""
    return [h * keep for keep in keeps] or [h]


def spread(keep: Any, x: Any) -> Any:
    """A draw for one step, ready to be multiplied with one step or with all of them."""
    return jnp.expand_dims(keep, tuple(range(x.ndim - keep.ndim)))


def join(parts: Sequence[Any], axis: int) -> Any:
    """The parts as one array."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)

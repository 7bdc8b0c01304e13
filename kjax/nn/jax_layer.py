"""Functions that somebody wrote for JAX as a layer."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import suggest
from kjax.nn.augment import check_seed, seeded
from kjax.nn.layer import Layer, Params, State

ARGUMENTS = {"call_fn": ("params", "state", "rng", "inputs", "training"), "init_fn": ("rng", "inputs", "training")}


class JaxLayer(Layer):
    """A pure function, and what makes its weights, as a layer.

    Args:
        call_fn: a function of `inputs`, and of as many of `params`, `state`, `rng` and `training` as it wants, by these
            names. With `state` it gives `(outputs, new state)`, otherwise the outputs.
        init_fn: a function of `inputs` (zeros of the right shapes), and of `rng` and `training` (always True) if it
            wants them. It gives the params, or `(params, state)` where `call_fn` takes a state; both are dicts, nested
            as you like. None where there is neither.
        seed: an integer mixed into the key.

    A layer holds no arrays, so Keras's `params=` and `state=` are what `init_fn` gives: `lambda inputs: params`.
    Outside of training `rng` is the same each time, unless a key is given.

    Raises:
        ValueError: an argument of another name; params or a state that nothing makes.

    >>> def call(params, inputs):
    ...     return inputs * params["scale"][None]
    >>> layer = JaxLayer(call, lambda inputs: {"scale": jnp.full(inputs.shape[-1:], 2.0)})
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> layer.apply(params, state, jnp.ones((1, 3)))[0].tolist()
    [[2.0, 2.0, 2.0]]
    """

    call_fn: Callable
    init_fn: Callable | None = None
    seed: int | None = None

    takes_integers = True

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in ("params", "state"):
            if name in kwargs:
                raise TypeError(f"JaxLayer: {name}= would be arrays in a layer; pass init_fn=lambda inputs: {name}")
        return super().translate(kwargs)

    def validate(self) -> None:
        check_seed(self)
        for name in ("call_fn", "init_fn"):
            check_names(getattr(self, name), name)
        if self.init_fn is None and {"params", "state"} & self._wanted:
            raise ValueError("JaxLayer: call_fn takes params or a state: pass init_fn, which makes them")

    @functools.cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.call_fn).parameters)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return "rng" in self._wanted

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        if self.init_fn is None:
            return {}, {}
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), x)
        found = self._run(self.init_fn, rng=seeded(self, key), inputs=zeros, training=True)
        return found if "state" in self._wanted else (found, {})

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        rng = seeded(self, jax.random.key(0) if key is None else key)
        found = self._run(self.call_fn, params=params, state=state, rng=rng, inputs=x, training=training)
        return found if "state" in self._wanted else (found, state)

    def _run(self, function: Callable, **options: Any) -> Any:
        wanted = inspect.signature(function).parameters
        return function(**{name: value for name, value in options.items() if name in wanted})


def check_names(function: Any, name: str) -> None:
    """Refuses a function whose arguments are not those that it may have."""
    if function is None and name == "init_fn":
        return
    if not callable(function):
        raise TypeError(f"JaxLayer: {name} is a function; got {function!r}")
    names = list(inspect.signature(function).parameters)
    for argument in names:
        if argument not in ARGUMENTS[name]:
            hint = suggest(argument, ARGUMENTS[name])
            raise ValueError(f"JaxLayer: {name} has an argument {argument!r}, which nothing is known to fill.{hint}")
    if "inputs" not in names:
        raise ValueError(f"JaxLayer: {name} must have an argument 'inputs'; it has {names}")

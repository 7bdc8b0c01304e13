"""One layer many times over, compiled once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import require_int
from kjax.nn.errors import LayerError, inside
from kjax.nn.layer import Layer, Params, State


class Repeat(Layer):
    """`n` layers of one kind, each with its own weights, one after the other: a deep net that compiles like one layer.

    Computes what `Serial([layer] * n)` does, as a loop over weights stacked along a leading axis of size n, so that
    compiling takes no longer for 200 layers than for two. `params` and `state` are those of `layer`, stacked.

    Args:
        layer: what to repeat; a container for a block. It must give what it takes: the same shape, dtype and mask.
        n: how often.

    Raises:
        TypeError: `layer` is not a layer.
        ValueError: n is not a positive integer.
        LayerError: the layer gives another shape or dtype than it takes.

    >>> from kjax import nn
    >>> net = Repeat(nn.Dense(4, activation="tanh"), 50)
    >>> params, state = net.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> jax.tree.map(jnp.shape, params)
    {'bias': (50, 4), 'kernel': (50, 4, 4)}
    >>> net.apply(params, state, jnp.ones((2, 4)))[0].shape
    (2, 4)
    """

    layer: Layer
    n: int

    min_ndim = 0
    takes_mask = True
    takes_integers = True
    made_of_layers = True

    def validate(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"Repeat takes a layer, e.g. Repeat(Serial([…]), 4); got {self.layer!r}")
        require_int(self.n, "n", "Repeat")

    @functools.cached_property
    def draws(self) -> bool:  # type: ignore[override]
        return self.layer.draws

    @functools.cached_property
    def needs_rows(self) -> bool:
        return self.layer.needs_rows

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        one = []

        def init(i: jax.Array) -> tuple[Params, State]:
            one.append(self.layer.init(jax.random.fold_in(key, i), x))
            return one[0]

        with inside(*self._place(x)):
            params, state = jax.vmap(init)(jnp.arange(self.n))
        return ordered_like(one[0][0], params), ordered_like(one[0][1], state)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        def step(x: Any, own: Any) -> tuple[Any, State]:
            params, state, i = own
            own_key = jax.random.fold_in(key, i) if key is not None and self.draws else None
            with inside(*self._place(x)):
                y, state = self.layer.apply(params, state, x, training, own_key)
            self._check_output(x, y)
            return y, state

        return jax.lax.scan(step, x, (params, state, jnp.arange(self.n)))

    def penalty(self, params: Params, state: State) -> jax.Array | float:
        costs = jax.vmap(lambda params, state, i: jnp.asarray(self.layer.penalty(params, state)))
        return costs(params, state, jnp.arange(self.n)).sum()

    def constrain(self, params: Params) -> Params:
        return jax.vmap(self.layer.constrain)(params) if params else params

    def partition(self, params: Params) -> tuple[Params, Params]:
        return self.layer.partition(params) if self.trainable else ({}, params)

    def _check_output(self, x: Any, y: Any) -> None:
        taken, given = (jax.tree.map(lambda a: (a.shape, a.dtype.name), tree) for tree in (x, y))
        if taken != given:
            raise LayerError(f"{self!r} repeats a layer that must give what it takes; it makes {given} of {taken}")

    def _place(self, x: Any) -> tuple[str, str, Layer, Any]:
        return self.layer.name or "layer", f"repeated {self.n} times", self.layer, x


def ordered_like(pattern: Any, tree: Any) -> Any:
    """Nested dicts with their keys in another's order: JAX sorts them, but weights are shown in the layer's order."""
    return {name: ordered_like(pattern[name], tree[name]) for name in pattern} if isinstance(tree, dict) else tree

"""Layers around a layer: both directions of time, and every time step alike."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import snake_case, suggest
from kjax.nn.container import Container, Visit
from kjax.nn.errors import LayerError
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import masked, on_values, plain, unmask
from kjax.nn.recurrent import Recurrent, step_of

MERGES: dict[Any, Callable] = {
    "concat": lambda a, b: jnp.concatenate([a, b], -1),
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


class Bidirectional(Container):
    """Runs a recurrent layer forwards and another one backwards in time, and merges what they give.

    Args:
        layer: the recurrent layer, e.g. `LSTM(8)`.
        merge_mode: "concat" (on the last axis), "sum", "ave" or "mul"; None gives both outputs, `(y, y_backwards)`.
        backward_layer: the layer for the other direction; by default `layer` with `go_backwards=True`.

    Outputs of whole sequences are merged step by step: those of the backward layer are turned round first. With
    `return_state` the states of both follow, the forward ones first; initial states are given in the same order.
    Masked steps of whole sequences give zeros, as in Keras.

    Raises:
        TypeError: not recurrent layers.
        ValueError: an unknown merge_mode; two layers that differ in more than they may.
        LayerError: what the layers refuse.

    >>> from kjax import nn
    >>> layer = Bidirectional(nn.LSTM(3, return_sequences=True))
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 4)))
    >>> layer.apply(params, state, jnp.ones((2, 5, 4)))[0].shape, list(params)
    ((2, 5, 6), ['forward_lstm', 'backward_lstm'])
    """

    layer: Layer
    merge_mode: str | None = "concat"
    backward_layer: Layer | None = None

    takes_integers = False
    min_ndim = 3
    axes = "(batch, time, …)"

    def validate(self) -> None:
        if not all(isinstance(layer, Recurrent) for layer in (self.layer, self.backward_layer or self.layer)):
            raise TypeError(f"Bidirectional takes recurrent layers, e.g. LSTM(8); got {self.layer!r}")
        if self.merge_mode not in (*MERGES, None):
            hint = suggest(str(self.merge_mode), MERGES)
            raise ValueError(f"Bidirectional: unknown merge_mode {self.merge_mode!r} (or None).{hint}")
        forward, backward = self.layers
        if forward.go_backwards or not backward.go_backwards:
            raise ValueError("Bidirectional: backward_layer wants go_backwards=True, and layer must not have it")
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, name) != getattr(backward, name):
                raise ValueError(f"Bidirectional: layer and backward_layer must have the same {name}")

    @functools.cached_property
    def layers(self) -> tuple[Any, ...]:
        forward: Any = self.layer
        backward: Any = self.backward_layer or forward.replace(go_backwards=True, name=None)
        return tuple(layer.replace(zero_output_for_mask=layer.return_sequences) for layer in (forward, backward))

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        ways = zip(("forward", "backward"), self.layers, strict=True)
        return tuple(f"{way}_{layer.name or snake_case(type(layer).__name__)}" for way, layer in ways)

    def with_layers(self, layers: tuple[Layer, ...]) -> Any:
        return self.replace(layer=layers[0], backward_layer=layers[1])

    def check_input(self, x: Any) -> None:
        if isinstance(x, tuple | list) and len(x) % 2 == 0:
            self.refuse(f"takes initial states for both directions, not {len(x) - 1}", x[0])

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params: Params = {}
        state: State = {}
        for i, own in enumerate(halves(x)):
            self.init_child(i, key, own, params, state)
        return params, state

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        found = [visit(i, i, own) for i, own in enumerate(halves(x))]
        (forward, *last), (backward, *more) = (y if isinstance(y, tuple) else (y,) for y in found)
        y = self._merge(forward, backward)
        states = (*last, *more)
        return (*(y if self.merge_mode is None else (y,)), *states) if states else y

    def _merge(self, forward: Any, backward: Any) -> Any:
        if self.layer.return_sequences:  # type: ignore[attr-defined]
            backward = turned(backward)
        if self.merge_mode is None:
            return forward, backward
        (y, mask), (other, _) = unmask(forward), unmask(backward)
        y = MERGES[self.merge_mode](y, other)
        return masked(y, mask)


class TimeDistributed(Container):
    """Applies a layer to every time step alike: (batch, time, …) -> (batch, time, …).

    Args:
        layer: any layer that takes one input; its weights serve all steps.

    The steps go through the layer together, as one larger batch; only a layer that looks at its batch as a whole
    (batch normalisation) gets them one after the other, and its statistics move with each of them, as in Keras.
    A mask of time steps goes round the layer; what it says beyond them goes into it.

    Raises:
        TypeError: not a layer.
        LayerError: an input of a rank below 3, or that the layer cannot take.

    >>> from kjax import nn
    >>> layer = TimeDistributed(nn.Conv2D(8, 3))
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 7, 5, 5, 1)))
    >>> layer.apply(params, state, jnp.ones((2, 7, 5, 5, 1)))[0].shape
    (2, 7, 3, 3, 8)
    """

    layer: Layer

    min_ndim = 3
    axes = "(batch, time, …)"

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self.layer,)

    def with_layers(self, layers: tuple[Layer, ...]) -> Any:
        return self.replace(layer=layers[0])

    def check_input(self, x: Any) -> None:
        if isinstance(x, tuple | list):
            raise LayerError(f"{self!r} takes one input, not {len(x)}: merge them first, or use a Lambda")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params: Params = {}
        state: State = {}
        self.init_child(0, key, step_of(x), params, state)
        return params, state

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        value, mask = unmask(x)
        n, steps = value.shape[:2]
        if mask is not None and mask.ndim == 1:
            mask = jnp.broadcast_to(mask[:, None], (n, steps))
        if self.layer.needs_rows:
            ys = [visit(0, t, jax.tree.map(lambda a, t=t: a[:, t], masked(value, mask))) for t in range(steps)]
            y = jax.tree.map(lambda *parts: jnp.stack(parts, 1), *map(plain, ys))
        else:
            folded = jax.tree.map(lambda a: a.reshape(n * steps, *a.shape[2:]), masked(value, mask))
            y = on_values(lambda a: a.reshape(n, steps, *a.shape[1:]), visit(0, 0, folded), keep=False)
        real = mask if mask is None else mask.reshape(n, steps, -1).any(axis=2)
        return jax.tree.map(lambda a: masked(a, real), y)


def halves(x: Any) -> list[Any]:
    """What each direction takes: the sequences, with its half of the states if there are any."""
    if not isinstance(x, tuple | list):
        return [x, x]
    x, *states = x
    half = len(states) // 2
    return [(x, *states[:half]), (x, *states[half:])]


def turned(x: Any) -> Any:
    """Sequences in the opposite order, with the mask of their steps."""
    value, mask = unmask(x)
    return masked(jnp.flip(value, 1), mask if mask is None or mask.ndim == 1 else jnp.flip(mask, 1))

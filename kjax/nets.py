"""What can be asked of a pure network, and changed in it, without weights."""

import fnmatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax.data import fetched
from kjax.nn.compose import Serial
from kjax.nn.container import all_layers
from kjax.nn.graph import Graph
from kjax.nn.layer import Layer
from kjax.train import Trainer, TrainState


class Functional(NamedTuple):
    """The pure pieces of a model; `trainer` is None before `compile`."""

    net: Layer
    trainer: Trainer | None
    state: TrainState


def with_trainable(layer: Layer, pattern: str, value: bool, path: str = "") -> tuple[Any, int]:
    """The layer with `trainable` set where its path, or one above it, fits a pattern; and how many there were."""
    fits = fnmatch.fnmatchcase(path, pattern) and bool(path)
    if not hasattr(layer, "names"):
        return (layer.replace(trainable=value), 1) if fits else (layer, 0)
    below = "*" if fits else pattern
    found = [
        with_trainable(child, below, value, f"{path}/{name}" if path else name)
        for name, child in zip(layer.names, layer.layers, strict=True)  # type: ignore[attr-defined]
    ]
    count = sum(n for _, n in found)
    changed = layer.with_layers(tuple(child for child, _ in found)) if count else layer  # type: ignore[attr-defined]
    return (changed.replace(trainable=True) if value and fits else changed), count


def declared(net: Layer) -> Any:
    """What `init` takes for a net that says the shapes of its inputs; None for one that does not say them all."""
    if isinstance(net, Graph):
        return None if any(None in spec.shape for spec in net.inputs) else net.specs()
    found = open_shapes(net)
    if found is None or None in found[0]:
        return declared(net.layers[0]) if isinstance(net, Serial) and net.layers else None
    return jax.ShapeDtypeStruct((1, *found[0]), jnp.float32)


def open_shapes(net: Layer) -> tuple[tuple[int | None, ...], ...] | None:
    """The shapes of the inputs that a net says it takes, None for axes of any size; None if it says nothing."""
    if net.input_shape is not None:
        return (net.input_shape,)
    if isinstance(net, Graph):
        return tuple(spec.shape for spec in net.inputs)
    return open_shapes(net.layers[0]) if isinstance(net, Serial) and net.layers else None


def fixed_batch(net: Layer) -> int:
    """The batch size that a layer asks for, as stateful ones must (`batch_input_shape=(32, …)`); 1 where none does."""
    layers = [net, *(layer for _, layer in all_layers(net))]
    return next((layer.batch_input_shape[0] for layer in layers if (layer.batch_input_shape or (None,))[0]), 1)


def without_carry(state: Any) -> Any:
    """The state of a network with zeros for what recurrent layers carry from batch to batch."""
    if not isinstance(state, dict):
        return state
    return {k: jax.tree.map(jnp.zeros_like, v) if k == "carry" else without_carry(v) for k, v in state.items()}


def shapes(tree: Any) -> Any:
    """The shapes of a tree of arrays, None for the batch axis."""
    found = jax.tree.map(lambda a: Shape((None, *a.shape[1:])), tree)
    if isinstance(found, dict):
        return {name: tuple(shape) for name, shape in found.items()}
    return tuple(found) if isinstance(found, Shape) else [tuple(shape) for shape in found]


class Shape(tuple):
    """A shape as one leaf of a tree."""


def on_host(y: Any) -> Any:
    """The outputs as NumPy arrays; a list where there are several, as Keras has it."""
    y = fetched(y)
    return list(y) if isinstance(y, tuple) else y

"""What flows through each layer of a network in one training step, forwards and backwards, as a few numbers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax.nn.container import Container
from kjax.nn.layer import Layer, merge
from kjax.steps import unpack
from kjax.train import Trainer, TrainState

Tap = Callable[["Place", Any], Any]


class Place(NamedTuple):
    """One end of a call of a layer: `path` as in `block/dense_1` ("" is the whole network); `end` is "in" or "out"."""

    path: str
    end: str
    layer: Layer


class Stats(NamedTuple):
    """What an array holds: how many NaN, infinities and values; the finite range; which of its rows are bad.

    `rows` is None where the first axis does not count the examples of the batch.
    """

    nan: Any
    inf: Any
    size: int
    low: Any
    high: Any
    rows: Any

    @property
    def bad(self) -> bool:
        """Whether not all is finite."""
        return bool(self.nan + self.inf)


class Seen(NamedTuple):
    """What a step showed.

    Args:
        places: the ends of all calls of layers, in order.
        values: what went through each, a list of `Stats`.
        gradients: the same for the loss's derivatives with respect to it; empty where only the way forwards was run.
        weights: the `Stats` of the derivatives with respect to each layer's own weights, by path.
        loss: the whole loss.
        losses: of each output.
        predictions: a list of `Stats` for each output.
    """

    places: Sequence[Place]
    values: Sequence[Sequence[Stats]]
    gradients: Sequence[Sequence[Stats]]
    weights: dict[str, Sequence[Stats]]
    loss: Any
    losses: Sequence[Any]
    predictions: Sequence[Sequence[Stats]]


def probed(layer: Layer, tap: Tap, path: str = "", depth: int = 99) -> Layer:
    """The same layer, except that all that goes in and out of it, and of those within it, is `tap(place, value)`."""
    if isinstance(layer, Container) and depth:
        inner = [
            probed(child, tap, f"{path}/{name}".lstrip("/"), depth - 1)
            for name, child in zip(layer.names, layer.layers, strict=True)
        ]
        layer = layer.with_layers(tuple(inner))
    cls: Any = type(layer)

    def apply(self: Any, params: Any, state: Any, x: Any, training: bool = False, key: Any = None) -> Any:
        y, state = cls.apply(self, params, state, tap(Place(path, "in", layer), x), training, key)
        return tap(Place(path, "out", layer), y), state

    # A subclass of its own, under the same name, is whatever containers and losses ask whether it is.
    own: Any = type(cls.__name__, (cls,), {"apply": apply, "__module__": cls.__module__})
    found = object.__new__(own)
    found.__dict__.update(vars(layer))
    return found


class Recorder:
    """Taps that note what they see, and add something to it: zeros, to take derivatives with respect to.

    Args:
        valid: which rows of the batch are examples; None for all.
        batch_size: the length of an axis that counts them.
        added: what each tap adds to its arrays of floats; None for nothing.
    """

    def __init__(self, valid: Any, batch_size: int, added: Any = None):
        self.valid, self.batch_size, self.added = valid, batch_size, added
        self.places: list[Place] = []
        self.shapes: list[list[Any]] = []
        self.values: list[list[Stats]] = []

    def __call__(self, place: Place, value: Any) -> Any:
        number = len(self.places)
        self.places.append(place)
        own = floats(value)
        self.shapes.append([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in own])
        self.values.append([self.stats(a) for a in own])
        if self.added is None:
            return value
        zeros = iter(self.added[number])
        return jax.tree.map(lambda a: a + next(zeros) if is_float(a) else a, value)

    def stats(self, array: Any) -> Stats:
        """The numbers for one array; rows that are no examples do not count."""
        counted = array.ndim > 0 and array.shape[0] == self.batch_size
        if counted and self.valid is not None:
            real = jnp.expand_dims(self.valid, tuple(range(1, array.ndim)))
            array = jnp.where(real, array, jnp.zeros((), array.dtype))
        bad = jnp.logical_not(jnp.isfinite(array)).reshape(self.batch_size, -1).any(axis=1) if counted else None
        return stats(array, bad)


def stats(array: Any, rows: Any = None) -> Stats:
    """The numbers for one array."""
    finite, infinity = jnp.isfinite(array), jnp.asarray(jnp.inf, array.dtype)
    low = jnp.min(jnp.where(finite, array, infinity), initial=jnp.inf)
    high = jnp.max(jnp.where(finite, array, -infinity), initial=-jnp.inf)
    return Stats(jnp.isnan(array).sum(), jnp.isinf(array).sum(), array.size, low, high, rows)


def is_float(a: Any) -> bool:
    """Whether an array has derivatives, and may be bad."""
    return hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating)


def floats(tree: Any) -> list[Any]:
    """All arrays of floats in a tree."""
    return [a for a in jax.tree.leaves(tree) if is_float(a)]


def observe(trainer: Trainer, state: TrainState, batch: Any, valid: Any, backwards: bool, depth: int = 99) -> Seen:
    """Runs one step without taking it, and says what it showed."""
    size = jax.tree.leaves(batch)[0].shape[0]
    last: list[Recorder] = []  # of the latest trace
    trainable, frozen = trainer.net.partition(state.params)

    def objective(trainable: Any, added: Any, frozen: Any, state: Any, batch: Any, valid: Any) -> tuple[Any, Any]:
        last[:] = [Recorder(valid, size, added)]
        own = trainer.replace(net=probed(trainer.net, last[0], depth=depth))
        outcome = own._objective(merge(trainable, frozen), state, batch, valid, True)
        predictions = [[last[0].stats(a) for a in floats(y)] for y in outcome.predictions]
        return outcome.loss, (last[0].values, outcome.loss, outcome.losses, predictions)

    rest = frozen, state, batch, valid
    if not backwards:
        values, *found = jax.jit(objective)(trainable, None, *rest)[1]
        return Seen(last[0].places, *jax.device_get((values, [], {})), *jax.device_get(found))
    jax.eval_shape(objective, trainable, None, *rest)
    zeros = [[jnp.zeros(a.shape, a.dtype) for a in own] for own in last[0].shapes]

    def gradients(*args: Any) -> Any:
        (_, found), (weights, taps) = jax.value_and_grad(objective, (0, 1), has_aux=True)(*args)
        by_path = {path: [stats(a) for a in floats(own)] for path, own in by_layer(trainer.net, weights)}
        return found, [[last[0].stats(a) for a in own] for own in taps], by_path

    (values, *found), taps, weights = jax.device_get(jax.jit(gradients)(trainable, zeros, *rest))
    return Seen(last[0].places, values, taps, weights, *found)


def by_layer(layer: Layer, params: Any, path: str = "") -> list[tuple[str, Any]]:
    """The weights of each layer's own, without those of layers within it, by path."""
    inner = dict(zip(layer.names, layer.layers, strict=True)) if isinstance(layer, Container) else {}
    found = [
        pair
        for name, child in inner.items()
        if name in params
        for pair in by_layer(child, params[name], f"{path}/{name}".lstrip("/"))
    ]
    return [*found, (path, {name: own for name, own in params.items() if name not in inner})]


def inputs_of(batch: Any) -> dict[str, list[Stats]]:
    """What the batch itself holds: `x`, `y` and `sample_weight`."""
    parts = dict(zip(("x", "y", "sample_weight"), unpack(batch), strict=True))
    return {name: [stats(a) for a in floats(part)] for name, part in parts.items()}

"""A network with its weights: what can be asked of it before it is trained for anything."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kjax import data as arrays
from kjax import summary
from kjax.compiled import Compiled, first_state, outputs
from kjax.frozen import explained, require_int, suggest
from kjax.nn.compose import named_layers
from kjax.nn.layer import Layer
from kjax.nn.mask import unmask
from kjax.train import Trainer, TrainState
from kjax.weights import Path, fitted, label, look_up, put, read, weight_paths, write


class Functional(NamedTuple):
    """The pure pieces of a model; `trainer` is None before `compile`."""

    net: Layer
    trainer: Trainer | None
    state: TrainState


class Network:
    """A layer with its weights: builds, predicts, shows, saves and loads. `Model` adds training.

    The arrays live in `state`, a `kjax.train.TrainState`; `functional` gives the pure pieces.
    """

    def __init__(self, net: Layer, name: str | None = None, seed: int | None = 0):
        if not isinstance(net, Layer):
            raise TypeError(f"Model takes a layer; got {net!r}")
        self.name = name or type(self).__name__.lower()
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self.stop_training = False
        self._net = net
        self._trainer: Trainer | None = None
        self._compiled: Compiled | None = None
        self._outputs: tuple[Any, Any] = (None, None)
        self._state: TrainState | None = None
        self._spec: Any = None
        self._output: Any = None
        self._paths: list[Path] = []

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copy take: all but what is compiled."""
        return {**self.__dict__, "_compiled": None, "_outputs": (None, None)}

    @property
    def net(self) -> Layer:
        """The pure layer behind the model."""
        return self._net

    @property
    def outputs(self) -> Callable:
        """`(params, state, x) -> y`, compiled."""
        if self._outputs[0] is not self._net:
            self._outputs = self._net, outputs(self._net)
        return self._outputs[1]

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._state is not None

    @property
    def state(self) -> TrainState:
        """Where training stands; the weights are made now if they can be."""
        if self._state is None:
            self._build_or_explain()
        return self._state  # type: ignore[return-value]

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = state

    @property
    def layers(self) -> list["LayerView"]:
        """The layers of the network, blocks opened, each with its weights."""
        return [LayerView(self, path, layer) for path, layer in named_layers(self.net)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> "LayerView":
        """One layer by name or by position.

        Raises:
            ValueError: neither or both given, or no such layer.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer takes either a name or an index")
        layers = {view.name: view for view in self.layers}
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"no layer {index}: the model has {len(layers)}")
            return list(layers.values())[index]
        if name not in layers:
            raise ValueError(f"no layer {name!r}.{suggest(str(name), layers)}")
        return layers[name]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, …), None for the batch axis."""
        _ = self.state
        return (None, *self._spec.shape[1:])

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, …), None for the batch axis."""
        _ = self.state
        return (None, *self._output.shape[1:])

    def build(self, input_shape: Any) -> None:
        """Makes the weights for inputs of this shape, batch axis (None) included, as Keras's `build`."""
        shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else (None, input_shape)
        if any(axis is None for axis in shape[1:]):
            raise ValueError(f"build needs the size of every axis but the first; got {input_shape!r}")
        self._build(jax.ShapeDtypeStruct((1, *shape[1:]), jnp.float32))

    def _build(self, spec: Any) -> None:
        self._state = first_state(self.net, self._trainer, jax.random.key(self.seed), spec)
        self._spec, self._paths = spec, weight_paths(self.net, spec)
        self._output = unmask(self.net.output(self._state.params, self._state.state, spec))[0]

    def _build_or_explain(self) -> None:
        raise ValueError(
            "the weights do not exist yet, because the shape of the inputs is not known: give the first layer "
            "input_shape=(…), call model.build((None, …)), or fit first"
        )

    def _input(self, x: Any, name: str = "x") -> Any:
        """`x` as an array that fits the network; builds the network from it if that is still to do."""
        x = arrays.as_array(x, name)
        if self._state is None:
            self._build_for(x)
        arrays.check_input(x, self._wanted(), name)
        return x

    def _wanted(self) -> tuple[int | None, ...]:
        return tuple(self._spec.shape[1:])

    def _build_for(self, x: Any) -> None:
        self._build(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))

    # Using it.

    @explained
    def predict(self, x: Any, batch_size: int | None = None, verbose: int = 0) -> np.ndarray:
        """The outputs for all examples, as a NumPy array; needs no `compile`."""
        batch_size = 32 if batch_size is None else batch_size
        require_int(batch_size, "batch_size", "predict")
        x, state = self._input(x), self.state
        n = x.shape[0]
        size = arrays.power_of_two(n, batch_size)
        if n == size:
            return np.asarray(self.outputs(state.params, state.state, x))
        arrays.check_lengths(x=x)
        parts = [arrays.pad_rows(x[i : i + size], size) for i in range(0, n, size)]
        ys = [self.outputs(state.params, state.state, part) for part in parts]
        return np.concatenate([np.asarray(y) for y in ys])[:n]

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """The outputs for one batch, of just this size."""
        x = self._input(x)
        return np.asarray(self.outputs(self.state.params, self.state.state, x))

    def predict_classes(self, x: Any, batch_size: int | None = None, verbose: int = 0) -> np.ndarray:
        """The class of each example: the largest output, or whether a single output exceeds a half (then (n, 1))."""
        y = self.predict(x, batch_size, verbose)
        return y.argmax(axis=-1) if y.shape[-1] > 1 else (y > 0.5).astype(np.int32)

    # Showing and keeping it.

    def summary(self, print_fn: Any = print) -> None:
        """Prints the layers with their output shapes and numbers of parameters."""
        print_fn(summary.table(self.name, self.net, self.state.params, self.state.state, self._spec))

    def count_params(self) -> int:
        """How many numbers the weights hold, moving statistics included."""
        return sum(int(np.prod(weight.shape)) for weight in self.weights)

    @property
    def weights(self) -> list[jax.Array]:
        """The arrays themselves, layer by layer, as `get_weights` orders them."""
        _ = self.state
        return self._arrays(self._paths)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all arrays, layer by layer, kernel before bias, as Keras orders them."""
        return [np.array(weight) for weight in self.weights]

    def set_weights(self, values: Any) -> None:
        """Takes arrays in the order of `get_weights`.

        Raises:
            ValueError: another number of arrays or other shapes; nothing has changed then.
        """
        _ = self.state
        self._set_arrays(self._paths, values)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes all arrays to a safetensors file, whole or not at all, under names like `dense/kernel`."""
        write(path, dict(zip(map(label, self._built_paths()), self.get_weights(), strict=True)))

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads what `save_weights` wrote.

        Raises:
            ValueError: a damaged file, or one that does not fit: lists what differs; nothing has changed then.
        """
        labels = {label(p): p for p in self._built_paths()}
        shapes = {name: tuple(look_up(vars(self.state), p).shape) for name, p in labels.items()}
        loaded = read(path, shapes)
        self._set_arrays(list(labels.values()), [loaded[name] for name in labels])

    def functional(self) -> Functional:
        """The pure pieces: the net, the trainer, and a copy of the state that training the model leaves alone."""
        return Functional(self.net, self._trainer, jax.tree.map(jnp.copy, self.state))

    def load_state(self, state: TrainState) -> None:
        """Takes the state back from a loop of your own; a copy, so that both can train on.

        Raises:
            ValueError: arrays of other names or shapes than the model's.
        """
        new, old = (jax.tree.map(jnp.shape, (s.params, s.state)) for s in (state, self.state))
        if new != old:
            raise ValueError(f"the state does not fit this model: its arrays have shapes {new}, the model's {old}")
        self._state = jax.tree.map(jnp.copy, state)

    def _built_paths(self) -> list[Path]:
        _ = self.state
        return self._paths

    def _arrays(self, paths: list[Path]) -> list[jax.Array]:
        return [look_up(vars(self.state), path) for path in paths]

    def _set_arrays(self, paths: list[Path], values: Any) -> None:
        trees = {"params": self.state.params, "state": self.state.state}
        names = [label(path) for path in paths]
        for path, value in zip(paths, fitted(values, self._arrays(paths), names), strict=True):
            trees = put(trees, path, value)
        self._state = self.state.replace(**trees)


class LayerView:
    """A layer of a model with its weights; the layer's own settings are its attributes."""

    def __init__(self, model: Network, path: str, layer: Layer):
        self._model, self.name, self.layer = model, path, layer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "layer":  # not made yet: copying asks so
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_model", "name", "layer"):
            raise AttributeError(
                f"layer {self.name!r}: a layer's settings are fixed when it is made; give {name}={value!r} there, "
                "build the model anew, and take the weights over with set_weights(old.get_weights())"
            )
        super().__setattr__(name, value)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the layer's arrays, kernel before bias."""
        return [np.array(a) for a in self._model._arrays(self._paths())]

    def set_weights(self, values: Any) -> None:
        """Takes arrays in the order of `get_weights`."""
        self._model._set_arrays(self._paths(), values)

    def count_params(self) -> int:
        """How many numbers the layer's arrays hold."""
        return sum(a.size for a in self.get_weights())

    def _paths(self) -> list[Path]:
        return [path for path in self._model._built_paths() if "/".join(path[1:-1]) == self.name]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.layer!r}>"

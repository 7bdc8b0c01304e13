"""A network with its weights: what can be asked of it before it is trained for anything."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax import data as arrays
from kjax import summary
from kjax.compile_report import CompileLog, CompileReport
from kjax.compiled import Compiled, first_optimizer_state, first_state
from kjax.frozen import explained, suggest
from kjax.heads import in_order, in_precision, input_names
from kjax.layer_view import LayerView
from kjax.nets import Functional, declared, fixed_batch, open_shapes, shapes, with_trainable
from kjax.nn.container import named_layers
from kjax.nn.layer import Layer, like
from kjax.nn.mask import plain
from kjax.nn.node import call_on_nodes
from kjax.precision import Precision
from kjax.subclass import body
from kjax.train import Trainer, TrainState
from kjax.weights import Path, fitted, label, look_up, put, read, weight_paths, write


class Network:
    """A layer with its weights: builds, predicts, shows, saves and loads. `Model` adds training.

    The arrays live in `state`, a `kjax.train.TrainState`; `functional` gives the pure pieces.
    """

    def __init__(self, net: Any = None, name: str | None = None, seed: int | None = 0):
        if net is not None and not isinstance(net, Layer):
            raise TypeError(f"Model takes a layer, or inputs= and outputs= that are nodes; got {net!r}")
        if net is None and not callable(getattr(type(self), "call", None)):
            raise TypeError(
                "Model takes a layer, or inputs= and outputs= (or write a subclass with call(self, inputs))"
            )
        self.name = name or type(self).__name__.lower()
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self.stop_training = False
        self._given_name, self._drawn_seed = name, seed is None
        self._net = net
        self._trainer: Trainer | None = None
        self._compiled: Compiled | None = None
        self._log = CompileLog()
        self._outputs: tuple[Any, Any, Any] = (None, None, None)
        self._state: TrainState | None = None
        self._spec: Any = None
        self._output: Any = None
        self._example: tuple[int | None, ...] = ()
        self._fitting: Any = None  # an output, and the shape and dtype of targets that were found to fit it
        self._paths: list[Path] = []
        self._donors: dict[str, Network] = {}
        self._layer: tuple[Any, Any] = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copy take: all but what is compiled."""
        fresh = {"_compiled": None, "_outputs": (None, None, None), "_fitting": None, "_log": CompileLog()}
        return self.__dict__ | fresh

    @property
    def net(self) -> Layer:
        """The pure layer behind the model."""
        if self._net is None:
            self._net, self._donors = body(self)
        return self._net

    def as_layer(self) -> Layer:
        """The pure layer, under the model's name if it was given one; the same object until the network changes."""
        if self._layer[0] is not self.net:
            self._layer = self.net, self.net.replace(name=self._given_name) if self._given_name else self.net
        return self._layer[1]

    def __call__(self, *nodes: Any) -> Any:
        """The node that this model gives as a layer of a larger one, to which it brings its weights."""
        return call_on_nodes(self.as_layer(), nodes, donor=self)

    @property
    def _precision(self) -> Precision | None:
        return None if self._trainer is None else self._trainer.precision

    def compile_report(self) -> CompileReport:
        """What has been compiled for this model, in how many seconds, and why; prints as a table.

        A network that equals one that has trained before shares its programs, and then has none of its own.
        """
        return CompileReport(self._log.compilations)

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
    def layers(self) -> list[LayerView]:
        """The layers of the network, blocks opened, each with its weights."""
        return [LayerView(self, path, layer) for path, layer in named_layers(self.net)]

    @explained
    def get_layer(self, name: str | None = None, index: int | None = None) -> LayerView:
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
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs; () where there is just one."""
        return input_names(self.net)

    @property
    def input_shape(self) -> Any:
        """(None, …), None for the batch axis; a list of them where there are several inputs."""
        _ = self.state
        return shapes(self._spec)

    @property
    def output_shape(self) -> Any:
        """(None, …), None for the batch axis; a list of them where there are several outputs, or a dict."""
        _ = self.state
        return shapes(self._output)

    @explained
    def build(self, input_shape: Any) -> None:
        """Makes the weights for inputs of this shape, batch axis (None) included, as Keras's `build`."""
        shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else (None, input_shape)
        if any(axis is None for axis in shape[1:]):
            raise ValueError(f"build needs the size of every axis but the first; got {input_shape!r}")
        self._build(jax.ShapeDtypeStruct((1, *shape[1:]), jnp.float32))

    def _build(self, spec: Any) -> None:
        spec = jax.tree.map(lambda a: jax.ShapeDtypeStruct((fixed_batch(self.net), *a.shape[1:]), a.dtype), spec)
        init = self._log.calls(first_state)
        state = init(self.net, self._trainer, self.seed, spec)
        self._settle(spec, self._with_donations(state) if self._donors else state)

    def _settle(self, spec: Any, state: TrainState) -> None:
        """Takes a new state for such inputs, and what follows from it; the state last, lest Ctrl-C leave half."""
        net = in_precision(self.net, self._precision)
        paths, output = weight_paths(net, spec), plain(net.output(state.params, state.state, spec))
        self._spec, self._paths, self._output = spec, paths, output
        alone = not self.input_names and not isinstance(spec, dict) and spec.dtype in arrays.READY
        self._example = self._wanted() if alone else ()
        self._state = state

    def _with_donations(self, state: TrainState) -> TrainState:
        """The state with the weights that models used as layers bring."""
        built = {name: model.state for name, model in self._donors.items() if model.built}
        params, net_state = (
            {**own, **{name: jax.tree.map(jnp.copy, getattr(s, kind)) for name, s in built.items() if name in own}}
            for own, kind in ((state.params, "params"), (state.state, "state"))
        )
        got, wanted = (jax.tree.map(jnp.shape, tree) for tree in ((params, net_state), (state.params, state.state)))
        if got != wanted:
            raise ValueError(
                f"a model used as a layer was built for inputs of another shape: its weights have the shapes {got}, "
                f"here they would have {wanted}"
            )
        params, net_state = like((params, net_state), (state.params, state.state))
        return state.replace(params=params, state=net_state)

    def _build_or_explain(self) -> None:
        spec = declared(self.net)
        if spec is None:
            raise ValueError(
                "the weights do not exist yet, because the shape of the inputs is not known: give the first layer "
                "input_shape=(…), call model.build((None, …)), or fit first"
            )
        self._build(spec)

    def _input(self, x: Any, name: str = "x") -> Any:
        """`x` as an array that fits the network (a tuple of them for several inputs); builds the network if need be."""
        if self._is_usual(x):
            return x
        names = self.input_names
        if not names and not isinstance(x, dict):
            x = arrays.as_array(x, name)
        else:
            values = in_order(x, names or tuple(x), name)
            values = tuple(arrays.as_array(v, f"{name}[{n!r}]") for v, n in zip(values, names or x, strict=True))
            x = values if names else dict(zip(x, values, strict=True))
        if self._state is None:
            self._build_for(x)
        self._check_input(x, name)
        return jax.tree.map(lambda a, spec: arrays.as_built(a, spec.dtype, name), x, self._spec)

    def _is_usual(self, x: Any) -> bool:
        """Whether this is an array of just what the network takes, which needs no other check."""
        return type(x) is np.ndarray and x.shape[1:] == self._example != () and x.dtype in arrays.READY

    def _check_input(self, x: Any, name: str) -> None:
        if hasattr(x, "shape"):
            arrays.check_input(x, self._wanted(), name)
            return
        keys = tuple(x) if isinstance(x, dict) else self.input_names
        wanted = open_shapes(self.net) or tuple(tuple(s.shape[1:]) for s in jax.tree.leaves(self._spec))
        for key, value, shape in zip(keys, x.values() if isinstance(x, dict) else x, wanted, strict=True):
            arrays.check_input(value, shape, f"{name}[{key!r}]")

    def _wanted(self) -> tuple[int | None, ...]:
        found = open_shapes(self.net)
        return found[0] if found else tuple(self._spec.shape[1:])

    def _build_for(self, x: Any) -> None:
        if open_shapes(self.net):
            self._check_input(x, "x")
        self._build(jax.tree.map(lambda a: arrays.spec(a, 1), x))

    # Which weights are trained.

    @explained
    def freeze(self, pattern: str = "*") -> None:
        """Keeps the weights of some layers as they are: they cost no gradient and no optimizer memory.

        Args:
            pattern: of the layers' names, `"block1*"`; those of a container are called `block/dense`.

        The optimizer starts afresh, as after `compile`.

        Raises:
            ValueError: no layer has such a name.
        """
        self._set_trainable(pattern, False)

    @explained
    def unfreeze(self, pattern: str = "*") -> None:
        """Trains them again; see `freeze`."""
        self._set_trainable(pattern, True)

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it freezes or unfreezes all."""
        return self.net.trainable and any(layer.trainable for _, layer in named_layers(self.net))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._set_trainable("*", bool(value))

    def _set_trainable(self, pattern: str, value: bool) -> None:
        net, count = with_trainable(self.net, pattern, value)
        if not count:
            names = [path for path, _ in named_layers(self.net)]
            raise ValueError(f"no layer is called {pattern!r}.{suggest(pattern, names)}")
        self._log.expect_changes()
        trainer, state = self._trainer and self._trainer.replace(net=net), self._state
        if state is not None and trainer is not None:
            state = state.replace(opt_state=first_optimizer_state(trainer, state.params))
        self._net, self._trainer, self._state = net, trainer, state

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

    @explained
    def set_weights(self, values: Any) -> None:
        """Takes arrays in the order of `get_weights`.

        Raises:
            ValueError: another number of arrays or other shapes; nothing has changed then.
        """
        _ = self.state
        self._set_arrays(self._paths, values)

    @explained
    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes all arrays to a safetensors file, whole or not at all, under names like `dense/kernel`."""
        write(path, dict(zip(map(label, self._built_paths()), self.get_weights(), strict=True)))

    @explained
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

    @explained
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

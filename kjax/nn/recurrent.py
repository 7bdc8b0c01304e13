"""Recurrent layers: a cell run over time."""

import dataclasses
from typing import Any, ClassVar

import jax

from kjax.nn.cell import Cell, KernelCell, Options, States
from kjax.nn.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import masked, plain, unmask


class Recurrent(Layer):
    """Base of recurrent layers: runs a cell over the second axis of its input, the first one after the batch.

    Args:
        return_sequences: whether to give the output of every step rather than the last one.
        return_state: whether to give the last states too, as a tuple `(y, *states)`.
        go_backwards: runs from the last step to the first; the outputs come in that order.
        stateful: begins each batch with the states at the end of the one before, example by example. They are kept
            in `state["carry"]`; a model's `reset_states()` sets them to zero.
        unroll: whether to lay all steps out one after the other rather than in a loop.
        zero_output_for_mask: whether a masked step gives zeros rather than the output of the step before it.
        activity_regularizer: what outputs and returned states cost.

    It takes the sequences, or a list of them and the states to begin with: `layer([x, *states])`, in pure calls a
    tuple; on nodes `layer(x, initial_state=states)` says the same. Steps that the input masks leave the states as
    they are. Sequences are (batch, time, …): what Keras 2 called `time_major` is not there.
    """

    return_sequences: bool = dataclasses.field(default=False, kw_only=True)
    return_state: bool = dataclasses.field(default=False, kw_only=True)
    go_backwards: bool = dataclasses.field(default=False, kw_only=True)
    stateful: bool = dataclasses.field(default=False, kw_only=True)
    unroll: bool = dataclasses.field(default=False, kw_only=True)
    zero_output_for_mask: bool = dataclasses.field(default=False, kw_only=True)
    activity_regularizer: Any = dataclasses.field(default=None, kw_only=True)

    min_ndim = 3
    axes = "(batch, time, …)"
    takes_mask = True

    takes_cudnn: ClassVar[bool] = False
    """Whether Keras's layer has `use_cudnn`."""

    @property
    def runs(self) -> Cell:
        """The cell; a layer with its options is one itself."""
        return self  # type: ignore[return-value]

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        kwargs = dict(kwargs)
        if kwargs.pop("time_major", False):
            raise TypeError(
                f"{cls.__name__}: time_major is Keras 2's; swap the axes, x.swapaxes(0, 1): (batch, time, …)"
            )
        if cls.takes_cudnn and kwargs.pop("use_cudnn", "auto") not in ("auto", False):
            raise TypeError(f"{cls.__name__}: XLA compiles the loop, without cuDNN; pass use_cudnn='auto', or nothing")
        if "input_dim" in kwargs:
            kwargs.setdefault("input_shape", (kwargs.pop("input_length", None), kwargs.pop("input_dim")))
        return super().translate(kwargs)

    def __call__(self, *nodes: Any, initial_state: Any = None) -> Any:
        if initial_state is not None:
            states = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
            nodes = ([*nodes, *states],)
        return super().__call__(*nodes)

    def init(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return Layer.init(self, key, x)

    def check_input(self, x: Any) -> None:
        if isinstance(x, tuple | list):
            self._check_rank(x[0])
            self.runs.check_states(step_of(x[0]), x[1:], self)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        step = step_of(x[0] if isinstance(x, tuple | list) else x)
        params = self.build_cell(key, step)
        return params, {"carry": self.runs.first_states(step)} if self.stateful else {}

    def build_cell(self, key: jax.Array, step: Any) -> Params:
        """The cell's params for such a step."""
        return super().build(key, step)[0]

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        x, *given = x if isinstance(x, tuple | list) else (x,)
        value, mask = unmask(x)
        step, cell = step_of(value), self.runs
        states = tuple(plain(s).astype(step.dtype) for s in given) or self._begin(state, value)
        params = cell.prepare(params, step, states, training, key)
        inputs = cell.project(params, value.swapaxes(0, 1))
        options = Options(self.go_backwards, self.unroll, self.zero_output_for_mask)
        ys, states = cell.over_time(params, inputs, states, over_time(mask), options)
        state = {**state, "carry": states} if self.stateful else state
        return self._output(ys, states, mask), state

    def _begin(self, state: State, x: Any) -> States:
        if not self.stateful:
            return self.runs.first_states(step_of(x))
        n = state["carry"][0].shape[0]
        if n != x.shape[0]:
            hint = f"train and predict with batch_size={n}, or build it for other batches (batch_input_shape=(n, …))"
            self.refuse(f"is stateful, with a carry for batches of {n}", x, hint)
        return tuple(carry.astype(x.dtype) for carry in state["carry"])

    def _output(self, ys: Any, states: States, mask: Any) -> Any:
        steps, rows = over_time(mask), mask if mask is None else mask.reshape(mask.shape[0], -1).any(axis=1)
        if self.return_sequences:
            order = slice(None, None, -1 if self.go_backwards else 1)
            y = masked(ys[order].swapaxes(0, 1), rows if steps is None else steps[order].T)
        else:
            y = masked(self._last(ys, states, mask), rows)
        return (y, *(masked(state, rows) for state in states)) if self.return_state else y

    def _last(self, ys: Any, states: States, mask: Any) -> Any:
        """The output of the last step: of kjax's own cells a state, whose gradient needs no zeros for other steps."""
        if isinstance(self.runs, KernelCell) and not (self.zero_output_for_mask and mask is not None):
            return states[0]
        return ys[0 if self.go_backwards else -1]


class RNN(Recurrent):
    """Runs a cell over time.

    Args:
        cell: a `Cell`, or a list of them, one above the other (`StackedRNNCells`).

    The other arguments are those of `Recurrent`; the params are the cell's.
    Shapes: (batch, time, …) -> (batch, units), or (batch, time, units) for `return_sequences`.

    Raises:
        TypeError: not a cell.
        LayerError: an input of too low a rank, states of another number or shape.

    >>> import jax.numpy as jnp
    >>> from kjax import nn
    >>> layer = RNN([nn.LSTMCell(3), nn.GRUCell(2)], return_sequences=True)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 4)))
    >>> layer.apply(params, state, jnp.ones((2, 5, 4)))[0].shape
    (2, 5, 2)
    """

    cell: Any

    @property
    def runs(self) -> Cell:
        return self.cell

    def convert(self, name: str, value: Any) -> Any:
        value = super().convert(name, value)
        return StackedRNNCells(value) if name == "cell" and isinstance(value, tuple) else value

    def validate(self) -> None:
        if not isinstance(self.cell, Cell) or isinstance(self.cell, Recurrent):
            raise TypeError(f"RNN takes a cell, e.g. LSTMCell(8), or a list of cells; got {self.cell!r}")

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self.cell.draws

    def build_cell(self, key: jax.Array, step: Any) -> Params:
        return self.cell.init(key, step)[0]

    def penalty(self, params: Params, state: State) -> jax.Array | float:
        return super().penalty({}, state) + self.cell.penalty(params, {})

    def constrain(self, params: Params) -> Params:
        return self.cell.constrain(params)

    def partition(self, params: Params) -> tuple[Params, Params]:
        return self.cell.partition(params) if self.trainable else ({}, params)


class SimpleRNN(Recurrent, SimpleRNNCell):
    """A plain recurrent layer: `h = activation(x @ kernel + bias + h @ recurrent_kernel)` at each step.

    Args:
        units: size of the output and the state.
        activation: a name, a function, or None for none.
        use_bias: whether to add a bias.

    The other arguments are those of `SimpleRNNCell` and of `Recurrent`.
    Shapes: (batch, time, features) -> (batch, units), or (batch, time, units) for `return_sequences`.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of features, states of another number or shape.

    >>> import jax.numpy as jnp
    >>> params, state = SimpleRNN(3).init(jax.random.key(0), jnp.ones((1, 5, 4)))
    >>> SimpleRNN(3).apply(params, state, jnp.ones((2, 5, 4)))[0].shape
    (2, 3)
    """

    ndim = 3
    axes = "(batch, time, features)"


class LSTM(Recurrent, LSTMCell):
    """Long short-term memory; the formula is that of `LSTMCell`.

    Args:
        units: size of the output and of each of the two states.
        activation: of the candidate and the output.
        recurrent_activation: of the gates.
        use_bias: whether to add a bias.

    The other arguments are those of `LSTMCell` and of `Recurrent`; `use_cudnn` may be "auto" or False.
    Shapes: (batch, time, features) -> (batch, units), or (batch, time, units) for `return_sequences`.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of features, states of another number or shape.

    >>> import jax.numpy as jnp
    >>> layer = LSTM(3, return_state=True)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 4)))
    >>> [y.shape for y in layer.apply(params, state, jnp.ones((2, 5, 4)))[0]]
    [(2, 3), (2, 3), (2, 3)]
    """

    ndim = 3
    axes = "(batch, time, features)"
    takes_cudnn = True


class GRU(Recurrent, GRUCell):
    """Gated recurrent unit; the formula is that of `GRUCell`.

    Args:
        units: size of the output and the state.
        activation: of the candidate.
        recurrent_activation: of the gates.
        use_bias: whether to add a bias.

    The other arguments are those of `GRUCell` and of `Recurrent`; `use_cudnn` may be "auto" or False.
    Shapes: (batch, time, features) -> (batch, units), or (batch, time, units) for `return_sequences`.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of features, states of another number or shape.

    >>> import jax.numpy as jnp
    >>> layer = GRU(3, return_sequences=True)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 4)))
    >>> layer.apply(params, state, (jnp.ones((2, 5, 4)), jnp.zeros((2, 3))))[0].shape
    (2, 5, 3)
    """

    ndim = 3
    axes = "(batch, time, features)"
    takes_cudnn = True


def step_of(x: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of one step of sequences."""
    return jax.ShapeDtypeStruct((x.shape[0], *x.shape[2:]), x.dtype)


def over_time(mask: Any) -> Any:
    """Which steps are real, (time, batch), where the mask says so; masks of rows alone do not."""
    return None if mask is None or mask.ndim == 1 else mask.reshape(*mask.shape[:2], -1).any(axis=2).T

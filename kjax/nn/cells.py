"""The cells: one step of a recurrence each. `kjax.nn.recurrent` runs them over time."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.nn import kernels
from kjax.nn.cell import Cell, KernelCell, States, dropped, join
from kjax.nn.container import Container, Visit
from kjax.nn.core import add_bias
from kjax.nn.layer import Params, State


class SimpleRNNCell(KernelCell):
    """`h = activation(x @ kernel + bias + h @ recurrent_kernel)`, which is the output too.

    Args:
        units: size of the state and output.
        activation: a name, a function, or None for none.
        use_bias: whether to add a bias.

    The other arguments are Keras's for weights, and those of `KernelCell`.
    Shapes: (batch, features), (batch, units) -> (batch, units) twice.

    >>> cell = SimpleRNNCell(3)
    >>> x, h = jnp.ones((2, 4)), jnp.zeros((2, 3))
    >>> params, state = cell.init(jax.random.key(0), x)
    >>> [y.shape for y in cell.apply(params, state, (x, h))[0]]
    [(2, 3), (2, 3)]
    """

    units: int
    activation: Any = "tanh"
    use_bias: bool = True

    def advance(self, sums: Any, others: Any, states: States, keeps: Any) -> tuple[Any, States]:
        h = self.activation(self.total(sums, states[0], keeps))
        return h, (h,)

    def loop(self, params: Params, x: Any, states: States, mask: Any, backwards: bool) -> Any:
        return kernels.simple_rnn(x, params["recurrent_kernel"], states[0], mask, backwards)


class LSTMCell(KernelCell):
    """One step of a long short-term memory; its states are the output h and the memory c.

        i, f, o = recurrent_activation(x @ kernel + bias + h @ recurrent_kernel), gate by gate
        c = f * c + i * activation(… the third gate's)
        h = o * activation(c)

    Args:
        units: size of the output and of each state.
        activation: of the candidate and the output.
        recurrent_activation: of the gates.
        use_bias: whether to add a bias.
        unit_forget_bias: whether the forget gate's bias begins at one.

    The other arguments are Keras's for weights, and those of `KernelCell`.
    The kernels hold the gates in Keras's order: input, forget, candidate, output.

    Sources: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Jozefowicz et al., "An empirical exploration
    of recurrent network architectures", 2015, for the forget gate's bias.

    >>> cell = LSTMCell(3)
    >>> params, _ = cell.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> params["bias"].tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    units: int
    activation: Any = "tanh"
    recurrent_activation: Any = "sigmoid"
    use_bias: bool = True
    unit_forget_bias: bool = dataclasses.field(default=True, kw_only=True)

    gates = 4

    @property
    def state_size(self) -> Any:
        return self.units, self.units

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params, state = super().build(key, x)
        return forget_slowly(params) if self.use_bias and self.unit_forget_bias else params, state

    def advance(self, sums: Any, others: Any, states: States, keeps: Any) -> tuple[Any, States]:
        h, c = states
        i, f, new, o = jnp.split(self.total(sums, h, keeps), 4, axis=self.gate_axis)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(new)
        h = self.recurrent_activation(o) * self.activation(c)
        return h, (h, c)

    def loop(self, params: Params, x: Any, states: States, mask: Any, backwards: bool) -> Any:
        h, c = states
        return kernels.lstm(x, params["recurrent_kernel"], h, c, mask, backwards)


class GRUCell(KernelCell):
    """One step of a gated recurrent unit; its state h is the output.

        z, r = recurrent_activation(x @ kernel + bias + h @ recurrent_kernel), gate by gate
        new = activation(x @ kernel + r * (h @ recurrent_kernel + recurrent bias)), with the third gate's weights
        h = z * h + (1 - z) * new

    Args:
        units: size of the output and the state.
        activation: of the candidate.
        recurrent_activation: of the gates.
        use_bias: whether to add a bias.
        reset_after: True as above, with a bias of shape (2, 3 * units), as cuDNN and PyTorch have it; False resets
            the state before its product, `(r * h) @ recurrent_kernel`, with a bias of shape (3 * units,).

    The other arguments are Keras's for weights, and those of `KernelCell`.
    The kernels hold the gates in Keras's order: update, reset, candidate.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.

    >>> params, _ = GRUCell(3).init(jax.random.key(0), jnp.ones((1, 4)))
    >>> params["bias"].shape
    (2, 9)
    """

    units: int
    activation: Any = "tanh"
    recurrent_activation: Any = "sigmoid"
    use_bias: bool = True
    reset_after: bool = dataclasses.field(default=True, kw_only=True)

    gates = 3

    def bias_shape(self, size: int) -> tuple[int, ...]:
        return (2, size) if self.reset_after else (size,)

    def with_bias(self, y: Any, params: Params) -> Any:
        return add_bias(y, {"bias": params["bias"][0]} if self.reset_after and self.use_bias else params)

    def parts(self, params: Params, x: Any) -> Any:
        n = len(params.get("keep_state", ())) or 1
        if not self.reset_after:
            cuts = [self.units, 2 * self.units] if n == 3 else [2 * self.units]
            return tuple(jnp.split(x, cuts, axis=-1)), ()
        gates, new = jnp.split(x, [2 * self.units], axis=-1)
        plus = jnp.concatenate([gates, jnp.zeros_like(new)], -1)
        plus = add_bias(plus, {"bias": params["bias"][1]} if self.use_bias else {})
        return tuple(jnp.split(plus, n, axis=-1)), new

    def loop_weights(self, params: Params) -> list[Any]:
        if self.reset_after or params.get("keep_state"):
            return super().loop_weights(params)
        return jnp.split(params["recurrent_kernel"], [2 * self.units], axis=-1)

    def advance(self, sums: Any, others: Any, states: States, keeps: Any) -> tuple[Any, States]:
        (h,) = states
        if self.reset_after:
            gates, inner = jnp.split(self.total(sums, h, keeps), [2 * self.units], axis=-1)
        else:
            *lefts, last = dropped(h, keeps) if keeps else (h, h)
            gates = join([add(left) for add, left in zip(sums[:-1], lefts, strict=True)], -1)
        z, r = jnp.split(self.recurrent_activation(gates), 2, axis=-1)
        new = self.activation(others + r * inner if self.reset_after else sums[-1](r * last))
        h = z * h + (1 - z) * new
        return h, (h,)

    def loop(self, params: Params, x: Any, states: States, mask: Any, backwards: bool) -> Any:
        (h,) = states
        bias = params["bias"][1] if self.use_bias else jnp.zeros_like(x, shape=x.shape[-1:])
        return kernels.gru(x, params["recurrent_kernel"], bias if self.reset_after else None, h, mask, backwards)


class StackedRNNCells(Container, Cell):
    """Cells one above the other as one cell: each takes the output of the one below.

    Args:
        cells: the cells, lowest first.

    Its states are those of all cells, one after the other. As a layer of its own it takes `(x, *states)`.

    >>> cell = StackedRNNCells([LSTMCell(3), GRUCell(2)])
    >>> params, state = cell.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> [y.shape for y in cell.apply(params, state, jnp.ones((5, 4)))[0]]
    [(5, 2), (5, 3), (5, 3), (5, 2)]
    """

    cells: tuple[Cell, ...] = ()

    takes_mask = False
    takes_integers = False
    min_ndim = 2

    @property
    def layers(self) -> tuple[Cell, ...]:
        return self.cells

    def with_layers(self, layers: Any) -> Any:
        return self.replace(cells=layers)

    def validate(self) -> None:
        if not self.cells or not all(isinstance(cell, Cell) for cell in self.cells):
            raise TypeError(f"StackedRNNCells takes a list of cells, e.g. [LSTMCell(3)]; got {self.cells!r}")
        super().validate()

    def first_states(self, x: Any) -> States:
        return tuple(state for cell in self.cells for state in cell.first_states(x))

    def last_output(self, states: States) -> Any:
        return self.cells[-1].last_output(self._shared_out(states)[-1])

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        x, *given = x if isinstance(x, tuple | list) else (x,)
        new: list[Any] = []
        for i, own in enumerate(self._shared_out(tuple(given) or self.first_states(x))):
            x, *states = visit(i, i, (x, *own))
            new += states
        return (x, *new)

    def prepare(self, params: Params, x: Any, states: States, training: bool, key: Any) -> Params:
        found: Params = {}

        def visit(i: int, number: int, given: Any) -> Any:
            name, cell = self.names[i], self.cells[i]
            own_key = jax.random.fold_in(key, i) if key is not None else None
            found[name] = cell.prepare(params.get(name, {}), given[0], given[1:], training, own_key)
            return cell.output(params.get(name, {}), {}, given)

        self.run((x, *states), visit)
        return found

    def project(self, params: Params, x: Any) -> Any:
        return self.cells[0].project(params[self.names[0]], x)

    def step(self, params: Params, x: Any, states: States) -> tuple[Any, States]:
        def visit(i: int, number: int, given: Any) -> Any:
            cell, own, (x, *states) = self.cells[i], params[self.names[i]], given
            y, new = cell.step(own, cell.project(own, x) if i else x, tuple(states))
            return (y, *new)

        y, *new = self.run((x, *states), visit)
        return y, tuple(new)

    call = Container.call

    def _shared_out(self, states: States) -> list[States]:
        """The states of each cell."""
        sizes = [len(jax.eval_shape(cell.first_states, SCALARS)) for cell in self.cells]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [tuple(states[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


SCALARS = jax.ShapeDtypeStruct((1, 1), jnp.float32)


def forget_slowly(params: Params) -> Params:
    """The params of an LSTM whose forget gate's bias begins at one."""
    n = params["bias"].size // 4
    return {**params, "bias": params["bias"].at[n : 2 * n].set(1)}

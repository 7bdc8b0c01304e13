"""Training as pure functions over one state: a step, many steps in one compiled loop, evaluation.

    trainer = Trainer(net, "sparse_categorical_crossentropy", Adam(1e-3), metrics=["accuracy"])
    state = trainer.init(jax.random.key(0), x[:1])
    state, logs = jax.jit(trainer.train_step)(state, (x, y))

All of it can be jitted, vmapped, scanned and differentiated. The optimizer's numbers are leaves of the trainer, so
another learning rate compiles nothing again.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kjax import losses, metrics, optim
from kjax.frozen import Frozen
from kjax.nn.compose import split_activation
from kjax.nn.layer import Layer, merge
from kjax.nn.mask import Masked, unmask

Logs = dict[str, jax.Array]
Totals = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that training changes; a pytree.

    `params` and `state` are the network's, `opt_state` the optimizer's. `step` counts the steps taken, and `key`,
    which never changes, decides together with it all that is random in a step.
    """

    params: Any
    state: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array

    def replace(self, **changes: Any) -> "TrainState":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Trainer(Frozen):
    """A network with what it is trained for: the loss, the optimizer and the metrics.

    Args:
        net: a layer, usually a container.
        loss: a name, a function `(y_true, y_pred) -> values per example`, or a loss object.
        optimizer: a name or an optimizer; its numbers are the trainer's leaves as a pytree.
        metrics: names, functions or metric objects.
        loss_weight: what the data's part of the loss is multiplied by.

    A batch is `(x, y)` or `(x, y, sample_weight)`, with the weights per example or per time step. The loss is the
    mean over the examples of weight times value, plus the penalties of the network's regularizers.

    Where a crossentropy follows a softmax or sigmoid output, the loss is computed from the logits.

    >>> import numpy as np
    >>> from kjax import nn, optim
    >>> trainer = Trainer(nn.Dense(1), "mse", optim.SGD(0.1))
    >>> x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
    >>> state = trainer.init(jax.random.key(0), x)
    >>> step = jax.jit(trainer.train_step)
    >>> for _ in range(40):
    ...     state, logs = step(state, (x, y))
    >>> bool(logs["loss"] < 1e-6), int(state.step)
    (True, 40)
    """

    net: Layer
    loss: Any
    optimizer: Any = "rmsprop"
    metrics: Any = ()
    loss_weight: float = 1.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError("Trainer is not meant to be subclassed: write a step of your own from grad and the optimizer")

    def convert(self, name: str, value: Any) -> Any:
        getters = {"loss": losses.get, "optimizer": optim.get, "metrics": get_metrics}
        return getters[name](value) if name in getters else value

    def _require_hashable(self, name: str) -> None:
        if name != "optimizer":  # a leaf: under vmap or grad its numbers are traced
            super()._require_hashable(name)

    def init(self, key: jax.Array, x: Any) -> TrainState:
        """The state to begin with, for inputs like `x` (an array or a `jax.ShapeDtypeStruct`, batch axis first)."""
        net_key, train_key = jax.random.split(key)
        params, state = self.net.init(net_key, x)
        return TrainState(params, state, self.init_optimizer(params), jnp.zeros((), jnp.int32), train_key)

    def init_optimizer(self, params: Any) -> Any:
        """The optimizer's state for the params that are not frozen."""
        return self.optimizer.init(self.net.partition(params)[0])

    def train_step(self, state: TrainState, batch: Sequence[Any], valid: Any = None) -> tuple[TrainState, Logs]:
        """One step down the gradient on one batch, and the loss and metrics before it.

        Args:
            state: where training stands.
            batch: `(x, y)` or `(x, y, sample_weight)`.
            valid: bool (batch,) where some rows are padding: those count for nothing.
        """
        state, outcome = self._step(state, batch, valid)
        return state, self._logs(batch, outcome, valid)

    def train_steps(self, state: TrainState, batches: Any) -> tuple[TrainState, Logs]:
        """One step for each batch along a leading axis of all arrays, in one compiled loop; the logs are stacked."""
        return jax.lax.scan(self.train_step, state, batches)

    def train_rows(
        self, state: TrainState, totals: Totals, data: Any, rows: jax.Array, start: Any, stop: Any, padded: bool = False
    ) -> tuple[TrainState, Totals]:
        """Steps `start` to `stop` of an epoch in one compiled loop; both are data, so other counts compile nothing.

        Args:
            state: where training stands.
            totals: sums over the epoch so far, from `init_totals`; `results` makes logs of them.
            data: `(x, y)` or `(x, y, sample_weight)`, the whole data set.
            rows: int32 (steps, batch), the rows of each batch; -1 is padding.
            start: the first step.
            stop: one behind the last step.
            padded: whether `rows` holds any -1.
        """

        def body(i: Any, carry: Any) -> Any:
            batch, valid = take_rows(data, rows[i], padded)
            state, outcome = self._step(carry[0], batch, valid)
            return state, self._accumulate(carry[1], batch, outcome, valid)

        return jax.lax.fori_loop(start, stop, body, (state, totals))

    def eval_step(self, state: TrainState, batch: Sequence[Any], valid: Any = None) -> Logs:
        """The loss and metrics on one batch; nothing is trained."""
        return self._logs(batch, self._objective(state.params, state, batch, valid, False), valid)

    def eval_rows(
        self, state: TrainState, totals: Totals, data: Any, rows: jax.Array, start: Any, stop: Any, padded: bool = False
    ) -> Totals:
        """Like `train_rows`, without training."""

        def body(i: Any, totals: Any) -> Any:
            batch, valid = take_rows(data, rows[i], padded)
            return self._accumulate(totals, batch, self._objective(state.params, state, batch, valid, False), valid)

        return jax.lax.fori_loop(start, stop, body, totals)

    def init_totals(self, y: Any, y_pred: Any) -> Totals:
        """Empty sums for targets and predictions of these shapes."""
        return {"loss": metrics.Mean().init()} | {n: m.init() for n, m in self._bound(y, y_pred).items()}

    def results(self, totals: Totals, y: Any, y_pred: Any) -> Logs:
        """The loss and metrics that the sums stand for."""
        means = self._bound(y, y_pred)
        return {"loss": metrics.Mean().result(totals["loss"])} | {n: m.result(totals[n]) for n, m in means.items()}

    def shapes(self, state: TrainState, batch: Sequence[Any]) -> tuple[Any, Any]:
        """Shape and dtype of the targets, as the loss takes them, and of the predictions for such a batch."""
        x, y, _ = unpack(batch)
        y_pred = unmask(self.net.output(state.params, state.state, x))[0]
        return jax.eval_shape(lambda y: losses.match_targets(self.loss, y, y_pred.shape), y), y_pred

    def takes_padding(self, y: Any, y_pred: Any) -> bool:
        """Whether loss and metrics give a value per example, so that padding rows can be left out.

        A function that reduces a whole batch to one number has to see just the batch.
        """
        means = [m.values for m in self._bound(y, y_pred).values() if isinstance(m, metrics.MeanMetric)]
        return all(jax.eval_shape(f, y, y_pred).ndim > 0 for f in (self.loss, *means))

    @property
    def log_names(self) -> list[str]:
        """The names in the logs, in order: the loss, then the metrics."""
        return ["loss", *unique([m.name for m in self.metrics])]

    # How a step is made.

    def _step(self, state: TrainState, batch: Sequence[Any], valid: Any) -> tuple[TrainState, Any]:
        trainable, frozen = self.net.partition(state.params)

        def objective(trainable: Any) -> tuple[jax.Array, Any]:
            outcome = self._objective(merge(trainable, frozen), state, batch, valid, True)
            return outcome[0], outcome

        (_, outcome), grads = jax.value_and_grad(objective, has_aux=True)(trainable)
        trainable, opt_state = self.optimizer.update(grads, state.opt_state, trainable)
        params = self.net.constrain(merge(trainable, frozen))
        return state.replace(params=params, state=outcome[2], opt_state=opt_state, step=state.step + 1), outcome

    def _objective(self, params: Any, state: TrainState, batch: Sequence[Any], valid: Any, training: bool) -> Any:
        """`(loss, predictions, network state)`."""
        x, y, weight = unpack(batch)
        key = jax.random.fold_in(state.key, state.step) if training and self.net.draws else None
        net, activation, loss = self._on_logits()
        given = Masked(x, valid) if valid is not None and self.net.needs_rows else x
        output, net_state = net.apply(params, state.state, given, training, key)
        output = unmask(output)[0]
        total = losses.mean_loss(loss, y, output, weight, valid) * self.loss_weight
        penalty = self.net.penalty(params, net_state)
        predictions = activation(output) if activation else output
        return total + jnp.asarray(penalty, total.dtype), predictions, net_state

    def _on_logits(self) -> tuple[Layer, Any, Any]:
        """The network up to its logits, the activation behind them, the loss that takes them (if any)."""
        net, activation = split_activation(self.net)
        loss = activation and losses.on_logits(self.loss, activation)
        return (net, activation, loss) if loss else (self.net, None, self.loss)

    def _bound(self, y: Any, y_pred: Any) -> dict[str, Any]:
        """The metrics by log name, as these shapes make them."""
        bound = [m.bind(y.shape, y_pred.shape, self.loss) for m in self.metrics]
        return dict(zip(unique([m.name for m in self.metrics]), bound, strict=True))

    def _accumulate(self, totals: Totals, batch: Sequence[Any], outcome: Any, valid: Any) -> Totals:
        _, y, _ = unpack(batch)
        loss, y_pred, _ = outcome
        count = jnp.float32(y_pred.shape[0]) if valid is None else valid.sum().astype(jnp.float32)
        row_weight = None if valid is None else valid.astype(jnp.float32)
        y = losses.match_targets(self.loss, y, y_pred.shape)
        means = {n: m.update(totals[n], y, y_pred, row_weight) for n, m in self._bound(y, y_pred).items()}
        return {"loss": metrics.Mean().update(totals["loss"], loss, count), **means}

    def _logs(self, batch: Sequence[Any], outcome: Any, valid: Any) -> Logs:
        y = losses.match_targets(self.loss, unpack(batch)[1], outcome[1].shape)
        totals = self.init_totals(y, outcome[1])
        return self.results(self._accumulate(totals, batch, outcome, valid), y, outcome[1]) | {"loss": outcome[0]}


def _flatten(trainer: Trainer) -> tuple[tuple[Any], tuple[Any, ...]]:
    return (trainer.optimizer,), (trainer.net, trainer.loss, trainer.metrics, trainer.loss_weight)


def _unflatten(static: tuple[Any, ...], leaves: tuple[Any]) -> Trainer:
    trainer = object.__new__(Trainer)
    net, loss, own_metrics, weight = static
    trainer.__dict__.update(net=net, loss=loss, optimizer=leaves[0], metrics=own_metrics, loss_weight=weight)
    return trainer


jax.tree_util.register_pytree_node(Trainer, _flatten, _unflatten)


def unpack(batch: Sequence[Any]) -> tuple[Any, Any, Any]:
    """`(x, y, sample_weight)` of a batch; the weight may be left out."""
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise ValueError(f"a batch is (x, y) or (x, y, sample_weight); got {type(batch).__name__} of {len(batch)}")
    return (*batch, None) if len(batch) == 2 else tuple(batch)


def take_rows(data: Any, rows: jax.Array, padded: bool) -> tuple[Any, Any]:
    """The rows of all arrays, and which of them are real (None for all)."""
    batch = jax.tree.map(lambda a: a[jnp.maximum(rows, 0)], data)
    return batch, rows >= 0 if padded else None


def get_metrics(identifiers: Any) -> tuple[Any, ...]:
    """The metric objects for a list of names, functions or objects (or one of them)."""
    single = identifiers is not None and not isinstance(identifiers, list | tuple)
    return tuple(metrics.get(m) for m in ([identifiers] if single else identifiers or ()))


def unique(names: Sequence[str]) -> list[str]:
    """The names with a number behind those that came before.

    >>> unique(["a", "b", "a"])
    ['a', 'b', 'a_1']
    """
    return [f"{n}_{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]

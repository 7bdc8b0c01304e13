"""Training as pure functions over one state: a step, many steps in one compiled loop, evaluation.

    trainer = Trainer(net, "sparse_categorical_crossentropy", Adam(1e-3), metrics=["accuracy"])
    state = trainer.init(jax.random.key(0), x[:1])
    state, logs = jax.jit(trainer.train_step)(state, (x, y))

All of it can be jitted, vmapped, scanned and differentiated. The optimizer's numbers are leaves of the trainer, so
another learning rate compiles nothing again.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax import heads, losses, metrics, optim, precision
from kjax.dtypes import widened
from kjax.frozen import Frozen
from kjax.heads import Head, in_order
from kjax.nn.layer import Layer, merge
from kjax.nn.mask import Masked, unmask
from kjax.precision import LossScale
from kjax.state import TrainState as TrainState
from kjax.steps import looped, unpack

Logs = dict[str, jax.Array]
Totals = dict[str, Any]


class Outcome(NamedTuple):
    """What a batch gave: the loss with penalties, each output's own loss and predictions, the network's state."""

    loss: jax.Array
    losses: tuple[jax.Array, ...]
    predictions: tuple[Any, ...]
    counts: tuple[Any, ...]
    state: Any


class Trainer(Frozen):
    """A network with what it is trained for: the loss, the optimizer and the metrics.

    Args:
        net: a layer, usually a container.
        loss: a name, a function `(y_true, y_pred) -> values per example`, or a loss object.
        optimizer: a name or an optimizer; its numbers are the trainer's leaves as a pytree.
        metrics: names, functions or metric objects.
        loss_weight: what the data's part of the loss is multiplied by.
        output_names: the outputs' names, where the network cannot tell them; () for a single one.
        objective: a function `(x, y, y_pred, sample_weight) -> number` that takes the place of the losses' weighted
            sum; what there are several of comes as a dict by name. Penalties are added to it.
        precision: "mixed_bfloat16", "mixed_float16", "float32", "float64" or a `kjax.precision.Precision`, in which
            the layers compute that say no `dtype=`; None: in the dtype of their inputs.

    A network with several outputs takes a list in their order, or a dict by their names, for `loss` (None for an
    output that is not trained for), `metrics` and `loss_weight`; so do the targets and weights of a batch. The loss
    is then the weighted sum of the outputs' losses, which logs call `digit_loss`.

    A batch is `(x, y)` or `(x, y, sample_weight)`, with the weights per example or per time step. The loss is the
    mean over the examples of weight times value, plus the penalties of the network's regularizers.

    Where a crossentropy follows a softmax or sigmoid output, the loss is computed from the logits. Time steps that
    the network's output masks count for nothing.

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
    loss_weight: Any = 1.0
    output_names: Any = None
    objective: Callable | None = None
    precision: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError("Trainer is not meant to be subclassed: write a step of your own from grad and the optimizer")

    def __post_init__(self) -> None:
        if self.output_names is None:
            object.__setattr__(self, "output_names", heads.output_names(self.net, self.loss))
        super().__post_init__()

    def convert(self, name: str, value: Any) -> Any:
        names = self.output_names
        getters: dict[str, Callable] = {
            "loss": lambda: heads.per_output(value, names, losses.get, "loss"),
            "optimizer": lambda: optim.get(value),
            "metrics": lambda: heads.metrics_per_output(value, names),
            "loss_weight": lambda: heads.per_output(value, names, heads.number_of, "loss_weights"),
            "output_names": lambda: value if value is None else tuple(value),
            "precision": lambda: precision.get(value),
        }
        return getters[name]() if name in getters else value

    @functools.cached_property
    def heads(self) -> tuple[Head, ...]:
        """What is trained for at each output."""
        if not self.output_names:
            return (Head("", self.loss, self.loss_weight, self.metrics),)
        return tuple(map(Head, self.output_names, self.loss, self.loss_weight, self.metrics))

    def _require_hashable(self, name: str) -> None:
        if name != "optimizer":  # a leaf: under vmap or grad its numbers are traced
            super()._require_hashable(name)

    def init(self, key: jax.Array, x: Any) -> TrainState:
        """The state to begin with, for inputs like `x` (an array or a `jax.ShapeDtypeStruct`, batch axis first)."""
        net_key, train_key = jax.random.split(key)
        params, state = heads.in_precision(self.net, self.precision).init(net_key, x)
        step = jnp.zeros((), jnp.int32)
        return TrainState(params, state, self.init_optimizer(params), step, train_key, self.init_loss_scale())

    def init_optimizer(self, params: Any) -> Any:
        """The optimizer's state for the params that are not frozen."""
        return self.optimizer.init(self.net.partition(params)[0])

    def init_loss_scale(self) -> LossScale | None:
        """What the loss is first multiplied by; None where the precision needs no such thing."""
        return LossScale.begin(self.precision) if self.precision is not None and self.precision.scales else None

    def predict_step(self, state: TrainState, x: Any) -> Any:
        """The network's outputs, in float32 where it computes in less."""
        return heads.predict(self.net, self.precision, state.params, state.state, x)

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
        self, state: TrainState, totals: Totals, data: Any, rows: jax.Array, start: Any, stop: Any,
        padded: bool = False, logs: Logs | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Steps `start` to `stop` of an epoch in one compiled loop; both are data, so other counts compile nothing.

        Args:
            state: where training stands.
            totals: sums over the epoch so far, from `init_totals`; `results` makes logs of them.
            data: `(x, y)` or `(x, y, sample_weight)`, the whole data set.
            rows: int32 (steps, batch), the rows of each batch; -1 is padding.
            start: the first step.
            stop: one behind the last step.
            padded: whether `rows` holds any -1.
            logs: room from `init_logs` for what `results` gives after each of these steps, the first one's in place 0.

        Returns:
            `(state, totals)`, or `(state, totals, logs)`.
        """

        def step(state: TrainState, totals: Totals, batch: Any, valid: Any) -> tuple[TrainState, Totals]:
            state, outcome = self._step(state, batch, valid)
            return state, self._accumulate(totals, batch, outcome, valid)

        summary = functools.partial(self._results_for, state)
        return looped(step, summary, (state, totals), data, rows, (start, stop), padded, logs)

    def eval_step(self, state: TrainState, batch: Sequence[Any], valid: Any = None) -> Logs:
        """The loss and metrics on one batch; nothing is trained."""
        return self._logs(batch, self._objective(state.params, state, batch, valid, False), valid)

    def eval_rows(
        self, state: TrainState, totals: Totals, data: Any, rows: jax.Array, start: Any, stop: Any,
        padded: bool = False, logs: Logs | None = None,
    ) -> Any:  # fmt: skip
        """Like `train_rows`, without training: the totals, or `(totals, logs)`."""

        def step(nothing: Any, totals: Totals, batch: Any, valid: Any) -> tuple[Any, Totals]:
            outcome = self._objective(state.params, state, batch, valid, False)
            return nothing, self._accumulate(totals, batch, outcome, valid)

        summary = functools.partial(self._results_for, state)
        _, *found = looped(step, summary, ((), totals), data, rows, (start, stop), padded, logs)
        return found[0] if logs is None else tuple(found)

    def init_totals(self, y: Any, y_pred: Any) -> Totals:
        """Empty sums for targets and predictions of these shapes, as `shapes` gives them."""
        return {name: metrics.Mean().init() for name in self._loss_names} | {
            name: metric.init() for head in self._bound(y, y_pred) for name, metric in head.items()
        }

    def init_logs(self, steps: int, y: Any, y_pred: Any) -> Logs:
        """Room for the logs after each of so many steps, for targets and predictions of these shapes."""
        one = jax.eval_shape(lambda: self.results(self.init_totals(y, y_pred), y, y_pred))
        return {name: jnp.zeros((steps, *a.shape), a.dtype) for name, a in one.items()}

    def results(self, totals: Totals, y: Any, y_pred: Any) -> Logs:
        """The losses and metrics that the sums stand for."""
        means: dict[str, Any] = dict.fromkeys(self._loss_names, metrics.Mean())
        for head in self._bound(y, y_pred):
            means |= head
        return {name: metric.result(totals[name]) for name, metric in means.items()}

    def shapes(self, state: TrainState, batch: Sequence[Any]) -> tuple[Any, Any]:
        """Shape and dtype of each output's targets, as its loss takes them, and predictions for such a batch."""
        x, y, _ = unpack(batch)
        outputs = self.outputs_of(jax.eval_shape(self.predict_step, state, x))
        y_pred = tuple(unmask(output)[0] for output in outputs)
        return jax.eval_shape(lambda y: self._matched(y, y_pred), y), y_pred

    def takes_padding(self, y: Any, y_pred: Any) -> bool:
        """Whether losses and metrics give a value per example, so that padding rows can be left out.

        A function that reduces a whole batch to one number has to see just the batch.
        """
        if self.objective is not None:
            return False
        columns = zip(self.heads, y, y_pred, self._bound(y, y_pred), strict=True)
        return all(head.by_rows(*rest) for head, *rest in columns)

    @functools.cached_property
    def log_names(self) -> list[str]:
        """The names in the logs, in order: the losses, then the metrics."""
        return [*self._loss_names, *(name for head in self.heads for name in head.metric_names)]

    # How a step is made.

    def _results_for(self, state: TrainState, batch: Sequence[Any]) -> Callable:
        """`results` for totals over such batches."""
        shapes = self.shapes(state, batch)
        return lambda totals: self.results(totals, *shapes)

    def _step(self, state: TrainState, batch: Sequence[Any], valid: Any) -> tuple[TrainState, Any]:
        trainable, frozen = self.net.partition(state.params)
        scale = precision.scale_of(self.precision, state)

        def objective(trainable: Any) -> tuple[jax.Array, Any]:
            outcome = self._objective(merge(trainable, frozen), state, batch, valid, True)
            return (outcome.loss if scale is None else scale.up(outcome.loss)), outcome

        (_, outcome), grads = jax.value_and_grad(objective, has_aux=True)(trainable)
        grads = grads if scale is None else scale.down(grads)
        trainable, opt_state = self.optimizer.update(grads, state.opt_state, trainable)
        params = self.net.constrain(merge(trainable, frozen))
        new = state.replace(params=params, state=outcome.state, opt_state=opt_state, step=state.step + 1)
        return (new if scale is None else scale.settle(grads, new, state)), outcome

    def _objective(self, params: Any, state: TrainState, batch: Sequence[Any], valid: Any, training: bool) -> Outcome:
        x, y, weight = unpack(batch)
        key = jax.random.fold_in(state.key, state.step) if training and self.net.draws else None
        net, activations = heads.split_outputs(heads.in_precision(self.net, self.precision))
        given = jax.tree.map(lambda a: Masked(a, valid), x) if valid is not None and self.net.needs_rows else x
        output, net_state = net.apply(params, state.state, given, training, key)
        outputs = self.outputs_of(output if self.precision is None else widened(output))
        activations = activations if len(activations) == len(outputs) else [None] * len(outputs)
        columns: Any = self.heads, self._ys(y), outputs, activations, self._weights(weight)
        found = [head.value(*rest, valid) for head, *rest in zip(*columns, strict=True)]
        values, predictions, counts = zip(*found, strict=True)
        if self.objective is None:
            total = sum(v * h.weight for h, v in zip(self.heads, values, strict=True) if h.loss is not None)
        else:
            total = self.objective(*self._by_name(x, y, predictions, weight))
        total = jnp.asarray(total)
        penalty = jnp.asarray(self.net.penalty(params, net_state), total.dtype)
        return Outcome(total + penalty, values, predictions, counts, net_state)

    def outputs_of(self, output: Any) -> tuple[Any, ...]:
        """The network's outputs in order."""
        names = heads.names_in(output)
        if names and not self.output_names:
            fix = f"output_names={names}" if self.objective else f'a loss for each, e.g. loss={{{names[0]!r}: "mse"}}'
            raise ValueError(f"the network has {len(names)} outputs, {', '.join(map(repr, names))}: give {fix}")
        if isinstance(output, dict):
            return in_order(output, self.output_names or tuple(output), "the network")
        return in_order(output, self.output_names, "loss: the network's output")

    def _ys(self, y: Any) -> tuple[Any, ...]:
        partial = any(head.loss is None for head in self.heads)
        return in_order(y, self.output_names, "y", partial)

    def _weights(self, weight: Any) -> tuple[Any, ...]:
        """A weight for each output: one for all, or a list or dict of them."""
        if isinstance(weight, dict | list | tuple):
            return in_order(weight, self.output_names, "sample_weight", partial=True)
        return (weight,) * len(self.heads)

    def _by_name(self, x: Any, y: Any, y_pred: Sequence[Any], weight: Any) -> Iterator[Any]:
        """What an objective takes: arrays, or dicts of them by name where there are several."""
        names, outputs = heads.input_names(self.net), self.output_names
        yield dict(zip(names, in_order(x, names, "x"), strict=True)) if names else x
        for values in (self._ys(y), y_pred, self._weights(weight)):
            yield dict(zip(outputs, values, strict=True)) if outputs else values[0]

    def _matched(self, y: Any, y_pred: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(h.matched(own, p) for h, own, p in zip(self.heads, self._ys(y), y_pred, strict=True))

    def _bound(self, y: Sequence[Any], y_pred: Sequence[Any]) -> list[dict[str, Any]]:
        """For each output its metrics by log name, as these shapes make them."""
        return [h.bound(own, p) if h.metrics else {} for h, own, p in zip(self.heads, y, y_pred, strict=True)]

    @property
    def _loss_names(self) -> list[str]:
        return ["loss", *(f"{head.name}_loss" for head in self.heads if head.name and head.loss is not None)]

    def _accumulate(self, totals: Totals, batch: Sequence[Any], outcome: Outcome, valid: Any) -> Totals:
        rows = jax.tree.leaves(outcome.predictions)[0].shape[0]
        count = jnp.float32(rows) if valid is None else valid.sum().astype(jnp.float32)
        own = [v for head, v in zip(self.heads, outcome.losses, strict=True) if head.name and head.loss is not None]
        values = dict(zip(self._loss_names, [outcome.loss, *own], strict=True))
        sums = {name: metrics.Mean().update(totals[name], value, count) for name, value in values.items()}
        y = self._matched(unpack(batch)[1], outcome.predictions)
        bound = self._bound(y, outcome.predictions)
        columns: Any = self.heads, bound, y, outcome.predictions, outcome.counts
        for head, named, *given, real in zip(*columns, strict=True):
            weight = None if real is None else real.astype(jnp.float32)
            sums |= {name: head.updated(metric, totals[name], *given, weight) for name, metric in named.items()}
        return sums

    def _logs(self, batch: Sequence[Any], outcome: Outcome, valid: Any) -> Logs:
        shapes = self._matched(unpack(batch)[1], outcome.predictions), outcome.predictions
        totals = self._accumulate(self.init_totals(*shapes), batch, outcome, valid)
        return self.results(totals, *shapes) | {"loss": outcome.loss}


STATIC = ("net", "loss", "metrics", "loss_weight", "output_names", "objective", "precision")


def _flatten(trainer: Trainer) -> tuple[tuple[Any], tuple[Any, ...]]:
    return (trainer.optimizer,), tuple(getattr(trainer, name) for name in STATIC)


def _unflatten(static: tuple[Any, ...], leaves: tuple[Any]) -> Trainer:
    trainer = object.__new__(Trainer)
    trainer.__dict__.update(zip(STATIC, static, strict=True), optimizer=leaves[0])
    return trainer


jax.tree_util.register_pytree_node(Trainer, _flatten, _unflatten)

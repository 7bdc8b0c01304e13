"""The stateful face: a network, what it is trained for, and where its training stands."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kjax import data as arrays
from kjax import loop, losses
from kjax.callbacks import Callback, History
from kjax.callbacks.base import Hooks
from kjax.callbacks.base import listed as listed_callbacks
from kjax.compiled import Compiled, restarted
from kjax.frozen import explained, require_int
from kjax.heads import in_order, names_in
from kjax.naming import listed, named_leaves
from kjax.network import Network, override
from kjax.nn.graph import Graph, donors
from kjax.nn.layer import merge
from kjax.precision import LossScale
from kjax.progress import Progress
from kjax.savable import Savable
from kjax.sources import ArraySource
from kjax.train import Trainer


class Model(Savable, Network):
    """A network that trains: any layer, with Keras's `compile`, `fit`, `evaluate`, `predict`.

    Args:
        net: the layer to train, usually a container; or the inputs, as Keras has them in the first place.
        outputs: with `inputs`, what makes a graph: nodes, or lists or dicts of them. See `kjax.nn.Graph`.
        name: what `summary` calls it.
        seed: decides everything random: initial weights, shuffling, dropout. The same seed gives the same
            numbers; None takes another one each time.

    The arrays live in `model.state`, a `kjax.train.TrainState`; `functional` gives the pure pieces.

    A subclass may make its layers in `__init__`, after `super().__init__()`, and say in `call(self, inputs)` how they
    are joined; `call` may also take `training`. It runs while the network is traced, so it is pure: it sets nothing.
    It may define `compute_loss(self, x, y, y_pred, sample_weight)` too, a number to minimise instead of `compile`'s
    loss; where there are several inputs or outputs, it gets dicts of them by name.

    >>> import kjax
    >>> from kjax.layers import Dense
    >>> a, b = kjax.Input(shape=(3,)), kjax.Input(shape=(2,))
    >>> model = Model(inputs=[a, b], outputs=Dense(1)(Dense(4)(a) + Dense(4)(b)))
    >>> model.predict([np.ones((5, 3)), np.ones((5, 2))]).shape
    (5, 1)
    """

    @explained
    def __init__(
        self, net: Any = None, outputs: Any = None, name: str | None = None, seed: int | None = 0, *, inputs: Any = None
    ):
        self.sample_weight_mode: str | None = None
        if outputs is None and inputs is None:
            super().__init__(net, name, seed)
            return
        if (net is None) == (inputs is None) or outputs is None:
            raise TypeError("Model takes inputs= and outputs=, nodes as Input(shape=…) and calls of layers give them")
        graph = Graph(net if inputs is None else inputs, outputs)
        super().__init__(graph, name, seed)
        brought = donors(outputs)
        self._donors = {
            n: brought[id(own)] for n, own in zip(graph.names, graph.layers, strict=True) if id(own) in brought
        }

    @property
    def trainer(self) -> Trainer:
        """What `compile` made."""
        if self._trainer is None:
            raise RuntimeError('the model is not compiled: call model.compile(optimizer="sgd", loss="mse") first')
        return self._trainer

    @property
    def compiled(self) -> Compiled:
        """The trainer's functions, compiled."""
        if self._compiled is None or self._compiled.trainer is not self._trainer:
            self._compiled = Compiled(self.trainer, self._compiled, self._log)
        return self._compiled

    @property
    def optimizer(self) -> Any:
        """The optimizer; giving it other numbers (`model.optimizer = optimizer.replace(lr=0.1)`) compiles nothing."""
        return self.trainer.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._trainer = self.trainer.replace(optimizer=optimizer)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside `with model.averaged_weights():` the weights are the averages that an optimizer with `use_ema` keeps.

        Raises:
            ValueError: it keeps none.
        """
        net, kept = self.net, self.state.params
        trainable, frozen = net.partition(kept)
        averages = self.optimizer.averaged(self.state.opt_state, trainable)
        self.state = self.state.replace(params=merge(averages, frozen))
        try:
            yield
        finally:
            self.state = self.state.replace(params=kept)

    @property
    def loss(self) -> Any:
        return self.trainer.loss

    @property
    def loss_scale(self) -> LossScale | None:
        """In mixed_float16 what the loss is multiplied by, and how many steps were skipped; None otherwise."""
        return self.state.loss_scale and self.state.loss_scale.numbers()

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` and `train_on_batch` return, in order."""
        return list(self.trainer.log_names)

    @explained
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        sample_weight_mode: str | None = None,
        precision: Any = None,
    ) -> None:
        """Says what to train for; the weights stay, the optimizer starts afresh.

        Args:
            optimizer: a name or an optimizer object.
            loss: a name, a function `(y_true, y_pred) -> values`, or a loss object; for several outputs one for
                all, a list in their order, or a dict by their names (None, or left out: not trained for).
            metrics: names, functions or metric objects; for several outputs a list of lists or a dict.
            loss_weights: a number that the loss is multiplied by; for several outputs a list or a dict of them.
            sample_weight_mode: "temporal" for weights per time step, (batch, time); None for one per example.
            precision: what to compute in, from now on in `predict` too: "mixed_bfloat16" or "mixed_float16" (weights
                in float32), "float32", "float64", or a `kjax.precision.Precision`; None: the dtype of the inputs.

        Raises:
            ValueError: an unknown name (with the nearest known one), no loss, float64 without JAX's 64-bit mode.
        """
        objective = override(self)
        if loss is None and objective is None:
            raise ValueError('compile needs a loss, e.g. loss="mse" or loss=kjax.losses.mean_squared_error')
        if sample_weight_mode not in (None, "temporal"):
            raise ValueError(f"sample_weight_mode is None or 'temporal'; got {sample_weight_mode!r}")
        self.sample_weight_mode = sample_weight_mode
        weights = 1.0 if loss_weights is None else loss_weights
        before = self._precision
        self._trainer = Trainer(
            self.net, loss, optimizer, metrics or (), weights, objective=objective, precision=precision
        )
        self._log.expect_changes()
        if self._state is not None:
            self._state = restarted(self._trainer, self._state, self._spec if self._precision != before else None)

    def _batch(self, x: Any, y: Any, sample_weight: Any, names: Sequence[str] = ("x", "y")) -> Any:
        """`(x, y)` or `(x, y, weights)`, checked; for several inputs or outputs, tuples of arrays."""
        x = self._input(x, names[0])
        self._name_outputs()
        trainer, keys = self.trainer, self.trainer.output_names
        if not keys:
            y, weight = self._targets(trainer.heads[0], x, y, sample_weight, trainer.outputs_of(self._output)[0], names)
            return (x, y) if weight is None else (x, y, weight)
        shared = not isinstance(sample_weight, dict | list | tuple)
        given: Any = (
            in_order(y, keys, names[1], partial=any(head.loss is None for head in trainer.heads)),
            (sample_weight,) * len(trainer.heads) if shared else in_order(sample_weight, keys, "sample_weight", True),
            trainer.outputs_of(self._output),
        )
        found = [
            self._targets(head, x, own, weight, output, (names[0], f"{names[1]}[{head.name!r}]"))
            for head, own, weight, output in zip(trainer.heads, *given, strict=True)
        ]
        ys, weights = zip(*found, strict=True)
        return (x, ys) if all(weight is None for weight in weights) else (x, ys, weights)

    def _name_outputs(self) -> None:
        """Where a loss of one's own names no outputs, the network's outputs do, once they are known."""
        names = names_in(self._output)
        if self.trainer.objective is not None and names and not self.trainer.output_names:
            self._trainer = self.trainer.replace(output_names=names)

    def _targets(self, head: Any, x: Any, y: Any, weight: Any, output: Any, names: Sequence[str]) -> tuple[Any, Any]:
        """The targets and weights of one output."""
        if y is None and head.loss is None and (head.name or self.trainer.objective):
            return None, None
        y = arrays.as_array(y, names[1])
        weight = None if weight is None else arrays.as_array(weight, "sample_weight").astype(np.float32)
        if weight is not None or not hasattr(x, "shape") or not 0 < x.shape[0] == y.shape[0]:
            arrays.check_lengths(**named_leaves(names[:1], (x,)), **{names[1]: y, "sample_weight": weight})
        if head.loss is not None:
            losses.check_targets(head.loss, y, (y.shape[0], *output.shape[1:]))
        self._check_weight(weight, output.shape)
        return y, weight

    def _class_weighted(self, batch: Any, class_weight: Any) -> Any:
        """The batch with each example's weight multiplied by that of its class."""
        if class_weight is None:
            return batch
        x, y, weight = (*batch, None) if len(batch) == 2 else batch
        keys = self.trainer.output_names
        if not keys:
            return x, y, arrays.class_weights(y, class_weight, weight)
        if not isinstance(class_weight, dict) or not all(key in keys for key in class_weight):
            raise ValueError(f"class_weight for several outputs is a dict by their names, {', '.join(keys)}, of dicts")
        weights = (None,) * len(keys) if weight is None else weight
        own = in_order(class_weight, keys, "class_weight", partial=True)
        return x, y, tuple(map(arrays.class_weights, y, own, weights))

    def _check_weight(self, weight: Any, output: tuple[int, ...]) -> None:
        temporal = self.sample_weight_mode == "temporal"
        if weight is not None and weight.ndim != 1 + temporal:
            hint = "" if temporal else "; for weights per time step compile with sample_weight_mode='temporal'"
            raise ValueError(f"sample_weight must have rank {1 + temporal}; got shape {weight.shape}{hint}")
        if temporal and weight is not None and weight.shape[1:] != output[1:2]:
            raise ValueError(f"sample_weight has {weight.shape[1]} time steps, the network's output {output[1]}")

    # Using it.

    @explained
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        *,
        check_finite: bool = False,
    ) -> History:
        """Trains for a number of passes over the data.

        Args:
            x: the inputs, examples first: an array, a list, or a frame.
            y: the targets.
            batch_size: examples per step, 32 by default; a last short batch counts each of its examples once.
            epochs: the epoch to stop at, counted from 1.
            verbose: 0 silent, 1 a progress bar, 2 a line per epoch.
            callbacks: objects of `kjax.callbacks`, one or a list of them.
            validation_split: the share of the examples, from the end, to validate on.
            validation_data: `(x, y)` or `(x, y, sample_weight)` to validate on.
            shuffle: whether to draw a new order every epoch; "batch" shuffles whole batches.
            class_weight: dict from class to the weight of its examples.
            sample_weight: one weight per example (or per time step).
            initial_epoch: the epoch to begin with, counted from 0.
            check_finite: whether to refuse NaN and infinity in the data.

        Returns:
            The `History`: `history.history["loss"]` is one number per epoch, `history.plot()` a picture.

        Raises:
            RuntimeError: before `compile`.
            ValueError, TypeError: data that does not fit; nothing has been trained then.
        """
        batch_size = 32 if batch_size is None else batch_size
        self._check_counts(batch_size, epochs, initial_epoch, verbose)
        callbacks = listed_callbacks(callbacks, "fit")
        data = self._batch(x, y, sample_weight)
        validation = self._validation(validation_data)
        if validation is None and validation_split:
            data, validation = arrays.split_validation(data, validation_split)
        data = self._class_weighted(data, class_weight)
        if check_finite:
            arrays.check_finite(**named_leaves(("x", "y", "sample_weight"), data))
        source = ArraySource(data, batch_size, shuffle)
        held_out = None if validation is None else ArraySource(validation, batch_size)
        plan = loop.Plan(batch_size, epochs, initial_epoch, shuffle)
        return loop.fit(self, source, held_out, plan, verbose, callbacks)

    def _check_counts(self, batch_size: Any, epochs: Any, initial_epoch: Any, verbose: Any) -> None:
        require_int(batch_size, "batch_size", "fit")
        require_int(epochs, "epochs", "fit", least=0)
        require_int(initial_epoch, "initial_epoch", "fit", least=0)
        if verbose not in (0, 1, 2):
            raise ValueError(f"fit: verbose is 0, 1 or 2; got {verbose!r}")

    def _validation(self, data: Any) -> Any:
        if data is None:
            return None
        if not isinstance(data, list | tuple) or len(data) not in (2, 3):
            raise ValueError(f"validation_data is (x, y) or (x, y, sample_weight); got {type(data).__name__}")
        return self._batch(data[0], data[1], data[2] if len(data) == 3 else None, ("validation x", "validation y"))

    @explained
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int = 1,
        sample_weight: Any = None,
        return_dict: bool = False,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> Any:
        """The loss, or a list of the loss and the metrics (`metrics_names` has the order), over all examples.

        `callbacks` get their hooks for tests called.
        """
        batch_size = 32 if batch_size is None else batch_size
        require_int(batch_size, "batch_size", "evaluate")
        source = ArraySource(self._batch(x, y, sample_weight), batch_size)
        about = loop.sizes(source, batch_size, verbose)
        hooks = Hooks(callbacks, self, "evaluate", {**about, "metrics": self.metrics_names})
        progress = Progress(1, verbose)
        with contextlib.closing(progress):
            progress.epoch_begin(None, about["steps"])
            logs = loop.evaluate(self, source, hooks, progress)
            progress.epoch_end(logs)
        return logs if return_dict else listed(logs)

    @explained
    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch: the loss before it, or a list of the loss and the metrics."""
        batch = self._class_weighted(self._batch(x, y, sample_weight), class_weight)
        with loop.interruptible() as interrupted:
            self.state, logs = self.compiled.train_step(self.state, batch)
            interrupted()
        return self._named(logs, return_dict)

    @explained
    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss, or a list of the loss and the metrics, on one batch."""
        return self._named(self.compiled.eval_step(self.state, self._batch(x, y, sample_weight)), return_dict)

    def _named(self, logs: Any, return_dict: bool) -> Any:
        for value in logs.values() if len(logs) > 1 else ():
            value.copy_to_host_async()
        logs = {name: float(np.asarray(logs[name])) for name in self.trainer.log_names}
        return logs if return_dict else listed(logs)

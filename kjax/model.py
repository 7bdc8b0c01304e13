"""The stateful face: a network, what it is trained for, and where its training stands."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kjax import data as arrays
from kjax import loop, losses
from kjax.callbacks import Callback, History
from kjax.compiled import Compiled, first_optimizer_state
from kjax.frozen import explained, require_int
from kjax.network import Network
from kjax.progress import Progress
from kjax.train import Trainer, get_metrics


class Model(Network):
    """A network that trains: any layer, with Keras's `compile`, `fit`, `evaluate`, `predict`.

    Args:
        net: the layer to train, usually a container.
        name: what `summary` calls it.
        seed: decides everything random: initial weights, shuffling, dropout. The same seed gives the same
            numbers; None takes another one each time.

    The arrays live in `model.state`, a `kjax.train.TrainState`; `functional` gives the pure pieces.
    """

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
            self._compiled = Compiled(self.trainer)
        return self._compiled

    @property
    def optimizer(self) -> Any:
        """The optimizer; giving it other numbers (`model.optimizer = optimizer.replace(lr=0.1)`) compiles nothing."""
        return self.trainer.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._trainer = self.trainer.replace(optimizer=optimizer)

    @property
    def loss(self) -> Any:
        return self.trainer.loss

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` and `train_on_batch` return, in order."""
        return self.trainer.log_names

    @explained
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        sample_weight_mode: str | None = None,
    ) -> None:
        """Says what to train for; the weights stay, the optimizer starts afresh.

        Args:
            optimizer: a name or an optimizer object.
            loss: a name, a function `(y_true, y_pred) -> values`, or a loss object.
            metrics: names, functions or metric objects.
            loss_weights: a number (or a list of one) that the loss is multiplied by.
            sample_weight_mode: "temporal" for weights per time step, (batch, time); None for one per example.

        Raises:
            ValueError: an unknown name (with the nearest known one), no loss.
        """
        if loss is None:
            raise ValueError('compile needs a loss, e.g. loss="mse" or loss=kjax.losses.mean_squared_error')
        if sample_weight_mode not in (None, "temporal"):
            raise ValueError(f"sample_weight_mode is None or 'temporal'; got {sample_weight_mode!r}")
        self.sample_weight_mode = sample_weight_mode
        self._trainer = Trainer(self.net, loss, optimizer, get_metrics(metrics), single_number(loss_weights))
        if self._state is not None:
            self._state = self._state.replace(opt_state=first_optimizer_state(self._trainer, self._state.params))

    def _batch(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any = None, names: Sequence[str] = ("x", "y")
    ) -> Any:
        """`(x, y)` or `(x, y, weights)`, checked."""
        trainer = self.trainer
        x, y = self._input(x, names[0]), arrays.as_array(y, names[1])
        weight = None if sample_weight is None else arrays.as_array(sample_weight, "sample_weight").astype(np.float32)
        arrays.check_lengths(**{names[0]: x, names[1]: y, "sample_weight": weight})
        output = self._output.shape
        losses.check_targets(trainer.loss, y, (x.shape[0], *output[1:]))
        self._check_weight(weight, output)
        weight = arrays.class_weights(y, class_weight, weight)
        return (x, y) if weight is None else (x, y, weight)

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
        callbacks: Sequence[Callback] | None = None,
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
            callbacks: objects with Keras's hooks.
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
        callbacks = list(callbacks or ())
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"fit: callbacks are objects of kjax.callbacks.Callback; got {callback!r}")
        data = self._batch(x, y, sample_weight, None)
        validation = self._validation(validation_data)
        if validation is None and validation_split:
            data, validation = arrays.split_validation(data, validation_split)
        weight = arrays.class_weights(data[1], class_weight, data[2] if len(data) == 3 else None)
        data = data[:2] if weight is None else (*data[:2], weight)
        if check_finite:
            arrays.check_finite(**dict(zip(("x", "y", "sample_weight"), data, strict=False)))
        plan = loop.Plan(batch_size, epochs, initial_epoch, shuffle)
        return loop.fit(self, data, validation, plan, verbose, callbacks)

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
        return self._batch(
            data[0], data[1], data[2] if len(data) == 3 else None, names=("validation x", "validation y")
        )

    @explained
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int = 1,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or a list of the loss and the metrics (`metrics_names` has the order), over all examples."""
        batch_size = 32 if batch_size is None else batch_size
        require_int(batch_size, "batch_size", "evaluate")
        data = self._batch(x, y, sample_weight)
        progress = Progress(1, verbose)
        progress.epoch_begin(None, -(-data[0].shape[0] // batch_size))
        logs = loop.evaluate(self, data, batch_size, progress if verbose == 1 else None)
        progress.epoch_end(logs)
        progress.close()
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
        batch = self._batch(x, y, sample_weight, class_weight)
        with loop.interruptible() as interrupted:
            self.state, logs = self.compiled.train_step(self.state, batch)
            interrupted()
        return self._named(logs, return_dict)

    @explained
    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss, or a list of the loss and the metrics, on one batch."""
        return self._named(self.compiled.eval_step(self.state, self._batch(x, y, sample_weight)), return_dict)

    def _named(self, logs: Any, return_dict: bool) -> Any:
        for value in logs.values():
            value.copy_to_host_async()
        logs = {name: float(np.asarray(logs[name])) for name in self.trainer.log_names}
        return logs if return_dict else listed(logs)


def listed(logs: dict[str, float]) -> Any:
    """The loss alone, or a list where there are metrics, as Keras returns them."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def single_number(loss_weights: Any) -> float:
    """The weight of a model's only loss."""
    weight = loss_weights[0] if isinstance(loss_weights, list | tuple) and len(loss_weights) == 1 else loss_weights
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(
            f"loss_weights is a number, or a list of one, for a model with one output; got {loss_weights!r}"
        )
    return float(weight)

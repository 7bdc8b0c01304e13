"""The stateful face: a network, what it is trained for, and where its training stands."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from kjax import batches, intake, loop
from kjax import data as arrays
from kjax.arguments import check_plan, require_verbose
from kjax.callbacks import Callback, History
from kjax.callbacks.base import Hooks
from kjax.callbacks.base import listed as listed_callbacks
from kjax.compiled import Compiled, restarted
from kjax.frozen import explained
from kjax.heads import names_in
from kjax.naming import listed
from kjax.nn.graph import Graph, donors
from kjax.nn.layer import merge
from kjax.precision import LossScale
from kjax.predictor import Predictor
from kjax.progress import Progress
from kjax.savable import Savable
from kjax.sources import Source
from kjax.subclass import override
from kjax.train import Trainer


class Model(Savable, Predictor):
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
    >>> import numpy as np
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
        trainer = Trainer(self.net, loss, optimizer, metrics or (), weights, objective=objective, precision=precision)
        self._log.expect_changes()
        state = self._state
        if state is not None:
            state = restarted(trainer, state, self._spec if trainer.precision != before else None)
        self._trainer, self._state = trainer, state  # at once: Ctrl-C in between would leave half

    def _name_outputs(self) -> None:
        """Where a loss of one's own names no outputs, the network's outputs do, once they are known."""
        if self.trainer.objective is None or self.trainer.output_names:
            return
        if names := names_in(self._output):
            self._trainer = self.trainer.replace(output_names=names)

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
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        *,
        check_finite: bool = False,
    ) -> History:
        """Trains for a number of passes over the data.

        Args:
            x: the inputs, examples first: an array, a list, a frame, a tensor. Or what gives batches `(x, y)` or
                `(x, y, sample_weight)`: a generator or a function that makes one, an iterable, an object with
                `__len__` and `__getitem__`, a loader (PyTorch's, `tf.data`, Grain, a Hugging Face data set).
            y: the targets, for arrays.
            batch_size: examples per step, for arrays, 32 by default; a last short batch counts each of its examples
                once.
            epochs: the epoch to stop at, counted from 1.
            verbose: 0 silent, 1 a progress bar, 2 a line per epoch.
            callbacks: objects of `kjax.callbacks`, one or a list of them.
            validation_split: the share of the examples, from the end, to validate on.
            validation_data: `(x, y)` or `(x, y, sample_weight)` to validate on, or what gives batches of these.
            shuffle: whether to draw a new order every epoch; "batch" shuffles whole batches. Batches that come by
                number are drawn in a new order; other streams come as they come.
            class_weight: dict from class to the weight of its examples.
            sample_weight: one weight per example (or per time step).
            initial_epoch: the epoch to begin with, counted from 0.
            steps_per_epoch: how many batches make an epoch, by default all. With fewer than there are, the next
                epoch draws its own (`shuffle`), or goes on where this one ended if they come in order; a stream that
                can begin anew does so when it ends.
            validation_steps: how many batches to validate on, from the start, by default all.
            validation_batch_size: examples per step of a validation on arrays, by default `batch_size`.
            validation_freq: after which epochs to validate: each so many, or a list of their numbers from 1.
            workers: how many threads ask for batches that come by number.
            max_queue_size, use_multiprocessing: of Keras, and without effect: a thread reads ahead what fits into
                48 MiB.
            check_finite: whether to refuse NaN and infinity in the data, and in the loss and the weights later: the
                error names the step, the layer and the examples, and the model is as before that step.

        Returns:
            The `History`: `history.history["loss"]` is one number per epoch, `history.plot()` a picture.

        Raises:
            RuntimeError: before `compile`.
            ValueError, TypeError: data that does not fit; nothing has been trained then, unless it is a later batch
                of a stream, whose number the message says.
            FloatingPointError: with `check_finite`, see there.
            Exception: what a generator of yours raises arrives as it is, after the batches before it were trained on.
        """
        intake.check_counts(
            "fit", batch_size=batch_size, steps_per_epoch=steps_per_epoch, validation_steps=validation_steps,
            validation_batch_size=validation_batch_size, workers=workers,
        )  # fmt: skip
        check_plan(epochs, initial_epoch, verbose, shuffle, validation_freq)
        if validation_data is None and not validation_split:
            intake.refuse_without_validation(
                validation_steps=validation_steps, validation_batch_size=validation_batch_size,
                validation_freq=None if validation_freq == 1 else validation_freq,
            )  # fmt: skip
        callbacks = listed_callbacks(callbacks, "fit")
        source, last = intake.for_fit(
            self, x, y, sample_weight, batch_size, epochs - initial_epoch, shuffle, class_weight, check_finite,
            0.0 if validation_data is not None else validation_split, steps_per_epoch, workers,
        )  # fmt: skip
        plan = loop.Plan(source.size, epochs, initial_epoch, shuffle, validation_freq)
        held_out: Source | None = None
        validation_data = last if validation_data is None else validation_data
        if validation_data is not None:
            size, passes = validation_batch_size or batch_size, sum(map(plan.validates, range(initial_epoch, epochs)))
            held_out = intake.for_validation(
                self, validation_data, size, validation_batch_size, validation_steps, passes, check_finite
            )
        with contextlib.closing(source), contextlib.closing(held_out or source):
            return loop.fit(self, source, held_out, plan, verbose, callbacks, check_finite)

    @explained
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int = 1,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or a list of the loss and the metrics (`metrics_names` has the order), over all examples.

        `steps` says how many batches to take, by default all; `callbacks` get their hooks for tests called. The
        rest is as for `fit`, streams too.
        """
        intake.check_counts("evaluate", batch_size=batch_size, steps=steps, workers=workers)
        require_verbose(verbose, "evaluate")
        source = intake.for_evaluate(self, x, y, sample_weight, batch_size, steps, workers)
        about = loop.sizes(source, source.size, verbose)
        hooks = Hooks(callbacks, self, "evaluate", {**about, "metrics": self.metrics_names})
        progress = Progress(1, verbose)
        with contextlib.closing(source), contextlib.closing(progress), hooks.leaving(None):
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
        batch = batches.class_weighted(self, batches.checked(self, x, y, sample_weight), class_weight)
        with loop.interruptible(self) as interrupted:
            self.state, logs = self.compiled.train_step(self.state, batch)
            interrupted()
        return self._named(logs, return_dict)

    @explained
    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss, or a list of the loss and the metrics, on one batch."""
        return self._named(self.compiled.eval_step(self.state, batches.checked(self, x, y, sample_weight)), return_dict)

    # What Keras 2 called them for generators.

    def fit_generator(self, generator: Any, steps_per_epoch: Any = None, epochs: int = 1, **options: Any) -> History:
        """`fit`, under the name that programs of Keras 2 use for generators."""
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)

    def evaluate_generator(self, generator: Any, steps: int | None = None, verbose: int = 0, **options: Any) -> Any:
        """`evaluate`, under the name that programs of Keras 2 use for generators."""
        return self.evaluate(generator, steps=steps, verbose=verbose, **options)

    def predict_generator(self, generator: Any, steps: int | None = None, **options: Any) -> Any:
        """`predict`, under the name that programs of Keras 2 use for generators."""
        return self.predict(generator, steps=steps, **options)

    def _named(self, logs: Any, return_dict: bool) -> Any:
        for value in logs.values() if len(logs) > 1 else ():
            value.copy_to_host_async()
        logs = {name: float(arrays.fetched(logs[name])) for name in self.trainer.log_names}
        return logs if return_dict else listed(logs)

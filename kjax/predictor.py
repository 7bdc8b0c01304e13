"""A network that is asked for its outputs."""

import contextlib
import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from kjax import batches, intake
from kjax import data as arrays
from kjax.arguments import require_verbose
from kjax.callbacks.base import Callback, Hooks
from kjax.compiled import inner_outputs, outputs
from kjax.frozen import explained, suggest
from kjax.heads import in_precision
from kjax.nets import on_host, without_carry
from kjax.network import Network
from kjax.nn.container import all_layers
from kjax.streams import is_stream, numbered, said
from kjax.supply import NOTHING, Supply, supply

ONE_STEP = frozenset((1, 2, 4, 8, 16, 32))
"""How many examples `predict` takes as they are, in one step, where nothing is said of batches."""


class Predictor(Network):
    """Predicts, as Keras's models do; the base of `Model`."""

    def _forward(self, x: Any) -> Any:
        """The outputs for a batch that fits, on the device."""
        state, (net, precision, run) = self.state, self._outputs
        if net is not self.net or precision is not self._precision:
            net, precision, run = self._outputs = self.net, self._precision, outputs(self.net, self._precision)
        self._log.listens()
        return run(state.params, state.state, x)

    @explained
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int = 0,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
    ) -> Any:
        """The outputs for all examples, as a NumPy array (several: a list or a dict of them); needs no `compile`.

        Args:
            x: the inputs, as `fit` takes them; of a stream's batches `(x, y)` the x.
            batch_size: examples per step, for arrays, 32 by default.
            verbose: what callbacks are told; nothing is printed.
            steps: how many batches to take, by default all.
            callbacks: get their hooks for predictions called.
            workers, max_queue_size, use_multiprocessing: as for `fit`.
        """
        require_verbose(verbose, "predict")
        if batch_size is steps is callbacks is None and workers == 1 and self._is_usual(x) and len(x) in ONE_STEP:
            return on_host(self._forward(x))  # what follows would take a tenth of the time of one row
        intake.check_counts("predict", batch_size=batch_size, steps=steps, workers=workers)
        if is_stream(x):
            found = supply(x, steps, False, False, workers, batch_size)
            return self._predict_stream(found, steps, verbose, callbacks)
        batch_size = batch_size or 32
        x = self._input(x)
        x = x if steps is None else arrays.cut(x, 0, steps * batch_size)
        n = arrays.check_rows(x)
        size = arrays.power_of_two(n, batch_size)
        if n == size and not callbacks:
            return on_host(self._forward(x))
        about = {"batch_size": batch_size, "steps": -(-n // size), "samples": n, "verbose": verbose}
        cuts = (arrays.cut(x, start, start + size) for start in range(0, n, size))
        return joined(self._predicted([x] if n == size else cuts, size, Hooks(callbacks, self, "predict", about)))

    def _predict_stream(self, given: Supply, steps: int | None, verbose: int, callbacks: Any) -> Any:
        first = given.peek()
        if first is NOTHING:
            raise ValueError("predict: x gives no batch")
        size = arrays.check_rows(self._input(batches.inputs_of(self, first)))
        about = {"batch_size": size, "steps": given.length if steps is None else steps, "samples": None}
        hooks = Hooks(callbacks, self, "predict", {**about, "verbose": verbose})
        with contextlib.closing(given.batches(None, 0, 0, steps)) as own:
            raws = numbered(own, 0)
            found = (said(lambda raw: self._input(batches.inputs_of(self, raw)), raw, what) for raw, what in raws)
            return joined(self._predicted(found, size, hooks))

    def _predicted(self, parts: Iterable[Any], size: int, hooks: Hooks) -> list[tuple[Any, int]]:
        """The outputs of each batch, those of the padding of a short one too, and how many are real."""
        with hooks.leaving(None):
            hooks.call("on_predict_begin")
            found = []
            for i, part in enumerate(parts):
                hooks.call("on_predict_batch_begin", i)
                n = arrays.rows(part)
                found.append((self._forward(arrays.pad_rows(part, max(n, size))), n))
                if hooks.hears("on_predict_batch_end"):
                    hooks.call("on_predict_batch_end", i, logs={"outputs": on_host(arrays.cut(found[-1][0], 0, n))})
            hooks.call("on_predict_end")
        return found

    @explained
    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, of just this size."""
        return on_host(self._forward(self._input(x)))

    @explained
    def predict_classes(self, x: Any, batch_size: int | None = None, verbose: int = 0) -> np.ndarray:
        """The class of each example: the largest output, or whether a single output exceeds a half (then (n, 1))."""
        y = self.predict(x, batch_size, verbose)
        return y.argmax(axis=-1) if y.shape[-1] > 1 else (y > 0.5).astype(np.int32)

    @explained
    def activations(self, x: Any, names: Any = None) -> dict[str, np.ndarray]:
        """The outputs of inner layers for a batch, by name; the model stays as it is.

        Args:
            x: the inputs.
            names: a name, or a list of them, of layers as `layers` shows them or of containers; patterns as in
                `freeze`. None gives every layer's.

        Raises:
            ValueError: no layer has such a name.
        """
        x = self._input(x)
        known = [path for path, _ in all_layers(self.net)]
        patterns = ["*"] if names is None else [names] if isinstance(names, str) else names
        wanted = [path for path in known if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]
        for pattern in patterns:
            if not fnmatch.filter(known, pattern):
                raise ValueError(f"no layer is called {pattern!r}.{suggest(pattern, known)}")
        run = self._log.calls(inner_outputs(in_precision(self.net, self._precision), tuple(wanted)))
        found = run(self.state.params, self.state.state, x)
        return {name: on_host(found[name]) for name in wanted}

    def reset_states(self) -> None:
        """Lets stateful recurrent layers begin the next batch with states of zeros."""
        self.state = self.state.replace(state=without_carry(self.state.state))


def joined(parts: Sequence[tuple[Any, int]]) -> Any:
    """The real rows of all batches, on the host."""
    if len(parts) == 1 and arrays.rows(parts[0][0]) == parts[0][1]:
        return on_host(parts[0][0])
    real = [arrays.cut(arrays.fetched(y), 0, n) for y, n in parts]
    return on_host(jax.tree.map(lambda *own: np.concatenate(own), *real))

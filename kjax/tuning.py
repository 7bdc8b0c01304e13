"""The learning-rate range test: what a few steps at each of many rates do to the loss, all rates at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax import batches
from kjax import data as arrays
from kjax.frozen import explained, require_int
from kjax.train import Trainer, TrainState


@dataclasses.dataclass(frozen=True)
class LRRange:
    """What `lr_range` found: `rates`, and `losses` in the same order; infinity where a loss was no number."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggested(self) -> float:
        """The rate with the lowest loss, of which each is first averaged with its neighbours."""
        padded = np.pad(self.losses, 1, mode="edge")
        return float(self.rates[np.argmin(padded[:-2] + padded[1:-1] + padded[2:])])

    def plot(self) -> Any:
        """The losses over the rates, as a matplotlib figure, with a line at the suggested rate.

        Raises:
            ImportError: matplotlib is missing.
        """
        from kjax.plots import new_figure

        figure = new_figure(4.5, 3.2)
        axes = figure.subplots()
        good = np.isfinite(self.losses)
        axes.semilogx(self.rates[good], self.losses[good], marker="o", markersize=3)
        axes.axvline(self.suggested, linestyle="--", color="gray", label=f"{self.suggested:.2g}")
        axes.set(xlabel="learning rate", ylabel="loss")
        low, start = float(self.losses.min()), float(self.losses[0])
        if start > low:
            axes.set_ylim(low - 0.1 * (start - low), start + 0.5 * (start - low))
        axes.legend(title="suggested")
        return figure


@explained
def lr_range(
    model: Any, x: Any, y: Any, low: float = 1e-6, high: float = 1.0, num: int = 32, steps: int = 50,
    batch_size: int = 32, sample_weight: Any = None,
) -> LRRange:  # fmt: skip
    """Trains copies of a model, one for each rate, from its weights on the same batches; the model stays as it is.

    The copies run side by side in one compiled program, and take `num` times the memory of one.

    Args:
        model: a compiled `kjax.Model`. Its optimizer's other settings stay; a schedule, or rates by path, give way
            to one constant rate.
        x: the inputs.
        y: the targets.
        low: the lowest rate.
        high: the highest rate.
        num: how many rates, evenly spaced on a logarithmic scale.
        steps: how many steps each copy makes; it begins a new pass where the data ends.
        batch_size: examples per step.
        sample_weight: one weight per example.

    Returns:
        `rates`, `losses` (the mean over the last quarter of the steps), `suggested` and `plot()`.

    Raises:
        RuntimeError: the model is not compiled.
        ValueError: the range is empty, or a number is out of place.

    Source: after Smith, 2015, Cyclical learning rates (arXiv:1506.01186), section 3.3, which has one copy whose rate
    grows.

    >>> import kjax
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = kjax.Sequential([kjax.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> found = lr_range(model, x, 3 * x, low=1e-4, high=100.0, num=13)
    >>> 0.1 < found.suggested < 2, len(found.losses)
    (True, 13)
    """
    if not 0 < low < high:
        raise ValueError(f"lr_range: rates go from low to high, 0 < low < high; got low={low!r}, high={high!r}")
    for name, value, least in (("num", num, 2), ("steps", steps, 1), ("batch_size", batch_size, 1)):
        require_int(value, name, "lr_range", least)
    data = batches.checked(model, x, y, sample_weight)
    rows = arrays.rows(data)
    steps_rows = _batches(model, rows, min(batch_size, rows), steps)
    rates = np.geomspace(low, high, num)
    population = model.trainer.replace(optimizer=model.optimizer.replace(lr=jnp.asarray(rates, jnp.float32)))
    axes = jax.tree.map(lambda number: 0 if jnp.ndim(number) else None, population)
    run = jax.jit(jax.vmap(_losses, in_axes=(axes, None, None, None)))
    fresh = model.state.replace(opt_state=model.trainer.init_optimizer(model.state.params))
    losses = np.asarray(run(population, fresh, data, steps_rows), np.float64)
    late = losses[:, -max(1, steps // 4) :].mean(1)
    return LRRange(rates, np.where(np.isfinite(losses).all(1), late, np.inf))


def _batches(model: Any, rows: int, size: int, steps: int) -> np.ndarray:
    """Which rows make the batch of each step: int32 (steps, size), whole batches of as many passes as it takes."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(model.state.key)))
    passes = -(-steps // (rows // size))
    orders = [generator.permutation(rows)[: rows // size * size].reshape(-1, size) for _ in range(passes)]
    return np.concatenate(orders)[:steps].astype(np.int32)


def _losses(trainer: Trainer, state: TrainState, data: Any, batches: Any) -> Any:
    """The loss before each step of one copy."""

    def step(state: TrainState, rows: Any) -> tuple[TrainState, Any]:
        state, logs = trainer.train_step(state, jax.tree.map(lambda a: jnp.asarray(a)[rows], data))
        return state, logs["loss"]

    return jax.lax.scan(step, state, batches)[1]

"""Where the batches of a pass over the data come from. `loop` asks a source for blocks of steps and runs them."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from kjax import feed
from kjax.data import batch_rows, generator, spec
from kjax.data import rows as examples
from kjax.feed import Block
from kjax.steps import is_hosted


class Source(Protocol):
    """What `fit` and `evaluate` run over.

    `steps` and `samples` are those of one pass, None while nobody knows; `batch` is the shape and dtype of a full
    batch, of `size` examples, a tree like it of `jax.ShapeDtypeStruct`. `ended` says that the data came to an end
    within a pass, so that no other can follow.
    """

    size: int
    ended: bool

    @property
    def steps(self) -> int | None: ...

    @property
    def samples(self) -> int | None: ...

    @property
    def batch(self) -> tuple[Any, ...]: ...

    def blocks(self, key: Any, epoch: int, first: int, pad: bool) -> Generator[Block, None, None]:
        """The steps of one pass.

        Args:
            key: decides the order, where there is one to decide.
            epoch: how many passes this run had before; an earlier process may have made them.
            first: how many steps of this pass are done already.
            pad: whether a short batch may be filled up with rows that are no examples.
        """
        ...

    def close(self) -> None:
        """Ends what reads ahead; called when the run is over, however it ended."""
        ...


class ArraySource:
    """Arrays, put on the device once where they fit.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, checked.
        batch_size: examples per step.
        shuffle: whether each pass has an order of its own; "batch" shuffles whole batches.
        steps: how many batches make a pass, if not all. Without `shuffle` the next pass goes on behind them.
        steps_name: what `fit` calls that number; a pass over data that is held out always begins from the start.

    Raises:
        ValueError: more steps than there are batches.
    """

    ended = False

    def __init__(
        self, data: Sequence[Any], batch_size: int, shuffle: Any = False, steps: int | None = None,
        steps_name: str = "steps_per_epoch",
    ):  # fmt: skip
        self.data, self.batch_size, self.shuffle = feed.place(data), batch_size, shuffle
        self.samples = examples(data)
        self.size = min(batch_size, self.samples)
        self.steps = -(-self.samples // self.size)
        if steps is not None and steps > self.steps:
            raise ValueError(
                f"{steps_name}={steps}, but {self.samples} examples make {self.steps} batches of {self.size}: ask for "
                "fewer steps, or give a smaller batch_size"
            )
        self._goes_on = steps is not None and steps < self.steps and steps_name == "steps_per_epoch"
        self.steps = self.steps if steps is None else steps

    @property
    def batch(self) -> tuple[Any, ...]:
        return jax.tree.map(lambda a: spec(a, self.size), tuple(self.data), is_leaf=is_hosted)

    def blocks(self, key: Any = None, epoch: int = 0, first: int = 0, pad: bool = True) -> Generator[Block, None, None]:
        rows = batch_rows(self.samples, self.size, self.order(key, epoch), pad)
        return feed.blocks(self.data, first_steps(rows, self.steps), first)

    def close(self) -> None:
        """Nothing is left open."""

    def examples(self, key: Any, epoch: int, step: int) -> np.ndarray:
        """Which examples a step of the pass takes, by their numbers."""
        return self.order(key, epoch)[step * self.size : (step + 1) * self.size]

    def order(self, key: Any, epoch: int = 0) -> np.ndarray:
        """The order of the examples in a pass, decided by the key."""
        n = self.samples
        if not self.shuffle:
            return np.roll(np.arange(n), -epoch * self.steps * self.size if self._goes_on else 0)
        random = generator(key)
        if self.shuffle == "batch":
            batches = np.array_split(np.arange(n), range(self.batch_size, n, self.batch_size))
            full = [batches[i] for i in random.permutation(n // self.batch_size)]
            return np.concatenate([*full, *batches[n // self.batch_size :]])
        return random.permutation(n)


def first_steps(rows: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
    """The first steps of the blocks that `batch_rows` makes."""
    found = []
    for block in rows:
        found += [block[:steps]] if steps else []
        steps = max(0, steps - len(block))
    return found

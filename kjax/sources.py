"""Where the batches of a pass over the data come from. `loop` asks a source for blocks of steps and runs them."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from kjax import feed
from kjax.data import batch_rows
from kjax.data import rows as examples
from kjax.feed import Block


class Source(Protocol):
    """What `fit` and `evaluate` run over.

    `steps` and `samples` are those of one pass, None while nobody knows; `batch` is the shape and dtype of a full
    batch, a tree like it of `jax.ShapeDtypeStruct`.
    """

    @property
    def steps(self) -> int | None: ...

    @property
    def samples(self) -> int | None: ...

    @property
    def batch(self) -> tuple[Any, ...]: ...

    def blocks(self, key: Any, epoch: int, first: int, pad: bool) -> Iterator[Block]:
        """The steps of one pass.

        Args:
            key: decides the order, where there is one to decide.
            epoch: how many passes this run had before; an earlier process may have made them.
            first: how many steps of this pass are done already.
            pad: whether a short batch may be filled up with rows that are no examples.
        """
        ...


class ArraySource:
    """Arrays, put on the device once where they fit.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, checked.
        batch_size: examples per step.
        shuffle: whether each pass has an order of its own; "batch" shuffles whole batches.
    """

    def __init__(self, data: Sequence[Any], batch_size: int, shuffle: Any = False):
        self.data, self.batch_size, self.shuffle = feed.place(data), batch_size, shuffle
        self.samples = examples(data)
        self.size = min(batch_size, self.samples)
        self.steps = -(-self.samples // self.size)

    @property
    def batch(self) -> tuple[Any, ...]:
        def spec(a: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.size, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype))

        return jax.tree.map(spec, tuple(self.data))

    def blocks(self, key: Any = None, epoch: int = 0, first: int = 0, pad: bool = True) -> Iterator[Block]:
        rows = batch_rows(self.samples, self.size, self.order(key), pad)
        return feed.blocks(self.data, rows, first)

    def order(self, key: Any) -> np.ndarray:
        """The order of the examples, decided by the key."""
        n = self.samples
        if not self.shuffle:
            return np.arange(n)
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        if self.shuffle == "batch":
            batches = np.array_split(np.arange(n), range(self.batch_size, n, self.batch_size))
            full = [batches[i] for i in generator.permutation(n // self.batch_size)]
            return np.concatenate([*full, *batches[n // self.batch_size :]])
        return generator.permutation(n)

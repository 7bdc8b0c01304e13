"""What a row of the table of layers holds; see tests/cases.py."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kjax import nn, regularizers


@dataclasses.dataclass(frozen=True)
class Case:
    layer: nn.Layer
    shape: tuple[Any, ...]
    """The input's shape, or a tuple of shapes for a layer of several inputs."""
    keras: Callable[[Any], Any] | None = None
    """Given `keras.layers`, the same layer."""
    formula: Callable[..., np.ndarray] | None = None
    """The output in NumPy, for layers without weights that Keras does not have."""
    integers: int = 0
    """Inputs are integers below this."""
    smooth: bool = True
    """Whether a small step changes the output in training as the gradient says; False where it holds something."""
    to_keras: Callable[[list], list] = list
    """Our weights, in the order of `get_weights`, as Keras's layer takes them."""

    def input(self, dtype: Any = np.float32, seed: int = 0) -> Any:
        """Random numbers (or integers) of the row's shapes."""
        rng = np.random.default_rng(seed)
        if self.several:
            return tuple(rng.standard_normal(shape).astype(dtype) for shape in self.shape)
        if self.integers:
            return rng.integers(0, self.integers, self.shape).astype(np.int32)
        return rng.standard_normal(self.shape).astype(dtype)

    def spec(self) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self.input())

    @property
    def several(self) -> bool:
        return bool(self.shape) and isinstance(self.shape[0], tuple)

    @property
    def id(self) -> str:
        return repr(self.layer).replace(" ", "")


OPTIONS = dict(  # everything that Dense and Conv2D share
    kernel_regularizer=regularizers.l2(0.1),
    bias_regularizer="l1",
    activity_regularizer="l2",
    kernel_constraint="max_norm",
    bias_constraint="non_neg",
    kernel_initializer="he_normal",
    bias_initializer="ones",
)


def randomised(tree, seed=0):
    """The same tree with other numbers, so that a bias of zero cannot hide anything; variances stay positive."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jax.device_put(np.asarray((0.1 + rng.random(a.shape)) * 0.7, a.dtype)), tree)

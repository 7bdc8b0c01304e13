"""Keras's layers for activations that have settings or weights of their own."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax import activations
from kjax.frozen import is_int, require_between
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import over, unmask


class ReLU(Layer):
    """Rectified linear unit: x from `threshold` to `max_value`, `negative_slope * (x - threshold)` below.

    Args:
        max_value: where the output saturates; None: nowhere.
        negative_slope: slope below the threshold.
        threshold: where the unit switches on.

    Shapes: any, which stays.

    Raises:
        ValueError: one of them is negative.

    >>> ReLU(max_value=6.0, negative_slope=0.5).apply({}, {}, jnp.array([[-2.0, 3.0, 9.0]]))[0].tolist()
    [[-1.0, 3.0, 6.0]]
    """

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    def validate(self) -> None:
        for name in ("negative_slope", "threshold") + (self.max_value is not None) * ("max_value",):
            require_between(getattr(self, name), name, "ReLU", 0, math.inf)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return activations.relu(x, self.negative_slope, self.max_value, self.threshold), state


class LeakyReLU(Layer):
    """x above 0, `negative_slope * x` below.

    Args:
        negative_slope: slope below 0; Keras 2 calls it `alpha`.

    Raises:
        ValueError: a negative slope.

    >>> LeakyReLU(0.5).apply({}, {}, jnp.array([[-2.0, 2.0]]))[0].tolist()
    [[-1.0, 2.0]]
    """

    negative_slope: float = 0.3

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        renamed = {"negative_slope" if name == "alpha" else name: value for name, value in kwargs.items()}
        return super().translate(renamed)

    def validate(self) -> None:
        require_between(self.negative_slope, "negative_slope", "LeakyReLU", 0, math.inf)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return activations.leaky_relu(x, self.negative_slope), state


class PReLU(Layer):
    """x above 0, `alpha * x` below, with a learned `alpha` for each feature.

    Args:
        shared_axes: axes (an integer or several, the batch axis being 0) along which one `alpha` serves all:
            (1, 2) gives a picture's channels one each.

    Shapes: (batch, …), which stays; `alpha` has the shape of an example, with 1 on the shared axes.

    Raises:
        ValueError: shared axes that are no integers of at least 1.
        LayerError: an axis beyond the input's rank, or another shape than at `init`.

    Source: He et al., "Delving deep into rectifiers", 2015.

    >>> layer = PReLU("ones", shared_axes=1)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 2, 3)))
    >>> params["alpha"].shape
    (1, 3)
    """

    alpha_initializer: Any = "zeros"
    alpha_regularizer: Any = None
    alpha_constraint: Any = None
    shared_axes: Any = None

    min_ndim = 2

    def convert(self, name: str, value: Any) -> Any:
        return (int(value),) if name == "shared_axes" and is_int(value) else super().convert(name, value)

    def validate(self) -> None:
        axes = self.shared_axes
        if axes is not None and not (isinstance(axes, tuple) and all(is_int(axis) and axis > 0 for axis in axes)):
            raise ValueError(f"PReLU: shared_axes are integers from 1 (the batch axis is 0); got {axes!r}")

    def check_input(self, x: Any) -> None:
        if max(self.shared_axes or (0,)) >= len(x.shape):
            self.refuse(f"shares alpha along axis {max(self.shared_axes)}, which the input has not", x)

    def _shape(self, x: Any) -> tuple[int, ...]:
        return tuple(1 if axis in (self.shared_axes or ()) else n for axis, n in enumerate(x.shape) if axis)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return self.weights(key, x.dtype, alpha=self._shape(x)), {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        alpha = params["alpha"]
        if self._shape(x) != alpha.shape:
            self.refuse(f"was built for an alpha of shape {alpha.shape}", x)
        return jnp.where(x > 0, x, alpha[None] * x), state


class ELU(Layer):
    """Exponential linear unit: x above 0, `alpha * (exp(x) - 1)` below (Clevert et al. 2016).

    Args:
        alpha: what the output tends to on the left, negated.

    >>> ELU(0.5).apply({}, {}, jnp.array([[-1e4, 2.0]]))[0].tolist()
    [[-0.5, 2.0]]
    """

    alpha: float = 1.0

    def validate(self) -> None:
        require_between(self.alpha, "alpha", "ELU", -math.inf, math.inf)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return activations.elu(x, self.alpha), state


class ThresholdedReLU(Layer):
    """x above `theta`, 0 elsewhere, as in Keras 2 (Konda et al. 2015).

    Args:
        theta: where the unit switches on.

    Raises:
        ValueError: a negative threshold.

    >>> ThresholdedReLU(1.5).apply({}, {}, jnp.array([[1.0, 2.0]]))[0].tolist()
    [[0.0, 2.0]]
    """

    theta: float = 1.0

    def validate(self) -> None:
        require_between(self.theta, "theta", "ThresholdedReLU", 0, math.inf)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return activations.threshold(x, self.theta, 0.0), state


class Softmax(Layer):
    """Probabilities, `exp(x) / sum(exp(x))` along an axis.

    Args:
        axis: the axis, or several to sum over together; not the batch axis.

    Where a mask covers the axis, padding has the probability 0 and the rest is divided among what is real; Keras's
    argument `mask` is `Masked(x, mask)` here.

    Raises:
        ValueError: axes that are no integers, or the batch axis.
        LayerError: an axis that the input has not.

    >>> from kjax import nn
    >>> scores = nn.Masked(jnp.zeros((1, 4)), jnp.array([[True, True, False, False]]))
    >>> Softmax().apply({}, {}, scores)[0].value.tolist()
    [[0.5, 0.5, 0.0, 0.0]]
    """

    axis: Any = -1

    min_ndim = 2
    takes_mask = True
    computes_wide = True

    def validate(self) -> None:
        axes = self._axes()
        if not axes or not all(is_int(axis) and axis != 0 for axis in axes):
            raise ValueError(f"Softmax: axis is an integer or several, but not the batch axis 0; got {self.axis!r}")

    def _axes(self) -> tuple[int, ...]:
        return self.axis if isinstance(self.axis, tuple) else (self.axis,)

    def check_input(self, x: Any) -> None:
        if max(map(abs, self._axes())) >= len(x.shape):
            self.refuse(f"has axis={self.axis}, which is the batch axis or beyond the input's rank", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = unmask(x)
        axes = tuple(axis % value.ndim for axis in self._axes())
        if mask is None or min(axes) >= mask.ndim:
            return activations.softmax(value, axes), state
        real = over(mask, value)
        y = activations.softmax(jnp.where(real, value, jnp.finfo(value.dtype).min), axes)
        return jnp.where(real, y, jnp.zeros((), y.dtype)), state

"""Layers that call another layer with a kernel computed from the stored one."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_int
from kjax.nn.container import Container, Visit
from kjax.nn.errors import LayerError
from kjax.nn.layer import Layer, Params, State

TINY = 1e-30


class Reparametrised(Container):
    """Base of layers that own one `layer` and call it with another kernel.

    `params` and `state` have the layer's own under its name, beside what the subclass adds. The layer's
    `kernel_regularizer` sees the kernel that the layer is called with. Subclasses define `begin` and `kernel`.
    """

    layer: Any

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self.layer,)

    def with_layers(self, layers: tuple[Layer, ...]) -> Any:
        return self.replace(layer=layers[0])

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        return visit(0, 0, x)

    def begin(self, key: jax.Array, kernel: jax.Array) -> tuple[Params, State]:
        """What the subclass adds to params and state for a fresh kernel."""
        raise NotImplementedError

    def kernel(self, params: Params, state: State, training: bool) -> tuple[jax.Array, State]:
        """The kernel that the layer is called with, and the state after it."""
        raise NotImplementedError

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params, state = super().build(key, x)
        own_params, own_state = self.begin(jax.random.fold_in(key, 1), self.stored(params))
        return {**own_params, **params}, {**own_state, **state}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        kernel, state = self.kernel(params, state, training)
        return super().call(self.exchanged(params, kernel), state, x, training, key)

    def effective(self, params: Params, state: State) -> Params:
        return self.exchanged(params, self.kernel(params, state, False)[0])

    def stored(self, params: Params) -> jax.Array:
        """The layer's kernel as `params` has it."""
        weight = self._weight(params)
        return params[self.names[0]][weight]

    def exchanged(self, params: Params, kernel: jax.Array) -> Params:
        """The params with another kernel for the layer."""
        own = params[self.names[0]]
        return {**params, self.names[0]: {**own, self._weight(params): kernel}}

    def _weight(self, params: Params) -> str:
        own = params.get(self.names[0], {})
        for name in ("kernel", "embeddings"):
            if name in own:
                return name
        raise LayerError(
            f"{self!r} wraps a layer with a kernel, but {self.layer!r} has "
            f"{'the weights ' + ', '.join(own) if own else 'no weights'}; for a network, wrap each of its layers"
        )


class SpectralNormalization(Reparametrised):
    """Calls a layer with `kernel / σ`, σ the kernel's largest singular value: the layer's Lipschitz constant is 1.

    The kernel counts as a matrix of (everything else, outputs). Power iteration estimates σ: in training
    `state["vector_u"]` moves by `power_iterations` steps, `v = unit(u Wᵀ)`, `u = unit(v W)`, and σ = v W uᵀ, through
    which gradients flow with u and v held. In inference u stays, and the kernel is divided by σ as well; Keras has
    by then assigned the divided kernel to the layer. Before any training u is random, and σ too small.

    Args:
        layer: a layer with a `kernel` (or `embeddings`).
        power_iterations: steps of each training call.

    Raises:
        TypeError: layer is no layer.
        ValueError: power_iterations is no positive integer.
        LayerError: the layer has no kernel.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.

    >>> from kjax import nn
    >>> layer = SpectralNormalization(nn.Dense(3), power_iterations=50)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> _, state = layer.apply(params, state, jnp.ones((2, 4)), training=True)
    >>> kernel = layer.effective(params, state)["dense"]["kernel"]
    >>> round(jnp.linalg.norm(kernel, 2).item(), 5)
    1.0
    """

    power_iterations: int = 1

    def validate(self) -> None:
        super().validate()
        require_int(self.power_iterations, "power_iterations", "SpectralNormalization")

    def begin(self, key: jax.Array, kernel: jax.Array) -> tuple[Params, State]:
        # A vector of small floats would be lost in rounding.
        return {}, {"vector_u": jax.random.normal(key, (1, kernel.shape[-1]), at_least_float32(kernel.dtype))}

    def kernel(self, params: Params, state: State, training: bool) -> tuple[jax.Array, State]:
        kernel, u = self.stored(params), state["vector_u"]
        matrix = kernel.astype(u.dtype).reshape(-1, kernel.shape[-1])
        if training and self.trainable:
            u, v = self._iterate(matrix, u)
            # A kernel of zeros leads nowhere: the vector waits for a better one.
            state = {**state, "vector_u": jnp.where((matrix == 0).all(), state["vector_u"], u)}
        else:
            u = unit(u)
            v = unit(u @ matrix.T)
        sigma = (v @ matrix @ u.T).reshape(())
        scale = jnp.where(sigma > 0, sigma, jnp.ones((), sigma.dtype))
        return (matrix / scale).reshape(kernel.shape).astype(kernel.dtype), state

    def _iterate(self, matrix: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        for _ in range(self.power_iterations):
            v = unit(u @ matrix.T)
            u = unit(v @ matrix)
        return jax.lax.stop_gradient((u, v))


class WeightNorm(Reparametrised):
    """Calls a layer with `g · v / |v|`: length and direction of each output's weights are learned apart.

    `params["g"]` holds the lengths, the layer's own kernel is v. At `init` g is |v|, so that the layer's output is
    that of the wrapped layer. A `kernel_constraint` of the layer changes the kernel that it is called with.

    Args:
        layer: a layer with a `kernel` (or `embeddings`).
        axis: the kernel's axis whose entries have a length each (the last one holds the outputs in Keras's layouts);
            None for one length of the whole kernel.

    Raises:
        TypeError: layer is no layer.
        ValueError: axis is neither an integer nor None.
        LayerError: the layer has no kernel, or one without this axis.

    Source: Salimans and Kingma, "Weight Normalization", 2016.

    >>> from kjax import nn
    >>> params, state = WeightNorm(nn.Dense(3)).init(jax.random.key(0), jnp.ones((1, 4)))
    >>> jax.tree.map(jnp.shape, params)
    {'dense': {'bias': (3,), 'kernel': (4, 3)}, 'g': (3,)}
    """

    axis: int | None = -1

    def validate(self) -> None:
        super().validate()
        if self.axis is not None and not is_int(self.axis):
            raise ValueError(f"WeightNorm: axis is an integer, or None for the whole kernel; got {self.axis!r}")

    def begin(self, key: jax.Array, kernel: jax.Array) -> tuple[Params, State]:
        if self.axis is not None and not -kernel.ndim <= self.axis < kernel.ndim:
            self.refuse("has an axis beyond the rank of the layer's kernel", kernel)
        return {"g": self._length(kernel)}, {}

    def kernel(self, params: Params, state: State, training: bool) -> tuple[jax.Array, State]:
        v = self.stored(params)
        wide = v.astype(at_least_float32(v.dtype))
        squares = jnp.maximum((wide * wide).sum(self._others(v), keepdims=True), TINY)
        g = params["g"].astype(wide.dtype).reshape(squares.shape)
        return (wide * (g * jax.lax.rsqrt(squares))).astype(v.dtype), state

    def partition(self, params: Params) -> tuple[Params, Params]:
        trainable, frozen = super().partition(params)
        return ({"g": params["g"], **trainable}, frozen) if trainable else ({}, params)

    def constrain(self, params: Params) -> Params:
        if getattr(self.layer, f"{self._weight(params)}_constraint", None) is None:
            return {**params, **super().constrain(params)}
        fixed = super().constrain(self.effective(params, {}))
        return {"g": self._length(self.stored(fixed)), **fixed}

    def _others(self, kernel: jax.Array) -> tuple[int, ...]:
        kept = None if self.axis is None else self.axis % kernel.ndim
        return tuple(axis for axis in range(kernel.ndim) if axis != kept)

    def _length(self, kernel: jax.Array) -> jax.Array:
        wide = kernel.astype(at_least_float32(kernel.dtype))
        return jnp.sqrt((wide * wide).sum(self._others(kernel))).astype(kernel.dtype)


def unit(x: jax.Array) -> jax.Array:
    """`x` at length 1; zeros stay zeros."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(), TINY))

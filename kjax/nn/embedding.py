"""Where a step stands in time, as numbers that a network can use; and an embedding that reads its own vectors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_between, require_int
from kjax.nn.core import Embedding
from kjax.nn.layer import Layer, Params, State


def angles(length: int, pairs: int, size: int, longest: float, shrunk: float = 1.0) -> np.ndarray:
    """`t / shrunk / longest^(2i / size)` for each step t and pair i: float64 (length, pairs), exact at any length."""
    return np.arange(length)[:, None] / shrunk * longest ** (-2.0 / size * np.arange(pairs))


class SinePositionEncoding(Layer):
    """Sines and cosines of each step's number, to be added to the input; without weights.

        y[t, 2i] = sin(t / max_wavelength^(2i / features)),  y[t, 2i + 1] = cos(the same)

    Args:
        max_wavelength: what the longest wave approaches, divided by 2 pi.

    Shapes: (batch, time, features) -> (batch, time, features); only the input's shape and dtype count.

    Source: Vaswani et al., "Attention is all you need", 2017 (arXiv:1706.03762); KerasHub.

    Raises:
        ValueError: max_wavelength is not positive.
        LayerError: an input of another rank than 3.

    >>> SinePositionEncoding().apply({}, {}, jnp.ones((1, 2, 2)))[0].round(3).tolist()
    [[[0.0, 1.0], [0.8410000205039978, 0.5400000214576721]]]
    """

    max_wavelength: float = 10000

    ndim = 3
    axes = "(batch, time, features)"

    def validate(self) -> None:
        require_positive(self.max_wavelength, "max_wavelength", "SinePositionEncoding")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        _, length, features = x.shape
        angle = angles(length, -(-features // 2), features, self.max_wavelength)
        waves = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, -1)[:, :features]
        return jnp.broadcast_to(jnp.asarray(waves, x.dtype), x.shape), state


class RotaryEmbedding(Layer):
    """Turns pairs of features by angles that grow with the step: products of two steps then tell their distance.

        y[i] = x[i] cos(a) - x[i + d/2] sin(a),  y[i + d/2] = x[i + d/2] cos(a) + x[i] sin(a)
        a = t / scaling_factor / max_wavelength^(2i / d)

    Feature i is paired with i + d/2, as GPT-NeoX, Llama and KerasHub do; the paper pairs 2i with 2i + 1, which is
    the same for learned projections. For attention: `MultiHeadAttention(…, rotary=RotaryEmbedding())`.

    Args:
        max_wavelength: what the longest wave approaches, divided by 2 pi.
        scaling_factor: what positions are divided by, to reach longer sequences than trained on.
        sequence_axis: the axis of steps.
        feature_axis: the axis of the d features.

    Shapes: (batch, time, …, d) -> the same. Computed in at least float32.

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021 (arXiv:2104.09864).

    Raises:
        ValueError: a wavelength or factor that is not positive, or an axis that is the batch.
        LayerError: an odd number of features, or axes that the input does not have.

    >>> RotaryEmbedding().apply({}, {}, jnp.array([[[1.0, 0], [1, 0]]]))[0].round(3).tolist()
    [[[1.0, 0.0], [0.5400000214576721, 0.8410000205039978]]]
    """

    max_wavelength: float = 10000
    scaling_factor: float = 1.0
    sequence_axis: int = 1
    feature_axis: int = -1

    min_ndim = 3

    def validate(self) -> None:
        for name in ("max_wavelength", "scaling_factor"):
            require_positive(getattr(self, name), name, "RotaryEmbedding")
        for name in ("sequence_axis", "feature_axis"):
            if not is_int(getattr(self, name)) or getattr(self, name) == 0:
                raise ValueError(f"RotaryEmbedding: {name} is an axis behind the batch; got {getattr(self, name)!r}")

    def check_input(self, x: Any) -> None:
        axes = [axis % len(x.shape) for axis in (self.sequence_axis, self.feature_axis)]
        outside = any(not -len(x.shape) < axis < len(x.shape) for axis in (self.sequence_axis, self.feature_axis))
        if outside or axes[0] == axes[1]:
            self.refuse("takes inputs with an axis of steps and another of features behind the batch", x)
        if x.shape[self.feature_axis] % 2:
            self.refuse("turns pairs of features, so their number must be even", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        steps, features, wide = self.sequence_axis % x.ndim, self.feature_axis % x.ndim, at_least_float32(x.dtype)
        size = x.shape[features]
        angle = angles(x.shape[steps], size // 2, size, self.max_wavelength, self.scaling_factor)
        others = [axis for axis in range(x.ndim) if axis not in (steps, features)]
        angle = np.expand_dims(angle if steps < features else angle.T, others)
        cos, sin = jnp.asarray(np.cos(angle), wide), jnp.asarray(np.sin(angle), wide)
        first, second = jnp.split(x.astype(wide), 2, features)
        turned = [first * cos - second * sin, second * cos + first * sin]
        return jnp.concatenate(turned, features).astype(x.dtype), state


class PositionEmbedding(Layer):
    """A learned vector for each step, to be added to the input.

    Args:
        sequence_length: how many steps there are vectors for; inputs may have fewer.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint: of the vectors.

    Shapes: (batch, time, features) -> (batch, time, features); only the input's shape and dtype count.

    Source: Devlin et al., "BERT", 2018 (arXiv:1810.04805); KerasHub.

    Raises:
        ValueError: sequence_length is not a positive integer.
        LayerError: a longer input.

    >>> layer = PositionEmbedding(8)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 8, 4)))
    >>> layer.apply(params, state, jnp.ones((2, 5, 4)))[0].shape
    (2, 5, 4)
    """

    sequence_length: int
    embeddings_initializer: Any = "glorot_uniform"
    embeddings_regularizer: Any = None
    embeddings_constraint: Any = None

    ndim = 3
    axes = "(batch, time, features)"

    def validate(self) -> None:
        require_int(self.sequence_length, "sequence_length", "PositionEmbedding")

    def check_input(self, x: Any) -> None:
        if x.shape[1] > self.sequence_length:
            self.refuse(f"has vectors for {self.sequence_length} steps", x, "raise sequence_length")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return self.weights(key, x.dtype, embeddings=(self.sequence_length, x.shape[-1])), {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if params["embeddings"].shape[-1] != x.shape[-1]:
            self.refuse(f"was built for {params['embeddings'].shape[-1]} features (the last axis)", x)
        return jnp.broadcast_to(params["embeddings"][None, : x.shape[1]], x.shape), state


class ReversibleEmbedding(Embedding):
    """An embedding that is also the way back: integers to vectors, and vectors to a score for each integer.

    What it is called on decides: integers are looked up, floats are multiplied with the table. A layer that is
    called twice shares its weights, so the output weights of a language model are tied to its embedding by

        class Model(nn.Composite):
            tokens: nn.Layer = nn.ReversibleEmbedding(65, 128)
            body: nn.Layer = …

            def forward(self, ids):
                return self.tokens(self.body(self.tokens(ids)))

    and likewise with nodes, `tokens(body(tokens(Input(shape=(64,), dtype="int32"))))`.

    Args:
        input_dim: how many integers there are.
        output_dim: length of a vector.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero: as in `Embedding`.
        tie_weights: whether the way back uses the same table; otherwise `reverse_embeddings`, drawn likewise.
        reverse_dtype: computes the scores in this dtype.
        logit_soft_cap: squeezes the scores into (-cap, cap): `cap * tanh(scores / cap)`.

    Shapes: integers (batch, …) -> (batch, …, output_dim); floats (batch, …, output_dim) -> (batch, …, input_dim).

    Source: Press and Wolf, "Using the output embedding to improve language models", 2016 (arXiv:1608.05859);
    Keras's `ReversibleEmbedding`, where the call says `reverse=True`.

    Raises:
        ValueError: sizes that are not positive integers, or a cap that is not positive.
        LayerError: vectors of another length.

    >>> layer = ReversibleEmbedding(10, 4)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 3), int))
    >>> vectors, _ = layer.apply(params, state, jnp.array([[1, 2, 9]]))
    >>> layer.apply(params, state, vectors)[0].shape
    (1, 3, 10)
    """

    tie_weights: bool = True
    reverse_dtype: Any = None
    logit_soft_cap: float | None = None

    def convert(self, name: str, value: Any) -> Any:
        wanted = name == "reverse_dtype" and value is not None
        return jnp.dtype(value).name if wanted else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if self.logit_soft_cap is not None:
            require_positive(self.logit_soft_cap, "logit_soft_cap", "ReversibleEmbedding")

    def check_input(self, x: Any) -> None:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            super().check_input(x)
        elif x.shape[-1] != self.output_dim:
            hint = 'for integers x.astype("int32") or Input(…, dtype="int32")'
            self.refuse(f"looks up integers, or takes vectors of {self.output_dim} features", x, hint)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params, state = super().build(key, x)
        if not self.tie_weights:
            shape, dtype = (self.output_dim, self.input_dim), params["embeddings"].dtype
            params["reverse_embeddings"] = self.embeddings_initializer(jax.random.fold_in(key, 1), shape, dtype)
        return params, state

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return super().call(params, state, x, training, key)
        table = params["embeddings"].T if self.tie_weights else params["reverse_embeddings"]
        scores = x.astype(self.reverse_dtype or x.dtype) @ table.astype(self.reverse_dtype or x.dtype)
        cap = self.logit_soft_cap
        return (scores if cap is None else jnp.tanh(scores / cap) * cap), state


def require_positive(value: Any, name: str, owner: str) -> None:
    """Refuses what is not a number above zero."""
    require_between(value, name, owner, 0, math.inf)
    if value == 0:
        raise ValueError(f"{owner}: {name} must be above 0; got 0")

"""Initial weights: frozen objects called as `initializer(key, shape, dtype=jnp.float32)`, by Keras's names.

The same key gives the same bits. With `seed=`, as in Keras, the seed replaces the key: the draw depends on
seed, shape and dtype alone, so two layers of one seed and shape start equal. Dtypes narrower than float32 are
drawn in float32 and rounded (drawn in bfloat16, a uniform would know only 128 values).

>>> import jax, jax.numpy as jnp
>>> get("glorot_uniform")(jax.random.key(0), (3, 4)).shape
(3, 4)
>>> get("he_normal"), get("zeros") == Zeros()
(HeNormal(), True)
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kjax.dtypes import at_least_float32
from kjax.frozen import Frozen, is_int, look_up, require_between, snake_case, suggest

Shape = tuple[int, ...]
MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "untruncated_normal", "uniform")


def drawn(distribution: Callable, key: Any, shape: Shape, dtype: Any, **limits: float) -> Array:
    """Drawn along one axis, then shaped: the same numbers as for the shape itself, compiled in a third of the time."""
    return distribution(key, shape=(math.prod(shape),), dtype=dtype, **limits).reshape(shape)


class Initializer(Frozen):
    """Base of the initializers: subclasses define `draw(self, key, shape, dtype)`, for float32 or wider.

    A field `seed` replaces the key. With `random = False` the key may be None, and any dtype comes.
    """

    random: ClassVar[bool] = True

    def convert(self, name: str, value: Any) -> Any:
        """Numbers as Python's own: a NumPy scalar would bring its dtype along."""
        return value.item() if isinstance(value, np.generic) else super().convert(name, value)

    def validate(self) -> None:
        """Refuses a seed that is no integer, and no finite number where the default is a float."""
        for field in dataclasses.fields(self):
            name, value = f"{type(self).__name__}: {field.name}", getattr(self, field.name)
            if field.name == "seed" and value is not None and not is_int(value):
                raise TypeError(f"{name} must be an integer or None; got {value!r}")
            if isinstance(field.default, float) and not (isinstance(value, int | float) and math.isfinite(value)):
                raise TypeError(f"{name} must be a finite number; got {value!r}")

    def __call__(self, key: Array | None, shape: int | Sequence[int], dtype: Any = jnp.float32) -> Array:
        """An array of this shape and dtype. `key` may be None where nothing is drawn or a seed is given."""
        sizes: Shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        if not self.random:
            return self.draw(key, sizes, dtype)
        seed = getattr(self, "seed", None)
        if key is None and seed is None:
            raise TypeError(f"{self!r} draws random numbers: give a key, as jax.random.key(0), or a seed=")
        wide = at_least_float32(dtype)
        return self.draw(key if seed is None else jax.random.key(seed), sizes, wide).astype(dtype)

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        """The array of this shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} defines no draw(self, key, shape, dtype)")


class Zeros(Initializer):
    """All 0."""

    random = False

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return jnp.zeros(shape, dtype)


class Ones(Initializer):
    """All 1."""

    random = False

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return jnp.ones(shape, dtype)


class Constant(Initializer):
    """All `value`, a number (set an array as a weight, once there is a model)."""

    random = False
    value: float = 0.0

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return jnp.full(shape, self.value, dtype)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere; `ValueError` for shapes that are no matrix.

    >>> Identity(2.0)(None, (2, 3)).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    random = False
    gain: float = 1.0

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        if len(shape) != 2:
            raise ValueError(f"{self!r} makes matrices only; got shape {shape}")
        return jnp.eye(*shape, dtype=dtype) * self.gain


class RandomNormal(Initializer):
    """Normal with this mean and standard deviation; `ValueError` for a negative `stddev`."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def validate(self) -> None:
        super().validate()
        require_between(self.stddev, "stddev", type(self).__name__, 0, math.inf)

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return self.mean + self.stddev * drawn(jax.random.normal, key, shape, dtype)


class TruncatedNormal(RandomNormal):
    """Normal, but what falls more than 2 `stddev` from `mean` is drawn again.

    As in Keras, `stddev` is that of the normal before it is cut; the result's is 0.87963 times as large.
    """

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return self.mean + self.stddev * drawn(jax.random.truncated_normal, key, shape, dtype, lower=-2.0, upper=2.0)


class RandomUniform(Initializer):
    """Uniform in [`minval`, `maxval`); `ValueError` where `minval` is the greater."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def validate(self) -> None:
        super().validate()
        require_between(self.maxval, "maxval", "RandomUniform", self.minval, math.inf)

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        return drawn(jax.random.uniform, key, shape, dtype, minval=self.minval, maxval=self.maxval)


class Orthogonal(Initializer):
    """`gain` times a random orthogonal matrix, uniform among them (Saxe et al. 2014, arXiv:1312.6120).

    All axes but the last count as one: the rows are orthonormal if they are fewer than the columns, else the
    columns are. `ValueError` for shapes of fewer than two axes.
    """

    gain: float = 1.0
    seed: int | None = None

    def draw(self, key: Any, shape: Shape, dtype: Any) -> Array:
        if len(shape) < 2:
            raise ValueError(f"{self!r} needs at least two axes; got shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = jnp.linalg.qr(jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype))
        # The signs that QR prefers would make it less than uniform.
        q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0).astype(dtype)[None, :]
        return self.gain * (q.T if rows < columns else q).reshape(shape)


def compute_fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out), the inputs and outputs per unit of weights of this shape.

    A kernel (…window, channels in, channels out) has the window's size times its channels. A vector has its
    length for both, as in Keras 3 (in Keras 2 the root of it).

    >>> compute_fans((3, 4)), compute_fans((5, 5, 3, 8))
    ((3, 4), (75, 200))
    """
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def draw_scaled(rule: Any, key: Any, shape: Shape, dtype: Any) -> Array:
    """Mean 0 and variance `rule.scale` / fan; see `VarianceScaling`."""
    fan_in, fan_out = compute_fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[rule.mode]
    deviation = math.sqrt(rule.scale / max(1.0, fan))
    if rule.distribution == "uniform":
        limit = math.sqrt(3.0) * deviation
        return drawn(jax.random.uniform, key, shape, dtype, minval=-limit, maxval=limit)
    if rule.distribution == "untruncated_normal":
        return deviation * drawn(jax.random.normal, key, shape, dtype)
    # The divisor is the standard deviation of a standard normal cut at ±2.
    return (
        deviation / 0.87962566103423978 * drawn(jax.random.truncated_normal, key, shape, dtype, lower=-2.0, upper=2.0)
    )


class VarianceScaling(Initializer):
    """Mean 0 and variance `scale` / n, where n is the fan that `mode` names (see `compute_fans`).

    Args:
        scale: positive.
        mode: "fan_in", "fan_out" or "fan_avg", their mean.
        distribution: "normal" (or "truncated_normal"), cut at 2 standard deviations, and widened so that the
            variance comes out right; "untruncated_normal"; or "uniform", in ±sqrt(3 scale / n).

    Raises:
        ValueError: `scale` is not positive, or another mode or distribution.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "normal"
    seed: int | None = None
    draw = draw_scaled

    def convert(self, name: str, value: Any) -> Any:
        if name == "distribution" and isinstance(value, str):
            return value.lower().removeprefix("truncated_")
        return super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if not self.scale > 0:
            raise ValueError(f"VarianceScaling: scale must be positive; got {self.scale!r}")
        for name, known in (("mode", MODES), ("distribution", DISTRIBUTIONS)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"VarianceScaling: unknown {name} {value!r}.{suggest(str(value), known)}")


class Scaled(Initializer):
    """Base of the `VarianceScaling` initializers that have a name of their own."""

    scale: ClassVar[float] = 1.0
    mode: ClassVar[str] = "fan_in"
    distribution: ClassVar[str] = "normal"
    seed: int | None = None
    draw = draw_scaled


class GlorotUniform(Scaled):
    """Uniform in ±sqrt(6 / (fan_in + fan_out)), also called Xavier (Glorot & Bengio 2010)."""

    mode, distribution = "fan_avg", "uniform"


class GlorotNormal(Scaled):
    """Truncated normal of variance 2 / (fan_in + fan_out), also called Xavier (Glorot & Bengio 2010)."""

    mode = "fan_avg"


class HeUniform(Scaled):
    """Uniform in ±sqrt(6 / fan_in), for relu (He et al. 2015, arXiv:1502.01852)."""

    scale, distribution = 2.0, "uniform"


class HeNormal(Scaled):
    """Truncated normal of variance 2 / fan_in, for relu (He et al. 2015, arXiv:1502.01852)."""

    scale = 2.0


class LecunUniform(Scaled):
    """Uniform in ±sqrt(3 / fan_in) (LeCun et al. 1998, Efficient BackProp)."""

    distribution = "uniform"


class LecunNormal(Scaled):
    """Truncated normal of variance 1 / fan_in, for selu (LeCun et al. 1998; Klambauer et al. 2017)."""


class Adapted(Frozen):
    """A user's function of some of key, shape and dtype (see `adapt`), called as every initializer is."""

    function: Callable[..., Any]
    takes: tuple[str, ...]

    def __call__(self, key: Array | None, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        given = {"key": key, "shape": tuple(shape), "dtype": dtype}
        value = jnp.asarray(self.function(*(given[name] for name in self.takes))).astype(dtype)
        if value.shape != given["shape"]:
            raise ValueError(f"{self!r} returned shape {value.shape}; wanted {given['shape']}")
        return value


def adapt(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (key, shape, dtype) from one of those, of (key, shape), of (shape, dtype) or of (shape).

    Keras's kind has `shape` first, or just one argument without a default, not named `key`.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-in functions tell nothing
        return function
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not places or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return function
    alone = sum(p.default is p.empty for p in places) == 1 and places[0].name not in ("key", "rng")
    wanted = ("shape", "dtype") if alone or places[0].name == "shape" else ("key", "shape", "dtype")
    takes = wanted[: len(places)]
    return function if takes == ("key", "shape", "dtype") else Adapted(function, takes)


zeros = zero = Zeros
ones = one = Ones
random_normal = normal = RandomNormal
random_uniform = uniform = RandomUniform
truncated_normal, variance_scaling, constant = TruncatedNormal, VarianceScaling, Constant
orthogonal, identity = Orthogonal, Identity
glorot_uniform, he_uniform, lecun_uniform = GlorotUniform, HeUniform, LecunUniform
glorot_normal, he_normal, lecun_normal = GlorotNormal, HeNormal, LecunNormal

_ALL: tuple[type[Initializer], ...] = (
    *(Zeros, Ones, Constant, Identity, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Orthogonal),
    *(GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal),
)
NAMES: dict[str, type[Initializer]] = {c.__name__: c for c in _ALL}
NAMES |= {snake_case(c.__name__): c for c in _ALL}
NAMES |= {"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform}
NAMES |= {"IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal}
"""Every name that `get` knows, and what it makes."""


def get(identifier: Any) -> Any:
    """The initializer that a name or class means; None stays None, and a function goes through `adapt`.

    A function of yours is either f(key, shape, dtype) or, as in Keras, f(shape, dtype=None).

    Raises:
        ValueError: no initializer has this name.
        TypeError: neither a name nor callable.

    >>> get("glorot_unifrom")
    Traceback (most recent call last):
    ...
    ValueError: unknown initializer 'glorot_unifrom'. Did you mean 'glorot_uniform'?
    """
    if identifier is None:
        return None
    found = look_up(identifier, NAMES, "initializer", "he_normal")
    return found if isinstance(found, Initializer | Adapted) else adapt(found)

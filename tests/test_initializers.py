"""Initial weights: their distributions, fans, keys, seeds and names."""

import inspect
import math
import pickle

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import scipy.stats
from conftest import keras_allowed

from kjax import initializers
from kjax.frozen import Frozen
from kjax.initializers import (
    Adapted,
    Constant,
    Identity,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
)

SHAPE = (3, 3, 20, 300)  # fans 180 and 2700, 54,000 numbers
CUT = 0.87962566103423978
KEY = jax.random.key(0)


def normal(std, mean=0.0):
    return scipy.stats.norm(mean, std)


def truncated(std, mean=0.0):
    """Cut at 2 std, before which std is the standard deviation."""
    return scipy.stats.truncnorm(-2, 2, mean, std)


def uniform(low, high):
    return scipy.stats.uniform(low, high - low)


def around(limit):
    return uniform(-limit, limit)


DRAWN = [
    (RandomNormal(), normal(0.05)),
    (RandomNormal(1.0, 2.0), normal(2.0, 1.0)),
    (TruncatedNormal(), truncated(0.05)),
    (TruncatedNormal(1.0, 2.0), truncated(2.0, 1.0)),
    (RandomUniform(), around(0.05)),
    (RandomUniform(1.0, 3.0), uniform(1.0, 3.0)),
    (VarianceScaling(), truncated(math.sqrt(1 / 180) / CUT)),
    (VarianceScaling(3.0, "fan_out", "truncated_normal"), truncated(math.sqrt(3 / 2700) / CUT)),
    (VarianceScaling(3.0, "fan_avg", "untruncated_normal"), normal(math.sqrt(3 / 1440))),
    (VarianceScaling(2.0, "fan_in", "Uniform"), around(math.sqrt(6 / 180))),
    (initializers.GlorotUniform(), around(math.sqrt(6 / 2880))),
    (initializers.GlorotNormal(), truncated(math.sqrt(2 / 2880) / CUT)),
    (initializers.HeUniform(), around(math.sqrt(6 / 180))),
    (initializers.HeNormal(), truncated(math.sqrt(2 / 180) / CUT)),
    (initializers.LecunUniform(), around(math.sqrt(3 / 180))),
    (initializers.LecunNormal(), truncated(math.sqrt(1 / 180) / CUT)),
]
OTHERS = [Zeros(), Ones(), Constant(3.5), Identity(2.0), Orthogonal(), Orthogonal(gain=2.0)]
ALL = [initializer for initializer, _ in DRAWN] + OTHERS
every_drawn = pytest.mark.parametrize(("initializer", "law"), DRAWN, ids=[repr(i) for i, _ in DRAWN])
every = pytest.mark.parametrize("initializer", ALL, ids=repr)


def test_every_class_has_a_row_and_keras_has_few_others():
    public = {c for c in vars(initializers).values() if inspect.isclass(c) and issubclass(c, Frozen)}
    bases = {Frozen, Adapted, initializers.Initializer, initializers.Scaled}
    assert public - bases == {type(initializer) for initializer in ALL}
    theirs = {name for name in dir(keras.initializers) if not name.startswith("_")}
    theirs -= {"get", "serialize", "deserialize", "Initializer", "STFT", "STFTInitializer", "stft"}
    assert theirs <= set(initializers.NAMES)


@every_drawn
def test_distribution(initializer, law):
    x = np.asarray(initializer(KEY, SHAPE), np.float64).ravel()
    error = law.std() / math.sqrt(x.size)
    assert abs(x.mean() - law.mean()) < 4 * error
    assert x.std() == pytest.approx(law.std(), rel=0.015)  # 4 standard errors of a normal's
    low, high = law.support()
    ulp = 1e-6 * law.std()
    assert x.min() >= low - ulp and x.max() <= high + ulp
    assert scipy.stats.kstest(x, law.cdf).pvalue > 1e-3


@every_drawn
def test_variance_like_keras(initializer, law):
    config = {k: v for k, v in vars(initializer).items() if k != "seed"}
    with keras_allowed():
        theirs = getattr(keras.initializers, type(initializer).__name__)(**config, seed=1)
        wanted = np.asarray(theirs(SHAPE))
    assert np.asarray(initializer(KEY, SHAPE)).std() == pytest.approx(wanted.std(), rel=0.02)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (5, 3, 4), (2, 5, 3, 4), (2, 3, 5, 3, 4), (0, 4)])
def test_fans_like_keras(shape):
    from keras.src.initializers.random_initializers import compute_fans

    assert initializers.compute_fans(shape) == compute_fans(shape)


@every
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_keys_and_dtypes(initializer, dtype):
    shape = (6, 5)
    a, again = (initializer(KEY, shape, dtype) for _ in range(2))
    assert a.dtype == jnp.dtype(dtype) and a.shape == shape
    assert (a == again).all()
    other = initializer(jax.random.key(1), shape, dtype)
    assert (a != other).any() == initializer.random
    # The narrower draw is the wider one, rounded: to eps, absolute for what is below 1.
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(a, np.float32), initializer(KEY, shape), rtol=eps, atol=1e-7)


@every
def test_jit_changes_nothing(initializer):
    # Fusion may round once less.
    jitted = jax.jit(lambda key: initializer(key, (6, 5)))(KEY)
    np.testing.assert_allclose(jitted, initializer(KEY, (6, 5)), rtol=1e-6, atol=1e-6)


@every
def test_float64(initializer):
    with jax.enable_x64(True):
        assert initializer(KEY, (4, 4), jnp.float64).dtype == jnp.float64


@every
def test_is_a_setting(initializer):
    names = {**vars(initializers)}
    assert eval(repr(initializer), names) == initializer == pickle.loads(pickle.dumps(initializer))
    assert hash(eval(repr(initializer), names)) == hash(initializer)


@pytest.mark.parametrize("cls", sorted({type(i) for i in ALL if i.random}, key=repr))
def test_a_seed_replaces_the_key(cls):
    seeded = cls(seed=3)
    a = seeded(KEY, (4, 5))
    assert (a == seeded(jax.random.key(9), (4, 5))).all() and (a == seeded(None, (4, 5))).all()
    assert (a == cls()(jax.random.key(3), (4, 5))).all()
    assert (a != cls(seed=4)(KEY, (4, 5))).any() and cls(seed=4) != seeded
    with pytest.raises(TypeError, match=r"draws random numbers: give a key, as jax.random.key\(0\), or a seed="):
        cls()(None, (4, 5))
    with pytest.raises(TypeError, match="seed must be an integer or None; got 'x'"):
        cls(seed="x")


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (3, 3, 2, 5), (2, 2, 40)])
def test_orthogonal(shape):
    q = np.asarray(Orthogonal(gain=2.0)(KEY, shape), np.float64).reshape(-1, shape[-1])
    rows, columns = q.shape
    product = q @ q.T if rows < columns else q.T @ q
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=5e-6)


def test_orthogonal_is_uniform_among_orthogonal_matrices():
    draw = jax.jit(jax.vmap(lambda key: Orthogonal()(key, (3, 3))))
    q = np.asarray(draw(jax.random.split(KEY, 4000)), np.float64)
    # By Archimedes each entry of a uniform direction in three dimensions is uniform.
    for entry in q.reshape(-1, 9).T:
        assert scipy.stats.kstest(entry, uniform(-1, 1).cdf).pvalue > 1e-4
    assert abs(np.linalg.det(q).mean()) < 4 / math.sqrt(4000)


def test_constants():
    assert (Zeros()(None, (2, 3)) == 0).all() and (Ones()(None, 4) == jnp.ones(4)).all()
    assert (Constant(3)(None, (2,), jnp.int32) == jnp.array([3, 3], jnp.int32)).all()
    np.testing.assert_array_equal(Identity(2.0)(None, (2, 3)), 2 * np.eye(2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomNormal(stddev=-1.0), "RandomNormal: stddev must be in"),
        (lambda: TruncatedNormal(stddev=-1.0), "TruncatedNormal: stddev must be in"),
        (lambda: RandomNormal(mean=float("nan")), "mean must be a finite number"),
        (lambda: RandomNormal("0"), "mean must be a finite number"),
        (lambda: RandomUniform(1.0, 0.0), "RandomUniform: maxval must be in"),
        (lambda: VarianceScaling(0.0), "scale must be positive"),
        (lambda: VarianceScaling(-1.0), "scale must be positive"),
        (lambda: VarianceScaling(mode="fanin"), "unknown mode 'fanin'. Did you mean 'fan_in'"),
        (lambda: VarianceScaling(distribution="gamma"), "unknown distribution 'gamma'"),
        (lambda: Constant("1"), "value must be a finite number"),
        (lambda: Constant(np.ones(3)), "cannot be hashed"),
        (lambda: Identity()(None, (2, 2, 2)), r"makes matrices only; got shape \(2, 2, 2\)"),
        (lambda: Orthogonal()(KEY, (3,)), r"needs at least two axes; got shape \(3,\)"),
        (lambda: initializers.HeNormal(scale=2.0), "HeNormal has no argument 'scale'"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_numpy_numbers_bring_no_dtype_along():
    initializer = RandomNormal(np.float64(0.0), np.float64(0.5))
    assert type(initializer.stddev) is float and initializer(KEY, (3,)).dtype == jnp.float32


def test_get():
    for name, cls in initializers.NAMES.items():
        assert initializers.get(name) == cls()
    for name in ("glorot_uniform", "zero", "one", "normal", "uniform", "lecun_normal", "variance_scaling"):
        assert getattr(initializers, name) is initializers.NAMES[name]
    assert initializers.get(None) is None and initializers.get(Ones) == Ones()
    assert initializers.get(RandomNormal(seed=3)) == initializers.normal(seed=3)
    with pytest.raises(ValueError, match=r"unknown initializer 'he_norm'. Did you mean 'he_normal'\?"):
        initializers.get("he_norm")
    with pytest.raises(TypeError, match="initializer: give a name such as 'he_normal', or a function"):
        initializers.get(0.0)


def jax_style(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype)


def drawn_only(key, shape):
    return jax.random.normal(key, shape)


def keras_style(shape, dtype=None):
    return np.full(shape, 2.0)


@pytest.mark.parametrize(
    ("function", "adapted"),
    [
        (jax_style, False),
        (lambda *arguments: jax_style(*arguments), False),
        (jax.nn.initializers.he_normal(), False),
        (drawn_only, True),
        (keras_style, True),
        (lambda shape: np.zeros(shape), True),
        (lambda s, dtype=None: jnp.zeros(s, dtype), True),
        (lambda shape, dtype: jnp.zeros(shape, dtype), True),
        (jnp.zeros, True),
        (keras.initializers.Ones(), True),
    ],
)
def test_functions_of_the_user(function, adapted):
    initializer = initializers.get(function)
    assert (initializer is not function) == adapted == isinstance(initializer, Adapted)
    x = initializer(KEY, (2, 3), jnp.bfloat16)
    assert x.shape == (2, 3) and x.dtype == jnp.bfloat16
    assert initializers.get(initializer) is initializer and initializers.get(function) == initializer


def test_a_function_that_returns_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"returned shape \(7,\); wanted \(2, 3\)"):
        initializers.get(lambda shape: np.zeros(7))(KEY, (2, 3))


def test_the_comparison_can_fail():
    for wrong in (normal(0.0488), normal(0.05, 0.0015), truncated(0.05)):
        with pytest.raises(AssertionError):
            test_distribution(RandomNormal(), wrong)

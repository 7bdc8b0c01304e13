"""Dropout's random bits: a statistical battery that is shown to fail bad generators, and the same bits everywhere."""

import doctest
import importlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import stats

module = importlib.import_module("kjax.nn.kernels.bits")
keep_mask, random_words = module.keep_mask, module.random_words

LAGS = (1, 2, 3, 4, 7, 8, 16, 28, 32, 64, 128, 512, 784, 4096)
SIZE = 2**20


@pytest.fixture(scope="module")
def key():
    return jax.random.key(7)


# The battery. Each statistic takes 2**20 words and gives p-values, all uniform if the words are random.


def two_sided(z):
    return 2 * stats.norm.sf(np.abs(z))


def chi_square(counts, expected, df=None):
    return stats.chi2.sf(np.sum((counts - expected) ** 2 / expected), (df or len(counts) - 1))


def poisson(count, mean):
    """Half of the probability of the count itself, which keeps the p-value uniform enough for a KS test."""
    return stats.poisson.sf(count, mean) + stats.poisson.pmf(count, mean) / 2


def uniformity(words):
    cells = [words >> shift & 255 for shift in (0, 8, 16, 24)] + [words >> 20]
    counts = [np.bincount(cell, minlength=256 if i < 4 else 4096) for i, cell in enumerate(cells)]
    return [chi_square(count, SIZE / len(count)) for count in counts]


def bit_balance(words):
    ones = np.asarray([np.count_nonzero(words >> bit & 1) for bit in range(32)])
    return two_sided((ones - SIZE / 2) / np.sqrt(SIZE / 4))


def serial_correlation(words):
    u = (words / 2**32 - 0.5) * np.sqrt(12)
    return two_sided([u[:-lag] @ u[lag:] / np.sqrt(SIZE - lag) for lag in LAGS])


def bits_against_earlier_bits(words):
    """Unequal bits of a word and an earlier one."""
    unequal = [np.count_nonzero(np.unpackbits((words[:-lag] ^ words[lag:]).view(np.uint8))) for lag in LAGS]
    n = 32 * (SIZE - np.asarray(LAGS))
    return two_sided((unequal - n / 2) / np.sqrt(n / 4))


def serial_tuples(words):
    """Overlapping pairs of 6 bits and triples of 4: differences of cyclic counts are chi-square (I. J. Good, 1953)."""
    out = []
    for bits, length in ((6, 2), (4, 3)):
        for shift in (0, 13, 32 - bits):
            digit, psi, code = words >> shift & (2**bits - 1), [], 0
            for back in range(length):
                code = (code << bits) + np.roll(digit, back).astype(np.int64)
                cells = 2 ** (bits * (back + 1))
                psi.append(np.sum((np.bincount(code, minlength=cells) - SIZE / cells) ** 2) * cells / SIZE)
            out.append(stats.chi2.sf(psi[-1] - psi[-2], cells - cells // 2**bits))
    return out


def runs(words):
    """Runs of equal bits, for each of four bits."""
    changes = [np.count_nonzero(np.diff(words >> bit & 1)) for bit in (0, 8, 22, 31)]
    return two_sided((np.asarray(changes) - (SIZE - 1) / 2) / np.sqrt((SIZE - 1) / 4))


def gaps(words):
    """Distances of words below an eighth are geometric."""
    lengths = np.minimum(np.diff(np.flatnonzero(words < 2**29)), 40) - 1
    share = np.append(0.875 ** np.arange(39) / 8, 0.875**39)
    return [chi_square(np.bincount(lengths, minlength=40), share * len(lengths))]


def birthday_spacings(words):
    """Equal spacings among 4096 sorted words: Poisson of mean 4 (Marsaglia and Tsang, 2002)."""
    spacings = np.sort(np.diff(np.sort(words.reshape(-1, 4096))))
    return [poisson(np.count_nonzero(spacings[:, 1:] == spacings[:, :-1]), 4 * len(spacings))]


def collisions(words):
    """A permutation of the counter would have none."""
    return [poisson(np.count_nonzero(np.diff(np.sort(words)) == 0), SIZE * (SIZE - 1) / 2**33)]


def kept_counts(words):
    """Kept elements of rows, columns and tiles have the binomial distribution's variance, not only its mean."""
    out = []
    for rate in (0.1, 0.5):
        kept = (words >= round(rate * 2**32)).reshape(1024, 1024)
        for size, count in ((1024, kept.sum(0)), (1024, kept.sum(1)), (256, kept.reshape(64, 16, 64, 16).sum((1, 3)))):
            z = (count.ravel() - size * (1 - rate)) / np.sqrt(size * rate * (1 - rate))
            out.append(stats.chi2.sf(z @ z, len(z)))
    return out


def ranks(words):
    """The ranks over GF(2) of 32x32 matrices."""
    rows = words[: 2**18].reshape(-1, 32).T.copy()
    rank = np.zeros(rows.shape[1], int)
    for bit in range(32):
        # The pivot is a row with this bit; it leaves the matrix, and the bit leaves the other rows.
        has = (rows >> bit & 1).astype(bool)
        first, found = has.argmax(0), has.any(0)
        columns = np.arange(rows.shape[1])
        pivot = np.where(found, rows[first, columns], 0).astype(np.uint32)
        rows ^= np.where(has, pivot, 0).astype(np.uint32)
        rank += found
    counts = np.bincount(np.minimum(32 - rank, 2), minlength=3)
    full = np.prod(1 - 0.5 ** np.arange(1, 33))
    one_less = np.prod(1 - 0.5 ** np.arange(2, 33)) ** 2 / np.prod(1 - 0.5 ** np.arange(1, 32)) / 2
    return [chi_square(counts, np.asarray([full, one_less, 1 - full - one_less]) * len(rank))]


STATISTICS = (
    *(uniformity, bit_balance, serial_correlation, bits_against_earlier_bits, serial_tuples, runs, gaps),
    *(birthday_spacings, collisions, kept_counts, ranks),
)


def in_keys(keys, size, words):
    """The same element of one key after the other, so that neighbours in the stream are neighbouring keys."""
    return jax.jit(jax.vmap(lambda key: words(key, (size,))))(keys).T


def folded(key, count):
    return jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(count))


# name: 2**20 words from a generator, in the order in which their independence is in question
STREAMS = {
    "one key": lambda words: words(jax.random.key(0), (SIZE,)),
    "columns": lambda words: words(jax.random.key(1), (1024, 1024)).T,
    "channels": lambda words: words(jax.random.key(2), (32, 32, 32, 32)).transpose(3, 0, 1, 2),
    "batch": lambda words: words(jax.random.key(3), (128, 8, 16, 64)).transpose(1, 2, 3, 0),
    "steps": lambda words: in_keys(folded(jax.random.key(0), 8192), 128, words),
    "layers": lambda words: in_keys(folded(jax.random.fold_in(jax.random.key(0), 5), 16), 65536, words),
    "seeds": lambda words: in_keys(jax.vmap(jax.random.key)(jnp.arange(1024)), 1024, words),
    "high seeds": lambda words: in_keys(
        jax.random.wrap_key_data(jnp.asarray([[i, 0] for i in range(4096)], np.uint32)), 256, words
    ),
    "rbg seeds": lambda words: in_keys(
        jax.random.wrap_key_data(jnp.asarray([[0, i, 0, i] for i in range(4096)], np.uint32), impl="rbg"), 256, words
    ),
}


def battery(words, streams):
    """For each stream and statistic its p-values."""
    out = {}
    for name in streams:
        values = np.asarray(STREAMS[name](words)).ravel()
        assert values.dtype == np.uint32 and len(values) == SIZE
        out |= {(name, statistic.__name__): np.asarray(statistic(values)) for statistic in STATISTICS}
    return out


def rejected(found, level=0.01):
    """Streams and statistics beyond the level in either tail, after Bonferroni; the level itself is the battery's."""
    count = sum(map(len, found.values()))
    return [name for name, p in found.items() if 2 * min(p.min(), 1 - p.max()) * count < level]


def test_battery_passes():
    found = battery(random_words, STREAMS)
    assert not rejected(found)
    assert stats.kstest(np.concatenate(list(found.values())), "uniform").pvalue > 0.01
    for statistic in STATISTICS:
        p = np.concatenate([p for (_, name), p in found.items() if name == statistic.__name__])
        assert stats.kstest(p, "uniform").pvalue > 0.001, statistic.__name__


def seeded(key):
    return jax.random.key_data(key)[-1]


def congruential(key, shape):
    return (jnp.arange(np.prod(shape), dtype=np.uint32) * np.uint32(1664525) + seeded(key)).reshape(shape)


def one_round(key, shape):
    z = jnp.arange(np.prod(shape), dtype=np.uint32).reshape(shape) ^ seeded(key)
    z = (z ^ z >> 16) * np.uint32(0x21F0AAAD)
    return z ^ z >> 15


@pytest.mark.parametrize("bad", [congruential, one_round])
def test_battery_rejects_bad_generators(bad):
    streams = {"one key", "columns", "seeds"}
    found = rejected(battery(bad, streams))
    assert {stream for stream, _ in found} == streams
    assert len({statistic for _, statistic in found}) > 6


def test_battery_rejects_a_permutation():
    """A generator that is good but for one thing: no word comes twice."""
    high, low = np.random.default_rng(0), np.random.default_rng(1)
    words = high.permutation(SIZE).astype(np.uint32) << 12 | low.integers(0, 2**12, SIZE, np.uint32)
    assert collisions(words)[0] > 0.999 and kept_counts(words)[0] > 1e-4


def test_battery_passes_numpy():
    """The statistics themselves are right: a generator beyond doubt gets uniform p-values."""
    words = [np.random.default_rng(seed).integers(0, 2**32, SIZE, np.uint32) for seed in range(2)]
    p = np.concatenate([statistic(w) for w in words for statistic in STATISTICS])
    assert 2 * min(p.min(), 1 - p.max()) * len(p) > 0.01
    assert stats.kstest(p, "uniform").pvalue > 0.01


def flips(a, b):
    """For each output bit, how far from half of the trials it flips, in standard deviations."""
    d = np.asarray(a ^ b).ravel()
    counts = np.asarray([np.count_nonzero(d >> bit & 1) for bit in range(32)])
    return (counts - len(d) / 2) / np.sqrt(len(d) / 4)


def test_avalanche_of_the_counter(key):
    i = jax.random.bits(key, (2**16,))
    for a, b in ((0, 0), (0x12345678, 0x9ABCDEF0)):
        words = [module._hash(i ^ np.uint32(flip), np.uint32(a), np.uint32(b)) for flip in (0, *(1 << np.arange(32)))]
        z = [flips(words[0], other) for other in words[1:]]
        assert np.abs(z).max() < 5 and 0.85 < np.var(z) < 1.15


def test_avalanche_of_the_key():
    data = jnp.stack([jnp.zeros(2048, np.uint32), jnp.arange(2048, dtype=np.uint32)], 1)
    words = jax.jit(jax.vmap(lambda data: random_words(jax.random.wrap_key_data(data), (32,))))
    masks = [np.asarray([1 << b, 0] if b < 32 else [0, 1 << b - 32], np.uint32) for b in range(64)]
    z = [flips(words(data), words(data ^ np.broadcast_to(mask, data.shape))) for mask in masks]
    # The low 11 bits of the seed lead from one seed of the set to another: each pair is counted twice.
    single = np.asarray(z[:32] + z[43:])
    assert np.abs(z).max() < 6.5 and np.abs(single).max() < 5 and 0.85 < np.var(single) < 1.15


def test_pinned():
    """The same on every platform and in every version: a change of these words changes users' results."""
    assert random_words(jax.random.key(0), (4,)).tolist() == [0xBF8064CE, 0xE7101D2B, 0x76554902, 0x04EE90F2]
    assert random_words(jax.random.key(1), (2, 2)).ravel().tolist() == [0x8E4ABA86, 0x307A5AA5, 0x59FB136C, 0x9CB56370]


@pytest.mark.parametrize("rate", [0.0, 2**-40, 1e-3, 0.25, 0.3, 0.5, 0.9, 1 - 2**-20, 1 - 2**-53])
def test_rate(key, rate):
    kept = np.asarray(keep_mask(key, rate, (SIZE,)))
    assert kept.dtype == bool and kept.shape == (SIZE,)
    assert stats.binom.cdf(kept.sum(), SIZE, 1 - rate) > 1e-3
    assert stats.binom.sf(kept.sum() - 1, SIZE, 1 - rate) > 1e-3
    np.testing.assert_array_equal(kept, np.asarray(random_words(key, (SIZE,))) >= min(rate * 2**32, 2**32 - 1) - 0.5)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1, 2, float("nan")])
def test_bad_rate(key, rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        keep_mask(key, rate, (2,))


def test_bad_arguments():
    for keys in (jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.PRNGKey(0), 3)):
        with pytest.raises(ValueError, match=r"takes one key \(jax.vmap for more\)"):
            keep_mask(keys, 0.5, (2,))
    with pytest.raises(ValueError, match=r"fewer than 2\*\*32 elements; got \(1, 4294967296\)"):
        keep_mask(jax.random.key(0), 0.5, (1, 2**32))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5, 1, 7), [2, 3]])
def test_shapes(key, shape):
    words = random_words(key, shape)
    assert words.shape == tuple(shape) and words.dtype == np.uint32
    # Row by row: another shape of the same size holds the same words.
    np.testing.assert_array_equal(words.ravel(), random_words(key, (words.size,)))


def test_more_than_a_word_of_elements(key):
    """Of 2**33 elements, eight rows are computed: XLA slices the index, not the array."""
    rows = (0, 1, 2**16, 2**17 - 1)
    words = jax.jit(lambda key: jnp.stack([random_words(key, (2**17, 2**16))[r] for r in rows]))(key)
    assert all(len(np.unique(words[:, i])) == len(rows) for i in range(8))
    assert np.abs(np.corrcoef(np.asarray(words, np.float64)) - np.eye(len(rows))).max() < 0.02
    np.testing.assert_array_equal(
        jax.jit(lambda key: random_words(key, (1, 2**16, 2**16 - 1))[0, 1])(key), random_words(key, (2, 2**16 - 1))[1]
    )


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys(impl):
    """Typed and raw keys, one at a time, in a vmap, in a jit and in loops: the same bits."""
    keys = folded(jax.random.key(3, impl=impl), 5)
    want = np.stack([random_words(key, (3, 4)) for key in keys])
    assert len(np.unique(want)) == want.size
    draw = jax.vmap(lambda key: random_words(key, (3, 4)))
    for got in (
        *(draw(keys), jax.jit(draw)(keys)),
        lax.scan(lambda c, key: (c, random_words(key, (3, 4))), 0, keys)[1],
        lax.fori_loop(0, 5, lambda t, out: out.at[t].set(random_words(keys[t], (3, 4))), jnp.zeros_like(want)),
        jax.jit(lambda keys: jnp.stack([random_words(key, (3, 4)) for key in keys]))(keys),
    ):
        np.testing.assert_array_equal(got, want)
    with jax.default_prng_impl(impl):
        np.testing.assert_array_equal(draw(jax.random.key_data(keys)), want)
        np.testing.assert_array_equal(
            keep_mask(jax.random.PRNGKey(3), 0.5, (9,)), keep_mask(jax.random.key(3), 0.5, (9,))
        )


def test_x64(key):
    want = np.asarray(random_words(key, (3, 50)))
    with jax.enable_x64(True):
        got = random_words(key, (3, 50))
        assert got.dtype == np.uint32
        np.testing.assert_array_equal(got, want)


def test_gradient(key):
    x = jnp.linspace(1.0, 2, 60).reshape(6, 10)
    kept = keep_mask(key, 0.3, x.shape)

    def drop(x):
        return jnp.where(keep_mask(key, 0.3, x.shape), x, 0)

    for grad in (jax.grad(lambda x: drop(x).sum()), jax.jit(jax.grad(lambda x: jax.checkpoint(drop)(x).sum()))):
        np.testing.assert_array_equal(grad(x), kept.astype(np.float32))
    np.testing.assert_array_equal(jax.jvp(drop, (x,), (x,))[1], jnp.where(kept, x, 0))


def test_one_trace_for_all_keys():
    traces = []

    @jax.jit
    def draw(key):
        traces.append(1)
        return keep_mask(key, 0.5, (8,))

    assert len({tuple(draw(jax.random.key(seed)).tolist()) for seed in range(20)}) > 10 and len(traces) == 1


SHARDED = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from kjax.nn.kernels.bits import random_words
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
key, shape = jax.random.key(0), (8, 12, 4)
want = np.asarray(random_words(key, shape))
for spec in (P("a"), P(None, "b"), P("b", "a"), P(("a", "b")), P(None, "a", "b"), P()):
    sharding = NamedSharding(mesh, spec)
    inside = lambda key: jax.lax.with_sharding_constraint(random_words(key, shape), sharding) ^ np.uint32(0)
    for got in (jax.jit(lambda key: random_words(key, shape), out_shardings=sharding)(key), jax.jit(inside)(key)):
        assert got.sharding.is_equivalent_to(sharding, 3), got.sharding
        np.testing.assert_array_equal(got, want)
text = jax.jit(lambda key: random_words(key, shape), out_shardings=NamedSharding(mesh, P("a", "b"))).lower(key)
text = text.compile().as_text()
assert "u32[4,6,4]" in text and not any(op in text for op in ("all-gather", "all-reduce", "all-to-all", "u32[8,12,4]"))
print(len(jax.devices()), "devices")
"""


def test_sharding():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "4 devices\n", done.stderr


def test_doctests():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed

"""What holds for every layer: each row of tests/cases.py runs through each test here."""

import dataclasses
import functools
import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from cases import CASES
from conftest import keras_allowed
from gradients import check_gradients

from kjax import nn
from kjax.nn.mask import plain, unmask
from kjax.weights import look_up, weight_paths

# The scope makes the tests of a row follow one another, so that they find what they compiled.
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id, scope="module")


def arrays(x, dtype=None):
    """The input (or each of a tuple of them) on the device."""
    return jax.tree.map(lambda a: jax.device_put(np.asarray(a, dtype)), x)  # NumPy's cast: JAX would compile one


def prepared(case, dtype=np.float32):
    """The layer's input, and its params and state with random numbers in them."""
    x = arrays(case.input(dtype))
    params, state = jax.eval_shape(case.layer.init, jax.random.key(0), x)
    return x, randomised(params), randomised(state, 1)


def one(y):
    """An output without its mask; of several outputs (of equal sizes) one array."""
    return jnp.stack([jnp.asarray(part) for part in plain(y)]) if isinstance(y, tuple | list) else unmask(y)[0]


@functools.partial(jax.jit, static_argnums=(0, 4))
def apply(layer, params, state, x, training, key=None):
    return apply_to_one(functools.partial(layer.apply, training=training, key=key), params, state, x)


def apply_to_one(step, params, state, x):
    y, state = step(params, state, x)
    return one(y), state


def output(layer, params, state, x, **options):
    return one(layer.apply(params, state, x, **options)[0])


def test_every_public_layer_has_a_row():
    public = {v for v in vars(nn).values() if inspect.isclass(v) and issubclass(v, nn.Layer)}
    assert public - {type(case.layer) for case in CASES} == {nn.Layer, nn.Composite, nn.Cell}  # bases of one's own


@every_case
def test_output_and_new_state_match_keras(case):
    x, params, state = prepared(case)
    if case.keras is None:
        given = jax.tree.map(np.asarray, x)
        expected = case.formula(*given) if case.several else case.formula(given)
        ours = apply(case.layer, params, state, x, False)[0]
        np.testing.assert_allclose(ours, one(expected), rtol=1e-6, atol=1e-6)
        return
    import keras

    with keras_allowed():
        theirs = case.keras(keras.layers)
        theirs.build([a.shape for a in x] if case.several else x.shape)
    for training in (False, not case.layer.draws):
        compare_with_keras(case, theirs, x, params, state, training)


def compare_with_keras(case, theirs, x, params, state, training):
    # The key is of no use, but then the program is that of the other tests.
    ours, new_state = apply(case.layer, params, state, x, training, jax.random.key(0) if training else None)
    paths = weight_paths(case.layer, x)
    weights = [[look_up({"params": params, "state": s}, p) for p in paths] for s in (state, new_state)]
    before, after = map(case.to_keras, weights)
    with keras_allowed():
        theirs.set_weights(before)
        expected = theirs(jax.tree.map(np.asarray, list(x) if case.several else x), training=training)
        moved = theirs.get_weights()
    # 2e-6: sums of up to a hundred products in another order.
    np.testing.assert_allclose(ours, one(expected), rtol=2e-6, atol=2e-6)
    for ours, value in zip(after, moved, strict=True):
        np.testing.assert_allclose(ours, value, rtol=2e-6, atol=1e-6)


@every_case
def test_gradients_are_right_to_second_order(case):
    with jax.enable_x64(True):
        if case.integers:  # the input does not say the weights' type
            case = dataclasses.replace(case, layer=case.layer.replace(dtype="float64"))
        x, params, state = prepared(case, np.float64)

        def run(params, x):
            y, new_state = case.layer.apply(params, state, x, training=case.smooth and not case.layer.draws)
            return jnp.sin(one(y)).sum() + case.layer.penalty(params, new_state)

        if not case.integers:
            check_gradients(run, params, x)
        elif params:
            check_gradients(lambda p: run(p, x), params)


@every_case
def test_jit_is_eager_and_vmap_is_a_loop(case):
    x, params, state = prepared(case)
    key = jax.random.key(1)

    def run(params, x):
        return output(case.layer, params, state, x, training=True, key=key)

    def compiled(params, x):
        return apply(case.layer, params, state, x, True, key)[0]

    # A fused multiply-add rounds once where two operations round twice.
    np.testing.assert_allclose(compiled(params, x), run(params, x), rtol=2e-6, atol=2e-6)
    many = jax.tree.map(lambda a: np.stack([a, a * np.asarray(2, a.dtype)]), params)
    xs = jax.tree.map(lambda a: np.stack([a, a]), x)
    loop = [compiled(jax.tree.map(lambda a, i=i: a[i], many), x) for i in range(2)]
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(many, xs), np.stack(loop), rtol=5e-6, atol=5e-6)


@every_case
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float64])  # float32 is everywhere else
def test_the_dtype_of_the_input_is_kept(case, dtype):
    if case.integers:
        case = dataclasses.replace(case, layer=case.layer.replace(dtype=dtype))
    with jax.enable_x64(dtype == jnp.float64):
        x = case.input(np.float64 if dtype == jnp.float64 else np.float32)
        x = arrays(x, None if case.integers else dtype)
        params, state = jax.eval_shape(case.layer.init, jax.random.key(0), x)
        if dtype == jnp.float64:  # its numbers are checked with the gradients
            step = functools.partial(case.layer.apply, training=True, key=jax.random.key(0))
            y, new_state = jax.eval_shape(lambda *args: apply_to_one(step, *args), params, state, x)
        else:
            params, state = randomised(params), randomised(state, 1)
            y, new_state = apply(case.layer, params, state, x, True, jax.random.key(0))
        assert y.dtype == dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype(dtype)}
        assert jax.tree.map(lambda a: a.dtype, new_state) == jax.tree.map(lambda a: a.dtype, state)
        # Within the small type's rounding of the float32 result.
        if dtype != jnp.float64 and not case.integers and not case.layer.draws:
            wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float32)), (params, state, x))
            reference = apply(case.layer, *wide, True, jax.random.key(0))[0]
            np.testing.assert_allclose(np.asarray(y, np.float32), reference, rtol=0.05, atol=0.06)


@every_case
def test_dtype_argument_computes_in_it(case):
    layer = case.layer.replace(dtype="bfloat16")
    x = arrays(case.input())
    params, state = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype(jnp.bfloat16)}
    y = jax.tree.leaves(plain(layer.output(params, state, x)))[0]
    assert y.dtype == (jnp.bfloat16 if not jnp.issubdtype(y.dtype, jnp.integer) else y.dtype)


@every_case
def test_mixed_precision_computes_small_and_keeps_float32(case):
    layer, x = case.layer.with_dtype("mixed_bfloat16"), case.spec()
    made = jax.eval_shape(layer.init, jax.random.key(0), x)
    specs = [leaf for leaf in jax.tree.leaves(made) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in specs} <= {jnp.dtype(jnp.float32)}
    step = functools.partial(case.layer.apply, training=True, key=jax.random.key(0))
    plainly, _ = jax.eval_shape(step, *made, x)
    y, new_state = jax.eval_shape(functools.partial(layer.apply, training=True, key=jax.random.key(0)), *made, x)
    assert jax.tree.map(lambda a: a.dtype, new_state) == jax.tree.map(lambda a: a.dtype, made[1])
    small = {jnp.dtype(jnp.float32): jnp.dtype(jnp.bfloat16)}
    assert jax.tree.map(lambda a: a.dtype, y) == jax.tree.map(lambda a: small.get(a.dtype, a.dtype), plainly)


@every_case
def test_equal_layers_are_equal_hash_alike_pickle_and_share_a_compilation(case):
    x, params, state = prepared(case)
    copy = pickle.loads(pickle.dumps(case.layer))
    assert copy == case.layer and hash(copy) == hash(case.layer) and copy is not case.layer
    assert case.layer.replace(name="other") != case.layer
    apply(case.layer, params, state, x, False)
    compiled = apply._cache_size()
    apply(copy, params, state, arrays(jax.tree.map(np.zeros_like, x)), False)
    assert apply._cache_size() == compiled


@every_case
def test_init_needs_only_shapes_and_its_key_decides(case):
    spec = case.spec()
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), spec)
    first, state = case.layer.init(jax.random.key(0), spec)
    again, _ = case.layer.init(jax.random.key(0), zeros)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other, _ = case.layer.init(jax.random.key(1), spec)
    drawn = [k for k in ("kernel", "embeddings") if k in first]
    assert all((first[k] != other[k]).any() for k in drawn)
    y = case.layer.output(first, state, spec)
    assert jax.tree.map(jnp.shape, y) == jax.tree.map(jnp.shape, case.layer.apply(first, state, zeros)[0])


@every_case
def test_frozen_layers_have_nothing_to_train(case):
    params, _ = case.layer.init(jax.random.key(0), arrays(case.input()))
    trainable, frozen = case.layer.partition(params)
    assert frozen == {} and jax.tree.structure(trainable) == jax.tree.structure(params)
    trainable, frozen = case.layer.replace(trainable=False).partition(params)
    assert trainable == {} and jax.tree.structure(nn.merge(trainable, frozen)) == jax.tree.structure(params)


def test_the_mean_over_steps_leaves_masked_ones_out():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    masked = nn.Masked(x, jnp.array([[True, True, False], [False, False, False]]))
    y, _ = nn.GlobalAveragePooling1D().apply({}, {}, masked)
    np.testing.assert_array_equal(unmask(y)[0], [[1.0, 2.0], [0.0, 0.0]])
    net = nn.Serial([nn.Embedding(5, 2, mask_zero=True), nn.GlobalAveragePooling1D()])
    ids = jnp.array([[1, 2, 0], [3, 0, 0]])
    params, state = net.init(jax.random.key(0), ids)
    table = params["embedding"]["embeddings"]
    y = output(net, params, state, ids)
    np.testing.assert_allclose(y, [(table[1] + table[2]) / 2, table[3]], rtol=1e-6)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv2D(4, 3, groups=2), (1, 5, 5, 3)), (nn.Conv2D(4, 3), (1, 5, 5))])
def test_groups_must_divide_channels(layer, shape):
    with pytest.raises(nn.LayerError, match=r"groups, which does not divide 3|rank 4"):
        layer.init(jax.random.key(0), jnp.zeros(shape))

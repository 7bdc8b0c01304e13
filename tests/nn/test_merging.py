"""What merges do with options, masks and types, against Keras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import layers, nn

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((2, 3, 4)).astype(np.float32), RNG.standard_normal((2, 3, 4)).astype(np.float32)
MASK_A = np.array([[True, True, False], [True, False, False]])
MASK_B = np.array([[True, False, False], [True, True, False]])
ELEMENTWISE = [nn.Add(), nn.Subtract(), nn.Multiply(), nn.Average(), nn.Maximum(), nn.Minimum()]


def masked(x, mask):
    return jnp.asarray(x) if mask is None else nn.Masked(jnp.asarray(x), jnp.asarray(mask))


def theirs(layer, arrays, masks=None, **options):
    """What Keras's layer of this name and these options gives, and its mask."""
    import keras
    from keras.src.backend import get_keras_mask, set_keras_mask

    with keras_allowed():
        made = getattr(keras.layers, type(layer).__name__)(**options)
        given = [keras.ops.convert_to_tensor(x) for x in arrays]
        for x, mask in zip(given, masks or (), strict=bool(masks)):
            if mask is not None:
                set_keras_mask(x, keras.ops.convert_to_tensor(mask))
        y = made(given)
        mask = get_keras_mask(y)
        return np.asarray(y), None if mask is None else np.asarray(mask)


def compare(layer, arrays, masks, **options):
    """Values and mask as Keras has them; where all is padding the value is anybody's guess."""
    y = layer.apply({}, {}, tuple(map(masked, arrays, masks)))[0]
    value, mask = (y.value, y.mask) if isinstance(y, nn.Masked) else (y, None)
    expected, wanted = theirs(layer, arrays, masks, **options)
    assert (mask is None) == (wanted is None)
    real = np.ones(expected.shape[:1], bool) if mask is None else wanted
    np.testing.assert_allclose(np.asarray(value)[real], expected[real], rtol=2e-6, atol=2e-6)
    if mask is not None:
        np.testing.assert_array_equal(mask, wanted)


@pytest.mark.parametrize("masks", [(MASK_A, MASK_B), (MASK_A, None), (None, MASK_B)], ids=["both", "first", "second"])
@pytest.mark.parametrize("layer", ELEMENTWISE, ids=repr)
def test_elementwise_merges_treat_masks_as_keras_does(layer, masks):
    compare(layer, (A, B), masks)


@pytest.mark.parametrize("masks", [(MASK_A, MASK_B), (MASK_A, None), (None, MASK_B), (None, None)])
@pytest.mark.parametrize("axis", [-1, 1])
def test_concatenated_masks_are_keras(axis, masks):
    compare(nn.Concatenate(axis), (A, B), masks, axis=axis)


def test_masks_of_unequal_lengths_are_concatenated():
    compare(nn.Concatenate(1), (A, B[:, :2]), (MASK_A, MASK_B[:, :2]), axis=1)


def test_masks_of_rows_stay_masks_of_rows():
    rows = jnp.array([True, False])
    a, b = (nn.Masked(jnp.asarray(x), rows) for x in (A, B))
    for layer in [*ELEMENTWISE, nn.Concatenate(), nn.Concatenate(1), nn.Dot(2)]:
        y = layer.apply({}, {}, (a, b))[0]
        np.testing.assert_array_equal(y.mask, rows)
    # A mask of steps beside one of rows: all steps of a real row are real.
    y = nn.Concatenate().apply({}, {}, (a, masked(B, MASK_B & rows[:, None])))[0]
    np.testing.assert_array_equal(y.mask, [[True] * 3, [False] * 3])


def test_a_dot_leaves_a_mask_of_rows():
    empty = MASK_A & [[True], [False]]
    y = nn.Dot(2).apply({}, {}, (masked(A, empty), masked(B, empty)))[0]
    np.testing.assert_array_equal(y.mask, [True, False])


def test_what_is_padding_in_one_input_has_no_gradient_there():
    def total(a):
        return nn.Maximum().apply({}, {}, (nn.Masked(a, MASK_A), masked(B, MASK_B)))[0].value[MASK_B].sum()

    slope = jax.grad(total)(jnp.asarray(A))
    assert (slope[~MASK_A] == 0).all() and np.isfinite(slope).all()


@st.composite
def dots(draw):
    """Two shapes, the axes that are summed over, and whether lengths are divided by."""
    n, ranks = draw(st.integers(1, 4)), (draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    axes = [draw(st.integers(1, rank - 1)) for rank in ranks]
    shapes = [[2, *draw(st.lists(st.integers(1, 3), min_size=rank - 1, max_size=rank - 1))] for rank in ranks]
    for shape, axis in zip(shapes, axes, strict=True):
        shape[axis] = n
    signed = [axis - rank if draw(st.booleans()) else axis for axis, rank in zip(axes, ranks, strict=True)]
    return shapes, signed[0] if signed[0] == signed[1] else tuple(signed), draw(st.booleans())


@settings(derandomize=True, deadline=None, max_examples=8, database=None)
@given(dots())
def test_dots_like_keras(drawn):
    shapes, axes, normalize = drawn
    a, b = (np.random.default_rng(1).standard_normal(shape).astype(np.float32) for shape in shapes)
    layer = nn.Dot(axes, normalize)
    expected, _ = theirs(layer, (a, b), axes=axes, normalize=normalize)
    ours = jax.jit(layer.apply)({}, {}, (a, b))[0]
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


@settings(derandomize=True, deadline=None, max_examples=6, database=None)
@given(st.data())
def test_concatenations_like_keras(data):
    rank = data.draw(st.integers(2, 4))
    axis = data.draw(st.integers(1, rank - 1))
    shape = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    arrays = [np.random.default_rng(n).random((*shape[:axis], n, *shape[axis + 1 :]), np.float32) for n in sizes]
    signed = data.draw(st.sampled_from([axis, axis - rank]))
    ours = jax.jit(nn.Concatenate(signed).apply)({}, {}, tuple(arrays))[0]
    np.testing.assert_array_equal(ours, theirs(nn.Concatenate(), arrays, axis=signed)[0])


def test_types_are_promoted():
    half, whole, numbers = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((2, 3)), jnp.ones((2, 3), jnp.int32)
    for layer in [*ELEMENTWISE, nn.Concatenate(), nn.Dot(1)]:
        kept = jnp.float32 if isinstance(layer, nn.Average | nn.Dot) else jnp.int32
        assert layer.apply({}, {}, (half, whole))[0].dtype == jnp.float32
        assert layer.apply({}, {}, (numbers, numbers))[0].dtype == kept


def test_the_cosine_of_nothing_is_zero_and_so_is_its_slope():
    @jax.jit
    def cosine(a, b):
        return nn.Dot(1, normalize=True).apply({}, {}, (a, b))[0].sum()

    zeros, ones = jnp.zeros((1, 3), jnp.float16), jnp.ones((1, 3), jnp.float16)
    assert cosine(zeros, ones) == 0 and cosine(ones * 300, ones) == pytest.approx(1, rel=2e-3)
    # 1e7, which float16 does not hold.
    assert np.isfinite(jax.jit(jax.grad(cosine))(zeros.astype(jnp.float32), ones.astype(jnp.float32))).all()


def test_functions_on_nodes_are_keras():
    def build(layers, enter, join):
        a, b = enter((4,)), enter((4,))
        pairs = [layers.add([a, b]), layers.subtract([a, b]), layers.multiply([a, b]), layers.average([a, b])]
        pairs += [layers.maximum([a, b]), layers.minimum([a, b])]
        return join([a, b], layers.concatenate([*pairs, layers.dot([a, b])], axis=1))

    a, b = A[:, 0], B[:, 0]
    ours = build(layers, nn.Input, nn.Graph).apply({}, {}, (jnp.asarray(a), jnp.asarray(b)))[0]
    with keras_allowed():
        import keras

        expected = build(keras.layers, keras.Input, keras.Model)([a, b])
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


def test_merge_of_params_is_no_layer():
    assert nn.merge({"a": 1}, {"b": 2}) == {"a": 1, "b": 2} and not hasattr(nn, "add")

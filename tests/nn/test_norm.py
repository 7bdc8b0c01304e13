"""Normalisation: against PyTorch (tests/recorded/record_norms.py) and Keras, far from zero, in half precision."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st

import kjax
from kjax import nn

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "norms.npz", allow_pickle=False)
FIRST = {"data_format": "channels_first"}
LAYERS = {
    "layer_norm": nn.LayerNormalization(),
    "layer_norm_of_all": nn.LayerNormalization((1, 2, 3), epsilon=1e-5),
    "rms_norm": nn.RMSNormalization(),
    "group_norm": nn.GroupNormalization(3, axis=1),
    "group_norm_of_one": nn.GroupNormalization(1, axis=1),
    "group_norm_of_vectors": nn.GroupNormalization(2),
    "instance_norm": nn.InstanceNormalization(axis=1),
    "weight_norm": nn.WeightNorm(nn.Dense(3)),
    "weight_norm_whole": nn.WeightNorm(nn.Dense(3), axis=None),
    "weight_norm_conv": nn.WeightNorm(nn.Conv2D(2, (2, 3), **FIRST)),
    "spectral_norm": nn.SpectralNormalization(nn.Dense(3)),
    "spectral_norm_conv": nn.SpectralNormalization(nn.Conv2D(2, (2, 3), **FIRST), power_iterations=3),
}
KEY = jax.random.key(0)


def as_kjax_has_it(layer, prefix):
    """PyTorch's weights, or their gradients, under our names and in our layout."""
    found = {k.rsplit("/", 1)[1]: RECORDED[k] for k in RECORDED.files if k.startswith(f"{prefix}/") and k[-2:] != "/x"}
    if not isinstance(layer, nn.WeightNorm | nn.SpectralNormalization):
        names = {"weight": "scale" if isinstance(layer, nn.RMSNormalization) else "gamma", "bias": "beta"}
        return {names[name]: jnp.asarray(a) for name, a in found.items()}
    kernel = np.moveaxis(found["weight_v" if "weight_v" in found else "weight_orig"], (0, 1), (-1, -2))
    inner = {layer.names[0]: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(found["bias"])}}
    return inner | ({"g": jnp.asarray(found["weight_g"].squeeze())} if "weight_g" in found else {})


@pytest.mark.parametrize("case", LAYERS)
def test_output_and_gradients_match_pytorch(case):
    with jax.enable_x64(True):
        layer, x = LAYERS[case], jnp.asarray(RECORDED[f"{case}/x"])
        params = as_kjax_has_it(layer, f"{case}/params")
        state = {"vector_u": jnp.asarray(RECORDED[f"{case}/u"])[None]} if f"{case}/u" in RECORDED else {}
        shapes = jax.eval_shape(layer.init, KEY, x)
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, (params, state))

        @jax.jit
        def run(params, x):
            y, new_state = layer.apply(params, state, x, training=True)
            return (jnp.cos(jnp.arange(1, y.size + 1)).reshape(y.shape) * y).sum(), (y, new_state)

        (grads, along_x), (y, new_state) = jax.grad(run, (0, 1), has_aux=True)(params, x)
        wanted = as_kjax_has_it(layer, f"{case}/grad"), RECORDED[f"{case}/grad/x"]
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)  # noqa: E731
        close(y, RECORDED[f"{case}/y"])
        jax.tree.map(close, (grads, along_x), wanted)
        if state:
            close(new_state["vector_u"][0], RECORDED[f"{case}/moved"])


@st.composite
def options(draw):
    """A layer with random options, its Keras twin, and the shape of an input."""
    rank = draw(st.integers(2, 4))
    sizes = (3, 6, 6, 6)[:rank]
    shared = {name: draw(st.booleans()) for name in ("center", "scale")}
    shared["epsilon"] = draw(st.sampled_from([1e-5, 1e-3, 0.5]))
    if draw(st.booleans()):
        axes = draw(st.lists(st.integers(1, rank - 1), min_size=1, unique=True))
        sign = draw(st.sampled_from([0, rank]))
        layer = nn.LayerNormalization([a - sign for a in axes], **shared)
        return layer, lambda k: k.LayerNormalization(axes, **shared), sizes
    axis = draw(st.integers(1, rank - 1))
    groups = draw(st.sampled_from([-1, 1, 2, 3]))
    sign = draw(st.sampled_from([0, rank]))
    layer = nn.GroupNormalization(groups, axis - sign, **shared)
    return layer, lambda k: k.GroupNormalization(groups, axis, **shared), sizes


@settings(derandomize=True, deadline=None, max_examples=8, database=None)
@given(options())
def test_random_options_match_keras(case):
    import keras

    layer, twin, shape = case
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    params = randomised(layer.init(KEY, x)[0])
    ours = jax.jit(layer.apply)(params, {}, x)[0]
    with keras_allowed():
        theirs = twin(keras.layers)
        theirs.build(shape)
        theirs.set_weights([params[name] for name in ("gamma", "beta") if name in params])
        expected = theirs(x)
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


FAR = {
    "layer": (nn.LayerNormalization(epsilon=0.0), (2,)),
    "group": (nn.GroupNormalization(2, epsilon=0.0), None),
    "instance": (nn.InstanceNormalization(epsilon=0.0), (1,)),
    "batch": (nn.BatchNormalization(epsilon=0.0), (0, 1)),
}


@pytest.mark.parametrize("name", FAR)
def test_a_mean_of_ten_thousand_takes_nothing_from_a_variance_of_one(name):
    """Against float64 on the same float32 numbers: sums of 4,096 numbers near 10,000 would be off by 1% of it."""
    layer, axes = FAR[name]
    x = (1e4 + np.random.default_rng(0).standard_normal((4, 4096, 8))).astype("float32")
    x = x if name != "layer" else x.swapaxes(1, 2)
    wide = x.astype(np.float64)
    if axes is None:
        wide = wide.reshape(4, 4096, 2, 4)
        axes = (1, 3)
    expected = ((wide - wide.mean(axes, keepdims=True)) / wide.std(axes, keepdims=True)).reshape(x.shape)
    y = jax.jit(lambda x: layer.apply(*layer.init(KEY, x), x, training=True)[0])(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


WITHIN = nn.LayerNormalization(), nn.GroupNormalization(2), nn.RMSNormalization(), nn.UnitNormalization()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("layer", WITHIN, ids=repr)
def test_statistics_of_half_precision_are_those_of_float32(layer, dtype):
    """Squares of 1,000 overflow float16; the output is the float32 one, rounded once."""
    x = (1000 * jax.random.normal(KEY, (2, 300, 4))).astype(dtype)
    y = layer.apply(*layer.init(KEY, x), x)[0]
    exact = layer.apply(*layer.init(KEY, x.astype(jnp.float32)), x.astype(jnp.float32))[0]
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, exact.astype(dtype))


def test_equal_numbers_have_finite_gradients():
    @jax.jit
    def slopes(x):
        return [jax.grad(lambda x, own=layer: jnp.sin(own.apply(*own.init(KEY, x), x)[0]).sum())(x) for layer in WITHIN]

    for value in (0.0, 2.0):
        assert np.isfinite(slopes(jnp.full((2, 3, 4), value))).all()


def test_the_mask_goes_round():
    x = nn.Masked(jnp.ones((2, 3, 4)), jnp.array([[True, True, False], [True, False, False]]))
    for layer in (nn.LayerNormalization(), nn.GroupNormalization(2), nn.SpectralNormalization(nn.Dense(4))):
        y, _ = layer.apply(*layer.init(KEY, x), x)
        np.testing.assert_array_equal(y.mask, x.mask)


# Kernels


def test_the_kernel_that_the_layer_is_called_with():
    x = jax.random.normal(KEY, (5, 4))
    for wrapper in (nn.WeightNorm, nn.SpectralNormalization):
        layer = wrapper(nn.Dense(3, "tanh"))
        params, state = layer.init(KEY, x)
        inner = layer.effective(params, state)["dense"]
        np.testing.assert_array_equal(layer.apply(params, state, x)[0], nn.Dense(3, "tanh").apply(inner, {}, x)[0])
    layer = nn.WeightNorm(nn.Dense(3))
    params, state = layer.init(KEY, x)
    np.testing.assert_allclose(
        layer.apply(params, state, x)[0], nn.Dense(3).apply(params["dense"], {}, x)[0], rtol=1e-6, atol=1e-6
    )


def test_the_spectral_vector_moves_in_training_alone():
    layer = nn.SpectralNormalization(nn.Dense(3))
    params, state = layer.init(KEY, jnp.ones((1, 4)))
    assert layer.apply(params, state, jnp.ones((2, 4)))[1] == state
    moved = layer.apply(params, state, jnp.ones((2, 4)), training=True)[1]
    assert (moved["vector_u"] != state["vector_u"]).any()
    assert layer.replace(trainable=False).apply(params, state, jnp.ones((2, 4)), training=True)[1] == state
    zeros = {"dense": {**params["dense"], "kernel": jnp.zeros((4, 3))}}
    y, same = layer.apply(zeros, state, jnp.ones((2, 4)), training=True)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(same["vector_u"], state["vector_u"])


def test_wrappers_pass_on_what_is_asked_of_them():
    dense = nn.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm", bias_regularizer="l1")
    x = jnp.ones((1, 4))
    layer = nn.WeightNorm(dense)
    params, state = layer.init(KEY, x)
    params = randomised(params)
    params["g"] = 5 + params["g"]
    inner = layer.effective(params, state)["dense"]
    np.testing.assert_allclose(layer.penalty(params, state), dense.penalty(inner, {}), rtol=1e-6)
    fixed = layer.constrain(params)
    np.testing.assert_allclose(fixed["g"], [2, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(
        layer.effective(fixed, {})["dense"]["kernel"], dense.constrain(inner)["kernel"], rtol=1e-6
    )
    unconstrained = nn.WeightNorm(nn.Dense(3))
    jax.tree.map(np.testing.assert_array_equal, unconstrained.constrain(params), params)
    for frozen in (nn.WeightNorm(dense, trainable=False), nn.WeightNorm(dense.replace(trainable=False))):
        assert frozen.partition(params) == ({}, params)
    spectral = nn.SpectralNormalization(dense.replace(trainable=False))
    assert spectral.partition({"dense": params["dense"]}) == ({}, {"dense": params["dense"]})


@pytest.mark.parametrize("wrapper", [nn.WeightNorm, nn.SpectralNormalization])
def test_wrapped_layers_train_in_a_model_and_embeddings_are_kernels(wrapper):
    model = kjax.Sequential([wrapper(nn.Embedding(9, 4)), nn.Flatten(), wrapper(nn.Dense(2, name="head"))], seed=0)
    model.compile("adam", "mse")
    x, y = np.arange(8).reshape(4, 2), np.ones((4, 2), "float32")
    first = model.train_on_batch(x, y)
    for _ in range(20):
        last = model.train_on_batch(x, y)
    assert last < first
    name = model.net.names[-1]
    # What is seen of the layers inside is what the model computes.
    inner = model.activations(x, f"{name}/head")[f"{name}/head"]
    np.testing.assert_allclose(inner, model.predict(x, verbose=0), rtol=1e-6)

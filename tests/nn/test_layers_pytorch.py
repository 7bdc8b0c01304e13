"""Layers against PyTorch's outputs and gradients in float64, recorded by tests/recorded/record_layers.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import nn

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "layers.npz", allow_pickle=False)
FIRST = {"data_format": "channels_first"}
LAYERS = {
    "dense": nn.Dense(3),
    "dense_many_axes": nn.Dense(3, use_bias=False),
    "conv": nn.Conv2D(3, (3, 2), **FIRST),
    "conv_one_channel": nn.Conv2D(3, 3, **FIRST),
    "conv_pointwise": nn.Conv2D(3, 1, **FIRST),
    "conv_strided": nn.Conv2D(3, 3, strides=(2, 3), **FIRST),
    "conv_same": nn.Conv2D(3, (3, 5), padding="same", **FIRST),
    "conv_dilated": nn.Conv2D(3, 3, dilation_rate=(2, 3), **FIRST),
    "conv_dilated_same": nn.Conv2D(3, 3, dilation_rate=2, padding="same", use_bias=False, **FIRST),
    "max_pooling": nn.MaxPooling2D(2, **FIRST),
    "max_pooling_overlapping": nn.MaxPooling2D((3, 2), strides=(2, 1), **FIRST),
    "average_pooling": nn.AveragePooling2D(2, **FIRST),
    "average_pooling_overlapping": nn.AveragePooling2D((3, 2), strides=(2, 1), **FIRST),
    "average_pooling_edge": nn.AveragePooling2D(3, strides=1, padding="same", **FIRST),
    "max_pooling_edge": nn.MaxPooling2D(3, strides=1, padding="same", **FIRST),
    "global_max_pooling": nn.GlobalMaxPooling2D("channels_first"),
    "global_average_pooling": nn.GlobalAveragePooling2D("channels_first"),
    "zero_padding": nn.ZeroPadding2D(((3, 0), (1, 2)), **FIRST),
    "flatten": nn.Flatten(),
    "batch_norm": nn.BatchNormalization(),
    "batch_norm_pictures": nn.BatchNormalization(axis=1, momentum=0.8),
    "batch_norm_inference": nn.BatchNormalization(axis=1),
}


def part(case, prefix):
    return {key.rsplit("/", 1)[1]: RECORDED[key] for key in RECORDED.files if key.startswith(f"{case}/{prefix}/")}


def test_every_recorded_layer_is_compared():
    assert {key.split("/")[0] for key in RECORDED.files} == set(LAYERS)


@pytest.mark.parametrize("case", LAYERS)
def test_output_and_gradients_match_pytorch(case):
    with jax.enable_x64(True):
        layer, x = LAYERS[case], jnp.asarray(RECORDED[f"{case}/x"])
        params = {name: jnp.asarray(a) for name, a in part(case, "params").items()}
        state = {name: jnp.asarray(a) for name, a in part(case, "state").items()}
        wanted, moved = part(case, "grad"), part(case, "moved")
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, (params, state))

        @jax.jit
        def run(params, x):
            y, new_state = layer.apply(params, state, x, training=bool(moved))
            return (jnp.cos(jnp.arange(1, y.size + 1)).reshape(y.shape) * y).sum(), (y, new_state)

        (grads, along_x), (y, new_state) = jax.grad(run, (0, 1), has_aux=True)(params, x)
        # 1e-12: sums of up to a hundred products, in another order.
        for got, expected in [
            (y, RECORDED[f"{case}/y"]),
            *((g, wanted[n]) for n, g in {**grads, "x": along_x}.items()),
        ]:
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
        if moved:
            np.testing.assert_allclose(new_state["moving_mean"], moved["moving_mean"], rtol=1e-12)
            # PyTorch moves towards the unbiased variance, Keras 3 and kjax towards the biased one.
            count = x.size // x.shape[1]
            step = (moved["moving_variance"] - layer.momentum * state["moving_variance"]) * (count - 1) / count
            np.testing.assert_allclose(
                new_state["moving_variance"], layer.momentum * state["moving_variance"] + step, rtol=1e-12
            )

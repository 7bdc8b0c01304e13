"""Transposed convolution: the transpose of a convolution, with its errors. The options are in test_convolutions.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax.nn.kernels import conv, conv_transpose


@pytest.mark.parametrize("channels", [3, 12])
def test_it_is_the_transpose_of_a_convolution(channels):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, big, kernel = (
            jnp.asarray(rng.standard_normal(s)) for s in ((2, 4, 3, 5), (2, 8, 6, channels), (3, 4, channels, 5))
        )
        y = conv_transpose(x, kernel, 2, "same")
        np.testing.assert_allclose(jnp.vdot(y, big), jnp.vdot(x, conv(big, kernel, 2, "same")), rtol=1e-12)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 4, 3), (2, 3, 5)), {}, r"kernel \(\*taps, filters, channels\)"),
        (((1, 4, 3), (2, 5, 3)), {"padding": "causal"}, "'valid' or 'same'; got 'causal'"),
        (((1, 4, 3), (2, 5, 3)), {"output_padding": 1}, r"below strides=\(1,\); got 1"),
        (((1, 4, 3), (2, 5, 3)), {"output_padding": (0, 0)}, r"got \(0, 0\)"),
        (((1, 4, 3), (2, 5, 3)), {"strides": 0}, "conv_transpose: strides is one positive integer"),
    ],
)
def test_errors_say_what_is_wrong(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        conv_transpose(*map(jnp.zeros, shapes), **options)

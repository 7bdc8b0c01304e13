"""Rows of `kjax.nn.recolor`, `kjax.nn.contrast`, `kjax.nn.warp` and `kjax.nn.policies`.

A layer that draws is what it is in inference here; tests/nn/test_recolor.py has what it is in training.
"""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from kjax import nn

RANGE = (-4, 4)
PICTURES = (2, 4, 5, 3)


def same(x):
    return x


def equalised(x):
    y = np.empty(x.shape)
    for i, c in np.ndindex(x.shape[0], x.shape[-1]):
        bins = np.floor((x[i, ..., c].astype("float64") + 4) / 8 * 7)
        below = (bins.ravel() <= bins[..., None]).sum(-1) - (bins == bins.min()).sum()
        y[i, ..., c] = np.round(below * 255 / (bins.size - (bins == bins.min()).sum())) / 255 * 8 - 4
    return y


ROWS = [
    Case(nn.RandomColorDegeneration(0.5, RANGE), PICTURES, formula=same),
    Case(nn.RandomSaturation(0.5, RANGE), PICTURES, formula=same),
    Case(nn.RandomHue(0.5, RANGE), PICTURES, formula=same),
    Case(nn.RandomPosterization((3, 5), RANGE), PICTURES, formula=same),
    Case(nn.RandomSharpness(0.5, RANGE), PICTURES, formula=same),
    Case(nn.Solarization(0.5, 0.5, RANGE), PICTURES, formula=same),
    Case(nn.RandomInvert((0.2, 0.9), RANGE), PICTURES, formula=same),
    Case(nn.RandomGrayscale(0.3), PICTURES, formula=same),
    Case(nn.RandomColorJitter(RANGE, 0.2, 0.3, 0.4, 0.5), PICTURES, formula=same),
    Case(nn.RandomShear(0.3, (0.1, 0.2)), PICTURES, formula=same),
    Case(nn.RandomPerspective(1.0, 0.5), PICTURES, formula=same),
    Case(nn.RandomElasticTransform(value_range=RANGE), PICTURES, formula=same),
    Case(nn.RandomGaussianBlur(1.0, (3, 5), value_range=RANGE), PICTURES, formula=same),
    Case(nn.RandomErasing(value_range=RANGE), PICTURES, formula=same),
    Case(nn.RandAugment(RANGE), PICTURES, formula=same),
    Case(nn.AugMix(RANGE, 2, 2, all_ops=False), PICTURES, formula=same),
    Case(nn.AutoContrast(RANGE), PICTURES, lambda k: k.AutoContrast(RANGE)),
    Case(nn.Equalization(RANGE, 8), PICTURES, formula=equalised),
    Case(nn.ContrastLimitedAdaptiveHistogramEqualization(RANGE, 40.0, (2, 3)), (2, 7, 9, 2),
         lambda k: k.ContrastLimitedAdaptiveHistogramEqualization(RANGE, 40.0, (2, 3))),
]  # fmt: skip


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


MISTAKES = {
    "a hue of two channels": (lambda: init(nn.RandomHue(0.1), (2, 3, 3, 2)), ["RandomHue(", "three channels", "(2, 3, 3, 2)"]),
    "a saturation of 3": (lambda: nn.RandomSaturation(3), ["RandomSaturation: factor", "[0, 1]", "3"]),
    "nine bits": (lambda: nn.RandomPosterization(9), ["RandomPosterization: factor", "[1, 8]", "9"]),
    "a range of one": (lambda: nn.RandomSharpness(0.1, (1, 1)), ["RandomSharpness: value_range", "(1, 1)"]),
    "a threshold of text": (lambda: nn.Solarization(0.1, "a"), ["Solarization: threshold_factor", "'a'"]),
    "a chance above 1": (lambda: nn.RandomGrayscale(1.5), ["RandomGrayscale: factor", "1.5"]),
    "a jitter of hue 2": (lambda: nn.RandomColorJitter(hue_factor=2), ["RandomHue: factor", "2"]),
    "a jitter of grey": (lambda: init(nn.RandomColorJitter(hue_factor=0.2), (2, 3, 3, 1)), ["RandomHue", "three channels"]),
    "a shear by 2": (lambda: nn.RandomShear(2), ["RandomShear: x_factor", "[-1, 1]", "2"]),
    "an unknown fill of a shear": (lambda: nn.RandomShear(0.1, fill_mode="wrapp"), ["RandomShear: unknown fill_mode", "Did you mean 'wrap'?"]),
    "a perspective of scale 2": (lambda: nn.RandomPerspective(scale=2), ["RandomPerspective: scale", "2"]),
    "an elastic interpolation": (lambda: nn.RandomElasticTransform(interpolation="cubic"), ["RandomElasticTransform: unknown interpolation 'cubic'"]),
    "an even kernel": (lambda: nn.RandomGaussianBlur(kernel_size=4), ["RandomGaussianBlur: kernel_size is odd", "4"]),
    "a cover of two colours": (lambda: init(nn.RandomErasing(fill_value=(0, 1)), (2, 3, 3, 3)), ["RandomErasing", "fill_value=(0, 1)", "each channel"]),
    "no changes": (lambda: nn.RandAugment(num_ops=0), ["RandAugment: num_ops", "0"]),
    "no chains": (lambda: nn.AugMix(num_chains=0), ["AugMix: num_chains", "0"]),
    "one bin": (lambda: nn.Equalization(bins=1), ["Equalization: bins", "1"]),
    "three tiles": (lambda: nn.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(1, 2, 3)), ["tile_grid_size", "(1, 2, 3)"]),
    "a negative limit": (lambda: nn.ContrastLimitedAdaptiveHistogramEqualization(clip_limit=-1), ["clip_limit", "-1"]),
}  # fmt: skip

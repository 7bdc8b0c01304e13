"""Rows of `kjax.nn.spectrogram`, `kjax.nn.crossing` and `kjax.nn.jax_layer`."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
from case import Case

from kjax import nn


def run(params, inputs):
    return inputs * params["scale"]


def squashed(inputs):
    return jnp.tanh(inputs)


def mel_power(x):
    pieces = np.pad(x[0].astype("float64"), 8, mode="reflect")
    pieces = np.stack([pieces[i : i + 16] for i in range(0, len(pieces) - 15, 6)])
    power = abs(np.fft.rfft(pieces * np.pad(scipy.signal.get_window("hamming", 12), 2))) ** 2
    mel, edges = (2595 * np.log10(1 + np.asarray(hertz) / 700) for hertz in (np.arange(9) * 50.0, (20, 390)))
    edges = np.linspace(*edges, 7)
    bands = [np.interp(mel, edges[i : i + 3], (0, 1, 0)) for i in range(5)]
    return (power @ np.transpose(bands)).T[None]


def mix32(h):
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


def crossed(*columns):
    """The hash as its docstring says it, in Python's own integers; floats are cut off."""
    bins = []
    for row in zip(*(column.astype(int).tolist() for column in columns), strict=True):
        seen = 0
        for value in row:
            seen = mix32(mix32(seen ^ value % 2**32) ^ value % 2**64 >> 32)
        bins.append(seen % 7)
    return np.eye(7)[bins]


ROWS = [
    Case(nn.MelSpectrogram(16, 6, 12, "hamming", 800, 5, 20, 390, power_to_db=False), (1, 40), formula=mel_power),
    Case(nn.STFTSpectrogram("psd", 6, 2, 8, periodic=True, scaling="spectrum", padding="same", expand_dims=True), (2, 11, 2),
         lambda k: k.STFTSpectrogram("psd", 6, 2, 8, periodic=True, scaling="spectrum", padding="same", expand_dims=True)),
    Case(nn.HashedCrossing(7, "one_hot"), ((5,), (5,)), formula=crossed),
    Case(nn.JaxLayer(squashed), (2, 4), formula=np.tanh),
]  # fmt: skip


def init(layer, *shapes):
    return layer.init(jax.random.key(0), tuple(map(jnp.ones, shapes)) if len(shapes) > 1 else jnp.ones(shapes[0]))


MISTAKES = {
    "a piece beyond the transform": (lambda: nn.MelSpectrogram(16, sequence_length=17), ["MelSpectrogram: fft_length=16", "17"]),
    "bands above half of the rate": (lambda: nn.MelSpectrogram(min_freq=9e3), ["min_freq=9000.0", "max_freq=8000"]),
    "an unknown window": (lambda: nn.MelSpectrogram(window="han"), ["unknown window 'han'", "Did you mean 'hann'?", "scipy.signal.get_window"]),
    "a window of two": (lambda: nn.STFTSpectrogram(frame_length=4, window=(1, 1)), ["window has 2 numbers", "4 samples"]),
    "too little sound": (lambda: init(nn.MelSpectrogram(16), (2, 8)), ["mirrors 8 samples", "(2, 8)"]),
    "an unknown spectrogram": (lambda: nn.STFTSpectrogram("lgo"), ["STFTSpectrogram: unknown mode 'lgo'", "Did you mean 'log'?"]),
    "a step beyond the frame": (lambda: nn.STFTSpectrogram(frame_length=4, frame_step=5), ["STFTSpectrogram: frame_step", "5"]),
    "a transform of less than a frame": (lambda: nn.STFTSpectrogram(frame_length=4, fft_length=2), ["STFTSpectrogram: fft_length", "2"]),
    "a crossing of one": (lambda: init(nn.HashedCrossing(5), (3,)), ["HashedCrossing(5) takes a tuple of two or more inputs"]),
    "a crossing of two sizes": (lambda: init(nn.HashedCrossing(5), (3,), (4,)), ["inputs of one shape", "(3,)", "(4,)"]),
    "a crossing that counts": (lambda: nn.HashedCrossing(5, "count"), ["HashedCrossing", "'count'"]),
    "a function of x": (lambda: nn.JaxLayer(lambda x: x), ["JaxLayer: call_fn", "'x'", "inputs"]),
    "a function of nothing": (lambda: nn.JaxLayer(lambda params: params), ["must have an argument 'inputs'"]),
    "weights that nothing makes": (lambda: nn.JaxLayer(run), ["pass init_fn"]),
    "arrays in a layer": (lambda: nn.JaxLayer(run, params={}), ["params=", "init_fn=lambda inputs: params"]),
    "no function": (lambda: nn.JaxLayer(3), ["call_fn is a function", "3"]),
}  # fmt: skip

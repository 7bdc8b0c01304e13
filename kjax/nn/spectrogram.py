"""Layers that turn sound into pictures: how strong each frequency is, from one short time to the next."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.dtypes import at_least_float32
from kjax.frozen import require_between, require_int, suggest
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_last
from kjax.nn.layer import Layer, Params, State

WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}
MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
TINY = 1e-7


class MelSpectrogram(Layer):
    """The power of sound in bands that the ear tells apart: (batch, samples) -> (batch, num_mel_bins, time).

    The signal is mirrored at its ends, cut into windowed pieces, and transformed; the magnitudes to the power
    `mag_exp` are summed in triangular bands of equal width on the mel scale, `1127 log(1 + hertz / 700)`.

    Args:
        fft_length: how many samples the Fourier transform takes.
        sequence_stride: samples from one piece to the next.
        sequence_length: samples of a piece; None for `fft_length`, which is the most.
        window: "hann", "hamming", a number for each sample of a piece, or None (where Keras 3.15 takes pieces of
            `fft_length` samples).
        sampling_rate: samples per second.
        num_mel_bins: how many bands there are.
        min_freq: the lowest frequency of the bands, in hertz.
        max_freq: the highest; None for half of the sampling rate.
        power_to_db: whether to give decibels: `10 log10(power / ref_power)`.
        top_db: what is more decibels than this below an example's loudest becomes that much below. (Keras 3.15 looks at
            the loudest of the batch.)
        mag_exp: 1 for magnitudes, 2 for powers.
        min_power: smaller powers count as this.
        ref_power: what has 0 decibels.

    Raises:
        ValueError: lengths or frequencies that do not fit each other.
        LayerError: fewer samples than are mirrored, `fft_length / 2 + 1`.

    >>> layer = MelSpectrogram(fft_length=256, sequence_stride=128, num_mel_bins=20, sampling_rate=8000)
    >>> layer.apply({}, {}, jnp.ones((2, 1024)))[0].shape
    (2, 20, 9)
    """

    fft_length: int = 2048
    sequence_stride: int = 512
    sequence_length: int | None = None
    window: Any = "hann"
    sampling_rate: int = 16000
    num_mel_bins: int = 128
    min_freq: float = 20.0
    max_freq: float | None = None
    power_to_db: bool = True
    top_db: float = 80.0
    mag_exp: float = 2.0
    min_power: float = 1e-10
    ref_power: float = 1.0

    ndim = 2
    axes = "(batch, samples)"
    computes_wide = True

    def validate(self) -> None:
        for name in ("fft_length", "sequence_stride", "sampling_rate", "num_mel_bins"):
            require_int(getattr(self, name), name, "MelSpectrogram")
        require_int(self.length, "sequence_length", "MelSpectrogram")
        if self.length > self.fft_length:
            raise ValueError(f"MelSpectrogram: fft_length={self.fft_length} is below sequence_length={self.length}")
        if not 0 <= self.min_freq < self.highest:
            raise ValueError(f"MelSpectrogram: min_freq={self.min_freq} is not below max_freq={self.highest}")
        window_of(self.window, self.length, "MelSpectrogram")

    @property
    def length(self) -> int:
        """Samples of a piece."""
        return self.sequence_length or self.fft_length

    @property
    def highest(self) -> float:
        """The highest frequency of the bands, in hertz."""
        return self.max_freq or self.sampling_rate // 2

    def check_input(self, x: Any) -> None:
        if x.shape[1] <= self.fft_length // 2:
            self.refuse(f"mirrors {self.fft_length // 2} samples at each end", x, "pass a smaller fft_length")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wide = x.astype(at_least_float32(x.dtype))
        before = (self.fft_length - self.length) // 2
        behind = self.fft_length - self.length - before
        window = np.pad(window_of(self.window, self.length, "MelSpectrogram"), (before, behind))
        mirrored = jnp.pad(wide, ((0, 0), (self.fft_length // 2, self.fft_length // 2)), mode="reflect")
        starts = np.arange(0, mirrored.shape[1] - self.fft_length + 1, self.sequence_stride)
        pieces = mirrored[:, starts[:, None] + np.arange(self.fft_length)]
        found = jnp.fft.rfft(pieces * jnp.asarray(window, wide.dtype)[None, None])
        power = found.real**2 + found.imag**2
        bands = mel_bands(self.num_mel_bins, power.shape[-1], self.sampling_rate, self.min_freq, self.highest)
        y = jnp.einsum("btf,fm->bmt", raised(power, self.mag_exp / 2), jnp.asarray(bands, wide.dtype))
        return (self._decibels(y) if self.power_to_db else y).astype(x.dtype), state

    def _decibels(self, power: jax.Array) -> jax.Array:
        loud = 10 * jnp.log10(jnp.maximum(power, self.min_power))
        loud = loud - 10 * math.log10(max(abs(self.ref_power), self.min_power))
        return jnp.maximum(loud, loud.max((1, 2), keepdims=True) - self.top_db)


class STFTSpectrogram(Windowed):
    """The Fourier transform of short pieces of sound, by kernels that can be trained.

    Args:
        mode: "log" of the magnitude, "magnitude", "psd" (the power, that of negative frequencies included), "real",
            "imag", "angle", or "stft" for the real parts and then the imaginary ones.
        frame_length: samples of a piece.
        frame_step: samples from one piece to the next; None for half of a piece.
        fft_length: what the frequencies are multiples of the inverse of, at least `frame_length`; None for the next
            power of two.
        window: "hann", "hamming", a number for each sample of a piece, or None.
        periodic: whether a named window is a period of its wave, rather than symmetric.
        scaling: what the window is divided by: "density" for the root of its sum of squares, "spectrum" for its sum,
            or None.
        padding: "valid", or "same" for zeros at both ends.
        expand_dims: whether frequencies have an axis of their own.
        data_format: "channels_last" (the default) or "channels_first".

    Shapes: (batch, samples, channels) -> (batch, time, channels * frequencies), or with `expand_dims` (batch, time,
    frequencies, channels); with channels first (batch, channels * frequencies, time) and (batch, channels, time,
    frequencies). There are `fft_length / 2 + 1` frequencies. `trainable=False` keeps the kernels as they are.

    >>> layer = STFTSpectrogram(frame_length=8, frame_step=4)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 32, 2)))
    >>> layer.apply(params, state, jnp.ones((1, 32, 2)))[0].shape, sorted(params)
    ((1, 7, 10), ['imag_kernel', 'real_kernel'])
    """

    mode: str = "log"
    frame_length: int = 256
    frame_step: int | None = None
    fft_length: int | None = None
    window: Any = "hann"
    periodic: bool = False
    scaling: str | None = "density"
    padding: str = "valid"
    expand_dims: bool = False
    data_format: str | None = None

    rank = 1
    computes_wide = True

    def validate(self) -> None:
        super().validate()
        require_int(self.frame_length, "frame_length", "STFTSpectrogram")
        require_int(self.step, "frame_step", "STFTSpectrogram")
        require_between(self.step, "frame_step", "STFTSpectrogram", 1, self.frame_length)
        require_int(self.size, "fft_length", "STFTSpectrogram", self.frame_length)
        for name, known in (("mode", MODES), ("scaling", ("density", "spectrum", None))):
            if getattr(self, name) not in known:
                hint = suggest(str(getattr(self, name)), map(str, known))
                raise ValueError(f"STFTSpectrogram: unknown {name} {getattr(self, name)!r}.{hint}")
        window_of(self.window, self.frame_length, "STFTSpectrogram")

    @property
    def step(self) -> int:
        """Samples from one piece to the next."""
        return self.frame_step or max(self.frame_length // 2, 1)

    @property
    def size(self) -> int:
        """What the frequencies are multiples of the inverse of."""
        return self.fft_length or 2 ** math.ceil(math.log2(self.frame_length))

    def check_input(self, x: Any) -> None:
        self.check_window(x, (self.frame_length,))

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        window = window_of(self.window, self.frame_length, "STFTSpectrogram", self.periodic)
        if self.window is not None and self.scaling:
            window = window / (np.sqrt((window**2).sum()) if self.scaling == "density" else abs(window).sum())
        angle = -2 * np.pi * np.outer(np.arange(self.frame_length), np.arange(self.size // 2 + 1)) / self.size
        kernels = {"real_kernel": np.cos(angle), "imag_kernel": np.sin(angle)}
        unused = {"real": "imag_kernel", "imag": "real_kernel"}.get(self.mode)
        return {
            name: jnp.asarray((wave * window[:, None])[:, None], x.dtype)
            for name, wave in kernels.items()
            if name != unused
        }, {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        sound = jnp.moveaxis(channels_last(x, self.data_format), -1, 1)
        kernels = [params[name] for name in ("real_kernel", "imag_kernel") if name in params]
        # y: (batch, channels, time, frequencies)
        y = self._shown(*(self._transformed(sound, kernel) for kernel in kernels))
        if self.data_format == "channels_first":
            return (y if self.expand_dims else y.swapaxes(2, 3).reshape(len(y), -1, y.shape[2])), state
        if self.expand_dims:
            return jnp.moveaxis(y, 1, -1), state
        return jnp.moveaxis(y, 1, 2).reshape(len(y), y.shape[2], -1), state

    def _transformed(self, sound: jax.Array, kernel: jax.Array) -> jax.Array:
        rows = sound.reshape(-1, sound.shape[-1], 1)
        layout = ("NWC", "WIO", "NWC")
        y = jax.lax.conv_general_dilated(rows, kernel, (self.step,), self.padding.upper(), dimension_numbers=layout)
        return y.reshape(*sound.shape[:2], *y.shape[1:])

    def _shown(self, *parts: jax.Array) -> jax.Array:
        if self.mode in ("real", "imag"):
            return parts[0]
        real, imag = parts
        if self.mode == "stft":
            return jnp.concatenate([real, imag], -1)
        if self.mode == "angle":
            return jnp.arctan2(imag, real)
        power = real**2 + imag**2
        if self.mode == "psd":
            twice = np.ones(power.shape[-1])
            twice[1:-1] = 2
            return power * jnp.asarray(twice, power.dtype)[None, None, None]
        magnitude = jnp.sqrt(jnp.maximum(power, TINY))
        return magnitude if self.mode == "magnitude" else jnp.log(magnitude)


def window_of(window: Any, length: int, owner: str, periodic: bool = True) -> np.ndarray:
    """What the samples of a piece are multiplied by: a raised cosine by its name, numbers, or ones for None.

    >>> window_of("hann", 4, "MelSpectrogram").round(2).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    if window is None:
        return np.ones(length)
    if isinstance(window, str):
        if window not in WINDOWS:
            hint = f"{suggest(window, WINDOWS)} Others as numbers: tuple(scipy.signal.get_window(…))"
            raise ValueError(f"{owner}: unknown window {window!r}.{hint}")
        mean, depth = WINDOWS[window]
        period = length if periodic else length - 1
        return mean - depth * np.cos(2 * np.pi * np.arange(length) / max(period, 1))
    if np.shape(window) != (length,):
        raise ValueError(f"{owner}: window has {np.size(window)} numbers for pieces of {length} samples")
    return np.asarray(window, np.float64)


def mel_bands(bands: int, frequencies: int, rate: float, lowest: float, highest: float) -> np.ndarray:
    """The weight of each frequency (up to half of the rate) in each band: triangles on the mel scale, of height 1."""
    mel = 1127 * np.log1p(np.linspace(0, rate / 2, frequencies)[1:, None] / 700)
    edges = np.linspace(1127 * math.log1p(lowest / 700), 1127 * math.log1p(highest / 700), bands + 2)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return np.pad(np.maximum(0, np.minimum(rising, falling)), ((1, 0), (0, 0)))  # a constant is in no band


def raised(power: jax.Array, exponent: float) -> jax.Array:
    """`power ** exponent`, whose derivative at 0 is 0 also where that of a root is infinite."""
    if exponent == 1:
        return power
    return jnp.where(power > 0, jnp.where(power > 0, power, 1) ** exponent, 0)

"""Features of sound for recurrent networks: logarithmic mel spectra, cepstral coefficients, and their deltas.

Signals are as `scipy.io.wavfile.read` gives them, see `to_float`. One row per hop. A row of `log_mel` and `mfcc`
depends on its own window of the signal only, so that the features of a stream are those of the whole. The transforms
are SciPy's.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from .. import memory
from .._onethread import one_thread
from ..check.arrays import check_floats, real_array
from ..check.values import check_number, check_positive_int, shown

if TYPE_CHECKING:
    from typing import Any, Literal

    from .._types import Array, ArrayLike

WINDOW, HOP = 0.025, 0.010  # seconds
SCALES = {np.dtype(name): np.iinfo(name).max for name in ("int8", "int16", "int32")} | {np.dtype("uint8"): 127}
UNSIGNED_ZERO = 128  # of 8 bits


def to_float(signal: "ArrayLike", *, channel: "int | Literal['mean'] | None" = None) -> "Array":
    """The samples of one channel, 0 for silence and 1 for the largest.

    Parameters
    ----------
    signal : array (samples,) or (samples, channels)
        As `scipy.io.wavfile.read` gives it: 8 bits are uint8 with 128 for silence, 16 bits int16, 24 and 32 bits int32,
        24 of them in its upper bytes; int8 is taken too. Ints count as fractions of the largest of their type, floats
        as they are.
    channel : int, "mean" or None
        Which one of several channels, from 0, or their mean. None takes a signal of one channel only.

    Returns
    -------
    float64 array (samples,)

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also for several channels without `channel`, for samples that are not finite, and for
        other ints, whose scale is not known.
    """
    x = real_array(signal, "signal")
    kind = x.dtype.newbyteorder("=")
    if kind.kind != "f" and kind not in SCALES:
        raise TypeError(f"signal: expected samples as a WAV file has them, uint8, int16, int32 or floats, found {kind}")
    if x.ndim not in (1, 2) or not x.size:
        raise ValueError(f"signal: expected shape (samples,) or (samples, channels), at least one, found {x.shape}")
    x = _channel(x.reshape(len(x), -1), channel, x.shape)
    if kind.kind == "u":
        x -= UNSIGNED_ZERO
    if not np.isfinite(x).all():
        raise ValueError("signal: expected finite samples, found others")
    if kind in SCALES:
        x *= 1 / SCALES[kind]
    return x


def _channel(x, channel, shape):
    """A float64 vector, nobody else's: one column of x, or the mean of all."""
    count = x.shape[1]
    if count > len(x):
        raise ValueError(f"signal: expected shape (samples, channels), found {shape}, more channels than samples")
    if isinstance(channel, str):
        if channel != "mean":
            raise ValueError(f"channel: expected an int or 'mean', found {shown(channel)}")
        return x.mean(axis=1, dtype=np.float64)
    if channel is None and count > 1:
        raise ValueError(f"signal: expected shape (samples,), or channel=0 to {count - 1} or channel='mean' with it, "
                         f"found {shape}")
    column = 0 if channel is None else check_positive_int(channel, "channel", low=0, high=count - 1)
    return x[:, column].astype(np.float64)


def mel(frequency: "ArrayLike") -> "Array":
    """Pitch in mel of a frequency in Hz, 2595 log10(1 + f / 700) (O'Shaughnessy 1987)."""
    return 2595 * np.log10(1 + check_floats(frequency, "frequency").astype(np.float64) / 700)


def hertz(pitch: "ArrayLike") -> "Array":
    """Frequency in Hz of a pitch in mel: the inverse of `mel`."""
    return 700 * (10 ** (check_floats(pitch, "pitch").astype(np.float64) / 2595) - 1)


def mel_filters(bands: int, size: int, rate: float, *, low: float = 20.0, high: float | None = None) -> "Array":
    """Triangles that overlap by half, evenly spaced in mel, over the power at the frequencies of a real transform.

    Parameters
    ----------
    bands : int
    size : int
        Samples of the transform.
    rate : number
        Samples per second.
    low, high : float
        Start of the first triangle and end of the last one, in Hz; None is half the rate.

    Returns
    -------
    float64 array (bands, size // 2 + 1)
        The largest value of a triangle is 1, at its own frequency.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also if a triangle is so narrow that it contains no frequency of the transform.
    """
    bands = check_positive_int(bands, "bands")
    size = check_positive_int(size, "size", low=2)
    rate = check_number(rate, "rate", above=0)
    high = check_number(rate / 2 if high is None else high, "high", above=0, high=rate / 2)
    low = check_number(low, "low", low=0, below=high)
    if bands > size:  # more triangles than frequencies
        raise ValueError(f"bands: expected at most {size}, the samples of the transform, found {bands}")
    memory.require(24 * bands * size, "size", f"{bands} bands of a transform of {size} samples", "use a smaller one")
    edges = hertz(np.linspace(mel(low), mel(high), bands + 2))
    frequencies = np.arange(size // 2 + 1) * (rate / size)
    rise = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    if not filters.any(axis=1).all():
        raise ValueError(f"bands: expected fewer than {bands}, so that each from {low:g} to {high:g} Hz holds a "
                         f"frequency of a transform of {size} samples at {rate:g} Hz")
    return filters


def log_mel(signal: "ArrayLike", rate: float, *, bands: int = 40, window: float = WINDOW, hop: float = HOP,
            low: float = 20.0, high: float | None = None, emphasis: float = 0.97, floor: float = 1e-10,
            channel: "int | Literal['mean'] | None" = None) -> "Array":
    """Logarithms of the power in bands of the mel scale: a spectrogram as the ear has it.

    Parameters
    ----------
    signal : array (samples,) or (samples, channels)
        See `to_float`.
    rate : number
        Samples per second.
    bands : int
    window, hop : float
        Length of a row's Hann window, and distance between rows, in seconds.
    low, high : float
        See `mel_filters`.
    emphasis : float in [0, 1]
        a of x_t - a x_{t-1}, which raises high frequencies; within each window, so that rows stay independent.
    floor : float, above 0
        The least power.
    channel : int, "mean" or None
        Which one of several channels, or their mean; None takes a signal of one channel only.

    Returns
    -------
    float32 array (T, bands)
        T is 1 + (samples - window) // hop; a signal shorter than a window is padded with zeros.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """
    samples = to_float(signal, channel=channel)
    rate = check_number(rate, "rate", above=0)
    size, step = _count(window, "window", rate, 2), _count(hop, "hop", rate, 1)
    emphasis = check_number(emphasis, "emphasis", low=0, high=1)
    floor = check_number(floor, "floor", above=0)
    transform = 1 << (size - 1).bit_length()
    filters = mel_filters(bands, transform, rate, low=low, high=high)
    samples = np.pad(samples, (0, max(0, size - samples.size)))
    memory.require(64 * transform * (1 + max(0, samples.size - size) // step), "signal",
                   f"{samples.size} samples in windows of {size}", "use a shorter one")
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
    spectrum = fft.rfft((frames - emphasis * before) * hann, transform)
    power = (spectrum.real**2 + spectrum.imag**2) / size
    with one_thread.held():  # a product of a millisecond
        power = power @ filters.T
    return np.log(np.maximum(power, floor)).astype(np.float32)


def mfcc(signal: "ArrayLike", rate: float, *, coefficients: int = 13, bands: int = 26, **options: "Any") -> "Array":
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980): the cosine transform of `log_mel`.

        c_k = s_k sum over n of m_n cos(pi k (n + 1/2) / bands),  s_0 = sqrt(1 / bands), s_k = sqrt(2 / bands)

    Parameters
    ----------
    signal, rate, bands, **options
        See `log_mel`.
    coefficients : int, at most bands
        Number of coefficients, from c_0, the loudness, on.

    Returns
    -------
    float32 array (T, coefficients)
    """
    spectrum = log_mel(signal, rate, bands=bands, **options)
    coefficients = check_positive_int(coefficients, "coefficients", high=spectrum.shape[1])
    return np.ascontiguousarray(fft.dct(spectrum, norm="ortho")[:, :coefficients])


def deltas(features: "ArrayLike", width: int = 2) -> "Array":
    """Slopes in time, by a straight line through 2 width + 1 rows (Furui 1986); repeats the first and the last row.

        d_t = sum over k of k (x_{t+k} - x_{t-k}) / (2 sum over k of k^2),  k = 1 .. width

    Parameters
    ----------
    features : array (T, F)
    width : int

    Returns
    -------
    array (T, F), of the dtype of `features`
    """
    x = check_floats(features, "features")
    if x.ndim != 2:
        raise ValueError(f"features: expected shape (T, F), found {x.shape}")
    width = check_positive_int(width, "width")
    if not len(x):
        return x.copy()
    near = min(width, len(x))  # rows further away are the first and the last one
    padded = np.pad(x, ((near, near), (0, 0)), mode="edge")
    slope = np.zeros_like(x)
    for k in range(1, near + 1):
        slope += k * (padded[near + k :][: len(x)] - padded[near - k :][: len(x)])
    if width > near:
        slope += (x[-1] - x[0]) * x.dtype.type((width * (width + 1) - near * (near + 1)) // 2)
    return slope / x.dtype.type(width * (width + 1) * (2 * width + 1) / 3)


def with_deltas(features: "ArrayLike", order: int = 2, width: int = 2) -> "Array":
    """Features beside their slopes, the slopes of these, and so on.

    Parameters
    ----------
    features : array (T, F)
    order : int, at least 0
        How often to apply `deltas`.
    width : int

    Returns
    -------
    array (T, F * (1 + order))
    """
    parts, order = [check_floats(features, "features")], check_positive_int(order, "order", low=0)
    memory.require(2 * (1 + order) * max(parts[0].nbytes, 1000), "order", f"slopes of {order} orders", "use fewer")
    for _ in range(order):
        parts.append(deltas(parts[-1], width))
    return np.concatenate(parts, axis=1)


def _count(seconds, name, rate, least):
    """Seconds as a count of samples."""
    count = round(check_number(check_number(seconds, name, above=0) * rate, f"{name} * rate"))
    if count < least:
        raise ValueError(f"{name}: expected at least {least} samples, found {seconds:g} s at {rate:g} Hz")
    return count

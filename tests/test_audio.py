"""Features of sound against their definitions, tones, noise, and SciPy's and librosa's own where these are there."""

import wave

import numpy as np
import pytest
from scipy.io import wavfile

from fastrnn import audio

RATE = 8000


def tone(frequency, seconds=0.5, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count)


def test_mel_is_its_published_scale():
    assert audio.mel(0) == 0
    assert audio.mel(1000) == pytest.approx(1000, abs=0.1)  # the scale is made so
    frequencies = np.array([20.0, 440.0, 4000.0])
    assert np.allclose(audio.hertz(audio.mel(frequencies)), frequencies, rtol=1e-12)


def test_filters_are_triangles_that_add_to_one():
    filters = audio.mel_filters(20, 512, RATE, low=100, high=3500)
    edges = audio.hertz(np.linspace(audio.mel(100), audio.mel(3500), 22))
    frequencies = np.arange(257) * RATE / 512
    for band, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:])):
        assert np.allclose(filters[band], np.interp(frequencies, [low, centre, high], [0, 1, 0], 0, 0), atol=1e-12)
    between = (frequencies >= edges[1]) & (frequencies <= edges[-2])
    assert np.allclose(filters.sum(axis=0)[between], 1)
    assert not filters[:, (frequencies <= 100) | (frequencies >= 3500)].any()


@pytest.mark.parametrize("frequency", [300, 1000, 3000])
def test_a_tone_is_loudest_in_its_band(frequency):
    spectrum = audio.log_mel(tone(frequency), RATE, bands=30)
    centres = audio.hertz(np.linspace(audio.mel(20), audio.mel(RATE / 2), 32))[1:-1]
    nearest = np.abs(centres - frequency).argmin()
    assert (np.abs(spectrum.argmax(axis=1) - nearest) <= 1).all()


def test_a_signal_twice_as_loud_is_log_4_more_in_every_band():
    x = noise(4000)
    louder = audio.log_mel(2 * x, RATE) - audio.log_mel(x, RATE)
    assert np.allclose(louder, np.log(4), atol=1e-5)
    assert np.allclose(audio.mfcc(2 * x, RATE)[:, 1:], audio.mfcc(x, RATE)[:, 1:], atol=1e-4)  # c_0 alone tells


def test_a_plain_transform_of_each_window():
    x = noise(1000)
    filters = audio.mel_filters(40, 256, RATE)
    n = np.arange(200)
    hann = np.sin(np.pi * (n + 0.5) / 200) ** 2
    for t, row in enumerate(audio.log_mel(x, RATE)):
        frame = x[80 * t : 80 * t + 200]
        lifted = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        angles = 2j * np.pi * np.outer(np.arange(129), n) / 256
        power = np.abs(np.exp(-angles) @ (lifted * hann)) ** 2 / 200
        assert np.allclose(row, np.log(filters @ power), atol=1e-5)


def test_rows_see_their_own_window_only():
    x = noise(4000)
    whole = audio.log_mel(x, RATE)
    assert whole.shape == (1 + (4000 - 200) // 80, 40) and whole.dtype == np.float32
    for t in (0, 7, len(whole) - 1):
        assert np.allclose(audio.log_mel(x[80 * t : 80 * t + 200], RATE), whole[t : t + 1], atol=1e-5)
    assert np.array_equal(audio.log_mel(x[:2000], RATE), whole[:23])


def test_short_and_silent_signals():
    assert audio.log_mel(noise(3), RATE).shape == (1, 40)
    assert np.allclose(audio.log_mel(np.zeros(500), RATE, floor=1e-6), np.log(1e-6))


def test_integers_are_fractions_of_the_largest():
    x = np.round(noise(2000) * 32767).astype(np.int16)
    assert np.allclose(audio.log_mel(x, RATE), audio.log_mel(x / 32767, RATE), atol=1e-5)


def wav(path, x, bits):
    """What scipy.io.wavfile reads from a file that the standard library has written with so many bits a sample."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if x.ndim == 1 else x.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(RATE)
        whole = np.round(x.reshape(-1) * (2 ** (bits - 1) - 1)).astype(np.int64) + (128 if bits == 8 else 0)
        file.writeframes(b"".join(int(one).to_bytes(bits // 8, "little", signed=bits > 8) for one in whole))
    rate, found = wavfile.read(path)
    assert rate == RATE
    return found


@pytest.mark.parametrize("bits, dtype", [(8, "uint8"), (16, "int16"), (24, "int32"), (32, "int32")])
def test_the_same_sound_in_files_of_all_formats(bits, dtype, tmp_path):
    x = tone(440, 0.2) * 0.5
    found = wav(tmp_path / "a.wav", x, bits)
    assert found.dtype == dtype
    step = 1 / (2 ** (bits - 1) - 1)  # the largest of 24 bits in 32 is a little under 1
    assert np.abs(audio.to_float(found) - x).max() <= step
    expected = audio.log_mel(x, RATE)
    loud = expected > np.log(1e-2)
    assert loud.any() and np.allclose(audio.log_mel(found, RATE)[loud], expected[loud], atol=0.05)
    stereo = wav(tmp_path / "b.wav", np.stack([x, -0.25 * x], axis=1), bits)
    assert stereo.shape == (len(x), 2) and np.array_equal(audio.to_float(stereo, channel=0), audio.to_float(found))
    assert np.abs(audio.to_float(stereo, channel=1) + 0.25 * x).max() <= step
    assert np.abs(audio.to_float(stereo, channel="mean") - 0.375 * x).max() <= step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_of_a_file_are_as_they_are(dtype, tmp_path):
    x = (tone(440, 0.1) * 1.5).astype(dtype)
    wavfile.write(tmp_path / "a.wav", RATE, x)
    found = audio.to_float(wavfile.read(tmp_path / "a.wav")[1])
    assert found.dtype == np.float64 and np.array_equal(found, x)


@pytest.mark.parametrize("dtype, silence", [("uint8", 128), ("int8", 0), ("int16", 0), ("int32", 0), ("float32", 0)])
def test_silence_is_silent(dtype, silence):
    x = np.full(900, silence, dtype)
    assert not audio.to_float(x).any() and np.allclose(audio.log_mel(x, RATE), np.log(1e-10))
    assert not np.shares_memory(audio.to_float(x), x) and (x == silence).all()
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    assert audio.to_float(np.array([top], dtype))[0] == 1


def test_other_byte_orders(tmp_path):
    x = np.round(noise(300) * 32767)
    for dtype in (">i2", "<i2", ">i4", ">f4"):
        assert np.array_equal(audio.to_float(x.astype(dtype)), audio.to_float(x.astype(dtype[1:])))


def test_channels():
    x = noise(600).reshape(300, 2)
    features = audio.mfcc(x, RATE, channel=1)
    assert np.array_equal(features, audio.mfcc(np.ascontiguousarray(x[:, 1]), RATE))
    for channel in (None, 0, "mean"):  # one channel is one in each way
        assert np.array_equal(audio.to_float(x[:, 0], channel=channel), x[:, 0])
        assert np.array_equal(audio.to_float(x[:, :1], channel=channel), x[:, 0])


@pytest.mark.parametrize("call, error, message", [
    (lambda x: audio.to_float(x), ValueError, r"signal: .*channel=0 to 1 or channel='mean' with it, found \(9, 2\)$"),
    (lambda x: audio.log_mel(x, RATE), ValueError, r"signal: .*channel='mean' with it, found \(9, 2\)$"),
    (lambda x: audio.mfcc(x, RATE), ValueError, r"signal: .*channel='mean' with it, found \(9, 2\)$"),
    (lambda x: audio.to_float(x.T, channel=0), ValueError, r"signal: .*\(2, 9\), more channels than samples"),
    (lambda x: audio.to_float(x, channel=2), ValueError, "channel: expected an int of at most 1, found 2"),
    (lambda x: audio.to_float(x, channel=-1), ValueError, "channel: expected an int of at least 0, found -1"),
    (lambda x: audio.to_float(x[:, 0], channel=1), ValueError, "channel: expected an int of at most 0, found 1"),
    (lambda x: audio.to_float(x, channel="left"), ValueError, "channel: expected an int or 'mean', found 'left'"),
    (lambda x: audio.to_float(x, channel=0.5), TypeError, "channel: expected an int, found 0.5"),
    (lambda x: audio.to_float(x[None]), ValueError, r"signal: expected shape \(samples,\) or"),
    (lambda x: audio.to_float([0, 1, 2]), TypeError, "signal: expected samples as a WAV file has them.*found int64"),
    (lambda x: audio.to_float(x.astype("uint16")), TypeError, "signal: .* found uint16"),
    (lambda x: audio.to_float(x > 0), TypeError, "signal: .* found bool"),
    (lambda x: audio.to_float(x.astype("int16").sum(axis=1)), TypeError, "signal: .* found int64"),
])  # fmt: skip
def test_signals_that_do_not_tell_what_they_are(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((9, 2)))


def test_coefficients_are_a_cosine_transform():
    x = noise(2000)
    spectrum, found = audio.log_mel(x, RATE, bands=26), audio.mfcc(x, RATE)
    k, n = np.arange(13)[:, None], np.arange(26)
    matrix = np.sqrt(np.where(k == 0, 1, 2) / 26) * np.cos(np.pi * k * (n + 0.5) / 26)
    assert found.shape == (len(spectrum), 13)
    assert np.allclose(found, spectrum @ matrix.T, atol=1e-4)
    every = audio.mfcc(x, RATE, coefficients=26)
    assert np.allclose((every**2).sum(axis=1), (spectrum**2).sum(axis=1), rtol=1e-4)  # it only turns the axes


def test_deltas_are_slopes():
    line = np.outer(np.arange(10.0), [2.0, -1.0])
    found = audio.deltas(line, 2)
    assert np.allclose(found[2:-2], [2.0, -1.0])
    assert np.allclose(found[0], [2.0 * (1 + 4) / 10, -1.0 * (1 + 4) / 10])  # before the first row it is flat
    x = noise(24).reshape(12, 2)
    straight = [np.polyfit(np.arange(-3, 4), x[t - 3 : t + 4], 1)[0] for t in range(3, 9)]
    assert np.allclose(audio.deltas(x, 3)[3:-3], straight)
    assert audio.deltas(x.astype("float32")).dtype == np.float32
    assert audio.deltas(x[:0]).shape == (0, 2)


def test_with_deltas():
    x = noise(40).reshape(20, 2)
    found = audio.with_deltas(x, 2)
    assert np.array_equal(found, np.concatenate([x, audio.deltas(x), audio.deltas(audio.deltas(x))], axis=1))
    assert np.array_equal(audio.with_deltas(x, 0), x)


def test_librosa_has_the_same():
    librosa = pytest.importorskip("librosa")
    filters = librosa.filters.mel(sr=RATE, n_fft=256, n_mels=40, fmin=20, fmax=4000, htk=True, norm=None)
    assert np.allclose(audio.mel_filters(40, 256, RATE), filters, atol=1e-6)
    x = noise(2000)
    spectrum = audio.log_mel(x, RATE, bands=26)
    assert np.allclose(audio.mfcc(x, RATE), librosa.feature.mfcc(S=spectrum.T, n_mfcc=13).T, atol=1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: audio.log_mel(np.zeros((2, 3)), RATE), "signal: expected shape"),
        (lambda: audio.log_mel(np.zeros(0), RATE), "signal: expected shape"),
        (lambda: audio.log_mel([0.0, np.nan], RATE), "signal: expected finite"),
        (lambda: audio.log_mel(np.zeros(9), 0), "rate: expected a finite number above 0"),
        (lambda: audio.log_mel(np.zeros(9), RATE, hop=1e-6), "hop: expected at least 1 samples"),
        (lambda: audio.log_mel(np.zeros(9), RATE, floor=0), "floor: expected a finite number above 0"),
        (lambda: audio.log_mel(np.zeros(9), RATE, high=5000), "high: expected a finite number"),
        (lambda: audio.log_mel(np.zeros(9), RATE, low=4000), "low: expected a finite number"),
        (lambda: audio.log_mel(np.zeros(9), RATE, bands=200), "bands: expected fewer than 200"),
        (lambda: audio.mfcc(np.zeros(9), RATE, coefficients=27), "coefficients: expected an int of at most 26"),
        (lambda: audio.deltas(np.zeros(9)), "features: expected shape"),
        (lambda: audio.deltas(np.zeros((9, 2)), 0), "width: expected an int of at least 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

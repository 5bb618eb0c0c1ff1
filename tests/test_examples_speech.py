"""The examples of speech: their data, and on generated sound what they do with it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import wavfile

from fastrnn import LSTM, Dropout, Linear, Sequential
from fastrnn.decoding import ctc_beam_search, error_rate

pytest.importorskip("sklearn")

from fastrnn.examples import digits, strings


def settings(**values):
    return SimpleNamespace(**{"quick": True, "seed": 0, "data": None, "plot": None, **values})


def beep(digit, rng, samples=1600):
    """A tone in place of a digit."""
    frequency = (400 + 300 * digit) * rng.uniform(0.98, 1.02)
    sound = 8000 * np.sin(2 * np.pi * frequency * np.arange(samples) / 8000) * np.hanning(samples)
    return (sound + rng.normal(0, 20, samples)).astype(np.int16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Tones in the form of the recordings: 4 digits by 2 speakers, 15 of each."""
    rng = np.random.default_rng(0)
    names = [f"{d}_{who}_{k}" for d in range(4) for who in ("ann", "bob") for k in range(15)]
    path = tmp_path_factory.mktemp("speech") / "recordings.npz"
    np.savez(path, **{name: beep(int(name[0]), rng) for name in names})
    return path


def test_recordings_from_an_archive_and_from_wav_files(archive, tmp_path):
    found = digits.read_recordings(archive)
    assert len(found) == 120
    assert {one.digit for one in found} == {0, 1, 2, 3} and {one.speaker for one in found} == {"ann", "bob"}
    for one in found:
        wavfile.write(tmp_path / f"{one.digit}_{one.speaker}_{one.number}.wav", 8000, one.signal)
    files = {(one.digit, one.speaker, one.number): one.signal for one in digits.read_recordings(tmp_path)}
    assert all(np.array_equal(files[one[:3]], one.signal) for one in found) and len(files) == 120


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_wav_files_of_other_formats(dtype, tmp_path):
    x = np.sin(np.arange(4000) / 5) / 2
    made = {"uint8": np.round(x * 127 + 128), "int32": np.round(x * 2**31), "float32": x}[dtype].astype(dtype)
    wavfile.write(tmp_path / "0_ann_0.wav", 8000, made)
    (found,) = digits.read_recordings(tmp_path)
    assert found.signal.dtype == np.int16
    assert np.abs(found.signal / 32767 - x).max() < (0.005 if dtype == "uint8" else 1e-4)


def test_wav_files_that_are_not_as_the_others_are_named(tmp_path):
    path = tmp_path / "0_ann_0.wav"
    for rate, signal, message in [
        (16000, np.zeros(9, np.int16), "expected 8,000 samples a second, found 16,000 in .*0_ann_0.wav"),
        (8000, np.zeros((9, 2), np.int16), "expected one channel, found 2 in .*0_ann_0.wav"),
    ]:
        wavfile.write(path, rate, signal)
        with pytest.raises(ValueError, match="--data: " + message):
            digits.read_recordings(tmp_path)
    for data in (b"", b"no sound", path.read_bytes()[:30]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"--data: expected a WAV file, found .*0_ann_0\.wav: "):
            digits.read_recordings(tmp_path)


def test_data_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="--data: expected a file or folder, found no"):
        digits.read_recordings(tmp_path / "none")
    with pytest.raises(ValueError, match="--data: expected recordings, found none"):
        digits.read_recordings(tmp_path)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="--data: expected names digit_speaker_number, found 'x'"):
        digits.read_recordings(tmp_path / "other.npz")


def test_digits_tells_tones_apart(archive, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(digits, "ACCURACY", 0.9)
    digits.main(settings(data=archive, plot=tmp_path / "p.png"))
    assert "40 of 40 wrong" not in capsys.readouterr().out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    figures = digits.main(settings(data=archive, quick=False))
    assert digits.shown(figures) and figures["speakers held out"] > 0.9


def test_no_speaker_that_is_held_out_was_heard(archive, monkeypatch):
    recordings = digits.read_recordings(archive)
    X, y = [one.signal for one in recordings], np.array([one.digit for one in recordings])
    speakers, heard = np.array([one.speaker for one in recordings]), []

    def fit(X, y, train, args):
        heard.append(set(speakers[train]))
        return SimpleNamespace(predict=lambda given: np.full(len(given), y[0]))

    monkeypatch.setattr(digits, "fit", fit)
    found = digits.speakers_apart(recordings, X, y, settings())
    assert heard == [{"bob"}, {"ann"}] and found == {"ann": 0.25, "bob": 0.25}


def test_strings_are_of_one_speaker_and_as_they_say(archive):
    recordings = digits.read_recordings(archive)
    rng = np.random.default_rng(0)
    made = strings.make_strings(recordings, 50, rng)
    assert {len(classes) for _, classes in made} <= set(range(3, 8))
    signal, classes = made[0]
    assert 1600 * len(classes) <= len(signal) <= 1600 * len(classes) + 2400 * (len(classes) + 1)
    assert all(classes.min() >= 1 and classes.max() <= 4 for _, classes in made)
    alone = [one for one in recordings if one.speaker == "ann" and one.digit == 2]
    assert all((classes == 3).all() for _, classes in strings.make_strings(alone, 5, rng))


def test_no_test_recording_is_in_a_training_string(archive, monkeypatch):
    given = []
    original = strings.make_strings
    monkeypatch.setattr(strings, "make_strings", lambda r, n, rng: given.append(r) or original(r, n, rng))
    strings.main(settings(data=archive))
    train, test = ({one.number for one in recordings} for recordings in given)
    assert train == set(range(5, 15)) and test == set(range(5))


def test_strings_of_tones_are_found(archive):
    recordings = digits.read_recordings(archive)
    rng = np.random.default_rng(0)
    made = strings.make_strings(recordings, 260, rng)
    X, y = [strings.features(signal) for signal, _ in made], [classes for _, classes in made]
    trainer = strings.train(True, X[:240], y[:240], 4, 0)
    for found in strings.decode(trainer.predict(X[240:], progress=False)):
        assert error_rate(found, y[240:]) < 0.1


def test_a_stream_hears_what_the_whole_string_gives(archive):
    recordings = digits.read_recordings(archive)
    model = Sequential(LSTM(120, 16, seed=0), Dropout(0.3), Linear(16, 11, seed=1))
    model.params["2.weight"][...] *= 8
    for signal, _ in strings.make_strings(recordings, 4, np.random.default_rng(1)):
        heard = strings.listen(model, signal)
        steps = strings.features(signal)
        assert len(heard) == len(steps)
        for n in (len(steps) // 2, len(steps)):
            logits, _ = model(steps[None, :n])
            assert np.array_equal(heard[n - 1], ctc_beam_search(logits[0], beam_size=strings.BEAM)[0].labels)

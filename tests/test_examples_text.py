"""The examples of text and music: what they read, that nothing held out is trained on, and their figures."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

import fastrnn
from fastrnn import CharModel
from fastrnn.examples import character, music, sentiment
from fastrnn.text import OneHot
from fastrnn.vocab import Vocabulary

names = pytest.importorskip("fastrnn.examples.names", reason="scikit-learn: not installed", exc_type=ImportError)


def settings(**values):
    return SimpleNamespace(**{"quick": True, "seed": 0, "data": None, "plot": None, **values})


# Characters


def test_the_lanes_of_a_text():
    ids = np.arange(20 * 2500 + 700)
    train, held_out = character.split(ids)
    assert train[0].shape == (50, 950) and held_out[0].shape == (50, 50)
    for inputs, targets in (train, held_out):
        assert np.array_equal(targets, inputs + 1)
    assert len(np.unique(np.concatenate([train[0], held_out[0]], axis=1))) == 50_000  # each character once
    stream = character.lanes(train)
    assert np.array_equal(stream.x, train[0]) and np.array_equal(stream.y, train[1]) and stream.updates(None) == 19


def test_char_rnns_settings():
    trainer = character.char_rnn("abc", 25, 0)
    params = trainer.model.params
    forget = params["1.bias_ih_l1"][128:256]
    assert (forget == 1).all() and abs(params["1.bias_hh_l0"]).max() < 0.08
    assert params["1.weight_ih_l0"].shape == (512, 4) and trainer.model.modules[0].size == 4
    rates = [trainer.schedule.lr_at(epoch) for epoch in range(12)]
    assert rates[:10] == [0.002] * 10 and np.allclose(rates[10:], [0.002 * 0.97, 0.002 * 0.97**2])


def test_a_short_text_is_named(tmp_path):
    (tmp_path / "t").write_text("to be " * 100)
    with pytest.raises(ValueError, match="--data: expected a text of more than 50,000 characters, found 600"):
        character.main(settings(data=tmp_path / "t"))


def test_one_hot_characters(tmp_path):
    layer = OneHot(3, dtype="float64")
    y, state, tape = layer.forward([[2, 0]])
    assert y.tolist() == [[[0, 0, 1], [1, 0, 0]]] and y.dtype == np.float64 and state is None
    assert layer.backward(tape, np.ones_like(y)) == (None, None) and not layer.params
    assert layer(1).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r"x: expected ints in 0 \.\. 2, found 3"):
        layer([3])
    model = CharModel("abc", hidden_size=8, embedding_dim=None, seed=0)
    fastrnn.save(model, tmp_path / "m.safetensors")
    again = fastrnn.load(tmp_path / "m.safetensors")
    ids = model.encode("abcx")[:, None]
    assert np.array_equal(again(ids)[0], model(ids)[0])
    assert "".join(again.sample(9, prompt="ab", seed=1)) == "".join(model.sample(9, prompt="ab", seed=1))


# Names


@pytest.fixture
def surnames(tmp_path):
    (tmp_path / "Here.txt").write_text("".join(f"Aaa{chr(97 + k)}\n" for k in range(20)) + "Both\nAaaa\n\n")
    (tmp_path / "There.txt").write_text("".join(f"Öö{chr(97 + k)}\n" for k in range(20)) + "Both\n", encoding="utf-8")
    return tmp_path


def test_surnames_are_held_out_in_all_nationalities_or_in_none(surnames):
    found, nationalities = names.read_names(surnames)
    assert len(found) == 42 and set(nationalities) == {"Here", "There"}  # Aaaa once, Both twice
    sides = set()
    for seed in range(40):
        held_out = names.hold_out(found, np.random.default_rng(seed))
        assert not set(found[held_out]) & set(found[~held_out]) and len(set(found[held_out])) == 4
        sides.add(tuple(held_out[found == "Both"].tolist()))
    assert sides == {(True, True), (False, False)}


def test_letters_one_hot():
    v = Vocabulary("ab", level="character", specials=("unk",))
    first, second = names.one_hot(np.array(["ba", "x"]), v)
    assert first.tolist() == [[0, 0, 1], [0, 1, 0]] and second.tolist() == [[1, 0, 0]]


def test_names_of_ones_own(surnames, capsys):
    assert set(names.main(settings(data=surnames))) == {"accuracy"}
    out = capsys.readouterr().out
    assert "accuracy on the held-out names" in out and "There" in out


# Sentences


def test_sentences_are_held_out_with_their_copies(tmp_path):
    for name, word in zip(sentiment.FILES, ("bad", "good")):
        lines = [f"a {word} film no {k % 40}" for k in range(50)]
        (tmp_path / name).write_bytes("\n".join([*lines, "caf\xe9 twice", ""]).encode("latin-1"))
    sentences, labels = sentiment.read_sentences(tmp_path)
    assert len(sentences) == len(labels) == 102 and labels.sum() == 51 and sentences[50] == ["café", "twice"]
    parts = sentiment.split(sentences, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(102))
    texts = [{" ".join(sentences[k]) for k in part} for part in parts]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert len(texts[1]) == len(texts[2]) == 8  # a tenth of 81


# Music


def rolls(rng, count, steps=12):
    return [(rng.random((steps + k, music.KEYS)) < 0.05).astype("float32") for k in range(count)]


def test_the_likelihood_of_a_frame_is_the_mean_over_all_frames():
    pieces = rolls(np.random.default_rng(0), 5)
    setting = next(iter(music.SETS.values()))
    trainer = music.fit("GRU", setting, {"train": pieces, "valid": pieces}, 2, 0)
    total, frames = 0.0, 0
    for piece in pieces:
        logits = trainer.model(piece[None, :-1])[0][0].astype(np.float64)
        signs = np.where(piece[1:] > 0, -logits, logits)
        total += np.logaddexp(0, signs).sum()
        frames += len(signs)
    assert music.per_frame(trainer, pieces) == pytest.approx(total / frames, rel=1e-5)
    piece = music.go_on(trainer.model, pieces[0][:4], 9, np.random.default_rng(0))
    assert piece.shape == (13, music.KEYS) and np.array_equal(piece[:4], pieces[0][:4])
    assert set(np.unique(piece)) <= {0, 1}
    again = music.go_on(trainer.model, pieces[0][:4], 9, np.random.default_rng(0))
    assert np.array_equal(piece, again)


def test_a_piece_as_midi():
    mido = pytest.importorskip("mido")
    roll = np.zeros((4, music.KEYS))
    roll[0:3, 39] = 1  # middle C for three frames
    roll[1, 43] = roll[3, 43] = 1  # E in the second and in the fourth
    file = mido.MidiFile(file=io.BytesIO(music.as_midi(roll, 240)))
    time, events = 0, []
    for message in file.tracks[0]:
        time += message.time
        if not message.is_meta:
            events.append((time, message.type, message.note))
    assert events == [
        (0, "note_on", 60), (240, "note_on", 64), (480, "note_off", 64), (720, "note_off", 60), (720, "note_on", 64),
        (960, "note_off", 64),
    ]  # fmt: skip
    assert file.ticks_per_beat == 480

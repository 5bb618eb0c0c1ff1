"""Reading text, the vocabulary, and sampling."""

import numpy as np
import pytest

from fastrnn import CharModel
from fastrnn.text import UNKNOWN, read_text


def small(vocabulary="abc \n", **options):
    return CharModel(vocabulary, **{"hidden_size": 8, "embedding_dim": 4, "seed": 0, **options})


def test_the_default_text_is_pythons_documentation():
    text = read_text()
    assert len(text) > 400_000 and "with" in text and text.count("\n") > 9000


def test_files_are_joined_by_newlines(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffone\r\ntwo".encode())
    (tmp_path / "b").write_bytes("drei é😀\n".encode())
    assert read_text([tmp_path / "a", str(tmp_path / "b")]) == "one\ntwo\ndrei é😀\n"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "t: expected text, found an empty file"),
        (b"ab\xffcd", "t: expected UTF-8 text, found byte 0xff at offset 2; encoding names another"),
        (b"\xef\xbb\xbfab\xffcd", "t: expected UTF-8 text, found byte 0xff at offset 5; encoding names another"),
    ],
)
def test_bad_text_is_named(content, message, tmp_path):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text([tmp_path / "t"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "UTF8", "cp1251", "shift_jis", "utf-7"])
def test_text_of_other_encodings(encoding, tmp_path):
    text = "\ufeffда\r\nнет\n" if encoding in ("utf-16-le", "UTF8") else "да\r\nнет\n"
    (tmp_path / "t").write_bytes(text.encode(encoding))
    assert read_text([tmp_path / "t", tmp_path / "t"], encoding) == "да\nнет\n\nда\nнет\n"


@pytest.mark.parametrize("encoding, found", [
    ("ascii", "byte 0xe9 at offset 2"), ("utf-16", "byte 0x63 at offset 4"), ("cp1252", "byte 0x81 at offset 3"),
    ("idna", "byte 0xe9 at offset 2"),
])  # fmt: skip
def test_text_that_is_not_in_its_encoding(encoding, found, tmp_path):
    (tmp_path / "t").write_bytes(b"ab\xe9\x81c")
    with pytest.raises(ValueError, match=f"t: expected {encoding} text, found {found}; encoding names another"):
        read_text([tmp_path / "t"], encoding)


@pytest.mark.parametrize("encoding", ["", "utf-9", "hex", "rot13", "undefined", "a\0b"])
def test_encodings_that_are_none(encoding):
    with pytest.raises(ValueError, match="encoding: expected the name of an encoding of text"):
        read_text(encoding=encoding)
    with pytest.raises(TypeError, match="encoding: expected the name of an encoding, found NoneType"):
        read_text(encoding=None)


def test_missing_text_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="t: no such file") as caught:
        read_text([tmp_path / "t"])
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_text([tmp_path])


def test_encode_and_decode():
    model = small("b a\n😀é")
    ids = model.encode("aé😀 x\nb")
    assert ids.dtype == np.int64 and ids.tolist() == [3, 6, 5, 2, UNKNOWN, 4, 1]
    assert model.decode(ids) == "aé😀 \N{REPLACEMENT CHARACTER}\nb"
    assert model.encode("").shape == (0,)
    assert model.encode("\udcff").tolist() == [UNKNOWN], "what a command line cannot decode"


def test_the_network_predicts_every_symbol_and_the_unknown():
    for cell in ("lstm", "gru", "rnn"):
        model = small(cell=cell, num_layers=2)
        y, _ = model(model.encode("abc xb")[:, None])
        assert y.shape == (6, 1, 6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"vocabulary": ""}, "vocabulary: expected at least one character"),
        ({"vocabulary": "aba"}, "vocabulary: .* each only once, found 'aba'"),
        ({"vocabulary": ["a"]}, "vocabulary: expected a string of characters, found list"),
        ({"cell": "elman"}, "cell: expected one of 'lstm', 'gru', 'rnn'; found 'elman'"),
        ({"hidden_size": 0}, "hidden_size: expected"),
        ({"num_layers": 0}, "num_layers: expected"),
    ],
)
def test_bad_models_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small(**arguments)


def test_a_seed_gives_the_same_sample():
    model = small()
    one, again, other = ("".join(model.sample(60, prompt="ab", seed=seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert len(one) == 60 and set(one) <= set("abc \n")


def test_sampling_is_the_networks_distribution():
    """The greedy sample is the most likely character of the whole-sequence output at every step."""
    model = small(seed=5)
    text = "ab" + "".join(model.sample(40, prompt="ab", temperature=0))
    y, _ = model(model.encode(text)[:, None])
    likeliest = model.decode(y[1:-1, 0, 1:].argmax(axis=1) + 1)
    assert text[2:] == likeliest


def test_many_prompts_are_drawn_side_by_side():
    model = small()
    prompts = ["ab", "", "c a b"]
    texts = ["".join(text) for text in zip(*model.sample(30, prompt=prompts, seed=[1, 2, 3], top_p=0.9))]
    assert texts == ["".join(model.sample(30, prompt=p, seed=[k], top_p=0.9)) for k, p in enumerate(prompts, 1)]


def test_an_empty_prompt_starts_from_a_newline():
    model = small()
    assert list(model.sample(9, seed=3)) == list(model.sample(9, prompt="\n", seed=3))
    assert list(model.sample(0)) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -1}, "temperature: expected"),
        ({"temperature": float("nan")}, "temperature: expected"),
        ({"top_k": 0}, "top_k: expected"),
        ({"top_p": 0}, "top_p: expected"),
        ({"top_p": 1.1}, "top_p: expected"),
        ({"length": -1}, "length: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected"),
        ({"repetition_window": 0}, "repetition_window: expected"),
    ],
)
def test_bad_sampling_options_are_named_at_once(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small().sample(**{"length": 3, **options})

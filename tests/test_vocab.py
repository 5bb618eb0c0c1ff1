"""Vocabularies: building, ids and texts, files, and byte-pair encoding."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import vocab
from fastrnn.bpe import BPE
from fastrnn.vocab import Vocabulary, words

TEXTS = ["the cat sat on the mat", "the dog sat"]


def test_words_of_a_text():
    assert words("It's 3 o'clock, Mr. O’Neil: well-known 'things'...") == [
        "It's", "3", "o'clock", ",", "Mr", ".", "O’Neil", ":", "well-known", "'", "things", "'", ".", ".", ".",
    ]  # fmt: skip
    assert words(" \n\t") == [] and words("naïve Ärger") == ["naïve", "Ärger"]


THAI = "ภาษาไทยเป็นภาษาที่มีระดับเสียง"
SENTENCES = [
    ("हिन्दी भारत की भाषा है ।", ["हिन्दी", "भारत", "की", "भाषा", "है", "।"]),
    ("தமிழ் மொழி செம்மொழி", ["தமிழ்", "மொழி", "செம்மொழி"]),
    (f"{THAI} {THAI}", [THAI, THAI]),
    ("می\u200cخواهم بروم ؟", ["می\u200cخواهم", "بروم", "؟"]),
    ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
    ("L’été d’Anaïs - naïve", ["L’été", "d’Anaïs", "-", "naïve"]),
    ("한국어 말", ["한국어", "말"]),
    ("日本語 が カ゚", ["日本語", "が", "カ゚"]),
    ("a 👩\u200d👩\u200d👧\u200d👦 👍🏽 🇫🇷 🏴\U000e0067\U000e0062\U000e007f ❤\ufe0f 1\ufe0f\u20e3",
     ["a", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇫🇷", "🏴\U000e0067\U000e0062\U000e007f", "❤\ufe0f", "1\ufe0f\u20e3"]),
    ("m² x_1 Ⅳ", ["m²", "x_1", "Ⅳ"]),
    ("\u0600 12 \udcff", ["\u0600", "12", "\udcff"]),
]


@pytest.mark.parametrize("form", [None, "NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("text, expected", SENTENCES)
def test_words_of_other_scripts_keep_their_signs_and_their_form(text, expected, form):
    if form is not None:
        text, expected = (unicodedata.normalize(form, one) for one in (text, "\n".join(expected)))
        expected = expected.split("\n")
    assert words(text) == expected
    v = Vocabulary.build(text, specials=())
    assert v.decode(v.encode(text)) == text == " ".join(expected)
    with_all = Vocabulary.build(text, level="character", specials=())
    assert with_all.decode(with_all.encode(text)) == text


def test_marks_that_stand_together_are_apart():
    assert words("👍🏽🇫🇷🇩🇪!!") == ["👍🏽", "🇫🇷", "🇩🇪", "!", "!"]
    assert words("\u060012 \u0600 x") == ["\u0600", "12", "\u0600", "x"]  # it would take a digit or a space with it


@given(st.text(st.characters() | st.sampled_from("aé\u0301\u0939\u093f\u094d\u200d\u200c👩🇫🏽\u0600'’-_ \n\x1c\u3000")))
def test_nothing_but_space_is_lost(text):
    found = words(text)
    assert "".join(found) == "".join(text.split()) and all(found)
    assert all(not one.isspace() and len(one.split()) == 1 for one in found)
    assert words(" ".join(found)) == found


SIMPLE = [chr(k) for k in range(0x110000) if vocab._SIMPLE.fullmatch(chr(k))]


@given(st.text(st.sampled_from(SIMPLE) | st.sampled_from("a'’-_ ")))
def test_simple_text_is_split_as_all_other(text):
    assert words(text) == vocab._unicode().findall(text)


def test_every_simple_character_is_split_as_all_others():
    assert len(SIMPLE) > 30_000
    for between in ("", "a", "!", " ", "'"):
        text = between.join(SIMPLE)
        assert vocab._SIMPLE_WORD.findall(text) == vocab._unicode().findall(text)


def test_a_vocabulary_from_before_is_what_it_was(tmp_path):
    config = {"symbols": ["the", "well-known", "हिन्दी", "it's"], "level": "word", "specials": ["unk"]}
    (tmp_path / "v").write_text(json.dumps(config))
    v = Vocabulary.load(tmp_path / "v")
    assert v.encode("it's the well-known one हिन्दी").tolist() == [4, 1, 2, 0, 3]


def test_the_most_frequent_words_come_first_after_the_specials():
    v = Vocabulary.build(TEXTS)
    assert v.symbols == ["the", "sat", "cat", "dog", "mat", "on"]
    assert (v.pad, v.unk, v.bos, v.eos) == (0, 1, 2, 3) and len(v) == 10
    assert v.encode("the dog runs", bos=True, eos=True).tolist() == [2, 4, 7, 1, 3]
    assert v.encode("the dog").dtype == v.encode("").dtype == np.int64
    assert "cat" in v and "fox" not in v and "<pad>" not in v and 4 not in v


@pytest.mark.parametrize(
    "options, symbols",
    [
        ({"min_count": 2}, ["the", "sat"]),
        ({"max_size": 3}, ["the", "sat", "cat"]),
        ({"min_count": 3, "max_size": 3}, ["the"]),
        ({"level": "character", "max_size": 3}, " at"),  # in order of their code points
    ],
)
def test_rare_symbols_are_left_out(options, symbols):
    assert Vocabulary.build(iter(TEXTS), **options).symbols == symbols


def test_texts_that_are_split_already():
    assert Vocabulary.build([["b", "a-"], ("b",)]).symbols == ["b", "a-"]
    v = Vocabulary(["b", "a-"], specials=("unk",))
    assert v.encode(["a-", "b", "a"]).tolist() == [2, 1, 0]


def test_decoding_stops_at_the_end_and_leaves_out_what_is_no_text():
    v = Vocabulary.build(TEXTS)
    ids = v.encode("the cat fox", bos=True, eos=True)
    assert v.decode(np.concatenate([ids, [0, 0, 5]])) == "the cat <unk>"
    assert v.decode([]) == "" and v.decode([v.eos]) == ""


def test_characters_of_every_plane():
    v = Vocabulary("b a\n😀é", level="character", specials=())
    ids = v.encode("aé😀\nb")
    assert ids.tolist() == [2, 5, 4, 3, 0] and v.decode(ids) == "aé😀\nb" and len(v) == 6
    assert "é" in v and "x" not in v and "b a" not in v
    assert (v.pad, v.unk, v.bos, v.eos) == (None,) * 4
    with pytest.raises(ValueError, match="text: expected symbols of the vocabulary, which has no 'unk'; found 'x'"):
        v.encode("abx")
    v = Vocabulary("ab", level="character")
    assert v.decode(v.encode("abxa", bos=True, eos=True)) == "ab\N{REPLACEMENT CHARACTER}a"
    assert v.encode("\udcff").tolist() == [v.unk]


@pytest.mark.parametrize("text", ["", "a", "ab\n\n ba", "zz"])
def test_encoding_and_decoding_undo_each_other(text):
    v = Vocabulary.build(["zab \n"], level="character")
    assert v.decode(v.encode(text)) == text and v.decode(v.encode(text, bos=True, eos=True)) == text


@pytest.mark.parametrize("level", ["word", "character"])
def test_it_lives_in_a_configuration_and_in_a_file(level, tmp_path):
    v = Vocabulary.build(["ä\udcff b", "b 😀"], level=level, specials=("pad", "unk"))
    again = Vocabulary.from_config(json.loads(json.dumps(v.config())))
    assert again == v and again != Vocabulary.build(["b"], level=level) and v != 3
    v.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == v


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((["a", "b", "a"],), ValueError, "symbols: .* each only once, found .*'a' 2 times"),
        (([],), ValueError, r"symbols: expected at least one .*, found \[\]"),
        ((["a", ""],), ValueError, "symbols: expected words, found an empty one"),
        (("word",), TypeError, "symbols: expected a sequence of words, found 'word'"),
        ((None,), TypeError, "symbols: expected a sequence of words, found None"),
        (([1],), TypeError, "symbols: expected a sequence of words"),
        ((["a"], "letter"), ValueError, "level: expected one of 'word', 'character'; found 'letter'"),
        ((["a"], "character"), TypeError, "symbols: expected a string of characters, found list"),
        ((["a"], "word", ("start",)), ValueError, r"specials\[0\]: expected one of 'pad'"),
        ((["a"], "word", ("unk", "pad")), ValueError, "specials: expected each once, in the order pad, unk"),
        ((["a"], "word", 3), TypeError, "specials: expected some of pad"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    defaults = (None, "word", ("pad",))
    symbols, level, specials = arguments + defaults[len(arguments) :]
    with pytest.raises(error, match=message):
        Vocabulary(symbols, level=level, specials=specials)


def test_other_mistakes(tmp_path):
    v = Vocabulary(["a"], specials=("unk",))
    for call, error, message in [
        (lambda: v.encode("a", eos=True), ValueError, "eos: expected a vocabulary with 'eos', found one with unk"),
        (lambda: v.encode(3), TypeError, "text: expected a string or a list of strings, found 3"),
        (lambda: v.decode([2]), ValueError, r"ids: expected ints in 0 .. 1, found 2"),
        (lambda: v.decode([[1]]), ValueError, r"ids: expected shape \(n,\), found \(1, 1\)"),
        (lambda: v.decode([0.5]), TypeError, "ids: expected an array of ints"),
        (lambda: Vocabulary.build(["a"], min_count=0), ValueError, "min_count: expected an int of at least 1"),
        (lambda: Vocabulary.build(["a"], min_count=2), ValueError, "symbols: expected at least one"),
        (lambda: Vocabulary.build(["a"], max_size=0), ValueError, "max_size"),
        (lambda: Vocabulary.build([3]), TypeError, "texts: expected a string"),
        (lambda: Vocabulary.from_config({"symbols": ["a"]}), ValueError, "config: expected symbols, level, specials"),
        (lambda: Vocabulary.from_config(3), ValueError, "config: expected symbols, level, specials; found int"),
        (lambda: Vocabulary.load(tmp_path / "v"), FileNotFoundError, "v: no such file"),
        (lambda: Vocabulary.load(tmp_path), ValueError, "cannot be read"),
    ]:
        with pytest.raises(error, match=message):
            call()
    for content in b"no", b"\xff", b"[]", b'{"symbols": [], "level": "word", "specials": []}':
        (tmp_path / "v").write_bytes(content)
        with pytest.raises(ValueError, match="v: expected a"):
            Vocabulary.load(tmp_path / "v")


def test_byte_pairs():
    pytest.importorskip("tokenizers")
    bpe = BPE.train([*TEXTS, "a < b > c / eos"] * 3, 60)
    assert (bpe.pad, bpe.unk, bpe.bos, bpe.eos) == (0, 1, 2, 3) and len(bpe) <= 60
    assert len(bpe.symbols) == len(bpe) - 4 and "▁the" in bpe.symbols
    ids = bpe.encode("the cats", bos=True, eos=True)
    assert ids.dtype == np.int64 and ids[0] == bpe.bos and ids[-1] == bpe.eos and 4 < len(ids) < 10
    assert bpe.decode([*ids, 5]) == "the cats"
    assert bpe.decode(bpe.encode("  a mat \n on a   dog")) == "a mat on a dog"
    assert bpe.eos not in bpe.encode("a <eos> b")  # typed, not meant
    assert bpe.decode(bpe.encode("<eos>")) == "<eos>"
    assert bpe.unk in bpe.encode("é") and bpe.encode("").shape == (0,) and bpe.decode([]) == ""


def test_byte_pairs_live_in_a_configuration_and_in_a_file(tmp_path):
    pytest.importorskip("tokenizers")
    bpe = BPE.train(TEXTS, 30, min_count=1, specials=("unk",))
    assert len(BPE.train(TEXTS, 30, min_count=100)) < 30
    assert bpe == BPE.from_config(json.loads(json.dumps(bpe.config())))
    bpe.save(tmp_path / "b.json")
    assert BPE.load(tmp_path / "b.json").encode("the dog").tolist() == bpe.encode("the dog").tolist()


def test_mistakes_of_byte_pairs(monkeypatch):
    pytest.importorskip("tokenizers")
    good = BPE.train(TEXTS, 30)
    for call, error, message in [
        (lambda: BPE("{}"), ValueError, "tokenizer: expected JSON of the tokenizers package, found"),
        (lambda: BPE({}), TypeError, "tokenizer: expected a string of JSON, found dict"),
        (lambda: BPE(good.tokenizer, ("unk",)), ValueError, "first ids are unk; found <pad>"),
        (lambda: BPE.train(TEXTS, 0), ValueError, "size: expected an int of at least 1"),
        (lambda: BPE.train([3], 9), TypeError, "texts: expected a string or a list of strings"),
        (lambda: good.encode(["the"]), TypeError, "text: expected a string, found list"),
    ]:
        with pytest.raises(error, match=message):
            call()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'found none: pip install "fastrnn\[text\]"$'):
        BPE.train(TEXTS, 30)

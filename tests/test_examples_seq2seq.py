"""The examples of encoder-decoder networks: what they read, what is held out, their figures, and slices."""

import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fastrnn import examples
from fastrnn.cli import main
from fastrnn.examples import addition, files, translation


def test_a_slice_of_addition(capsys):
    assert main(["example", "addition", "--quick"]) == 0
    assert "exact on the held-out questions" in capsys.readouterr().out


def test_sums_are_distinct_either_way_round_and_right():
    sums = addition.make_sums(3000, np.random.default_rng(0))
    pairs = [tuple(sorted(map(int, question.split("+")))) for question in sums.questions]
    assert len(set(pairs)) == 3000 and [str(a + b) for a, b in pairs] == sums.answers
    short = [len(question) < 5 for question in sums.questions]
    assert 0.5 < np.mean(short[:1500]) / np.mean(short[1500:]) < 2  # of every length in every part


def test_questions_are_read_backwards_and_marked_whole():
    task = addition.Task()
    sums = addition.Sums(["31+420", "1+1"], ["451", "2"])
    X, y = task.ids(sums)
    assert task.vocabulary.decode(X[0]) == "024+13" and task.vocabulary.decode(y[0]) == "451"
    model = SimpleNamespace(generate=lambda X, **_: [y[0], task.vocabulary.encode("22")])
    assert task.answers(model, sums) == ["451", "22"] and task.exact(model, sums) == 0.5


def write_pairs(folder):
    for name in translation.PARTS.values():
        for language in translation.LANGUAGES:
            lines = [f"{language} {k % 3} zwei ." for k in range(130)]
            (folder / f"{name}.lc.norm.tok.{language}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def test_a_slice_of_translation(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sacrebleu")
    write_pairs(tmp_path)
    plot = tmp_path / "p.png"
    assert main(["example", "translation", "--quick", "--data", str(tmp_path), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "BLEU on test 2016: greedy" in out and "tok:none" in out and plot.read_bytes().startswith(b"\x89PNG")


def test_the_real_pairs_have_their_published_sizes():
    if not (files.SHARED / "multi30k").exists():
        pytest.skip("multi30k: not beside this checkout")
    data = translation.read_pairs(None)
    assert [len(data[part].source) for part in ("train", "valid", "test")] == [29000, 1014, 1000]
    assert all(len(pairs.source) == len(pairs.target) for pairs in data.values())


def test_words_are_those_of_the_training_pairs():
    train = translation.Pairs([["ein", "hund"], ["ein", "mann"]], [["a", "dog"], ["a", "man"]])
    corpus = translation.Corpus(train)
    X, y = corpus.ids(translation.Pairs([["ein", "hund"]], [["a", "dog"]]))
    assert len(X[0]) == len(y[0]) == 2 and y[0][1] == corpus.target.unk and "dog" not in corpus.target
    assert corpus.words(np.append(y[0], [corpus.target.eos, 3])) == "a <unk>"


def test_bleu_counts_words_as_they_are():
    pytest.importorskip("sacrebleu")
    line = "a man , a plan , a canal"
    score, signature = translation.bleu([line], [line])
    assert score == pytest.approx(100) and "tok:none" in signature and "nrefs:1" in signature
    assert translation.bleu([line], [line.replace(",", ";")])[0] < 60


def test_without_sacrebleu_one_line_names_the_extra(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert main(["example", "translation", "--quick"]) != 0
    error = capsys.readouterr().err
    assert 'pip install "fastrnn[translation]"' in error and error.count("\n") == 1


def test_without_its_data_one_line_says_so(capsys, monkeypatch, tmp_path):
    pytest.importorskip("sacrebleu")
    monkeypatch.setattr(files, "SHARED", tmp_path)
    for arguments, message in [
        ([], "--data: expected a path to multi30k"),
        (["--data", str(tmp_path / "there")], "--data: expected a file or folder, found no"),
        (["--data", str(tmp_path)], "--data: expected a folder with train.lc.norm.tok.de.gz"),
    ]:
        assert main(["example", "translation", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert {"addition", "translation"} <= set(examples.NAMES)

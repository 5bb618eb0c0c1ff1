"""Files of other systems that once went wrong, and some hundreds of random ones; `fuzz_formats.py` makes more."""

import re
from pathlib import Path

import fuzz_formats
import fuzzing
import pytest

import fastrnn

CORPUS = sorted(fuzz_formats.CORPUS.iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path):
    opener = fastrnn.from_keras if path.suffix in (".h5", ".keras") else fastrnn.from_torch
    problem, _ = fuzzing.attempt(opener, path, fuzzing.Peak())
    assert problem is None


@pytest.mark.filterwarnings("ignore")
def test_random_files(capsys):
    assert CORPUS
    assert fuzzing.fuzz(fuzz_formats.prepare, 600, seed=1, limit=30) == 0
    files, opened, refused = map(int, re.findall(r"\d+", capsys.readouterr().out)[:3])
    assert opened > files // 50 and refused > files // 4


def test_the_fuzzer_sees_what_goes_wrong(tmp_path):
    path = Path(tmp_path) / "a.pt"
    path.write_bytes(b"x")
    peak = fuzzing.Peak()

    def other_error(path):
        raise KeyError(path)

    def unnamed(path):
        raise ValueError("something")

    for opener in other_error, unnamed, lambda path: bytearray(10**8):
        assert fuzzing.attempt(opener, path, peak)[0]
    assert fuzzing.attempt(fastrnn.from_torch, path, peak) == (None, False)

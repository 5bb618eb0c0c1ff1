"""Edit distance against known values and against a search through all edits."""

from functools import cache
from itertools import product

import numpy as np
import pytest

from fastrnn.decoding import edit_distance, error_rate


def plain(x, y):
    """The definition, by recursion from the front."""

    @cache
    def distance(i, j):
        if i == len(x) or j == len(y):
            return len(x) - i + len(y) - j
        return min(distance(i + 1, j + 1) + (x[i] != y[j]), distance(i + 1, j) + 1, distance(i, j + 1) + 1)

    return distance(0, 0)


def test_every_pair_of_short_sequences():
    words = [word for n in range(5) for word in product("ab", repeat=n)]
    for x, y in product(words, words):
        assert edit_distance(x, y) == plain(x, y)


def test_random_pairs():
    rng = np.random.default_rng(0)
    for _ in range(100):
        x, y = (rng.integers(4, size=rng.integers(12)) for _ in range(2))
        assert edit_distance(x, y) == plain(tuple(x.tolist()), tuple(y.tolist())) == edit_distance(y, x)


def test_known_values():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance(["a", "dog", "ran"], ["the", "dog", "has", "run"]) == 3
    assert edit_distance(np.array([1, 2, 3]), [1, 3]) == 1


def test_the_rate_is_over_the_symbols_that_were_wanted():
    assert error_rate(["abc", "x"], ["abd", "xyz"]) == (1 + 2) / 6
    assert error_rate([[1, 1, 1]], [[2]]) == 3
    assert error_rate([], []) == error_rate([""], [""]) == 0
    assert error_rate(["a"], [""]) == float("inf")


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: error_rate(["a"], ["a", "b"]), ValueError, "found: expected 2 sequences as in wanted, found 1"),
        (lambda: edit_distance(np.zeros((2, 2)), [1]), ValueError, "found: expected a sequence of symbols"),
        (lambda: edit_distance([1], 5), TypeError, "wanted: expected a sequence, found int"),
    ],
)
def test_mistakes_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()

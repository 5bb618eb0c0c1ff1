"""How far what was found is from what was wanted: edit distance and the error rate of labels, characters or words."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import refuse_masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._types import Array


def edit_distance(found: "Sequence[Any] | Array", wanted: "Sequence[Any] | Array") -> int:
    """The least number of insertions, deletions and substitutions that make one sequence of another (Levenshtein 1966).

        d(i, j) = min(d(i-1, j-1) + [x_i != y_j], d(i-1, j) + 1, d(i, j-1) + 1)

    Parameters
    ----------
    found, wanted : sequences, each of anything that can be compared
        Labels, a string's characters, or a list of words.

    Returns
    -------
    int
    """
    found, wanted = _symbols(found, "found"), _symbols(wanted, "wanted")
    places = np.arange(len(wanted) + 1)
    row = places
    for i, symbol in enumerate(found, 1):
        row = row + 1
        row[1:] = np.minimum(row[1:], row[:-1] - 1 + [bool(symbol != other) for other in wanted])
        row[0] = i
        row = np.minimum.accumulate(row - places) + places  # d(i, j-1) + 1 for all j at once
    return int(row[-1])


def error_rate(found: "Sequence[Any]", wanted: "Sequence[Any]") -> float:
    """Edit distances of all pairs over the number of symbols that were wanted (Graves et al. 2006, section 5).

    The label, character or word error rate, by what the sequences are of. It may be above 1.

    Parameters
    ----------
    found, wanted : sequences of as many sequences
        See `edit_distance`.

    Returns
    -------
    float
        0 where nothing was wanted and nothing found, inf where something was found.

    Raises
    ------
    ValueError
        For another number of sequences.
    """
    found, wanted = ([_symbols(row, f"{name}[{k}]") for k, row in enumerate(_listed(rows, name))]
                     for rows, name in ((found, "found"), (wanted, "wanted")))
    if len(found) != len(wanted):
        raise ValueError(f"found: expected {len(wanted)} sequences as in wanted, found {len(found)}")
    wrong = sum(map(edit_distance, found, wanted))
    count = sum(map(len, wanted))
    if not count:
        return float("inf") if wrong else 0.0
    return wrong / count


def _symbols(values, name):
    """The sequence as a list of plain values, which compare to True or False."""
    refuse_masked(values, name)
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise ValueError(f"{name}: expected a sequence of symbols, found shape {values.shape}")
        return values.tolist()
    return _listed(values, name)


def _listed(values, name):
    try:
        return list(values)
    except (TypeError, NotImplementedError):  # the latter from a memoryview
        raise TypeError(f"{name}: expected a sequence, found {type(values).__name__}") from None

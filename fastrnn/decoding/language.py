"""Language models for CTC's prefix beam search: log P(next label | labels so far), for many prefixes at a time."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.symbols import check_next, check_prompts, check_stepped, check_symbols
from ..check.values import check_positive_int, shown
from .states import log_softmax, stream_step, take_rows

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, State
    from ..nn.module import Module


class NetworkScores:
    """A network that predicts the next id, as a language model over labels.

    Parameters
    ----------
    network : Sequential
        From ids to logits of the next id, stepped through its stream, such as `CharModel`.
    ids : int array (K,)
        The network's id of each label.
    prompt : int array (n,)
        Ids that come before every sequence, at least one.
    """

    def __init__(self, network: "Module", ids: "ArrayLike", prompt: "ArrayLike") -> None:
        check_stepped(network, "lm")
        (prompt,) = check_prompts([prompt], "prompt")
        self._step = stream_step(network)
        state = None
        for one in prompt:
            logits, state = self._step(np.array([one]), state)
        self._ids = check_symbols(ids, "ids", check_next(logits, "lm").shape[1])
        self._begin = state, self._scores(logits)

    def begin(self, count: int) -> "tuple[State, Array]":
        """(state, log P (count, K)) of `count` empty prefixes."""
        count = check_positive_int(count, "count", 0)
        state, scores = self._begin
        return take_rows(state, np.zeros(count, np.int64)), np.repeat(scores, count, axis=0)

    def advance(self, state: "State", labels: "Array") -> "tuple[State, Array]":
        """The same after one more label of each prefix."""
        labels = check_symbols(labels, "labels", len(self._ids))
        logits, state = self._step(self._ids[labels], state)
        return state, self._scores(logits)

    def _scores(self, logits):
        return log_softmax(logits)[:, self._ids]


class FunctionScores:
    """A function (labels so far, a tuple) -> log P (K,) of the next, as a language model; its state is the tuple."""

    def __init__(self, function, classes):
        self._function, self._classes = function, classes

    def begin(self, count):
        state = np.empty((1, count), object)
        state[0, :] = [()] * count
        return state, self._scores(state)

    def advance(self, state, labels):
        longer = np.empty_like(state)
        for k, label in enumerate(labels):
            longer[0, k] = (*state[0, k], int(label))
        return longer, self._scores(longer)

    def _scores(self, state):
        rows = [np.asarray(self._function(prefix), np.float64) for prefix in state[0]]
        for row in rows:
            if row.shape != (self._classes,) or np.isnan(row).any():
                raise ValueError(f"lm: expected a function that returns {self._classes} logarithms of probabilities, "
                                 f"found {shown(row)}")
        return np.array(rows).reshape(len(rows), self._classes)


def as_scores(lm, classes, blank, alphabet):
    """What `ctc_beam_search` takes as its lm, as an object with `begin` and `advance`."""
    if hasattr(lm, "begin") and hasattr(lm, "advance"):
        return lm
    if hasattr(lm, "stream"):
        if hasattr(lm, "encode"):
            return NetworkScores(lm, _ids_of(lm, classes, blank, alphabet), lm.encode("\n"))
        return NetworkScores(lm, np.arange(classes), [blank])
    if callable(lm):
        return FunctionScores(lm, classes)
    raise TypeError(f"lm: expected a network, a function or None, found {type(lm).__name__}")


def _ids_of(lm, classes, blank, alphabet):
    """The character model's id of each label; what the blank is called does not matter."""
    if alphabet is None or len(alphabet) != classes:
        found = "None" if alphabet is None else f"{len(alphabet)}"
        raise ValueError(f"alphabet: expected the characters of the {classes} labels for a character model, "
                         f"found {found}")
    ids = [lm.encode("\n" if k == blank else character) for k, character in enumerate(alphabet)]
    for character, encoded in zip(alphabet, ids):
        if len(encoded) != 1:
            raise ValueError(f"alphabet: expected single characters, found {shown(character)}")
    return np.concatenate(ids)

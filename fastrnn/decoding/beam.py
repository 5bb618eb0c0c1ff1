"""Beam search over a network's next ids, for many sequences at a time."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.symbols import check_symbols
from ..check.values import check_bool, check_number, check_positive_int
from .states import Hypothesis, best_columns, log_softmax, stream_step, take_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._types import ArrayLike, State
    from ..nn.module import Module


def beam_search(step: "Module | Callable[..., Any]", state: "State", start: "ArrayLike", *, length: int,
                beam_size: int = 4, end: int | None = None, length_penalty: float = 0.6, n_best: int = 1,
                early_stop: bool = False) -> "list[list[Hypothesis]]":
    """The likeliest continuations of B sequences, each by a beam of its own, in one batch.

    Hypotheses are ranked by their logarithm of probability over a normalisation by their length |Y| (Wu et al. 2016):

        score(Y) = log P(Y) / ((5 + |Y|) / 6)^length_penalty

    Parameters
    ----------
    step : network, or callable (ids (N,), state) -> (logits (N, V), state)
        A network is stepped through its stream. N is B * beam_size; every array of a state is (L, N, H), as the
        engine's are, in any nesting of tuples with None.
    state : None, array (L, B, H), or tuple of such
        Where the sequences go on from: what a network, an encoder or ``stream.state`` gave.
    start : int array (B,)
        The id that each sequence goes on from.
    length : int
        The most ids of a hypothesis; one that has not ended by then counts as it is.
    beam_size : int
        Hypotheses W kept at each step.
    end : int, optional
        The id that ends a hypothesis; it counts in P and in |Y|, and is left out of the labels.
    length_penalty : float, at least 0
        0 ranks by log P, which favours short ones.
    n_best : int, at most beam_size
    early_stop : bool
        Whether a sequence's search ends as soon as `beam_size` of its hypotheses have, each when it was among the best
        `beam_size` of its step; otherwise it goes on until none that is left can come among the best.

    Returns
    -------
    list of B lists of `Hypothesis`
        Best first: at most n_best, fewer where there are no more.
    """
    step = step if not hasattr(step, "stream") else stream_step(step)
    if not callable(step):
        raise TypeError(f"step: expected a network or a function, found {type(step).__name__}")
    start = check_symbols(start, "start", 2**31 - 1)
    length = check_positive_int(length, "length")
    width = check_positive_int(beam_size, "beam_size")
    n_best = check_positive_int(n_best, "n_best", high=width)
    power = check_number(length_penalty, "length_penalty", low=0)
    early_stop = check_bool(early_stop, "early_stop")
    batch = len(start)
    live = np.where(np.arange(width) == 0, 0.0, -np.inf) * np.ones((batch, 1))  # log P
    ids = np.empty((batch, width, 0), np.int64)
    done = [[] for _ in range(batch)]
    state = take_rows(state, np.repeat(np.arange(batch), width))
    last, searching, ended = np.repeat(start, width), np.ones(batch, bool), np.zeros(batch, np.int64)
    for n in range(1, length + 1):
        logits, state = step(last, state)
        scores = live[:, :, None] + log_softmax(logits).reshape(batch, width, -1)
        if n == 1 and end is not None:
            end = check_positive_int(end, "end", low=0, high=scores.shape[2] - 1)
        norm = ((5 + n) / 6) ** power
        if end is not None:
            if early_stop:
                worst = -np.partition(-scores.reshape(batch, -1), width - 1, axis=1)[:, width - 1]
                ended += ((scores[:, :, end] >= worst[:, None]) & (scores[:, :, end] > -np.inf)).sum(axis=1)
            _finish(done, ids, scores[:, :, end] / norm, searching, width)
            scores[:, :, end] = -np.inf
        flat = scores.reshape(batch, -1)
        best = best_columns(flat, width)
        live = np.take_along_axis(flat, best, axis=1)
        beams, labels = np.divmod(best, scores.shape[2])
        ids = np.concatenate([np.take_along_axis(ids, beams[:, :, None], axis=1), labels[:, :, None]], axis=2)
        searching &= _may_improve(done, live[:, 0] / ((5 + length) / 6) ** power, n_best)
        if early_stop:
            searching &= ended < width
        if not searching.any():
            break
        last = labels.ravel()
        state = take_rows(state, (beams + width * np.arange(batch)[:, None]).ravel())
    else:
        _finish(done, ids, live / norm, searching, width)
    return [found[:n_best] for found in done]


def _finish(done, ids, scores, searching, width):
    """Add each beam's hypotheses with these scores, as far as they are possible, to the best `width` done."""
    for b in np.flatnonzero(searching):
        found = [Hypothesis(ids[b, w].copy(), float(scores[b, w])) for w in np.flatnonzero(scores[b] > -np.inf)]
        done[b] = sorted(done[b] + found, key=lambda h: -h.score)[:width]


def _may_improve(done, bound, n_best):
    """Whether a live hypothesis could still come among the best: log P only falls, and no norm is above the last."""
    return np.array([len(found) < n_best or found[n_best - 1].score < top for found, top in zip(done, bound)])

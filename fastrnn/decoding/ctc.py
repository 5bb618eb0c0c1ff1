"""Labels from the outputs of a network trained with the CTC loss."""

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from .. import memory
from ..check.arrays import check_axes, check_floats
from ..check.sequences import check_lengths, check_sequence
from ..check.values import check_number, check_positive_int, shown
from ..nn.module import Turn
from .language import as_scores
from .states import Hypothesis, best_columns, join_rows, largest, log_softmax, take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._types import ArrayLike, Ints

TREE_BYTES = 500    # of a beam's empty tree, about


def ctc_greedy(logits: "ArrayLike", lengths: "Ints | None" = None, *, blank: int = 0,
               batch_first: bool = True) -> "Any":
    """The labels of the likeliest path (Graves et al. 2006): the best of each step, repetitions once, no blanks.

    Parameters
    ----------
    logits : array (B, T, K), (T, B, K) with ``batch_first=False``, or (T, K)
        Or logarithms of probabilities.
    lengths : sequence of B ints, optional
    blank : int
    batch_first : bool

    Returns
    -------
    list of B int64 arrays; for (T, K) one array

    Raises
    ------
    ValueError
        Naming the argument; where the largest logit of a valid step is not finite, as NaN is not.
    """
    x, lengths, one = _batch(logits, lengths, batch_first)
    blank = check_positive_int(blank, "blank", low=0, high=x.shape[2] - 1)
    best, (batch, steps, _) = x.argmax(axis=2), x.shape
    top = x[np.arange(batch)[:, None], np.arange(steps), best]      # a NaN, where there is one
    largest(top[np.arange(steps) < lengths[:, None]][:, None])
    paths = [row[:n] for row, n in zip(best, lengths)]
    found = [np.array([k for k, _ in groupby(path.tolist()) if k != blank], np.int64) for path in paths]
    return found[0] if one else found


def ctc_beam_search(logits: "ArrayLike", lengths: "Ints | None" = None, *, beam_size: int = 16, n_best: int = 1,
                    blank: int = 0, batch_first: bool = True, **options: "Any") -> "Any":
    """The likeliest labels over all their paths, by prefix beam search (Graves 2008; Hannun et al. 2014).

    Parameters
    ----------
    logits : array (B, T, K), (T, B, K) with ``batch_first=False``, or (T, K)
        Or logarithms of probabilities.
    lengths : sequence of B ints, optional
    n_best : int, at most beam_size
    batch_first : bool
    beam_size, blank, **options
        See `CTCBeamSearch`.

    Returns
    -------
    list of B lists of `Hypothesis`, best first; for (T, K) one list
    """
    x, lengths, one = _batch(logits, lengths, batch_first)
    n_best = check_positive_int(n_best, "n_best", high=check_positive_int(beam_size, "beam_size"))
    search = CTCBeamSearch(x.shape[2], len(x), beam_size=beam_size, blank=blank, **options)
    search.run(x, lengths)
    found = search.hypotheses(n_best)
    return found[0] if one else found


def _batch(logits, lengths, batch_first):
    """(B, T, K), its lengths, and whether it was one sequence (T, K)."""
    x = check_sequence(logits, "logits")
    one = x.ndim == 2
    if one:
        if lengths is not None:
            raise ValueError(f"lengths: expected None for one sequence (T, K), found {shown(lengths)}")
        x = x[None]
    elif not batch_first:
        x = x.swapaxes(0, 1)
    lengths = check_lengths(np.full(len(x), x.shape[1]) if lengths is None else lengths, len(x), x.shape[1])
    return x, lengths, one


class CTCBeamSearch:
    """A prefix beam search that takes the outputs of B sequences as they come, a step or a chunk at a time.

    A prefix l is ranked by log P(l) + alpha log P_lm(l) + beta |l|, with P(l) the probability of all paths so far that
    spell it, as far as the beam has kept their prefixes (Hannun et al. 2014).

    Parameters
    ----------
    classes : int
        K, the blank included.
    batch_size : int
    beam_size : int
        Prefixes W kept for each sequence.
    blank : int
    candidates : int, optional
        Prefixes grow by the likeliest so many labels of a step only; saves time where K is large.
    lm : network or callable, optional
        A network from ids to logits of the next id, with labels for ids and the blank's to begin with; a `CharModel`,
        for which `alphabet` tells the labels' characters, after a newline; or a function (labels so far, a tuple) ->
        log P (K,) of the next label. `NetworkScores` gives other ids and beginnings.
    alpha : float
        Weight of the language model.
    beta : float
        Bonus of each label.
    alphabet : str or list of K str, optional

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    def __init__(
        self,
        classes: int,
        batch_size: int = 1,
        *,
        beam_size: int = 16,
        blank: int = 0,
        candidates: int | None = None,
        lm: "Any" = None,
        alpha: float = 0.5,
        beta: float = 0.0,
        alphabet: "str | Sequence[str] | None" = None,
    ) -> None:
        self.classes = check_positive_int(classes, "classes")
        self.batch_size = check_positive_int(batch_size, "batch_size", low=0)
        self.beam_size = check_positive_int(beam_size, "beam_size")
        self.blank = check_positive_int(blank, "blank", low=0, high=classes - 1)
        most = classes - 1
        self._grown = most if candidates is None else min(most, check_positive_int(candidates, "candidates"))
        self._alpha = check_number(alpha, "alpha", low=0)
        self._beta = check_number(beta, "beta")
        self._lm = None if lm is None else as_scores(lm, self.classes, self.blank, alphabet)
        if self._alpha == 0:
            self._lm = None
        memory.require(self.batch_size * (TREE_BYTES + self.beam_size * (40 + 8 * self.classes)), "batch_size",
                       f"{self.batch_size} searches of {self.beam_size} prefixes and {self.classes} classes",
                       "use fewer of them")
        self._turn = Turn("search")
        self.reset()

    def reset(self) -> None:
        """Back to empty prefixes."""
        shape = (self.batch_size, self.beam_size)
        self._trees = [_Tree() for _ in range(self.batch_size)]
        self._node = np.full(shape, -1)  # of the tree; -1: no prefix in this place
        self._node[:, 0] = 0
        self._parent, self._last = np.full(shape, -1), np.full(shape, -1)
        self._blank_end = np.full(shape, -np.inf)  # log P of the paths that end in a blank, in a label
        self._blank_end[:, 0] = 0
        self._label_end = np.full(shape, -np.inf)
        self._bonus = np.zeros(shape)  # alpha log P_lm + beta |l|
        self._next = np.full((*shape, self.classes), self._beta)  # what each label would add to it
        if self._lm is not None:
            self._lm_state, scores = self._lm.begin(self._node.size)
            self._next += self._alpha * scores.reshape(self._next.shape)

    def step(self, logits: "ArrayLike") -> None:
        """Take one step's logits, or logarithms of probabilities: (B, K), or (K,) where B is 1."""
        x = check_floats(logits, "logits")
        wanted = {2: f"({self.batch_size}, {self.classes})"}
        if self.batch_size == 1:
            wanted[1] = f"({self.classes},)"
        x = check_axes(x, "logits", wanted).reshape(-1, x.shape[-1])
        if x.shape != (self.batch_size, self.classes):
            raise ValueError(f"logits: expected shape {wanted[2]}, found {x.shape}")
        with self._turn:
            self._advance(np.arange(self.batch_size), log_softmax(x))

    def run(self, logits: "ArrayLike", lengths: "Ints | None" = None) -> None:
        """Take several steps: (B, T, K), or (T, K) where B is 1; `lengths`: of them how many of each sequence."""
        x, lengths, _ = _batch(logits, lengths, True)
        if x.shape[::2] != (self.batch_size, self.classes):
            raise ValueError(f"logits: expected shape ({self.batch_size}, T, {self.classes}), found {x.shape}")
        log_p = log_softmax(np.where((np.arange(x.shape[1]) < lengths[:, None])[:, :, None], x, 0))
        with self._turn:
            for t in range(x.shape[1]):
                rows = np.flatnonzero(lengths > t)
                if rows.size:
                    self._advance(rows, log_p[rows, t])

    def hypotheses(self, n_best: int = 1) -> "list[list[Hypothesis]]":
        """The best prefixes so far: a list of B lists of `Hypothesis`, best first."""
        n_best = check_positive_int(n_best, "n_best", high=self.beam_size)
        score = np.where(self._node >= 0, np.logaddexp(self._blank_end, self._label_end) + self._bonus, -np.inf)
        return [[Hypothesis(tree.labels(node[w]), float(row[w]))
                 for w in np.argsort(-row, kind="stable")[:n_best] if row[w] > -np.inf]
                for tree, node, row in zip(self._trees, self._node, score)]

    def _advance(self, rows, log_p):
        """One step of the sequences `rows`; log_p: (A, K)."""
        node, parent, last = self._node[rows], self._parent[rows], self._last[rows]
        blank_end, label_end, bonus = self._blank_end[rows], self._label_end[rows], self._bonus[rows]
        total = np.logaddexp(blank_end, label_end)
        log_last = np.where(last >= 0, np.take_along_axis(log_p, np.maximum(last, 0), axis=1), -np.inf)

        # a prefix stays as it is, by a blank or its last label again; and it grows out of its parent, if that is here
        at, found = _positions(node, parent)
        grown = np.where(np.take_along_axis(last, at, axis=1) == last,
                         np.take_along_axis(blank_end, at, axis=1), np.take_along_axis(total, at, axis=1))
        stay_blank = total + log_p[:, [self.blank]]
        stay_label = np.logaddexp(label_end, np.where(found, grown, -np.inf)) + log_last

        # new prefixes: every place with every label, but for those that are here already
        labels = self._candidates(log_p)
        log_label = np.take_along_axis(log_p, labels, axis=1)
        grow = np.where(labels[:, None] == last[:, :, None], blank_end[:, :, None], total[:, :, None])
        grow += log_label[:, None]
        a, w = np.nonzero(found)
        which, c = np.nonzero(labels[a] == last[a, w, None])
        grow[a[which], at[a, w][which], c] = -np.inf
        places = np.arange(self.beam_size)
        grown_bonus = bonus[:, :, None] + self._next[rows[:, None, None], places[:, None], labels[:, None]]

        staying = np.logaddexp(stay_blank, stay_label) + bonus
        ranked = np.concatenate([staying, (grow + grown_bonus).reshape(len(rows), -1)], axis=1)
        self._keep(rows, ranked, labels, grow, grown_bonus, stay_blank, stay_label)

    def _keep(self, rows, ranked, labels, grow, grown_bonus, stay_blank, stay_label):
        """Make the best of `ranked`, the prefixes that stay and then those that grow, the new beam."""
        best = best_columns(ranked, self.beam_size)
        possible = np.take_along_axis(ranked, best, axis=1) > -np.inf
        is_new = best >= self.beam_size
        origin = best - self.beam_size  # in `grow`
        place = np.where(is_new, origin // max(1, self._grown), best)
        origin = np.where(is_new, origin, 0)

        def picked(old, new):
            """Entries of prefixes that stay, and of those that are new."""
            old = np.take_along_axis(old, place, axis=1)
            return np.where(is_new, np.take_along_axis(new.reshape(len(rows), -1), origin, axis=1), old) \
                if new.size else old

        blank_end = np.where(is_new, -np.inf, np.take_along_axis(stay_blank, place, axis=1))
        label_end = picked(stay_label, grow)
        bonus = picked(self._bonus[rows], grown_bonus)
        spread = np.broadcast_to(labels[:, None], grow.shape)
        last = picked(self._last[rows], spread)
        from_node = np.take_along_axis(self._node[rows], place, axis=1)
        parent = np.where(is_new, from_node, np.take_along_axis(self._parent[rows], place, axis=1))
        node = from_node.copy()
        for a, w in zip(*np.nonzero(is_new & possible)):
            node[a, w] = self._trees[rows[a]].child(int(from_node[a, w]), int(last[a, w]))
        node[~possible], parent[~possible], last[~possible] = -1, -1, -1
        self._node[rows], self._parent[rows], self._last[rows] = node, parent, last
        self._blank_end[rows] = np.where(possible, blank_end, -np.inf)
        self._label_end[rows] = np.where(possible, label_end, -np.inf)
        self._bonus[rows] = np.where(possible, bonus, 0)
        if self._lm is not None:
            self._ask(rows, place, is_new & possible, last)

    def _ask(self, rows, place, is_new, last):
        """Bring the language model's states and scores in line with the beam; only new prefixes are asked about."""
        flat = np.arange(self._node.size).reshape(self._node.shape)
        flat[rows] = rows[:, None] * self.beam_size + place
        a, w = np.nonzero(is_new)
        self._next = self._next.reshape(-1, self.classes)[flat]
        if a.size:
            state, scores = self._lm.advance(take_rows(self._lm_state, flat[rows[a], w]), last[a, w])
            self._lm_state = join_rows(self._lm_state, state)
            self._next[rows[a], w] = self._beta + self._alpha * scores
            flat[rows[a], w] = self._node.size + np.arange(a.size)
        self._lm_state = take_rows(self._lm_state, flat.ravel())

    def _candidates(self, log_p):
        """Labels (A, C) by which prefixes may grow."""
        labels = np.delete(np.arange(self.classes), self.blank)
        if self._grown == labels.size:
            return np.broadcast_to(labels, (len(log_p), labels.size))
        return labels[best_columns(log_p[:, labels], self._grown)]


class _Tree:
    """The prefixes that one sequence's beam has held: number 0 is empty, any other is its parent and a label."""

    def __init__(self):
        self._parents, self._labels, self._children = [-1], [-1], {}

    def child(self, node, label):
        """The number of a prefix and one more label, the same whenever it comes back."""
        number = self._children.setdefault((node, label), len(self._parents))
        if number == len(self._parents):
            self._parents.append(node)
            self._labels.append(label)
        return number

    def labels(self, node):
        """int64 array (n,)"""
        found = []
        while node > 0:
            found.append(self._labels[node])
            node = self._parents[node]
        return np.array(found[::-1], np.int64)


def _positions(node, parent):
    """Where in its row each prefix's parent is, and whether it is there."""
    same = (parent[:, :, None] == node[:, None]) & (parent[:, :, None] >= 0)
    return same.argmax(axis=2), same.any(axis=2)

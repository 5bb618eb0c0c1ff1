"""Sequences drawn from a network's own predictions, step by step."""

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_floats, check_vector
from ..check.symbols import check_logits, check_next, check_prompts, check_stepped, check_symbols
from ..check.values import check_number, check_positive_int
from .states import generators, largest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._types import Array, ArrayLike, Inputs, Seed
    from ..nn.module import Module


def choose(logits: "ArrayLike", draws: "ArrayLike", *, temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None) -> "Array":
    """The id drawn in each row from softmax(logits / temperature), held to the likeliest.

    Parameters
    ----------
    logits : array (B, V)
    draws : array (B,)
        Uniform in [0, 1): where in its distribution, from the likeliest on, each row's id lies.
    temperature, top_k, top_p
        As for `sample`.

    Returns
    -------
    int64 array (B,)

    Raises
    ------
    ValueError
        For a row whose largest logit is not finite.
    """
    x = check_logits(logits, "logits", 2)
    options = check_draw(temperature, top_k, top_p)
    if not len(x):
        return np.empty(0, np.int64)
    return chosen(x, check_vector(draws, "draws", len(x), low=0, below=1), **options)


def chosen(logits, draws, *, temperature=1.0, top_k=None, top_p=None):
    """What `choose` does behind its checks."""
    x = np.asarray(logits, np.float64)
    top = largest(x)
    if temperature == 0:
        return x.argmax(axis=1)
    p = np.exp((x - top) / temperature)
    rows = np.arange(len(p))[:, None]
    order = (-p).argsort(axis=1, kind="stable")[:, :top_k]
    p = p[rows, order]
    if top_p is not None:
        total = p.cumsum(axis=1)
        p[:, 1:][total[:, :-1] >= top_p * total[:, -1:]] = 0
    total = p.cumsum(axis=1)
    at = (total <= draws[:, None] * total[:, -1:]).sum(axis=1)
    at = np.minimum(at, (p > 0).sum(axis=1) - 1)
    return order[rows[:, 0], at]


def penalise(logits: "Array", seen: "Array", penalty: float) -> "Array":
    """Logits with those of `seen` (bool, like logits) made less likely (Keskar et al. 2019).

    Positive ones are divided by the penalty, negative ones multiplied, so that one above 1 always lowers them.
    """
    penalty = check_number(penalty, "penalty", above=0)
    logits = check_floats(logits, "logits")
    return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)


def sample(
    network: "Module",
    prompts: "Inputs",
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    repetition_window: int | None = None,
    forbid: "Sequence[int]" = (),
    end: int | None = None,
    seed: "Seed | Sequence[Seed]" = None,
) -> "Iterator[Array]":
    """Ids drawn from a network that predicts the next one, for many prompts at a time, step by step.

    Parameters
    ----------
    network : Sequential
        From ids to logits of the next id, an output for every step, such as `CharModel`.
    prompts : list of B int arrays (P_i,), or int array (B, P)
        Ids that each sequence goes on from, at least one each.
    length : int
        Steps.
    temperature : float, at least 0
        Divides the logits; 0 always takes the likeliest.
    top_k : int, optional
        Draw from the likeliest k only.
    top_p : float in (0, 1], optional
        Draw from the fewest likeliest that together have at least this probability (nucleus sampling, Holtzman et al.
        2020), after top_k.
    repetition_penalty : float, above 0
        Above 1 makes ids that the sequence already had, its prompt included, less likely; see `penalise`.
    repetition_window : int, optional
        How many ids back the penalty looks; all of them by default.
    forbid : sequence of int
        Ids that are never drawn.
    end : int, optional
        A sequence that drew it repeats it from then on; when all have, the iterator ends.
    seed : int, SeedSequence, Generator or None, or a list of B
        Each prompt draws from a generator of its own: spawned from the one seed, or of its own seed in a list. What is
        drawn for a prompt does not depend on the prompts after it, or with a list on any other.

    Returns
    -------
    iterator of int64 arrays (B,)
        The next id of each sequence.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; before the first step.
    """
    check_stepped(network, "network")
    prompts = check_prompts(prompts, "prompts")
    length = check_positive_int(length, "length", low=0)
    options = check_draw(temperature, top_k, top_p)
    penalty = check_number(repetition_penalty, "repetition_penalty", above=0)
    window = None if repetition_window is None else check_positive_int(repetition_window, "repetition_window")
    rngs = generators(seed, len(prompts))
    stream, logits = _primed(network, prompts)
    forbidden = check_symbols(forbid, "forbid", logits.shape[1])
    end = None if end is None else check_positive_int(end, "end", low=0, high=logits.shape[1] - 1)
    recent = None if penalty == 1 else _Recent(prompts, logits.shape[1], window)
    return draw(stream, logits, length, rngs, penalty=penalty, recent=recent, forbidden=forbidden, end=end, **options)


def check_draw(temperature, top_k, top_p):
    """The options of `choose` by their names, checked."""
    return {
        "temperature": check_number(temperature, "temperature", low=0),
        "top_k": None if top_k is None else check_positive_int(top_k, "top_k"),
        "top_p": None if top_p is None else check_number(top_p, "top_p", above=0, high=1),
    }


def _primed(network, prompts):
    """A stream that has seen all prompts, and the logits of what comes next."""
    stream = network.stream(len(prompts))
    if network.recurrent and any(len(p) > 1 for p in prompts):
        _, stream.state = network([p[:-1] for p in prompts])
    logits = stream.step(np.array([p[-1] for p in prompts]))
    return stream, check_next(logits, "network")


def draw(stream, logits, length, rngs, *, penalty=1.0, recent=None, forbidden=(), end=None, **options):
    """Ids (B,) of one step after another, from the first ones' logits on; ``stream.step(ids)`` gives the next logits.

    What `sample` does behind its checks: rngs are one generator for each row, options those of `choose`.
    """
    ended = np.zeros(len(rngs), bool)
    for k in range(length):
        if recent is not None:
            logits = penalise(logits, recent.seen(), penalty)
        if len(forbidden):
            logits = logits.copy()
            logits[:, forbidden] = -np.inf
        ids = chosen(logits, np.array([rng.random() for rng in rngs]), **options)
        if end is not None:
            ids[ended] = end
            ended |= ids == end
        yield ids
        if ended.all() or k + 1 == length:
            return
        if recent is not None:
            recent.add(ids)
        logits = stream.step(ids)


class _Recent:
    """Which of `size` ids each sequence had among its last `window`."""

    def __init__(self, prompts, size, window):
        self._rows, self._window = np.arange(len(prompts)), window
        self._counts = np.zeros((len(prompts), size + 1), np.int64)  # the last column: of no id that is predicted
        self._past = deque()
        longest = max(map(len, prompts))
        for k in range(max(0, longest - (window or longest)), longest):
            at = [k - longest + len(p) for p in prompts]  # all prompts end together
            self.add(np.array([min(p[i], size) if i >= 0 else size for i, p in zip(at, prompts)]))

    def add(self, ids):
        self._counts[self._rows, ids] += 1
        if self._window is not None:
            self._past.append(ids)
            if len(self._past) > self._window:
                self._counts[self._rows, self._past.popleft()] -= 1

    def seen(self):
        return self._counts[:, :-1] > 0

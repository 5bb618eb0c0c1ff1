"""What the decoders share: hypotheses, logarithms of probabilities, and sequences' rows of the engine's states."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..check.symbols import check_logits, check_stepped, check_symbols
from ..check.values import check_generator, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._types import Array, ArrayLike, State


class Hypothesis(NamedTuple):
    """A decoded sequence: labels, int64 (n,), and the score by which it was ranked."""

    labels: np.ndarray
    score: float


def log_softmax(logits: "ArrayLike") -> "Array":
    """x - log(sum_k exp(x_k)) over the last axis, float64; a ValueError where the largest is not finite."""
    x = check_logits(logits, "logits")
    x = x - largest(x)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def largest(logits):
    """The largest of each row, with its axis; an error where it is not finite."""
    top = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError(f"logits: expected a finite largest one in every row, found {top[~np.isfinite(top)][0]}")
    return top


def best_columns(scores, width):
    """Columns of the `width` largest in each row of (N, M), the largest first and ties in order."""
    if width < scores.shape[1]:
        found = np.sort(np.argpartition(-scores, width - 1, axis=1)[:, :width], axis=1)
    else:
        found = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def take_rows(state: "State", rows: "ArrayLike") -> "State":
    """The state of the sequences with the indices `rows`, in that order, each as often as it is there.

    Parameters
    ----------
    state : None, array (L, B, H), or a tuple of such, as runners, networks and their streams have them
    rows : int array (N,)

    Returns
    -------
    The same nesting with arrays (L, N, H).
    """
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(take_rows(part, rows) for part in state)
    if not isinstance(state, np.ndarray) or state.ndim < 2:
        raise ValueError(f"state: expected arrays (L, B, ...), found {shown(state)}")
    rows = check_symbols(rows, "rows", state.shape[1])
    return np.take(state, rows, axis=1)  # C-ordered, as compiled code reads it


def join_rows(first, second):
    """The sequences of one state and then those of another."""
    if first is None:
        return None
    if isinstance(first, tuple):
        return tuple(map(join_rows, first, second))
    return np.concatenate([first, second], axis=1)


def stream_step(network: "Any") -> "Callable[..., Any]":
    """A function (ids (B,), state) -> (logits (B, V), state) that steps a network's stream, for any B in turn.

    Parameters
    ----------
    network : a module with `stream` that has an output for every step
    """
    check_stepped(network, "network")
    spare = []  # (batch size, stream): the last one used; a caller takes it for its own, other threads get another

    def step(ids, state):
        try:
            count, stream = spare.pop()
        except IndexError:
            count = None
        if count != len(ids):
            stream = network.stream(len(ids))
        stream.state = state
        found = stream.step(ids), stream.state
        spare[:] = [(len(ids), stream)]
        return found

    return step


def generators(seed, count):
    """`count` generators: of a list of as many seeds, or spawned from one."""
    if not isinstance(seed, (list, tuple)):
        return check_generator(seed, "seed").spawn(count)
    if len(seed) != count:
        raise ValueError(f"seed: expected one, or a list of {count}, one for each prompt; found {len(seed)}")
    return [check_generator(one, f"seed[{k}]") for k, one in enumerate(seed)]

"""Truncated BPTT: the steps that each update runs, counts in the loss, and sends the gradient back through.

Every k1 steps there is an update whose loss is the mean over those k1 new steps and whose gradient flows back through
the last k2 >= k1 steps: the BPTT(h; h') of Williams and Peng (1990) with h = k2 and h' = k1. Each step counts in
exactly one update of an epoch. An update runs the k2 - k1 steps before the new ones again, with the current parameters,
from the state that was kept before them; k1 = k2 runs nothing twice.
"""

from typing import TYPE_CHECKING, NamedTuple

from ..check.values import check_positive_int, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Span(NamedTuple):
    """The steps of one update: runs from `first` to `stop`, counts from `new` on; the next update runs from `carry`."""

    first: int
    new: int
    stop: int
    carry: int


def check_tbptt(value: "Any", name: str = "tbptt") -> tuple[int, int] | None:
    """(k1, k2) from k, for k1 = k2 = k, or from a pair with k2 >= k1; None stays None."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)):
        k = check_positive_int(value, name)
        return k, k
    if len(value) != 2:
        raise ValueError(f"{name}: expected steps per update, or a pair (k1, k2) of them; found {shown(value)}")
    k1, k2 = (check_positive_int(k, f"{name}[{i}]") for i, k in enumerate(value))
    if k2 < k1:
        raise ValueError(f"{name}: expected k2, the steps reached back over, of at least k1 = {k1}; found {k2}")
    return k1, k2


def spans(steps: int, k1: int, k2: int, start: int = 0) -> "Iterator[Span]":
    """The `Span` of each update of a sequence, from update number `start` on; at least one, even without steps.

    The last update of a sequence, with r < k1 new steps, goes back over k2 - k1 + r steps.
    """
    for j in range(start, count(steps, k1)):
        stop = min((j + 1) * k1, steps)
        yield Span(max(0, (j + 1) * k1 - k2), j * k1, stop, min(max(0, (j + 2) * k1 - k2), stop))


def count(steps: int, k1: int) -> int:
    """Number of updates for `steps` steps."""
    return max(1, -(-steps // k1))

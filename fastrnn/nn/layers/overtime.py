"""Layers that reduce the steps of a sequence to one."""

from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_floats
from ...check.sequences import check_lengths, check_sequence
from ...check.states import check_mean_step, check_sum_and_count
from ...check.values import check_bool, check_option, check_positive_int
from ..options import DIRECTIONS
from .axes import time_major, valid_steps
from .base import Layer, LayerStream, StateStream, written

if TYPE_CHECKING:
    from typing import Literal

    from ..._types import Array, ArrayLike, State


class Pooling(Layer, base=True):
    """Base of the layers that reduce (B, T, H), or (T, B, H), or unbatched (T, H), to (B, H) or (H,).

    A subclass defines ``_pool(y, x, lengths)`` and ``_unpool(dx, dy, lengths)``, with x, dx (T, B, H), y, dy
    (B, H) and lengths (B,); y and dx are zeros at first. A sequence of length 0 gives zeros.

    Parameters
    ----------
    batch_first : bool
        A `Sequential` around this layer sets it.
    """

    assignable = (("batch_first", check_bool),)
    pools_time = True
    takes_ids = False

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    def _apply(self, x, lengths, training):
        x = check_sequence(x, "x")
        steps = time_major(x, self.batch_first)
        if lengths is None:
            lengths = self._whole(steps)
        else:
            lengths = check_lengths(lengths, steps.shape[1], steps.shape[0])
        y = np.zeros(steps.shape[1:], x.dtype)
        self._pool(y, steps, lengths)
        return y.reshape(y.shape[-x.ndim + 1:]), (x.shape, lengths)

    def _whole(self, x):
        """The lengths of sequences that have all steps of x (T, B, H)."""
        return np.full(x.shape[1], x.shape[0])

    def _gradient(self, dy, shape, lengths):
        dx = np.zeros(shape, dy.dtype)
        self._unpool(time_major(dx, self.batch_first), dy.reshape(-1, dy.shape[-1]), lengths)
        return dx


class LastStep(Pooling):
    """The output of the step that each sequence's runner has read last. In a stream it is always the newest.

    A forward direction ends at a sequence's last valid step, a reverse one at its first.

    Parameters
    ----------
    bidirectional : bool, optional
        Whether the second half of the features comes from a reverse direction, which ends at the first step; False
        takes all features of the last valid step, whatever they come from. None: as the runner before it in the
        `Sequential` reads, layers that keep the features apart (dropout, normalisation, scales) in between or not;
        after a layer that mixes both directions' features, as `Linear` does, the last valid step of its output.
    direction : "forward", "reverse" or "bidirectional", optional
        The same, of one direction or both, as the argument of runners; None as above.
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.

    Notes
    -----
    Networks are saved with the direction that they were built with, and keep it.
    """

    def __init__(self, *, bidirectional: bool | None = None,
                 direction: "Literal['forward', 'reverse', 'bidirectional'] | None" = None,
                 batch_first: bool = False) -> None:
        super().__init__(batch_first=batch_first)
        if direction is not None:
            direction = check_option(direction, "direction", DIRECTIONS)
        if bidirectional is not None:
            both = check_bool(bidirectional, "bidirectional")
            if direction is None:
                direction = "bidirectional" if both else "forward"
            elif both != (direction == "bidirectional"):
                raise ValueError(f"direction: expected one that fits bidirectional={both}, found {direction!r}")
        self._told, self._follows = direction is not None, None
        self.direction = direction or "forward"
        self.bidirectional = self.direction == "bidirectional"

    def _follow(self, direction):
        """Take the end of this direction, that of the runner before it, unless it was told one."""
        if self._told:
            return
        if direction == "mixed":
            raise ValueError("LastStep: expected features that all come of one direction or the halves of a "
                             "bidirectional runner, found others; say LastStep(direction=...)")
        if self._follows not in (None, direction):
            raise ValueError(f"LastStep: expected one for each network, found one behind a {self._follows} runner and "
                             f"a {direction} one; build another, or say LastStep(direction=...)")
        self._follows = direction
        vars(self).update(direction=direction, bidirectional=direction == "bidirectional")

    def stream(self, batch_size: int = 1) -> "LastStepStream":
        """A session that returns each step as it comes, and the last step of a chunk."""
        if self.direction != "forward":
            name, wanted = ("bidirectional", False) if self.bidirectional else ("direction", "'forward'")
            raise ValueError(f"{name}: expected {wanted} in a stream, which has no reverse direction")
        check_positive_int(batch_size, "batch_size")
        return LastStepStream(self)

    def _argument(self, name):
        known = self._told or self._follows or name not in ("bidirectional", "direction")
        return super()._argument(name) if known else None

    def _whole(self, x):
        return None if len(x) else super()._whole(x)    # None: the same step of all

    def _pool(self, y, x, lengths):
        for part, valid, last in self._ends(y.shape[-1], lengths):
            y[valid, part] = x[last, valid, part]

    def _unpool(self, dx, dy, lengths):
        for part, valid, last in self._ends(dy.shape[-1], lengths):
            dx[last, valid, part] = dy[valid, part]

    def _ends(self, features, lengths):
        """(features, sequences, the steps read last) for each direction that has features."""
        forward = {"forward": features, "reverse": 0, "bidirectional": features // 2}[self.direction]
        valid = slice(None) if lengths is None else np.flatnonzero(lengths)
        if forward:
            yield slice(None, forward), valid, -1 if lengths is None else lengths[valid] - 1
        if forward < features:
            yield slice(forward, None), valid, 0 if lengths is None else np.zeros_like(valid)     # x may have no steps


class MeanOverTime(Pooling):
    """The mean of each sequence's valid steps. In a stream it is the mean of all steps since the start.

    Parameters
    ----------
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.
    """

    def stream(self, batch_size: int = 1) -> "MeanStream":
        """A session that returns the mean of the steps so far; its state is (their sum, their number)."""
        return MeanStream(self, check_positive_int(batch_size, "batch_size"))

    def _pool(self, y, x, lengths):
        np.sum(x, axis=0, where=valid_steps(x, lengths), out=y)
        y /= np.maximum(lengths, 1)[:, None]

    def _unpool(self, dx, dy, lengths):
        np.copyto(dx, dy / np.maximum(lengths, 1)[:, None], where=valid_steps(dx, lengths), casting="same_kind")


class MaxOverTime(Pooling):
    """The largest of each sequence's valid steps, for each feature. In a stream it is that of all steps so far.

    The gradient goes to the first of several largest steps; NaN gives NaN.

    Parameters
    ----------
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.
    """

    def stream(self, batch_size: int = 1) -> "MaxStream":
        """A session that returns the largest of the steps so far, which is its state."""
        return MaxStream(self, check_positive_int(batch_size, "batch_size"))

    def _apply(self, x, lengths, training):
        y, (shape, lengths) = super()._apply(x, lengths, training)
        if not training:
            return y, ()
        steps = time_major(check_sequence(x, "x"), self.batch_first)
        masked = np.where(valid_steps(steps, lengths), steps, -np.inf)
        place = masked.argmax(axis=0) if len(steps) else np.zeros(steps.shape[1:], np.intp)
        return y, (shape, lengths, place)

    def _gradient(self, dy, shape, lengths, place):
        dx = np.zeros(shape, dy.dtype)
        valid = np.flatnonzero(lengths)
        dy = dy.reshape(-1, dy.shape[-1])
        time_major(dx, self.batch_first)[place[valid], valid[:, None], np.arange(dy.shape[-1])] = dy[valid]
        return dx

    def _pool(self, y, x, lengths):
        np.max(x, axis=0, where=valid_steps(x, lengths), initial=-np.inf, out=y)
        y[lengths == 0] = 0


class LastStepStream(LayerStream):
    """A session with a `LastStep`."""

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        return written(check_floats(x, "x"), out)


class MaxStream(StateStream):
    """A session with a `MaxOverTime`. It has one caller at a time."""

    @property
    def state(self) -> "State":
        """The largest of the steps so far, (B, H); None before the first. Assign to it to go on from another one."""
        with self._turn:
            return None if self._largest is None else self._largest.copy()

    @state.setter
    def state(self, state: "State") -> None:
        if state is not None:
            state = check_floats(state, "state").copy()
            if state.ndim != 2 or len(state) != self._batch_size:
                raise ValueError(f"state: expected shape ({self._batch_size}, H), found {state.shape}")
        with self._turn:
            self._largest = state

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The largest after one more step."""
        x = check_floats(x, "x")
        with self._turn:
            return self._add(x, "x", x.shape, out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The largest after the steps of a chunk."""
        chunk = check_sequence(chunk, "chunk")
        steps = time_major(chunk, self._layer.batch_first)
        with self._turn:
            if len(steps):
                found = steps.max(axis=0)
            else:
                found = np.zeros(steps.shape[1:], chunk.dtype) if self._largest is None else self._largest
            found = found.reshape(found.shape[-chunk.ndim + 1 :])
            return self._add(found, "chunk", chunk.shape) if len(steps) else found.copy()

    def _add(self, x, name, shape, out=None):
        check_mean_step(x, name, shape, self._batch_size, 0.0 if self._largest is None else self._largest)
        found = np.atleast_2d(x)
        found = found.copy() if self._largest is None else np.maximum(self._largest, found)
        y = written(found.reshape(x.shape).astype(x.dtype), out)
        self._largest = found
        return y


class MeanStream(StateStream):
    """A session with a `MeanOverTime`. It has one caller at a time."""

    @property
    def state(self) -> "State":
        """The sum of the steps so far, and their number. Assign to it to continue from another state."""
        with self._turn:
            return self._total, self._count

    @state.setter
    def state(self, state: "State") -> None:
        state = (0.0, 0) if state is None else check_sum_and_count(state)
        with self._turn:
            self._total, self._count = state

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The mean after one more step."""
        x = check_floats(x, "x")
        with self._turn:
            return self._add(x, 1, "x", x.shape, out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The mean after the steps of a chunk."""
        chunk = check_sequence(chunk, "chunk")
        steps = chunk.shape[0 if chunk.ndim == 2 or not self._layer.batch_first else 1]
        with self._turn:
            return self._add(self._layer(chunk) * chunk.dtype.type(steps), steps, "chunk", chunk.shape)

    def _add(self, x, steps, name, shape, out=None):
        check_mean_step(x, name, shape, self._batch_size, self._total)
        total = (self._total.reshape(x.shape) if np.ndim(self._total) else self._total) + x
        count = self._count + steps
        y = written(total / x.dtype.type(max(count, 1)), out)
        self._total, self._count = total, count
        return y

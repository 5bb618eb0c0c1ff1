"""Layers that move steps: reversed, or side by side."""

import numpy as np

from ...check.arrays import real_array
from ...check.sequences import check_lengths, check_sequence
from ...check.values import check_bool
from .axes import time_major
from .base import Layer


class Reverse(Layer):
    """The steps of each sequence in the opposite order, within its own length: y_t = x_{n-1-t} for t < n, else 0.

    Ids may be reversed, too. There is no stream, as the last step comes first. `LastStep` behind it gives the step that
    the runner before it has read last, as ever.

    Parameters
    ----------
    batch_first : bool
        Layout of x, (B, T, ...) or (T, B, ...); floats (T, C) and ids (T,) are one sequence. A `Sequential` around this
        layer sets it.
    """

    assignable = (("batch_first", check_bool),)
    keeps_features = True
    needs_time = needs_whole_sequences = True

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    def _apply(self, x, lengths, training):
        x = real_array(x, "x")
        if not (x.dtype.kind in "iu" and x.ndim in (1, 2)):
            x = check_sequence(x, "x")
        single = x.ndim == (1 if x.dtype.kind in "iu" else 2)
        axis = 1 if self.batch_first and not single else 0
        if lengths is not None:
            if single:
                raise ValueError("lengths: expected None with unbatched x, found some")
            lengths = check_lengths(lengths, x.shape[1 - axis], x.shape[axis])
        return _reversed(x, axis, lengths), (axis, lengths)

    def _gradient(self, dy, axis, lengths):
        return _reversed(dy, axis, lengths)


class Flatten(Layer):
    """All steps of a sequence side by side, (B, T, C) to (B, T * C), for a `Linear` over all steps at once.

    All sequences have one length: of a list or lengths that differ, the steps would be different features. There is no
    stream, as all steps are needed at once.

    Parameters
    ----------
    batch_first : bool
        Layout of x, (B, T, C) or (T, B, C); (T, C) is one sequence, and gives (T * C,). A `Sequential` around this
        layer sets it.
    """

    assignable = (("batch_first", check_bool),)
    takes_ids = False
    pools_time = needs_time = needs_whole_sequences = True

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    def _apply(self, x, lengths, training):
        x = check_sequence(x, "x")
        steps = time_major(x, self.batch_first)
        count = len(steps)
        if lengths is not None:
            lengths = check_lengths(lengths, steps.shape[1], count)
            count = int(lengths.max(initial=0))
            if (lengths != count).any():
                raise ValueError(f"lengths: expected one length of all sequences for Flatten, found {lengths.min()} to "
                                 f"{count}; of other sequences take LastStep, MeanOverTime, MaxOverTime or attention")
        y = steps[:count].swapaxes(0, 1).reshape(steps.shape[1], -1)
        return y.reshape(y.shape[-x.ndim + 1:]), (x.shape, count)

    def _gradient(self, dy, shape, count):
        dx = np.zeros(shape, dy.dtype)
        steps = time_major(dx, self.batch_first)[:count]
        steps[...] = dy.reshape(steps.shape[1], count, -1).swapaxes(0, 1)
        return dx


def _reversed(x, axis, lengths):
    """A new array of x with the steps of each sequence reversed, and zeros beyond the lengths."""
    if lengths is None:
        return np.ascontiguousarray(np.flip(x, axis))
    y = np.zeros(x.shape, x.dtype)
    of, into = (a if axis == 1 else a.swapaxes(0, 1) for a in (x, y))
    for source, row, n in zip(of, into, lengths.tolist()):
        row[:n] = source[:n][::-1]
    return y

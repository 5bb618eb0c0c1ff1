"""What layers over windows of steps have in common: how many windows there are, and where they lie."""

from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_axes
from ...check.sequences import check_padded, end_sequences, ended
from ...check.values import check_bool, check_option, check_positive_int, shown
from .base import Layer

if TYPE_CHECKING:
    from ..._types import Array

BLOCK = 2**18   # elements of windows that are laid side by side at a time: they stay in the cache


class Windowed(Layer, base=True):
    """A layer whose output t is that of the window of steps that begins at step t * stride - padding.

    A subclass calls ``_place(...)`` in its constructor, and defines ``_of_windows(x, lengths, training) -> (y, kept)``
    and ``_to_windows(dy, *kept) -> dx``. There x is (B, S, C), padded, with the value `fill` in the padding and beyond
    the lengths, which may be None, and y (B, T, O).
    """

    assignable = (("batch_first", check_bool),)
    takes_ids = False
    needs_time = True
    fill = 0.0

    def _place(self, kernel_size, stride, padding, dilation, batch_first):
        self.kernel_size = check_positive_int(kernel_size, "kernel_size")
        self.stride = check_positive_int(stride, "stride")
        self.dilation = check_positive_int(dilation, "dilation")
        self.padding = padding
        self._reach = (self.kernel_size - 1) * self.dilation    # of a window beyond its first step
        if padding == "same" and self.stride != 1:
            raise ValueError(f"padding: expected another one than 'same' with stride={self.stride}")
        left = {"same": self._reach // 2, "causal": self._reach, "valid": 0}.get(padding, padding)
        self._around = left, {"same": self._reach - left, "causal": 0, "valid": 0}.get(padding, padding)
        self.needs_whole_sequences = self._reach > 0 or self.stride > 1 or self._around != (0, 0)
        self.batch_first = batch_first

    def output_lengths(self, lengths: "Array") -> "Array":
        """Windows of sequences of these lengths, floor((n + padding - dilation (kernel_size - 1) - 1) / stride) + 1, as
        in PyTorch; none of a sequence without steps. A ValueError where a sequence is shorter than a window."""
        lengths = np.asarray(lengths)
        around = sum(self._around)
        short = (lengths > 0) & (lengths + around <= self._reach)
        if short.any():
            raise ValueError(f"lengths: expected sequences of at least {self._reach + 1 - around} steps, or none, for "
                             f"the windows of {type(self).__name__}, found one of {lengths[short][0]}")
        return np.where(lengths > 0, (lengths + around - self._reach - 1) // self.stride + 1, 0)

    def _apply(self, x, lengths, training):
        x = self._checked(x)
        if lengths is not None:
            x, lengths = check_padded(x, lengths, self.batch_first)
        single = x.ndim == 2
        rows = x[None] if single else x if self.batch_first else x.swapaxes(0, 1)
        steps = rows.shape[1]
        self.output_lengths(np.array([steps]) if lengths is None else lengths)
        y, kept = self._of_windows(self._padded(rows, lengths), lengths, training)
        if lengths is not None:
            end_sequences(y, self.output_lengths(lengths))
        y = y[0] if single else y if self.batch_first else y.swapaxes(0, 1)
        return y, (single, steps, lengths, kept)

    def _gradient(self, dy, single, steps, lengths, kept):
        dy = dy[None] if single else dy if self.batch_first else dy.swapaxes(0, 1)
        if lengths is not None:
            dy = ended(dy, self.output_lengths(lengths), True)
        dx = self._to_windows(np.ascontiguousarray(dy), *kept)
        left = self._around[0]
        dx = dx[:, left : left + steps]
        if lengths is not None:
            end_sequences(dx, lengths)
        return np.ascontiguousarray(dx[0] if single else dx if self.batch_first else dx.swapaxes(0, 1))

    def _checked(self, x):
        raise NotImplementedError

    def _padded(self, x, lengths):
        """x (B, T, C) as windows see it, C-contiguous."""
        left, right = self._around
        if not x.shape[1] or (not left and not right and (lengths is None or not self.fill)):
            return np.ascontiguousarray(x)
        padded = np.empty((len(x), left + x.shape[1] + right, x.shape[2]), x.dtype)
        padded[:, :left] = padded[:, left + x.shape[1] :] = self.fill
        padded[:, left : left + x.shape[1]] = x
        if self.fill and lengths is not None:
            for row, n in zip(padded, lengths.tolist()):
                row[left + n :] = self.fill
        return padded

    def _count(self, steps):
        """Windows of so many steps, padding included."""
        return max((steps - self._reach - 1) // self.stride + 1, 0)

    def _windows(self, x):
        """x (B, S, C) as (B, T, kernel_size, C): a view."""
        batch, step, feature = x.strides
        shape = len(x), self._count(x.shape[1]), self.kernel_size, x.shape[2]
        if not min(shape):
            return np.empty(shape, x.dtype)
        return np.lib.stride_tricks.as_strided(
            x, shape, (batch, step * self.stride, step * self.dilation, feature), writeable=x.flags.writeable)

    def _places(self, x):
        """(number, view (B, T, C)) of each place of the windows of x (B, S, C)."""
        count = self._count(x.shape[1])
        for j in range(self.kernel_size):
            first = j * self.dilation
            yield j, x[:, first : first + (count - 1) * self.stride + 1 : self.stride] if count else x[:, :0]


def check_padding(padding, options=(), most=None):
    """An int from 0 up to `most`, or one of the `options`."""
    if isinstance(padding, str):
        if not options:
            raise TypeError(f"padding: expected an int, found {shown(padding)}")
        return check_option(padding, "padding", options)
    return check_positive_int(padding, "padding", low=0, **({} if most is None else {"high": most}))


def check_channels(x, name):
    """x with a time axis, (T, C) or (B, T, C)."""
    return check_axes(x, name, {2: "(T, C)", 3: "(B, T, C)"})


def blocks(batch, steps, width):
    """Parts of (batch, steps) as pairs of slices, of whole sequences or else of steps of one, of about BLOCK elements
    when each step has `width`."""
    if steps * width <= BLOCK:
        size = max(BLOCK // max(steps * width, 1), 1)
        for k in range(0, batch, size):
            yield slice(k, k + size), slice(None)
        return
    size = max(BLOCK // width, 1)
    for k in range(batch):
        for t in range(0, steps, size):
            yield slice(k, k + 1), slice(t, t + size)

"""The largest and the mean of the steps in windows."""

import numpy as np

from ...check.sequences import check_sequence
from ...check.values import check_bool, check_positive_int
from .windows import Windowed, check_padding


class _WindowPooling(Windowed, base=True):
    """Base of the layers that reduce each window of each feature to one number."""

    keeps_features = True

    def __init__(self, kernel_size, stride, padding, dilation, batch_first):
        super().__init__()
        kernel_size = check_positive_int(kernel_size, "kernel_size")
        dilation = check_positive_int(dilation, "dilation")
        most = ((kernel_size - 1) * dilation + 1) // 2      # so that no window lies in the padding alone
        self._place(kernel_size, kernel_size if stride is None else stride, check_padding(padding, most=most), dilation,
                    batch_first)
        self.needs_whole_sequences = True

    def _checked(self, x):
        return check_sequence(x, "x")


class MaxPool1d(_WindowPooling):
    """The largest step of each window, for each feature, as torch.nn.MaxPool1d but with the channels last.

        y_t = max_j x_{t * stride - padding + j * dilation},  j = 0 .. kernel_size - 1

    Parameters
    ----------
    kernel_size : int
        Steps of a window.
    stride : int, optional
        Steps from one window to the next; kernel_size by default.
    padding : int
        Steps before and behind each sequence that no window takes; at most half a window.
    dilation : int
        Steps from one that a window reads to the next.
    batch_first : bool
        Layout of x, (B, T, C) or (T, B, C); (T, C) is one sequence. A `Sequential` around this layer sets it.

    Notes
    -----
    A sequence of n steps has floor((n + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1 windows, and one
    without steps has none; a shorter one than a window is an error. A window with NaN gives NaN. The gradient goes to
    the first of several largest steps.
    """

    fill = -np.inf

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1, *,
                 batch_first: bool = False) -> None:
        super().__init__(kernel_size, stride, padding, dilation, batch_first)

    def _of_windows(self, x, lengths, training):
        y = place = None
        for j, steps in self._places(x):
            if y is None:
                y = steps.copy()
                place = np.zeros(y.shape, np.min_scalar_type(self.kernel_size)) if training else None
                continue
            if training:
                np.copyto(place, j, where=(steps > y) | ((steps != steps) & (y == y)))
            np.maximum(y, steps, out=y)
        return y, (x.shape, place)

    def _to_windows(self, dy, shape, place):
        dx = np.zeros(shape, dy.dtype)
        for j, steps in self._places(dx):
            steps += dy * (place == j)
        return dx


class AvgPool1d(_WindowPooling):
    """The mean of the steps of each window, for each feature, as torch.nn.AvgPool1d but with the channels last.

        y_t = sum_j x_{t * stride - padding + j} / kernel_size,  j = 0 .. kernel_size - 1

    Parameters
    ----------
    kernel_size : int
        Steps of a window.
    stride : int, optional
        Steps from one window to the next; kernel_size by default.
    padding : int
        Steps of zeros before and behind each sequence, at most half a window.
    count_include_pad : bool
        Whether the zeros count in the mean; if not, it is that of the steps of the sequence alone.
    batch_first : bool
        Layout of x, (B, T, C) or (T, B, C); (T, C) is one sequence. A `Sequential` around this layer sets it.

    Notes
    -----
    A sequence of n steps has floor((n + 2 padding - kernel_size) / stride) + 1 windows, and one without steps has none;
    a shorter one than a window is an error.
    """

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0, count_include_pad: bool = True, *,
                 batch_first: bool = False) -> None:
        super().__init__(kernel_size, stride, padding, 1, batch_first)
        self.count_include_pad = check_bool(count_include_pad, "count_include_pad")

    def _of_windows(self, x, lengths, training):
        y = np.zeros((len(x), self._count(x.shape[1]), x.shape[2]), x.dtype)
        for _, steps in self._places(x):
            y += steps
        divisor = self._divisor(y, x, lengths)
        y /= divisor
        return y, (x.shape, divisor)

    def _to_windows(self, dy, shape, divisor):
        dx = np.zeros(shape, dy.dtype)
        dy = dy / divisor
        for _, steps in self._places(dx):
            steps += dy
        return dx

    def _divisor(self, y, x, lengths):
        """What the sum of each window is divided by."""
        if self.count_include_pad:
            return x.dtype.type(self.kernel_size)
        n = x.shape[1] - sum(self._around) if lengths is None else lengths[:, None]
        first = np.arange(y.shape[1]) * self.stride - self._around[0]
        counts = np.minimum(first + self.kernel_size, n) - np.maximum(first, 0)
        return np.broadcast_to(np.maximum(counts, 1), y.shape[:2])[..., None].astype(x.dtype)

"""Windows of series, and their targets, as inputs of `Trainer`."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import refuse_frames, refuse_masked
from ..check.sequences import check_series
from ..check.values import check_positive_int

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, Inputs


def windows(series: "ArrayLike", length: int, stride: int = 1) -> "Array":
    """Windows of `length` steps of a series, `stride` steps apart, counted back from the last.

    Parameters
    ----------
    series : array (T, ...)
    length, stride : int
        There are no windows if T < length.

    Returns
    -------
    array (n, length, ...)
        With stride 1 a view of `series`, without a copy.
    """
    series = check_series(series, "series")
    length, stride = check_positive_int(length, "length"), check_positive_int(stride, "stride")
    starts = len(series) - length
    if starts < 0:
        return series[:0].reshape(0, *series.shape[1:])[:, None].repeat(length, axis=1)
    views = np.moveaxis(np.lib.stride_tricks.sliding_window_view(series, length, axis=0), -1, 1)
    return views if stride == 1 else views[starts % stride :: stride]


def next_steps(series: "ArrayLike", length: int) -> "tuple[Array, Array]":
    """(windows of `length` steps, the step after each of their steps), both (n, length, C); windows overlap by half."""
    parts = windows(series, length + 1, max(1, length // 2))
    return parts[:, :-1], parts[:, 1:]


def forecast_windows(series: "Inputs", length: int, horizon: int = 1, *, stride: int = 1,
                     target: "Inputs | None" = None) -> "tuple[Array, Array]":
    """Windows of series, and the steps after each of them.

    ``Trainer(Sequential(GRU(C, 32), LastStep(), Linear(32, horizon * D)), "mse").fit(X, y)`` learns to forecast.

    Parameters
    ----------
    series : array (T,) or (T, C), or list of such arrays
        Steps in order of time. No window crosses the end of a series.
    length : int
        Steps of the network's input.
    horizon : int
        Steps after them, to forecast.
    stride : int
        Steps from one window to the next, counted back from the last.
    target : as `series`, optional
        (T,) or (T, D), aligned with `series`: the values to forecast, if these are not the series itself.

    Returns
    -------
    X : array (n, length, C)
    y : array (n, horizon * D)
        The first D columns are one step ahead; ``y.reshape(n, horizon, D)`` has an axis for the steps.

    Raises
    ------
    ValueError
        Naming the argument: other shapes, unequal numbers of features, no series of length + horizon steps.
    """
    length, horizon = check_positive_int(length, "length"), check_positive_int(horizon, "horizon")
    stride = check_positive_int(stride, "stride")
    past = _series(series, "series")
    future = past if target is None else _series(target, "target")
    if [len(x) for x in future] != [len(x) for x in past]:
        raise ValueError(f"target: expected as many steps as in series, {[len(x) for x in past]}, "
                         f"found {[len(x) for x in future]}")
    X = [windows(x[: max(len(x) - horizon, 0)], length, stride) for x in past]
    y = [windows(x[length:], horizon, stride) for x in future]
    if not sum(map(len, X)):
        raise ValueError(f"series: expected at least {length + horizon} steps, window and horizon, "
                         f"found {max(map(len, past))}")
    X, y = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (X, y))
    return X, y.reshape(len(y), -1)


def _series(values, name):
    """A list of (T, C) float arrays with one C."""
    arrays = values if isinstance(values, (list, tuple)) else [values]
    refuse_masked(values, name)
    if len(arrays) > 1:
        for x in arrays:
            refuse_frames(x, name)
    arrays = [np.asarray(x) for x in arrays]
    if not arrays:
        raise ValueError(f"{name}: expected at least one series, found none")
    for k, x in enumerate(arrays):
        if x.ndim not in (1, 2) or x.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected numbers of shape (T,) or (T, C), found {x.dtype} of shape {x.shape} "
                             f"in that with number {k}")
    arrays = [x[:, None] if x.ndim == 1 else x for x in arrays]
    arrays = [x if x.dtype.kind == "f" else x.astype(np.float64) for x in arrays]
    for k, x in enumerate(arrays):
        if x.shape[1] != arrays[0].shape[1]:
            raise ValueError(f"{name}: expected {arrays[0].shape[1]} features as in the first, found {x.shape[1]} "
                             f"in that with number {k}")
    return arrays

"""What forecaster and anomaly detector share: series as users have them, and differences."""

from itertools import repeat

import numpy as np
from sklearn.utils import check_array

from ..check.arrays import refuse_masked
from ..data.given import as_array, as_steps
from .calendar import Calendar, fill_values
from .frames import as_plain, is_frame, match_names
from .inputs import FLOATS, check_features, holds_sequences, listed, validate_data

HELD = "The part of each series, its end, that `early_stopping` holds out."


def check_series(estimator, X, *, reset, read=None, fill=None):
    """(list of arrays (T_i, C), their form as `in_form` takes it).

    Parameters
    ----------
    estimator : BaseEstimator
        Gets `n_features_in_`, C, and `feature_names_in_` of frames with names if `reset`; else X is held to them.
    X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
    reset : bool
    read : function (series, name) -> series, optional
        Sees each first.
    fill : str, optional
        How values that are missing are filled; see `calendar.fill_values`.
    """
    X = listed(X)
    many = holds_sequences(X)
    items = list(X) if many else [X]
    names = [f"X[{k}]" for k in range(len(items))] if many else ["X"]
    if read is not None:
        items = [read(item, name) for item, name in zip(items, names)]
    flat = [np.ndim(item) == 1 for item in items]
    if many or is_frame(items[0]):
        series = match_names(estimator, items, names, reset=reset)
        if fill is not None:
            series = [_filled(x, fill, name) for x, name in zip(series, names)]
        series = list(as_steps(series, names))
        if reset:
            estimator.n_features_in_ = series[0].shape[1]
        else:
            check_features(estimator.n_features_in_, series[0].shape[1])
        return series, ("stack" if getattr(X, "ndim", 1) == 3 else "list" if many else "one", flat)
    x = as_plain(items[0], "X")
    refuse_masked(x, "X")
    if fill is not None:
        x = _filled(x, fill, "X")
    if flat[0]:
        x = check_array(x, dtype=FLOATS, ensure_2d=False).reshape(-1, 1)
    return [validate_data(estimator, x, dtype=FLOATS, reset=reset)], ("one", flat)


def _filled(x, how, name):
    x = as_array(x, name)
    if x.ndim not in (1, 2):
        raise ValueError(f"{name}: expected shape (T,) or (T, C), found {x.shape}")
    return fill_values(x.reshape(len(x), -1), how, name)


def in_form(results, form, calendars=None):
    """One result (H, C) or (H,) for each series, in the form that the series had; with dates where it had some."""
    kind, flat = form
    results = [r[..., 0] if one and r.ndim > 1 else r for r, one in zip(results, flat)]
    results = [r if one is None else Calendar(*one).dated(r) for r, one in zip(results, calendars or repeat(None))]
    return results[0] if kind == "one" else np.stack(results) if kind == "stack" else results


def difference(series, lag):
    """x_t - x_{t-lag}, (T - lag, C); the series itself without a lag."""
    return series[lag:] - series[:-lag] if lag else series


def undo_difference(steps, last):
    """What has the differences `steps` (n, H, C) and goes on from the `last` (n, lag, C), (n, H, C)."""
    count, horizon, features = steps.shape
    lag = last.shape[1]
    if lag == 0:
        return steps
    rounds = -(-horizon // lag)
    steps = np.pad(steps, ((0, 0), (0, rounds * lag - horizon), (0, 0)))
    total = last[:, None] + steps.reshape(count, rounds, lag, features).cumsum(axis=1)
    return total.reshape(count, rounds * lag, features)[:, :horizon]


def last_held(counts, fraction, overlap):
    """(which windows to validate with, the weights of all), where each series has `counts` windows in order of time.

    The last `fraction` of each series' windows is held; the `overlap` windows before them, which share targets with
    them, have weight 0.
    """
    held, weight = [], []
    for count in counts:
        first = count - max(1, round(count * fraction))
        held.append(np.arange(count) >= first)
        weight.append(np.where(held[-1] | (np.arange(count) < first - overlap), 1.0, 0.0))
    return np.concatenate(held), np.concatenate(weight)

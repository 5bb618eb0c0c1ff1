"""What forecaster and anomaly detector share: series as users have them, and differences."""

import numpy as np
from sklearn.utils import check_array

from ..check.arrays import refuse_masked
from ..data.given import as_steps
from .inputs import FLOATS, check_features, holds_sequences, validate_data

HELD = "The part of each series, its end, that `early_stopping` holds out."


def check_series(estimator, X, *, reset):
    """(list of arrays (T_i, C), their form as `in_form` takes it).

    Parameters
    ----------
    estimator : BaseEstimator
        Gets `n_features_in_`, C, and `feature_names_in_` of a table with names if `reset`; else X is held to them.
    X : array (T,) or (T, C), list of such arrays, or array (n, T, C)
    reset : bool
    """
    if holds_sequences(X):
        series = list(as_steps(X))
        if reset:
            estimator.n_features_in_ = series[0].shape[1]
        else:
            check_features(estimator.n_features_in_, series[0].shape[1])
        return series, ("stack" if getattr(X, "ndim", 1) == 3 else "list", [np.ndim(x) == 1 for x in X])
    refuse_masked(X, "X")
    flat = np.ndim(X) == 1
    if flat:
        X = check_array(X, dtype=FLOATS, ensure_2d=False).reshape(-1, 1)
    return [validate_data(estimator, X, dtype=FLOATS, reset=reset)], ("one", [flat])


def in_form(results, form):
    """One result (H, C) or (H,) for each series, in the form that the series had."""
    kind, flat = form
    results = [r[..., 0] if one and r.ndim > 1 else r for r, one in zip(results, flat)]
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

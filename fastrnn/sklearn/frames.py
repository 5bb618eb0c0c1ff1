"""Frames and columns of pandas, polars and pyarrow as arrays: columns are matched by name or refused."""

import sys
import warnings

import numpy as np
from sklearn.utils.validation import _get_feature_names

from ..check.arrays import column_labels


def pandas_of(X):
    """The module pandas where X is a frame or series of it, else None: it is never imported here."""
    pandas = sys.modules.get("pandas")
    return pandas if pandas is not None and isinstance(X, (pandas.DataFrame, pandas.Series)) else None


def is_frame(X):
    """Whether X has columns with labels."""
    return column_labels(X) is not None


def dates_of(X):
    """The index of a pandas frame or series where it is one of dates or periods, else None."""
    pandas = pandas_of(X)
    kinds = pandas and (pandas.DatetimeIndex, pandas.PeriodIndex)
    return X.index if pandas and isinstance(X.index, kinds) else None


def check_order(X, name):
    """Raise where X has dates that are not in order."""
    dates = dates_of(X)
    if dates is not None and not dates.is_monotonic_increasing:
        raise ValueError(f"{name}: expected steps in order of time, found dates that go back; sort them: sort_index()")


def as_plain(X, name):
    """X as it is, or of a frame or column the array; one of dates that are not in order is an error."""
    check_order(X, name)
    if isinstance(X, np.ndarray) or not (is_frame(X) or hasattr(X, "to_numpy")):
        return X
    array = np.asarray(X)
    if array.dtype.kind != "O" or pandas_of(X) is None:
        return array
    kinds = dict(X.dtypes) if array.ndim == 2 else {None: X.dtype}      # of columns that may be missing, or differ
    for label, dtype in kinds.items():
        if getattr(dtype, "kind", "O") not in "fiub":
            where = "" if label is None else f" in column {label!r}"
            raise TypeError(f"{name}: expected numbers, found dtype {dtype}{where}")
    return X.to_numpy(dtype=np.float64, na_value=np.nan)


def names_of(X, name):
    """The names of a frame's columns, or None where they are numbered 0, 1 and so on."""
    labels = column_labels(X)
    if len(set(labels)) < len(labels):
        raise ValueError(f"{name}: expected columns of different names, found {labels}")
    names = _get_feature_names(X)
    if names is None and labels != list(range(len(labels))):
        raise ValueError(f"{name}: expected columns with strings as names, or numbered 0, 1, ... in order; "
                         f"found {labels}")
    return names


def match_names(estimator, items, names, *, reset):
    """Arrays (T_i, I) of sequences, the columns of frames in the order of `feature_names_in_`.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets `feature_names_in_`, or loses it, if `reset`; otherwise frames are held to it.
    items : list of frames, series and arrays
    names : list of str
        What errors call them.
    reset : bool

    Raises
    ------
    ValueError
        For a column that is missing or that the others do not have, and for frames beside arrays.
    """
    columns = [names_of(item, name) if is_frame(item) else None for item, name in zip(items, names)]
    of_steps = not reset and estimator._of_table    # the names in the fit were those of steps
    fitted = None if reset or of_steps else getattr(estimator, "feature_names_in_", None)
    first = next((k for k, found in enumerate(columns) if found is not None), None)
    wanted = fitted if fitted is not None or first is None else columns[first]
    arrays = []
    for item, name, found in zip(items, names, columns):
        array = as_plain(item, name)
        if first is not None:
            if found is None:
                raise ValueError(f"{name}: expected columns named as those of {names[first]}, "
                                 f"found {type(item).__name__} without names")
            array = np.ascontiguousarray(array[:, _order(found, wanted, name, fitted is not None)])
        arrays.append(array)
    if reset:
        if first is not None:
            estimator.feature_names_in_ = columns[first]
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif not of_steps and (fitted is None) != (first is None):
        kind = type(estimator).__name__
        warnings.warn(f"X does not have valid feature names, but {kind} was fitted with feature names" if first is None
                      else f"X has feature names, but {kind} was fitted without feature names", stacklevel=4)
    return arrays


def match_row(estimator, x):
    """One step (C,), a row of a frame in the order of `feature_names_in_`."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or pandas_of(x) is None:
        return np.ravel(as_plain(x, "x"))
    found = np.asarray(x.columns if is_frame(x) else x.index, dtype=object)
    return np.ravel(as_plain(x, "x"))[_order(found, names, "x", True)]


def match_targets(estimator, y, *, reset):
    """Targets with the columns of a frame in the order of those of the fit, which `reset` says this is."""
    found = _get_feature_names(y) if is_frame(y) else None
    if reset:
        estimator._target_names = found
    wanted = estimator._target_names
    if found is None or wanted is None:
        return y
    return np.ascontiguousarray(as_plain(y, "y")[:, _order(found, wanted, "y", True)])


def _order(found, wanted, name, fitted):
    """The places of the wanted columns among those found."""
    if set(found) != set(wanted) or len(found) != len(wanted):
        of = "as in fit" if fitted else "as in the first"
        raise ValueError(f"{name}: expected the columns {list(wanted)} {of}, found {list(found)}")
    return [list(found).index(one) for one in wanted]

"""Callers' X, y and lengths: checked, and in the form that batches need."""

import numpy as np

from ..check.arrays import first_place, int_array, refuse_frames, refuse_masked
from .mapped import Mapped, chunks, is_mapped


def holds_ids(array):
    """Whether the array holds ints, which are ids or classes."""
    return array.dtype.kind in "iu"


def as_array(values, name, dtype=None):
    """An array of ints as int64, anything else as `dtype`; without one floats as float32 or float64, as they are.

    `Mapped` for one in a file.
    """
    refuse_masked(values, name)
    refuse_frames(values, name)
    if isinstance(values, Mapped):
        return values.astype(_kept(values, dtype))
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, found values of uneven shape") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array, found {type(values).__name__} ({error})") from error
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{name}: expected numbers, found dtype {array.dtype}")
    dtype = _kept(array, dtype)
    return Mapped(array, dtype) if is_mapped(array) else array.astype(dtype, copy=False)


def _kept(array, dtype):
    """The dtype that `as_array` gives an array."""
    if holds_ids(array):
        return np.dtype(np.int64)
    return _float(array.dtype) if dtype is None else np.dtype(dtype)


def _float(dtype):
    """float32 or float64, whichever holds numbers of `dtype`."""
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float64)


def as_sequences(X, dtype, ids=None):
    """X as one array (N, T, I) or (N, T) of ids, or as a list of (T_i, I) or (T_i,) arrays that agree.

    `ids` says whether the model takes ids; None where it does not say.
    """
    x = _as_sequences(X, dtype, ids)
    check_kind(x, "X", ids)
    return x


def check_kind(x, name, ids):
    """Raise where sequences hold ids, as (N, T) of integers do, and the model takes none, or the reverse."""
    if ids is None or (x[0].ndim == 1 and holds_ids(x[0])) == ids:
        return
    found = f"{x[0].dtype} of shape {x[0].shape} for each sequence"
    if ids:
        raise TypeError(f"{name}: expected ids, integers of shape (N, T) or a list of (T_i,), as the model's first "
                        f"module takes ids; found {found}")
    raise TypeError(f"{name}: expected numbers of shape (N, T, I), or floats of shape (N, T) for one feature per step, "
                    f"as the model's first module takes no ids; found integers, which are ids: {found}")


def _as_sequences(X, dtype, ids):
    if not isinstance(X, (list, tuple)):
        X = as_array(X, "X", dtype)
        if X.ndim not in (2, 3):
            raise ValueError(
                f"X: expected shape (N, T, I) or (N, T), or a list of arrays; found shape {X.shape}"
            )
        if X.ndim == 2 and not holds_ids(X):
            X = X[:, :, None]
        elif X.ndim == 3:
            X = X.astype(dtype, copy=False)
        if len(X) == 0:
            raise ValueError("X: expected at least one sequence, found none")
        return X
    names = _places(X)
    arrays = _as_arrays(X, dtype, names)
    if all(x.ndim == 1 and (holds_ids(x) or not x.size) for x in arrays) and (
            ids is not False or any(x.size for x in arrays)):
        return [x.astype(np.int64, copy=False) for x in arrays]
    return _with_features(arrays, dtype, names)


def as_steps(X, names=None):
    """X as one array (N, T, I), or a list of arrays (T_i, I), of finite floats and one step or more; ints are numbers.

    What learns scales of the features of X, or puts steps side by side, needs them so. `names` is what errors call the
    entries of a list.
    """
    if getattr(X, "ndim", 1) == 3:
        X = as_array(X, "X")
        if not X.size:
            raise ValueError("X: expected at least one step and one feature in at least one sequence, "
                             f"found shape {X.shape}")
        check_finite(X, "X")
        return X.astype(_float(X.dtype), copy=False)
    names = _places(X) if names is None else names
    arrays = _as_arrays(X, None, names)
    for x, name in zip(arrays, names):
        if not x.size:
            raise ValueError(f"{name}: expected shape (T, I) or (T,) with at least one step, found {x.shape}")
    arrays = _with_features(arrays, np.result_type(*{_float(x.dtype) for x in arrays}), names)
    for x, name in zip(arrays, names):
        check_finite(x, name)
    return arrays


def check_finite(array, name):
    """Raise a ValueError where floats are not finite."""
    for part, values in chunks(array):
        finite = np.isfinite(values)
        if not finite.all():
            at = first_place(~finite)
            raise ValueError(f"{name}: expected finite numbers, found {values[at]} at {[part.start + at[0], *at[1:]]}; "
                             "input contains NaN or infinity")


def _places(X):
    """What errors call the entries of a list."""
    return [f"X[{k}]" for k in range(len(X))]


def _as_arrays(X, dtype, names):
    """The arrays (T_i, I) or (T_i,) of a list."""
    if not len(X):
        raise ValueError("X: expected at least one sequence, found an empty list")
    arrays = [as_array(x, name, dtype) for x, name in zip(X, names)]
    for x, name in zip(arrays, names):
        if x.ndim not in (1, 2):
            raise ValueError(f"{name}: expected shape (T, I) or (T,), found {x.shape}")
    return arrays


def _with_features(arrays, dtype, names):
    """Arrays (T_i, I) of one I; (T_i,) is (T_i, 1)."""
    arrays = [(x[:, None] if x.ndim == 1 else x).astype(dtype, copy=False) for x in arrays]
    for x, name in zip(arrays, names):
        if x.shape[1] != arrays[0].shape[1]:
            raise ValueError(f"{name}: expected {arrays[0].shape[1]} features per step as in {names[0]}, "
                             f"found {x.shape[1]}")
    return arrays


def as_lengths(x, lengths, ragged):
    """int64 (N,), or None if x is padded and all steps are valid."""
    if ragged:
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of sequences, which tell their own")
        return np.array([len(a) for a in x], np.int64)
    if lengths is None:
        return None
    lengths = int_array(lengths, "lengths")
    if lengths.shape != (len(x),):
        raise ValueError(
            f"lengths: expected {len(x)} ints, one for each sequence of X; found shape {lengths.shape}"
        )
    wrong = (lengths < 0) | (lengths > x.shape[1])
    if wrong.any():
        raise ValueError(
            f"lengths: expected ints from 0 to {x.shape[1]}, found {lengths[wrong][0]} "
            f"at position {int(wrong.argmax())}"
        )
    return lengths.astype(np.int64)


def as_targets(y, x, ragged, per_step, dtype):
    """y as one array (N, ...), or as a list of arrays (T_i, ...) for a ragged X with targets per step."""
    check_count(y, "y", len(x))
    if not ragged:
        y = as_array(y, "y", dtype)
        if per_step and (y.ndim < 2 or y.shape[1] != x.shape[1]):
            raise ValueError(
                f"y: expected shape ({x.shape[0]}, {x.shape[1]}, ...), a target for every step, because "
                f"the model has an output for every step; found shape {y.shape}"
            )
        return y
    arrays = [as_array(values, f"y[{k}]", dtype) for k, values in enumerate(y)]
    first = arrays[0]
    kinds = {a.dtype.kind for a in arrays if a.size}
    common = np.result_type(*(a.dtype for a in arrays if a.size)) if kinds else first.dtype
    for k, (values, sequence) in enumerate(zip(arrays, x)):
        if values.ndim == 0 or len(values) != len(sequence):
            raise ValueError(
                f"y[{k}]: expected a target for each of the {len(sequence)} steps of X[{k}], because the "
                f"model has an output for every step; found shape {values.shape}"
            )
        if values.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"y[{k}]: expected shape (T, {', '.join(map(str, first.shape[1:]))}) as y[0], "
                f"found {values.shape}"
            )
        arrays[k] = values.astype(common, copy=False)
    return arrays


def as_labels(y, x):
    """y as a list of int64 arrays (n,), one for each sequence."""
    check_count(y, "y", len(x))
    arrays = [as_array(values, f"y[{k}]", np.float64) for k, values in enumerate(y)]
    for k, values in enumerate(arrays):
        if values.ndim != 1 or (values.size and not holds_ids(values)):
            raise ValueError(f"y[{k}]: expected the labels of X[{k}], ints of shape (n,); found {values.dtype} "
                             f"of shape {values.shape}")
    return [values.astype(np.int64, copy=False) for values in arrays]


def check_count(values, name, count):
    """Raise where `values` are not as many as the sequences of X."""
    try:
        found = len(values)
    except TypeError:
        found = type(values).__name__
    if found != count:
        kind = TypeError if isinstance(found, str) else ValueError
        raise kind(f"{name}: expected {count} entries, one for each sequence of X; found {found}")


def check_id_range(data, size):
    """Raise a ValueError if X of `Sequences` or a `LaneStream`, or a `Batch`, holds ids outside 0 .. size - 1."""
    if data.x[0].ndim == 1 and holds_ids(data.x[0]):
        _check_ints(data.x, "X", size, None if isinstance(data.x, list) else valid_steps(data))


def check_class_range(data, classes, per_step):
    """Raise a ValueError if an integer y that counts is not in 0 .. classes - 1."""
    y = data.y
    if holds_ids(y[0] if isinstance(y, list) else y):
        by_step = per_step and not isinstance(y, list)
        _check_ints(y, "y", classes, valid_steps(data) if by_step else None, data.weight)


def valid_steps(data):
    """Which steps of a padded array are within the lengths; None if all are."""
    return None if data.lengths is None else np.arange(data.x.shape[1]) < data.lengths[:, None]


def _check_ints(values, name, size, *masks):
    masks = [mask for mask in masks if mask is not None]
    if isinstance(values, list):
        for k, array in enumerate(values):
            _check_ints(array, f"{name}[{k}]", size, *(np.asarray(mask[k]) for mask in masks))
        return
    wrong = (values < 0) | (values >= size)
    for mask in masks:
        wrong &= mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)) != 0
    if wrong.any():
        at = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"{name}: expected ints in 0 .. {size - 1}, found {values[tuple(at)]} at {at}")

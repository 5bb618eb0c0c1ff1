"""Callers' X, y, lengths and weights: checked, and in the form that batches need."""

import numpy as np

from ..check.arrays import check_floats
from ..check.values import check_number, shown
from .mapped import Mapped, is_mapped


def holds_ids(array):
    """Whether the array holds ints, which are ids or classes."""
    return array.dtype.kind in "iu"


def as_array(values, name, dtype):
    """An array: int64 for ints, `dtype` for anything else; `Mapped` for one in a file."""
    if isinstance(values, Mapped):
        return values.astype(np.int64 if holds_ids(values) else dtype)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, found values of uneven shape") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array, found {type(values).__name__} ({error})") from error
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{name}: expected numbers, found dtype {array.dtype}")
    dtype = np.int64 if holds_ids(array) else dtype
    return Mapped(array, dtype) if is_mapped(array) else array.astype(dtype, copy=False)


def as_sequences(X, dtype):
    """X as one array (N, T, I) or (N, T) of ids, or as a list of (T_i, I) or (T_i,) arrays that agree."""
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
    if not X:
        raise ValueError("X: expected at least one sequence, found an empty list")
    arrays = [as_array(x, f"X[{k}]", dtype) for k, x in enumerate(X)]
    ids = all((holds_ids(x) and x.ndim == 1) or (x.size == 0 and x.ndim == 1) for x in arrays)
    for k, x in enumerate(arrays):
        if x.ndim not in (1, 2):
            raise ValueError(f"X[{k}]: expected shape (T, I) or (T,), found {x.shape}")
        if ids:
            arrays[k] = x.astype(np.int64, copy=False)
        else:
            arrays[k] = (x[:, None] if x.ndim == 1 else x).astype(dtype, copy=False)
        if arrays[k].shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"X[{k}]: expected {arrays[0].shape[1]} features per step as in X[0], "
                f"found {arrays[k].shape[1]}"
            )
    return arrays


def as_lengths(x, lengths, ragged):
    """int64 (N,), or None if x is padded and all steps are valid."""
    if ragged:
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of sequences, which tell their own")
        return np.array([len(a) for a in x], np.int64)
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected ints, found dtype {lengths.dtype}")
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
    _check_count(y, "y", len(x))
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
    _check_count(y, "y", len(x))
    arrays = [as_array(values, f"y[{k}]", np.float64) for k, values in enumerate(y)]
    for k, values in enumerate(arrays):
        if values.ndim != 1 or (values.size and not holds_ids(values)):
            raise ValueError(f"y[{k}]: expected the labels of X[{k}], ints of shape (n,); found {values.dtype} "
                             f"of shape {values.shape}")
    return [values.astype(np.int64, copy=False) for values in arrays]


def as_weights(sample_weight, class_weight, x, y, ragged, per_step):
    """None, an array (N,) or (N, T), or for a ragged X a list of arrays (T_i,)."""
    weight = None
    if sample_weight is not None:
        weight = _sample_weights(sample_weight, x, ragged, per_step)
    if class_weight is None:
        return weight
    if y is None:
        raise ValueError("class_weight: expected None without y")
    return by_class(class_weight, y, weight)


def by_class(class_weight, y, weight):
    """The weights of the classes in y, times `weight` where there is one."""
    lookup = _class_weights(class_weight, y)
    if isinstance(y, list):
        of_class = [lookup(values) for values in y]
        if weight is None:
            return of_class
        return [of * w for of, w in zip(of_class, weight)]
    of_class = lookup(y)
    if weight is None:
        return of_class
    return of_class * (weight[:, None] if weight.ndim < of_class.ndim else weight)


def _sample_weights(sample_weight, x, ragged, per_step):
    _check_count(sample_weight, "sample_weight", len(x))
    if isinstance(sample_weight, np.ndarray) and is_mapped(sample_weight):
        sample_weight = as_array(sample_weight, "sample_weight", np.float64).astype(np.float64)
        _check_weights_shape(sample_weight, x, ragged, per_step)
        return sample_weight.converted(_checked_weights)
    if ragged and per_step and any(np.ndim(w) for w in sample_weight):
        weight = [_floats(w, f"sample_weight[{k}]") for k, w in enumerate(sample_weight)]
        for k, (w, sequence) in enumerate(zip(weight, x)):
            if w.shape != (len(sequence),):
                raise ValueError(
                    f"sample_weight[{k}]: expected {len(sequence)} weights, one for each step of X[{k}]; "
                    f"found shape {w.shape}"
                )
        flat = np.concatenate(weight)
    else:
        weight = flat = _floats(sample_weight, "sample_weight")
        _check_weights_shape(weight, x, ragged, per_step)
    _checked_weights(flat)
    return weight


def _check_weights_shape(weight, x, ragged, per_step):
    if weight.shape != (len(x),) and not (per_step and not ragged and weight.shape == x.shape[:2]):
        raise ValueError(
            f"sample_weight: expected shape ({len(x)},)"
            f"{' or that of the first two axes of X' if per_step else ''}, found {weight.shape}"
        )


def _checked_weights(weight):
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight: expected finite weights of at least 0, found others")
    return weight


def _class_weights(class_weight, y):
    """A function from an array of classes to the array of their weights."""
    flat = np.concatenate([values.ravel() for values in y]) if isinstance(y, list) else y.ravel()
    if flat.dtype.kind not in "iu":
        raise TypeError(f"class_weight: expected integer classes in y with it, found dtype {flat.dtype}")
    top = int(flat.max(initial=0))
    if isinstance(class_weight, dict):
        table = np.ones(top + 1)
        for label, weight in class_weight.items():
            if not isinstance(label, (int, np.integer)) or label < 0:
                raise ValueError(f"class_weight: expected classes from 0 on, found {shown(label)}")
            weight = check_number(weight, f"class_weight[{label!r}]", low=0)
            if label <= top:
                table[label] = weight
    else:
        table = _floats(class_weight, "class_weight")
        if table.ndim != 1 or len(table) <= top:
            raise ValueError(
                f"class_weight: expected a weight for each of the {top + 1} classes, "
                f"found shape {table.shape}"
            )
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError("class_weight: expected finite weights of at least 0, found others")
    return lambda classes: table[np.clip(classes, 0, len(table) - 1)]


def _check_count(values, name, count):
    try:
        found = len(values)
    except TypeError:
        found = type(values).__name__
    if found != count:
        kind = TypeError if isinstance(found, str) else ValueError
        raise kind(f"{name}: expected {count} entries, one for each sequence of X; found {found}")


def _floats(values, name):
    return check_floats(values, name).astype(np.float64)


def check_id_range(data, size):
    """Raise a ValueError if X of `Sequences` or a `LaneStream`, or a `Batch`, holds ids outside 0 .. size - 1."""
    if data.x[0].ndim == 1 and holds_ids(data.x[0]):
        _check_ints(data.x, "X", size, None if isinstance(data.x, list) else _valid(data))


def check_class_range(data, classes, per_step):
    """Raise a ValueError if an integer y that counts is not in 0 .. classes - 1."""
    y = data.y
    if holds_ids(y[0] if isinstance(y, list) else y):
        by_step = per_step and not isinstance(y, list)
        _check_ints(y, "y", classes, _valid(data) if by_step else None, data.weight)


def _valid(data):
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

"""Callers' X, y, lengths and weights: checked, and in the form that batches need."""

import numpy as np

from ..check.arrays import check_floats, first_place, int_array, refuse_frames, refuse_masked
from ..check.values import check_number, shown
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

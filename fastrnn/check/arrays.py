"""Arrays of numbers: kinds, shapes, and places in memory."""

import sys

import numpy as np

from .values import check_number

FLOATS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))     # found by their hash, without a conversion

_view = np.ndarray.view


def real_array(values, name):
    """An aligned array of real numbers; returns `values` itself if it is one."""
    if type(values) is np.ndarray:      # by far the most frequent
        array = values
    else:
        refuse_masked(values, name)
        try:
            array = np.asarray(values)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: expected an array of real numbers, "
                            f"found {type(values).__name__} ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of real numbers, found dtype {array.dtype}")
    return array if array.flags.aligned else array.copy()


def int_array(values, name):
    """A new array of ints, so that a write to `values` after the check has no effect."""
    refuse_masked(values, name)
    try:
        array = np.asarray(values).copy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array of ints, "
                        f"found {type(values).__name__} ({error})") from None
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name}: expected an array of ints, found dtype {array.dtype}")
    return array if array.size else array.astype(np.int64)


def refuse_masked(values, name):
    """A masked array, alone or in lists, is no array: NumPy would read what lies under its mask."""
    if type(values) is np.ndarray:
        return
    masked = sys.modules.get("numpy.ma")
    if masked is not None and _holds(values, masked.MaskedArray, set()):
        raise TypeError(f"{name}: expected an array without a mask, found a masked array; fill it first, or name the "
                        "valid steps with lengths=")


def _holds(values, kind, seen):
    """Whether `values` is of a kind, or in lists of others holds one that is; `seen` ends circles."""
    if isinstance(values, kind):
        return True
    if not isinstance(values, (list, tuple)) or id(values) in seen:
        return False
    seen.add(id(values))
    kinds = set(map(type, values))      # few, of many values
    if any(issubclass(one, kind) for one in kinds):
        return True
    return any(issubclass(one, (list, tuple)) for one in kinds) and any(_holds(one, kind, seen) for one in values)


def column_labels(values):
    """The labels of a frame's columns, of pandas, polars, pyarrow or the like, as a list; None for what is no frame."""
    if isinstance(values, (np.ndarray, list, tuple)):
        return None
    labels = getattr(values, "column_names", None)      # of pyarrow, whose columns are arrays
    if labels is None:
        labels = getattr(values, "columns", None)
    return None if labels is None or callable(labels) or isinstance(labels, str) else list(labels)


def refuse_frames(values, name):
    """A frame's columns have names, which may stand in any order; there is none to get wrong of a single one."""
    labels = column_labels(values)
    if labels is not None and len(labels) > 1:
        raise TypeError(f"{name}: expected an array, found {type(values).__name__} with the columns "
                        f"{', '.join(map(str, labels))[:80]}, which are matched by name in fastrnn.sklearn only; "
                        f"choose their order: {name}[columns].to_numpy()")


def own_shape(array):
    """A view of the same values, so that nobody can change the shape between the check and the use."""
    return _view(array) if type(array) is np.ndarray else _view(array, np.ndarray)


def in_range(ids, name, size, weight):
    """Ids as C-contiguous int64, in 0 .. size - 1 except where the weight is 0."""
    wrong = (ids < 0) | (ids >= size)
    if weight is not None:
        wrong &= weight != 0
    if wrong.any():
        at = first_place(wrong)
        raise ValueError(f"{name}: expected ints in 0 .. {size - 1}, found {ids[at]}{at_place(at)}")
    return np.asarray(ids, np.int64, order="C")


def first_place(wrong):
    """The place of the first true element."""
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def at_place(at):
    """A place in the form of errors; empty for a single number."""
    return f" at [{', '.join(map(str, at))}]" if at else ""


def check_real(values, name) -> np.ndarray:
    """An array of real numbers, of any shape and dtype; returns `values` itself if it is one."""
    return real_array(values, name)


def check_floats(x, name) -> np.ndarray:
    """A float32 or float64 array; other real numbers become float64."""
    x = real_array(x, name)
    return x if x.dtype in FLOATS else x.astype(np.float64)


def check_vector(values, name, size=None, **bounds) -> np.ndarray:
    """A new float64 vector, of `size` elements if given; bounds as for `check_number`."""
    vector = real_array(values, name).copy()
    if vector.ndim != 1 or vector.size == 0 or (size is not None and vector.size != size):
        raise ValueError(f"{name}: expected shape ({size or 'n, n > 0'},), found {vector.shape}")
    for i, value in enumerate(vector.tolist()):
        check_number(value, f"{name}[{i}]", **bounds)
    return np.asarray(vector, np.float64, order="C")


def check_features(x, name, size, dtype) -> np.ndarray:
    """A C-contiguous array of `dtype` whose last axis has `size` elements."""
    x = own_shape(real_array(x, name))
    if x.ndim == 0 or x.shape[-1] != size:
        raise ValueError(f"{name}: expected shape (..., {size}), found {x.shape}")
    return np.asarray(x, dtype, order="C")


def check_gradient(dy, shape, dtype):
    """The gradient of an output of `shape`: C-contiguous, of `dtype`; None stands for zero."""
    if dy is None:
        return np.zeros(shape, dtype)
    dy = own_shape(real_array(dy, "dy"))
    if dy.shape != shape:
        raise ValueError(f"dy: expected shape {shape} as the output, found {dy.shape}")
    return np.asarray(dy, dtype, order="C")


def check_axes(x, name, kinds):
    """`x` with one of the numbers of axes in `kinds`, a dict of number -> shape in errors."""
    if x.ndim not in kinds:
        raise ValueError(f"{name}: expected shape {' or '.join(kinds.values())}, found {x.shape}")
    return x


def check_unit_interval(array, name):
    """Raise unless every element lies in 0 .. 1."""
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        at = first_place(wrong)
        raise ValueError(f"{name}: expected values in 0 .. 1, found {array[at]}{at_place(at)}")


def check_out(out, shape, dtype, name="out"):
    """A view of an array that can take a result without conversion."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected a {dtype} array, found {type(out).__name__}")
    out = own_shape(out)   # its attributes are NumPy's own, not a subclass's
    if out.dtype != dtype:
        raise TypeError(f"{name}: expected a {dtype} array, found {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {out.shape}")
    if not out.flags.carray:
        raise ValueError(f"{name}: expected a C-contiguous, aligned, writeable array")
    return out

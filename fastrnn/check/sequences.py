"""Sequences: their steps, their lengths, ragged ones."""

import numpy as np

from .arrays import check_axes, check_floats, in_range, int_array, own_shape, real_array, refuse_frames, refuse_masked
from .values import check_entries_of, shown


def check_sequence(x, name):
    """A float32 or float64 array with two axes, unbatched, or three."""
    x = check_floats(x, name)
    if x.ndim not in (2, 3):
        raise ValueError(f"{name}: expected two axes, or three with a batch; found shape {x.shape}")
    return x


def check_series(series, name):
    """An array of real numbers with a time axis."""
    series = real_array(series, name)
    if series.ndim == 0:
        raise ValueError(f"{name}: expected shape (T, ...), found a single number")
    return series


def check_sources(x, name):
    """A list, a tuple or an array, one element for each sequence."""
    refuse_masked(x, name)
    if not isinstance(x, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of sequences or an array, found {type(x).__name__}")
    if isinstance(x, np.ndarray) and x.ndim == 0:
        raise ValueError(f"{name}: expected a list of sequences or an array, found a single number")
    return x


def check_steps(x, name, features, dtype):
    """An array of steps in `dtype` with `features` contiguous values in the last axis; does not check other axes."""
    x = own_shape(real_array(x, name))
    if x.ndim == 0 or x.shape[-1] != features:
        raise ValueError(f"{name}: expected {features} features in the last axis, found shape {x.shape}")
    if x.dtype != dtype:
        x = x.astype(dtype)
    return x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)


def check_lengths(lengths, batch, steps, name="lengths"):
    """An int64 array of `batch` lengths in 0 .. steps."""
    lengths = int_array(lengths, name)
    if lengths.shape != (batch,):
        raise ValueError(f"{name}: expected {batch} ints, one per sequence; found shape {lengths.shape}")
    return in_range(lengths, name, steps + 1, None)


def check_padded(x, lengths, batch_first):
    """(x, lengths) of a padded batch of ids, (B, T) or (T, B), or of features: x with zeros beyond the lengths.

    What padding holds must reach no layer: a gradient of zero does not hide a NaN, 0 * NaN is NaN. x is a copy where
    it held other than zeros there.
    """
    x = own_shape(real_array(x, "x"))
    if x.ndim < 2 or (x.ndim == 2 and x.dtype.kind == "f"):
        raise ValueError(f"lengths: expected None with unbatched x, found {shown(lengths)}")
    rows = x if batch_first else x.swapaxes(0, 1)
    lengths = check_lengths(lengths, len(rows), rows.shape[1])
    return ended(x, lengths, batch_first), lengths


def ended(x, lengths, batch_first, copy=True):
    """x with zeros beyond the lengths of its sequences; itself where it has no others there, or without `copy`."""
    steps = x.shape[1 if batch_first else 0]
    rows = x if batch_first else x.swapaxes(0, 1)
    if not any(n < steps and np.count_nonzero(row[n:]) for row, n in zip(rows, lengths.tolist())):
        return x
    x = x.copy() if copy or not x.flags.writeable else x
    end_sequences(x if batch_first else x.swapaxes(0, 1), lengths)
    return x


def end_sequences(rows, lengths):
    """Write zeros beyond the lengths of the sequences of `rows` (B, T, ...)."""
    for row, n in zip(rows, lengths.tolist()):
        row[n:] = 0


def check_ragged(sequences, name, features, dtype):
    """The rows of a list of (T_i, features) arrays, one after another, and the lengths (int64)."""
    kinds = {2: f"(T, {features})"}
    sequences = list(sequences)
    for k, x in enumerate(sequences):
        refuse_frames(x, f"{name}[{k}]")
    arrays = [check_axes(check_steps(x, f"{name}[{i}]", features, dtype), f"{name}[{i}]", kinds)
              for i, x in enumerate(sequences)]
    lengths = np.array([len(x) for x in arrays], np.int64)
    rows = np.concatenate(arrays) if arrays else np.empty((0, features), dtype)
    if rows.shape != (lengths.sum(), features):
        raise ValueError(f"{name}: expected arrays that keep their shapes during a call, found some that changed")
    return rows, lengths


def pad_sequences(arrays, lengths, batch_first):
    """The arrays (T_i, ...) as a padded batch, (B, T, ...) or (T, B, ...), and their lengths."""
    if lengths is not None:
        raise ValueError("lengths: expected None with a list of sequences, which tell their own")
    if not arrays:
        raise ValueError("x: expected at least one sequence, found an empty list")
    for k, array in enumerate(arrays):
        refuse_frames(array, f"x[{k}]")
    arrays = [real_array(array, f"x[{k}]") for k, array in enumerate(arrays)]
    first = arrays[0]
    for k, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != first.shape[1:]:
            raise ValueError(f"x[{k}]: expected (T, ...) with shape {first.shape[1:]} of a step as in x[0], "
                             f"found shape {array.shape}")
    lengths = [len(array) for array in arrays]
    kinds = [array.dtype for array in arrays if array.size]
    dtype = np.result_type(*kinds) if kinds else first.dtype
    padded = np.zeros((len(arrays), max(lengths), *first.shape[1:]), dtype)
    for row, array in zip(padded, arrays):
        row[:len(array)] = array
    return padded if batch_first else padded.swapaxes(0, 1), lengths


def check_batches(batches, name, rows):
    """The rows of each batch as int64 arrays, each a row of 0 .. rows - 1; some may be missing, some there twice."""
    found = []
    for k, batch in enumerate(check_entries_of(batches, name, "a sequence of int arrays, the rows of each batch")):
        batch = check_axes(int_array(batch, f"{name}[{k}]"), f"{name}[{k}]", {1: "(n,)"})
        if not batch.size:
            raise ValueError(f"{name}[{k}]: expected at least one row, found none")
        found.append(in_range(batch, f"{name}[{k}]", rows, None))
    if not found:
        raise ValueError(f"{name}: expected at least one batch, found none")
    return found

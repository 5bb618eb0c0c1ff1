"""Data in batches: sequences, padded or ragged, in shuffled batches, and streams in aligned lanes."""

from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from ..check.arrays import check_floats
from ..check.values import check_bool, check_number, check_positive_int, shown
from .tbptt import check_tbptt, count, spans

# Updates whose sequences are sorted by length together: more of them save less and less padding, and mix less. Padded
# steps per valid step at 32 per batch, 4000 sequences of lognormal length (median 40, sigma 0.6): 2.0 shuffled freely,
# 0.35 with 8, 0.10 with 32, 0.03 with 125. The runners skip padding anyhow; what it costs is in the layers around them:
# a tagger of 1000 classes (LSTM 64, LayerNorm) trains in 0.56 of the time, with windows of 20 steps in 0.46, a
# classifier of the last step in 0.95. Held-out losses after 8 epochs are the same within the spread of three seeds;
# on another tagger they were 6 to 18 % worse: batches of one length are less mixed.
POOL = 32


class Targets(list):
    """Arrays of target ids, one for each sequence, that a decoder ends itself: every id and every end counts as one."""

    def counts(self):
        """Elements of each sequence, (B,)."""
        return np.array([len(ids) + 1 for ids in self], np.int64)


class Batch(NamedTuple):
    """What one pass sees, batch first.

    x : (B, T, I), or (B, T) of ids.
    y : (B, ...), or (B, T - context, ...) where there is a target for every step, or a list of B arrays of labels of
        any number; None in prediction.
    lengths : (B,) or None where all steps are valid.
    weight : (B,) or (B, T - context), or None where all count the same.
    context : first steps that do not count: the loss is that of the others, the gradient flows through all.
    carry : step before which the next window takes up the state; None for the end.
    """

    x: np.ndarray
    y: np.ndarray | None
    lengths: np.ndarray | None
    weight: np.ndarray | None
    context: int = 0
    carry: int | None = None

    @property
    def steps(self):
        """Steps that count, padding included."""
        return self.x.shape[1] - self.context

    @property
    def counted(self):
        """Valid steps that count of each sequence, (B,), or None where all are valid."""
        if self.lengths is None or not self.context:
            return self.lengths
        return np.maximum(self.lengths - self.context, 0)

    def mass(self, per_step):
        """The divisor of a mean over this batch, up to a constant: valid elements, or their weights."""
        if isinstance(self.y, Targets):
            return float(np.sum(self.y.counts() * (1 if self.weight is None else self.weight)))
        if not per_step or isinstance(self.y, list):
            return float(len(self.x) if self.weight is None else self.weight.sum())
        batch, steps, counted = len(self.x), self.steps, self.counted
        if self.weight is None:
            return float(batch * steps if counted is None else counted.sum())
        weight = self.weight[:, None] if self.weight.ndim == 1 else self.weight
        if counted is None:
            return float(np.broadcast_to(weight, (batch, steps)).sum())
        return float((weight * (np.arange(steps) < counted[:, None])).sum())

    def window(self, span):
        """The steps of a `Span` of a batch that has targets for every step."""
        first, new, stop, carry = span
        lengths = None if self.lengths is None else np.clip(self.lengths - first, 0, stop - first)
        weight = self.weight if self.weight is None or self.weight.ndim == 1 else self.weight[:, new:stop]
        return Batch(self.x[:, first:stop], self.y[:, new:stop], lengths, weight, new - first, carry - first)


class Sequences:
    """Independent sequences with their targets, handed out in batches padded to their longest sequence.

    Parameters
    ----------
    X : array (N, T, I) or (N, T), or list of N arrays (T_i, I) or (T_i,)
        (N, T) and (T_i,) are ids if they hold integers, else one feature per step.
    y : array or list, optional
        Per sequence (N, ...), or with `per_step` (N, T, ...); a list of (T_i, ...) arrays where X is a list.
    lengths : sequence of N ints, optional
        For a padded X.
    sample_weight : array (N,), or with `per_step` like y's first two axes, optional
    class_weight : dict of class -> weight, or array (K,), optional
        For integer y; multiplies the weights. Classes that a dict leaves out weigh 1.
    per_step : bool
        Whether the model puts out something for every step.
    labels : bool
        Whether y is a list of N arrays of ints of any length, for a loss that aligns them with the steps (CTC);
        weights are then one for each sequence.
    decoded : bool
        With `labels`: whether a decoder puts the labels out one by one, each an element of its own, as is the end.
    dtype : numpy.dtype
        Of what is no id or class.
    batch_size : int
    window : int or (int, int), optional
        Steps per update, and those it reaches back over (see `fastrnn.tbptt`); longer batches are cut. None leaves
        them whole.
    accumulate : int
        Batches that make one update together.
    bucket : bool, optional
        Whether batches are made of sequences of about the same length, which are padded less: shuffled sequences
        are sorted by length within pools of 32 updates, cut into batches, and the batches shuffled (Khomenko et al.
        2016). None: where lengths differ.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    carries = False  # between batches

    def __init__(
        self,
        X,
        y=None,
        *,
        lengths=None,
        sample_weight=None,
        class_weight=None,
        per_step=True,
        labels=False,
        decoded=False,
        dtype=np.float32,
        batch_size=32,
        window=None,
        accumulate=1,
        bucket=None,
    ):
        self.per_step = per_step
        self.batch_size = check_positive_int(batch_size, "batch_size")
        self.accumulate = check_positive_int(accumulate, "accumulate")
        self.window = check_tbptt(window)
        if window is not None and not per_step:
            raise ValueError(
                "tbptt: expected None for a model with one output per sequence (only the last window "
                f"would have a target), found {window}"
            )
        self.ragged = isinstance(X, (list, tuple))
        self.x = _features(X, dtype)
        self.lengths = _lengths(self.x, lengths, self.ragged)
        self.labels = labels
        self.decoded = decoded
        if labels:
            for name, value in ("tbptt", window), ("class_weight", class_weight):
                if value is not None:
                    raise ValueError(f"{name}: expected None with targets of any number of labels, "
                                     f"found {shown(value)}")
            self.y = None if y is None else _labels(y, self.x)
        else:
            self.y = None if y is None else _targets(y, self.x, self.ragged and per_step, per_step, dtype)
        self.weight = _weights(sample_weight, class_weight, self.x, self.y, self.ragged, per_step and not labels)
        differ = self.lengths is not None and len(set(self.lengths.tolist())) > 1
        self.bucket = differ and (bucket is None or check_bool(bucket, "bucket_by_length"))

    def __len__(self):
        return len(self.x)

    def fingerprint(self):
        """What must be the same for an interrupted fit to go on."""
        return {
            "sequences": len(self),
            "batch_size": self.batch_size,
            "window": self.window,
            "accumulate": self.accumulate,
            "bucket": self.bucket,
        }

    def order(self, rng=None):
        """The sequences of each update of one epoch as arrays of indices, shuffled by `rng` if given."""
        indices = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        size = self.batch_size * self.accumulate
        if self.bucket:
            pool = len(self) if rng is None else POOL * size
            indices = np.concatenate([self._by_length(part) for part in _cut(indices, pool)])
        updates = _cut(indices, size)
        if self.bucket and rng is not None:
            updates = [updates[k] for k in rng.permutation(len(updates))]
        return updates

    def _by_length(self, indices):
        return indices[np.argsort(self.lengths[indices], kind="stable")]

    def parts(self, indices):
        """The batches that make one update together."""
        return _cut(indices, self.batch_size)

    def updates(self, indices):
        """Number of updates that the sequences of these `indices` make, window by window."""
        return 1 if self.window is None else count(self._steps(indices), self.window[0])

    def windows(self, indices, start=0, context=True):
        """The windows of the batch of these `indices` from number `start` on, one `Batch` for each update.

        Without `context` they hold the new steps alone.
        """
        batch = self.batch(indices)
        if self.window is None:
            return [batch][start:]
        k1, k2 = self.window
        return [batch.window(span) for span in spans(batch.x.shape[1], k1, k2 if context else k1, start)]

    def batch(self, indices):
        """The `Batch` of the sequences with these `indices`."""
        steps = self._steps(indices)
        lengths = None if self.lengths is None else self.lengths[indices]
        if self.labels and self.y is not None:
            y = (Targets if self.decoded else list)(self.y[k] for k in indices)
        else:
            y = None if self.y is None else _take(self.y, indices, steps if self.per_step else None)
        weight = self.weight
        if weight is not None:
            by_step = isinstance(weight, list) or weight.ndim == 2
            weight = _take(weight, indices, steps if by_step else None)
        x = _take(self.x, indices, steps)
        if x.ndim == 2 and lengths is not None:
            x = np.where(np.arange(steps) < lengths[:, None], x, 0)  # padding may hold any number
        return Batch(x, y, lengths, weight)

    def split(self, fraction):
        """(all but the last `fraction` of the sequences, the last `fraction`)."""
        held = round(len(self) * fraction)
        if not 0 < held < len(self):
            raise ValueError(
                f"validation_split: expected a fraction that leaves both parts at least one of the "
                f"{len(self)} sequences, found {fraction}"
            )
        cut = len(self) - held
        return self._part(slice(None, cut)), self._part(slice(cut, None), accumulate=1)

    def _part(self, part, **changes):
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changes)
        for name in ("x", "y", "lengths", "weight"):
            values = getattr(self, name)
            setattr(copy, name, None if values is None else values[part])
        return copy

    def _steps(self, indices):
        return self.x.shape[1] if self.lengths is None else int(self.lengths[indices].max(initial=0))


class LaneStream:
    """One long sequence in `batch_size` aligned lanes; each window goes on where the one before ended.

    For truncated BPTT over text and other streams. The first lane holds the first part of the sequence, the
    second the next, and so on; the state is carried through an epoch, and nothing is ever shuffled. Give it
    to `Trainer.fit` as X, without y. What is left over at the end, fewer than `batch_size` steps, is not
    seen.

    Parameters
    ----------
    x : int array (T,) of ids, or array (T, I)
    batch_size : int
    seq_len : int or (int, int)
        Steps per window, and so per update; or these and the steps reached back over, as `tbptt` of `Trainer`.
    y : array (T, ...), optional
        A target for every step. Without it the target is the next step's x, of which T - 1 there are.
    dtype : "float32" or "float64"
        Of what is no id or class.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; a sequence with fewer steps than lanes is an error.
    """

    carries = True
    per_step = True
    decoded = False
    lengths = weight = None

    def __init__(self, x, batch_size, seq_len, y=None, dtype="float32"):
        self.batch_size = check_positive_int(batch_size, "batch_size")
        self.window = check_tbptt(seq_len, "seq_len")
        x = _array(x, "x", np.dtype(dtype))
        if x.ndim == 1 and not _holds_ids(x):
            x = x[:, None]
        if x.ndim not in (1, 2):
            raise ValueError(f"x: expected shape (T,) or (T, I), found {x.shape}")
        if y is None:
            x, y = x[:-1], x[1:]
        else:
            y = _array(y, "y", np.dtype(dtype))
            if len(y) != len(x):
                raise ValueError(f"y: expected {len(x)} steps as in x, found {len(y)}")
        self.steps = len(x) // self.batch_size
        if self.steps == 0:
            raise ValueError(
                f"x: expected a target for at least one step in each of the {self.batch_size} lanes, "
                f"found {len(x)} of them"
            )
        kept = self.steps * self.batch_size
        self.x = x[:kept].reshape(self.batch_size, self.steps, *x.shape[1:])
        self.y = y[:kept].reshape(self.batch_size, self.steps, *y.shape[1:])

    def __len__(self):
        return self.batch_size

    def fingerprint(self):
        """What must be the same for an interrupted fit to go on."""
        return {
            "sequences": self.batch_size,
            "batch_size": self.batch_size,
            "window": self.window,
            "steps": self.steps,
        }

    def order(self, rng=None):
        """One batch, of all lanes; there is nothing to shuffle."""
        return [slice(None)]

    def parts(self, indices):
        """The batches that make one update together: all lanes are one."""
        return [indices]

    def updates(self, _):
        """Number of windows in an epoch."""
        return count(self.steps, self.window[0])

    def windows(self, _, start=0, context=True):
        """The windows from number `start` on, one `Batch` for each update; without `context` the new steps alone."""
        k1, k2 = self.window
        lanes = Batch(self.x, self.y, None, None)
        return map(lanes.window, spans(self.steps, k1, k2 if context else k1, start))


def passes(data, indices, start=0):
    """The updates that sequences make from number `start` on: lists of one `Batch` per part, None once it has ended."""
    return zip_longest(*(data.windows(part, start) for part in data.parts(indices)))


def _cut(indices, size):
    return [indices[k : k + size] for k in range(0, len(indices), size)]


def check_ids(data, size):
    """Raise a ValueError where X of `Sequences` or a `LaneStream` holds ids that are not in 0 .. size - 1."""
    if data.x[0].ndim == 1 and _holds_ids(data.x[0]):
        _check_ints(data.x, "X", size, None if isinstance(data.x, list) else _valid(data))


def check_classes(data, classes):
    """Raise a ValueError where an integer y that counts is not in 0 .. classes - 1."""
    y = data.y
    if _holds_ids(y[0] if isinstance(y, list) else y):
        by_step = data.per_step and not isinstance(y, list)
        _check_ints(y, "y", classes, _valid(data) if by_step else None, data.weight)


def _valid(data):
    """Which steps of a padded array are within the lengths; None where all are."""
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


def _holds_ids(array):
    return array.dtype.kind in "iu"


def _array(values, name, dtype):
    """An array of ints as int64, anything else as `dtype`."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, found values of uneven shape") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array, found {type(values).__name__} ({error})") from error
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind not in "bf":
        raise TypeError(f"{name}: expected numbers, found dtype {array.dtype}")
    return array.astype(dtype, copy=False)


def _features(X, dtype):
    """X as one array (N, T, I) or (N, T) of ids, or as a list of (T_i, I) or (T_i,) arrays that agree."""
    if not isinstance(X, (list, tuple)):
        X = _array(X, "X", dtype)
        if X.ndim not in (2, 3):
            raise ValueError(
                f"X: expected shape (N, T, I) or (N, T), or a list of arrays; found shape {X.shape}"
            )
        if X.ndim == 2 and not _holds_ids(X):
            X = X[:, :, None]
        elif X.ndim == 3:
            X = X.astype(dtype, copy=False)
        if len(X) == 0:
            raise ValueError("X: expected at least one sequence, found none")
        return X
    if not X:
        raise ValueError("X: expected at least one sequence, found an empty list")
    arrays = [_array(x, f"X[{k}]", dtype) for k, x in enumerate(X)]
    ids = all((_holds_ids(x) and x.ndim == 1) or (x.size == 0 and x.ndim == 1) for x in arrays)
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


def _lengths(x, lengths, ragged):
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


def _targets(y, x, ragged, per_step, dtype):
    """y as one array (N, ...), or as a list of arrays (T_i, ...) for a ragged X with targets per step."""
    _check_count(y, "y", len(x))
    if not ragged:
        y = _array(y, "y", dtype)
        if per_step and (y.ndim < 2 or y.shape[1] != x.shape[1]):
            raise ValueError(
                f"y: expected shape ({x.shape[0]}, {x.shape[1]}, ...), a target for every step, because "
                f"the model has an output for every step; found shape {y.shape}"
            )
        return y
    arrays = [_array(values, f"y[{k}]", dtype) for k, values in enumerate(y)]
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


def _labels(y, x):
    """y as a list of int64 arrays (n,), one for each sequence."""
    _check_count(y, "y", len(x))
    arrays = [_array(values, f"y[{k}]", np.float64) for k, values in enumerate(y)]
    for k, values in enumerate(arrays):
        if values.ndim != 1 or (values.size and not _holds_ids(values)):
            raise ValueError(f"y[{k}]: expected the labels of X[{k}], ints of shape (n,); found {values.dtype} "
                             f"of shape {values.shape}")
    return [values.astype(np.int64, copy=False) for values in arrays]


def _weights(sample_weight, class_weight, x, y, ragged, per_step):
    """None, an array (N,) or (N, T), or for a ragged X a list of arrays (T_i,)."""
    weight = None
    if sample_weight is not None:
        weight = _sample_weights(sample_weight, x, ragged, per_step)
    if class_weight is None:
        return weight
    if y is None:
        raise ValueError("class_weight: expected None without y")
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
        if weight.shape != (len(x),) and not (per_step and not ragged and weight.shape == x.shape[:2]):
            raise ValueError(
                f"sample_weight: expected shape ({len(x)},)"
                f"{' or that of the first two axes of X' if per_step else ''}, found {weight.shape}"
            )
    if not (np.isfinite(flat).all() and (flat >= 0).all()):
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


def _take(values, indices, steps):
    """values[indices]; what has a time axis is cut or padded with zeros to `steps`."""
    if isinstance(values, list):
        chosen = [values[k] for k in indices]
        out = np.zeros((len(chosen), steps, *values[0].shape[1:]), values[0].dtype)
        for row, sequence in zip(out, chosen):
            row[: len(sequence)] = sequence
        return out
    taken = values[indices]
    return taken if steps is None else taken[:, :steps]

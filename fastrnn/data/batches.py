"""Data in batches: sequences, padded or ragged, in shuffled batches, and streams in aligned lanes."""

from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from ..check.sequences import check_batches, end_sequences
from ..check.values import check_bool, check_positive_int, shown
from .batch import Batch, Targets
from .given import as_array, as_labels, as_lengths, as_sequences, as_targets, holds_ids
from .mapped import Mapped, is_mapped, read
from .tbptt import check_tbptt, count, spans
from .weights import as_weights, by_class, mean_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from numpy.random import Generator

    from .._types import ArrayLike, DType, Inputs, Ints, Weights

# Updates whose sequences are sorted by length together: 0.10 padded steps per valid step instead of 2.0
# (bench/NOTES.md, Batches of one length).
POOL = 32


class Sequences:
    """Independent sequences with their targets, in batches padded to their longest sequence.

    Parameters
    ----------
    X : array (N, T, I) or (N, T), or list of N arrays (T_i, I) or (T_i,)
        (N, T) and (T_i,) are ids if they hold integers, else one feature per step.
    y : array or list, optional
        Per sequence (N, ...), or with `per_step` (N, T, ...); a list of (T_i, ...) arrays if X is a list.
    lengths : sequence of N ints, optional
        For a padded X.
    sample_weight : array (N,), or with `per_step` like y's first two axes, optional
    class_weight : dict of class -> weight, or array (K,), optional
        For integer y; multiplies the weights. Classes that are missing in a dict have weight 1.
    per_step : bool
        Whether the model has an output for every step.
    labels : bool
        Whether y is a list of N arrays of ints of any length, for a loss that aligns them with the steps (CTC);
        there is then one weight for each sequence.
    decoded : bool
        With `labels`: whether a decoder outputs the labels one by one; each label, and the end, is then an element.
    ids : bool, optional
        Whether X has to be ids, or must not; by default it may be either.
    dtype : numpy.dtype
        Type of all data except ids and classes.
    batch_size : int
    window : int or (int, int), optional
        Steps per update, and steps that the gradient goes back (see `fastrnn.tbptt`); longer batches are cut. None
        leaves them whole.
    accumulate : int
        Batches per update.
    bucket : bool, optional
        Whether to make batches of sequences of about the same length, which need less padding: shuffled sequences
        are sorted by length within pools of 32 updates, cut into batches, and the batches shuffled (Khomenko et al.
        2016). None: true if lengths differ.

    Attributes
    ----------
    mean_weight : float or None
        What weights are divided by; None for the sum of each batch's weights. `weigh` sets it.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    carries = False  # between batches
    mean_weight: float | None = None
    check_batch = None  # a function that gets each `Batch`, where values are read from a file batch by batch
    shuffle = True
    batch_order = None  # of the caller's own

    def __init__(
        self,
        X: "Inputs",
        y: "Inputs | None" = None,
        *,
        lengths: "Ints | None" = None,
        sample_weight: "Inputs | None" = None,
        class_weight: "Weights | None" = None,
        per_step: bool = True,
        labels: bool = False,
        decoded: bool = False,
        ids: bool | None = None,
        dtype: "DType" = np.float32,
        batch_size: int = 32,
        window: int | tuple[int, int] | None = None,
        accumulate: int = 1,
        bucket: bool | None = None,
    ) -> None:
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
        self.x = as_sequences(X, dtype, ids)
        self.lengths = as_lengths(self.x, lengths, self.ragged)
        self.labels = labels
        self.decoded = decoded
        if labels:
            for name, value in ("tbptt", window), ("class_weight", class_weight):
                if value is not None:
                    raise ValueError(f"{name}: expected None with targets of any number of labels, "
                                     f"found {shown(value)}")
            self.y = None if y is None else as_labels(y, self.x)
        else:
            self.y = None if y is None else as_targets(y, self.x, self.ragged and per_step, per_step, dtype)
        later = self.y is not None and (_in_file(self.y) or is_mapped(sample_weight))
        self.class_weight = class_weight if later else None  # for each batch as it is read
        self.weight = as_weights(sample_weight, None if later else class_weight, self.x, self.y, self.ragged,
                                 per_step and not labels)
        self.mapped = any(map(_in_file, (self.x, self.y, self.weight)))  # whether a batch is read from a file
        differ = self.lengths is not None and bool((self.lengths != self.lengths[:1]).any())
        self.bucket = differ and (bucket is None or check_bool(bucket, "bucket_by_length"))

    def __len__(self) -> int:
        return len(self.x)

    def weigh(self, which: str = "", of_sequences: bool = False) -> None:
        """Set `mean_weight` to that of the valid elements; to None where all weigh the same.

        Elements are the steps, each with its sequence's weight or its own, where there is a target for every step; the
        labels and ends where a decoder puts them out; else, and with `of_sequences`, the sequences. Raises a
        ValueError, which tells `which` part of the data it is, where nothing has a weight above 0.
        """
        self.mean_weight = mean_weight(self, which, of_sequences)

    def fingerprint(self) -> "dict[str, Any]":
        """What must be the same for an interrupted fit to go on."""
        return {
            "sequences": len(self),
            "batch_size": self.batch_size,
            "window": self.window,
            "accumulate": self.accumulate,
            "bucket": self.bucket,
            **({} if self.shuffle else {"shuffle": False}),
            **({} if self.batch_order is None else {"batch_order": "given"}),
        }

    def ordered(self, shuffle: bool, batch_order: "Callable[[int, Generator], Any] | Any" = None) -> "Sequences":
        """The same data in another order while training.

        Parameters
        ----------
        shuffle : bool
            Whether `order` heeds its `rng`.
        batch_order : sequence of int arrays, or function of (epoch, Generator) that returns one, optional
            The sequences of each update.
        """
        if batch_order is not None and not callable(batch_order):
            batch_order = check_batches(batch_order, "batch_order", len(self))
        return self._part(slice(None), shuffle=check_bool(shuffle, "shuffle"), batch_order=batch_order)

    def order(self, rng: "Generator | None" = None, epoch: int = 0) -> "list[Any]":
        """The sequences of each update of one epoch as arrays of indices, shuffled by `rng` if given."""
        if rng is not None and callable(self.batch_order):
            return check_batches(self.batch_order(epoch, rng), f"batch_order({epoch})", len(self))
        if rng is not None and self.batch_order is not None:
            return self.batch_order
        rng = rng if self.shuffle else None
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

    def parts(self, indices: "Any") -> "list[Any]":
        """The batches that make one update together."""
        return _cut(indices, self.batch_size)

    def updates(self, indices: "Any") -> int:
        """Number of updates that the sequences of these `indices` make, window by window."""
        return 1 if self.window is None else count(self._steps(indices), self.window[0])

    def windows(self, indices: "Any", start: int = 0, context: bool = True) -> "Iterable[Batch]":
        """The windows of the batch of these `indices` from number `start` on, one `Batch` for each update.

        Without `context` they hold the new steps alone.
        """
        batch = self.batch(indices)
        if self.window is None:
            return [batch][start:]
        k1, k2 = self.window
        return [batch.window(span) for span in spans(batch.x.shape[1], k1, k2 if context else k1, start)]

    def batch(self, indices: "Any") -> "Batch":
        """The `Batch` of the sequences with these `indices`."""
        if not self.mapped:
            return self._batch(indices)
        try:
            return self._batch(indices)
        except ValueError as error:
            some = f"{indices[:8].tolist()}{'' if len(indices) <= 8 else ' ...'}"
            raise ValueError(f"{error} (in the batch of sequences {some}, just read)") from error

    def _batch(self, indices):
        steps = self._steps(indices)
        lengths = None if self.lengths is None else self.lengths[indices]
        if self.labels and self.y is not None:
            y = (Targets if self.decoded else list)(read(self.y[k]) for k in indices)
        else:
            y = None if self.y is None else _take(self.y, indices, steps if self.per_step else None)
        weight = self.weight
        if weight is not None:
            by_step = isinstance(weight, list) or weight.ndim == 2
            weight = _take(weight, indices, steps if by_step else None)
        if self.class_weight is not None:
            weight = by_class(self.class_weight, y, weight)
        x = _take(self.x, indices, steps)
        if lengths is not None and not isinstance(self.x, list):
            end_sequences(x, lengths)   # padding may hold anything
        batch = Batch(x, y, lengths, weight)
        if self.check_batch is not None:
            self.check_batch(batch)
        return batch

    def split(self, fraction: float) -> "tuple[Sequences, Sequences]":
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
    """One long sequence in `batch_size` aligned lanes; each window continues where the one before ended.

    For truncated BPTT over text and other streams. The first lane holds the first part of the sequence, the
    second the next, and so on; the state passes through an epoch, and nothing is shuffled. Give it to `Trainer.fit`
    as X, without y. The remainder at the end, fewer than `batch_size` steps, is not used.

    Parameters
    ----------
    x : int array (T,) of ids, or array (T, I)
    batch_size : int
    seq_len : int or (int, int)
        Steps per window, and so per update; or a pair with the steps that the gradient goes back, as `tbptt` of
        `Trainer`.
    y : array (T, ...), optional
        A target for every step. Without it the target is the next step's x, so there are T - 1 steps.
    dtype : "float32" or "float64"
        Type of all data except ids and classes.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; a sequence with fewer steps than lanes is an error.
    """

    carries = True
    per_step = True
    decoded = False
    lengths = weight = mean_weight = batch_order = None
    check_batch = None  # as of `Sequences`

    def __init__(self, x: "ArrayLike", batch_size: int, seq_len: int | tuple[int, int], y: "ArrayLike | None" = None,
                 dtype: "DType" = "float32") -> None:
        self.batch_size = check_positive_int(batch_size, "batch_size")
        self.window = check_tbptt(seq_len, "seq_len")
        x = as_array(x, "x", np.dtype(dtype))
        if x.ndim == 1 and not holds_ids(x):
            x = x[:, None]
        if x.ndim not in (1, 2):
            raise ValueError(f"x: expected shape (T,) or (T, I), found {x.shape}")
        if y is None:
            x, y = x[:-1], x[1:]
        else:
            y = as_array(y, "y", np.dtype(dtype))
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

    def __len__(self) -> int:
        return self.batch_size

    @property
    def mapped(self) -> bool:
        """Whether it is read from a file, window by window."""
        return _in_file(self.x) or _in_file(self.y)

    def fingerprint(self) -> "dict[str, Any]":
        """What must be the same for an interrupted fit to go on."""
        return {
            "sequences": self.batch_size,
            "batch_size": self.batch_size,
            "window": self.window,
            "steps": self.steps,
        }

    def order(self, rng: "Generator | None" = None, epoch: int = 0) -> "list[Any]":
        """One batch, of all lanes; there is nothing to shuffle."""
        return [slice(None)]

    def parts(self, indices: "Any") -> "list[Any]":
        """The batches that make one update together: all lanes are one."""
        return [indices]

    def updates(self, _: "Any") -> int:
        """Number of windows in an epoch."""
        return count(self.steps, self.window[0])

    def windows(self, _: "Any", start: int = 0, context: bool = True) -> "Iterable[Batch]":
        """The windows from number `start` on, one `Batch` for each update; without `context` the new steps alone."""
        k1, k2 = self.window
        lanes = Batch(self.x, self.y, None, None)
        windows = map(lanes.window, spans(self.steps, k1, k2 if context else k1, start))
        return map(self._in_memory, windows) if self.mapped else windows

    def _in_memory(self, window):
        window = window._replace(x=read(window.x), y=read(window.y))
        if self.check_batch is not None:
            self.check_batch(window)
        return window


def updates_of(data: "Any", indices: "Any", start: int = 0) -> "Iterator[Any]":
    """The updates of sequences from number `start` on: lists of one `Batch` per part, None once a part has ended."""
    return zip_longest(*(data.windows(part, start) for part in data.parts(indices)))


def _in_file(values):
    return any(map(_in_file, values)) if isinstance(values, list) else isinstance(values, Mapped)


def _cut(indices, size):
    return [indices[k : k + size] for k in range(0, len(indices), size)]


def _take(values, indices, steps):
    """values[indices], with the time axis, if `steps` is given, cut or padded with zeros to so many steps."""
    if isinstance(values, Mapped):
        return values.take(indices, steps)
    if isinstance(values, list):
        chosen = [values[k] for k in indices]
        out = np.zeros((len(chosen), steps, *values[0].shape[1:]), values[0].dtype)
        for row, sequence in zip(out, chosen):
            row[: len(sequence)] = read(sequence)
        return out
    taken = values[indices]
    return taken if steps is None else taken[:, :steps]

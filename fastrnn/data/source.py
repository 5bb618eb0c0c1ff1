"""Data that come batch by batch: from what gives batch number k, or from what can be iterated over."""

import array
from collections.abc import Mapping

import numpy as np

from .batches import LaneStream
from .given import holds_ids
from .mapped import Mapped

_END = object()
_DATA = (  # or mistaken for it
    list, tuple, np.ndarray, Mapped, LaneStream, Mapping, str, bytes, bytearray, memoryview, range, array.array, set,
    frozenset, type,
)  # fmt: skip


def is_source(X):
    """Whether it gives batches of data, by number or one after another, instead of being data."""
    if isinstance(X, _DATA) or hasattr(X, "__array__"):
        return False
    return is_indexed(X) or hasattr(X, "__iter__")


def is_indexed(X):
    """Whether it gives batch number k."""
    return hasattr(X, "__getitem__") and hasattr(X, "__len__")


def is_iterator(X):
    """Whether it can be read once only."""
    return not is_indexed(X) and hasattr(X, "__next__")


def unpacked(item, number, targets):
    """The dict of X, y, lengths and sample_weight of one batch as a source gives it; without `targets` of X, lengths.

    Raises
    ------
    TypeError, ValueError
        Naming the batch.
    """
    if isinstance(item, dict):
        unknown = set(item) - {"X", "y", "lengths", "sample_weight"}
        if unknown or "X" not in item:
            raise ValueError(f"batch {number}: expected X, y, lengths and sample_weight, "
                             f"found {sorted(map(str, item))}")
        found = item
    elif not targets:
        found = {"X": item[0] if isinstance(item, tuple) and item else item}
    elif isinstance(item, (tuple, list)) and len(item) in (2, 3):
        found = dict(zip(("X", "y", "sample_weight"), item))
    else:
        many = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
        raise TypeError(f"batch {number}: expected (X, y), (X, y, sample_weight) or a dict of X, y, lengths and "
                        f"sample_weight; found {type(item).__name__}{many}")
    kept = ("X", "y", "lengths", "sample_weight") if targets else ("X", "lengths")
    return {name: value for name, value in found.items() if name in kept}


class Seen:
    """What the batches of a source had so far: those to come have the same kinds and widths."""

    def __init__(self):
        self._kinds = None
        self._sequences = self._steps = 0

    def check(self, data):
        """Raise a ValueError where the `Sequences` of a batch are of another kind than those of the first."""
        x = data.x[0]
        found = {"X": f"{'ints' if x.ndim == 1 and holds_ids(x) else 'floats'} of shape "
                      f"{_written('B', 'T', *x.shape[1:])}"}
        if data.y is not None and not data.labels:
            per_step = ["T"] if data.per_step else []
            found["y"] = f"shape {_written('B', *per_step, *data.y[0].shape[len(per_step):])}"
        self._kinds = self._kinds or found
        for name, kind in self._kinds.items():
            if found.get(name) != kind:
                raise ValueError(f"{name}: expected {kind} as in the first batch, found {found.get(name)}")

    def is_larger(self, data):
        """Whether the batch has more sequences, or more steps, than any before."""
        steps = data.x.shape[1] if data.lengths is None else int(data.lengths.max(initial=0))
        if len(data) <= self._sequences and steps <= self._steps:
            return False
        self._sequences, self._steps = max(len(data), self._sequences), max(steps, self._steps)
        return True


def _written(*axes):
    return f"({', '.join(map(str, axes))})"


class Source:
    """Base of batches that are made into `Sequences` when their turn comes; in place of these for a trainer.

    Parameters
    ----------
    source
        See `is_source`.
    make : function
        (what the source gives, its number) -> `Sequences`, of one batch.
    per_step : bool
        Whether the model puts out something for every step.
    window : (int, int) or None
    accumulate : int
        Batches that make one update together.
    """

    carries = mapped = False
    lengths = weight = batch_order = None
    shuffle = True
    mean_weight = 1.0  # nobody knows that of batches to come: weights are taken as they are

    def __init__(self, source, make, per_step, window=None, accumulate=1):
        self._source, self._make, self._first = source, make, None
        self.per_step, self.window, self.accumulate = per_step, window, accumulate

    def begin(self):
        """Look at the first batch, before anything is done with it."""
        self._first = self._batch(0)

    def order(self, rng=None, epoch=0):
        """The numbers of the batches of each update of an epoch, shuffled by `rng` if given and if they can be."""
        numbers = np.arange(len(self))
        return [numbers[k : k + self.accumulate] for k in range(0, len(numbers), self.accumulate)]

    def parts(self, numbers):
        """The batches that make one update together."""
        return [numbers[k : k + 1] for k in range(len(numbers))]

    def updates(self, numbers):
        """About how many updates these batches make: as many as the first one."""
        return 1 if self._first is None else self._first.updates(np.arange(len(self._first)))

    def windows(self, numbers, start=0, context=True):
        """As `Sequences.windows`, of the one batch that has this number."""
        data = self.sequences(numbers)
        return data.windows(np.arange(len(data)), start, context)

    def sequences(self, numbers):
        """The `Sequences` of the one batch that has this number."""
        return self._batch(int(numbers[0]))


class IndexedBatches(Source):
    """Batches that are had by their numbers, in any order: ``source[k]``, k from 0 to ``len(source) - 1``."""

    def __init__(self, source, make, per_step, window=None, accumulate=1):
        super().__init__(source, make, per_step, window, accumulate)
        self._count = len(source)
        if not self._count:
            raise ValueError("X: expected at least one batch, found none: its len() is 0")

    def __len__(self):
        return self._count

    def fingerprint(self):
        """What must be the same for an interrupted fit to go on."""
        return {"batches": self._count, "window": self.window, "accumulate": self.accumulate,
                **({} if self.shuffle else {"shuffle": False})}

    def order(self, rng=None, epoch=0):
        order = super().order()
        if rng is None or not self.shuffle:
            return order
        numbers = rng.permutation(self._count)
        return [numbers[part] for part in order]

    def _batch(self, number):
        return self._make(self._source[number], number)


class IteratedBatches(Source):
    """Batches in the order in which an iterable gives them.

    With a len() it is iterated over anew in each epoch. Without one an epoch takes as many as `steps` says and the
    next goes on behind it; an iterable that can be read again, not an iterator, then begins anew where it ends.

    Parameters
    ----------
    steps : int or None
        Batches of an epoch; None reads up to the end.
    """

    def __init__(self, source, make, per_step, window=None, accumulate=1, steps=None):
        super().__init__(source, make, per_step, window, accumulate)
        self._sized = hasattr(source, "__len__")
        self._steps = len(source) if self._sized else steps
        if self._steps == 0:
            raise ValueError("X: expected at least one batch, found none: its len() is 0")
        self._iterator, self._held = None, None  # the latter: a batch that was looked at before its turn
        self._at = self._given = 0  # batches that were taken of this iterator, and of all

    def __len__(self):
        return self._steps

    def fingerprint(self):
        return {"steps_per_epoch": self._steps, "window": self.window, "accumulate": self.accumulate}

    def begin(self):
        super().begin()
        self._held = self._first

    def order(self, rng=None, epoch=0):
        return super().order() if self._steps is not None else self._until_the_end()

    def _until_the_end(self):
        self._restart()
        number = 0
        while (item := next(self._iterator, _END)) is not _END:
            self._held = self._make(item, number)
            yield np.array([number])
            number += 1
        if not number:
            raise ValueError("X: expected at least one batch, found none")

    def _restart(self):
        self._iterator, self._at = iter(self._source), 0

    def _batch(self, number):
        """The next one; of a source with a len() that of this number in its epoch."""
        held, self._held = self._held, None
        if held is not None and not (self._sized and number):
            return held
        if self._iterator is None or (self._sized and number < self._at):
            self._restart()
        while self._sized and self._at < number:
            self._next(number)
        return self._make(self._next(number), number if self._sized else self._given - 1)

    def _next(self, number):
        item = next(self._iterator, _END)
        if item is _END and not self._sized and self._given and not is_iterator(self._source):
            self._restart()
            item = next(self._iterator, _END)
        if item is _END:
            if self._sized:
                raise ValueError(f"X: expected {self._steps} batches, as its len() says; found {self._at}")
            raise ValueError(f"X: expected {self._steps} batches for each epoch, as steps_per_epoch says; found "
                             f"{self._given} in all: it ended after {number} of an epoch")
        self._at += 1
        self._given += 1
        return item

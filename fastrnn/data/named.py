"""Data of networks with several named inputs, in batches."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.named import check_named_lengths, check_names
from .batches import Sequences
from .given import as_array
from .mapped import read

if TYPE_CHECKING:
    from typing import Any

    from .._types import Array


class NamedInputs:
    """The x of a `Batch` of several inputs: as long as the batch, with the steps of the input that counts them.

    Attributes
    ----------
    arrays : dict of str to array
        Sequences (B, T, ...), with zeros beyond their lengths, and rows (B, F).
    lengths : dict of str to int array (B,) or None
    rows : frozenset of str
        The names of inputs without steps.
    """

    def __init__(self, arrays: "dict[str, Array]", lengths: "dict[str, Any]", rows: "frozenset[str]",
                 main: str) -> None:
        self.arrays, self.lengths, self.rows = arrays, lengths, rows
        self.shape = arrays[main].shape
        self.dtype = arrays[main].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def arguments(self, batch_first: bool) -> "tuple[dict[str, Array], dict[str, Any] | None]":
        """x and lengths as a network takes them in its layout."""
        x = {name: array if batch_first or name in self.rows else array.swapaxes(0, 1)
             for name, array in self.arrays.items()}
        return x, self.lengths if any(one is not None for one in self.lengths.values()) else None


class NamedSequences(Sequences):
    """As `Sequences`, of several inputs by name.

    Parameters
    ----------
    X : dict of str to array or list
        Exactly the names in `kinds`, each with an entry for each sequence.
    y : array or list, optional
    lengths : dict of str to sequence of N ints, optional
        Of padded inputs.
    kinds : dict of str to bool or None
        What `ids` of `Sequences` is for each input.
    rows : frozenset of str
        The names of inputs without steps, arrays (N, F).
    **options
        As for `Sequences`, of the input that counts the steps: the first that has some.
    """

    def __init__(self, X: "Any", y: "Any" = None, *, lengths: "Any" = None, kinds: "dict[str, bool | None]",
                 rows: "frozenset[str]" = frozenset(), **options: "Any") -> None:
        X, lengths = check_names(X, "X", tuple(kinds)), check_named_lengths(lengths, tuple(kinds))
        self.main = next(name for name in kinds if name not in rows)
        self._rows, self._others = rows, {}
        shared = {name: options[name] for name in ("dtype", "per_step", "batch_size") if name in options}
        for name, ids in kinds.items():
            try:
                if name in rows:
                    self._others[name] = self._as_rows(X[name], lengths[name], options.get("dtype", np.float32))
                elif name == self.main:
                    options.pop("ids", None)
                    super().__init__(X[name], y, lengths=lengths[name], ids=ids, **options)
                else:
                    self._others[name] = Sequences(X[name], lengths=lengths[name], ids=ids, **shared)
            except (TypeError, ValueError) as error:
                what = next((word for word in ("X", "lengths") if str(error).startswith(word)), None)
                if what is None or isinstance(error, MemoryError):
                    raise
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{what}[{name!r}]{str(error).removeprefix(what)}") from error
        for name, part in self._others.items():
            if len(part) != len(self):
                raise ValueError(f"X[{name!r}]: expected {len(self)} entries as in X[{self.main!r}], found {len(part)}")
        if self.per_step:
            self._check_steps()

    @staticmethod
    def _as_rows(values, lengths, dtype):
        if lengths is not None:
            raise ValueError("lengths: expected None, as this input has no steps, found some")
        array = as_array(values, "X", np.dtype(dtype))
        if array.ndim != 2:
            raise ValueError(f"X: expected shape (N, F), a row of numbers for each sequence, found {array.shape}")
        return array.astype(np.dtype(dtype), copy=False)

    def _check_steps(self):
        """Raise unless all inputs have the same lengths, where each step has a target."""
        mine = self._lengths_of(self)
        for name, part in self._others.items():
            if not np.array_equal(self._lengths_of(part), mine):
                raise ValueError(f"X[{name!r}]: expected sequences as long as those of X[{self.main!r}], because the "
                                 "model has an output for every step; found others")

    @staticmethod
    def _lengths_of(data):
        return np.full(len(data), data.x.shape[1]) if data.lengths is None else data.lengths

    def sequences_by_name(self) -> "dict[str, Sequences]":
        """The inputs that have steps."""
        return {self.main: self, **{name: part for name, part in self._others.items() if name not in self._rows}}

    def lengths_by_name(self) -> "dict[str, Array]":
        """The steps of all sequences of the inputs that have some."""
        return {name: self._lengths_of(part) for name, part in self.sequences_by_name().items()}

    def _batch(self, indices):
        batch = super()._batch(indices)
        arrays, lengths = {self.main: batch.x}, {self.main: batch.lengths}
        for name, part in self._others.items():
            if name in self._rows:
                arrays[name], lengths[name] = read(part[indices]), None
            else:
                one = part._batch(indices)
                arrays[name], lengths[name] = one.x, one.lengths
        return batch._replace(x=NamedInputs(arrays, lengths, self._rows, self.main))

    def _part(self, part, **changes):
        copy = super()._part(part, **changes)
        copy._others = {name: one[part] if name in self._rows else one._part(part)
                              for name, one in self._others.items()}
        return copy

"""Gradients of tables of which a batch uses few rows."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_real

if TYPE_CHECKING:
    from .._types import Array


class GradientRows:
    """A gradient (V, ...) that is zero but for the rows that were added to since it was last cleared.

    Everybody else has the view `shown`, which is read-only, so that no row changes unnoticed.

    Parameters
    ----------
    gradient : array (V, ...) of zeros
    """

    def __init__(self, gradient: "Array") -> None:
        self.gradient = gradient
        self.shown = gradient.view()
        self.shown.flags.writeable = False
        self._touched: list[Array] = []

    @property
    def indices(self) -> "Array":
        """int array of the rows that may differ from zero, in rising order, each once."""
        if len(self._touched) != 1:
            every = np.concatenate(self._touched) if self._touched else np.zeros(0, np.int64)
            self._touched = [np.unique(every)]
        return self._touched[0]

    def touch(self, ids: "Array") -> None:
        """Tell that rows are about to be added to."""
        self._touched.append(np.unique(ids))

    def saved(self) -> "tuple[Array, Array]":
        """What `restore` brings back: rows, and copies of their gradients."""
        return self.indices, self.gradient[self.indices]

    def restore(self, saved: "tuple[Array, Array]") -> None:
        """Back to the gradient at the call of `saved`."""
        rows, values = saved
        self.clear()
        self.touch(rows)
        self.gradient[rows] = values

    def clear(self) -> None:
        """Set all rows to zero."""
        self.gradient[self.indices] = 0
        self._touched.clear()

    def assign(self, values: "Array", name: str) -> None:
        """Take the gradient `values` in the place of this one."""
        values = np.broadcast_to(check_real(values, name), self.gradient.shape).astype(self.gradient.dtype)
        self.clear()
        rows = np.flatnonzero((values != 0).any(axis=tuple(range(1, values.ndim))))
        self.touch(rows)
        self.gradient[rows] = values[rows]

    def scale(self, factor: float) -> None:
        """Multiply all rows by a number."""
        self.gradient[self.indices] *= factor

    def clip(self, most: float) -> None:
        """Limit all elements to -most .. most."""
        self.gradient[self.indices] = np.clip(self.gradient[self.indices], -most, most)

"""Penalties on activations."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_floats
from ...check.sequences import check_lengths, check_sequence
from ...check.values import check_bool, check_number
from .axes import time_major, valid_steps
from .base import Layer

if TYPE_CHECKING:
    from ..._types import Array


class ActivationRegularization(Layer):
    """Passes x on unchanged; in training it adds a penalty on the size of x and on its change in time to the loss.

    penalty = ar * mean(x_t^2) + tar * mean((x_t - x_{t-1})^2), over features and valid steps, or pairs of valid steps:
    AR and TAR of Merity et al. (2017, "Revisiting activation regularization for language RNNs"). They apply AR after a
    recurrent layer's dropout and TAR before it.

    Parameters
    ----------
    ar, tar : float, at least 0
        Merity et al. use 2 and 1.
    batch_first : bool
        Layout of x, which has a time axis: (B, T, H), (T, B, H) or unbatched (T, H). A `Sequential` around this layer
        sets it.

    Attributes
    ----------
    penalty : float
        The penalty of the last `forward`. `backward` returns dy plus its gradient, so do not add it to a loss;
        `Trainer` reports it beside the loss.
    start : int
        The first step that counts. `Trainer` sets it when it runs steps again so that BPTT reaches further back.
    counts : (int, int) or None
        Steps and pairs to divide by. `Trainer` sets them when several batches make one update; None for x's own.
    """

    assignable = *((name, partial(check_number, low=0)) for name in ("ar", "tar")), ("batch_first", check_bool)
    takes_ids = False
    keeps_features = True
    needs_time = True
    penalty: float = 0.0
    start: int = 0
    counts: tuple[int, int] | None = None

    def __init__(self, ar: float = 0.0, tar: float = 0.0, *, batch_first: bool = False) -> None:
        super().__init__()
        self.ar, self.tar, self.batch_first = ar, tar, batch_first

    def _apply(self, x, lengths, training):
        if not training:
            return check_floats(x, "x"), ()
        x = check_sequence(x, "x")
        steps = time_major(x, self.batch_first)
        lengths = np.full(steps.shape[1], len(steps)) if lengths is None else \
            check_lengths(lengths, steps.shape[1], len(steps))
        scales = self._scales(lengths, x.shape[-1])
        valid = valid_steps(steps, lengths)
        valid[: self.start] = False
        sizes, changes = self._terms(steps, valid)
        self.penalty = sum(scale * float(np.sum(np.square(term), dtype=np.float64))
                           for scale, term in zip(scales, (sizes, changes)))
        return x, (x, valid, scales)

    def _gradient(self, dy, x, valid, scales):
        dx = dy.copy()
        out = time_major(dx, self.batch_first)
        sizes, changes = self._terms(time_major(x, self.batch_first), valid)
        of_size, of_change = (dx.dtype.type(2 * scale) for scale in scales)
        out += of_size * sizes
        changes *= of_change
        out[1:] += changes
        out[:-1] -= changes
        return dx

    def _terms(self, x, valid):
        """x and its changes in time, zero where they do not count."""
        return np.where(valid, x, 0), np.where(valid[1:] & valid[:-1], x[1:] - x[:-1], 0)

    def _scales(self, lengths, features):
        """The factors of the two sums of squares."""
        steps, pairs = counted_steps(lengths, self.start) if self.counts is None else self.counts
        return self.ar / max(steps * features, 1), self.tar / max(pairs * features, 1)


def counted_steps(lengths: "Array", start: int = 0) -> tuple[int, int]:
    """(steps, pairs of successive steps) of sequences with these lengths, from step `start` on."""
    counted = np.maximum(np.asarray(lengths) - start, 0)
    return int(counted.sum()), int(np.maximum(counted - 1, 0).sum())

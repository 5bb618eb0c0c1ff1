"""Dropout."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_floats
from ...check.sequences import check_sequence
from ...check.values import check_bool, check_number
from .axes import one_step
from .base import Layer

if TYPE_CHECKING:
    from ..._types import Seed


class Dropout(Layer):
    """In training each element is 0 with probability p, else scaled by 1 / (1 - p); in inference y is x.

    Srivastava et al. 2014, in the inverted form. Masks are drawn from `rng`.

    Parameters
    ----------
    p : float in [0, 1)
    variational : bool
        One mask for all steps of a sequence (Gal and Ghahramani 2016) instead of one for each step. x then has a
        time axis: (B, T, H), (T, B, H) or unbatched (T, H). With truncated BPTT each window draws a mask of its own.
    batch_first : bool
        Layout of x, which only variational masks use; a `Sequential` around this layer sets it.
    seed : int, SeedSequence, Generator or None
    """

    takes_ids = False
    keeps_features = True
    assignable = ("p", partial(check_number, low=0, below=1)), ("batch_first", check_bool)

    def __init__(self, p: float = 0.5, *, variational: bool = False, batch_first: bool = False,
                 seed: "Seed" = None) -> None:
        super().__init__(seed=seed)
        self.p, self.batch_first = p, batch_first
        self.variational = check_bool(variational, "variational")
        self.needs_time = self.variational

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        if not training or self.p == 0:
            return x, (None,)
        shape = x.shape
        if self.variational:
            shape = one_step(check_sequence(x, "x").shape, self.batch_first)
        kept = self.rng.random(shape, np.float32) >= self.p
        mask = kept * x.dtype.type(1 / (1 - self.p))
        return x * mask, (mask,)

    def _gradient(self, dy, mask):
        return dy if mask is None else dy * mask

"""Both directions of a bidirectional runner, put together to one width."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_floats
from ..check.values import check_option
from .layers import Layer

if TYPE_CHECKING:
    from typing import Literal

MODES = "sum", "mul", "ave"


class MergeDirections(Layer):
    """The two halves of the features, such as a bidirectional runner's directions, as one.

    y = a + b ("sum"), a * b ("mul") or (a + b) / 2 ("ave") of x = [a, b], as merge_mode of Keras' Bidirectional.

    Parameters
    ----------
    mode : "sum", "mul" or "ave"

    Notes
    -----
    x is (..., 2*H), y is (..., H).
    """

    takes_ids = False

    def __init__(self, mode: "Literal['sum', 'mul', 'ave']" = "sum") -> None:
        super().__init__()
        self.mode = check_option(mode, "mode", MODES)

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        if x.ndim == 0 or x.shape[-1] % 2 or not x.shape[-1]:
            raise ValueError(f"x: expected an even number of features, found shape {x.shape}")
        a, b = np.split(x, 2, axis=-1)
        y = np.multiply(a, b) if self.mode == "mul" else np.add(a, b)
        if self.mode == "ave":
            y *= x.dtype.type(0.5)
        return y, (x if self.mode == "mul" else None,)

    def _gradient(self, dy, x):
        if x is None:
            half = dy * dy.dtype.type(0.5) if self.mode == "ave" else dy
            return np.concatenate([half, half], -1)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([dy * b, dy * a], -1)

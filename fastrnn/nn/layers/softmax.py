"""Softmax over the features, and its logarithm."""

from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_floats
from ...check.values import check_positive_int
from ...engine.runtime._kernels import exp_
from .base import Layer

if TYPE_CHECKING:
    from ..._types import Array


class _OverFeatures(Layer, base=True):
    """A function of each row of features."""

    takes_ids = False

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = check_positive_int(dim, "dim", low=-(2**31))
        if self.dim != -1:
            raise ValueError(f"dim: expected -1, the last axis, found {self.dim}")

    @staticmethod
    def _checked(x):
        x = np.asarray(check_floats(x, "x"), order="C")
        if x.ndim == 0:
            raise ValueError("x: expected shape (..., C), found a single number")
        return x


class Softmax(_OverFeatures):
    """Probabilities of the features, y_k = e^(x_k) / sum_j e^(x_j).

    `losses.cross_entropy` takes logits: do not give it these.

    Parameters
    ----------
    dim : int
        -1, the last axis, which is that of the features.
    """

    def _apply(self, x, lengths, training):
        y = softmax(self._checked(x))
        return y, (y.copy() if training else None,)

    def _gradient(self, dy, y):
        dx = dy - np.einsum("...k,...k->...", dy, y)[..., None]
        dx *= y
        return dx


class LogSoftmax(_OverFeatures):
    """The logarithm of a `Softmax`, y_k = x_k - log(sum_j e^(x_j)), without its rounding to 0.

    Parameters
    ----------
    dim : int
        -1, the last axis, which is that of the features.
    """

    def _apply(self, x, lengths, training):
        y, e, total = _logarithms(self._checked(x))
        if training:
            e /= total
        return y, (e,)

    def _gradient(self, dy, probability):
        dx = probability * -dy.sum(axis=-1, keepdims=True)
        dx += dy
        return dx


def log_softmax(x: "Array") -> "Array":
    """x - log(sum e^x) over the last axis of a C-contiguous float array, a new one."""
    return _logarithms(x)[0]


def softmax(x: "Array") -> "Array":
    """e^x / sum e^x over the last axis of a C-contiguous float array, a new one."""
    y = _shifted(x)
    exp_(y, y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def _logarithms(x):
    """(logarithms of the softmax, its numerators, their sum)."""
    y = _shifted(x)
    e = np.empty_like(y)
    exp_(e, y)
    total = e.sum(axis=-1, keepdims=True)
    y -= np.log(total, out=np.zeros_like(total), where=total != 0)     # it is 0 where there are no features
    return y, e, total


def _shifted(x):
    """x less the largest of its row, so that no power overflows; a row with inf, or of -inf alone, becomes NaN."""
    top = x.max(axis=-1, keepdims=True) if x.shape[-1] else np.zeros((*x.shape[:-1], 1), x.dtype)
    with np.errstate(invalid="ignore"):
        return np.subtract(x, top)

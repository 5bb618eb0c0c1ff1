"""Activation functions, element by element."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_floats
from ...check.values import check_number, check_option
from ...engine.runtime._kernels import exp_, sigmoid_, tanh_
from .base import Layer

if TYPE_CHECKING:
    from typing import Literal

    from ..._types import Array

# Beyond them, in float32 as in float64, a sigmoid, the normal distribution and a tangent are 0 or 1 to the last bit.
FAR, FAR_NORMAL = 1000.0, 40.0


class Activation(Layer, base=True):
    """A function of each element. NaN gives NaN; the dtype of floats stays, other numbers become float64.

    A subclass defines ``_value(x)``, which returns a new array, and ``_slope(x)``, a new one of the derivative; x is
    C-contiguous.
    """

    takes_ids = False
    keeps_features = True

    def __init__(self) -> None:
        super().__init__()

    def _apply(self, x, lengths, training):
        x = np.asarray(check_floats(x, "x"), order="C")
        return self._value(x), (x,)

    def _gradient(self, dy, x):
        slope = self._slope(x)
        slope *= dy
        return slope

    def _value(self, x: "Array") -> "Array":
        raise NotImplementedError

    def _slope(self, x: "Array") -> "Array":
        raise NotImplementedError


class ReLU(Activation):
    """Rectified linear unit (Nair and Hinton 2010), y = max(0, x)."""

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        return np.maximum(x, 0, out=np.empty_like(x)), (x <= 0 if training else None,)

    def _gradient(self, dy, off):
        dx = dy.copy()
        np.copyto(dx, 0, where=off)
        return dx


class LeakyReLU(Activation):
    """Leaky rectified linear unit (Maas et al. 2013), y = x where x > 0, else negative_slope * x.

    Parameters
    ----------
    negative_slope : float
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = check_number(negative_slope, "negative_slope")

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        below = x <= 0
        y = x.copy()
        np.multiply(y, x.dtype.type(self.negative_slope), out=y, where=below)
        return y, (below,)

    def _gradient(self, dy, below):
        dx = dy.copy()
        return np.multiply(dx, dx.dtype.type(self.negative_slope), out=dx, where=below)


class ELU(Activation):
    """Exponential linear unit (Clevert et al. 2016), y = x where x > 0, else alpha * (e^x - 1).

    Parameters
    ----------
    alpha : float
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha")

    def _value(self, x):
        y = np.minimum(x, 0, out=np.empty_like(x))
        np.expm1(y, out=y)
        y *= x.dtype.type(self.alpha)
        np.copyto(y, x, where=x > 0)
        return y

    def _slope(self, x):
        slope = np.minimum(x, 0, out=np.empty_like(x))
        exp_(slope, slope)
        return np.multiply(slope, x.dtype.type(self.alpha), out=slope, where=x <= 0)


class GELU(Activation):
    """Gaussian error linear unit (Hendrycks and Gimpel 2016), y = x P(x), P the standard normal distribution.

    Parameters
    ----------
    approximate : "none" or "tanh"
        "tanh" for P(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as the paper approximates it.
    """

    def __init__(self, approximate: "Literal['none', 'tanh']" = "none") -> None:
        super().__init__()
        self.approximate = check_option(approximate, "approximate", ("none", "tanh"))

    def _value(self, x):
        near = np.maximum(x, -FAR_NORMAL, out=np.empty_like(x))    # -inf * 0 would be NaN
        y = self._probability(np.minimum(near, FAR_NORMAL, out=np.empty_like(x)))
        y *= near
        return y

    def _slope(self, x):
        x = np.clip(x, -FAR_NORMAL, FAR_NORMAL, out=np.empty_like(x))
        slope = self._probability(x)
        of_probability = np.square(x, out=np.empty_like(x))
        if self.approximate == "none":
            of_probability *= -0.5
            exp_(of_probability, of_probability)
            of_probability *= 1 / math.sqrt(2 * math.pi)
        else:   # s (1 - s) times the derivative of the sigmoid's argument
            of_probability *= 3 * 0.044715
            of_probability += 1
            of_probability *= 2 * math.sqrt(2 / math.pi)
            of_probability *= slope
            of_probability *= 1 - slope
        of_probability *= x
        slope += of_probability
        return slope

    def _probability(self, x):
        if self.approximate == "none":
            from scipy.special import ndtr

            return ndtr(x, out=np.empty_like(x))
        p = np.square(x, out=np.empty_like(x))
        p *= 0.044715
        p += 1
        p *= x
        p *= 2 * math.sqrt(2 / math.pi)     # (1 + tanh u) / 2 = sigmoid(2 u), which loses no digits below 0
        sigmoid_(p, p)
        return p


class SiLU(Activation):
    """Sigmoid linear unit (Elfwing et al. 2018), or swish, y = x sigmoid(x)."""

    def _value(self, x):
        near = np.maximum(x, -FAR, out=np.empty_like(x))    # -inf * 0 would be NaN
        y = np.empty_like(x)
        sigmoid_(y, near)
        y *= near
        return y

    def _slope(self, x):
        x = np.clip(x, -FAR, FAR, out=np.empty_like(x))
        s = np.empty_like(x)
        sigmoid_(s, x)
        slope = 1 - s
        slope *= x
        slope += 1
        slope *= s
        return slope


class Tanh(Activation):
    """Hyperbolic tangent, y = tanh(x)."""

    def _value(self, x):
        y = np.empty_like(x)
        tanh_(y, x)
        return y

    def _slope(self, x):
        slope = self._value(x)
        slope *= slope
        return np.subtract(1, slope, out=slope)


class Sigmoid(Activation):
    """Logistic function, y = 1 / (1 + e^-x)."""

    def _value(self, x):
        y = np.empty_like(x)
        sigmoid_(y, x)
        return y

    def _slope(self, x):
        y = self._value(x)
        slope = 1 - y
        slope *= y
        return slope


class Softplus(Activation):
    """A smooth ReLU, y = log(1 + e^(beta x)) / beta; y = x where beta x > threshold.

    Parameters
    ----------
    beta : float, above 0
    threshold : float
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = check_number(beta, "beta", above=0)
        self.threshold = check_number(threshold, "threshold")

    def _value(self, x):
        scaled = self._scaled(x)
        y = np.abs(scaled, out=np.empty_like(x))
        np.negative(y, out=y)
        exp_(y, y)
        np.log1p(y, out=y)
        y += np.maximum(scaled, 0)
        y /= x.dtype.type(self.beta)
        np.copyto(y, x, where=scaled > self.threshold)
        return y

    def _slope(self, x):
        scaled = self._scaled(x)
        slope = np.empty_like(x)
        sigmoid_(slope, scaled)
        np.copyto(slope, 1, where=scaled > self.threshold)
        return slope

    def _scaled(self, x):
        with np.errstate(over="ignore"):
            return np.multiply(x, x.dtype.type(self.beta), out=np.empty_like(x))


class Hardsigmoid(Activation):
    """A piecewise linear sigmoid (Howard et al. 2019), y = x / 6 + 1 / 2, at least 0 and at most 1.

    Keras 3 has the same; earlier versions have 0.2 x + 0.5.
    """

    def _value(self, x):
        y = np.add(x, 3, out=np.empty_like(x))
        y /= 6
        return np.clip(y, 0, 1, out=y)

    def _slope(self, x):
        slope = ((x > -3) & (x < 3)).astype(x.dtype)
        slope /= 6
        return slope

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
BLOCK = 16384   # elements that all passes of a function work on before they go on: they stay in the cache


class Activation(Layer, base=True):
    """A function of each element. NaN gives NaN; the dtype of floats stays, other numbers become float64.

    A subclass defines ``_value(y, x)``, which writes f(x) into y, and ``_slope(y, x)``, which writes the derivative;
    both are vectors.
    """

    takes_ids = False
    keeps_features = True

    def __init__(self) -> None:
        super().__init__()

    def _apply(self, x, lengths, training):
        x = np.asarray(check_floats(x, "x"), order="C")
        y = np.empty_like(x)
        for part, of in _blocks(y, x):
            self._value(part, of)
        return y, (x,)

    def _gradient(self, dy, x):
        dx = np.empty_like(x)
        for part, of, dpart in _blocks(dx, x, dy):
            self._slope(part, of)
            part *= dpart
        return dx

    def _value(self, y: "Array", x: "Array") -> None:
        raise NotImplementedError

    def _slope(self, y: "Array", x: "Array") -> None:
        raise NotImplementedError


class ReLU(Activation):
    """Rectified linear unit (Nair and Hinton 2010), y = max(0, x)."""

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        return np.maximum(x, 0, out=np.empty_like(x)), (x > 0 if training else None,)

    def _gradient(self, dy, above):
        return dy * above


class LeakyReLU(Activation):
    """Leaky rectified linear unit (Maas et al. 2013), y = x where x > 0, else negative_slope * x.

    Parameters
    ----------
    negative_slope : float
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = check_number(negative_slope, "negative_slope")

    def _value(self, y, x):
        np.minimum(x, 0, out=y)
        y *= x.dtype.type(self.negative_slope)
        y += np.maximum(x, 0)

    def _slope(self, y, x):
        y[...] = _either(x > 0, 1, self.negative_slope, x.dtype)


class ELU(Activation):
    """Exponential linear unit (Clevert et al. 2016), y = x where x > 0, else alpha * (e^x - 1).

    Parameters
    ----------
    alpha : float
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha")

    def _value(self, y, x):
        np.minimum(x, 0, out=y)
        np.expm1(y, out=y)
        y *= x.dtype.type(self.alpha)
        y += np.maximum(x, 0)

    def _slope(self, y, x):
        np.minimum(x, 0, out=y)
        exp_(y, y)
        if self.alpha != 1:
            y *= _either(x > 0, 1, self.alpha, x.dtype)


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

    def _value(self, y, x):
        self._probability(y, np.clip(x, -FAR_NORMAL, FAR_NORMAL))
        y *= np.maximum(x, -FAR_NORMAL)     # -inf * 0 would be NaN

    def _slope(self, y, x):
        x = np.clip(x, -FAR_NORMAL, FAR_NORMAL)
        self._probability(y, x)
        density = np.square(x)
        if self.approximate == "none":
            density *= -0.5
            exp_(density, density)
            density *= 1 / math.sqrt(2 * math.pi)
        else:   # s (1 - s) times the derivative of the sigmoid's argument
            density *= 3 * 0.044715
            density += 1
            density *= 2 * math.sqrt(2 / math.pi)
            density *= y
            density *= 1 - y
        density *= x
        y += density

    def _probability(self, p, x):
        if self.approximate == "none":
            from scipy.special import ndtr

            ndtr(x, out=p)
            return
        np.square(x, out=p)
        p *= 0.044715
        p += 1
        p *= x
        p *= 2 * math.sqrt(2 / math.pi)     # (1 + tanh u) / 2 = sigmoid(2 u), which loses no digits below 0
        sigmoid_(p, p)


class SiLU(Activation):
    """Sigmoid linear unit (Elfwing et al. 2018), or swish, y = x sigmoid(x)."""

    def _value(self, y, x):
        x = np.maximum(x, -FAR)     # -inf * 0 would be NaN
        sigmoid_(y, x)
        y *= x

    def _slope(self, y, x):
        x = np.clip(x, -FAR, FAR)
        sigmoid_(y, x)
        x *= 1 - y
        x += 1
        y *= x


class Tanh(Activation):
    """Hyperbolic tangent, y = tanh(x)."""

    def _value(self, y, x):
        tanh_(y, x)

    def _slope(self, y, x):
        tanh_(y, x)
        np.square(y, out=y)
        np.subtract(1, y, out=y)


class Sigmoid(Activation):
    """Logistic function, y = 1 / (1 + e^-x)."""

    def _value(self, y, x):
        sigmoid_(y, x)

    def _slope(self, y, x):
        sigmoid_(y, x)
        y *= 1 - y


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

    def _value(self, y, x):
        scaled = self._scaled(x)
        np.abs(scaled, out=y)
        np.negative(y, out=y)
        exp_(y, y)
        np.log1p(y, out=y)
        y += np.maximum(scaled, 0)
        y /= x.dtype.type(self.beta)
        np.copyto(y, x, where=scaled > self.threshold)

    def _slope(self, y, x):
        scaled = self._scaled(x)
        sigmoid_(y, scaled)
        np.copyto(y, 1, where=scaled > self.threshold)

    def _scaled(self, x):
        with np.errstate(over="ignore"):
            return x * x.dtype.type(self.beta)


class Hardsigmoid(Activation):
    """A piecewise linear sigmoid (Howard et al. 2019), y = x / 6 + 1 / 2, at least 0 and at most 1.

    Keras 3 has the same; earlier versions have 0.2 x + 0.5.
    """

    def _value(self, y, x):
        np.add(x, 3, out=y)
        y /= 6
        np.clip(y, 0, 1, out=y)

    def _slope(self, y, x):
        np.divide((x > -3) & (x < 3), 6, out=y, casting="same_kind", dtype=y.dtype)


def _either(mask, value, other, dtype):
    """`value` where the mask is true, else `other`: a table, because branches on random masks are slow."""
    return np.array([other, value], dtype).take(mask.view(np.int8))


def _blocks(*arrays):
    """The same blocks of C-contiguous arrays of one shape, as vectors."""
    flat = [array.reshape(-1) for array in arrays]
    for k in range(0, flat[0].size, BLOCK):
        yield [one[k : k + BLOCK] for one in flat]

"""What a forecasting network puts out for each target: a number, a normal distribution, or quantiles.

Every head has `width`, outputs per target; ``loss(prediction, target, **options)`` as in `fastrnn.losses`; and, of
outputs (..., width * D) for D targets, ``point(raw)`` (..., D). Those with a distribution also have ``at(raw, z)``, the
values (..., D) where a standard normal variable would have z, which is a number or (..., D), and its reverse
``normal(raw, values)``.
"""

import numpy as np
from scipy.special import ndtri

from ..check.arrays import check_vector
from ..train import losses

MIN_SCALE = 1e-3  # of a Gaussian's deviation, where targets have deviation 1


class Point:
    """A number, the mean, trained by squared error. It has no quantiles."""

    width = 1
    loss = staticmethod(losses.mse)

    def point(self, raw):
        return raw


class Gaussian:
    """Mean and standard deviation, trained by their likelihood."""

    width = 2

    def loss(self, prediction, target, **options):
        return losses.gaussian_nll(prediction, target, scale="softplus", min_scale=MIN_SCALE, **options)

    def point(self, raw):
        return np.split(raw, 2, axis=-1)[0]

    def at(self, raw, z):
        mean, deviation = self._parts(raw)
        return mean + deviation * z

    def normal(self, raw, values):
        mean, deviation = self._parts(raw)
        return (values - mean) / deviation

    def _parts(self, raw):
        mean, deviation = np.split(raw, 2, axis=-1)
        return mean, np.logaddexp(0, deviation) + MIN_SCALE


class Quantiles:
    """Quantiles of some levels, 0.5 among them, trained by the pinball loss.

    Crossing ones are sorted (Chernozhukov et al. 2010). Between and beyond the levels a quantile is a straight line
    over the normal distribution's, as if the pieces were normal.
    """

    def __init__(self, levels):
        levels = check_vector(levels, "quantiles", above=0, below=1)
        self.levels = np.unique([*levels, 0.5])
        self.width = len(self.levels)
        if self.width < 2:
            raise ValueError("quantiles: expected a level other than 0.5, found none")

    def loss(self, prediction, target, **options):
        columns = prediction.reshape(*target.shape, self.width)
        loss, gradient = losses.quantile(columns, target, quantiles=self.levels, **options)
        return loss, gradient.reshape(prediction.shape)

    def point(self, raw):
        return self._columns(raw)[..., np.searchsorted(self.levels, 0.5)]

    def at(self, raw, z):
        columns = self._columns(raw)
        return _line(z, ndtri(self.levels), columns)

    def normal(self, raw, values):
        columns = self._columns(raw)
        columns = columns + MIN_SCALE * ndtri(self.levels)  # no two alike
        return _line(values, columns, ndtri(self.levels))

    def _columns(self, raw):
        return np.sort(raw.reshape(*raw.shape[:-1], -1, self.width), axis=-1)


def _line(x, known, values):
    """Straight lines through (known, values), both (..., Q) or (Q,), at x: (...), and on beyond the ends."""
    shape = np.broadcast_shapes(known.shape, values.shape)
    known, values = np.broadcast_to(known, shape), np.broadcast_to(values, shape)
    x = np.broadcast_to(x, shape[:-1])
    k = np.clip((known < x[..., None]).sum(axis=-1) - 1, 0, shape[-1] - 2)
    (x0, x1), (y0, y1) = (
        [np.take_along_axis(a, (k + i)[..., None], axis=-1)[..., 0] for i in (0, 1)] for a in (known, values)
    )
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def find_head(interval, quantiles):
    """The head for "gaussian", "quantile" or None."""
    return Gaussian() if interval == "gaussian" else Quantiles(quantiles) if interval == "quantile" else Point()

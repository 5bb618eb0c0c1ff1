"""Scales as layers of a network: inputs with mean 0 and deviation 1, outputs in the data's units."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_features, check_floats, check_vector, refuse_frames
from ..check.sequences import check_lengths, check_series
from ..nn.layers import Layer
from .mapped import Mapped, chunks, is_mapped

if TYPE_CHECKING:
    from typing_extensions import Self

    from .._types import Array, ArrayLike, Inputs, Ints


def mean_and_deviation(x: "Inputs", weight: "ArrayLike | None" = None) -> "tuple[Array, Array]":
    """Mean and standard deviation of each feature over all steps, both (I,) in float64.

    Parameters
    ----------
    x : array (n, ..., I), or list of arrays (T_i, I)
    weight : array (n,), optional
        Weight of each entry of x.

    Returns
    -------
    mean, deviation : array (I,)
        The deviation is 1 for a feature that does not vary.
    """
    if isinstance(x, (list, tuple)):
        x = [check_series(a, f"x[{k}]") for k, a in enumerate(x)]
    elif not isinstance(x, Mapped):
        x = check_series(x, "x")
        x = Mapped(x, x.dtype) if is_mapped(x) else x
    if not len(x) or any(np.ndim(a) < 1 or not np.size(a) for a in (x if isinstance(x, list) else [x[0]])):
        raise ValueError("x: expected at least one entry, none of them empty or a single number")
    if isinstance(x, list) and len({np.shape(a)[-1] for a in x}) > 1:
        raise ValueError("x: expected entries with one number of features")
    if weight is not None:
        weight = check_vector(weight, "weight", len(x), low=0)
        if not weight.sum() > 0:
            raise ValueError("weight: expected at least one above 0")
    if isinstance(x, list):
        weight = None if weight is None else np.repeat(weight, [np.size(a) // np.shape(a)[-1] for a in x])
        x = np.concatenate([np.reshape(a, (-1, np.shape(a)[-1])) for a in x])
    mean = _mean(x, weight, lambda flat: flat)
    variance = _mean(x, weight, lambda flat: (flat - mean) ** 2)
    tiny = (10 * np.finfo(np.float64).eps * np.abs(mean)) ** 2  # rounding errors of a constant feature
    return mean, np.where(variance > tiny, np.sqrt(variance), 1.0)


def _mean(x, weight, function):
    """The weighted mean over all axes but the last of a function of x in float64."""
    total = divisor = 0.0
    for part, chunk in chunks(x):
        flat = function(chunk.reshape(-1, chunk.shape[-1]).astype(np.float64, copy=False))
        if weight is not None:
            of_row = np.repeat(weight[part], len(flat) // len(chunk))
            flat = flat * of_row[:, None]
        total = total + flat.sum(axis=0)
        divisor += len(flat) if weight is None else of_row.sum()
    return total / divisor


class _Scale(Layer, base=True):
    """A fixed affine map of each feature, without parameters: the configuration holds mean and scale."""

    takes_ids = False
    keeps_features = True

    def __init__(self, mean: "ArrayLike", scale: "ArrayLike") -> None:
        super().__init__()
        self.mean = check_vector(mean, "mean").tolist()
        self.scale = check_vector(scale, "scale", len(self.mean), above=0).tolist()
        self._mean, self._scale = np.array(self.mean), np.array(self.scale)

    @classmethod
    def of(cls, x: "Inputs", lengths: "Ints | None" = None) -> "Self":
        """The layer with the mean and the deviation of data.

        Parameters
        ----------
        x : array (..., I), or list of arrays (T_i, I)
            All steps of the training data, or of its targets. A feature that does not vary gets the scale 1.
        lengths : sequence of N ints, optional
            Valid steps of a padded x (N, T, I).
        """
        if isinstance(x, (list, tuple)):
            for k, a in enumerate(x):
                refuse_frames(a, f"x[{k}]")
            parts = [check_floats(a, f"x[{k}]") for k, a in enumerate(x)]
        else:
            parts = check_floats(x, "x")
            if parts.ndim < 2:
                raise ValueError(f"x: expected shape (..., I) with two axes or more, found {parts.shape}")
            if lengths is not None:
                lengths = check_lengths(lengths, len(parts), parts.shape[1])
                parts = [a[:n] for a, n in zip(parts, lengths) if n]
        if not len(parts) or any(a.ndim < 1 or not a.size for a in parts):
            raise ValueError("x: expected at least one step of at least one feature in each sequence, found none")
        if len({a.shape[-1] for a in parts}) > 1:
            raise ValueError(f"x: expected one number of features, found {sorted({a.shape[-1] for a in parts})}")
        mean, scale = mean_and_deviation(parts)
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ValueError("x: expected finite numbers, found some that are not")
        return cls(mean, scale)

    def _checked(self, x):
        x = check_floats(x, "x")
        return check_features(x, "x", len(self.mean), x.dtype)


class Standardize(_Scale):
    """Scales each feature to mean 0 and deviation 1, y = (x - mean) / scale: the first layer of a `Sequential`.

    ``Standardize.of(X)`` computes mean and scale from data. They are no parameters, so training does not change them.
    `fastrnn.save` writes them with the network's configuration, so a loaded network takes unscaled data.

    Parameters
    ----------
    mean, scale : sequence of I floats
        `scale` above 0.

    Notes
    -----
    x is (..., I), float32 or float64. The difference is computed in float64 and y has x's dtype. `Trainer` and the
    estimators convert X to the network's dtype before: data that differ only beyond the seventh digit need
    ``dtype="float64"``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import GRU, LastStep, Linear, Sequential
    >>> from fastrnn.scaling import Rescale, Standardize
    >>> X, y = 20 + 5 * np.random.default_rng(0).normal(size=(8, 30, 2)), 1e4 * np.ones((8, 1))
    >>> net = Sequential(Standardize.of(X), GRU(2, 16), LastStep(), Linear(16, 1), Rescale.of(y))
    """

    def _apply(self, x, lengths, training):
        x = self._checked(x)
        return ((x - self._mean) / self._scale).astype(x.dtype), ()

    def _gradient(self, dy):
        return (dy / self._scale).astype(dy.dtype)

    def inverse(self) -> "Rescale":
        """The `Rescale` that undoes this map."""
        return Rescale(self.mean, self.scale)


class Rescale(_Scale):
    """Scales each feature to the data's units, y = x * scale + mean: the last layer of a network that predicts numbers.

    ``Rescale.of(y)`` computes mean and scale from the targets (N, I). The loss is then in the data's units: a squared
    error is scale^2 times that of standardised targets. This does not matter to Adam and its like, but it does to
    `clip_norm` and SGD's rate.

    Parameters
    ----------
    mean, scale : sequence of I floats
        `scale` above 0.
    """

    def _apply(self, x, lengths, training):
        x = self._checked(x)
        return (x * self._scale + self._mean).astype(x.dtype), ()

    def _gradient(self, dy):
        return (dy * self._scale).astype(dy.dtype)

    def inverse(self) -> "Standardize":
        """The `Standardize` that undoes this map."""
        return Standardize(self.mean, self.scale)

"""Batch normalisation of the features."""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features
from ...check.sequences import check_lengths
from ...check.values import check_bool, check_number, check_positive_int
from ...engine.runtime._arrays import room
from .. import _init
from .axes import rows
from .base import Layer

if TYPE_CHECKING:
    from ..._types import DType, LayerInit, Seed

STATISTICS = "running_mean", "running_var", "num_batches_tracked"


class BatchNorm1d(Layer):
    """Batch normalisation (Ioffe and Szegedy 2015), (x - mean) / sqrt(var + eps) * weight + bias.

    In training mean and variance are those of each feature over the batch: over all valid steps of all sequences. In
    inference they are running means of those of training.

    Parameters
    ----------
    num_features : int
        Size of the last axis.
    eps : float, above 0
    momentum : float in 0 .. 1, or None
        What a batch weighs in the running means: running = (1 - momentum) * running + momentum * batch. None for the
        plain mean of all batches.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Whether there are running means; without them inference takes the batch's own, too.
    batch_first : bool
        Layout of x with lengths, (B, T, C) or (T, B, C). A `Sequential` around this layer sets it.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Of initial parameters that are drawn.
    init : number, str, pair, array, callable or dict
        Of the weight, ones by default, or a dict of "weight" and "bias" to initialisers; see `Linear`. The bias is zero
        by default.

    Notes
    -----
    ``params``: weight and bias (num_features,), and running_mean and running_var (num_features,) and
    num_batches_tracked (), which `forward` writes and no optimiser trains: they are frozen for good, and in files and
    checkpoints as all others. x is (..., num_features). Normalisation divides by the population's variance, the running
    one takes the sample's, n / (n - 1) of it, as in PyTorch. `forward` needs two values for each feature, or none.
    Sequences of a batch depend on each other in training, so `accumulate` does not give the gradient of one larger
    batch, and several processes are refused.
    """

    takes_ids = False
    keeps_features = True
    assignable = (("eps", partial(check_number, above=0)), ("batch_first", check_bool))

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, *, batch_first: bool = False, dtype: "DType" = "float32",
                 seed: "Seed" = None, init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.num_features = check_positive_int(num_features, "num_features")
        self.eps, self.batch_first = eps, batch_first
        self.momentum = None if momentum is None else check_number(momentum, "momentum", low=0, high=1)
        self.affine = check_bool(affine, "affine")
        self.track_running_stats = check_bool(track_running_stats, "track_running_stats")
        size = (self.num_features,)
        shapes = {"weight": size, "bias": size} if self.affine else {}
        if self.track_running_stats:
            shapes |= dict(zip(STATISTICS, (size, size, ())))
        for name, shape in shapes.items():
            _init.claim(shape, self.dtype, name)
        params = {name: room(shape, self.dtype) for name, shape in shapes.items()}
        drawn = {name: params[name] for name in ("weight", "bias") if name in params}
        self.init = _init.initialise_layer(drawn, self.rng, init, {"weight": 1, "bias": "zeros"},
                                           1 / math.sqrt(self.num_features))
        if self.track_running_stats:
            params["running_var"] += 1
        self._own(params, STATISTICS if self.track_running_stats else ())

    def _apply(self, x, lengths, training):
        x = check_features(x, "x", self.num_features, self.dtype)
        if not training and self.track_running_stats:
            p = self.params
            scale = 1 / np.sqrt(p["running_var"].astype(np.float64) + self.eps)
            if self.affine:
                scale *= p["weight"]
            y = x * scale.astype(self.dtype)
            y += (-scale * p["running_mean"] + (p["bias"] if self.affine else 0)).astype(self.dtype)
            return y, ()
        valid = self._valid(x, lengths)
        chosen = rows(x) if valid is None else x[valid]
        n = len(chosen)
        if training and n == 1:
            raise ValueError("x: expected two values or more of each feature to take a mean of, found one")
        mean = chosen.mean(axis=0, dtype=np.float64) if n else np.zeros(self.num_features)
        scaled = chosen - mean.astype(self.dtype)
        variance = np.mean(np.square(scaled), axis=0, dtype=np.float64) if n else np.ones(self.num_features)
        rstd = (1 / np.sqrt(variance + self.eps)).astype(self.dtype)
        scaled *= rstd
        if training and n and self.track_running_stats:
            self._track(mean, variance * (n / (n - 1)))
        y = scaled * self.params["weight"] if self.affine else scaled.copy()
        if self.affine:
            y += self.params["bias"]
        return _placed(y, x.shape, valid), (scaled, rstd, valid)

    def _gradient(self, dy, scaled, rstd, valid):
        chosen = rows(dy) if valid is None else dy[valid]
        n = max(len(chosen), 1)
        dbias, dweight = chosen.sum(axis=0), np.einsum("nc,nc->c", chosen, scaled)
        dx = chosen - dbias / n
        dx -= scaled * (dweight / n)
        dx *= rstd * self.params["weight"] if self.affine else rstd
        if self.affine:
            self.grads["weight"] += dweight
            self.grads["bias"] += dbias
        return _placed(dx, dy.shape, valid)

    def _valid(self, x, lengths):
        """Which steps of x (B, T, C) or (T, B, C) count, or None for all."""
        if lengths is None:
            return None
        if x.ndim != 3:
            raise ValueError(f"lengths: expected None with x of shape {x.shape}, which has no batch and time axes")
        steps = x.shape[1 if self.batch_first else 0]
        lengths = check_lengths(lengths, x.shape[0 if self.batch_first else 1], steps)
        valid = np.arange(steps) < lengths[:, None]
        return valid if self.batch_first else valid.T

    def _track(self, mean, variance):
        p = self.params
        p["num_batches_tracked"] += 1
        rate = 1 / float(p["num_batches_tracked"]) if self.momentum is None else self.momentum
        for name, value in ("running_mean", mean), ("running_var", variance):
            p[name] += (rate * (value - p[name])).astype(self.dtype)


def _placed(values, shape, valid):
    """The values of valid steps in an array of this shape, zeros elsewhere."""
    if valid is None:
        return values.reshape(shape)
    out = np.zeros(shape, values.dtype)
    out[valid] = values
    return out

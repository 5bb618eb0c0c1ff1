"""Normalisation of the features."""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features
from ...check.values import check_number, check_positive_int
from ...engine.ops import _layernorm
from ...engine.runtime._arrays import room
from .. import _init
from .axes import rows
from .base import Layer

if TYPE_CHECKING:
    from ..._types import DType, LayerInit, Seed


class LayerNorm(Layer):
    """Layer normalisation (Ba et al. 2016) over the last axis, (x - mean) / sqrt(var + eps) * weight + bias.

    Parameters
    ----------
    features : int
        Size of the last axis.
    eps : float, above 0
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Of initial parameters that are drawn.
    init : number, str, pair, array, callable or dict
        Of the weight, ones by default, or a dict of "weight" and "bias" to initialisers; see `Linear`. The bias is zero
        by default.

    Notes
    -----
    ``params``: weight and bias (features,). The variance is the population's, as in torch.nn.LayerNorm.
    """

    takes_ids = False
    keeps_features = True
    assignable = (("eps", partial(check_number, above=0)),)

    def __init__(self, features: int, eps: float = 1e-5, *, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.features = check_positive_int(features, "features")
        self.eps = eps
        for name in ("weight", "bias"):
            _init.claim((self.features,), self.dtype, name)
        params = {name: room((self.features,), self.dtype) for name in ("weight", "bias")}
        self.init = _init.initialise_layer(params, self.rng, init, {"weight": 1, "bias": "zeros"},
                                           1 / math.sqrt(self.features))
        self._own(params)
        del params
        self._pin()

    def _apply(self, x, lengths, training):
        x = check_features(x, "x", self.features, self.dtype)
        scaled = np.empty_like(x)
        rstd = np.empty(x.size // self.features, self.dtype)
        _layernorm.forward(rows(scaled), rstd, rows(x), self.eps)
        y = np.multiply(scaled, self.params["weight"], out=None if training else scaled)
        y += self.params["bias"]
        return y, (scaled, rstd)

    def _gradient(self, dy, scaled, rstd):
        dx = np.empty_like(dy)
        weight = self.params["weight"].copy()   # the code without the GIL must not see another thread's writes
        _layernorm.backward(rows(dx), self.grads["weight"], self.grads["bias"], rows(dy), rows(scaled), rstd, weight)
        return dx

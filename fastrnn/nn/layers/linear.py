"""Affine maps of the features."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features
from ...check.values import check_bool, check_positive_int
from ...engine.ops import _products
from ...engine.runtime._arrays import Pinned, room
from .. import _init
from ..fewbits import stored
from ..module import ArrayDict
from .axes import rows
from .base import Layer
from .embedding import Embedding

if TYPE_CHECKING:
    from ..._types import DType, LayerInit, Seed


class Linear(Layer):
    """An affine map of the last axis, y = x weight^T + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters.
    init : str, pair, number, array, callable or dict
        Initialiser of the weight, or a dict of "weight" and "bias" to initialisers. By default the weight is drawn
        uniformly (Glorot and Bengio 2010), and the bias is zero. An initialiser is

        - "glorot_uniform", "glorot_normal" (or "xavier_uniform", "xavier_normal"): variance 2 / (in + out);
        - "he_uniform", "he_normal" (or "kaiming_uniform", "kaiming_normal"; He et al. 2015): variance 2 / in;
        - "orthogonal" (Saxe et al. 2014) or "zeros";
        - "uniform", from -1/sqrt(in) to 1/sqrt(in), or ("uniform", a), from -a to a;
        - "normal" or ("normal", standard deviation); "identity" or ("identity", gain);
        - a number, or ("constant", number);
        - an array of the parameter's shape, or a function of (shape, numpy.random.Generator) that returns one. Files
          keep the parameters, but of these two only a note, "given".

    Notes
    -----
    ``params``: weight (out_features, in_features), bias (out_features,). x is (..., in_features).
    """

    takes_ids = False
    saves_output = False

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, dtype: "DType" = "float32",
                 seed: "Seed" = None, init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.in_features = check_positive_int(in_features, "in_features")
        self.out_features = check_positive_int(out_features, "out_features")
        self.bias = check_bool(bias, "bias")
        _init.claim((self.out_features, self.in_features), self.dtype, "weight")
        params = {"weight": room((self.out_features, self.in_features), self.dtype)}
        if self.bias:
            _init.claim((self.out_features,), self.dtype, "bias")
            params["bias"] = room((self.out_features,), self.dtype)
        self.init = _init.initialise_layer(params, self.rng, init, {"weight": "glorot_uniform", "bias": "zeros"},
                                           1 / math.sqrt(self.in_features))
        self._own(params)
        del params
        self._pinned_grads = Pinned(self._grads, "grads")
        self._watched = _products.PackedLinear(self._params)

    def tie(self, embedding: "Embedding") -> None:
        """Share an `Embedding`'s weight (V, E) and its gradient (Press and Wolf 2017): V outputs from E features.

        Both modules then have the same arrays. `Sequential(..., tie_embeddings=True)` does this and keeps it through
        files and copies.
        """
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding: expected an Embedding, found {type(embedding).__name__}")
        if embedding.sparse:
            raise ValueError("embedding: expected one with sparse=False, as every row has a gradient of the outputs; "
                             "found sparse=True")
        if embedding.weight_format != self.weight_format:
            raise ValueError(f"embedding: expected {self.weight_format} weights as those of the Linear, found "
                             f"{embedding.weight_format} ones")
        weight, own = embedding.params["weight"], self.params["weight"]
        if weight.shape != own.shape or weight.dtype != own.dtype:
            raise ValueError(f"embedding: expected {own.dtype} weights of shape {own.shape} as those of the Linear, "
                             f"found {weight.dtype} of shape {weight.shape}")
        self._params = ArrayDict({**self._params, **embedding.params})
        self._grads = ArrayDict({**self._grads, **embedding.grads})
        self._params.frozen = self._grads.frozen = self._frozen
        del weight, own
        self._pinned_grads = Pinned(self._grads, "grads")
        self._watched = _products.PackedLinear(self._params, weight_format=self.weight_format)

    def _store_weights(self, weight_format):
        self._own_stored(stored(self._params, ["weight"], weight_format), weight_format)
        self._watched = _products.PackedLinear(self._params, weight_format=weight_format)

    def _apply(self, x, lengths, training):
        x = check_features(x, "x", self.in_features, self.dtype)
        y = np.empty((*x.shape[:-1], self.out_features), self.dtype)
        self._watched.forward(rows(y), rows(x))
        return y, (x,)

    def _gradient(self, dy, x):
        dx = np.empty_like(x)
        self._watched.backward_input(rows(dx), rows(dy))
        _products.linear_backward_weight(self.grads["weight"], rows(dy), rows(x))
        if self.bias:
            _products.sum_rows(self.grads["bias"], rows(dy))
        return dx

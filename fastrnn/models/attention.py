"""Attention's parameters, and a decoder's runner with it: the Python side of the compiled decoder."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ..check.values import check_option, check_positive_int
from ..engine.loops._attention import AttentionWeights
from ..engine.loops._decoder import Decoder
from ..engine.runtime._arrays import room
from ..nn import _init
from ..nn.module import Module
from ..nn.runners import Runner

if TYPE_CHECKING:
    from typing import Any, Literal

    from .._types import DType, LayerInit, Seed

KINDS = "additive", "dot", "general"


class Attention(Module):
    """How a query q (H,) weighs the positions of a memory, whose keys are k_s (A,) and whose values are m_s (W,).

    additive: e_s = score . tanh(weight_query q + k_s)      Bahdanau et al. (2015); k_s = W_k m_s + b
    dot:      e_s = q . m_s                                 Luong et al. (2015)
    general:  e_s = (weight_query q) . m_s

    The weights are the softmax of e over the valid positions, the context is their weighted sum of the values.

    Parameters
    ----------
    kind : "additive", "dot" or "general"
    query_size, memory_size : int
        H and W; equal for "dot".
    size : int, optional
        A of "additive", H by default; W for the others.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
    init : initialiser, or dict of "weight_query" and "score" to initialisers
        See `Linear`; "glorot_uniform" by default.

    Notes
    -----
    ``params``: weight_query (A, H) for "additive" and "general", score (A,) for "additive".
    """

    def __init__(self, kind: "Literal['additive', 'dot', 'general']", query_size: int, memory_size: int,
                 size: int | None = None, *, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.kind = check_option(kind, "kind", KINDS)
        self.query_size = check_positive_int(query_size, "query_size")
        self.memory_size = check_positive_int(memory_size, "memory_size")
        if kind == "additive":
            size = self.query_size if size is None else size
        elif size not in (None, self.memory_size):
            raise ValueError(f"size: expected {self.memory_size}, the width of the memory, for {kind!r}; found {size}")
        elif kind == "dot" and self.query_size != self.memory_size:
            raise ValueError(f"kind: expected queries as wide as the memory for 'dot', found {self.query_size} and "
                             f"{self.memory_size}; 'general' takes any")
        self.size = check_positive_int(self.memory_size if size is None else size, "size")
        shapes = {"weight_query": (self.size, self.query_size), "score": (self.size,)}
        names = {"additive": ("weight_query", "score"), "general": ("weight_query",), "dot": ()}[kind]
        for name in names:
            _init.claim(shapes[name], self.dtype, name)
        params = {name: room(shapes[name], self.dtype) for name in names}
        self._draw(params, init)
        self._own(params)
        del params
        self._watched = AttentionWeights(self._params, self._grads, self.query_size, self.size, self.memory_size,
                                         self.dtype.itemsize)

    def _draw(self, params, init):
        """Draw the parameters; `score` is a matrix of one row, whose fans count."""
        matrices = {name: np.atleast_2d(array) for name, array in params.items()}
        if isinstance(init, dict):
            init = {name: how[None] if name == "score" and isinstance(how, np.ndarray) and how.ndim == 1 else how
                    for name, how in init.items()}
        elif not (isinstance(init, str) and init == "default"):
            init = dict.fromkeys(params, init)
        self.init = _init.initialise_layer(matrices, self.rng, init, dict.fromkeys(params, "glorot_uniform"),
                                           1 / math.sqrt(self.query_size))

    def __call__(self, *_: object, **__: object) -> "Any":
        """Not to be called: a decoder attends, step by step."""
        raise TypeError("Attention: expected to be a part of Seq2Seq, which calls it; found a call of its own")

    forward = backward = __call__


def make_decoder(runner, attention, before):
    """The compiled decoder over the layers of a runner, with an `Attention` or None, `before` the layers or behind.

    Raises
    ------
    ValueError, TypeError
        Where the runner's cells have no plain steps in one direction, or attention and layers do not fit each other.
    """
    if not isinstance(runner, Runner):
        raise TypeError(f"runner: expected an RNN, LSTM or GRU, found {type(runner).__name__}")
    if attention is not None and not isinstance(attention, Attention):
        raise TypeError(f"attention: expected an Attention or None, found {type(attention).__name__}")
    return Decoder(runner._watched, None if attention is None else attention._watched, before)

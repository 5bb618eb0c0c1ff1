"""A mean of the steps of a sequence whose weights are learned."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features, check_out
from ...check.sequences import check_lengths, check_padded
from ...check.states import check_state
from ...check.values import check_bool, check_positive_int
from ...engine.ops import _products
from ...engine.runtime._arrays import Pinned, room
from ...engine.runtime._kernels import exp_, tanh_
from .. import _init
from .axes import rows, time_major, valid_steps
from .base import Layer, StateStream, written
from .windows import check_channels

if TYPE_CHECKING:
    from ..._types import Array, ArrayLike, DType, LayerInit, Seed, State


class AttentionPooling(Layer):
    """A mean over the valid steps of a sequence whose weights are learned: the attention of Yang et al. (2016,
    "Hierarchical attention networks for document classification", equations 5 to 7).

        u_t = tanh(weight x_t + bias)
        a_t = exp(u_t . context) / sum_s exp(u_s . context)
        y   = sum_t a_t x_t

    Parameters
    ----------
    features : int
        C, size of the last axis of x.
    attention_size : int, optional
        A, size of u_t; by default C.
    batch_first : bool
        Layout of x, (B, T, C) or (T, B, C); (T, C) is one sequence. A `Sequential` around this layer sets it.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters.
    init : str, pair, number, array, callable or dict
        Initialiser of the weight, or a dict of "weight", "bias" and "context" to initialisers; see `Linear`. By default
        the context is uniform from -1/sqrt(A) to 1/sqrt(A).

    Notes
    -----
    ``params``: weight (A, C), bias (A,), context (A,). y is (B, C), or (C,) for one sequence; a sequence of length 0
    gives zeros. In a stream it is the mean of the steps so far.
    """

    assignable = (("batch_first", check_bool),)
    takes_ids = False
    pools_time = needs_time = True

    def __init__(self, features: int, attention_size: int | None = None, *, batch_first: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.features = check_positive_int(features, "features")
        self.attention_size = None if attention_size is None else check_positive_int(attention_size, "attention_size")
        self.batch_first = batch_first
        size = self.features if self.attention_size is None else self.attention_size
        shapes = {"weight": (size, self.features), "bias": (size,), "context": (size,)}
        for name, shape in shapes.items():
            _init.claim(shape, self.dtype, name)
        params = {name: room(shape, self.dtype) for name, shape in shapes.items()}
        default = {"weight": "glorot_uniform", "bias": "zeros", "context": ("uniform", 1 / math.sqrt(size))}
        self.init = _init.initialise_layer(params, self.rng, init, default, 1 / math.sqrt(self.features))
        self._own(params)
        self._scored = {name: params[name] for name in ("weight", "bias")}
        del params
        self._pinned_grads = Pinned(self._grads, "grads")
        self._pinned_params = Pinned(self._params, "params")
        self._scoring = _products.PackedLinear(self._scored)

    def stream(self, batch_size: int = 1) -> "AttentionPoolingStream":
        """A session that returns the mean of the steps so far."""
        return AttentionPoolingStream(self, check_positive_int(batch_size, "batch_size"))

    def _apply(self, x, lengths, training):
        x = check_channels(check_features(x, "x", self.features, self.dtype), "x")
        if lengths is not None:
            x, lengths = check_padded(x, lengths, self.batch_first)
        steps = time_major(x, self.batch_first)
        lengths = np.full(steps.shape[1], len(steps)) if lengths is None else \
            check_lengths(lengths, steps.shape[1], len(steps))
        u, scores = self._scores(x)
        scores = time_major(scores[..., None], self.batch_first)[..., 0]
        weights = _over_time(scores, lengths)
        y = np.sum(weights[..., None] * steps, axis=0)
        return y.reshape(y.shape[-x.ndim + 1:]), (x, u, weights)

    def _gradient(self, dy, x, u, weights):
        steps = time_major(x, self.batch_first)
        dy = dy.reshape(-1, self.features)
        dweights = np.einsum("tbc,bc->tb", steps, dy)
        dscores = weights * (dweights - np.einsum("tb,tb->b", weights, dweights))
        dscores = dscores.T if self.batch_first and x.ndim == 3 else dscores
        dscores = np.ascontiguousarray(dscores).reshape(-1, 1)
        u = rows(u)
        dcontext = (dscores * u).sum(axis=0)
        du = np.square(u)
        np.subtract(1, du, out=du)
        du *= dscores
        du *= self.params["context"]
        dx = np.empty_like(x)
        self._scoring.backward_input(rows(dx), du)
        into = time_major(dx, self.batch_first)
        into += weights[..., None] * dy
        _products.linear_backward_weight(self.grads["weight"], du, rows(x))
        _products.sum_rows(self.grads["bias"], du)
        self.grads["context"] += dcontext
        return dx

    def _scores(self, x):
        """(u, u . context) of steps (..., C)."""
        u = np.empty((*x.shape[:-1], len(self.params["context"])), self.dtype)
        self._scoring.forward(rows(u), rows(x))
        tanh_(u, u)
        return u, (u * self.params["context"]).sum(axis=-1)


def _over_time(scores, lengths):
    """The softmax of scores (T, B) over the valid steps; its sums have one order, whatever the padding."""
    valid = valid_steps(scores, lengths)[..., 0]
    largest = np.max(scores, axis=0, where=valid, initial=-np.inf)
    weights = np.where(valid, scores, -np.inf)
    weights -= np.where(lengths > 0, largest, 0).astype(scores.dtype)
    weights = np.ascontiguousarray(weights)
    exp_(weights, weights)
    total = np.cumsum(weights, axis=0)[-1] if len(weights) else np.ones(len(lengths), scores.dtype)
    weights /= np.where(lengths > 0, total, 1).astype(scores.dtype)
    return weights


class AttentionPoolingStream(StateStream):
    """A session with an `AttentionPooling`. It has one caller at a time."""

    @property
    def state(self) -> "State":
        """The largest score so far (B,), and the sums of the weights (B,) and of the weighed steps (B, C) relative to
        it. Assign to it to go on from others."""
        with self._turn:
            return tuple(part.copy() for part in self._state)

    @state.setter
    def state(self, state: "State") -> None:
        layer, batch = self._layer, self._batch_size
        shapes = [(batch,), (batch,), (batch, layer.features)]
        start = -np.inf, 0, 0
        found = check_state(state, "state", shapes, layer.dtype, ("largest", "weights", "steps"))
        with self._turn:
            self._state = tuple(np.full(shape, value, layer.dtype) if part is None else part.copy()
                                for part, shape, value in zip(found, shapes, start))

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The mean after one more step, (C,) for one sequence, or (B, C). After an error the state is as before."""
        x = check_features(x, "x", self._layer.features, self._layer.dtype)
        if x.ndim not in (1, 2) or (len(x) if x.ndim == 2 else 1) != self._batch_size:
            raise ValueError(f"x: expected a step of {self._batch_size} sequences, found shape {x.shape}")
        if out is not None:
            check_out(out, x.shape, x.dtype)
        return written(self._after(x.reshape(1, self._batch_size, -1)).reshape(x.shape), out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The mean after the steps of a chunk, (T, C), or a batch of these in the layer's layout."""
        chunk = check_channels(check_features(chunk, "chunk", self._layer.features, self._layer.dtype), "chunk")
        steps = time_major(chunk, self._layer.batch_first)
        if steps.shape[1] != self._batch_size:
            raise ValueError(f"chunk: expected steps of {self._batch_size} sequences, found shape {chunk.shape}")
        y = self._after(np.ascontiguousarray(steps))
        return y[0] if chunk.ndim == 2 else y

    def _after(self, steps):
        """The mean after steps (T, B, C)."""
        with self._turn, self._layer._gate:
            largest, total, sums = self._state
            _, scores = self._layer._scores(steps)
            for x, score in zip(steps, scores):
                top = np.maximum(largest, score)
                before, weight = np.exp(largest - top), np.exp(score - top)
                total = total * before + weight
                sums = sums * before[:, None] + weight[:, None] * x
                largest = top
            y = sums / np.where(total > 0, total, 1).astype(sums.dtype)[:, None]
            self._state = largest, total, sums
        return y

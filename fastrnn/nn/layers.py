"""Layers without a state: they map each step alone, or reduce the steps of a sequence to one."""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_features, check_floats, check_gradient, check_out
from ..check.sequences import check_lengths, check_sequence
from ..check.states import check_mean_step, check_no_state, check_sum_and_count
from ..check.symbols import check_ids
from ..check.values import check_bool, check_number, check_option, check_positive_int
from ..engine.ops import _embedding, _layernorm, _products
from ..engine.runtime._arrays import Pinned, room
from . import _init
from .module import ArrayDict, Module, Tape, Turn, open_tape
from .options import DIRECTIONS

if TYPE_CHECKING:
    from typing import Any, Literal

    from .._types import Array, ArrayLike, DType, Inputs, Ints, LayerInit, Outputs, Seed, State


class Layer(Module, base=True):
    """A module without a state.

    A subclass defines ``_apply(x, lengths, training)``, which returns y and a tuple of the values that the gradient
    needs, and ``_gradient(dy, *kept)``, which adds to `grads` and returns dx.
    """

    def __call__(self, x: "Inputs", lengths: "Ints | None" = None) -> "Outputs":
        """The output for `x`, in inference."""
        with self._gate:
            if self._pinned_params is not None:
                self._pinned_params.intact()
            return self._apply(x, lengths, False)[0]

    def forward(self, x: "Inputs", state: None = None, lengths: "Ints | None" = None) -> "tuple[Outputs, None, Tape]":
        """Returns (y, None, tape). The tape may refer to `x`: do not change `x` before `backward`."""
        check_no_state(state, "state", self)
        if self._pinned_params is not None:
            self._pinned_params.intact()
        y, kept = self._apply(x, lengths, True)
        return y, None, Tape(self, y.shape, y.dtype, kept)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, None]":
        """Adds to `grads` and returns (dx, None)."""
        shape, dtype, kept = open_tape(tape, self)
        check_no_state(dstate, "dstate", self)
        dy = check_gradient(dy, shape, dtype)
        if self._pinned_params is not None:
            self._pinned_params.intact()
        if self._pinned_grads is not None:
            self._pinned_grads.intact(True)
        saved = tape.take()
        try:
            return self._gradient(dy, *kept), None
        except Exception:   # _gradient raises before it adds anything
            tape.put_back(saved)
            raise

    def stream(self, batch_size: int = 1) -> "LayerStream":
        """A session that takes one step at a time; without a state it only calls the layer."""
        check_positive_int(batch_size, "batch_size")
        return LayerStream(self)


class LayerStream:
    """A session with a module that maps each step alone and so has no state."""

    def __init__(self, layer: "Any") -> None:
        self.run = layer

    @property
    def state(self) -> None:
        """None."""

    @state.setter
    def state(self, state: None) -> None:
        check_no_state(state, "state", self.run)

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step."""
        return _written(self.run(x), out)

    def reset(self) -> None:
        """Nothing to do."""

    def copy(self) -> "LayerStream":
        """The session itself, because it holds nothing that changes."""
        return self


class Embedding(Layer):
    """Rows of a table by number, y = weight[x].

    Parameters
    ----------
    num_embeddings : int
        Number of rows V of the table.
    embedding_dim : int
        Width E of the rows.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the table.
    init : str, pair, number, array or callable
        Initialiser of the table: "normal" by default, the standard normal distribution; see `Linear`. An array (V, E)
        may hold vectors that were trained elsewhere.
    sparse : bool
        Whether an update touches only the rows whose ids are in its batches, for large tables: `zero_grad`, clipping,
        norms and optimisers leave the others out. SGD without momentum and Adagrad do the same updates with it and
        without; the others update the running means of a row, and the row, only when its id occurs (as in
        torch.optim.SparseAdam), and weight decay, which would change every row, is refused. The gradient in `grads` is
        read-only but for ``grads[name] = array``.

    Notes
    -----
    ``params``: weight (V, E). x holds ints in 0 .. V-1 in any shape (...), y is (..., E). Ids have no
    gradient: `backward` returns None for dx.
    """

    takes_ids = True

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: "DType" = "float32",
                 seed: "Seed" = None, init: "LayerInit" = "default", sparse: bool = False) -> None:
        super().__init__(dtype, seed)
        self.sparse = check_bool(sparse, "sparse")
        self.num_embeddings = check_positive_int(num_embeddings, "num_embeddings")
        self.embedding_dim = check_positive_int(embedding_dim, "embedding_dim")
        _init.claim((self.num_embeddings, self.embedding_dim), self.dtype, "weight")
        weight = room((self.num_embeddings, self.embedding_dim), self.dtype)
        self.init = _init.initialise_layer({"weight": weight}, self.rng, init, {"weight": "normal"},
                                           1 / math.sqrt(self.embedding_dim))
        self._own({"weight": weight})
        self._pin()
        self._rows = self._make_sparse("weight")["weight"] if self.sparse else None

    def _apply(self, x, lengths, training):
        ids = check_ids(x, "x", self.num_embeddings)
        y = np.empty((*ids.shape, self.embedding_dim), self.dtype)
        _embedding.gather(_rows(y), self.params["weight"], ids.reshape(-1))
        return y, (ids,)

    def _gradient(self, dy, ids):
        if self._rows is None:
            gradient = self.grads["weight"]
        else:
            gradient = self._rows.gradient
            self._rows.touch(ids)
        _embedding.scatter_add(gradient, _rows(dy), ids.reshape(-1))


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
        weight, own = embedding.params["weight"], self.params["weight"]
        if weight.shape != own.shape or weight.dtype != own.dtype:
            raise ValueError(f"embedding: expected {own.dtype} weights of shape {own.shape} as those of the Linear, "
                             f"found {weight.dtype} of shape {weight.shape}")
        self._params = ArrayDict({**self._params, "weight": weight})
        self._grads = ArrayDict({**self._grads, "weight": embedding.grads["weight"]})
        self._params.frozen = self._grads.frozen = self._frozen
        del weight, own
        self._pinned_grads = Pinned(self._grads, "grads")
        self._watched = _products.PackedLinear(self._params)

    def _apply(self, x, lengths, training):
        x = check_features(x, "x", self.in_features, self.dtype)
        y = np.empty((*x.shape[:-1], self.out_features), self.dtype)
        self._watched.forward(_rows(y), _rows(x))
        return y, (x,)

    def _gradient(self, dy, x):
        dx = np.empty_like(x)
        self._watched.backward_input(_rows(dx), _rows(dy))
        _products.linear_backward_weight(self.grads["weight"], _rows(dy), _rows(x))
        if self.bias:
            _products.sum_rows(self.grads["bias"], _rows(dy))
        return dx


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
        _layernorm.forward(_rows(scaled), rstd, _rows(x), self.eps)
        y = np.multiply(scaled, self.params["weight"], out=None if training else scaled)
        y += self.params["bias"]
        return y, (scaled, rstd)

    def _gradient(self, dy, scaled, rstd):
        dx = np.empty_like(dy)
        weight = self.params["weight"].copy()   # the code without the GIL must not see another thread's writes
        _layernorm.backward(_rows(dx), self.grads["weight"], self.grads["bias"], _rows(dy), _rows(scaled), rstd, weight)
        return dx


class Dropout(Layer):
    """In training each element is 0 with probability p, else scaled by 1 / (1 - p); in inference y is x.

    Srivastava et al. 2014, in the inverted form. Masks are drawn from `rng`.

    Parameters
    ----------
    p : float in [0, 1)
    variational : bool
        One mask for all steps of a sequence (Gal and Ghahramani 2016) instead of one for each step. x then has a
        time axis: (B, T, H), (T, B, H) or unbatched (T, H). With truncated BPTT each window draws a mask of its own.
    batch_first : bool
        Layout of x, which only variational masks use; a `Sequential` around this layer sets it.
    seed : int, SeedSequence, Generator or None
    """

    takes_ids = False
    keeps_features = True
    assignable = ("p", partial(check_number, low=0, below=1)), ("batch_first", check_bool)

    def __init__(self, p: float = 0.5, *, variational: bool = False, batch_first: bool = False,
                 seed: "Seed" = None) -> None:
        super().__init__(seed=seed)
        self.p, self.batch_first = p, batch_first
        self.variational = check_bool(variational, "variational")
        self.needs_time = self.variational

    def _apply(self, x, lengths, training):
        x = check_floats(x, "x")
        if not training or self.p == 0:
            return x, (None,)
        shape = x.shape
        if self.variational:
            shape = _one_step(check_sequence(x, "x").shape, self.batch_first)
        kept = self.rng.random(shape, np.float32) >= self.p
        mask = kept * x.dtype.type(1 / (1 - self.p))
        return x * mask, (mask,)

    def _gradient(self, dy, mask):
        return dy if mask is None else dy * mask


class ActivationRegularization(Layer):
    """Passes x on unchanged; in training it adds a penalty on the size of x and on its change in time to the loss.

    penalty = ar * mean(x_t^2) + tar * mean((x_t - x_{t-1})^2), over features and valid steps, or pairs of valid steps:
    AR and TAR of Merity et al. (2017, "Revisiting activation regularization for language RNNs"). They apply AR after a
    recurrent layer's dropout and TAR before it.

    Parameters
    ----------
    ar, tar : float, at least 0
        Merity et al. use 2 and 1.
    batch_first : bool
        Layout of x, which has a time axis: (B, T, H), (T, B, H) or unbatched (T, H). A `Sequential` around this layer
        sets it.

    Attributes
    ----------
    penalty : float
        The penalty of the last `forward`. `backward` returns dy plus its gradient, so do not add it to a loss;
        `Trainer` reports it beside the loss.
    start : int
        The first step that counts. `Trainer` sets it when it runs steps again so that BPTT reaches further back.
    counts : (int, int) or None
        Steps and pairs to divide by. `Trainer` sets them when several batches make one update; None for x's own.
    """

    assignable = *((name, partial(check_number, low=0)) for name in ("ar", "tar")), ("batch_first", check_bool)
    takes_ids = False
    keeps_features = True
    needs_time = True
    penalty: float = 0.0
    start: int = 0
    counts: tuple[int, int] | None = None

    def __init__(self, ar: float = 0.0, tar: float = 0.0, *, batch_first: bool = False) -> None:
        super().__init__()
        self.ar, self.tar, self.batch_first = ar, tar, batch_first

    def _apply(self, x, lengths, training):
        if not training:
            return check_floats(x, "x"), ()
        x = check_sequence(x, "x")
        steps = _time_major(x, self.batch_first)
        lengths = np.full(steps.shape[1], len(steps)) if lengths is None else \
            check_lengths(lengths, steps.shape[1], len(steps))
        scales = self._scales(lengths, x.shape[-1])
        valid = _valid(steps, lengths)
        valid[: self.start] = False
        sizes, changes = self._terms(steps, valid)
        self.penalty = sum(scale * float(np.sum(np.square(term), dtype=np.float64))
                           for scale, term in zip(scales, (sizes, changes)))
        return x, (x, valid, scales)

    def _gradient(self, dy, x, valid, scales):
        dx = dy.copy()
        out = _time_major(dx, self.batch_first)
        sizes, changes = self._terms(_time_major(x, self.batch_first), valid)
        of_size, of_change = (dx.dtype.type(2 * scale) for scale in scales)
        out += of_size * sizes
        changes *= of_change
        out[1:] += changes
        out[:-1] -= changes
        return dx

    def _terms(self, x, valid):
        """x and its changes in time, zero where they do not count."""
        return np.where(valid, x, 0), np.where(valid[1:] & valid[:-1], x[1:] - x[:-1], 0)

    def _scales(self, lengths, features):
        """The factors of the two sums of squares."""
        steps, pairs = counted_steps(lengths, self.start) if self.counts is None else self.counts
        return self.ar / max(steps * features, 1), self.tar / max(pairs * features, 1)


def counted_steps(lengths: "Array", start: int = 0) -> tuple[int, int]:
    """(steps, pairs of successive steps) of sequences with these lengths, from step `start` on."""
    counted = np.maximum(np.asarray(lengths) - start, 0)
    return int(counted.sum()), int(np.maximum(counted - 1, 0).sum())


class Pooling(Layer, base=True):
    """Base of the layers that reduce (B, T, H), or (T, B, H), or unbatched (T, H), to (B, H) or (H,).

    A subclass defines ``_pool(y, x, lengths)`` and ``_unpool(dx, dy, lengths)``, with x, dx (T, B, H), y, dy
    (B, H) and lengths (B,); y and dx are zeros at first. A sequence of length 0 gives zeros.

    Parameters
    ----------
    batch_first : bool
        A `Sequential` around this layer sets it.
    """

    assignable = (("batch_first", check_bool),)
    pools_time = True
    takes_ids = False

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    def _apply(self, x, lengths, training):
        x = check_sequence(x, "x")
        steps = _time_major(x, self.batch_first)
        if lengths is None:
            lengths = np.full(steps.shape[1], steps.shape[0])
        else:
            lengths = check_lengths(lengths, steps.shape[1], steps.shape[0])
        y = np.zeros(steps.shape[1:], x.dtype)
        self._pool(y, steps, lengths)
        return y.reshape(y.shape[-x.ndim + 1:]), (x.shape, lengths)

    def _gradient(self, dy, shape, lengths):
        dx = np.zeros(shape, dy.dtype)
        self._unpool(_time_major(dx, self.batch_first), dy.reshape(-1, dy.shape[-1]), lengths)
        return dx


class LastStep(Pooling):
    """The output of the step that each sequence's runner has read last. In a stream it is always the newest.

    A forward direction ends at a sequence's last valid step, a reverse one at its first.

    Parameters
    ----------
    bidirectional : bool, optional
        Whether the second half of the features comes from a reverse direction, which ends at the first step; False
        takes all features of the last valid step, whatever they come from. None: as the runner before it in the
        `Sequential` reads, layers that keep the features apart (dropout, normalisation, scales) in between or not;
        after a layer that mixes both directions' features, as `Linear` does, the last valid step of its output.
    direction : "forward", "reverse" or "bidirectional", optional
        The same, of one direction or both, as the argument of runners; None as above.
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.

    Notes
    -----
    Networks are saved with the direction that they were built with, and keep it.
    """

    def __init__(self, *, bidirectional: bool | None = None,
                 direction: "Literal['forward', 'reverse', 'bidirectional'] | None" = None,
                 batch_first: bool = False) -> None:
        super().__init__(batch_first=batch_first)
        if direction is not None:
            direction = check_option(direction, "direction", DIRECTIONS)
        if bidirectional is not None:
            both = check_bool(bidirectional, "bidirectional")
            if direction is None:
                direction = "bidirectional" if both else "forward"
            elif both != (direction == "bidirectional"):
                raise ValueError(f"direction: expected one that fits bidirectional={both}, found {direction!r}")
        self._told, self._follows = direction is not None, None
        self.direction = direction or "forward"
        self.bidirectional = self.direction == "bidirectional"

    def _follow(self, direction):
        """Take the end of this direction, that of the runner before it, unless it was told one."""
        if self._told:
            return
        if self._follows not in (None, direction):
            raise ValueError(f"LastStep: expected one for each network, found one behind a {self._follows} runner and "
                             f"a {direction} one; build another, or say LastStep(direction=...)")
        self._follows = direction
        vars(self).update(direction=direction, bidirectional=direction == "bidirectional")

    def stream(self, batch_size: int = 1) -> "LastStepStream":
        """A session that returns each step as it comes, and the last step of a chunk."""
        if self.direction != "forward":
            name, wanted = ("bidirectional", False) if self.bidirectional else ("direction", "'forward'")
            raise ValueError(f"{name}: expected {wanted} in a stream, which has no reverse direction")
        check_positive_int(batch_size, "batch_size")
        return LastStepStream(self)

    def _argument(self, name):
        known = self._told or self._follows or name not in ("bidirectional", "direction")
        return super()._argument(name) if known else None

    def _pool(self, y, x, lengths):
        for part, valid, last in self._ends(y.shape[-1], lengths):
            y[valid, part] = x[last, valid, part]

    def _unpool(self, dx, dy, lengths):
        for part, valid, last in self._ends(dy.shape[-1], lengths):
            dx[last, valid, part] = dy[valid, part]

    def _ends(self, features, lengths):
        """(features, sequences, the steps read last) for each direction."""
        valid = np.flatnonzero(lengths)
        forward = {"forward": features, "reverse": 0, "bidirectional": features // 2}[self.direction]
        yield slice(None, forward), valid, lengths[valid] - 1
        yield slice(forward, None), valid, np.zeros_like(valid)


class MeanOverTime(Pooling):
    """The mean of each sequence's valid steps. In a stream it is the mean of all steps since the start.

    Parameters
    ----------
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.
    """

    def stream(self, batch_size: int = 1) -> "MeanStream":
        """A session that returns the mean of the steps so far; its state is (their sum, their number)."""
        return MeanStream(self, check_positive_int(batch_size, "batch_size"))

    def _pool(self, y, x, lengths):
        np.sum(x, axis=0, where=_valid(x, lengths), out=y)
        y /= np.maximum(lengths, 1)[:, None]

    def _unpool(self, dx, dy, lengths):
        np.copyto(dx, dy / np.maximum(lengths, 1)[:, None], where=_valid(dx, lengths), casting="same_kind")


class LastStepStream(LayerStream):
    """A session with a `LastStep`."""

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        return _written(check_floats(x, "x"), out)


class MeanStream:
    """A session with a `MeanOverTime`. It has one caller at a time."""

    def __init__(self, layer, batch_size):
        self._turn = Turn("stream")
        self._layer = layer
        self._batch_size = batch_size
        self.reset()

    @property
    def state(self) -> "State":
        """The sum of the steps so far, and their number. Assign to it to continue from another state."""
        with self._turn:
            return self._total, self._count

    @state.setter
    def state(self, state: "State") -> None:
        state = (0.0, 0) if state is None else check_sum_and_count(state)
        with self._turn:
            self._total, self._count = state

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The mean after one more step."""
        x = check_floats(x, "x")
        with self._turn:
            return self._add(x, 1, "x", x.shape, out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The mean after the steps of a chunk."""
        chunk = check_sequence(chunk, "chunk")
        steps = chunk.shape[0 if chunk.ndim == 2 or not self._layer.batch_first else 1]
        with self._turn:
            return self._add(self._layer(chunk) * chunk.dtype.type(steps), steps, "chunk", chunk.shape)

    def reset(self) -> None:
        """Back to no steps."""
        self.state = None

    def copy(self) -> "MeanStream":
        """A session that goes on from here, independently."""
        other = MeanStream(self._layer, self._batch_size)
        other.state = self.state
        return other

    def _add(self, x, steps, name, shape, out=None):
        check_mean_step(x, name, shape, self._batch_size, self._total)
        total = (self._total.reshape(x.shape) if np.ndim(self._total) else self._total) + x
        count = self._count + steps
        y = _written(total / x.dtype.type(max(count, 1)), out)
        self._total, self._count = total, count
        return y


def _written(y, out):
    """y, or `out` with y written into it."""
    if out is None:
        return y
    check_out(out, y.shape, y.dtype)[...] = y
    return out


def _time_major(x, batch_first):
    """x (B, T, H), (T, B, H) or unbatched (T, H) as (T, B, H), without a copy."""
    if x.ndim == 2:
        return x[:, None]
    return x.swapaxes(0, 1) if batch_first else x


def _one_step(shape, batch_first):
    """The shape with a time axis of 1."""
    time = 1 if batch_first and len(shape) == 3 else 0
    return (*shape[:time], 1, *shape[time + 1:])


def _valid(x, lengths):
    return (np.arange(len(x))[:, None] < lengths)[..., None]


def _rows(x):
    """x: (..., N) as (rows, N), without a copy."""
    return x.reshape(-1, x.shape[-1])

"""Convolutions over time."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features, check_out
from ...check.states import check_state
from ...check.values import check_bool, check_option, check_positive_int
from ...engine.ops import _products
from ...engine.runtime._arrays import Pinned, room
from .. import _init
from .base import StateStream, written
from .windows import Windowed, blocks, check_channels, check_padding

if TYPE_CHECKING:
    from typing import Literal

    from ..._types import Array, ArrayLike, DType, LayerInit, Seed, State


class Conv1d(Windowed):
    """A convolution over time, as torch.nn.Conv1d but with the channels last.

        y_t = bias + sum_j weight[:, :, j] x_{t * stride - padding + j * dilation},  j = 0 .. kernel_size - 1

    where x is 0 before the first step of a sequence and behind its last one.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
        Steps that each output reads.
    stride : int
        Steps from one output to the next.
    padding : int, "valid", "same" or "causal"
        Steps of zeros before and behind each sequence: so many on both sides; none; as many as make the output as long
        as x (with stride 1; an odd one is behind); or all before it, so that no output depends on later steps.
    dilation : int
        Steps from one that an output reads to the next.
    groups : int
        A divisor of both numbers of channels: the channels are cut into so many groups, and each group of outputs reads
        one group of inputs.
    bias : bool
    padding_mode : "zeros"
    batch_first : bool
        Layout of x, (B, T, C) or (T, B, C); (T, C) is one sequence. A `Sequential` around this layer sets it.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters.
    init : str, pair, number, array, callable or dict
        Initialiser of the weight, or a dict of "weight" and "bias" to initialisers, as of `Linear`; the fan is that at
        all places of a window.

    Notes
    -----
    ``params``: weight (out_channels, in_channels / groups, kernel_size) as in PyTorch, bias (out_channels,). A sequence
    of n steps has floor((n + padding - dilation (kernel_size - 1) - 1) / stride) + 1 outputs, `padding` being that of
    both sides together, and one without steps has none; a shorter one than a window is an error. With "causal" and
    stride 1 there is a stream, whose outputs have the bits of a call over the whole sequence. There is no truncated
    BPTT, as no state passes from window to window.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 padding: "int | Literal['valid', 'same', 'causal']" = 0, dilation: int = 1, groups: int = 1, *,
                 bias: bool = True, padding_mode: "Literal['zeros']" = "zeros", batch_first: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "LayerInit" = "default") -> None:
        super().__init__(dtype, seed)
        self.in_channels = check_positive_int(in_channels, "in_channels")
        self.out_channels = check_positive_int(out_channels, "out_channels")
        self._place(kernel_size, stride, check_padding(padding, ("valid", "same", "causal")), dilation,
                    batch_first)
        self.groups = check_positive_int(groups, "groups")
        for name in "in_channels", "out_channels":
            if getattr(self, name) % self.groups:
                raise ValueError(f"groups: expected a divisor of {name}={getattr(self, name)}, found {self.groups}")
        self.bias = check_bool(bias, "bias")
        self.padding_mode = check_option(padding_mode, "padding_mode", ("zeros",))
        shape = self.out_channels, self.in_channels // self.groups, self.kernel_size
        _init.claim(shape, self.dtype, "weight")
        params = {"weight": room(shape, self.dtype)}
        if self.bias:
            _init.claim(shape[:1], self.dtype, "bias")
            params["bias"] = room(shape[:1], self.dtype)
        self.init = _init.initialise_layer(params, self.rng, init, {"weight": "glorot_uniform", "bias": "zeros"},
                                           1 / math.sqrt(math.prod(shape[1:])))
        self._own(params)
        del params
        self._pinned_grads = Pinned(self._grads, "grads")
        self._watched = _products.PackedLinear(self._params, self.groups)

    def stream(self, batch_size: int = 1) -> "ConvStream":
        """A session of a causal convolution with stride 1; its state is the last inputs that later outputs read."""
        check_positive_int(batch_size, "batch_size")
        if self.stride != 1:
            raise ValueError(f"stride: expected 1 in a stream, in which each step has an output; found {self.stride}")
        if self._around != (self._reach, 0):
            raise ValueError("padding: expected 'causal' in a stream, which knows no later steps; found "
                             f"{self.padding!r}")
        return ConvStream(self, batch_size)

    def _checked(self, x):
        return check_channels(check_features(x, "x", self.in_channels, self.dtype), "x")

    def _of_windows(self, x, lengths, training):
        y = np.empty((len(x), self._count(x.shape[1]), self.out_channels), self.dtype)
        if self._depthwise:
            into, weight = self._by_input(y), self._by_input(self.params["weight"][:, 0].T)
            into[...] = self._by_input(self.params["bias"]) if self.bias else 0
            for j, steps in self._places(x):
                into += steps[..., None] * weight[j]
            return y, (x,)
        for rows, steps in blocks(*y.shape[:2], self.kernel_size * self.in_channels):
            part = y[rows, steps].reshape(-1, self.out_channels)    # a view
            for group, of_y, _ in self._groups():
                columns = self._columns(x, rows, steps, group)
                if self.groups == 1:
                    self._watched.forward(part, columns)
                    continue
                product = np.empty((len(part), self.out_channels // self.groups), self.dtype)
                self._watched.forward(product, columns, group)
                part[:, of_y] = product
        return y, (x,)

    def _to_windows(self, dy, x):
        dx = np.zeros_like(x)
        weight = self.grads["weight"]
        if self._depthwise:
            self._depthwise_gradient(dx, dy, x)
            return dx
        width = weight.shape[1] * self.kernel_size
        dweight = np.zeros((self.groups, self.out_channels // self.groups, width), self.dtype)
        packings = self._watched.backward_packings()
        for rows, steps in blocks(*dy.shape[:2], self.kernel_size * self.in_channels):
            part = dy[rows, steps].reshape(-1, self.out_channels)
            into = self._windows(dx)[rows, steps]
            for group, of_y, of_x in self._groups():
                dpart = np.ascontiguousarray(part[:, of_y])
                _products.linear_backward_weight(dweight[group], dpart, self._columns(x, rows, steps, group))
                dcolumns = np.empty((len(dpart), width), self.dtype)
                self._watched.backward_input(dcolumns, dpart, group, packings)
                dcolumns = dcolumns.reshape(*into.shape[:3], weight.shape[1])
                for j in range(self.kernel_size):   # within one place, no two windows have the same step
                    into[:, :, j, of_x] += dcolumns[:, :, j]
        weight += dweight.reshape(self.out_channels, self.kernel_size, -1).swapaxes(1, 2)
        if self.bias:
            _products.sum_rows(self.grads["bias"], dy.reshape(-1, self.out_channels))
        return dx

    @property
    def _depthwise(self):
        """Whether each output reads one channel: there is no product then."""
        return self.groups == self.in_channels > 1

    def _by_input(self, array):
        """(..., out_channels) as (..., in_channels, outputs of each)."""
        return array.reshape(*array.shape[:-1], self.in_channels, self.out_channels // self.in_channels)

    def _depthwise_gradient(self, dx, dy, x):
        parts, weight = self._by_input(dy), self._by_input(self.params["weight"][:, 0].T)
        places = zip(self._places(x), self._places(dx))
        dweight = np.empty_like(weight)
        for (j, steps), (_, into) in places:
            dweight[j] = np.einsum("btcm,btc->cm", parts, steps)
            into += np.einsum("btcm,cm->btc", parts, weight[j])
        self.grads["weight"][:, 0] += dweight.reshape(self.kernel_size, -1).T
        if self.bias:
            _products.sum_rows(self.grads["bias"], dy.reshape(-1, self.out_channels))

    def _groups(self):
        """(number, its outputs, its inputs) of each group of channels."""
        outputs, inputs = self.out_channels // self.groups, self.in_channels // self.groups
        for group in range(self.groups):
            yield group, slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)

    def _columns(self, x, rows, steps, group):
        """The windows of a group's channels in rows, (n, kernel_size * C); without a copy where they lie so."""
        inputs = self.in_channels // self.groups
        windows = self._windows(x)[rows, steps, :, group * inputs : (group + 1) * inputs]
        return np.ascontiguousarray(windows).reshape(-1, self.kernel_size * inputs)


class ConvStream(StateStream):
    """A session with a causal `Conv1d`. It has one caller at a time."""

    @property
    def state(self) -> "Array":
        """The last inputs, (B, dilation (kernel_size - 1), in_channels), the oldest first. Assign to it to go on from
        others; None for zeros."""
        with self._turn:
            return self._before.copy()

    @state.setter
    def state(self, state: "State") -> None:
        layer = self._layer
        shape = self._batch_size, layer._reach, layer.in_channels
        (state,) = check_state(state, "state", [shape], layer.dtype)
        before = np.zeros(shape, layer.dtype) if state is None else state.copy()
        with self._turn:
            self._before = before

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step, (C,) for one sequence, or (B, C). After an error the state is as before."""
        layer, batch = self._layer, self._batch_size
        x = check_features(x, "x", layer.in_channels, layer.dtype)
        if x.ndim not in (1, 2) or (len(x) if x.ndim == 2 else 1) != batch:
            raise ValueError(f"x: expected a step of {batch} sequences, found shape {x.shape}")
        shape = (*x.shape[:-1], layer.out_channels)
        if out is not None:
            check_out(out, shape, layer.dtype)
        return written(self._go_on(x.reshape(batch, 1, -1)).reshape(shape), out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The outputs for several steps, (T, C), or a batch of these in the layer's layout."""
        layer, batch = self._layer, self._batch_size
        chunk = check_channels(check_features(chunk, "chunk", layer.in_channels, layer.dtype), "chunk")
        single = chunk.ndim == 2
        rows = chunk[None] if single else chunk if layer.batch_first else chunk.swapaxes(0, 1)
        if len(rows) != batch:
            raise ValueError(f"chunk: expected steps of {batch} sequences, found shape {chunk.shape}")
        y = self._go_on(rows)
        return y[0] if single else y if layer.batch_first else y.swapaxes(0, 1)

    def _go_on(self, x):
        """The outputs for x (B, T, C), which come to be among the last inputs."""
        with self._turn, self._layer._gate:
            seen = np.concatenate([self._before, x], axis=1)
            y, _ = self._layer._of_windows(seen, None, False)
            self._before = seen[:, x.shape[1] :].copy()
        return y

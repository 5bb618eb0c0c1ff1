"""Cells: one time step, for a caller's own loops."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_axes
from ..check.plain import plain_value
from ..check.sequences import check_steps
from ..check.states import check_state
from ..check.values import check_bool, check_layer_norm, check_option, shown
from ..engine.loops._engine import Engine
from .module import Tape, open_tape
from .recurrent import Recurrent

if TYPE_CHECKING:
    from typing import Literal

    from .._types import Activations, Array, ArrayLike, DType, Init, Ints, Seed, State


class Cell(Recurrent, base=True):
    """One step of one kind of cell; see `RNNCell`, `LSTMCell`, `GRUCell`. B batch, I input, H hidden."""

    def _setup(self, input_size, hidden_size, bias, dtype, seed, init, probabilities, words, **cell):
        super().__init__(dtype, seed)
        self._sizes(input_size, hidden_size, bias)
        self.init = plain_value(init)
        self._allocate(words, [""], [self.input_size], 1, **cell)
        self._set_dropout(*probabilities)
        self._engine = Engine(self._watched)

    def __call__(self, x: "ArrayLike", state: "State" = None) -> "State":
        """The next state.

        Parameters
        ----------
        x : array (B, I) or (I,)
        state : array h (B, H) or (H,), for the LSTM a tuple (h, c); default zeros

        Returns
        -------
        state : like the argument

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was expected and what was found.
        """
        x, state, shape = self._arguments(x, state)
        y, final = self._room(x.shape[1])
        self._engine.infer(x, y, state, final)
        return _shaped(final, shape)

    def forward(self, x: "ArrayLike", state: "State" = None, lengths: "Ints | None" = None, *, seed: int | None = None,
                first_step: int = 0) -> "tuple[Array, State, Tape]":
        """Training pass: as a call, with dropout and zoneout; returns (h, state, tape) for `backward`.

        Pass the same int `seed` for all steps of a sequence, and they share one mask of recurrent dropout and one of
        weights; without it each call draws its own from `rng`. `first_step` is the number of the step, for zoneout.
        """
        self._check_trains()
        if lengths is not None:
            raise ValueError(f"lengths: expected None for one step, found {shown(lengths)}")
        x, state, shape = self._arguments(x, state)
        y, final = self._room(x.shape[1])
        seed, first_step = self._mask_seed(seed, first_step)
        tape = Tape(self, self._engine.forward(x, y, state, final, None, 0.0, seed, first_step), shape)
        return y.reshape(shape), _shaped(final, shape), tape

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Array, State]":
        """Adds to `grads`; returns (dx, dstate) for the gradients dy of h and dstate of the new state."""
        activations, shape = open_tape(tape, self)
        dy = _batched(check_state(dy, "dy", [shape], self.dtype)[0])
        dstate = self._checked_state(dstate, "dstate", shape)
        batch = shape[0] if len(shape) == 2 else 1
        dx = np.empty((1, batch, self.input_size), self.dtype)
        initial = self._room(batch)[1]
        saved = tape.take()
        try:
            self._engine.backward(activations, dy, dstate, dx, initial)
        finally:
            if not activations.served:
                tape.put_back(saved)
        return dx.reshape(*shape[:-1], self.input_size), _shaped(initial, shape)

    def _arguments(self, x, state):
        """x as (1, B, I), the state's parts as (1, B, H), and the shape of h for the caller."""
        x = check_steps(x, "x", self.input_size, self.dtype)
        if x.ndim not in (1, 2):
            check_axes(x, "x", {2: f"(B, {self.input_size})", 1: f"({self.input_size},)"})
        shape = (*x.shape[:-1], self.hidden_size)
        return _batched(x), self._checked_state(state, "state", shape), shape

    def _checked_state(self, state, name, shape):
        parts = [_batched(part) for part in check_state(state, name, [shape] * len(self._state), self.dtype)]
        return parts + [None] * (3 - len(parts))    # h, c and no last inputs

    def _room(self, batch):
        """New y and state arrays (1, B, H)."""
        y, h, c = (np.empty((1, batch, self.hidden_size), self.dtype) for _ in range(3))
        return y, (h, c if "c" in self._state else None, None)


def _batched(array):
    """(B, width) or (width,) as (1, B, width)."""
    return None if array is None else array.reshape(1, -1, array.shape[-1])


def _shaped(states, shape):
    h, c, _ = states
    return h.reshape(shape) if c is None else (h.reshape(shape), c.reshape(shape))


_SHARED = """
    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
{own}    bias : bool
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters and the masks.
    recurrent_dropout, zoneout, weight_dropout : float
        As in the sequence runners, see `fastrnn.{kind}`.
    {options}
        As in `fastrnn.{kind}`.
{norm}    init : str or dict
        "default" (orthogonal recurrent, Glorot input, forget bias 1), "pytorch" or "irnn"; or a dict of scheme,
        recurrent, input, bias and forget_bias, such as {{"recurrent": "identity", "forget_bias": 2.0}}.

    Notes
    -----
    ``params``: weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H,){gates}.
"""


_NORM = """    layer_norm : bool
        Layer normalisation, with the equations of `fastrnn.{kind}`.
"""


class RNNCell(Cell):
    __doc__ = """One step of a simple recurrent network (Elman 1990).

    h' = act(W_ih x + b_ih + W_hh h + b_hh)
""" + _SHARED.format(own="""    nonlinearity : "tanh" or "relu"
""", gates=", G = 1", kind="RNN", norm="", options="activations, clip")

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: "Literal['tanh', 'relu']" = "tanh",
                 bias: bool = True, dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recurrent_dropout: float = 0.0, zoneout: float = 0.0, weight_dropout: float = 0.0,
                 activations: "Activations | None" = None, clip: float | None = None) -> None:
        self.nonlinearity = check_option(nonlinearity, "nonlinearity", ("tanh", "relu"))
        options = self._set_options((self.nonlinearity,), 1, activations, clip)
        self._setup(input_size, hidden_size, bias, dtype, seed, init, (recurrent_dropout, zoneout, weight_dropout), (),
                    relu=nonlinearity == "relu", **options)


class LSTMCell(Cell):
    __doc__ = """One step of long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(W_i* x + b_i* + W_h* h + b_h*)        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
    c' = f * c + i * g                                      h' = o * tanh(c')
""" + _SHARED.format(own="", gates="; gates in the order i, f, g, o. With\n"
                                 "    layer_norm also gain_ih, gain_hh (4*H,), gain_c and bias_c (H,)",
                         kind="LSTM", norm=_NORM.format(kind="LSTM"),
                         options="activations, clip, peepholes, coupled_gates")

    kind = "LSTM"
    peepholes: bool
    coupled_gates: bool

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, dtype: "DType" = "float32",
                 seed: "Seed" = None, init: "Init" = "default", recurrent_dropout: float = 0.0,
                 zoneout: float | tuple[float, float] = 0.0, weight_dropout: float = 0.0, layer_norm: bool = False,
                 activations: "Activations | None" = None, clip: float | None = None, peepholes: bool = False,
                 coupled_gates: bool = False) -> None:
        self.layer_norm = check_bool(layer_norm, "layer_norm")
        options = self._set_options(self._cell.activations, 1, activations, clip, peepholes, coupled_gates,
                                    self.layer_norm)
        self._setup(input_size, hidden_size, bias, dtype, seed, init, (recurrent_dropout, zoneout, weight_dropout),
                    self._words(layer_norm=self.layer_norm, peepholes=self.peepholes), **options)


class GRUCell(Cell):
    __doc__ = """One step of a gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(W_i* x + b_i* + W_h* h + b_h*)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))           reset_after, as in cuDNN and PyTorch
    n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)           otherwise, as first published
    h' = (1 - z) * n + z * h
""" + _SHARED.format(own="""    reset_after : bool
        Whether the reset gate acts after the recurrent product of n, or on h before it.
""", gates="; gates in the order r, z, n. With\n    layer_norm also gain_ih and gain_hh (3*H,)", kind="GRU",
                         norm=_NORM.format(kind="GRU"), options="activations, clip")

    kind = "GRU"

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, reset_after: bool = True,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recurrent_dropout: float = 0.0, zoneout: float = 0.0, weight_dropout: float = 0.0,
                 layer_norm: bool = False, activations: "Activations | None" = None, clip: float | None = None) -> None:
        self.reset_after = check_bool(reset_after, "reset_after")
        self.layer_norm = check_layer_norm(layer_norm, self.reset_after)
        options = self._set_options(self._cell.activations, 1, activations, clip, layer_norm=self.layer_norm)
        self._setup(input_size, hidden_size, bias, dtype, seed, init, (recurrent_dropout, zoneout, weight_dropout),
                    self._words(reset_before=not self.reset_after, layer_norm=self.layer_norm), **options)

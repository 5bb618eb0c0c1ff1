"""Sequence runners: RNN, LSTM and GRU networks of any depth over whole sequences."""

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .. import memory
from ..check.arrays import check_axes, check_out
from ..check.plain import plain_value
from ..check.sequences import check_lengths, check_ragged, check_steps
from ..check.states import check_state
from ..check.values import check_bool, check_layer_norm, check_number, check_option, check_positive_int, shown
from ..engine.loops._engine import Engine
from ._init import claim_layers
from .module import Tape, open_tape
from .options import check_direction
from .recompute import CheckpointedPass, plan
from .recurrent import Recurrent

if TYPE_CHECKING:
    from typing import Literal

    from .._types import Activations, Array, DType, Init, Inputs, Ints, Outputs, Seed, State
    from .recompute import Plan
    from .stream import Stream

MOST_LAYERS = 4096
STATES = "h", "c", "w"  # of a state, as the engine takes them


class Runner(Recurrent, base=True):
    """Layers and directions of one kind of cell. See `RNN`, `LSTM` and `GRU`.

    T time steps, B batch, I input, H hidden, L layers, D directions, P the width of h: H, or `proj_size`.
    """

    assignable = ("batch_first", check_bool), ("dropout", partial(check_number, low=0, high=1))
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    direction: "Literal['forward', 'reverse', 'bidirectional']"
    _window = 1         # inputs that a step sees

    def _setup(self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
               probabilities, recompute, words=(), **cell):
        super().__init__(dtype, seed)
        self._sizes(input_size, hidden_size, bias)
        self.num_layers = check_positive_int(num_layers, "num_layers", high=MOST_LAYERS)
        self.batch_first, self.dropout = batch_first, dropout
        self.bidirectional = check_bool(bidirectional, "bidirectional")
        self.init = plain_value(init)
        directions = 1 + self.bidirectional
        self._out = cell.get("projection") or self.hidden_size
        self._widths = tuple(map(self._part_width, self._state))
        claim_layers(self.num_layers * directions, "num_layers")
        suffixes = [f"_l{layer}{way}" for layer in range(self.num_layers) for way in ("", "_reverse")[:directions]]
        inputs = [self.input_size if layer == 0 else directions * self._out
                  for layer in range(self.num_layers) for _ in range(directions)]
        self._allocate(words, suffixes, inputs, directions, reverse=self.direction == "reverse", **cell)
        self._set_dropout(*probabilities)
        self.recompute = recompute
        self._engine = Engine(self._watched)
        if self.dropout and self.num_layers == 1:
            warnings.warn("dropout: expected num_layers of at least 2, as it acts between layers; found 1",
                          stacklevel=3)

    def _set_direction(self, direction, bidirectional):
        """Check and keep the direction; return the number of directions."""
        self.direction = check_direction(direction, bidirectional)
        return 2 if self.direction == "bidirectional" else 1

    def _part_width(self, part):
        """The width of one of the arrays of a state."""
        return self._out if part == "h" else self.hidden_size

    @property
    def recompute(self) -> bool:
        """Whether BPTT recomputes activations, segment by segment, instead of keeping them; may be assigned."""
        return self._recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self._recompute = check_bool(value, "recompute")

    @property
    def output_size(self) -> int:
        """Width of the output, D * P."""
        return (1 + self.bidirectional) * self._out

    def __call__(self, x: "Inputs", state: "State" = None, lengths: "Ints | None" = None) -> "tuple[Outputs, State]":
        """Inference over whole sequences.

        Parameters
        ----------
        x : array (T, B, I), (B, T, I) if batch_first, (T, I) unbatched; or a list of B arrays (T_i, I)
        state : array h (L*D, B, P), or for the LSTM a tuple (h, c) with c (L*D, B, H); default zeros
            Without the axis B for unbatched input.
        lengths : sequence of B ints, optional
            Valid steps of each sequence, 0 to T, in any order. Not with a list, which has its own.

        Returns
        -------
        y : array like x with D*P features, zero beyond a sequence's length; a list for a list
        state : like the argument; each sequence's state after its last valid step

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was expected and what was found.
        """
        call = self._arguments(x, state, lengths)
        self._engine.infer(call.x, call.y, call.state, call.final, call.lengths)
        return call.results()

    def forward(self, x: "Inputs", state: "State" = None, lengths: "Ints | None" = None, *, seed: int | None = None,
                first_step: int = 0) -> "tuple[Outputs, State, Tape]":
        """Training pass: as a call, with dropout and zoneout; returns (y, state, tape) for `backward`.

        Parameters
        ----------
        x, state, lengths
            As for a call.
        seed : int, optional
            Source of this pass's masks; by default one is drawn from `rng`. A mask depends only on the seed, the
            sequence's place in the batch, the step and the unit.
        first_step : int
            Number of x's first step. Pieces of a sequence that are run with the same seed, each with the number of its
            first step, get the masks of the whole sequence. (The reverse direction counts from its own start.)

        Raises
        ------
        MemoryError
            If forward and BPTT would need more memory than there is; raised before any computation.
        """
        self._check_trains()
        call = self._arguments(x, state, lengths)
        dropout = self.dropout if self.num_layers > 1 else 0.0
        self._check_memory(call)
        seed, first_step = self._mask_seed(seed, first_step, dropout)
        if self.recompute:
            activations = CheckpointedPass(self, call, dropout, seed, first_step)
        else:
            activations = self._engine.forward(call.x, call.y, call.state, call.final, call.lengths, dropout, seed,
                                               first_step)
        y, state = call.results()
        return y, state, Tape(self, activations, call)

    def backward(self, tape: "Tape", dy: "Inputs | None" = None, dstate: "State" = None, *,
                 dh: "Array | None" = None) -> "tuple[Outputs, State]":
        """Backpropagation through time; adds to `grads`.

        Parameters
        ----------
        tape : from `forward`; use it once
        dy : array like y, optional
            Gradient of the loss with respect to y; values beyond a sequence's length do not count.
        dstate : like the final state, optional
            A part of an LSTM's tuple may be None.
        dh : array (L*D, T, B, P), optional
            Output: dL/dh_t, the whole gradient of every layer's and direction's state at every step t, in the
            sequence's own order; zero beyond a length. For SRU and QRNN, whose state is c, dL/dc_t.

        Returns
        -------
        dx : array like x, zero beyond a sequence's length
        dstate : gradient with respect to the initial state
        """
        activations, call = open_tape(tape, self)
        dy = call.gradient(dy)
        dstate = check_state(dstate, "dstate", call.shapes, self.dtype, self._state)
        if dh is not None:
            shape = (self.num_layers * (1 + self.bidirectional), *call.extent(), self._out)
            dh = check_out(dh, shape, self.dtype, "dh")
        dx = call.like_input()
        initial = call.new_states()
        saved = tape.take()
        try:
            if dh is not None:
                dh[...] = 0
            if isinstance(activations, CheckpointedPass):
                activations.backward(dy, self._engine_state(dstate), dx, initial, dh)
            else:
                self._engine.backward(activations, dy, self._engine_state(dstate), dx, initial, dh)
        finally:
            if not activations.served:
                tape.put_back(saved)
        return call.laid_out(dx), call.state_out(initial)

    def _check_memory(self, call):
        steps, batch = call.extent()
        # No cell keeps more than 16 values of each unit, or 4 of each input that a step reads.
        values = 16 * self.hidden_size + 4 * self._window * max(self.input_size, self.output_size)
        if values * steps * batch * self.num_layers * self.dtype.itemsize > memory.LITTLE_BYTES:
            needed = sum(memory.runner_bytes(self, batch, steps, call.lengths))
            remedy = "use fewer or shorter sequences" + ("" if self.recompute else ", or recompute=True")
            memory.require(needed, "x", f"{batch} sequences of {steps} steps", remedy)

    def segments(self, steps: int, batch: int, lengths: "Ints | None" = None) -> "Plan":
        """The `recompute.Plan` of a training pass with `recompute` over (T, B) steps."""
        steps, batch = check_positive_int(steps, "steps", 0), check_positive_int(batch, "batch", 0)
        if lengths is not None:
            lengths = check_lengths(lengths, batch, steps)
        state_bytes = sum(self._widths) * batch * self.num_layers * (1 + self.bidirectional) * self.dtype.itemsize
        return plan(self._engine, state_bytes, steps, batch, lengths, 0.0 if self.bidirectional else self.dropout,
                    0 if self.bidirectional else None)

    def activations(self, tape: "Tape") -> "dict[str, Array]":
        """The values of a forward pass, step by step; `backward` can still use the tape.

        Returns
        -------
        dict of name -> array, zero beyond a sequence's length
            "h" (L*D, T, B, P); "gates" (L*D, T, B, G*H), after their activation, i f g o for the LSTM and r z n for the
            GRU; "c" (L*D, T, B, H) for the LSTM.
        """
        activations, call = open_tape(tape, self)
        saved = tape.take()
        try:
            return self._found(activations, call)
        finally:
            tape.put_back(saved)

    def _found(self, activations, call):
        """The result of `activations`, from a tape that is the caller's alone."""
        shape = (self.num_layers * (1 + self.bidirectional), *call.extent())
        gates = len(self._cell.gates)
        widths = {"gates": gates * self.hidden_size if gates > 1 else 0, "h": self._out,
                  "c": self.hidden_size if "c" in self._state else 0}
        found = {name: np.zeros((*shape, width), self.dtype) if width else None for name, width in widths.items()}
        if isinstance(activations, CheckpointedPass):
            activations.activations(found)
        else:
            self._engine.activations(activations, *found.values())
        return {name: array for name, array in found.items() if array is not None}

    def stream(self, batch_size: int = 1) -> "Stream":
        """A session that takes one time step, or a chunk of them, at a time; see `fastrnn.nn.stream.Stream`."""
        from .stream import Stream
        return Stream(self, batch_size)

    def _arguments(self, x, state, lengths):
        return _Call(self, x, state, lengths)

    def _engine_state(self, states):
        """A state's arrays as the engine takes them: one for each of `STATES`, or None."""
        own = dict(zip(self._state, states))
        return tuple(own.get(part) for part in STATES)


class _Call:
    """The checked arguments of one call, time-major, and new arrays for its results."""

    def __init__(self, runner, x, state, lengths):
        self.runner = runner
        self.ragged = isinstance(x, (list, tuple))
        self.unbatched = False
        features, dtype = runner.input_size, runner.dtype
        if self.ragged:
            if lengths is not None:
                raise ValueError("lengths: expected None with a list of arrays, which bring their own; "
                                 f"found {shown(lengths)}")
            x, self.lengths = check_ragged(x, "x", features, dtype)
            batch = len(self.lengths)
        else:
            x = check_steps(x, "x", features, dtype)
            if x.ndim not in (2, 3):
                order = f"(B, T, {features})" if runner.batch_first else f"(T, B, {features})"
                check_axes(x, "x", {3: order, 2: f"(T, {features})"})
            self.unbatched = x.ndim == 2
            x = self.time_major(x)
            batch = x.shape[1]
            if self.unbatched and lengths is not None:
                raise ValueError(f"lengths: expected None with unbatched x, found {shown(lengths)}")
            self.lengths = None if lengths is None else check_lengths(lengths, batch, len(x))
        self.x = x
        states = runner.num_layers * (1 + runner.bidirectional)
        self.full_shapes = [(states, batch, width) for width in runner._widths]
        self.shapes = [(n, w) if self.unbatched else (n, b, w) for n, b, w in self.full_shapes]
        self.state = runner._engine_state(check_state(state, "state", self.shapes, dtype, runner._state))
        self.final = self.new_states()
        self.y = self.room(runner.output_size)

    def time_major(self, x):
        """The caller's layout as (T, B, features), a view."""
        if self.unbatched:
            return x[:, None]
        return x.swapaxes(0, 1) if self.runner.batch_first else x

    def room(self, width):
        """A new array in the caller's layout, as a time-major view; zero where steps may be invalid."""
        new = np.empty if self.lengths is None or self.ragged else np.zeros
        if self.ragged:
            return new((len(self.x), width), self.runner.dtype)
        steps, batch, _ = self.x.shape
        if self.runner.batch_first:
            return new((batch, steps, width), self.runner.dtype).swapaxes(0, 1)
        return new((steps, batch, width), self.runner.dtype)

    def extent(self):
        """(T, B)."""
        if self.ragged:
            return max(map(int, self.lengths), default=0), len(self.lengths)
        return self.x.shape[:2]

    def like_input(self):
        return self.room(self.runner.input_size)

    def new_states(self):
        return self.runner._engine_state([np.empty(shape, self.runner.dtype) for shape in self.full_shapes])

    def laid_out(self, y):
        """A time-major result in the caller's layout."""
        if self.ragged:
            return np.split(y, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []
        if self.unbatched:
            return y[:, 0]
        return y.swapaxes(0, 1) if self.runner.batch_first else y

    def state_out(self, states):
        states = [s[:, 0] if self.unbatched else s for s in states if s is not None]
        return tuple(states) if len(states) == 2 else states[0]

    def results(self):
        y, final = self.y, self.final
        self.y = self.final = self.state = None
        return self.laid_out(y), self.state_out(final)

    def gradient(self, dy):
        """The caller's dy in the engine's layout."""
        if dy is None:
            return None
        runner = self.runner
        width, dtype = runner.output_size, runner.dtype
        if self.ragged:
            if not isinstance(dy, (list, tuple)):
                raise TypeError(f"dy: expected a list of arrays as for x, found {type(dy).__name__}")
            dy, lengths = check_ragged(dy, "dy", width, dtype)
            if not np.array_equal(lengths, self.lengths):
                raise ValueError(f"dy: expected arrays of {self.lengths.tolist()} steps, found {lengths.tolist()}")
            return dy
        dy = check_steps(dy, "dy", width, dtype)
        steps, batch, _ = self.x.shape
        shape = (steps, width) if self.unbatched else \
            (batch, steps, width) if runner.batch_first else (steps, batch, width)
        if dy.shape != shape:
            raise ValueError(f"dy: expected shape {shape} as y, found {dy.shape}")
        return self.time_major(dy)


COMMON = """
    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and L.
{own}    bias : bool
    batch_first : bool
        Whether batched arrays are (B, T, features) instead of (T, B, features).
    dropout : float
        Probability with which `forward` drops the values passed from layer to layer; a call never drops.
    bidirectional : bool
        Whether a second set of layers reads each sequence from its last valid step to its first; outputs side by side.
"""
_SHARED = COMMON + """    recurrent_dropout : float
        Probability with which `forward` drops a value of h_{{t-1}} from the recurrent product, W_hh (h_{{t-1}} * m), by
        one mask m for all steps of a sequence (Gal and Ghahramani 2016); a call never drops.
    zoneout : float{pair}
        Probability with which `forward` leaves a value of {states} as it was a step before (Krueger et al. 2017).
        A call takes the expected value: p h_{{t-1}} + (1 - p) h', with h' from the equations above.
    weight_dropout : float
        Probability with which `forward` drops a recurrent weight, by one mask of W_hh for the whole pass (DropConnect;
        Merity et al. 2018); a call never drops. Here and above the kept values are scaled by 1 / (1 - p).
    direction : "forward", "reverse" or "bidirectional"
        "reverse" reads each sequence from its last valid step to its first; y stays in the sequence's order.
        "bidirectional" is ``bidirectional=True``.
    activations : sequence, optional
        These replace {functions}.
        Each is a name, or a tuple of a name, alpha and beta, as in the ONNX operator of this cell: sigmoid, tanh, relu,
        affine (alpha, beta), leaky_relu (alpha), thresholded_relu (alpha), scaled_tanh (alpha, beta), hard_sigmoid
        (alpha, beta), elu (alpha), softsign, softplus. Two such sequences, one for each direction, are possible.
    clip : float, optional
        Limits the input of a gate's activation to -clip .. clip.
{gates}{norm}    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters and the masks.
    recompute : bool
        Whether `backward` recomputes the activations, segment by segment of the steps, from a few states that `forward`
        has kept: memory grows with the square root of T instead of T, for at most a third more time and the same bits.
        `backward` then reads the input again, and the parameters must not change before it. May be assigned at any
        time.
    init : str or dict
        "default" (orthogonal recurrent, Glorot input, forget bias 1), "pytorch" or "irnn"; or a dict of scheme,
        recurrent, input, bias and forget_bias, such as {{"recurrent": "identity", "forget_bias": 2.0}}.

    Notes
    -----
    ``params`` has PyTorch's names, shapes and gate order: weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, P), bias_ih_l0
    and bias_hh_l0 (G*H,){projection}, and the same with suffix _reverse for the second direction.{gains}
    The four probabilities may be assigned at any time.
"""


_NORM = """    layer_norm : bool
        Whether to use the equations with layer normalisation above.
"""


_GATES = """    peepholes : bool
        Whether the gates read the cell state (Gers and Schmidhuber 2000): adds p_i * c_{t-1} to the input of i,
        p_f * c_{t-1} to that of f and p_o * c_t to that of o. Further parameters: weight_ci_l0, weight_cf_l0 and
        weight_co_l0 (H,).
    coupled_gates : bool
        Whether f = 1 - i (Greff et al. 2017). The parameters keep their shapes; f's part of them has no effect.
"""


class RNN(Runner):
    __doc__ = """Simple recurrent network (Elman 1990).

    h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
""" + _SHARED.format(own="""    nonlinearity : "tanh" or "relu"
""", projection="", gains="", norm="", gates="", functions="(tanh,)", pair="",
                         states="h")

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *,
                 nonlinearity: "Literal['tanh', 'relu']" = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "Init" = "default", recurrent_dropout: float = 0.0, zoneout: float = 0.0,
                 weight_dropout: float = 0.0, recompute: bool = False,
                 direction: "Literal['forward', 'reverse', 'bidirectional']" = "forward",
                 activations: "Activations | None" = None, clip: float | None = None) -> None:
        self.nonlinearity = check_option(nonlinearity, "nonlinearity", ("tanh", "relu"))
        directions = self._set_direction(direction, bidirectional)
        options = self._set_options((self.nonlinearity,), directions, activations, clip)
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, directions == 2, dtype, seed, init,
                    (recurrent_dropout, zoneout, weight_dropout), recompute, relu=nonlinearity == "relu", **options)


class LSTM(Runner):
    __doc__ = """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
    g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t), or W_hr (o * tanh(c_t)) with a projection (Sak et al. 2014)

    With layer_norm (Ba et al. 2016), where norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5), over all four gates at once:

    a = gain_ih * norm(W_ih x_t) + b_ih + gain_hh * norm(W_hh h_{t-1}) + b_hh
    i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g), c_t = f * c_{t-1} + i * g
    h_t = o * tanh(gain_c * norm(c_t) + b_c)
""" + _SHARED.format(own="""    proj_size : int
        P < H: width of the projected h; 0 for none.
""", projection=", weight_hr_l0 (P, H)", gains="""
    With layer_norm also gain_ih_l0 and gain_hh_l0 (4*H,), gain_c_l0 and bias_c_l0 (H,); gains start at one.""",
                         norm=_NORM, gates=_GATES, functions="(sigmoid, tanh, tanh): of i, f and o, of g, of c_t",
                         pair=" or pair (p_h, p_c)", states="h, and of c,")

    kind = "LSTM"
    peepholes: bool
    coupled_gates: bool

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recurrent_dropout: float = 0.0, zoneout: float | tuple[float, float] = 0.0,
                 weight_dropout: float = 0.0, layer_norm: bool = False, recompute: bool = False,
                 direction: "Literal['forward', 'reverse', 'bidirectional']" = "forward",
                 activations: "Activations | None" = None, clip: float | None = None, peepholes: bool = False,
                 coupled_gates: bool = False) -> None:
        self.layer_norm = check_bool(layer_norm, "layer_norm")
        directions = self._set_direction(direction, bidirectional)
        options = self._set_options(self._cell.activations, directions, activations, clip, peepholes, coupled_gates,
                                    self.layer_norm)
        self.proj_size = check_positive_int(proj_size, "proj_size", low=0)
        if self.proj_size >= check_positive_int(hidden_size, "hidden_size"):
            raise ValueError(f"proj_size: expected less than hidden_size {hidden_size}, found {proj_size}")
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, directions == 2, dtype, seed, init,
                    (recurrent_dropout, zoneout, weight_dropout), recompute,
                    self._words(layer_norm=self.layer_norm, peepholes=self.peepholes), projection=self.proj_size,
                    **options)


class GRU(Runner):
    __doc__ = """Gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))       reset_after, as in cuDNN and PyTorch
    n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1}) + b_hn)       otherwise, as first published
    h_t = (1 - z) * n + z * h_{t-1}

    With layer_norm (Ba et al. 2016), where norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5), over r and z at once:

    r, z = sigmoid(gain_i* * norm(W_i* x_t) + b_i* + gain_h* * norm(W_h* h_{t-1}) + b_h*)
    n = tanh(gain_in * norm(W_in x_t) + b_in + r * (gain_hn * norm(W_hn h_{t-1}) + b_hn))
""" + _SHARED.format(own="""    reset_after : bool
        Whether the reset gate acts after the recurrent product of n, or on h_{t-1} before it.
""", projection="", gains="""
    With layer_norm also gain_ih_l0 and gain_hh_l0 (3*H,); they start at one.""", norm=_NORM, gates="",
                         functions="(sigmoid, tanh): of r and z, of n", pair="", states="h")

    kind = "GRU"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, reset_after: bool = True,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recurrent_dropout: float = 0.0, zoneout: float = 0.0, weight_dropout: float = 0.0,
                 layer_norm: bool = False, recompute: bool = False,
                 direction: "Literal['forward', 'reverse', 'bidirectional']" = "forward",
                 activations: "Activations | None" = None, clip: float | None = None) -> None:
        self.reset_after = check_bool(reset_after, "reset_after")
        self.layer_norm = check_layer_norm(layer_norm, self.reset_after)
        directions = self._set_direction(direction, bidirectional)
        options = self._set_options(self._cell.activations, directions, activations, clip, layer_norm=self.layer_norm)
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, directions == 2, dtype, seed, init,
                    (recurrent_dropout, zoneout, weight_dropout), recompute,
                    self._words(reset_before=not self.reset_after, layer_norm=self.layer_norm), **options)

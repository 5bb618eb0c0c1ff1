"""RNN, LSTM and GRU nodes as fastrnn's runners."""

import numpy as np

from ....check.values import shown
from ....engine.kinds import KINDS
from ....nn.options import ACTIVATIONS, TAKES
from ....nn.runners import GRU, LSTM, RNN
from .registry import operator

RUNNERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
NAMES = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Affine": "affine", "LeakyRelu": "leaky_relu",
         "ThresholdedRelu": "thresholded_relu", "ScaledTanh": "scaled_tanh", "HardSigmoid": "hard_sigmoid",
         "Elu": "elu",
         "Softsign": "softsign", "Softplus": "softplus"}  # fmt: skip
FOLDED_NAMES = {name.lower(): ours for name, ours in NAMES.items()}     # ONNX compares them without case
PEEPHOLES = "iof"       # of P, in this order
PLACES = {"RNN": 6, "GRU": 6, "LSTM": 8}
X, W, R, B, LENGTHS, H, C, P = range(8)


class Attributes:
    """What the attributes of a recurrent node say."""

    def __init__(self, node):
        self.node, self.kind, self.where = node, KINDS[node.op], node.where
        self.direction = node.option("direction", "forward", ("forward", "reverse", "bidirectional"))
        self.directions = 2 if self.direction == "bidirectional" else 1
        self.hidden = node.int("hidden_size", None, 1)
        self.batch_first = node.flag("layout")
        clip = node.float("clip")
        self.options = {"direction": self.direction, "activations": self.activations()}
        if clip is not None:
            if not clip > 0:
                raise ValueError(f"{self.where}: clip: expected a number above 0, found {clip}")
            self.options["clip"] = clip
        if node.op == "LSTM":
            self.options["coupled_gates"] = node.flag("input_forget")
        if node.op == "GRU":
            self.options["reset_after"] = node.flag("linear_before_reset")

    def activations(self):
        """One tuple of (name, alpha, beta) for each direction, or None for the cell's own."""
        node, count = self.node, len(self.kind.activations)
        names, numbers = node.attribute("activations", tuple), {}
        for part in ("alpha", "beta"):
            numbers[part] = list(node.floats(f"activation_{part}", ()))
        if names is None:
            names = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}[node.op]
            names *= self.directions
        elif len(names) != count * self.directions:
            raise ValueError(f"{self.where}: activations: expected {count * self.directions}, found {shown(names)}")
        found = []
        for name in names:
            ours = FOLDED_NAMES.get(name.lower()) if isinstance(name, str) else None
            if ours is None:
                raise ValueError(f"{self.where}: activations: expected names among {', '.join(NAMES)}, found "
                                 f"{shown(name)}")
            # each takes the next of the numbers that it uses
            given = [numbers[part].pop(0) if numbers[part] else ACTIVATIONS[ours][k]
                     for k, part in enumerate(("alpha", "beta")[: TAKES.get(ours, 0)])]
            found.append((ours, *given))
        for part, rest in numbers.items():
            if rest:
                raise ValueError(f"{self.where}: activation_{part}: expected a number for each activation that takes "
                                 "one, "
                                 f"found {len(rest)} more")
        sets = tuple(tuple(found[k * count : (k + 1) * count]) for k in range(self.directions))
        return sets if self.directions == 2 else sets[0]

    def runner(self, w, r, b=None, p=None):
        """The runner with these weights: W, R, B and P of the operator."""
        if w.ndim != 3 or r.ndim != 3:
            raise ValueError(f"{self.where}: expected W and R of 3 axes, found shapes {w.shape} and {r.shape}")
        gates, hidden = len(self.kind.gates), r.shape[-1]
        if self.hidden not in (None, hidden):
            raise ValueError(f"{self.where}: hidden_size: expected {hidden} as R's shape {r.shape}, found "
                             f"{self.hidden}")
        rows = gates * hidden
        for name, array, shape in (("W", w, (self.directions, rows, w.shape[-1])), ("R", r, (self.directions, rows,
                                                                                             hidden)),
                                   ("B", b, (self.directions, 2 * rows)), ("P", p, (self.directions, 3 * hidden))):
            if array is not None and (array.shape != shape or array.dtype != w.dtype):
                raise ValueError(f"{self.where}: {name}: expected {w.dtype} of shape {shape}, found {array.dtype} of "
                                 "shape "
                                 f"{array.shape}")
        options = dict(self.options, peepholes=True) if p is not None else self.options
        dtype = np.float64 if w.dtype == np.float64 else np.float32
        made = RUNNERS[self.node.op](w.shape[-1], hidden, bias=b is not None, dtype=dtype, init="pytorch",
                                     seed=0, **options)
        made.load_state_dict(self.parameters(w, r, b, p))
        return made

    def parameters(self, w, r, b, p):
        """The runner's parameters by name."""
        symbols = self.kind.orders["onnx"]
        order = [symbols.index(gate.symbol) for gate in self.kind.gates]

        def ours(array):
            return np.concatenate([np.split(array, len(symbols))[k] for k in order])

        found = {}
        for k, suffix in enumerate(("_l0", "_l0_reverse")[: self.directions]):
            found |= {f"weight_ih{suffix}": ours(w[k]), f"weight_hh{suffix}": ours(r[k])}
            if b is not None:
                found |= {f"bias_{side}{suffix}": ours(part) for side, part in zip(("ih", "hh"), np.split(b[k], 2))}
            if p is not None:
                found |= {f"weight_c{gate}{suffix}": part for gate, part in zip(PEEPHOLES, np.split(p[k], 3))}
        return found


@operator("RNN GRU", 3, 6, outputs=2)
@operator("LSTM", 3, 8, outputs=3)
def build_recurrent(node, infos):
    attributes = Attributes(node)
    kept = None
    weights = [k for k in (W, R, B, P) if k < PLACES[node.op]]
    if all(infos[k].known is not None or not infos[k].present for k in weights):
        # the runner serves all plans: W, R, B and P are constants of the graph
        kept = node.memos.get("runner")
        if kept is None:
            kept = node.memos["runner"] = attributes.runner(*(infos[k].known for k in weights))

    def call(*inputs):
        x, w, r, b, lengths, h, c, p = (*inputs, *(None,) * (8 - len(inputs)))
        runner = attributes.runner(w, r, b, p) if kept is None else kept
        return run(attributes, runner, x, lengths, (h,) if node.op != "LSTM" else (h, c))
    return call


def whole_sequences(attributes, runner, x, states):
    """The results for sequences of one length, by the engine itself: a step costs little more than its products."""
    steps, batch, _ = x.shape
    shape = attributes.directions, batch, runner.hidden_size
    dtype, states = runner.dtype, list(states)
    initial = []
    for state, name in zip(states, ("initial_h", "initial_c")):
        if state is not None and (state.shape != shape or state.dtype != dtype):
            raise ValueError(f"{name}: expected {dtype} of shape {shape}, found {state.dtype} of shape {state.shape}")
        initial.append(np.zeros(shape, dtype) if state is None else np.asarray(state, order="C"))
    y = np.empty((steps, batch, runner.output_size), dtype)
    final = [np.empty(shape, dtype) for _ in states]
    nothing = (None,) * (3 - len(states))
    runner._engine.infer(np.asarray(x, order="C"), y, (*initial, *nothing), (*final, *nothing))
    return y, final


def ragged_sequences(attributes, runner, x, lengths, states):
    """The results for sequences of several lengths, or of a dtype that the runner has not."""
    shape = attributes.directions, x.shape[1], runner.hidden_size
    states = [np.zeros(shape, runner.dtype) if state is None else state for state in states]
    y, final = runner(x, states[0] if len(states) == 1 else tuple(states), lengths)
    return y, final if isinstance(final, tuple) else (final,)


def run(attributes, runner, x, lengths, states):
    """Y, Y_h and for the LSTM Y_c, as the operator defines them."""
    dtype, first = x.dtype, attributes.batch_first
    if x.ndim != 3 or x.shape[-1] != runner.input_size:
        raise ValueError(f"X: expected 3 axes, the last of {runner.input_size}, found shape {x.shape}")
    steps = x.swapaxes(0, 1) if first else x
    if first:
        states = [None if state is None else state.swapaxes(0, 1) for state in states]
    if lengths is None and dtype == runner.dtype:
        y, final = whole_sequences(attributes, runner, steps, states)
    else:
        y, final = ragged_sequences(attributes, runner, steps, lengths, states)
    t, batch, _ = y.shape
    y = y.reshape(t, batch, attributes.directions, -1)
    # [T, D, B, H], or [B, T, D, H]
    y = y.transpose(1, 0, 2, 3) if first else y.transpose(0, 2, 1, 3)
    if first:
        final = tuple(one.swapaxes(0, 1) for one in final)
    if dtype != runner.dtype:
        return tuple(one.astype(dtype) for one in (y, *final))
    return (y, *final)

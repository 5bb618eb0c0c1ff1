"""Recurrent layers that no ONNX operator is: a product with all inputs, and a Scan over the steps.

So are layer normalisation, projections, zoneout in inference, and the cells whose recurrence is elementwise.
"""

import numpy as np

from .graph import Graph

EPS = 1e-5      # of layer normalisation in cells


def activated(graph, x, name, alpha, beta):
    """An activation function of `fastrnn.nn.options`."""
    plain = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign", "softplus": "Softplus"}
    if name in plain:
        return graph.add(plain[name], x)
    if name in ("leaky_relu", "thresholded_relu", "elu"):
        op = {"leaky_relu": "LeakyRelu", "thresholded_relu": "ThresholdedRelu", "elu": "Elu"}[name]
        return graph.add(op, x, alpha=float(alpha))
    if name == "hard_sigmoid":
        return graph.add("HardSigmoid", x, alpha=float(alpha), beta=float(beta))
    if name == "affine":
        return graph.add("Add", graph.add("Mul", x, graph.number(alpha)), graph.number(beta))
    return graph.add("Mul", graph.add("Tanh", graph.add("Mul", x, graph.number(beta))), graph.number(alpha))


def width_of(runner):
    """The width of h: of a projection, or the hidden size."""
    return getattr(runner, "proj_size", 0) or runner.hidden_size


def state_widths(runner):
    """The widths of what a step hands to the next: h, and c of an LSTM."""
    return [width_of(runner), runner.hidden_size] if runner.kind == "LSTM" else [width_of(runner)]


class Step:
    """One direction of one layer: its parameters by name, and the nodes of a step, added to `graph`."""

    def __init__(self, graph, runner, params, functions):
        self.graph, self.runner, self.params, self.functions = graph, runner, params, functions
        self.hidden = runner.hidden_size

    def f(self, x, k):
        """The k-th of the cell's activations; what goes into those of gates is clipped."""
        if self.runner.clip is not None and k < 2:
            low, high = self.graph.number(-self.runner.clip), self.graph.number(self.runner.clip)
            x = self.graph.add("Clip", x, low, high)
        return activated(self.graph, x, *self.functions[k])

    def op(self, name, *inputs):
        return self.graph.add(name, *inputs)

    def rest(self, gate):
        return self.op("Sub", self.graph.number(1), gate)

    def split(self, x, count):
        return self.graph.add("Split", x, outputs=count, axis=-1)

    def normed(self, x, gain, bias):
        return self.graph.add("LayerNormalization", x, gain, bias, axis=-1, epsilon=EPS)

    def parts(self, name, cuts):
        """Pieces of a vector of parameters; None for one that there is not."""
        whole = self.params.get(name)
        ends = np.cumsum(cuts).tolist()
        return [None if whole is None else self.graph.sliced(whole, end - n, end, 0) for n, end in zip(cuts, ends)]

    def zoned(self, new, old, p):
        """What a call makes of zoneout: the expected value."""
        if not p:
            return new
        return self.op("Add", self.op("Mul", old, self.graph.number(p)), self.op("Mul", new, self.graph.number(1 - p)))

    # The nodes of a step: from the products of the input, and the state, to (y, new state).

    def lstm(self, a, h, c):
        p, runner = self.params, self.runner
        if runner.layer_norm:
            recurrent = self.graph.affine(h, p["weight_hh"])
            z = self.op("Add", a, self.normed(recurrent, p["gain_hh"], p.get("bias_hh")))
        else:
            z = self.graph.affine(h, p["weight_hh"], p.get("bias_hh"), a)
        i, f, g, o = self.split(z, 4)
        if runner.peepholes:
            i, f = (self.op("Add", gate, self.op("Mul", p[name], c)) for gate, name in ((i, "weight_ci"), (f,
                                                                                                           "weight_cf")))
        i = self.f(i, 0)
        f = self.rest(i) if runner.coupled_gates else self.f(f, 0)
        new_c = self.op("Add", self.op("Mul", f, c), self.op("Mul", i, self.f(g, 1)))
        if runner.peepholes:
            o = self.op("Add", o, self.op("Mul", p["weight_co"], new_c))
        seen = self.normed(new_c, p["gain_c"], p.get("bias_c")) if runner.layer_norm else new_c
        m = self.op("Mul", self.f(o, 0), self.f(seen, 2))
        return self.graph.affine(m, p["weight_hr"]) if "weight_hr" in p else m, new_c

    def gru(self, a, h):
        hidden = self.hidden
        a_rz, a_n = self.graph.add("Split", a, self.graph.ints(2 * hidden, hidden), outputs=2, axis=-1)
        b_rz, b_n = self.parts("bias_hh", (2 * hidden, hidden))
        w_rz, w_n = self.parts("weight_hh", (2 * hidden, hidden))
        if self.runner.layer_norm:
            g_rz, g_n = self.parts("gain_hh", (2 * hidden, hidden))
            rz = self.op("Add", a_rz, self.normed(self.graph.affine(h, w_rz), g_rz, b_rz))
            u = self.normed(self.graph.affine(h, w_n), g_n, b_n)
        else:
            rz = self.graph.affine(h, w_rz, b_rz, a_rz)
        r, z = self.split(self.f(rz, 0), 2)
        if not self.runner.reset_after:
            n = self.graph.affine(self.op("Mul", r, h), w_n, b_n, a_n)
        else:
            u = u if self.runner.layer_norm else self.graph.affine(h, w_n, b_n)
            n = self.op("Add", a_n, self.op("Mul", r, u))
        return self.op("Add", self.op("Mul", self.rest(z), self.f(n, 1)), self.op("Mul", z, h))

    def positive(self, a):
        """a + 1/2 where a >= 0, else sigmoid(a)."""
        above = self.op("Add", a, self.graph.number(0.5))
        return self.op("Where", self.op("Less", a, self.graph.number(0)), self.op("Sigmoid", a), above)

    def mingru(self, a, s):
        z, n = self.split(a, 2)
        z = self.op("Sigmoid", z)
        return self.op("Add", self.op("Mul", self.rest(z), s), self.op("Mul", z, self.positive(n)))

    def minlstm(self, a, s):
        f, i, n = self.split(a, 3)
        f, i = self.op("Sigmoid", f), self.op("Sigmoid", i)
        both = self.op("Add", self.op("Mul", f, s), self.op("Mul", i, self.positive(n)))
        return self.op("Div", both, self.op("Add", f, i))

    def sru(self, a, s, skip):
        u, f, r = self.split(a, 3)
        v_f, v_r = self.parts("weight_c", (self.hidden, self.hidden))
        f, r = (self.op("Sigmoid", self.op("Add", gate, self.op("Mul", v, s))) for gate, v in ((f, v_f), (r, v_r)))
        new = self.op("Add", self.op("Mul", f, s), self.op("Mul", self.rest(f), u))
        return self.op("Add", self.op("Mul", r, new), self.op("Mul", self.rest(r), skip)), new

    def qrnn(self, a, s):
        u, f, o = self.split(a, 3)
        f = self.op("Sigmoid", f)
        new = self.op("Add", self.op("Mul", f, s), self.op("Mul", self.rest(f), self.op("Tanh", u)))
        return self.op("Mul", self.op("Sigmoid", o), new), new


def recurrence(kind, step, a, state, extra):
    """(y, [new state parts]) of a step."""
    zone = step.runner.zoneout
    zones = zone if isinstance(zone, tuple) else (zone, zone)
    if kind == "LSTM":
        h, c = step.lstm(a, *state)
        h, c = step.zoned(h, state[0], zones[0]), step.zoned(c, state[1], zones[1])
        return h, [h, c]
    if kind in ("SRU", "QRNN"):
        y, new = step.sru(a, *state, *extra) if kind == "SRU" else step.qrnn(a, *state)
        return y, [new]
    if kind == "RNN":
        new = step.f(step.graph.affine(state[0], step.params["weight_hh"], step.params.get("bias_hh"), a), 0)
    else:
        new = getattr(step, kind.lower())(a, *state)
    new = step.zoned(new, state[0], zones[0])
    return new, [new]


def input_products(graph, step, kind, x, width):
    """(the products of all steps' inputs, further inputs of a step) for x (T, B, I)."""
    p, hidden = step.params, step.hidden
    if kind in ("LSTM", "GRU") and step.runner.layer_norm:
        a = graph.affine(x, p["weight_ih"])
        if kind == "LSTM":
            return step.normed(a, p["gain_ih"], p.get("bias_ih")), []
        parts = graph.add("Split", a, graph.ints(2 * hidden, hidden), outputs=2, axis=-1)
        gains, biases = step.parts("gain_ih", (2 * hidden, hidden)), step.parts("bias_ih", (2 * hidden, hidden))
        return graph.concatenated([step.normed(*one) for one in zip(parts, gains, biases)], -1), []
    if kind != "SRU":
        return graph.affine(x, p["weight_ih"], p.get("bias_ih")), []
    a = graph.affine(x, p["weight_ih"])
    skip = x
    if width != hidden:
        a, skip = graph.add("Split", a, graph.ints(3 * hidden, hidden), outputs=2, axis=-1)
    if "bias_ih" in p:
        zeros = graph.constant(np.zeros(hidden, graph.dtype))
        a = graph.add("Add", a, graph.concatenated([zeros, p["bias_ih"]], 0))
    scale = np.sqrt(1 + 2 * np.exp(step.runner.highway_bias))
    return a, [graph.add("Mul", skip, graph.number(scale))]


def scanned(graph, kind, runner, params, functions, x, width, state, valid):
    """(y (T, B, P), final state parts) of one direction; x and `valid`, (T, B, 1) or None, in its own order."""
    outer = Step(graph, runner, params, functions)
    a, extra = input_products(graph, outer, kind, x, width)
    body = Graph(graph.dtype, graph)
    step = Step(body, runner, params, functions)
    widths = state_widths(runner)
    states = [body.input(body.name("state"), body.dtype, ("batch", width)) for width in widths]
    a_step = body.input(body.name("product"), body.dtype, ("batch", "gates"))
    more = [body.input(body.name("skip"), body.dtype, ("batch", runner.hidden_size)) for _ in extra]
    y, new = recurrence(kind, step, a_step, states, more)
    if valid is not None:
        inside = body.input(body.name("valid"), np.bool_, ("batch", 1))
        new = [body.add("Where", inside, one, old) for one, old in zip(new, states)]
        y = body.add("Where", inside, y, body.number(0))
    for one, size in zip([*new, y], [*widths, width_of(runner)]):
        named = body.name("out")
        body.output(one, named, body.dtype, ("batch", size))
    results = graph.add("Scan", *state, a, *extra, *([] if valid is None else [valid]), outputs=len(states) + 1,
                        body=body.message("step"), num_scan_inputs=1 + len(extra) + (valid is not None))
    return results[-1], results[:-1]


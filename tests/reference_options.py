"""Plain NumPy equations of the cells with what ONNX's operators add to them.

That is other activations, clipping, peepholes and coupled gates.

They join the cells of `reference`, by the names of `VARIANTS`, whose values are the options that ask the package for
them. `test_reference.py` proves them by finite differences.
"""

import numpy as np
import reference
from reference import affine, affine_backward, sigmoid

# name -> f(x, alpha, beta), f'(x, alpha, beta)
FUNCTIONS = {
    "sigmoid": (lambda x, a, b: sigmoid(x), lambda x, a, b: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (lambda x, a, b: np.tanh(x), lambda x, a, b: 1 - np.tanh(x) ** 2),
    "relu": (lambda x, a, b: np.maximum(x, 0), lambda x, a, b: 1.0 * (x > 0)),
    "affine": (lambda x, a, b: a * x + b, lambda x, a, b: a + 0 * x),
    "leaky_relu": (lambda x, a, b: np.where(x < 0, a * x, x), lambda x, a, b: np.where(x < 0, a, 1.0)),
    "thresholded_relu": (lambda x, a, b: np.where(x < a, 0, x), lambda x, a, b: np.where(x < a, 0, 1.0)),
    "scaled_tanh": (lambda x, a, b: a * np.tanh(b * x), lambda x, a, b: a * b * (1 - np.tanh(b * x) ** 2)),
    "hard_sigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1),
                     lambda x, a, b: a * ((a * x + b >= 0) & (a * x + b <= 1))),
    "elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
            lambda x, a, b: np.where(x < 0, a * np.exp(np.minimum(x, 0)), 1.0)),
    "softsign": (lambda x, a, b: x / (1 + abs(x)), lambda x, a, b: 1 / (1 + abs(x)) ** 2),
    "softplus": (lambda x, a, b: np.logaddexp(0, x), lambda x, a, b: sigmoid(x)),
}  # fmt: skip
DEFAULTS = {"affine": (1, 0), "leaky_relu": (0.01, 0), "thresholded_relu": (1, 0), "scaled_tanh": (1, 1),
            "hard_sigmoid": (0.2, 0.5), "elu": (1, 0)}  # fmt: skip


class Function:
    """An activation of what is clipped first."""

    def __init__(self, entry, clip=None):
        name, *numbers = (entry,) if isinstance(entry, str) else entry
        self.f, self.df = FUNCTIONS[name]
        self.numbers = (*numbers, *DEFAULTS.get(name, (0, 0))[len(numbers):])
        self.clip = np.inf if clip is None else clip

    def __call__(self, x):
        return self.f(np.clip(x, -self.clip, self.clip), *self.numbers)

    def slope(self, x):
        return self.df(np.clip(x, -self.clip, self.clip), *self.numbers) * (abs(x) <= self.clip)


def make_rnn(activations=("tanh",), clip=None):
    f = Function(activations[0], clip)

    def forward(w, x, state, u):
        """h' = f(W_ih x + b_ih + W_hh u + b_hh)"""
        a = affine(w, "ih", x) + affine(w, "hh", u)
        return (f(a),), (x, u, a)

    def backward(w, dw, dstate, cache):
        (dnew,), (x, u, a) = dstate, cache
        da = dnew * f.slope(a)
        return affine_backward(w, dw, "ih", da, x), (0,), affine_backward(w, dw, "hh", da, u)

    return forward, backward


def make_lstm(activations=("sigmoid", "tanh", "tanh"), clip=None, peepholes=False, coupled_gates=False):
    f, g, h = Function(activations[0], clip), Function(activations[1], clip), Function(activations[2])

    def peephole(w, gate):
        return w["weight_c" + gate] if peepholes else 0

    def forward(w, x, state, u):
        """i = f(a_i + p_i c), f = f(a_f + p_f c) or 1 - i, c' = f c + i g(a_g), o = f(a_o + p_o c'), h' = o h(c')"""
        _, c = state
        a_i, a_f, a_g, a_o = np.split(affine(w, "ih", x) + affine(w, "hh", u), 4, axis=1)
        a_i, a_f = a_i + peephole(w, "i") * c, a_f + peephole(w, "f") * c
        i = f(a_i)
        forget = 1 - i if coupled_gates else f(a_f)
        new_c = forget * c + i * g(a_g)
        a_o = a_o + peephole(w, "o") * new_c
        m = f(a_o) * h(new_c)
        new_h = m @ w["weight_hr"].T if "weight_hr" in w else m
        return (new_h, new_c), (x, u, c, a_i, a_f, a_g, a_o, i, forget, new_c, m)

    def backward(w, dw, dstate, cache):
        (dm, dnew_c), (x, u, c, a_i, a_f, a_g, a_o, i, forget, new_c, m) = dstate, cache
        if "weight_hr" in w:
            dw["weight_hr"] += dm.T @ m
            dm = dm @ w["weight_hr"]
        da_o = dm * h(new_c) * f.slope(a_o)
        dc = dnew_c + dm * f(a_o) * h.slope(new_c) + da_o * peephole(w, "o")
        da_g = dc * i * g.slope(a_g)
        if coupled_gates:
            da_i, da_f = dc * (g(a_g) - c) * f.slope(a_i), np.zeros_like(dc)
        else:
            da_i, da_f = dc * g(a_g) * f.slope(a_i), dc * c * f.slope(a_f)
        if peepholes:
            for gate, da, seen in (("i", da_i, c), ("f", da_f, c), ("o", da_o, new_c)):
                dw["weight_c" + gate] += (da * seen).sum(axis=0)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
        dc = dc * forget + da_i * peephole(w, "i") + da_f * peephole(w, "f")
        return affine_backward(w, dw, "ih", da, x), (0, dc), affine_backward(w, dw, "hh", da, u)

    return forward, backward


def make_gru(activations=("sigmoid", "tanh"), clip=None, reset_after=True):
    f, g = (Function(entry, clip) for entry in activations)

    def forward(w, x, state, u):
        """r, z = f(a_r), f(a_z), n = g(a_n), h' = (1 - z) n + z h, where a_n holds r (W_hn u + b_hn) or W_hn (r u)"""
        (h,) = state
        a_r, a_z, a_n = np.split(affine(w, "ih", x), 3, axis=1)
        w_r, w_z, w_n = np.split(w["weight_hh"], 3)
        b_r, b_z, b_n = np.split(w["bias_hh"], 3)
        a_r, a_z = a_r + u @ w_r.T + b_r, a_z + u @ w_z.T + b_z
        r, z = f(a_r), f(a_z)
        a_n = a_n + (r * (u @ w_n.T + b_n) if reset_after else (r * u) @ w_n.T + b_n)
        n = g(a_n)
        return ((1 - z) * n + z * h,), (x, u, h, a_r, a_z, a_n, r, z, n)

    def backward(w, dw, dstate, cache):
        (dnew,), (x, u, h, a_r, a_z, a_n, r, z, n) = dstate, cache
        w_r, w_z, w_n = np.split(w["weight_hh"], 3)
        da_n = dnew * (1 - z) * g.slope(a_n)
        da_z = dnew * (h - n) * f.slope(a_z)
        if reset_after:
            da_r = da_n * (u @ w_n.T + np.split(w["bias_hh"], 3)[2]) * f.slope(a_r)
            du = da_r @ w_r + da_z @ w_z + (da_n * r) @ w_n
            dw["weight_hh"] += np.concatenate([da_r.T @ u, da_z.T @ u, (da_n * r).T @ u])
            dw["bias_hh"] += np.concatenate([da_r, da_z, da_n * r], axis=1).sum(axis=0)
        else:
            dru = da_n @ w_n
            da_r = dru * u * f.slope(a_r)
            du = dru * r + da_r @ w_r + da_z @ w_z
            dw["weight_hh"] += np.concatenate([da_r.T @ u, da_z.T @ u, da_n.T @ (r * u)])
            dw["bias_hh"] += np.concatenate([da_r, da_z, da_n], axis=1).sum(axis=0)
        dx = affine_backward(w, dw, "ih", np.concatenate([da_r, da_z, da_n], axis=1), x)
        return dx, (dnew * z,), du

    return forward, backward


MAKERS = {"RNN": (make_rnn, 1), "LSTM": (make_lstm, 4), "GRU": (make_gru, 3)}
# name -> kind and the options that make it
VARIANTS = {
    "rnn_elu_clipped": ("RNN", {"activations": ("elu",), "clip": 0.7}),
    "rnn_softplus": ("RNN", {"activations": ("softplus",)}),
    "lstm_peepholes": ("LSTM", {"peepholes": True}),
    "lstm_peepholes_coupled": ("LSTM", {"peepholes": True, "coupled_gates": True}),
    "lstm_clipped": ("LSTM", {"clip": 0.4}),
    "lstm_all": ("LSTM", {"peepholes": True, "clip": 0.9, "activations": (
        ("hard_sigmoid", 0.25, 0.4), "softsign", ("scaled_tanh", 1.2, 0.7))}),
    "gru_after_other": ("GRU", {"activations": (("hard_sigmoid", 0.3), ("leaky_relu", 0.2)), "clip": 0.8}),
    "gru_before_other": ("GRU", {"activations": ("softsign", ("affine", 0.5, 0.1)), "reset_after": False}),
}  # fmt: skip


# Without corners, at which two roundings may be on two sides; every parameter counts.
SMOOTH = "rnn_softplus", "lstm_peepholes", "gru_before_other"


def runners(package, names, suffix=""):
    """name -> the package's class and its options."""
    return {name: (getattr(package, VARIANTS[name][0] + suffix), VARIANTS[name][1]) for name in names}


def join(name, kind, **options):
    """Let `reference` know the cell by this name."""
    make, gates = MAKERS[kind]
    reference.CELLS[name] = make(**options)
    reference.GATES[name] = gates
    if kind == "LSTM":
        reference.LSTMS.add(name)
    if options.get("peepholes"):
        reference.PEEPHOLES.add(name)
    return name


for _name, (_kind, _options) in VARIANTS.items():
    join(_name, _kind, **_options)

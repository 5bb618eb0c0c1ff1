"""Plain NumPy equations of the recurrent networks, forward and backward: what the engine is held to.

Written to be read beside a textbook, not to be fast. `test_reference.py` proves it by finite differences.

Names, layouts and gate order are PyTorch's: ``weight_ih [G*H, I]``, ``weight_hh [G*H, H]``, gates i f g o
(LSTM) and r z n (GRU). Shapes: T steps, B batch, I input, H hidden, P output of the cell (H, or the size of
its projection), L layers, D directions. A state is always a tuple of arrays, ``(h,)`` or ``(h, c)``.
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1.0 + np.tanh(0.5 * a))


# Cells: forward(w, x, state, u) -> (new state, cache), backward(w, dw, dstate, cache) -> (dx, dstate, du).
# `u` is what the recurrent product reads: h, or with recurrent dropout some of it; dstate does not include du.
# `w` holds one layer and direction, `dw` its gradients, added to. Every cache begins with x and u.


def affine(w, which, x):
    """y = W x + b"""
    return x @ w["weight_" + which].T + w["bias_" + which]


def affine_backward(w, dw, which, dy, x):
    """dW += dy' x,  db += sum of dy,  dx = W' dy"""
    dw["weight_" + which] += dy.T @ x
    dw["bias_" + which] += dy.sum(axis=0)
    return dy @ w["weight_" + which]


def rnn_tanh_forward(w, x, state, u):
    """h' = tanh(W_ih x + b_ih + W_hh u + b_hh)"""
    new = np.tanh(affine(w, "ih", x) + affine(w, "hh", u))
    return (new,), (x, u, new)


def rnn_tanh_backward(w, dw, dstate, cache):
    (dnew,), (x, u, new) = dstate, cache
    da = dnew * (1 - new**2)
    return affine_backward(w, dw, "ih", da, x), (0,), affine_backward(w, dw, "hh", da, u)


def rnn_relu_forward(w, x, state, u):
    """h' = max(0, W_ih x + b_ih + W_hh u + b_hh)"""
    new = np.maximum(0, affine(w, "ih", x) + affine(w, "hh", u))
    return (new,), (x, u, new)


def rnn_relu_backward(w, dw, dstate, cache):
    (dnew,), (x, u, new) = dstate, cache
    da = dnew * (new > 0)
    return affine_backward(w, dw, "ih", da, x), (0,), affine_backward(w, dw, "hh", da, u)


def lstm_forward(w, x, state, u):
    """i, f, o = sigmoid(.), g = tanh(.) of W_ih x + b_ih + W_hh u + b_hh;  c' = f c + i g;  h' = o tanh(c')

    With a projection, h' = W_hr (o tanh(c')).
    """
    _, c = state
    a_i, a_f, a_g, a_o = np.split(affine(w, "ih", x) + affine(w, "hh", u), 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    new_c = f * c + i * g
    m = o * np.tanh(new_c)
    new_h = m @ w["weight_hr"].T if "weight_hr" in w else m
    return (new_h, new_c), (x, u, c, i, f, g, o, new_c, m)


def lstm_backward(w, dw, dstate, cache):
    (dnew_h, dnew_c), (x, u, c, i, f, g, o, new_c, m) = dstate, cache
    dm = dnew_h
    if "weight_hr" in w:
        dw["weight_hr"] += dnew_h.T @ m
        dm = dnew_h @ w["weight_hr"]
    tanh_c = np.tanh(new_c)
    dc = dnew_c + dm * o * (1 - tanh_c**2)
    da_i = dc * g * i * (1 - i)
    da_f = dc * c * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da_o = dm * tanh_c * o * (1 - o)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    return affine_backward(w, dw, "ih", da, x), (0, dc * f), affine_backward(w, dw, "hh", da, u)


def gru_reset_after_forward(w, x, state, u):
    """r, z = sigmoid(.) of W_ih x + b_ih + W_hh u + b_hh;  n = tanh(W_in x + b_in + r (W_hn u + b_hn))

    h' = (1 - z) n + z h
    """
    (h,) = state
    a_r, a_z, a_n = np.split(affine(w, "ih", x), 3, axis=1)
    b_r, b_z, b_n = np.split(affine(w, "hh", u), 3, axis=1)
    r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
    n = np.tanh(a_n + r * b_n)
    return ((1 - z) * n + z * h,), (x, u, h, r, z, n, b_n)


def gru_reset_after_backward(w, dw, dstate, cache):
    (dnew,), (x, u, h, r, z, n, b_n) = dstate, cache
    da_n = dnew * (1 - z) * (1 - n**2)
    da_z = dnew * (h - n) * z * (1 - z)
    da_r = da_n * b_n * r * (1 - r)
    dx = affine_backward(w, dw, "ih", np.concatenate([da_r, da_z, da_n], axis=1), x)
    du = affine_backward(w, dw, "hh", np.concatenate([da_r, da_z, da_n * r], axis=1), u)
    return dx, (dnew * z,), du


def gru_reset_before_forward(w, x, state, u):
    """r, z = sigmoid(.) of W_ih x + b_ih + W_hh u + b_hh;  n = tanh(W_in x + b_in + W_hn (r u) + b_hn)

    h' = (1 - z) n + z h
    """
    (h,) = state
    w_hr, w_hz, w_hn = np.split(w["weight_hh"], 3)
    b_hr, b_hz, b_hn = np.split(w["bias_hh"], 3)
    a_r, a_z, a_n = np.split(affine(w, "ih", x), 3, axis=1)
    r, z = sigmoid(a_r + u @ w_hr.T + b_hr), sigmoid(a_z + u @ w_hz.T + b_hz)
    n = np.tanh(a_n + (r * u) @ w_hn.T + b_hn)
    return ((1 - z) * n + z * h,), (x, u, h, r, z, n)


def gru_reset_before_backward(w, dw, dstate, cache):
    (dnew,), (x, u, h, r, z, n) = dstate, cache
    w_hr, w_hz, w_hn = np.split(w["weight_hh"], 3)
    da_n = dnew * (1 - z) * (1 - n**2)
    da_z = dnew * (h - n) * z * (1 - z)
    dru = da_n @ w_hn
    da_r = dru * u * r * (1 - r)
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dx = affine_backward(w, dw, "ih", da, x)
    dw["weight_hh"] += np.concatenate([da_r.T @ u, da_z.T @ u, da_n.T @ (r * u)])
    dw["bias_hh"] += da.sum(axis=0)
    return dx, (dnew * z,), dru * r + da_r @ w_hr + da_z @ w_hz


def norm(a):
    """(a - mean) / sqrt(variance + 1e-5) of each row, and the divisor"""
    scale = np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
    return (a - a.mean(axis=1, keepdims=True)) / scale, scale


def norm_backward(dy, y, scale):
    return (dy - dy.mean(axis=1, keepdims=True) - y * (dy * y).mean(axis=1, keepdims=True)) / scale


def normed(w, which, x, parts):
    """gain norm(W x) + b, the rows of W normalised in as many parts as `parts` names, by their ends"""
    pieces = [norm(a) for a in np.split(x @ w["weight_" + which].T, parts, axis=1)]
    y = np.concatenate([y for y, _ in pieces], axis=1)
    return y * w["gain_" + which] + w["bias_" + which], pieces


def normed_backward(w, dw, which, dy, x, pieces):
    dw["gain_" + which] += (dy * np.concatenate([y for y, _ in pieces], axis=1)).sum(axis=0)
    dw["bias_" + which] += dy.sum(axis=0)
    ends = np.cumsum([y.shape[1] for y, _ in pieces])[:-1]
    da = np.concatenate(
        [norm_backward(d, *piece) for d, piece in zip(np.split(dy * w["gain_" + which], ends, axis=1), pieces)], axis=1
    )
    dw["weight_" + which] += da.T @ x
    return da @ w["weight_" + which]


def layer_norm_lstm_forward(w, x, state, u):
    """i, f, o = sigmoid(.), g = tanh(.) of gain_ih norm(W_ih x) + b_ih + gain_hh norm(W_hh u) + b_hh

    c' = f c + i g;  h' = o tanh(gain_c norm(c') + b_c), with a projection W_hr of that
    """
    _, c = state
    a, in_pieces = normed(w, "ih", x, [])
    b, re_pieces = normed(w, "hh", u, [])
    a_i, a_f, a_g, a_o = np.split(a + b, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    new_c = f * c + i * g
    y, scale = norm(new_c)
    tanh_n = np.tanh(w["gain_c"] * y + w["bias_c"])
    m = o * tanh_n
    new_h = m @ w["weight_hr"].T if "weight_hr" in w else m
    return (new_h, new_c), (x, u, c, i, f, g, o, y, scale, tanh_n, m, in_pieces, re_pieces)


def layer_norm_lstm_backward(w, dw, dstate, cache):
    (dm, dnew_c), (x, u, c, i, f, g, o, y, scale, tanh_n, m, in_pieces, re_pieces) = dstate, cache
    if "weight_hr" in w:
        dw["weight_hr"] += dm.T @ m
        dm = dm @ w["weight_hr"]
    dn = dm * o * (1 - tanh_n**2)
    dw["gain_c"] += (dn * y).sum(axis=0)
    dw["bias_c"] += dn.sum(axis=0)
    dc = dnew_c + norm_backward(dn * w["gain_c"], y, scale)
    da_i = dc * g * i * (1 - i)
    da_f = dc * c * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da_o = dm * tanh_n * o * (1 - o)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dx = normed_backward(w, dw, "ih", da, x, in_pieces)
    return dx, (0, dc * f), normed_backward(w, dw, "hh", da, u, re_pieces)


def layer_norm_gru_forward(w, x, state, u):
    """r, z = sigmoid(.) of gain_ih norm(W_ih x) + b_ih + gain_hh norm(W_hh u) + b_hh, both at once

    n = tanh(gain_in norm(W_in x) + b_in + r (gain_hn norm(W_hn u) + b_hn));  h' = (1 - z) n + z h
    """
    (h,) = state
    parts = [2 * h.shape[1]]
    a, in_pieces = normed(w, "ih", x, parts)
    b, re_pieces = normed(w, "hh", u, parts)
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    b_r, b_z, b_n = np.split(b, 3, axis=1)
    r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
    n = np.tanh(a_n + r * b_n)
    return ((1 - z) * n + z * h,), (x, u, h, r, z, n, b_n, in_pieces, re_pieces)


def layer_norm_gru_backward(w, dw, dstate, cache):
    (dnew,), (x, u, h, r, z, n, b_n, in_pieces, re_pieces) = dstate, cache
    da_n = dnew * (1 - z) * (1 - n**2)
    da_z = dnew * (h - n) * z * (1 - z)
    da_r = da_n * b_n * r * (1 - r)
    dx = normed_backward(w, dw, "ih", np.concatenate([da_r, da_z, da_n], axis=1), x, in_pieces)
    db = np.concatenate([da_r, da_z, da_n * r], axis=1)
    return dx, (dnew * z,), normed_backward(w, dw, "hh", db, u, re_pieces)


CELLS = {
    "rnn_tanh": (rnn_tanh_forward, rnn_tanh_backward),
    "rnn_relu": (rnn_relu_forward, rnn_relu_backward),
    "lstm": (lstm_forward, lstm_backward),
    "gru_reset_after": (gru_reset_after_forward, gru_reset_after_backward),
    "gru_reset_before": (gru_reset_before_forward, gru_reset_before_backward),
    "layer_norm_lstm": (layer_norm_lstm_forward, layer_norm_lstm_backward),
    "layer_norm_gru": (layer_norm_gru_forward, layer_norm_gru_backward),
}
GATES = {
    "rnn_tanh": 1,
    "rnn_relu": 1,
    "lstm": 4,
    "gru_reset_after": 3,
    "gru_reset_before": 3,
    "layer_norm_lstm": 4,
    "layer_norm_gru": 3,
}
NAMES = "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "gain_ih", "gain_hh", "gain_c", "bias_c", \
    "weight_ci", "weight_cf", "weight_co"
LSTMS = {"lstm", "layer_norm_lstm"}  # with a cell state
PEEPHOLES = set()  # with the last three


# Masks between steps, a dict for one layer and direction, whose keys may be missing:
# "recurrent" [B, P]: factors of h in the recurrent product, the same at every step (Gal and Ghahramani 2016);
# "h" [T, B, P], "c" [T, B, H]: zoneout (Krueger et al. 2017), new = mask old + (1 - mask) new, where the mask is 0 or
# 1 in training and the probability in inference; "weight" as weight_hh: its factors (Merity et al. 2018).


def zoned(masks, t, new, old):
    pairs = zip(("h", "c"), new, old, strict=False)
    return tuple(masks[k][t] * b + (1 - masks[k][t]) * a if k in masks else a for k, a, b in pairs)


def zoned_backward(masks, t, d):
    """gradients of the cell's new state, and of the old one's share"""
    pairs = list(zip(("h", "c"), d, strict=False))
    return (
        [(1 - masks[k][t]) * a if k in masks else a for k, a in pairs],
        [masks[k][t] * a if k in masks else 0 for k, a in pairs],
    )


# One direction of one layer. A step beyond a sequence's length leaves its state alone and puts out zeros, so
# the final state is that of the last valid step, and the reverse direction, from T - 1 down, starts there.


def direction_forward(cell, w, x, state, lengths, reverse, masks):
    """x [T, B, I] -> y [T, B, P], final state, tape"""
    w = w | {"weight_hh": w["weight_hh"] * masks.get("weight", 1)}
    steps = range(len(x) - 1, -1, -1) if reverse else range(len(x))
    y = np.zeros((*x.shape[:2], state[0].shape[1]), x.dtype)
    tape = []
    for t in steps:
        valid = (t < lengths)[:, None]
        u = state[0] * masks.get("recurrent", 1)
        new, cache = CELLS[cell][0](w, np.where(valid, x[t], 0), state, u)
        new = zoned(masks, t, new, state)
        state = tuple(np.where(valid, after, before) for after, before in zip(new, state, strict=True))
        y[t] = np.where(valid, new[0], 0)
        tape.append((t, valid, cache))
    return y, state, tape


def direction_backward(cell, w, dw, dy, dstate, tape, masks):
    """dy [T, B, P], gradient of the final state -> dx [T, B, I], gradient of the initial state"""
    w = w | {"weight_hh": w["weight_hh"] * masks.get("weight", 1)}
    dx = np.zeros((*dy.shape[:2], w["weight_ih"].shape[1]), dy.dtype)
    for t, valid, cache in reversed(tape):
        dnew = [np.where(valid, d, 0) for d in dstate]
        dnew[0] = dnew[0] + np.where(valid, dy[t], 0)
        dnew, stay = zoned_backward(masks, t, dnew)
        dx[t], before, du = CELLS[cell][1](w, dw, dnew, cache)
        before = [a + b for a, b in zip(before, stay, strict=True)]
        before[0] = before[0] + du * masks.get("recurrent", 1)
        dstate = [np.where(valid, b, d) for b, d in zip(before, dstate, strict=True)]
    dw["weight_hh"] *= masks.get("weight", 1)
    return dx, dstate


# The whole network: layers in turn, each in one or two directions, with dropout masks between them.


def forward(cell, params, x, state=None, lengths=None, masks=None, step_masks=None):
    """x [T, B, I] -> y [T, B, D*P], state (each [L*D, B, .]), tape

    `lengths` is B ints (all T if None). `masks` holds L - 1 factors [T, B, D*P], applied to the outputs of
    every layer but the last. `step_masks` holds for each layer and direction the masks between its steps.
    `state` is zeros if None.
    """
    steps, batch, _ = x.shape
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    layers = _layers(params)
    step_masks = step_masks or [{}] * len(layers) * len(layers[0])
    if state is None:
        state = _zero_state(cell, layers, batch, x.dtype)
    tape, final = [], []
    for k, directions in enumerate(layers):
        outputs = []
        for d, w in enumerate(directions):
            at = k * len(directions) + d
            initial = tuple(s[at] for s in state)
            y, last, steps_tape = direction_forward(cell, w, x, initial, lengths, d == 1, step_masks[at])
            outputs.append(y)
            final.append(last)
            tape.append(steps_tape)
        x = np.concatenate(outputs, axis=2)
        if masks is not None and k < len(layers) - 1:
            x = x * masks[k]
    return x, tuple(np.stack(s) for s in zip(*final, strict=True)), (cell, params, (masks, step_masks), tape)


def backward(tape, dy, dstate):
    """dy [T, B, D*P], dstate as the state -> gradients of x, of the initial state, of the parameters"""
    cell, params, (masks, step_masks), tape = tape
    layers = _layers(params)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    initial = [None] * len(tape)
    for k in reversed(range(len(layers))):
        dx = 0
        for d, w in enumerate(layers[k]):
            at = k * len(layers[k]) + d
            dw = {name: np.zeros_like(value) for name, value in w.items()}
            dy_d = np.split(dy, len(layers[k]), axis=2)[d]
            dx_d, initial[at] = direction_backward(
                cell, w, dw, dy_d, [s[at] for s in dstate], tape[at], step_masks[at]
            )
            dx = dx + dx_d
            for name in dw:
                if name + _suffix(k, d) in grads:
                    grads[name + _suffix(k, d)] += dw[name]
        dy = dx if masks is None or k == 0 else dx * masks[k - 1]
    return dx, tuple(np.stack(s) for s in zip(*initial, strict=True)), grads


def make_params(cell, input_size, hidden_size, num_layers, bidirectional, bias, proj_size, rng):
    """Drawn uniformly: weights from +-1/sqrt(fan-in), so that no gate saturates, biases from +-1/2, gains around 1."""
    gates, directions = GATES[cell], 2 if bidirectional else 1
    out = proj_size or hidden_size
    params = {}
    for k in range(num_layers):
        for d in range(directions):
            shapes = {
                "weight_ih": (gates * hidden_size, input_size if k == 0 else out * directions),
                "weight_hh": (gates * hidden_size, out),
            }
            if bias:
                shapes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            if cell.startswith("layer_norm"):
                shapes |= {"gain_ih": (gates * hidden_size,), "gain_hh": (gates * hidden_size,)}
            if cell == "layer_norm_lstm":
                shapes |= {"gain_c": (hidden_size,), **({"bias_c": (hidden_size,)} if bias else {})}
            if cell in PEEPHOLES:
                shapes |= dict.fromkeys(("weight_ci", "weight_cf", "weight_co"), (hidden_size,))
            for name, shape in shapes.items():
                bound = shape[1] ** -0.5 if len(shape) == 2 else 0.5
                params[name + _suffix(k, d)] = name.startswith("gain") + rng.uniform(-bound, bound, shape)
    return params


def _suffix(layer, direction):
    return f"_l{layer}" + ("_reverse" if direction else "")


def _layers(params):
    """Flat parameters -> for each layer and direction a dict of bare names; a missing bias is a zero one."""
    layers = []
    while f"weight_ih_l{len(layers)}" in params:
        directions = []
        for d in range(2 if "weight_ih_l0_reverse" in params else 1):
            suffix = _suffix(len(layers), d)
            w = {name: params[name + suffix] for name in NAMES if name + suffix in params}
            zero_bias = np.zeros_like(w["weight_hh"][:, 0])
            zero = {"bias_ih": zero_bias, "bias_hh": zero_bias}
            if "gain_c" in w:
                zero["bias_c"] = np.zeros_like(w["gain_c"])
            directions.append(zero | w)
        layers.append(directions)
    return layers


def _zero_state(cell, layers, batch, dtype):
    w = layers[0][0]
    hidden, out = len(w["weight_hh"]) // GATES[cell], w["weight_hh"].shape[1]
    rows = len(layers) * len(layers[0])
    sizes = (out, hidden) if cell in LSTMS else (out,)
    return tuple(np.zeros((rows, batch, size), dtype) for size in sizes)

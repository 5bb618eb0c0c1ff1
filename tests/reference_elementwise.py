"""Plain NumPy equations of the networks whose recurrence is elementwise, forward and backward, as in `reference.py`.

A state is (s, past): s [L*D, B, H], which is h of the minimal cells and c of SRU and QRNN, and past [L*D, B, k-1, W],
the last inputs of a layer that sees k of them at each step, oldest first (k = 1 for all but QRNN); W is the width of
the widest layer's, and what another does not need of it is zero.
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def positive(a):
    """a + 1/2 where a >= 0, else sigmoid(a)"""
    return np.where(a >= 0, a + 0.5, sigmoid(a))


def positive_slope(a):
    return np.where(a >= 0, 1.0, sigmoid(a) * (1 - sigmoid(a)))


# Cells: forward(w, a, x, s) -> (h, new s, cache), backward(w, dw, dh, ds, cache) -> (da, dx past the state, ds before).
# `a` is the input product with its bias; ds is the gradient of the new s but for what h takes from it.


def mingru_forward(w, a, x, s):
    """z = sigmoid(a_z);  n = g(a_n);  s' = (1 - z) s + z n;  h = s'"""
    a_z, a_n = np.split(a, 2, axis=1)
    z, n = sigmoid(a_z), positive(a_n)
    new = (1 - z) * s + z * n
    return new, new, (s, a_n, z, n)


def mingru_backward(w, dw, dh, ds, cache):
    s, a_n, z, n = cache
    d = ds + dh
    return np.concatenate([d * (n - s) * z * (1 - z), d * z * positive_slope(a_n)], axis=1), 0, d * (1 - z)


def minlstm_forward(w, a, x, s):
    """f, i = sigmoid(a_f), sigmoid(a_i);  n = g(a_n);  s' = f / (f + i) s + i / (f + i) n;  h = s'"""
    a_f, a_i, a_n = np.split(a, 3, axis=1)
    f, i, n = sigmoid(a_f), sigmoid(a_i), positive(a_n)
    new = (f * s + i * n) / (f + i)
    return new, new, (s, a_n, f, i, n)


def minlstm_backward(w, dw, dh, ds, cache):
    s, a_n, f, i, n = cache
    d = ds + dh
    df = d * i * (s - n) / (f + i) ** 2
    di = d * f * (n - s) / (f + i) ** 2
    dn = d * i / (f + i)
    da = np.concatenate([df * f * (1 - f), di * i * (1 - i), dn * positive_slope(a_n)], axis=1)
    return da, 0, d * f / (f + i)


def sru_forward(w, a, x, s):
    """f, r = sigmoid(a_f + v_f s), sigmoid(a_r + v_r s);  s' = f s + (1 - f) a_u;  h = r s' + (1 - r) scale skip"""
    v_f, v_r = np.split(w["weight_c"], 2)
    projects = len(w["weight_ih"]) == 4 * s.shape[1]
    a_u, a_f, a_r, *skip = np.split(a, 4 if projects else 3, axis=1)
    skip = w["scale"] * (skip[0] if projects else x)
    f, r = sigmoid(a_f + v_f * s), sigmoid(a_r + v_r * s)
    new = f * s + (1 - f) * a_u
    return r * new + (1 - r) * skip, new, (s, a_u, f, r, skip, new, projects)


def sru_backward(w, dw, dh, ds, cache):
    s, a_u, f, r, skip, new, projects = cache
    v_f, v_r = np.split(w["weight_c"], 2)
    d = ds + dh * r
    da_r = dh * (new - skip) * r * (1 - r)
    da_f = d * (s - a_u) * f * (1 - f)
    dskip = dh * (1 - r) * w["scale"]
    dw["weight_c"] += np.concatenate([(da_f * s).sum(axis=0), (da_r * s).sum(axis=0)])
    da = [d * (1 - f), da_f, da_r] + [dskip] * projects
    return np.concatenate(da, axis=1), 0 if projects else dskip, d * f + da_f * v_f + da_r * v_r


def qrnn_forward(w, a, x, s):
    """u = tanh(a_u);  f, o = sigmoid(a_f), sigmoid(a_o);  s' = f s + (1 - f) u;  h = o s'"""
    a_u, a_f, a_o = np.split(a, 3, axis=1)
    u, f, o = np.tanh(a_u), sigmoid(a_f), sigmoid(a_o)
    new = f * s + (1 - f) * u
    return o * new, new, (s, u, f, o, new)


def qrnn_backward(w, dw, dh, ds, cache):
    s, u, f, o, new = cache
    d = ds + dh * o
    da = [d * (1 - f) * (1 - u**2), d * (s - u) * f * (1 - f), dh * new * o * (1 - o)]
    return np.concatenate(da, axis=1), 0, d * f


CELLS = {
    "mingru": (mingru_forward, mingru_backward),
    "minlstm": (minlstm_forward, minlstm_backward),
    "sru": (sru_forward, sru_backward),
    "qrnn": (qrnn_forward, qrnn_backward),
}
GATES = {"mingru": 2, "minlstm": 3, "sru": 3, "qrnn": 3}


def direction_forward(cell, w, x, s, past, lengths, reverse):
    """x [T, B, W] -> y [T, B, H], final s [B, H] and past [B, k-1, W], tape"""
    y = np.zeros((*x.shape[:2], s.shape[1]), x.dtype)
    tape = []
    for t in range(len(x) - 1, -1, -1) if reverse else range(len(x)):
        valid = (t < lengths)[:, None]
        x_t = np.where(valid, x[t], 0)
        seen = np.concatenate([past, x_t[:, None]], axis=1)
        h, new, cache = CELLS[cell][0](w, seen.reshape(len(x_t), -1) @ w["weight_ih"].T + w["bias"], x_t, s)
        y[t] = np.where(valid, h, 0)
        s, past = np.where(valid, new, s), np.where(valid[..., None], seen[:, 1:], past)
        tape.append((t, valid, seen, cache))
    return y, s, past, tape


def direction_backward(cell, w, dw, dy, ds, dpast, tape):
    """dy [T, B, H], gradients of the final state -> dx [T, B, W], gradients of the initial state"""
    dx = np.zeros((*dy.shape[:2], tape[0][2].shape[2]), dy.dtype) if tape else np.zeros((0, *dpast.shape[::2]))
    for t, valid, seen, cache in reversed(tape):
        da, dskip, before = CELLS[cell][1](w, dw, np.where(valid, dy[t], 0), np.where(valid, ds, 0), cache)
        dw["weight_ih"] += da.T @ seen.reshape(len(seen), -1)
        dw["bias"] += da.sum(axis=0)
        dseen = (da @ w["weight_ih"]).reshape(seen.shape)
        dseen[:, 1:] += np.where(valid[..., None], dpast, 0)
        dseen[:, -1] += dskip
        dx[t] = dseen[:, -1]
        ds, dpast = np.where(valid, before, ds), np.where(valid[..., None], dseen[:, :-1], dpast)
    return dx, ds, dpast


def forward(cell, params, x, state, lengths, scale=1.0, masks=None):
    """x [T, B, I] -> y [T, B, D*H], state, tape; `masks` holds L - 1 factors [T, B, D*H] of layers' outputs"""
    s, past = state
    tape, final = [], []
    layers = _layers(params, s.shape[2], scale)
    for k, directions in enumerate(layers):
        outputs = []
        for d, w in enumerate(directions):
            at = k * len(directions) + d
            wide = x.shape[2]
            y, *last, steps = direction_forward(cell, w, x, s[at], past[at, :, :, :wide], np.asarray(lengths), d == 1)
            last[1] = np.pad(last[1], ((0, 0), (0, 0), (0, past.shape[3] - wide)))
            outputs.append(y)
            final.append(last)
            tape.append((w, steps, wide))
        x = np.concatenate(outputs, axis=2)
        if masks is not None and k < len(layers) - 1:
            x = x * masks[k]
    return x, tuple(np.stack(part) for part in zip(*final, strict=True)), (cell, params, masks, len(layers), tape)


def backward(tape, dy, dstate):
    """-> gradients of x, of the initial state, of the parameters"""
    cell, params, masks, layers, tape = tape
    ds, dpast = dstate
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    initial = [None] * len(tape)
    directions = len(tape) // layers
    for k in reversed(range(layers)):
        dx = 0
        for d in range(directions):
            at = k * directions + d
            w, steps, wide = tape[at]
            dw = {name: np.zeros_like(w[name]) for name in ("weight_ih", "weight_c", "bias") if name in w}
            dy_d = np.split(dy, directions, axis=2)[d]
            dx_d, *before = direction_backward(cell, w, dw, dy_d, ds[at], dpast[at, :, :, :wide], steps)
            before[1] = np.pad(before[1], ((0, 0), (0, 0), (0, dpast.shape[3] - wide)))
            initial[at] = before
            dx = dx + dx_d
            hidden = ds.shape[2]
            dw["bias_ih"] = dw["bias"][hidden : 3 * hidden] if cell == "sru" else dw["bias"]
            for name in ("weight_ih", "weight_c", "bias_ih"):
                if name + _suffix(k, d) in grads:
                    grads[name + _suffix(k, d)] += dw[name]
        dy = dx if masks is None or k == 0 else dx * masks[k - 1]
    return dx, tuple(np.stack(part) for part in zip(*initial, strict=True)), grads


def make_params(cell, input_size, hidden_size, num_layers, bidirectional, bias, window, rng):
    """Weights uniform in +-1/sqrt(fan-in), so that no gate saturates, biases and vectors in +-1/2."""
    directions = 2 if bidirectional else 1
    params = {}
    for k in range(num_layers):
        width = input_size if k == 0 else hidden_size * directions
        for d in range(directions):
            gates = GATES[cell] + (cell == "sru" and width != hidden_size)
            shapes = {"weight_ih": (gates * hidden_size, window * width)}
            if cell == "sru":
                shapes["weight_c"] = (2 * hidden_size,)
            if bias:
                shapes["bias_ih"] = ((2 if cell == "sru" else gates) * hidden_size,)
            for name, shape in shapes.items():
                bound = shape[1] ** -0.5 if len(shape) == 2 else 0.5
                params[name + _suffix(k, d)] = rng.uniform(-bound, bound, shape)
    return params


def _suffix(layer, direction):
    return f"_l{layer}" + ("_reverse" if direction else "")


def _layers(params, hidden, scale):
    """Flat parameters -> for each layer and direction a dict of bare names, its bias as wide as the product."""
    layers = []
    while f"weight_ih_l{len(layers)}" in params:
        directions = []
        for d in range(2 if "weight_ih_l0_reverse" in params else 1):
            suffix = _suffix(len(layers), d)
            w = {name: params[name + suffix] for name in ("weight_ih", "weight_c") if name + suffix in params}
            bias = np.zeros_like(w["weight_ih"][:, 0])
            if "bias_ih" + suffix in params:
                at = slice(hidden, 3 * hidden) if "weight_c" in w else slice(None)
                bias[at] = params["bias_ih" + suffix]
            directions.append(w | {"bias": bias, "scale": scale})
        layers.append(directions)
    return layers

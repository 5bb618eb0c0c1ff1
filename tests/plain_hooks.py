"""What a runner's hooks report, one step of the reference at a time: gates, states, and dL/dh_t at every step."""

import numpy as np
import reference
from reference import sigmoid


def cell_of(runner):
    """The reference's name of a runner's cell."""
    if runner.kind == "GRU":
        return "gru_reset_after" if runner.reset_after else "gru_reset_before"
    return "lstm" if runner.kind == "LSTM" else f"rnn_{runner.nonlinearity}"


def plain_hooks(runner, x, dy, lengths=None):
    """x [T, B, I], dy [T, B, D*P] -> activations, dh [L*D, T, B, P]; float64, the initial state zero.

    The activations are a dict of arrays [L*D, T, B, .]: h, with gates for an LSTM or a GRU, c for an LSTM.
    """
    lengths = np.full(x.shape[1], len(x)) if lengths is None else np.asarray(lengths)
    ways = ("", "_reverse")[: 1 + runner.bidirectional]
    rows = []
    for k in range(runner.num_layers):
        rows += [Direction(runner, f"_l{k}{way}", x, lengths) for way in ways]
        x = np.concatenate([row.found["h"] for row in rows[-len(ways) :]], axis=2)
    dh = [None] * len(rows)
    for k in reversed(range(runner.num_layers)):
        parts = np.split(dy, len(ways), axis=2)
        at = range(k * len(ways), (k + 1) * len(ways))
        for row, part in zip(at, parts, strict=True):
            dh[row] = rows[row].backward(part)
        dy = sum(rows[row].dx for row in at)
    return {name: np.stack([row.found[name] for row in rows]) for name in rows[0].found}, np.stack(dh)


class Direction:
    """One direction of one layer, forward when made."""

    def __init__(self, runner, suffix, x, lengths):
        cell, steps = cell_of(runner), range(len(x))
        found = {name.removesuffix(suffix): p for name, p in runner.params.items() if name.endswith(suffix)}
        params = {f"{name}_l0": p.astype(np.float64) for name, p in found.items()}
        self.order = steps[::-1] if suffix.endswith("_reverse") else steps
        self.valid = (np.arange(len(x))[:, None] < lengths)[..., None]
        self.tapes, self.x_shape = {}, x.shape
        self.zero = [np.zeros((1, x.shape[1], width)) for width in runner._widths]
        lists = {}
        state = self.zero
        for t in self.order:
            _, new, self.tapes[t] = reference.forward(cell, params, x[t : t + 1], tuple(state))
            kept = {"h": new[0][0], "c": new[-1][0], "gates": gates(cell, params, x[t], state[0][0])}
            for name, value in kept.items():
                lists.setdefault(name, {})[t] = np.where(self.valid[t], value, 0)
            state = [np.where(self.valid[t], after, before) for after, before in zip(new, state, strict=True)]
        names = {"lstm": ("h", "gates", "c"), "rnn_tanh": ("h",), "rnn_relu": ("h",)}.get(cell, ("h", "gates"))
        self.found = {name: np.stack([lists[name][t] for t in steps]) for name in names}

    def backward(self, dy):
        """dL/dh_t [T, B, P] for dy [T, B, P]; leaves dL/dx in `dx`."""
        dh, self.dx = np.zeros_like(dy), np.zeros(self.x_shape)
        dstate = self.zero
        for t in self.order[::-1]:
            valid = self.valid[t]
            dnew = [np.where(valid, d, 0) for d in dstate]
            dnew[0] = dnew[0] + np.where(valid, dy[t], 0)
            dh[t] = dnew[0][0]
            dx, before, _ = reference.backward(self.tapes[t], np.zeros((1, *dh[t].shape)), tuple(dnew))
            self.dx[t] = dx[0]
            dstate = [np.where(valid, b, d) for b, d in zip(before, dstate, strict=True)]
        return dh


def gates(cell, params, x, h):
    """The gates [B, G*H] of one step from h, the state before it: i f g o, r z n, or None."""
    (w, u), (a, b) = (
        [params.get(f"{kind}_{side}_l0", np.zeros(1)) for side in ("ih", "hh")] for kind in ("weight", "bias")
    )
    if cell == "lstm":
        i, f, g, o = np.split(x @ w.T + a + h @ u.T + b, 4, axis=1)
        return np.concatenate([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)], axis=1)
    if not cell.startswith("gru"):
        return 0
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (np.split(part, 3, axis=1) for part in (x @ w.T + a, h @ u.T + b))
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    if cell == "gru_reset_before":
        h_n = (r * h) @ np.split(u, 3)[2].T + np.broadcast_to(b, (len(u),))[-h.shape[1] :]
    else:
        h_n = r * h_n
    return np.concatenate([r, z, np.tanh(x_n + h_n)], axis=1)

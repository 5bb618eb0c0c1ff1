"""JAX: jitted lax.scan, with the input product inside, ahead, and with steps unrolled.

Its process is held to as many CPUs as threads, as its pool has no other limit, and calls run on the calling
thread, which is the fastest for work that is awaited. Weights are transposed, which suits its products best.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problem import CLIP, LEARNING_RATE, windows
from ..work import Work

NAMES = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
SCANS = {"scan": {}, "input product ahead": {"ahead": True}, "unrolled by 4": {"unroll": 4}}


class Peer:
    version = jax.__version__

    def __init__(self, threads):
        jax.config.update("jax_cpu_enable_async_dispatch", False)

    def works(self, cell, data):
        make = {
            "step": _step,
            "sequence": _sequence,
            "training": _training,
            "ragged": _sequence,
            "ragged training": _training,
            "loop": _loop,
        }[cell.table]
        return make(cell, data)


def _params(data, prefix=""):
    """Weights as products take them: w_ih (I, G*H), w_hh (H, G*H), biases."""
    return {short: jnp.asarray(data[prefix + name].T) for short, name in NAMES.items()}


def _lstm(zx, p, state):
    h, c = state
    i, f, g, o = jnp.split(zx + h @ p["w_hh"] + p["b_hh"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(zx, p, state):
    (h,) = state
    (xr, xz, xn), (hr, hz, hn) = (jnp.split(z, 3, axis=-1) for z in (zx, h @ p["w_hh"] + p["b_hh"]))
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + r * hn)
    return ((1 - z) * n + z * h,)


def _rnn(zx, p, state):
    (h,) = state
    return (jnp.tanh(zx + h @ p["w_hh"] + p["b_hh"]),)


ADVANCE = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _zero(kind, batch, hidden):
    return (jnp.zeros((batch, hidden), jnp.float32),) * (2 if kind == "LSTM" else 1)


def _scan(kind, p, x, state, ahead=False, unroll=1):
    """x (T, B, I) -> y (T, B, H), final state."""
    advance = ADVANCE[kind]
    zx = x @ p["w_ih"] + p["b_ih"] if ahead else x

    def step(state, zx):
        state = advance(zx if ahead else zx @ p["w_ih"] + p["b_ih"], p, state)
        return state, state[0]

    state, y = lax.scan(step, state, zx, unroll=unroll)
    return y, state


def _step(cell, data):
    params = _params(data)

    def advance(p, x, state):
        return ADVANCE[cell.kind](x @ p["w_ih"] + p["b_ih"], p, state)

    zero = _zero(cell.kind, 1, cell.hidden)
    shared = {
        "x": jnp.asarray(data["x"][0]),
        "p": params,
        "zero": zero,
        "fresh": lambda s: tuple(z + 0 for z in s),
    }

    def work(statement, function):
        return Work(
            f"{statement}\ns[0].block_until_ready()",
            {**shared, "step": function},
            setup="s = fresh(zero)",
            result="{'y': s[0].reshape(-1)}",
            repeat=4,
        )

    return {
        "weights as arguments": work("s = step(p, x, s)", jax.jit(advance, donate_argnums=2)),
        "weights as constants": work("s = step(x, s)", jax.jit(lambda x, s: advance(params, x, s), donate_argnums=1)),
    }


def _sequence(cell, data):
    params = _params(data)
    zero = _zero(cell.kind, cell.batch, cell.hidden)
    x = jnp.asarray(data["x"])

    def work(options):
        run = jax.jit(lambda p, x: _scan(cell.kind, p, x, zero, **options))
        return Work(
            "y, s = ready(run(p, x))",
            {"ready": jax.block_until_ready, "run": run, "p": params, "x": x},
            result="{'y': y}",
        )

    return {name: work(options) for name, options in SCANS.items()}


def _training(cell, data):
    params = _params(data)
    zero = _zero(cell.kind, cell.batch, cell.hidden)
    x, dy = jnp.asarray(data["x"]), jnp.asarray(data["dy"])

    def gradients(grads):
        return {f"d_{name}": np.asarray(grads[short]).T for short, name in NAMES.items()}

    def work(options):
        @jax.jit
        def run(p, x, dy):
            y, pull = jax.vjp(lambda p, x: _scan(cell.kind, p, x, zero, **options)[0], p, x)
            return y, *pull(dy)

        return Work(
            "y, dp, dx = ready(run(p, x, dy))",
            {
                "ready": jax.block_until_ready,
                "run": run,
                "p": params,
                "x": x,
                "dy": dy,
                "gradients": gradients,
            },
            result="{'y': y, 'dx': dx, **gradients(dp)}",
        )

    return {name: work(options) for name, options in SCANS.items()}


def _loop(cell, data):
    params = {
        **_params(data, "1."),
        "table": jnp.asarray(data["0.weight"]),
        "w": jnp.asarray(data["2.weight"].T),
        "b": jnp.asarray(data["2.bias"]),
    }
    batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in windows(data["ids"], cell.batch, cell.steps)]

    def work(options):
        epoch = _Epoch(cell, params, batches, options)
        return Work(
            "epoch()",
            {"epoch": epoch, "array": np.array},
            result="{'loss': array(epoch.losses)}",
            calls=len(batches),
        )

    return {name: work(options) for name, options in SCANS.items()}


class _Epoch:
    """One pass over the windows with carried state: loss, gradient, clipping, Adam in one jitted update."""

    def __init__(self, cell, params, batches, options):
        self.batches = batches
        self.losses = []
        self.zero = _zero(cell.kind, cell.batch, cell.hidden)
        self.params = jax.tree.map(jnp.copy, params)
        self.moments = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        self.count = jnp.zeros((), jnp.float32)

        def loss(p, state, x, y):
            h, state = _scan(cell.kind, p, p["table"][x], state, **options)
            logp = jax.nn.log_softmax(h @ p["w"] + p["b"])
            return -jnp.take_along_axis(logp, y[..., None], axis=-1).mean(), state

        def update(p, moments, count, state, x, y):
            (value, state), grads = jax.value_and_grad(loss, has_aux=True)(p, state, x, y)
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
            scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
            grads = jax.tree.map(lambda g: g * scale, grads)
            count = count + 1
            mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
            square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, moments[1], grads)
            rate, correction = LEARNING_RATE / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
            p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / correction + 1e-8), p, mean, square)
            return value, p, [mean, square], count, state

        self.update = jax.jit(update, donate_argnums=(0, 1, 2))

    def __call__(self):
        self.losses = []
        state = self.zero
        for x, y in self.batches:
            value, self.params, self.moments, self.count, state = self.update(
                self.params, self.moments, self.count, state, x, y
            )
            self.losses.append(float(value))

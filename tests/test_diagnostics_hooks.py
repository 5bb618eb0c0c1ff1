"""The engine's hooks, dL/dh_t and the activations, against the plain equations."""

import numpy as np
import pytest
from gradcheck import check_gradients
from plain_hooks import plain_hooks
from tolerances import relative_error, tolerance

from fastrnn import GRU, LSTM, RNN

KINDS = [
    (RNN, {}),
    (RNN, {"nonlinearity": "relu"}),
    (LSTM, {}),
    (LSTM, {"proj_size": 3}),
    (GRU, {}),
    (GRU, {"reset_after": False}),
]
STEPS, BATCH = 7, 5


def runner_of(kind, options, **more):
    return kind(3, 4, **options, **more, seed=2, init="pytorch")


def problem(runner, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((STEPS, BATCH, 3)), rng.standard_normal((STEPS, BATCH, runner.output_size))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True), (3, False)])
@pytest.mark.parametrize("lengths", [None, [7, 3, 0, 5, 1]])
@pytest.mark.parametrize("kind, options", KINDS)
def test_hooks_are_the_plain_equations(kind, options, lengths, layers, bidirectional, dtype):
    runner = runner_of(kind, options, num_layers=layers, bidirectional=bidirectional, dtype=dtype)
    x, dy = problem(runner)
    activations, dh = plain_hooks(runner, x, dy, lengths)
    _, _, tape = runner.forward(x.astype(dtype), None, lengths)
    found = runner.activations(tape)
    assert activations.keys() == found.keys()
    limit = tolerance(f"engine, {dtype}")
    for name, expected in activations.items():
        assert found[name].dtype == np.dtype(dtype)
        assert relative_error(found[name], expected, tolerance("engine, smallest scale")) < limit, name
    out = np.full(dh.shape, np.nan, dtype)
    runner.backward(tape, dy.astype(dtype), dh=out)
    assert relative_error(out, dh, tolerance("engine, smallest scale")) < limit


@pytest.mark.parametrize("kind, options", KINDS)
def test_the_hooks_change_no_bit_of_the_gradients(kind, options):
    runner = runner_of(kind, options, num_layers=2, bidirectional=True)
    x, dy = (a.astype("float32") for a in problem(runner))
    found = []
    for hooked in (False, True):
        _, _, tape = runner.forward(x)
        more = {}
        if hooked:
            runner.activations(tape)
            more["dh"] = np.empty((4, STEPS, BATCH, runner.output_size // 2), "float32")
        runner.zero_grad()
        dx, _ = runner.backward(tape, dy, **more)
        found.append({"x": dx.copy(), **{name: g.copy() for name, g in runner.grads.items()}})
    for name, array in found[0].items():
        assert np.array_equal(array, found[1][name]), name


@pytest.mark.parametrize("kind, options", KINDS)
def test_the_plain_dh_is_that_of_finite_differences(kind, options):
    """The sequence is cut after step t, and the state h_t there is moved."""
    runner = runner_of(kind, options, dtype="float64")
    x, dy = problem(runner)
    _, dh = plain_hooks(runner, x, dy)
    t = 2
    _, state = runner(x[: t + 1])
    h, *rest = state if isinstance(state, tuple) else (state,)

    def loss():
        y, _ = runner(x[t + 1 :], (h, *rest) if rest else h)
        return float(np.sum(y * dy[t + 1 :]) + np.sum(h[0] * dy[t]))

    check_gradients(loss, {"h": h}, {"h": dh[:, t]})


def test_dh_at_the_last_step_is_dy():
    runner = runner_of(LSTM, {}, dtype="float64")
    x, dy = problem(runner)
    _, dh = plain_hooks(runner, x, dy)
    assert np.array_equal(dh[0, -1], dy[-1])
    assert relative_error(dh[0, :-1], dy[:-1]) > 0.01

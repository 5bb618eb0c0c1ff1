"""Activations: values, extremes, gradients by finite differences, torch, networks, and bad arguments."""

import math

import numpy as np
import pytest
import reference_layers as reference
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import (
    ELU,
    GELU,
    GRU,
    Adam,
    Hardsigmoid,
    LastStep,
    LeakyReLU,
    Linear,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Trainer,
)
from fastrnn.engine.runtime import _kernels

DTYPES = ["float32", "float64"]
FAR = [-np.inf, -1e30, -1000.0, -89.0, -30.0, 30.0, 89.0, 1000.0, 1e30, np.inf]
# name -> (the layer, its equation of one number, its limits at -inf and inf, the class of torch.nn)
EACH = {
    "relu": (lambda: ReLU(), lambda v: max(0.0, v), (0, np.inf), "ReLU"),
    "leaky": (lambda: LeakyReLU(), lambda v: v if v > 0 else 0.01 * v, (-np.inf, np.inf), "LeakyReLU"),
    "leaky 0.3": (lambda: LeakyReLU(0.3), lambda v: v if v > 0 else 0.3 * v, (-np.inf, np.inf), "LeakyReLU"),
    "leaky -2": (lambda: LeakyReLU(-2), lambda v: v if v > 0 else -2 * v, (np.inf, np.inf), "LeakyReLU"),
    "elu": (lambda: ELU(), lambda v: v if v > 0 else math.expm1(v), (-1, np.inf), "ELU"),
    "elu 1.5": (lambda: ELU(alpha=1.5), lambda v: v if v > 0 else 1.5 * math.expm1(v), (-1.5, np.inf), "ELU"),
    "gelu": (lambda: GELU(), reference.gelu, (0, np.inf), "GELU"),
    "gelu tanh": (lambda: GELU(approximate="tanh"), reference.gelu_tanh, (0, np.inf), "GELU"),
    "silu": (lambda: SiLU(), lambda v: v * reference.sigmoid(v), (0, np.inf), "SiLU"),
    "tanh": (lambda: Tanh(), math.tanh, (-1, 1), "Tanh"),
    "sigmoid": (lambda: Sigmoid(), reference.sigmoid, (0, 1), "Sigmoid"),
    "softplus": (lambda: Softplus(), reference.softplus, (0, np.inf), "Softplus"),
    "softplus 0.5": (lambda: Softplus(0.5, 3), lambda v: reference.softplus(v, 0.5, 3.0), (0, np.inf), "Softplus"),
    "hardsigmoid": (lambda: Hardsigmoid(), lambda v: min(max(v / 6 + 0.5, 0.0), 1.0), (0, 1), "Hardsigmoid"),
}
ROWS = {"softmax": (Softmax, reference.softmax), "log-softmax": (LogSoftmax, lambda x: np.log(reference.softmax(x)))}
ALL = {**{name: case[0] for name, case in EACH.items()}, **{name: case[0] for name, case in ROWS.items()}}


def normal(*shape, dtype="float64", seed=0):
    return (2 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EACH)
def test_values_are_those_of_the_equation(name, dtype):
    build, equation, *_ = EACH[name]
    x = np.concatenate([normal(400, dtype=dtype), np.linspace(-9, 9, 181, dtype=dtype), np.zeros(1, dtype)])
    y = build()(x)
    assert y.dtype == dtype and y.shape == x.shape
    expected = reference.each(equation, x)
    assert np.abs(y - expected).max() < 10 * np.finfo(dtype).eps
    if name != "gelu tanh":     # the equation, as it is printed, loses digits below 0
        assert (np.abs(y - expected) <= 200 * np.finfo(dtype).eps * np.abs(expected)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EACH)
def test_far_values_and_nan(name, dtype):
    build, equation, limits, _ = EACH[name]
    with np.errstate(all="raise", under="ignore"):
        y = build()(np.array(FAR, dtype))
        assert y[0] == limits[0] and y[-1] == limits[1]
        for v, found in zip(FAR[2:-2], y[2:-2]):
            assert abs(float(found) - equation(v)) <= max(20 * np.finfo(dtype).eps * abs(equation(v)), 1e-36)
    y = build()(np.array([np.nan, 1.0, *FAR], dtype))
    assert np.isnan(y[0]) and not np.isnan(y[1:]).any()
    module = build()
    slope, _ = module.backward(module.forward(np.array(FAR, dtype))[2], np.ones(len(FAR), dtype))
    assert np.isfinite(slope).all()
    ends = {"leaky": 0.01, "leaky 0.3": 0.3, "leaky -2": -2}.get(name, 0)
    assert slope[0] == slope[1] == np.dtype(dtype).type(ends)
    assert slope[-1] == slope[-2] == (0 if limits[1] == 1 else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
def test_softmax(name, dtype):
    kind, equation = ROWS[name]
    x = normal(4, 7, 13, dtype=dtype)
    y = kind()(x)
    assert y.dtype == dtype
    assert relative_error(y, equation(x)) < tolerance(f"layers, {dtype}")
    np.testing.assert_allclose(kind()(x + 1000), y, atol=1e-3 if dtype == "float32" else 1e-10)
    one = kind()(np.array([[0.0, -1e30], [3e38, 0.0], [5.0, 5.0]], dtype))
    low = 0 if name == "softmax" else -np.inf
    assert one[0, 0] == one[1, 0] == (1 if name == "softmax" else 0)
    assert one[1, 1] in (low, -np.dtype(dtype).type(3e38)) and one[0, 1] in (low, np.dtype(dtype).type(-1e30))
    np.testing.assert_allclose(one[2], 0.5 if name == "softmax" else np.log(0.5), rtol=1e-6)
    bad = kind()(np.array([[np.nan, 1.0], [0.0, 1.0]], dtype))
    assert np.isnan(bad[0]).all() and np.isfinite(bad[1]).all()
    far = kind()(np.array([[-np.inf, 1.0]], dtype))[0]
    assert far[0] == low and far[1] == (1 if name == "softmax" else 0)
    assert kind()(np.zeros((3, 0), dtype)).shape == (3, 0)
    assert kind()(np.zeros((0, 3), dtype)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (2, 0, 3)])
@pytest.mark.parametrize("name", ALL)
def test_gradients(name, shape):
    if name in ROWS and not shape:
        pytest.skip("a row has features")
    x = normal(*shape, seed=3)
    x = np.where(np.abs(x) < 0.01, 0.5, x) if shape else np.asarray(0.7)    # not at a corner
    module = ALL[name]()
    y, state, tape = module.forward(x)
    assert state is None and y.tobytes() == module(x).tobytes()
    weighting = normal(*shape, seed=4)
    kept = weighting.copy()
    before = x.copy()
    y[...] = np.nan     # the caller's own
    dx, _ = module.backward(tape, weighting)
    np.testing.assert_array_equal(weighting, kept)
    np.testing.assert_array_equal(x, before)
    check_gradients(lambda: float((module(x) * weighting).sum()), {"x": x}, {"x": dx})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch(name, dtype):
    torch = pytest.importorskip("torch")
    module = ALL[name]()
    arguments = {key: value for key, value in module.config().items() if key != "type"}
    theirs = getattr(torch.nn, EACH[name][3] if name in EACH else {"softmax": "Softmax"}.get(name, "LogSoftmax"))
    x = np.concatenate([normal(50, 6, dtype=dtype), np.zeros((1, 6), dtype), np.full((1, 6), -3, dtype),
                        np.full((1, 6), 3, dtype)])
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(**arguments)(tensor)
    dy = normal(*x.shape, dtype=dtype, seed=2)
    expected.backward(torch.tensor(dy))
    y, _, tape = module.forward(x)
    assert relative_error(y, expected.detach().numpy()) < tolerance(f"torch, {dtype}")
    limit = tolerance(f"torch, {'float32' if name == 'hardsigmoid' else dtype}")     # torch has 1/6 in float32 there
    assert relative_error(module.backward(tape, dy)[0], tensor.grad.numpy()) < limit


@pytest.mark.parametrize("name", ALL)
def test_other_numbers_and_layouts(name):
    module = ALL[name]()
    x = normal(3, 4, 5)
    y = module(x)
    np.testing.assert_array_equal(module(np.asfortranarray(x)), y)
    np.testing.assert_array_equal(module(x[::-1, ::2])[::-1], y[:, ::2])
    assert module(np.array([[1, -2]])).dtype == np.float64
    assert module(np.array([[1, -2]], np.float16)).dtype == np.float64
    assert module([[1.0, -2.0]]).shape == (1, 2)
    _, _, tape = module.forward(np.asfortranarray(x))
    dy = normal(*x.shape, seed=1)
    _, _, other = module.forward(x)
    np.testing.assert_array_equal(module.backward(tape, np.asfortranarray(dy))[0], module.backward(other, dy)[0])


@pytest.mark.parametrize("isa", _kernels.available_isas())
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_has_the_bits_of_the_whole(name, dtype, isa):
    before = _kernels.isa()
    _kernels.use_isa(isa)
    try:
        module = ALL[name]()
        x = normal(2, 9, 11, dtype=dtype)
        whole = module(x)
        stream = module.stream(2)
        for t in range(9):
            out = np.empty((2, 11), dtype)
            assert stream.step(x[:, t], out) is out
            assert out.tobytes() == whole[:, t].tobytes()
        assert stream.run(x[:, 3:5]).tobytes() == whole[:, 3:5].tobytes()
        assert module.stream().step(x[1, 2]).tobytes() == whole[1, 2].tobytes()
    finally:
        _kernels.use_isa(before)


@pytest.mark.parametrize("name", ALL)
def test_between_two_linear_layers(name):
    """Rows, sequences, lists, lengths and streams."""
    net = Sequential(Linear(3, 6, seed=0, dtype="float64"), ALL[name](), Linear(6, 2, seed=1, dtype="float64"))
    x = normal(4, 5, 3)
    y = net(x)
    np.testing.assert_array_equal(net(x[:, 2]), y[:, 2])
    lengths = [5, 0, 2, 3]
    for row, found, n in zip(y, net([a[:n] for a, n in zip(x, lengths)]), lengths):
        np.testing.assert_array_equal(found, row[:n])
    padded = x.copy()
    for b, n in enumerate(lengths):
        padded[b, n:] = np.nan
    found = net(padded, lengths=lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(found[b, :n], y[b, :n])
        assert not found[b, n:].any()
    stream = net.stream(4)
    for t in range(5):
        assert stream.step(x[:, t]).tobytes() == y[:, t].tobytes()
    _, _, tape = net.forward(padded, None, lengths)
    dy = normal(*y.shape, seed=7)
    dx, _ = net.backward(tape, dy)
    for b, n in enumerate(lengths):
        assert not dx[b, n:].any()
    valid = (np.arange(5) < np.array(lengths)[:, None])[..., None]
    check_gradients(lambda: float((net(x, lengths=lengths) * dy * valid).sum()), {**net.params, "x": x},
                    {**net.grads, "x": dx})


@pytest.mark.parametrize("name", ALL)
def test_files(name, tmp_path):
    net = Sequential(Linear(3, 4, seed=0), ALL[name]())
    fastrnn.save(net, tmp_path / "m")
    found = fastrnn.load(tmp_path / "m")
    assert found.config() == net.config() and repr(found) == repr(net)
    x = normal(2, 3, dtype="float32")
    assert found(x).tobytes() == net(x).tobytes()


def test_a_perceptron_learns_what_no_line_divides():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1, 2))
    y = (x[:, 0, 0] * x[:, 0, 1] > 0).astype(int)
    net = Sequential(Linear(2, 16, seed=0), ReLU(), LastStep(), Linear(16, 2, seed=1))
    history = Trainer(net, optimizer=Adam(0.02), metrics=["accuracy"], seed=0).fit(x, y, epochs=25, progress=False)
    assert history["accuracy"][-1] > 0.95
    line = Sequential(Linear(2, 16, seed=0), LastStep(), Linear(16, 2, seed=1))
    history = Trainer(line, optimizer=Adam(0.02), metrics=["accuracy"], seed=0).fit(x, y, epochs=25, progress=False)
    assert history["accuracy"][-1] < 0.8


def test_the_last_step_of_both_directions_behind_them():
    for layer, direction in (ReLU(), "bidirectional"), (Softmax(), "forward"):
        net = Sequential(GRU(3, 4, bidirectional=True, seed=0), layer, LastStep())
        assert net.modules[2].direction == direction


BAD = {
    "negative_slope": (lambda: LeakyReLU("steep"), TypeError, r"^negative_slope: expected a number, found 'steep'"),
    "alpha": (lambda: ELU(np.inf), ValueError, r"^alpha: expected a finite number, found inf"),
    "approximate": (lambda: GELU("erf"), ValueError, r"^approximate: expected one of 'none', 'tanh'; found 'erf'"),
    "beta": (lambda: Softplus(0), ValueError, r"^beta: expected a finite number above 0, found 0"),
    "threshold": (lambda: Softplus(threshold=None), TypeError, r"^threshold: expected a number, found None"),
    "dim": (lambda: Softmax(1), ValueError, r"^dim: expected -1, the last axis, found 1"),
    "dim of a log": (lambda: LogSoftmax(dim=0), ValueError, r"^dim: expected -1, the last axis, found 0"),
    "no dim": (lambda: Softmax(None), TypeError, r"^dim: expected an int, found None"),
    "a number": (lambda: Softmax()(1.0), ValueError, r"^x: expected shape \(\.\.\., C\), found a single number"),
    "words": (lambda: ReLU()(["a"]), TypeError, r"^x: expected an array of real numbers"),
    "complex": (lambda: Tanh()(np.ones(3) * 1j), TypeError, r"^x: expected an array of real numbers"),
    "a state": (lambda: SiLU().forward(np.ones(3), 1), ValueError, r"^state: expected None for SiLU"),
    "dy": (lambda: GELU().backward(GELU().forward(np.ones(3))[2]), ValueError, r"^tape: expected one from this GELU"),
    "changed": (lambda: setattr(ELU(), "alpha", 2.0), TypeError, r"^alpha: fixed when the ELU was made"),
    "ids": (lambda: Sequential(ReLU())(np.ones((2, 3), int)), TypeError, r"^x: expected numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()

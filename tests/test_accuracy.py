"""The vector functions against float128 references, and every instruction set against the baseline."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tolerances import tolerance

import fastrnn
from fastrnn.engine.runtime import _kernels

FUNCTIONS = {
    "exp": (_kernels.exp_, np.exp),
    "sigmoid": (_kernels.sigmoid_, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (_kernels.tanh_, np.tanh),
}
REACH = {np.float32: 86.0, np.float64: 700.0}       # where the results are normal numbers
ISAS = _kernels.available_isas()
# A reference for float64 needs a longer long double; float32 has one everywhere.
DTYPES = [np.float32] + ([np.float64] if np.finfo(np.longdouble).eps < 1e-18 else [])


@pytest.fixture(params=ISAS)
def isa(request):
    before = _kernels.isa()
    _kernels.use_isa(request.param)
    assert _kernels.isa() == request.param
    yield request.param
    _kernels.use_isa(before)


def points(dtype):
    rng = np.random.default_rng(0)
    reach = REACH[dtype]
    tiny = 10.0 ** rng.uniform(-30, 0, 20_000) * rng.choice([-1, 1], 20_000)
    return np.concatenate([rng.uniform(-reach, reach, 100_003), rng.standard_normal(50_000) * 3, tiny]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_four_ulp(isa, name, dtype):
    function, reference = FUNCTIONS[name]
    x = points(dtype)
    y = np.empty_like(x)
    function(y, x)
    exact = reference(x.astype(np.longdouble))
    ulp = np.abs(y - exact) / np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    worst = int(ulp.argmax())
    assert ulp[worst] <= tolerance("activations, ULP"), f"{ulp[worst]:.2f} ULP at {x[worst]!r}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 63])
def test_special_values_and_tails(isa, dtype, size):
    limits = {"exp": (np.inf, 0.0, 1.0), "sigmoid": (1.0, 0.0, 0.5), "tanh": (1.0, -1.0, 0.0)}
    for name, (function, _) in FUNCTIONS.items():
        for value, expected in zip((np.inf, -np.inf, 0.0), limits[name]):
            # One element more than is asked for: a tail must not touch it.
            x, y = np.full(size, value, dtype), np.full(size + 1, 7, dtype)
            function(y[:size], x)
            np.testing.assert_array_equal(y[:size], dtype(expected), err_msg=name)
            assert y[size] == 7
        x = np.zeros(size, dtype)
        x[-1] = np.nan
        y = np.empty_like(x)
        function(y, x)
        assert np.isnan(y[-1]) and not np.isnan(y[:-1]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_is_odd_and_monotonic(isa, dtype):
    x = np.sort(np.abs(points(dtype)))
    up, down = np.empty_like(x), np.empty_like(x)
    _kernels.tanh_(up, x)
    _kernels.tanh_(down, -x)
    np.testing.assert_array_equal(up, -down)
    assert (up <= 1).all()


def run_all(isa_name, dtype):
    """Forward and backward of every kind of network with awkward sizes, on one instruction set."""
    _kernels.use_isa(isa_name)
    rng = np.random.default_rng(1)
    results = []
    for make in (fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU):
        for hidden in (1, 5, 16, 19, 33, 40):
            for options in ({}, {"bidirectional": True, "num_layers": 2}, {"reset_after": False}, {"proj_size": 3}):
                if "reset_after" in options and make is not fastrnn.GRU:
                    continue
                if "proj_size" in options and (make is not fastrnn.LSTM or hidden <= 3):
                    continue
                rnn = make(7, hidden, dtype=dtype, seed=0, **options)
                x = rng.standard_normal((6, 13, 7))
                y, _, tape = rnn.forward(x, lengths=rng.integers(0, 7, 13))
                dx, _ = rnn.backward(tape, rng.standard_normal(y.shape))
                results += [y, dx, *rnn.grads.values()]
    return results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in ISAS if name != ISAS[-1]] or [ISAS[-1]])
def test_every_instruction_set_agrees_with_the_baseline(name, dtype):
    before = _kernels.isa()
    try:
        found, expected = run_all(name, dtype), run_all(ISAS[-1], dtype)
    finally:
        _kernels.use_isa(before)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance(f"instruction sets, {dtype}") * max(1, np.abs(b).max()))


def test_a_runner_keeps_the_instruction_set_it_was_made_with():
    if len(ISAS) < 2:
        pytest.skip("one instruction set only")
    before = _kernels.isa()
    rnn = fastrnn.LSTM(5, 9, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    y = rnn(x)[0]
    try:
        _kernels.use_isa(next(name for name in ISAS if name != before))
        rnn.params["weight_hh_l0"][...] *= 1        # packed anew
        np.testing.assert_array_equal(rnn(x)[0], y)
    finally:
        _kernels.use_isa(before)


def in_a_new_process(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, check=False)


@pytest.mark.parametrize("name", ISAS)
def test_the_environment_chooses(name):
    done = in_a_new_process("from fastrnn import _kernels; print(_kernels.isa())", FASTRNN_ISA=name)
    assert done.stdout.strip() == name


def test_the_environment_names_what_there_is():
    done = in_a_new_process("import fastrnn", FASTRNN_ISA="mmx")
    assert done.returncode != 0
    assert f"FASTRNN_ISA: expected one of {', '.join(ISAS)}, found 'mmx'" in done.stderr


@pytest.mark.parametrize("name", ISAS)
def test_blas_and_own_products_agree(name):
    code = """
import sys
import numpy as np, fastrnn
rng = np.random.default_rng(0)
rnn = fastrnn.GRU(7, 21, 2, bidirectional=True, seed=0, dtype="float64")
y, _, tape = rnn.forward(rng.standard_normal((9, 5, 7)))
rnn.backward(tape, rng.standard_normal(y.shape))
print("fastrnn.engine.runtime._blas" in sys.modules, *[float(g.sum()).hex() for g in rnn.grads.values()])
"""
    used, *own = in_a_new_process(code, FASTRNN_ISA=name, FASTRNN_BLAS="0").stdout.split()
    assert used == "False"
    used, *blas = in_a_new_process(code, FASTRNN_ISA=name, FASTRNN_BLAS="1").stdout.split()
    assert used == "True"
    assert len(own) == len(blas) == 16
    bound = tolerance("instruction sets, float64")
    for a, b in zip(own, blas):
        assert float.fromhex(a) == pytest.approx(float.fromhex(b), rel=bound, abs=1e-12)


def test_denormals_are_flushed_inside_and_left_alone_outside():
    tiny = np.float32(1e-40)
    rnn = fastrnn.RNN(1, 4, nonlinearity="relu", bias=False, seed=0)
    for name, value in rnn.params.items():
        value[...] = np.eye(4) if name == "weight_hh_l0" else 0
    _, state = rnn(np.zeros((3, 1, 1), np.float32), np.full((1, 1, 4), tiny))
    assert (state == 0).all()
    assert tiny * np.float32(0.5) > 0

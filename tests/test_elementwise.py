"""MinGRU, MinLSTM, SRU and QRNN: the reference proven, the engine held to it, and what else a runner can do."""

import copy
import math
import pickle

import numpy as np
import pytest
import reference_elementwise as reference
from elementwise_problems import ElementwiseProblem
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import arrange, assert_close, lengths_argument, problems, restore, thread_counts, threads
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn.diagnostics import diagnose
from fastrnn.examples import long

RUNNERS = {"mingru": fastrnn.MinGRU, "minlstm": fastrnn.MinLSTM, "sru": fastrnn.SRU, "qrnn": fastrnn.QRNN}
FEATURES = {
    "one layer": {},
    "sizes of one": {"input_size": 1, "hidden_size": 1},
    "no bias": {"bias": False},
    "as wide as its input": {"input_size": 3},
    "lengths": {"lengths": [3, 0, 4, 1]},
    "two layers": {"num_layers": 2, "lengths": [3, 0, 4, 1]},
    "two bidirectional layers, dropout": {
        "num_layers": 2,
        "bidirectional": True,
        "hidden_size": 2,
        "steps": 3,
        "batch": 3,
        "lengths": [1, 3, 0],
        "dropout": 0.4,
    },
    "a window of 2": {"window": 2, "lengths": [3, 0, 4, 1]},
    "a window longer than the sequence, two bidirectional layers": {
        "window": 5,
        "num_layers": 2,
        "bidirectional": True,
        "hidden_size": 2,
        "input_size": 1,
        "steps": 3,
        "batch": 3,
        "lengths": [1, 3, 0],
        "dropout": 0.3,
    },
}
CASES = [
    pytest.param(cell, feature, id=f"{cell}, {name}")
    for cell in RUNNERS
    for name, feature in FEATURES.items()
    if cell == "qrnn" or "window" not in feature
]


def make_runner(problem, layout="time-major", **options):
    if problem.cell == "qrnn":
        options["window"] = problem.window
    if problem.cell == "sru":
        options["highway_bias"] = problem.highway_bias if problem.bias else 0.0
    if problem.dropout:
        options["dropout"] = problem.dropout
    rnn = RUNNERS[problem.cell](
        problem.input_size,
        problem.hidden_size,
        problem.num_layers,
        bias=problem.bias,
        batch_first=layout == "batch-first",
        bidirectional=problem.bidirectional,
        dtype=problem.dtype,
        **options,
    )
    rnn.load_state_dict(problem.params)
    return rnn


def a_problem(cell, **fields):
    """With the scale that belongs to a highway bias of -1, or of 0 where there is no bias."""
    highway_bias = -1.0 if fields.get("bias", True) else 0.0
    problem = ElementwiseProblem(cell, scale=math.sqrt(1 + 2 * math.exp(highway_bias)), **fields)
    problem.highway_bias = highway_bias
    return problem


def arrange_state(state, problem, layout):
    s, past = (part.astype(problem.dtype) for part in state)
    past = packed(past, problem)
    if layout == "unbatched":
        s, past = s[:, 0], past[:, 0]
    return (s, past) if problem.window > 1 else s


def restore_state(state, problem, layout):
    state = state if problem.window > 1 else (state,)
    assert all(part.dtype == problem.dtype for part in state)
    s, *past = (part[:, None] if layout == "unbatched" else part for part in state)
    return s, unpacked(past[0], problem) if past else problem.state[1]


def packed(past, problem):
    """[L*D, B, k-1, W] -> (L*D, B, (k-1)*W): a layer's inputs follow one another, zeros come at the end"""
    out = np.zeros((*past.shape[:2], past.shape[2] * past.shape[3]), past.dtype)
    for row, wide in enumerate(problem.widths()):
        out[row, :, : past.shape[2] * wide] = past[row, :, :, :wide].reshape(past.shape[1], -1)
    return out


def unpacked(out, problem):
    past = np.zeros(problem.state[1].shape, out.dtype)
    for row, wide in enumerate(problem.widths()):
        used = past.shape[2] * wide
        past[row, :, :, :wide] = out[row, :, :used].reshape(*past.shape[1:3], wide)
        assert not out[row, :, used:].any()
    return past


def options(drawn):
    return st.fixed_dictionaries({
        "input_size": st.sampled_from([drawn["input_size"], drawn["hidden_size"]]),
        "window": st.integers(1, 4) if drawn["cell"] == "qrnn" else st.just(1),
        "dropout": st.sampled_from([0.0, 0.4]) if drawn["num_layers"] > 1 else st.just(0.0),
    })


@pytest.mark.parametrize(("cell", "feature"), CASES)
def test_gradients_of_the_reference(cell, feature):
    problem = a_problem(cell, **feature)
    check_gradients(problem.loss, problem.arrays(), problem.backward(problem.forward()[2]))


@pytest.mark.parametrize(("cell", "feature"), CASES)
def test_gradients_of_the_engine_by_finite_differences(cell, feature):
    problem = a_problem(cell, **feature)
    rnn = make_runner(problem)

    def forward():
        state = arrange_state(problem.state, problem, "time-major")
        return rnn.forward(problem.x, state, problem.lengths, seed=problem.mask_seed)

    def loss():
        y, state, _ = forward()
        parts = (y, *restore_state(state, problem, "time-major")[: 1 + (problem.window > 1)])
        return sum(np.sum(a * b) for a, b in zip(parts, (problem.dy, *problem.dstate), strict=False))

    dx, dstate = rnn.backward(forward()[2], problem.dy, arrange_state(problem.dstate, problem, "time-major"))
    ds, dpast = restore_state(dstate, problem, "time-major")
    arrays, found = {"x": problem.x, "s": problem.state[0], **rnn.params}, {"x": dx, "s": ds, **rnn.grads}
    if problem.window > 1:
        arrays["past"], found["past"] = problem.state[1], dpast
    assert all(np.abs(g).max() > 0.01 for g in rnn.grads.values())
    check_gradients(loss, arrays, found)


@settings(max_examples=100)
@given(problems(cells=list(RUNNERS), options=options, make=a_problem), thread_counts)
def test_inference_and_training(each_isa, drawn, n):
    check_against_the_reference(*drawn, n)


def check_against_the_reference(problem, layout, n):
    x, state = arrange(problem.x, problem, layout), arrange_state(problem.state, problem, layout)
    lengths = lengths_argument(problem, layout)
    expected_y, expected_state, _ = problem.forward(dropping=False)
    with threads(n):
        rnn = make_runner(problem, layout)
        y, final = rnn(x, state, lengths=lengths)
        assert_close("y in inference", restore(y, problem, layout), expected_y, problem)
        for found, expected in zip(restore_state(final, problem, layout), expected_state, strict=True):
            if found is not problem.state[1]:
                assert_close("state in inference", found, expected, problem)
        y, final, tape = rnn.forward(x, state, lengths=lengths, seed=problem.mask_seed)
        dy, dstate = arrange(problem.dy, problem, layout), arrange_state(problem.dstate, problem, layout)
        dx, dstate = rnn.backward(tape, dy, dstate)
    expected_y, expected_state, tape = problem.forward()
    expected = problem.backward(tape)
    ds, dpast = restore_state(dstate, problem, layout)
    found = {"y": restore(y, problem, layout), "x": restore(dx, problem, layout), "s": ds, **rnn.grads}
    if problem.window > 1:
        found["past"] = dpast
    expected["y"] = expected_y
    for name, value in found.items():
        assert_close(name, value, expected[name], problem)


@pytest.mark.parametrize(
    ("input_size", "hidden_size", "batch", "dtype"),
    [(96, 96, 20, "float32"), (70, 130, 1, "float32"), (40, 40, 1, "float64"), (300, 33, 3, "float64")],
)
@pytest.mark.parametrize("cell", RUNNERS)
def test_work_that_is_worth_sharing(cell, input_size, hidden_size, batch, dtype):
    """Sequences, or the units of a lone one, dealt to threads; a lone one's steps in more than one block."""
    steps = 700 if batch == 1 else 12
    lengths = None if batch == 1 else [(5 * b) % 13 for b in range(batch)]
    options = {"bidirectional": True, "window": 3 if cell == "qrnn" else 1}
    problem = a_problem(cell, input_size=input_size, hidden_size=hidden_size, batch=batch, steps=steps,
                        lengths=lengths, dtype=dtype, **options)
    # what 700 steps add up is rounded 700 times
    problem.dy *= 0.1
    check_against_the_reference(problem, "time-major", 3)


@pytest.mark.parametrize("cell", RUNNERS)
def test_a_lone_sequence_is_shared_by_units(cell):
    rnn = RUNNERS[cell](64, 64, seed=0)
    with threads(2):
        assert rnn._engine.plan(1, 5000) == (1, 2, 2)
        assert rnn._engine.plan(8, 5000)[1:] == (1, 2)


@pytest.mark.parametrize("cell", RUNNERS)
def test_numbers_at_the_edges(each_isa, cell):
    """Infinite and huge inputs saturate the gates, NaN stays NaN and in its sequence."""
    for dtype in ("float32", "float64"):
        rnn = RUNNERS[cell](1, 20, dtype=dtype, seed=0)
        for value in rnn.params.values():
            value[...] = np.where(np.arange(value.size) % 2, -1, 1).reshape(value.shape)
        huge = np.finfo(dtype).max / 4
        x = np.array([huge, -huge, 1e9, -1e9, 300, -300, 0], dtype)[None, :, None]
        y, _ = rnn(x)
        assert not np.isnan(y).any()
        x = np.ones((3, 2, 1), dtype)
        x[1, 1] = np.nan
        y, _ = rnn(x)
        assert np.isfinite(y[:, 0]).all() and np.isfinite(y[0]).all() and np.isnan(y[1, 1]).all()


def test_minlstm_keeps_the_ratio_of_gates_that_are_both_shut(each_isa):
    """f / (f + i) is that of the exponentials where f and i are too small to be told from 0."""
    rnn = fastrnn.MinLSTM(1, 1)
    for value in rnn.params.values():
        value[...] = 0
    rnn.params["bias_ih_l0"][:2] = -200, -200 + math.log(3)
    y, _ = rnn(np.zeros((1, 1)), np.ones((1, 1)))
    assert abs(y[0, 0] - (1 / 4 + 3 / 4 * 0.5)) < 1e-5


@pytest.mark.parametrize(("cell", "rows"), [("mingru", 2), ("minlstm", 3), ("qrnn", 3)])
def test_activations(cell, rows):
    problem = a_problem(cell, num_layers=2, bidirectional=True, lengths=[3, 0, 4, 1])
    rnn = make_runner(problem)
    y, _, tape = rnn.forward(problem.x, None, problem.lengths)
    found = rnn.activations(tape)
    assert found["gates"].shape == (4, 4, 4, rows * 3)
    np.testing.assert_array_equal(found["h"][2], y[..., :3])
    a = problem.x @ rnn.params["weight_ih_l0"].T + rnn.params["bias_ih_l0"]
    valid = np.arange(4)[:, None] < problem.lengths
    expected = {"mingru": reference.sigmoid(a[..., :3]), "qrnn": np.tanh(a[..., :3]),
                "minlstm": reference.sigmoid(a[..., :3])}[cell]
    if cell == "minlstm":
        expected = expected / (expected + reference.sigmoid(a[..., 3:6]))
    assert relative_error(found["gates"][0][..., :3], expected * valid[..., None]) < tolerance("engine, float64")


@pytest.mark.parametrize("cell", RUNNERS)
def test_the_gradient_of_every_state(cell):
    """`dh` holds the gradient of what a step hands on, and asking for it changes no other."""
    problem = a_problem(cell, num_layers=2, bidirectional=True, lengths=[3, 0, 4, 1])
    rnn = make_runner(problem)
    state = arrange_state(problem.state, problem, "time-major")
    _, _, tape = rnn.forward(problem.x, state, problem.lengths)
    dh = np.full((4, 4, 4, 3), np.nan)
    dx, dstate = rnn.backward(tape, problem.dy, dh=dh)
    kept = {name: g.copy() for name, g in rnn.grads.items()}
    rnn.zero_grad()
    _, _, tape = rnn.forward(problem.x, state, problem.lengths)
    np.testing.assert_array_equal(rnn.backward(tape, problem.dy)[0], dx)
    for name, g in rnn.grads.items():
        np.testing.assert_array_equal(g, kept[name])
    assert not dh[:, :, 1].any() and not dh[:, 3, 0].any()
    if cell == "mingru":  # the first step hands (1 - z) of it on to the initial state
        _, _, tape = rnn.forward(problem.x, state, problem.lengths)
        z = rnn.activations(tape)["gates"][0, 0, [0, 2, 3], :3]
        assert relative_error(dstate[0, [0, 2, 3]], dh[0, 0, [0, 2, 3]] * (1 - z)) < tolerance("engine, float64")
    # the last layer's, forward: at a sequence's last step the gradient of h, or through the gate of c, is that of dy
    expected = problem.dy[2, 0, :3]
    if cell in ("sru", "qrnn"):
        _, _, tape = rnn.forward(problem.x, state, problem.lengths)
        expected = expected * rnn.activations(tape)["gates"][2, 2, 0, 6:9]
    assert relative_error(dh[2, 2, 0], expected) < tolerance("engine, float64")


@pytest.mark.parametrize("cell", RUNNERS)
def test_files_copies_and_streams(cell, tmp_path):
    options = {"window": 3} if cell == "qrnn" else {}
    rnn = RUNNERS[cell](5, 6, 2, batch_first=True, seed=1, **options)
    x = np.random.default_rng(0).standard_normal((2, 9, 5)).astype("float32")
    expected, final = rnn(x)
    fastrnn.save(rnn, tmp_path / "m.safetensors")
    for twin in (fastrnn.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(rnn)), copy.deepcopy(rnn)):
        np.testing.assert_array_equal(twin(x)[0], expected)
        assert repr(twin) == repr(rnn) and twin.config() == rnn.config()
    stream = rnn.stream(batch_size=2)
    first = stream.run(x[:, :4])
    twin = stream.copy()
    np.testing.assert_array_equal(np.concatenate([first, stream.run(x[:, 4:])], axis=1), expected)
    np.testing.assert_array_equal(np.stack([twin.step(x[:, t]) for t in range(4, 9)], axis=1), expected[:, 4:])
    for found, other, last in zip(*map(parts, (twin.state, stream.state, final)), strict=True):
        np.testing.assert_array_equal(found, other)
        np.testing.assert_array_equal(found, last)
    stream.reset()
    assert not any(part.any() for part in parts(stream.state))
    np.testing.assert_array_equal(stream.run(x), expected)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("cell", RUNNERS)
def test_a_trainer_learns_with_it(cell):
    """The sign of a sequence's first value is to be told after ten steps of noise; and the network is diagnosed."""
    rng = np.random.default_rng(0)
    X = 0.3 * rng.standard_normal((256, 10, 2)).astype("float32")
    y = rng.integers(0, 2, 256)
    X[:, 0, 0] = 2.0 * y - 1
    X[:, 0, 1] = 2.0
    runners = RUNNERS[cell](2, 16, 2, seed=0), RUNNERS[cell](16, 16, seed=1)
    model = fastrnn.Sequential(*runners, fastrnn.LastStep(), fastrnn.Linear(16, 2, seed=0))
    trainer = fastrnn.Trainer(model, optimizer=fastrnn.Adam(0.02), clip_norm=1.0, seed=0)
    trainer.fit(X, y, epochs=12, progress=False)
    assert trainer.evaluate(X, y, progress=False)["loss"] < 0.2
    found = diagnose(model, X, y)
    assert len(found.layers) == 3 and np.isfinite(found.layers[0].decay.norms).all()
    str(found)


def test_mistakes():
    with pytest.raises(ValueError, match="window: expected an int of at least 1, found 0"):
        fastrnn.QRNN(2, 3, window=0)
    with pytest.raises(ValueError, match="highway_bias: expected 0 with bias=False, found -1"):
        fastrnn.SRU(2, 3, highway_bias=-1, bias=False)
    with pytest.raises(TypeError, match="recurrent_dropout"):
        fastrnn.MinGRU(2, 3, recurrent_dropout=0.1)
    rnn = fastrnn.MinGRU(2, 3)
    with pytest.raises(ValueError, match=r"zoneout: expected 0 for MinGRU, which has no recurrent product; found 0\.1"):
        rnn.zoneout = 0.1
    assert rnn.zoneout == 0
    qrnn = fastrnn.QRNN(2, 3)
    with pytest.raises(TypeError, match=r"state: expected a tuple \(c, w\), found ndarray"):
        qrnn(np.zeros((4, 2)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"state\[1\]: expected shape \(1, 2\), found \(1, 3\)"):
        qrnn(np.zeros((4, 2)), (np.zeros((1, 3)), np.zeros((1, 3))))
    with pytest.raises(ValueError, match="runner: expected one direction, forward, for a stream"):
        fastrnn.SRU(2, 3, bidirectional=True).stream()


def test_how_parameters_start():
    sru = fastrnn.SRU(64, 64, highway_bias=-3.0, seed=0)
    assert not sru.params["bias_ih_l0"][:64].any() and (sru.params["bias_ih_l0"][64:] == -3).all()
    assert sru.params["weight_ih_l0"].shape == (192, 64) and fastrnn.SRU(5, 64).params["weight_ih_l0"].shape == (256, 5)
    for name in ("weight_ih_l0", "weight_c_l0"):
        assert 0.9 * math.sqrt(3 / 64) < np.abs(sru.params[name]).max() <= math.sqrt(3 / 64)
    assert not fastrnn.MinLSTM(4, 4).params["bias_ih_l0"].any()
    uniform = fastrnn.MinGRU(9, 16, init="pytorch", seed=0).params["bias_ih_l0"]
    assert 0 < np.abs(uniform).max() <= 0.25


def test_what_the_example_of_long_sequences_starts_from_and_draws(tmp_path):
    runner = long.remembering(100, 0)
    update, candidate = np.split(runner.params["bias_ih_l0"], 2)
    assert update.max() <= 0 and -update.min() <= math.log(99) + 1e-6 and np.ptp(update) > 2 and not candidate.any()
    pytest.importorskip("matplotlib")
    long.plot({"LSTM": [1.0, 4.0], "MinGRU": [0.25, 1.0]}, (256, 1024), tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")

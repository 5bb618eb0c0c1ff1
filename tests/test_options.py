"""Cells with other activations, clipping, peepholes and coupled gates, and runners that read backwards."""

import json
import pickle

import numpy as np
import pytest
import reference
import reference_options
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem
from reference_options import FUNCTIONS, VARIANTS, join
from test_engine import RUNNERS, check_training, make_runner, problems, threads

import fastrnn
from fastrnn.nn.options import ACTIVATIONS, TAKES

CORNERED = [name for name in VARIANTS if name not in RUNNERS]
KINDS = {"RNN": fastrnn.RNN, "LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU}
ONNX = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "affine": "Affine", "leaky_relu": "LeakyRelu",
        "thresholded_relu": "ThresholdedRelu", "scaled_tanh": "ScaledTanh", "hard_sigmoid": "HardSigmoid",
        "elu": "Elu", "softsign": "Softsign", "softplus": "Softplus"}  # fmt: skip
ORDER = {"RNN": [0], "LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}    # ONNX's gates, as places in ours


@pytest.fixture(autouse=True)
def cornered_runners(monkeypatch):
    for name, made in reference_options.runners(fastrnn, CORNERED).items():
        monkeypatch.setitem(RUNNERS, name, made)


@settings(max_examples=150)
@given(problems(cells=CORNERED, dtype="float64"), st.booleans(), st.integers(1, 4))
def test_training_around_corners(each_isa, drawn, with_state, n):
    check_training(*drawn, with_state, "both", n)


@st.composite
def activations(draw, count):
    found = []
    for _ in range(count):
        name = draw(st.sampled_from(sorted(ACTIVATIONS)))
        numbers = draw(st.lists(st.floats(0.1, 1.2), max_size=TAKES.get(name, 0)))
        found.append((name, *numbers) if numbers else name)
    return tuple(found)


@st.composite
def cells(draw):
    """A kind and its options."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    options = {"activations": draw(activations({"RNN": 1, "LSTM": 3, "GRU": 2}[kind])),
               "clip": draw(st.sampled_from([None, 0.3, 1.0, 5.0]))}
    if kind == "LSTM":
        options |= {"peepholes": draw(st.booleans()), "coupled_gates": draw(st.booleans())}
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    return kind, options


@settings(max_examples=200)
@given(cells(), st.integers(1, 20), st.integers(1, 9), st.booleans(), st.integers(0, 2**32))
def test_any_cell_equals_the_reference(made, hidden_size, batch, bidirectional, seed):
    kind, options = made
    RUNNERS["drawn"] = KINDS[kind], options
    reference.LSTMS.discard("drawn")
    reference.PEEPHOLES.discard("drawn")
    join("drawn", kind, **options)
    lengths = np.random.default_rng(seed).integers(0, 5, batch).tolist()
    problem = Problem("drawn", 3, hidden_size, 1, bidirectional, batch=batch, lengths=lengths, seed=seed)
    check_training(problem, "time-major", True, "both", 1)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_at_their_corners_and_ends(name, dtype):
    """One unit whose input goes through: h = f(x); NaN and infinities come out as the function says."""
    rnn = fastrnn.RNN(1, 1, activations=((name, *ACTIVATIONS[name][:TAKES.get(name, 0)]),), dtype=dtype)
    for key, value in rnn.params.items():
        value[...] = key == "weight_ih_l0"
    x = np.array([0, -0.0, 1, -1, 1e-30, -1e-30, 2.5, -2.5, 5, 30, -30, 1e4, -1e4, np.inf, -np.inf, np.nan], dtype)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name][0](x.astype(np.float64), *ACTIVATIONS[name])
    # in the recurrent product 0 stands beside each, and infinity times 0 is NaN: one step for each
    found = np.array([rnn(x[k].reshape(1, 1, 1))[0].item() for k in range(len(x))])
    if name == "softsign":
        expected[13:15] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-7)


@pytest.mark.parametrize("name", [*VARIANTS, "lstm", "gru_reset_after", "rnn_tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_depend_on_neither_batch_nor_threads_nor_chunks(name, dtype, each_isa_of_ours):
    rnn = make_runner(Problem(name, 5, 33, 2, dtype=dtype))
    x = np.random.default_rng(0).standard_normal((9, 7, 5)).astype(dtype)
    with threads(1):
        whole = rnn(x)[0]
        for b in range(7):
            np.testing.assert_array_equal(rnn(x[:, b:b + 1])[0], whole[:, b:b + 1])
        stream = rnn.stream(7)
        np.testing.assert_array_equal(np.stack([stream.step(row) for row in x]), whole)
        y, _, _ = rnn.forward(x)
        np.testing.assert_array_equal(y, whole)
    with threads(3):
        np.testing.assert_array_equal(rnn(x)[0], whole)


@pytest.mark.parametrize("name", VARIANTS)
def test_recomputed_gradients_have_the_same_bits(name):
    grads = []
    for recompute in (False, True):
        rnn = make_runner(Problem(name, 4, 12, 2), recompute=recompute)
        x = np.random.default_rng(0).standard_normal((300, 3, 4))
        y, _, tape = rnn.forward(x)
        grads.append([*rnn.backward(tape, y)[:1], *rnn.grads.values()])
    for one, other in zip(*grads):
        np.testing.assert_array_equal(one, other)


# direction="reverse"


@settings(max_examples=60)
@given(problems(cells=[*RUNNERS], bidirectional=False), st.integers(1, 3))
def test_reverse_is_forward_of_what_is_reversed(drawn, n):
    problem, _ = drawn
    lengths = [problem.steps] * problem.batch if problem.lengths is None else problem.lengths
    dtype = problem.dtype

    def turned(a):
        return np.stack([np.concatenate([a[:k, b][::-1], a[k:, b]]) for b, k in enumerate(lengths)], axis=1)

    x, dy = problem.x.astype(dtype), problem.dy.astype(dtype)
    for b, k in enumerate(lengths):
        dy[k:, b] = 0
    results = []
    for direction in "forward", "reverse":
        rnn = make_runner(problem, direction=direction)
        with threads(n):
            take = turned if direction == "reverse" else np.asarray
            y, state = rnn(take(x), lengths=lengths)
            y2, state2, tape = rnn.forward(take(x), lengths=lengths)
            dx, dstate = rnn.backward(tape, take(dy))
        parts = [part for one in (state, state2, dstate) for part in (one if isinstance(one, tuple) else (one,))]
        results.append([take(y), take(y2), take(dx), *parts, *rnn.grads.values()])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_reverse_has_no_stream_carries_no_state_and_is_told_from_two_directions():
    rnn = fastrnn.LSTM(3, 4, direction="reverse", recompute=True, num_layers=2, seed=0)
    with pytest.raises(ValueError, match="expected one direction, forward, for a stream, found direction='reverse'"):
        rnn.stream()
    with pytest.raises(ValueError, match="bidirectional: expected False with direction='reverse'"):
        fastrnn.LSTM(3, 4, direction="reverse", bidirectional=True)
    both = fastrnn.GRU(3, 4, direction="bidirectional")
    assert both.bidirectional and both.config()["direction"] == "bidirectional"
    assert fastrnn.GRU(3, 4, bidirectional=True).direction == "bidirectional"
    x = np.random.default_rng(0).standard_normal((200, 2, 3)).astype("f")
    y, _, tape = rnn.forward(x, lengths=[200, 90])
    found = [rnn.backward(tape, y)[0], *map(np.copy, rnn.grads.values())]
    rnn.recompute = False
    for grad in rnn.grads.values():
        grad[...] = 0
    y, _, tape = rnn.forward(x, lengths=[200, 90])
    for one, other in zip(found, [rnn.backward(tape, y)[0], *rnn.grads.values()]):
        np.testing.assert_array_equal(one, other)
    h = rnn.forward(x[:5])[2]
    assert np.array_equal(rnn.activations(h)["h"][1], rnn(x[:5])[0])
    model = fastrnn.Sequential(fastrnn.LSTM(3, 4, direction="reverse"), fastrnn.Linear(4, 2))
    with pytest.raises(ValueError, match="a model that reads in one direction, found one that reads backwards"):
        fastrnn.Trainer(model, tbptt=2).fit(x.swapaxes(0, 1), np.zeros((2, 200), int), epochs=1, progress=False)


# Arguments, files, copies


@pytest.mark.parametrize("name", VARIANTS)
def test_options_survive_files_copies_and_json(name, tmp_path):
    rnn = make_runner(Problem(name, 3, 5, 2, True))
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    fastrnn.save(rnn, tmp_path / "model")
    again = fastrnn.nn.module.module_from_config(json.loads(json.dumps(rnn.config())))
    again.load_state_dict(rnn.params)
    for other in fastrnn.load(tmp_path / "model"), pickle.loads(pickle.dumps(rnn)), again:
        assert other.config() == json.loads(json.dumps(other.config())) | other.config()
        np.testing.assert_array_equal(other(x)[0], rnn(x)[0])


def test_the_cells_own_activations_take_the_fast_path():
    for own, plain in (
        (fastrnn.LSTM(3, 4, seed=0, activations=("sigmoid", "tanh", "tanh")), fastrnn.LSTM(3, 4, seed=0)),
        (fastrnn.GRU(3, 4, seed=0, activations=["sigmoid", "tanh"]), fastrnn.GRU(3, 4, seed=0)),
        (fastrnn.RNN(3, 4, seed=0, activations=["relu"], nonlinearity="relu"),
         fastrnn.RNN(3, 4, seed=0, nonlinearity="relu")),
    ):
        assert not own._watched.general and not plain._watched.general
        x = np.ones((3, 2, 3), "f")
        np.testing.assert_array_equal(own(x)[0], plain(x)[0])
    assert fastrnn.LSTM(3, 4, clip=1)._watched.general


@pytest.mark.parametrize(("kind", "options", "message"), [
    ("LSTM", {"activations": ("sigmoid", "tanh")}, "activations: expected 3 for LSTM, f, g, h; found"),
    ("GRU", {"activations": ("sigmoid", "tan")}, "activations: expected names among sigmoid, .*, found 'tan' for g"),
    ("RNN", {"activations": "tanh"}, "activations: expected a sequence of 1, found 'tanh'"),
    ("RNN", {"activations": (("tanh", 1),)}, "activations: expected at most 0 numbers with 'tanh'"),
    ("RNN", {"activations": (("elu", "x"),)}, "alpha of elu: expected a number, found 'x'"),
    ("LSTM", {"clip": 0}, "clip: expected a finite number above 0, found 0"),
    ("LSTM", {"clip": "1"}, "clip: expected a number, found '1'"),
    ("LSTM", {"peepholes": 1}, "peepholes: expected"),
    ("LSTM", {"layer_norm": True, "peepholes": True}, "layer_norm: expected False with other activations"),
    ("GRU", {"layer_norm": True, "clip": 1.0}, "layer_norm: expected False with other activations"),
    ("GRU", {"direction": "back"}, "direction: expected one of 'forward', 'reverse', 'bidirectional'"),
])  # fmt: skip
def test_bad_options_are_named(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        KINDS[kind](3, 4, **options)


def test_directions_have_activations_of_their_own():
    rnn = fastrnn.GRU(3, 4, bidirectional=True, activations=(("sigmoid", "tanh"), ("hard_sigmoid", "softsign")), seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("f")
    for suffix, own, part in ("", ("sigmoid", "tanh"), slice(0, 4)), \
            ("_reverse", ("hard_sigmoid", "softsign"), slice(4, 8)):
        alone = fastrnn.GRU(3, 4, activations=own, direction="reverse" if suffix else "forward")
        alone.load_state_dict({name: rnn.params[name + suffix] for name in alone.params})
        # alone, the cell's own activations take the fast path
        np.testing.assert_allclose(alone(x)[0], rnn(x)[0][..., part], atol=1e-6)


# ONNX Runtime


def onnx_attributes(rnn, kind, sets):
    """What the operator is told, beside its parameters."""
    full = [(name, *numbers, *ACTIVATIONS[name][len(numbers):]) for one in sets for name, *numbers in one]
    # only those that take a number have one in the list
    attributes = {"activations": [ONNX[name] for name, _, _ in full],
                  "activation_alpha": [float(alpha) for name, alpha, _ in full if TAKES.get(name, 0) >= 1],
                  "activation_beta": [float(beta) for name, _, beta in full if TAKES.get(name, 0) == 2]}
    attributes = {name: values for name, values in attributes.items() if values}
    if rnn.clip is not None:
        attributes["clip"] = rnn.clip
    if kind == "LSTM":
        attributes["input_forget"] = int(rnn.coupled_gates)
    if kind == "GRU":
        attributes["linear_before_reset"] = int(rnn.reset_after)
    return attributes


def drawn_config(rng):
    kind = ["RNN", "LSTM", "GRU"][rng.integers(3)]
    direction = ["forward", "reverse", "bidirectional"][rng.integers(3)]

    def one():
        found = []
        for _ in range({"RNN": 1, "LSTM": 3, "GRU": 2}[kind]):
            name = sorted(ACTIVATIONS)[rng.integers(len(ACTIVATIONS))]
            numbers = np.round(rng.uniform(0.2, 1.0, TAKES.get(name, 0)), 2).tolist()
            found.append((name, *numbers))
        return tuple(found)

    sets = [one() for _ in range(1 + (direction == "bidirectional"))]
    options = {"direction": direction, "activations": tuple(sets) if len(sets) == 2 else sets[0],
               "clip": [None, 0.45, 2.0][rng.integers(3)]}
    if kind == "LSTM":
        options |= {"peepholes": bool(rng.integers(2)), "coupled_gates": bool(rng.integers(2))}
    if kind == "GRU":
        options["reset_after"] = bool(rng.integers(2))
    return kind, options, sets


@pytest.mark.parametrize("start", range(0, 500, 50))
def test_equals_onnxruntime(start):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from test_onnxruntime import onnx_session

    compared = 0
    for seed in range(start, start + 50):
        rng = np.random.default_rng([seed, 3])
        kind, options, sets = drawn_config(rng)
        hidden, inputs, batch, steps = rng.integers(1, 20), rng.integers(1, 9), rng.integers(1, 6), rng.integers(1, 9)
        rnn = KINDS[kind](int(inputs), int(hidden), seed=seed, init="pytorch", **options)
        lengths = rng.integers(1, steps + 1, batch).astype(np.int32)
        lengths[rng.integers(batch)] = steps
        x = rng.standard_normal((steps, batch, inputs)).astype("f")
        rows = 1 + rnn.bidirectional
        states = [rng.standard_normal((rows, batch, hidden)).astype("f") for _ in range(1 + (kind == "LSTM"))]
        y, final = rnn(x, tuple(states) if kind == "LSTM" else states[0], lengths=lengths)
        session = onnx_session(rnn, kind, onnx_attributes(rnn, kind, sets), ORDER[kind])
        feeds = {"X": x, "lengths": lengths, **dict(zip(("initial_h", "initial_c"), states))}
        their_y, *their_final = session.run(None, feeds)
        their_y = their_y.transpose(0, 2, 1, 3).reshape(steps, batch, -1)
        final = final if kind == "LSTM" else (final,)
        if not np.abs(their_y).max() < 100:     # it grows without bound; softplus of more than 88 is infinite there
            continue
        compared += 1
        for one, other in zip((y, *final), (their_y, *their_final)):
            scale = max(1.0, float(np.abs(other).max()))
            assert np.abs(one - other).max() <= 1e-5 * scale, (seed, kind, options)
    assert compared >= 45

"""Recurrent dropout, zoneout, dropped weights and layer normalisation: the equations, the masks, the options."""

import json
import pickle

import numpy as np
import pytest
import reference
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem
from test_bits import assert_same_bits
from test_engine import (
    CELLS,
    RUNNERS,
    arrange_state,
    assert_close,
    batches,
    check_training,
    few,
    lengths_argument,
    make_runner,
    problems,
    restore,
    restore_state,
    sizes,
    thread_counts,
    threads,
)
from test_engine import arrange as arranged
from tolerances import relative_error, tolerance

import fastrnn

probabilities = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


@st.composite
def options(draw, drawn):
    """Fields of a problem: probabilities, and where the masks come from."""
    pair = st.tuples(probabilities, probabilities)
    # A norm of a few values that happen to be nearly equal, or of one value times a vector, multiplies roundings by up
    # to 1e5; float64 has them to spare.
    more = 7 * (drawn["cell"].startswith("layer_norm") and drawn["dtype"] == "float32")
    return {
        "input_size": drawn["input_size"] + more,
        "hidden_size": drawn["hidden_size"] + more,
        "proj_size": drawn["proj_size"] and min(drawn["proj_size"] + more, drawn["hidden_size"] + more - 1),
        "dropout": draw(probabilities) if drawn["num_layers"] > 1 else 0.0,
        "recurrent_dropout": draw(probabilities),
        "zoneout": draw(st.one_of(probabilities, pair) if drawn["cell"] in reference.LSTMS else probabilities),
        "weight_dropout": draw(probabilities),
        "mask_seed": draw(st.integers(0, 2**63 - 1)),
        "first_step": draw(st.sampled_from([0, 0, 1, 1000])),
    }


drawn_problems = problems(sizes, batches, few, cells=list(RUNNERS), options=options)
gradients_given = st.sampled_from(["dy", "dstate", "both"])


@settings(max_examples=100)
@given(drawn_problems, st.booleans(), gradients_given, thread_counts)
def test_training_equals_the_reference(each_isa, drawn, with_state, gradients, n):
    check_training(*drawn, with_state, gradients, n)


@settings(max_examples=20)
@given(
    problems(st.integers(30, 50), st.integers(10, 40), st.integers(20, 25), list(RUNNERS), options, num_layers=2),
    gradients_given,
    st.integers(2, 6),
)
def test_training_on_several_threads_equals_the_reference(drawn, gradients, n):
    check_training(*drawn, True, gradients, n)


@settings(max_examples=100)
@given(drawn_problems, thread_counts)
def test_inference_equals_the_reference(each_isa, drawn, n):
    problem, layout = drawn
    expected_y, expected_state = problem.infer()
    state = arrange_state(problem.state, problem, layout)
    with threads(n):
        y, state = make_runner(problem, layout)(
            arranged(problem.x, problem, layout), state, lengths=lengths_argument(problem, layout)
        )
    assert_close("y", restore(y, problem, layout), expected_y, problem)
    for found, expected in zip(restore_state(state, problem, layout), expected_state, strict=True):
        assert_close("state", found, expected, problem)


EVERYTHING = {"recurrent_dropout": 0.4, "zoneout": 0.3, "weight_dropout": 0.2}
FEATURES = {
    "plain": {},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.4},
    "weight dropout": {"weight_dropout": 0.4},
    "everything": {**EVERYTHING, "num_layers": 2, "bidirectional": True, "dropout": 0.3},
}
PROJECTED = {**EVERYTHING, "zoneout": (0.3, 0.6), "proj_size": 2, "num_layers": 2}
CASES = [(cell, feature) for cell in RUNNERS for feature in FEATURES.values()]
CASES += [(cell, PROJECTED) for cell in sorted(reference.LSTMS & RUNNERS.keys())]


@pytest.mark.parametrize(("cell", "feature"), CASES)
def test_gradients_by_finite_differences(cell, feature):
    problem = Problem(cell, steps=3, batch=3, lengths=[2, 0, 3], seed=3, **feature)
    rnn = make_runner(problem)

    def forward():
        state = arrange_state(problem.state, problem, "time-major")
        return rnn.forward(problem.x, state, problem.lengths, seed=8)

    def loss():
        y, state, _ = forward()
        pairs = zip((y, *restore_state(state, problem, "time-major")), (problem.dy, *problem.dstate))
        return sum(np.sum(a * b) for a, b in pairs)

    dx, dstate = rnn.backward(forward()[2], problem.dy, arrange_state(problem.dstate, problem, "time-major"))
    initial = {f"state[{k}]": s for k, s in enumerate(problem.state)}
    dstate = {f"state[{k}]": d for k, d in enumerate(restore_state(dstate, problem, "time-major"))}
    assert any(np.abs(g).max() > 0.1 for g in rnn.grads.values())
    check_gradients(loss, {"x": problem.x, **initial, **rnn.params}, {"x": dx, **dstate, **rnn.grads})


# What the masks promise


def results(rnn, x, seed=None, first_step=0, **given):
    """y, final state, dx and gradients of one training pass."""
    rnn.zero_grad()
    y, state, tape = rnn.forward(x, seed=seed, first_step=first_step, **given)
    dx, _ = rnn.backward(tape, np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype))
    return {"y": y, "state": np.asarray(state), "dx": dx, **{name: g.copy() for name, g in rnn.grads.items()}}


def assert_equal(found, expected):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("cell", RUNNERS)
def test_masks_do_not_depend_on_the_number_of_threads(each_isa_of_ours, cell):
    problem = Problem(cell, 40, 64, num_layers=2, bidirectional=True, steps=12, batch=20, dropout=0.2, **EVERYTHING)
    problem.lengths = [12, 3] * 10
    x = problem.x.astype("float32")
    problem.dtype = "float32"
    found = []
    for n in (1, 2, 5):
        with threads(n):
            found.append(results(make_runner(problem), x, seed=3, lengths=problem.lengths))
    for other in found[1:]:
        np.testing.assert_array_equal(other["y"], found[0]["y"])
        np.testing.assert_array_equal(other["state"], found[0]["state"])
        for name, expected in found[0].items():
            assert_close(name, other[name], expected, problem)


@pytest.mark.parametrize("feature", ["recurrent_dropout", "zoneout", "weight_dropout", "dropout"])
@pytest.mark.parametrize("cell", RUNNERS)
def test_a_sequence_in_pieces_gets_the_masks_of_the_whole(cell, feature):
    problem = Problem(cell, 3, 9, num_layers=2, steps=7, batch=3, dtype="float32", **{feature: 0.5})
    rnn = make_runner(problem)
    x = problem.x.astype("float32")
    whole, final, _ = rnn.forward(x, seed=5)
    parts, state = [], None
    for start, end in ((0, 2), (2, 3), (3, 7)):
        part, state, _ = rnn.forward(x[start:end], state, seed=5, first_step=start)
        parts.append(part)
    assert_same_bits(np.concatenate(parts), whole)
    assert_same_bits(np.asarray(state), np.asarray(final))
    assert not np.array_equal(rnn.forward(x, seed=6)[0], whole)


@pytest.mark.parametrize("feature", ["recurrent_dropout", "zoneout", "weight_dropout"])
def test_a_generator_decides_the_masks_where_no_seed_is_given(feature):
    def outputs(seed):
        rnn = fastrnn.LSTM(3, 16, seed=seed, **{feature: 0.5})
        rnn.load_state_dict(fastrnn.LSTM(3, 16, seed=9).state_dict())
        return [rnn.forward(np.ones((4, 2, 3)))[0] for _ in range(2)]

    first, again, other = outputs(1), outputs(1), outputs(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_one_mask_for_a_sequence_and_another_for_the_next():
    """An identity as W_hh and no input: h_t = relu(m * h_{t-1}) shows the mask, and that it is the same each step."""
    rnn = fastrnn.RNN(1, 200, nonlinearity="relu", bias=False, recurrent_dropout=0.25, dtype="float64")
    rnn.params["weight_ih_l0"][...] = 0
    rnn.params["weight_hh_l0"][...] = np.eye(200)
    y = rnn.forward(np.zeros((5, 6, 1)), np.ones((1, 6, 200)))[0]
    assert set(np.unique(y[0] > 0)) == {False, True}
    for t in range(5):
        assert relative_error(y[t], (y[0] > 0) * (4 / 3) ** (t + 1)) <= tolerance("engine, float64")
    assert len({y[0, b].tobytes() for b in range(6)}) == 6
    assert abs((y[0] > 0).mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / y[0].size)


def test_zoneout_keeps_the_stated_share_anew_each_step():
    lstm = fastrnn.LSTM(1, 100, bias=False, zoneout=(0.3, 0.7), dtype="float64", seed=0)
    state = np.full((2, 1, 20, 100), 9.0)
    stays = [[], []]
    for t in range(20):
        for kept, part in zip(stays, lstm.forward(np.ones((1, 20, 1)), tuple(state), seed=4, first_step=t)[1]):
            kept.append(part == 9)
    for kept, p in zip(stays, (0.3, 0.7)):
        kept = np.array(kept)
        assert abs(kept.mean() - p) < 5 * np.sqrt(p * (1 - p) / kept.size)
        assert len({step.tobytes() for step in kept}) == 20
    assert not np.array_equal(*stays)


def test_the_mean_over_masks_is_what_inference_computes():
    """Where the state enters linearly."""
    rnn = fastrnn.RNN(1, 400, nonlinearity="relu", bias=False, dtype="float64", seed=0)
    rnn.params["weight_ih_l0"][...] = 0
    rnn.params["weight_hh_l0"][...] = 0.5 * np.eye(400)
    x, state = np.zeros((3, 50, 1)), np.ones((1, 50, 400))
    for feature in ("recurrent_dropout", "zoneout", "weight_dropout"):
        setattr(rnn, feature, 0.5)
        steps = 3 if feature == "zoneout" else 1  # other masks stay: their powers have other means
        trained, inferred = rnn.forward(x[:steps], state, seed=1)[0], rnn(x[:steps], state)[0]
        assert (inferred == inferred[:, :1, :1]).all()
        draws = 400 if feature == "weight_dropout" else 20000
        assert np.abs(trained.mean(axis=(1, 2)) / inferred[:, 0, 0] - 1).max() < 5 / np.sqrt(draws)
        setattr(rnn, feature, 0.0)


def test_dropping_is_for_training_only():
    problem = Problem("lstm", num_layers=2, steps=6)
    plain = make_runner(problem)
    for feature in ("recurrent_dropout", "weight_dropout"):
        dropping = make_runner(problem, **{feature: 0.9})
        np.testing.assert_array_equal(plain(problem.x)[0], dropping(problem.x)[0])
        assert not np.array_equal(plain.forward(problem.x)[0], dropping.forward(problem.x)[0])


@pytest.mark.parametrize("cell", RUNNERS)
def test_probabilities_may_be_assigned_and_zero_gives_the_plain_bits(cell):
    problem = Problem(cell, 5, 9, num_layers=2, steps=6)
    plain, rnn = make_runner(problem), make_runner(problem, **EVERYTHING)
    expected = results(plain, problem.x)
    assert not np.array_equal(results(rnn, problem.x)["y"], expected["y"])
    stream = rnn.stream(problem.batch)
    for name in EVERYTHING:
        setattr(rnn, name, 0)
    assert_equal(results(rnn, problem.x), expected)
    np.testing.assert_array_equal(rnn(problem.x)[0], plain(problem.x)[0])
    np.testing.assert_array_equal(stream.step(problem.x[0]), plain(problem.x[:1])[0][0])
    rnn.zoneout = 0.5
    stream.reset()
    np.testing.assert_array_equal(stream.step(problem.x[0]), rnn(problem.x[:1])[0][0])
    assert not np.array_equal(rnn(problem.x)[0], plain(problem.x)[0])


def test_a_tape_keeps_the_probabilities_of_its_forward():
    problem = Problem("gru_reset_after", 5, 9, num_layers=2, steps=6, **EVERYTHING)
    rnn = make_runner(problem)
    expected = results(rnn, problem.x, seed=2)
    rnn.zero_grad()
    y, _, tape = rnn.forward(problem.x, seed=2)
    rnn.recurrent_dropout = rnn.zoneout = rnn.weight_dropout = 0
    rnn.backward(tape, np.cos(np.arange(y.size)).reshape(y.shape))
    assert_equal(rnn.grads, {name: expected[name] for name in rnn.grads})


@pytest.mark.parametrize("cell", RUNNERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_at_their_edges(cell, dtype):
    problem = Problem(cell, 5, 9, num_layers=2, steps=6, dtype=dtype)
    x = problem.x.astype(dtype)
    plain = results(make_runner(problem), x)
    tiny = float(np.finfo(np.float32).tiny)
    for name in EVERYTHING:
        for part, found in results(make_runner(problem, **{name: tiny}), x).items():
            if part in ("y", "state"):
                np.testing.assert_array_equal(found, plain[part])
            assert_close(part, found, plain[part], problem)
        for almost in (1.0, 1 - 2.0**-20):
            found = results(make_runner(problem, **{name: almost}), x)
            assert all(np.isfinite(a).all() for a in found.values())
            if name != "zoneout":
                assert not found["weight_hh_l0"].any()
    state = np.ones((2, 4, 9), dtype)
    frozen = make_runner(problem, zoneout=1.0)
    state = (state, state) if cell in reference.LSTMS else state
    for y in (frozen(x, state)[0], frozen.forward(x, state)[0]):
        np.testing.assert_array_equal(y, 1)


# Cells


@pytest.mark.parametrize("cell", CELLS)
def test_a_loop_over_a_cell_equals_the_runner(cell):
    """With one seed and the number of each step a loop of one's own has the runner's masks, forward and backward."""
    problem = Problem(cell, 3, 6, steps=5, **EVERYTHING)
    rnn = make_runner(problem)
    kind, own = CELLS[cell]
    loop = kind(3, 6, dtype="float64", **own, **EVERYTHING)
    loop.load_state_dict({name.removesuffix("_l0"): p for name, p in problem.params.items()})
    y, _, tape = rnn.forward(problem.x, arrange_state(problem.state, problem, "time-major"), seed=7)
    dx, dstate = rnn.backward(tape, problem.dy, arrange_state(problem.dstate, problem, "time-major"))
    state = tuple(s[0] for s in problem.state)
    tapes = []
    for t in range(5):
        h, state, tape = loop.forward(problem.x[t], state if len(state) == 2 else state[0], seed=7, first_step=t)
        np.testing.assert_array_equal(h, y[t])
        state = state if isinstance(state, tuple) else (state,)
        tapes.append(tape)
    d = tuple(s[0] for s in problem.dstate)
    for t in reversed(range(5)):
        dx_t, d = loop.backward(tapes[t], problem.dy[t], d if len(d) == 2 else d[0])
        assert_close("dx", dx_t, dx[t], problem)
        d = d if isinstance(d, tuple) else (d,)
    for found, expected in zip(d, dstate if len(d) == 2 else (dstate,)):
        assert_close("dstate", found, expected[0], problem)
    for name, g in loop.grads.items():
        assert_close(name, g, rnn.grads[f"{name}_l0"], problem)


# Parameters, configurations, files


def test_names_and_first_values_of_the_parameters():
    lstm = fastrnn.LSTM(3, 5, 2, layer_norm=True, seed=0)
    plain = fastrnn.LSTM(3, 5, 2, seed=0)
    added = {name: p.shape for name, p in lstm.params.items() if name not in plain.params}
    assert added == {
        f"{name}_l{k}": (size,)
        for k in (0, 1)
        for name, size in (("gain_ih", 20), ("gain_hh", 20), ("gain_c", 5), ("bias_c", 5))
    }
    for name, p in lstm.params.items():
        np.testing.assert_array_equal(p, 1 if "gain" in name else plain.params.get(name, 0), err_msg=name)
    names = fastrnn.GRU(3, 5, layer_norm=True, bias=False).params.keys()
    assert names == {"weight_ih_l0", "weight_hh_l0", "gain_ih_l0", "gain_hh_l0"}
    assert "bias_c_l0" not in fastrnn.LSTM(3, 5, layer_norm=True, bias=False).params
    assert "gain_c_reverse" not in lstm.params and "gain_c_l1_reverse" in fastrnn.LSTM(
        3, 5, 2, layer_norm=True, bidirectional=True
    ).params


@pytest.mark.parametrize("make", [
    lambda: fastrnn.LSTM(3, 5, 2, layer_norm=True, zoneout=(0.1, 0.4), recurrent_dropout=0.2, proj_size=2, seed=0),
    lambda: fastrnn.GRU(3, 5, layer_norm=True, zoneout=0.1, weight_dropout=0.5, bidirectional=True, seed=0),
    lambda: fastrnn.RNN(3, 5, zoneout=0.25, weight_dropout=0.5, seed=0),
    lambda: fastrnn.Sequential(fastrnn.LSTM(3, 5, layer_norm=True, zoneout=0.5, seed=0), fastrnn.Linear(5, 2, seed=1)),
])
def test_saved_copied_and_pickled_models_are_the_same(make, tmp_path):
    model = make()
    path = tmp_path / "model.safetensors"
    fastrnn.save(model, path)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype("float32")
    for twin in (fastrnn.load(path), pickle.loads(pickle.dumps(model))):
        assert twin.config() == json.loads(json.dumps(model.config())) or twin.config() == model.config()
        np.testing.assert_array_equal(twin(x)[0], model(x)[0])
        for twins in (twin, model):
            twins.set_rng(np.random.default_rng(1))
        np.testing.assert_array_equal(twin.forward(x)[0], model.forward(x)[0])


BAD = {
    "recurrent_dropout below 0": ({"recurrent_dropout": -0.1}, ValueError, r"^recurrent_dropout: expected"),
    "recurrent_dropout above 1": ({"recurrent_dropout": 1.1}, ValueError, r"^recurrent_dropout: expected"),
    "weight_dropout is text": ({"weight_dropout": "0.1"}, TypeError, r"^weight_dropout: expected"),
    "weight_dropout is NaN": ({"weight_dropout": np.nan}, ValueError, r"^weight_dropout: expected"),
    "zoneout is a triple": ({"zoneout": (0.1, 0.1, 0.1)}, TypeError, r"^zoneout: expected"),
    "zoneout[1] above 1": ({"zoneout": (0.1, 2)}, ValueError, r"^zoneout\[1\]: expected"),
    "layer_norm is 1": ({"layer_norm": 1}, TypeError, r"^layer_norm: expected"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", [fastrnn.LSTM, fastrnn.LSTMCell])
def test_bad_options_are_named(kind, bad):
    given, error, message = BAD[bad]
    with pytest.raises(error, match=message):
        kind(3, 4, **given)
    rnn = kind(3, 4, zoneout=0.2)
    if "layer_norm" in given:
        return
    for name, value in given.items():
        before = getattr(rnn, name)
        with pytest.raises(error, match=message):
            setattr(rnn, name, value)
        assert getattr(rnn, name) == before


def test_options_that_a_cell_lacks():
    with pytest.raises(TypeError, match=r"^zoneout: expected a number"):
        fastrnn.GRU(3, 4, zoneout=(0.1, 0.2))
    with pytest.raises(ValueError, match=r"^layer_norm: expected reset_after=True"):
        fastrnn.GRU(3, 4, layer_norm=True, reset_after=False)
    rnn = fastrnn.GRU(3, 4)
    for name, value in (("seed", -1), ("seed", 0.5), ("seed", 2**63), ("first_step", -1), ("first_step", "0")):
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected"):
            rnn.forward(np.zeros((2, 1, 3)), **{name: value})

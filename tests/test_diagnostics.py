"""Diagnostics: numbers against closed forms, the verdict on networks built to vanish, explode, saturate and thrive."""

import math

import numpy as np
import pytest

from fastrnn import (
    GRU,
    LSTM,
    RNN,
    ActivationRegularization,
    Conv1d,
    Dropout,
    Embedding,
    LaneStream,
    LastStep,
    LayerNorm,
    Linear,
    MeanOverTime,
    Sequential,
    diagnostics,
)
from fastrnn.diagnostics import Diagnosis, diagnose, measures, spectrum

STEPS, COUNT = 60, 6


def data(features=2, steps=STEPS, count=COUNT, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.5, (count, steps, features)) * scale, rng.standard_normal((count, 1))


def network(runner, pool=None, seed=1):
    head = LastStep(bidirectional=runner.bidirectional) if pool is None else pool
    return Sequential(runner, head, Linear(runner.output_size, 1, seed=seed, dtype=runner.dtype))


def look(runner, loss="mse", **options):
    return diagnose(network(runner), *data(runner.input_size, **options), loss=loss)


def linear_rnn(gain, bidirectional=False, num_layers=1, dtype="float64"):
    """A ReLU network that stays positive, so that dh_t/dh_{t-1} is gain * identity."""
    how = {"recurrent": ("identity", gain), "input": 0.1, "bias": 0.01}
    return RNN(2, 4, num_layers, nonlinearity="relu", bidirectional=bidirectional, init=how, dtype=dtype)


def found(diagnosis, kind):
    """The one finding of a kind."""
    (finding,) = [finding for finding in diagnosis.findings if finding.kind == kind]
    return finding


# Decay


@pytest.mark.parametrize(
    "norms, factor, vanishes, explodes",
    [
        (0.5 ** np.arange(40), 0.5, 11, None),  # 2^-10 is the first under 1/1000
        (2.0 ** np.arange(40), 2.0, None, 11),
        (np.ones(40), 1.0, None, None),
        (0.9 ** np.arange(40), 0.9, None, None),
        (np.array([1, 1e-2, *[1e-2] * 30]), 1.0, None, None),  # the way into an LSTM's c counts once
        (np.array([1, 1, *[1e-9] * 20, 1.0]), 1.0, None, None),  # comes back
        (np.array([1, 0, 0, 0.0]), 0.0, 1, None),
        (np.array([1, 1, 10, np.inf, np.nan]), 10.0, None, 3),
        (np.array([1, 1, 1, 0.0, 0, 0]), 1.0, 3, None),
        (np.zeros(9), None, None, None),
        (np.ones(2), None, None, None),
    ],
)
def test_decay_of(norms, factor, vanishes, explodes):
    decay = measures.decay_of(norms)
    assert (decay.vanishes, decay.explodes) == (vanishes, explodes)
    assert decay.factor == factor if factor is None else math.isclose(decay.factor, factor, rel_tol=1e-12)


def test_steps_to():
    decay = measures.decay_of(0.5 ** np.arange(5.0))
    assert math.isclose(decay.steps_to(1e-3), 1 + 3 / math.log10(2))
    assert decay.steps_to(1e3) == math.inf
    assert measures.decay_of(np.ones(5)).steps_to(1e-3) == math.inf


@pytest.mark.parametrize("from_end", [True, False])
def test_norms_by_distance(from_end):
    dh = np.random.default_rng(0).standard_normal((6, 4, 3)).astype("float32")
    lengths = np.array([6, 2, 0, 4])
    expected = []
    for k in range(6):
        at = [(length - 1 - k if from_end else k, b) for b, length in enumerate(lengths) if length > k]
        expected.append(math.sqrt(np.mean([np.sum(dh[t, b].astype(float) ** 2) for t, b in at])))
    assert np.allclose(measures.norms_by_distance(dh, lengths, from_end), expected, rtol=1e-12)


@pytest.mark.parametrize("gain", [0.5, 0.97, 1.0, 1.03, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_decay_of_a_linear_network_is_its_matrix(gain, dtype):
    (layer,) = look(linear_rnn(gain, dtype=dtype), steps=40).layers
    assert math.isclose(layer.decay.factor, gain, rel_tol=1e-5)
    assert np.allclose(layer.decay.norms / layer.decay.norms[0], gain ** np.arange(40), rtol=1e-4)
    assert layer.decay.vanishes == (11 if gain == 0.5 else None)
    assert layer.decay.explodes == (11 if gain == 2.0 else None)
    assert math.isclose(layer.spectra["state"].radius, gain, rel_tol=1e-6)


def test_the_norm_is_that_of_the_loss():
    """One sequence, one step from the loss: dE/dh = 2 (prediction - target) times the weights of the last layer."""
    model = network(linear_rnn(1.0))
    x, y = data(count=1)
    prediction, _ = model(x)
    expected = abs(2 * (prediction - y)).item() * np.linalg.norm(model.modules[2].params["weight"])
    (layer,) = diagnose(model, x, y, loss="mse").layers
    assert math.isclose(layer.decay.norms[0], expected, rel_tol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_each_direction_is_followed_from_its_own_end(layers):
    runner = linear_rnn(0.5, bidirectional=True, num_layers=layers)
    for name, p in runner.params.items():
        if name.startswith("weight_hh") and name.endswith("_reverse"):
            p *= 2
        if name.startswith("weight_ih_l1"):
            p[...] = 0  # each direction of the upper layer reads its own of the lower
            p[:, slice(4, 8) if name.endswith("_reverse") else slice(0, 4)] = np.eye(4)
    decays = {layer.name: layer.decay for layer in look(runner, steps=40).layers}
    assert len(decays) == 2 * layers
    for name, decay in decays.items():
        lower = layers == 2 and "l0" in name
        if name.endswith("_reverse"):
            assert decay.vanishes is None and decay.explodes is None
            expected = np.arange(1, 41) if lower else np.ones(40)  # k + 1 ways through two layers
        else:
            expected = 0.5 ** np.arange(40) * (np.arange(1, 41) if lower else 1)
            assert decay.vanishes is not None
        assert np.allclose(decay.norms / decay.norms[0], expected, rtol=1e-9), name


def test_ragged_sequences_are_followed_from_their_own_last_step():
    runner = linear_rnn(0.5)
    x, y = data(steps=30)
    lengths = [30, 3, 12, 1, 30, 7]
    ragged = diagnose(network(runner), [a[:n] for a, n in zip(x, lengths)], y, loss="mse").layers[0].decay
    padded = diagnose(network(runner), x, y, loss="mse", lengths=lengths).layers[0].decay
    assert len(ragged.norms) == 30 and np.array_equal(ragged.norms, padded.norms)
    at_15 = diagnose(network(runner), x[[0, 4]], y[[0, 4]], loss="mse").layers[0].decay.norms[15]
    scale = 1 / 3  # the loss is a mean over six sequences, not two
    assert math.isclose(ragged.norms[15], at_15 * scale, rel_tol=1e-9)


def test_a_loss_at_every_step_and_a_mean_over_time_count_at_the_end_alone():
    runner = linear_rnn(0.5)
    x, y = data(steps=30)
    pooled = diagnose(network(runner, MeanOverTime()), x, y, loss="mse").layers[0].decay
    per_step = diagnose(Sequential(runner, Linear(4, 1, dtype="float64")), x, x[..., :1], loss="mse").layers[0].decay
    bare = diagnose(runner, x.swapaxes(0, 1).swapaxes(0, 1), np.zeros((COUNT, 30, 4)), loss="mse").layers[0].decay
    for decay in pooled, per_step, bare:
        assert np.allclose(decay.norms / decay.norms[0], 0.5 ** np.arange(30), rtol=1e-9)


def test_penalties_are_no_part_of_the_loss_at_the_end():
    runner = linear_rnn(0.5)
    upper = RNN(4, 4, init={"recurrent": ("identity", 0.5), "input": 0.1, "bias": 0.01}, nonlinearity="relu",
                dtype="float64")
    x, y = data(steps=30)
    found = []
    for ar in (0.0, 50.0):
        head = LastStep(), Linear(4, 1, dtype="float64", seed=0)
        model = Sequential(runner, ActivationRegularization(ar), upper, *head)
        found.append([layer.decay.norms for layer in diagnose(model, x, y, loss="mse").layers])
    assert all(np.array_equal(a, b) for a, b in zip(*found))


# Gates and spectra


def test_gates_of_constant_biases():
    runner = LSTM(2, 4, init={"recurrent": 0, "input": 0, "bias": 0, "forget_bias": 2.0}, dtype="float64")
    runner.params["bias_ih_l0"][12:] = -5.0  # output gates
    runner.params["bias_ih_l0"][:2] = 9.0  # two of the four input gates
    gates = look(runner).layers[0].gates
    assert list(gates) == ["input", "forget", "cell", "output"]
    assert math.isclose(gates["forget"].mean, 1 / (1 + math.exp(-2)))
    assert gates["forget"].histogram[17] == 1.0 and gates["forget"].histogram.sum() == 1.0
    assert (gates["output"].left, gates["output"].right, gates["output"].stuck) == (1.0, 0.0, 0.0)
    assert (gates["input"].right, gates["input"].open, gates["input"].shut) == (0.5, 0.5, 0.0)
    assert gates["cell"].histogram[10] == 1.0 and gates["cell"].low == -1.0


def test_gates_count_valid_steps_only():
    runner = GRU(2, 3, seed=0)
    x, y = data()
    lengths = [60, 2, 30, 1, 5, 9]
    padded = diagnose(network(runner), x, y, loss="mse", lengths=lengths).layers[0].gates
    x[np.arange(60) >= np.array(lengths)[:, None]] = 1e3
    other = diagnose(network(runner), x, y, loss="mse", lengths=lengths).layers[0].gates
    assert list(padded) == ["reset", "update", "new"]
    assert all(np.array_equal(padded[name].histogram, other[name].histogram) for name in padded)


def test_a_unit_that_goes_from_end_to_end_is_stuck_at_neither():
    values = np.tile([[0.0001], [0.9999]], (20, 1))
    gate = measures.gate_of(values)
    assert (gate.shut, gate.open, gate.stuck) == (0.0, 0.0, 1.0)
    assert measures.gate_of(np.full((9, 1), 0.999), holds=True).stuck == 0.0
    assert measures.gate_of(np.full((9, 1), 0.001), holds=True).shut == 1.0
    assert measures.gate_of(np.full((9, 1), -0.999), tanh=True).shut == 1.0


def test_spectrum():
    matrix = np.array([[0, -2.0], [0.5, 0]])  # eigenvalues +-i
    assert math.isclose(spectrum(matrix).radius, 1.0) and math.isclose(spectrum(matrix).norm, 2.0)
    assert math.isnan(spectrum(np.full((2, 2), np.nan)).radius)
    with pytest.raises(ValueError, match=r"matrix: expected a square matrix, found shape \(2, 3\)"):
        spectrum(np.ones((2, 3)))


def test_the_recurrent_matrix_of_a_projected_lstm_includes_the_projection():
    runner = LSTM(2, 5, proj_size=3, seed=0, dtype="float64")
    spectra = look(runner).layers[0].spectra
    block = runner.params["weight_hh_l0"][5:10] @ runner.params["weight_hr_l0"]
    assert math.isclose(spectra["forget"].norm, np.linalg.norm(block, 2), rel_tol=1e-9)


def test_gradient_norms_are_those_of_the_loss():
    from fastrnn.losses import mse

    model = network(LSTM(2, 4, 2, bidirectional=True, seed=0, dtype="float64"))
    x, y = data()
    weights = diagnose(model, x, y, loss="mse").weights
    assert list(weights) == ["0.l0", "0.l0_reverse", "0.l1", "0.l1_reverse", "2"]
    prediction, _, tape = model.forward(x)
    model.backward(tape, mse(prediction, y)[1])
    of_reverse = [g for name, g in model.grads.items() if name.endswith("_l1_reverse")]
    expected = math.sqrt(sum(np.sum(g**2) for g in of_reverse))
    assert math.isclose(weights["0.l1_reverse"].gradient, expected, rel_tol=1e-12)
    assert math.isclose(weights["2"].ratio * weights["2"].norm, weights["2"].gradient, rel_tol=1e-12)
    assert weights["2"].update is None


# The verdict


def test_small_recurrent_weights_vanish_and_orthogonal_ones_reach_further():
    small = look(RNN(2, 32, init={"recurrent": ("identity", 0.3)}, seed=0), scale=0.1)
    finding = found(small, "vanishing")
    assert finding.steps <= 8 and finding.where == "0.l0"
    assert "largest singular value 0.3, under 1, which suffices (Pascanu et al. 2013)" in finding.text
    assert '"orthogonal"' in finding.remedy
    better = look(RNN(2, 32, init={"recurrent": "orthogonal"}, seed=0), scale=0.1)
    assert better.layers[0].decay.factor > 0.9
    assert not better.kinds


def test_a_uniform_matrix_of_small_radius_is_named_as_the_cause():
    finding = found(look(RNN(2, 64, init="pytorch", seed=0), scale=0.1), "vanishing")
    assert "its powers shrink" in finding.text


def test_large_recurrent_weights_explode():
    how = {"recurrent": ("normal", 0.25), "input": 0.001, "bias": 0}  # radius 2: states stay small for 30 steps
    explodes = found(look(RNN(2, 64, init=how, seed=0), scale=1e-9, steps=30), "exploding")
    assert 9 <= explodes.steps <= 14
    assert "clip_norm" in explodes.remedy and "spectral radius" in explodes.text


def test_an_overflow_is_an_explosion():
    runner = linear_rnn(8.0, dtype="float32")
    runner.params["bias_ih_l0"][...] = runner.params["bias_hh_l0"][...] = 0
    diagnosis = look(runner, steps=46, scale=1e-30)  # 8^45 is over the largest float32, 1e-30 times it is not
    assert np.isinf(diagnosis.layers[0].decay.norms[-1])
    assert found(diagnosis, "exploding").steps == 5


def test_large_inputs_saturate_a_tanh_network():
    diagnosis = look(RNN(2, 32, seed=0), scale=500.0)
    assert "tanh is saturated" in found(diagnosis, "vanishing").text
    finding = found(diagnosis, "saturated")
    assert "units are stuck" in finding.text and "variance 1" in finding.remedy


@pytest.mark.parametrize(
    "gate, bias, text",
    [
        (0, -12, "the cells take nothing in"),
        (1, -12, "the cells remember nothing"),
        (1, 12, "the cells cannot forget"),
        (3, -12, "the cells show nothing"),
    ],
)
def test_biases_that_saturate_lstm_gates(gate, bias, text):
    runner = LSTM(2, 16, seed=0)
    runner.params["bias_ih_l0"][16 * gate : 16 * (gate + 1)] = bias
    finding = found(look(runner, scale=0.5), "saturated")
    assert text in finding.text and "100%" in finding.text


def test_open_update_gates_of_a_gru_are_stuck_only_when_shut_to_input():
    runner = GRU(2, 16, seed=0)
    runner.params["bias_ih_l0"][16:32] = 5.0
    assert "saturated" not in look(runner).kinds
    runner.params["bias_ih_l0"][16:32] = 12.0
    assert "the units take nothing in" in found(look(runner), "saturated").text


def test_dead_units():
    runner = RNN(2, 16, nonlinearity="relu", seed=0)
    runner.params["bias_ih_l0"][:12] = -100.0
    diagnosis = look(runner)
    assert diagnosis.layers[0].dead >= 0.75
    assert found(diagnosis, "dead").text.startswith(f"{diagnosis.layers[0].dead:.0%} of the ReLU units are 0")


def test_forgetful_gates_vanish_and_the_remedy_helps():
    runner = LSTM(2, 32, init={"forget_bias": -1.0}, seed=0)
    before = found(look(runner, scale=0.3), "vanishing")
    assert "the forget gates" in before.text and "Tallec and Ollivier" in before.remedy
    bias = np.log(np.random.default_rng(0).uniform(1, STEPS - 1, 32))
    runner.params["bias_ih_l0"][:64] = np.concatenate([-bias, bias])
    assert look(runner, scale=0.3).verdict.startswith("healthy")


def test_a_gru_that_lets_go_vanishes_and_the_remedy_helps():
    runner = GRU(2, 32, seed=0)
    runner.params["bias_ih_l0"][32:64] = -3.0
    runner.params["weight_hh_l0"][64:] *= 0.1
    finding = found(look(runner), "vanishing")
    assert "the update gates" in finding.text
    runner.params["bias_ih_l0"][32:64] = np.log(np.random.default_rng(0).uniform(1, STEPS - 1, 32))
    assert "vanishing" not in look(runner).kinds


def test_a_layer_that_carries_what_another_loses_is_named():
    keeps, loses = linear_rnn(1.0), RNN(4, 4, init={"recurrent": ("identity", 0.3)}, seed=0, dtype="float64")
    head = LastStep(), Linear(4, 1, seed=1, dtype="float64")
    diagnosis = diagnose(Sequential(keeps, loses, *head), *data(scale=0.1), loss="mse")
    assert "(0.l0 may)" in found(diagnosis, "vanishing").text
    assert "may)" not in found(diagnose(Sequential(loses, *head), *data(4), loss="mse"), "vanishing").text


def test_no_gradient():
    model = network(RNN(2, 4, seed=0))
    model.modules[2].params["weight"][...] = 0
    diagnosis = diagnose(model, *data(), loss="mse")
    assert diagnosis.kinds == {"no gradient"}
    assert diagnosis.layers[0].decay is None


def test_a_loss_that_is_not_finite():
    model = network(LSTM(2, 4, seed=0))
    model.modules[2].params["weight"][...] = np.nan
    diagnosis = diagnose(model, *data(), loss="mse")
    assert diagnosis.kinds == {"not finite"}
    assert "the loss is nan" in str(diagnosis)
    assert diagnosis.weights["0.l0"].gradient is None


def test_healthy_says_by_how_much_and_how_far():
    text = look(linear_rnn(0.98)).verdict
    assert text.startswith("healthy")
    assert "over 59 steps the gradient stays within a factor of 3.2 (multiplied by 0.98 at each step)" in text
    assert "going on so it would be under 1/1000 at 343" in text


# Models


def test_any_layers_between():
    x, y = data(3)
    model = Sequential(LayerNorm(3), LSTM(3, 8, 2, bidirectional=True, dropout=0.2, seed=0), Dropout(0.3, seed=1),
                       GRU(16, 4, seed=2), LayerNorm(4), LastStep(), Linear(4, 1, seed=3))
    diagnosis = diagnose(model, x, y, loss="mse")
    assert [layer.name for layer in diagnosis.layers] == ["1.l0", "1.l0_reverse", "1.l1", "1.l1_reverse", "3.l0"]
    assert all(len(layer.decay.norms) == STEPS and layer.decay.norms.any() for layer in diagnosis.layers)
    assert list(diagnosis.weights) == ["0", "1.l0", "1.l0_reverse", "1.l1", "1.l1_reverse", "3.l0", "4", "6"]
    for name in "vanishing", "layer", "1.l1_reverse forget", "spectral radius", "gradient / norm":
        assert name in str(diagnosis)


def test_nested_and_time_major():
    inner = Sequential(RNN(2, 4, seed=0), Sequential(RNN(4, 4, seed=1)))
    model = Sequential(inner, Linear(4, 1, seed=2), batch_first=False)
    x, _ = data()
    diagnosis = diagnose(model, x, x[..., :1], loss="mse")
    assert [layer.name for layer in diagnosis.layers] == ["0.0.l0", "0.1.0.l0"]
    first = Sequential(Sequential(RNN(2, 4, seed=0), Sequential(RNN(4, 4, seed=1))), Linear(4, 1, seed=2))
    other = diagnose(first, x, x[..., :1], loss="mse")
    for a, b in zip(diagnosis.layers, other.layers):
        assert np.allclose(a.decay.norms, b.decay.norms, rtol=1e-5)


def test_a_bare_runner():
    diagnosis = diagnose(LSTM(2, 4, batch_first=True, seed=0), data()[0], np.zeros((COUNT, STEPS, 4)), loss="mse")
    assert [layer.name for layer in diagnosis.layers] == ["l0"]
    assert list(diagnosis.weights) == ["l0"]


def test_characters_in_lanes_and_tied_embeddings():
    ids = np.random.default_rng(0).integers(0, 9, 600)
    model = Sequential(Embedding(9, 6, seed=0), LSTM(6, 6, seed=1), Linear(6, 9, seed=2), tie_embeddings=True)
    diagnosis = diagnose(model, LaneStream(ids, 4, 50))
    assert diagnosis.sequences == 4
    assert len(diagnosis.layers[0].decay.norms) == 50
    assert list(diagnosis.weights) == ["0", "1.l0", "2"]
    assert diagnosis.weights["2"].norm == 0  # its bias alone: the weight is the embedding's


def test_only_the_first_sequences_are_looked_at():
    x, y = data(count=40)
    model = network(LSTM(2, 4, seed=0))
    few = diagnose(model, x, y, loss="mse", sequences=5)
    assert few.sequences == 5
    assert few.loss == diagnose(model, x[:5], y[:5], loss="mse").loss


def test_everything_is_left_as_it_was():
    model = Sequential(LSTM(2, 6, 2, dropout=0.5, seed=0), Dropout(0.5, seed=3), LastStep(), Linear(6, 1, seed=1))
    x, y = data()
    for grad in model.grads.values():
        grad[...] = 7
    params = model.state_dict()
    states = [module.rng.bit_generator.state for module in model.modules]
    first, second = (diagnose(model, x, y, loss="mse") for _ in range(2))
    assert all((grad == 7).all() for grad in model.grads.values())
    assert all(np.array_equal(p, params[name]) for name, p in model.params.items())
    assert states == [module.rng.bit_generator.state for module in model.modules]
    assert first.loss == second.loss and str(first) == str(second)


# As text, as numbers, as a picture


def test_numbers_go_there_and_back():
    for runner in LSTM(2, 4, bidirectional=True, seed=0), RNN(2, 4, nonlinearity="relu", seed=0):
        diagnosis = look(runner)
        again = Diagnosis.from_dict(diagnosis.to_dict())
        assert str(again) == str(diagnosis)
        assert again.findings == diagnosis.findings


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures(tmp_path, suffix, start):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture.{suffix}"
    for runner in LSTM(2, 4, bidirectional=True, seed=0), RNN(2, 4, nonlinearity="relu", seed=0):
        look(runner).plot(path)
        assert path.read_bytes().startswith(start)
    diagnostics.plot_decays({"a": measures.decay_of(np.ones(9)), "none": measures.decay_of(np.zeros(9))}, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_picture_of_another_kind_or_without_matplotlib(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    diagnosis = look(RNN(2, 4, seed=0))
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .png, .svg or .pdf, found 'a.gif'"):
        diagnosis.plot("a.gif")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "fastrnn\[plot\]"'):
        diagnosis.plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# Errors


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"model": Linear(2, 1)}, ValueError, "model: expected an RNN, LSTM or GRU, .* found Linear"),
        ({"model": "LSTM"}, ValueError, "model: expected .* found str"),
        ({"y": None}, ValueError, "y: expected targets, found None"),
        ({"loss": "mean"}, ValueError, "loss: expected one of"),
        ({"sequences": 0}, ValueError, "sequences: expected an int of at least 1"),
        ({"lengths": [0] * COUNT}, ValueError, "X: expected at least one step"),
        ({"X": np.zeros((COUNT, STEPS, 3))}, ValueError, "expected 2 features"),
    ],
)
def test_errors(change, error, message):
    x, y = data()
    arguments = {"model": network(LSTM(2, 4, seed=0)), "X": x, "y": y, "loss": "mse", **change}
    with pytest.raises(error, match=message):
        diagnose(**arguments)


def test_data_come_through_the_trainers_door():
    model = Sequential(Embedding(5, 3, seed=0), GRU(3, 4, seed=0), Linear(4, 2, seed=0))
    ids = np.arange(8).reshape(2, 4) % 5
    assert np.isfinite(diagnose(model, ids, ids % 2).loss)
    with pytest.raises(ValueError, match=r"y: expected ints in 0 \.\. 1, found 2 at \[0, 2\]"):
        diagnose(model, ids, ids)
    with pytest.raises(ValueError, match=r"X: expected ints in 0 \.\. 4, found 5"):
        diagnose(model, ids + 1, ids % 2)
    labels = [[1], [1]]
    assert np.isfinite(diagnose(model, ids, labels, loss="ctc").loss)
    with pytest.raises(ValueError, match="y: expected None with a LaneStream"):
        diagnose(model, LaneStream(ids.ravel(), 2, 2), ids % 2)


def test_a_convolution_with_a_stride_before_it():
    """A runner behind it sees fewer steps: each of the two halves is looked at by its own lengths."""
    x, y = np.random.default_rng(0).normal(size=(4, 12, 3)), np.zeros((4, 2))
    front, runner = Conv1d(3, 3, 2, 2, seed=0), LSTM(3, 5, seed=1)
    net = Sequential(front, runner, LastStep(), Linear(5, 2, seed=2))
    lengths = [12, 4, 7, 9]
    found = diagnose(net, x, y, lengths=lengths, loss="mse")
    halves = front(x)
    alone = diagnose(Sequential(runner, *net.modules[2:]), halves, y, lengths=front.output_lengths(lengths), loss="mse")
    for one, other in zip(found.layers, alone.layers):
        np.testing.assert_allclose(one.decay.norms, other.decay.norms, rtol=1e-5)
        assert {name: gate.mean for name, gate in one.gates.items()} == pytest.approx(
            {name: gate.mean for name, gate in other.gates.items()}, rel=1e-5)

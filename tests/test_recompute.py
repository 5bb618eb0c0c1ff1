"""BPTT in segments: the outputs, states and gradients of plain BPTT, bit for bit, in bounded memory."""

import numpy as np
import pytest
from test_bits import threads

import fastrnn
from fastrnn.nn import recompute
from fastrnn.nn.module import module_from_config


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    """As short as they can be."""
    monkeypatch.setattr(recompute, "LEAST_BYTES", 0)


KINDS = {
    "rnn": (fastrnn.RNN, {}),
    "relu": (fastrnn.RNN, {"nonlinearity": "relu", "bias": False}),
    "lstm": (fastrnn.LSTM, {}),
    "projected": (fastrnn.LSTM, {"proj_size": 5}),
    "gru": (fastrnn.GRU, {}),
    "gru before": (fastrnn.GRU, {"reset_after": False}),
    "normalised": (fastrnn.LSTM, {"layer_norm": True}),
    "normalised projected": (fastrnn.LSTM, {"layer_norm": True, "proj_size": 5}),
    "normalised gru": (fastrnn.GRU, {"layer_norm": True}),
    "noisy lstm": (fastrnn.LSTM, {"recurrent_dropout": 0.2, "zoneout": (0.1, 0.2), "weight_dropout": 0.3}),
    "mingru": (fastrnn.MinGRU, {}),
    "minlstm": (fastrnn.MinLSTM, {}),
    "sru": (fastrnn.SRU, {"highway_bias": -1.0}),
    "qrnn": (fastrnn.QRNN, {"window": 4}),
    "qrnn of one input": (fastrnn.QRNN, {"window": 1}),
    "noisy gru": (fastrnn.GRU, {"recurrent_dropout": 0.2, "zoneout": 0.1, "weight_dropout": 0.3}),
}
RAGGED = [350, 1500, 0, 1025, 1, 1499, 512, 205]


def run(rnn, x, state, lengths, dy, dstate):
    """All that a training pass gives: y, final state, dx, gradient of the initial state, parameters' gradients."""
    rnn.zero_grad()
    y, final, tape = rnn.forward(x, state, lengths, seed=5, first_step=3)
    found = rnn.activations(tape)
    steps, batch = (max(map(len, x)), len(x)) if isinstance(x, list) else x.shape[:2] if x.ndim == 3 else (len(x), 1)
    dh = np.empty((rnn.num_layers * (1 + rnn.bidirectional), steps, batch, rnn._out), rnn.dtype)
    dx, dinitial = rnn.backward(tape, dy, dstate, dh=dh)
    arrays = {"dh": dh, **found, **{name: grad.copy() for name, grad in rnn.grads.items()}}
    for name, value in {"y": y, "final": final, "dx": dx, "dinitial": dinitial}.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        arrays.update({f"{name}[{k}]": part for k, part in enumerate(parts)})
    return arrays


def same(rnn, x, lengths=None, stateful=True):
    """Assert that the runner gives the same bits with and without `recompute`; returns how many segments there were."""
    rng = np.random.default_rng(3)
    rnn.recompute = False
    y, final = rnn(x, lengths=lengths)
    rnn.zero_grad()

    def like(value):
        if isinstance(value, (list, tuple)):
            return type(value)(like(part) for part in value)
        return rng.standard_normal(value.shape).astype(rnn.dtype)

    given = like(final) if stateful else None, lengths, like(y), like(final) if stateful else None
    plain = run(rnn, x, *given)
    rnn.recompute = True
    segmented = run(rnn, x, *given)
    tape = rnn.forward(x, given[0], lengths, seed=5)[2]
    count = len(tape.open(rnn)[0]._starts)
    assert plain.keys() == segmented.keys()
    for name, array in plain.items():
        assert np.array_equal(array, segmented[name]), name
        assert array.size == 0 or np.isfinite(array).all(), name
    return count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers, bidirectional, dropout", [(1, False, 0.0), (2, False, 0.2), (1, True, 0.0),
                                                            (3, True, 0.2)])
def test_the_same_bits(kind, layers, bidirectional, dropout):
    runner, options = KINDS[kind]
    rnn = runner(3, 9, layers, bidirectional=bidirectional, dropout=dropout, seed=1, **options)
    x = np.random.default_rng(0).standard_normal((611, 7, 3)).astype("float32")
    assert same(rnn, x) > 2
    assert same(rnn, x, lengths=[611, 5, 0, 400, 148, 147, 610]) > 2


@pytest.mark.parametrize("runner", [fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU, fastrnn.MinGRU, fastrnn.SRU, fastrnn.QRNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_of_long_sequences(runner, bidirectional, dtype):
    rnn = runner(5, 64 if dtype == "float32" else 20, bidirectional=bidirectional, dtype=dtype, seed=1)
    rng = np.random.default_rng(0)
    for workers, steps in ((1, 2000), (2, 4097)):
        with threads(workers):
            assert same(rnn, rng.standard_normal((steps, 1, 5)).astype(dtype)) > 1
    assert same(rnn, rng.standard_normal((1100, 5)).astype(dtype), stateful=False) > 1
    ragged = [rng.standard_normal((n, 5)).astype(dtype) for n in RAGGED]
    with threads(2):
        assert same(rnn, ragged) > 1


def test_a_window_longer_than_a_segment():
    """The last inputs of a segment are then in part those of the one before."""
    rnn = fastrnn.QRNN(2, 3, 2, window=9, seed=1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 300, 2)).astype("float32")
    assert rnn._engine.block(300) == 4
    assert same(rnn, x) == 3
    assert same(rnn, x, rng.integers(0, 13, 300)) == 3


def test_one_segment_and_none():
    rnn = fastrnn.LSTM(3, 4, bidirectional=True, seed=1)
    assert same(rnn, np.ones((5, 2, 3), "float32")) == 1
    assert same(rnn, np.ones((0, 2, 3), "float32")) == 1
    assert same(rnn, np.ones((5, 0, 3), "float32")) == 1


def test_batch_first_and_networks():
    x = np.random.default_rng(0).standard_normal((4, 900, 3)).astype("float32")
    nets = [fastrnn.Sequential(fastrnn.GRU(3, 8, 2, bidirectional=True, recompute=flag, seed=1), fastrnn.LSTM(
        16, 8, recompute=flag, seed=2), fastrnn.LastStep(), fastrnn.Linear(8, 2, seed=3)) for flag in (False, True)]
    y = np.arange(4) % 2
    for net in nets:
        fastrnn.Trainer(net, seed=0).fit(x, y, epochs=2, batch_size=4, progress=False)
    first, second = (net.state_dict() for net in nets)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert module_from_config(nets[1].config()).modules[0].recompute is True


def test_a_pass_keeps_the_probabilities_of_its_forward():
    x = np.random.default_rng(0).standard_normal((2100, 3)).astype("float32")
    rnn = fastrnn.GRU(3, 8, recompute=True, weight_dropout=0.5, zoneout=0.2, seed=1)
    grads = []
    for later in (0.5, 0.0):
        rnn.weight_dropout = 0.5
        rnn.zero_grad()
        y, _, tape = rnn.forward(x, seed=3)
        rnn.weight_dropout = later
        rnn.backward(tape, y)
        assert rnn.weight_dropout == later
        grads.append({name: grad.copy() for name, grad in rnn.grads.items()})
    assert all(np.array_equal(grads[0][name], grads[1][name]) for name in grads[0])


def test_recompute_is_checked():
    with pytest.raises(TypeError, match="recompute: expected"):
        fastrnn.LSTM(3, 4, recompute="yes")

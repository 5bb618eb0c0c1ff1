"""Truncated BPTT(k1, k2): which steps count and are reached back over, against the plain equations in NumPy."""

import itertools

import numpy as np
import pytest
import reference
from tolerances import tolerance

from fastrnn import GRU, LSTM, RNN, SGD, Dropout, LaneStream, LastStep, Linear, Sequential, Trainer
from fastrnn.callbacks import Callback
from fastrnn.data.batches import Sequences, updates_of
from fastrnn.data.tbptt import Span, spans

RNG = np.random.default_rng(3)
STEPS, BATCH = 13, 3
X = RNG.normal(size=(BATCH, STEPS, 2))
Y = RNG.normal(size=(BATCH, STEPS, 4))
CELLS = {"lstm": LSTM, "gru_reset_after": GRU, "rnn_tanh": RNN}
PAIRS = [(1, 1), (3, 3), (1, 4), (2, 5), (3, 4), (3, 7), (4, 30), (13, 13), (20, 25)]


def test_spans():
    assert list(spans(7, 3, 3)) == [Span(0, 0, 3, 3), Span(3, 3, 6, 6), Span(6, 6, 7, 7)]
    assert list(spans(7, 2, 5)) == [Span(0, 0, 2, 0), Span(0, 2, 4, 1), Span(1, 4, 6, 3), Span(3, 6, 7, 5)]
    assert list(spans(7, 2, 5, start=2)) == list(spans(7, 2, 5))[2:]
    assert list(spans(0, 2, 5)) == [Span(0, 0, 0, 0)]


@pytest.mark.parametrize("k1, k2", PAIRS)
def test_each_step_counts_once_and_windows_join(k1, k2):
    found = list(spans(STEPS, k1, k2))
    assert [t for s in found for t in range(s.new, s.stop)] == list(range(STEPS))
    assert all(s.stop - s.first <= k2 for s in found)
    assert all(s.carry == after.first for s, after in itertools.pairwise(found))
    for s in found[:-1]:
        assert s.stop - s.first == min(k2, s.stop), "back over k2 steps, or to the start"


def by_hand(cell, params, k1, k2, lr):
    """The definition, written out: run the window anew from the state kept before it, count its newest steps."""
    params = {name: value.copy() for name, value in params.items()}
    x, y = X.swapaxes(0, 1), Y.swapaxes(0, 1)
    state, at, new = None, 0, 0
    while new < STEPS:
        stop = min(new + k1, STEPS)
        h, _, tape = reference.forward(cell, params, x[at:stop], state)
        zero = tuple(np.zeros((1, BATCH, 4)) for _ in range(2 if cell == "lstm" else 1))
        dy = np.zeros_like(h)
        dy[new - at :] = 2 * (h[new - at :] - y[new:stop]) / y[new:stop].size
        _, _, grads = reference.backward(tape, dy, zero)
        after = max(0, new + 2 * k1 - k2)
        if after > at:
            _, state, _ = reference.forward(cell, params, x[at : min(after, stop)], state)
            at = after
        for name, value in params.items():
            value -= lr * grads[name]
        new = stop
    return params


@pytest.mark.parametrize("k1, k2", PAIRS)
@pytest.mark.parametrize("cell", CELLS)
def test_training_is_the_definition(cell, k1, k2):
    model = CELLS[cell](2, 4, dtype="float64", seed=0, batch_first=True)
    expected = by_hand(cell, model.state_dict(), k1, k2, 0.5)
    Trainer(model, "mse", SGD(0.5), tbptt=(k1, k2)).fit(X, Y, batch_size=BATCH, progress=False)
    for name, value in model.params.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance("ten updates, float64"), err_msg=name)


@pytest.mark.parametrize("layout", [True, False])
def test_a_network_over_a_stream_is_the_sum_of_its_parts(layout):
    """BPTT(k1, k2) with k2 beyond the sequence: each update's gradient is the full one of its new steps' loss."""

    class Gradients(Callback):
        def __init__(self):
            self.seen = []

        def on_gradient(self, trainer):
            self.seen.append({name: g.copy() for name, g in trainer.model.grads.items()})

    def network():
        return Sequential(
            LSTM(2, 5, dtype="float64", seed=0), Dropout(0.0), Linear(5, 4, dtype="float64", seed=1), batch_first=layout
        )

    def swapped(a):
        return a if layout else a.swapaxes(0, 1)

    model, gradients = network(), Gradients()
    stream = LaneStream(X.reshape(-1, 2), BATCH, (3, 100), Y.reshape(-1, 4), dtype="float64")
    history = Trainer(model, "mse", SGD(0.0), callbacks=[gradients]).fit(stream, progress=False)
    whole = network()
    losses = []
    for k, new in enumerate(range(0, STEPS, 3)):
        stop = min(new + 3, STEPS)
        y, _, tape = whole.forward(swapped(X[:, :stop]))
        error = y - swapped(Y[:, :stop])
        (error if layout else error.swapaxes(0, 1))[:, :new] = 0
        losses.append(np.square(error).sum() / Y[:, new:stop].size)
        whole.zero_grad()
        whole.backward(tape, 2 * error / Y[:, new:stop].size)
        for name, grad in whole.grads.items():
            np.testing.assert_allclose(gradients.seen[k][name], grad, atol=1e-13, err_msg=name)
    mean = np.average(losses, weights=[3, 3, 3, 3, 1])
    assert history["loss"][0] == pytest.approx(mean, rel=1e-12)


def test_one_number_is_a_pair_of_it():
    fits = []
    for tbptt in (3, (3, 3)):
        model = LSTM(2, 4, seed=0, batch_first=True)
        Trainer(model, "mse", tbptt=tbptt, seed=0).fit(X, Y, epochs=2, batch_size=2, progress=False)
        fits.append({name: value.tobytes() for name, value in model.params.items()})
    assert fits[0] == fits[1]


@pytest.mark.parametrize("weights", [None, "sequence", "step"])
def test_lengths_and_weights_count_in_the_new_steps_only(weights):
    """With a rate of 0 the epoch's loss is that of the whole sequences, however they are cut."""
    lengths = np.array([13, 4, 9])
    weight = {None: None, "sequence": np.array([1, 2, 0.5]), "step": RNG.uniform(0, 2, (3, 13))}[weights]
    model = Sequential(GRU(2, 5, dtype="float64", seed=0), Linear(5, 4, dtype="float64", seed=0))
    trainer = Trainer(model, "mse", SGD(0.0), seed=0)
    expected = trainer.evaluate(X, Y, lengths=lengths, sample_weight=weight, progress=False)["loss"]
    for tbptt in ((2, 2), (2, 5), (3, 8), (1, 20)):
        trainer.tbptt = tbptt
        found = trainer.fit(X, Y, lengths=lengths, sample_weight=weight, batch_size=2, progress=False)["loss"][-1]
        assert found == pytest.approx(expected, rel=1e-12)


def test_masses_are_those_of_the_new_steps():
    data = Sequences([X[0], X[1][:4]], [Y[0], Y[1][:4]], window=(2, 5), batch_size=2)
    (indices,) = data.order()
    masses = [batch.mass(True) for (batch,) in updates_of(data, indices)]
    assert masses == [4, 4, 2, 2, 2, 2, 1]
    assert [batch.mass(True) for batch in data.windows(indices, context=False)] == masses


@pytest.mark.parametrize(
    "tbptt, message",
    [
        ((3, 2), r"tbptt: expected k2, .* of at least k1 = 3; found 2"),
        ((3, 0), r"tbptt\[1\]: expected an int of at least 1"),
        ((1, 2, 3), r"tbptt: expected steps per update, or a pair \(k1, k2\)"),
        ("3", "tbptt: expected an int, found '3'"),
    ],
)
def test_bad_windows_are_named(tbptt, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Trainer(LSTM(2, 4), tbptt=tbptt)
    with pytest.raises((ValueError, TypeError), match=message.replace("tbptt", "seq_len")):
        LaneStream(np.arange(50), 2, tbptt)


def test_no_windows_for_models_that_pool_or_read_backwards():
    with pytest.raises(ValueError, match="tbptt: expected None for a model with one output per sequence"):
        Trainer(Sequential(GRU(2, 4), LastStep()), "mse", tbptt=(2, 3)).fit(X, Y[:, 0], progress=False)
    with pytest.raises(ValueError, match="tbptt: expected a model that reads in one direction"):
        Trainer(GRU(2, 2, bidirectional=True, batch_first=True), "mse", tbptt=(2, 3)).fit(X, Y, progress=False)


@pytest.mark.parametrize("runner, found", [
    (GRU(2, 2, bidirectional=True), "a bidirectional one"),
    (RNN(2, 4, direction="reverse"), "one that reads backwards"),
])
def test_a_runner_deep_in_a_network_is_seen(runner, found):
    model = Sequential(Sequential(Sequential(runner), Linear(4, 4)))
    with pytest.raises(ValueError, match=f"tbptt: expected a model that reads in one direction, found {found}"):
        Trainer(model, "mse", tbptt=(2, 3)).fit(X, Y, progress=False)
    with pytest.raises(ValueError, match=f"a LaneStream: expected a model that reads in one direction, found {found}"):
        Trainer(model, "mse").fit(LaneStream(X[0], 2, 3, Y[0]), progress=False)

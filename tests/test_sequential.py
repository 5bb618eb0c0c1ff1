"""Sequential: gradients through a whole network, layouts, lengths, lists, states, streams, and bad input."""

import numpy as np
import pytest
from gradcheck import check_gradients
from tolerances import tolerance

from fastrnn import (
    GRU,
    LSTM,
    RNN,
    Adam,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    LSTMCell,
    MeanOverTime,
    Sequential,
)
from fastrnn.losses import cross_entropy

LENGTHS = [5, 0, 3]
DOUBLE = {"dtype": "float64", "seed": 2}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# name -> (network of float64, input of one batch, batch first)
NETWORKS = {
    "tagger": (
        lambda: Sequential(
            LSTM(3, 4, bidirectional=True, **DOUBLE),
            LayerNorm(8, eps=1e-3, dtype="float64"),
            GRU(8, 3, **DOUBLE),
            Linear(3, 2, **DOUBLE),
        ),
        normal(3, 5, 3),
    ),
    "characters": (
        lambda: Sequential(Embedding(6, 3, **DOUBLE), LSTM(3, 4, 2, **DOUBLE), Linear(4, 6, **DOUBLE)),
        np.random.default_rng(1).integers(0, 6, (3, 5)),
    ),
    "last": (
        lambda: Sequential(
            GRU(3, 4, bidirectional=True, **DOUBLE), LastStep(bidirectional=True), Linear(8, 2, **DOUBLE)
        ),
        normal(3, 5, 3),
    ),
    "mean": (
        lambda: Sequential(
            Linear(3, 3, **DOUBLE),
            Sequential(RNN(3, 4, **DOUBLE), MeanOverTime()),
            Sequential(LayerNorm(4, eps=1e-2, dtype="float64"), Linear(4, 2, **DOUBLE)),
        ),
        normal(3, 5, 3),
    ),
    "feed-forward": (
        lambda: Sequential(
            Linear(3, 4, **DOUBLE), LayerNorm(4, eps=1e-3, dtype="float64"), Linear(4, 2, **DOUBLE)
        ),
        normal(3, 5, 3),
    ),
}


def flat(state, name="state"):
    """The arrays of a nested state, by place."""
    if state is None:
        return {}
    if isinstance(state, tuple):
        return {key: a for k, part in enumerate(state) for key, a in flat(part, f"{name}[{k}]").items()}
    return {name: state}


def like(state, seed):
    """A state of the same form, drawn at random."""
    if state is None or isinstance(state, np.ndarray):
        return None if state is None else normal(*state.shape, seed=seed)
    return tuple(like(part, seed + k) for k, part in enumerate(state))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name, lengths):
    build, x = NETWORKS[name]
    net = build()
    for key, p in net.params.items():
        p += 0.1 * normal(*p.shape, seed=len(key))
    initial = like(net.forward(x)[1], 3)
    y, state, tape = net.forward(x, initial, lengths)
    dy, dstate = normal(*y.shape, seed=4), like(state, 5)

    def loss():
        found, final, _ = net.forward(x, initial, lengths)
        total = (found * dy).sum()
        return float(total + sum((a * flat(dstate)[key]).sum() for key, a in flat(final).items()))

    dx, dinitial = net.backward(tape, dy, dstate)
    arrays, gradients = {**net.params, **flat(initial)}, {**net.grads, **flat(dinitial)}
    if name == "characters":
        assert dx is None
    else:
        arrays["x"], gradients["x"] = x, dx
    check_gradients(loss, arrays, gradients)


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_without_dropout_is_the_call(name):
    build, x = NETWORKS[name]
    net = build()
    y, state, _ = net.forward(x, None, LENGTHS)
    found = net(x, lengths=LENGTHS)
    if net.recurrent:
        found, final = found
        for key, a in flat(final).items():
            np.testing.assert_allclose(a, flat(state)[key], rtol=tolerance("layers, float64"), atol=1e-15)
    else:
        assert state is None
    np.testing.assert_allclose(found, y, rtol=tolerance("layers, float64"), atol=1e-15)


@pytest.mark.parametrize("name", NETWORKS)
def test_layout_is_that_of_the_network(name):
    build, x = NETWORKS[name]
    net = build()
    expected = net(x, lengths=LENGTHS)
    net.batch_first = False
    assert not any(getattr(module, "batch_first", False) for module in net.modules)
    found = net(x.swapaxes(0, 1), lengths=LENGTHS)
    if net.recurrent:
        expected, found = expected[0], found[0]
    np.testing.assert_allclose(
        found if net.pools_time else found.swapaxes(0, 1),
        expected,
        rtol=tolerance("layers, float64"),
        atol=1e-15,
    )


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_lists_are_their_sequences_one_by_one(name, batch_first):
    build, x = NETWORKS[name]
    net = build()
    net.batch_first = batch_first
    sequences = [row[:n] for row, n in zip(x, LENGTHS)]
    found = net(sequences)
    if net.recurrent:
        found, state = found
        assert len(state) == len(net.modules)
    assert isinstance(found, np.ndarray if net.pools_time else list)
    for y, sequence in zip(found, sequences):
        alone = net(sequence)
        alone = alone[0] if net.recurrent else alone
        assert y.shape == alone.shape
        np.testing.assert_allclose(y, alone, rtol=tolerance("layers, float64"), atol=1e-15)


@pytest.mark.parametrize("name", ["characters", "feed-forward"])
@pytest.mark.parametrize("batch", [1, 3])
def test_streams_are_the_call(name, batch):
    build, x = NETWORKS[name]
    net, x = build(), x[:batch]
    expected = net(x)[0] if net.recurrent else net(x)
    stream = net.stream(batch)
    for t in range(2):
        assert stream.step(x[:, t]).tobytes() == expected[:, t].tobytes()
    twin, kept = stream.copy(), stream.state
    out = np.empty(expected[:, 2].shape)
    assert stream.step(x[:, 2], out=out) is out
    assert out.tobytes() == expected[:, 2].tobytes()
    assert np.ascontiguousarray(stream.run(x[:, 3:])).tobytes() == expected[:, 3:].tobytes()
    assert twin.step(x[:, 2]).tobytes() == expected[:, 2].tobytes()
    twin.state = kept
    assert twin.step(x[:, 2]).tobytes() == expected[:, 2].tobytes()
    stream.reset()
    assert stream.step(x[:, 0]).tobytes() == expected[:, 0].tobytes()
    stream.state = None
    if batch == 1:
        assert stream.step(x[0, 0]).tobytes() == expected[0, 0].tobytes()
        assert stream.run(x[0, 1:]).tobytes() == expected[0, 1:].tobytes()


def test_a_stream_of_a_pooling_network():
    net = Sequential(GRU(3, 4, **DOUBLE), MeanOverTime(), Linear(4, 2, **DOUBLE))
    x = normal(2, 5, 3)
    stream = net.stream(2)
    for t in range(3):
        y = stream.step(x[:, t])
        np.testing.assert_allclose(y, net(x[:, : t + 1])[0], rtol=tolerance("layers, float64"))
    np.testing.assert_allclose(stream.run(x[:, 3:]), net(x)[0], rtol=tolerance("layers, float64"))


def test_a_stream_sees_written_parameters():
    net = Sequential(RNN(2, 3, seed=0), Linear(3, 1, seed=0))
    stream = net.stream()
    before = stream.step(np.ones(2, np.float32))
    for p in net.params.values():
        p *= 0.5
    stream.reset()
    assert stream.step(np.ones(2, np.float32)) != before


def test_a_stream_that_refuses_a_state_keeps_its_own():
    net = Sequential(RNN(2, 3, seed=0), Dropout(0.5), GRU(3, 3, seed=0))
    stream = net.stream()
    stream.step(np.ones(2))
    before = stream.state
    good = tuple(None if s is None else s + 1 for s in before)
    for bad in [(good[0], None, np.zeros(7)), (good[0], 3, good[2]), good[:2], 5]:
        with pytest.raises((ValueError, TypeError), match=r"^state"):
            stream.state = bad
        for key, a in flat(stream.state).items():
            np.testing.assert_array_equal(a, flat(before)[key])


def test_a_stream_that_refuses_a_step_keeps_its_state():
    net = Sequential(GRU(2, 3, seed=0), MeanOverTime(), Linear(3, 4, seed=0))
    wrong = Sequential(LSTM(2, 3, seed=0), Linear(4, 4, seed=0))
    x = np.ones(2, np.float32)
    stream = net.stream()
    stream.step(x)
    before = stream.state
    for out in np.ones(3, np.float32), np.ones((5, 4), np.float32), np.ones(4, np.int64), [0] * 4:
        with pytest.raises((ValueError, TypeError), match=r"^out: expected"):
            stream.step(x, out)
    after = stream.state
    np.testing.assert_array_equal(after[0], before[0])
    assert after[1][1] == 1
    np.testing.assert_array_equal(after[1][0], before[1][0])
    stream = wrong.stream()
    for call in (lambda: stream.step(x), lambda: stream.run(x[None])):
        with pytest.raises(ValueError, match=r"^x: expected shape \(\.\.\., 4\)"):
            call()
        assert not any(part.any() for part in stream.state[0])


def test_state_carries_over():
    net = Sequential(LSTM(3, 4, **DOUBLE), Dropout(0.5), GRU(4, 2, **DOUBLE))
    x = normal(3, 6, 3)
    whole, final = net(x)
    first, state = net(x[:, :2])
    assert isinstance(state, tuple) and len(state) == 3 and state[1] is None
    rest, last = net(x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, rtol=tolerance("layers, float64"))
    for key, a in flat(last).items():
        np.testing.assert_allclose(a, flat(final)[key], rtol=tolerance("layers, float64"))


def test_backward_of_the_state_alone_and_of_parts():
    net = Sequential(LSTM(3, 4, **DOUBLE), GRU(4, 2, **DOUBLE), Linear(2, 2, **DOUBLE))
    x = normal(3, 5, 3)
    _, state, tape = net.forward(x)
    c = np.ones_like(state[0][1])
    dx, _ = net.backward(tape, None, ((None, c), None, None))
    assert dx.any()
    assert net.grads["0.weight_ih_l0"].any()
    assert not any(net.grads[key].any() for key in net.grads if not key.startswith("0."))
    _, _, tape = net.forward(x)
    dx, dstate = net.backward(tape)
    assert dx is None and dstate == (None, None, None)


def test_parameters_are_the_modules_own():
    lstm, linear = LSTM(3, 4, seed=0), Linear(4, 2, seed=0)
    net = Sequential(lstm, Dropout(0.1), linear)
    assert list(net.params) == [f"0.{key}" for key in lstm.params] + ["2.weight", "2.bias"]
    assert net.params["2.weight"] is linear.params["weight"]
    assert net.grads["0.bias_hh_l0"] is lstm.grads["bias_hh_l0"]
    assert net.num_parameters == lstm.num_parameters + linear.num_parameters
    assert list(Sequential(Sequential(Linear(1, 1))).params) == ["0.0.weight", "0.0.bias"]


def test_set_rng_reaches_every_module():
    net = Sequential(Dropout(0.5), Sequential(Dropout(0.5), GRU(4, 4, 2, dropout=0.5, seed=0)))
    x = np.ones((2, 3, 4), np.float32)
    found = []
    for _ in range(2):
        net.set_rng(np.random.default_rng(8))
        found.append(net.forward(x)[0])
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(net.forward(x)[0], found[0])


def test_it_learns():
    """The first of five symbols, after four others that do not matter."""
    rng = np.random.default_rng(0)
    net = Sequential(Embedding(4, 8, seed=0), LSTM(8, 16, seed=0), LastStep(), Linear(16, 4, seed=0))
    optimiser = Adam(lr=0.02)
    for _ in range(120):
        ids = rng.integers(0, 4, (32, 5))
        y, _, tape = net.forward(ids)
        loss, dy = cross_entropy(y, ids[:, 0])
        net.zero_grad()
        net.backward(tape, dy)
        optimiser.step(net.params, net.grads)
    assert loss < 0.05
    ids = rng.integers(0, 4, (100, 5))
    assert (net(ids)[0].argmax(-1) == ids[:, 0]).mean() > 0.97


LINEAR = Linear(3, 3, seed=0)
NET = Sequential(GRU(3, 4, seed=0), Dropout(0.0), Linear(4, 2, seed=0))
X = np.zeros((2, 5, 3), np.float32)
BAD = {
    "nothing": (lambda: Sequential(), ValueError, r"^modules: expected at least one module, found none$"),
    "a list": (
        lambda: Sequential([LINEAR]),
        TypeError,
        r"^modules\[0\]: expected a fastrnn module, found list$",
    ),
    "a cell": (
        lambda: Sequential(LINEAR, LSTMCell(3, 4)),
        TypeError,
        r"^modules\[1\]: expected a module that takes all steps of a sequence, found LSTMCell, which takes one$",
    ),
    "half a state": (
        lambda: LSTM(3, 4)(X[0], (np.zeros((1, 4)),)),
        ValueError,
        r"^state: expected a tuple \(h, c\), found one of 1$",
    ),
    "twice": (lambda: Sequential(LINEAR, LINEAR), ValueError, r"^modules\[1\]: expected a module of its own"),
    "dtypes": (
        lambda: Sequential(LINEAR, Linear(3, 2, dtype="float64")),
        ValueError,
        r"^modules: expected one dtype, found float32 and float64$",
    ),
    "after pooling": (
        lambda: Sequential(GRU(3, 4), Sequential(LastStep()), GRU(4, 4)),
        ValueError,
        r"^modules\[2\]: expected no recurrent module after one that pools the steps, found GRU$",
    ),
    "batch_first": (
        lambda: Sequential(LINEAR, batch_first=1),
        TypeError,
        r"^batch_first: expected True or False",
    ),
    "x": (
        lambda: NET(np.zeros((2, 5, 9))),
        ValueError,
        r"^x: expected 3 features in the last axis, found shape",
    ),
    "state": (
        lambda: NET(X, np.zeros((1, 2, 4))),
        TypeError,
        r"^state: expected a tuple with one entry per module",
    ),
    "state's size": (
        lambda: NET(X, (None, None)),
        ValueError,
        r"^state: expected 3 entries, one per module; found 2$",
    ),
    "state of none": (
        lambda: NET(X, (None, 1, None)),
        ValueError,
        r"^state\[1\]: expected None for Dropout, which has",
    ),
    "dstate": (
        lambda: NET.backward(NET.forward(X)[2], None, (np.zeros((1, 2, 5)), None, None)),
        ValueError,
        r"^dstate\[0\]: expected shape \(1, 2, 4\), found \(1, 2, 5\)$",
    ),
    "dstate's size": (
        lambda: NET.backward(NET.forward(X)[2], None, (None,)),
        ValueError,
        r"^dstate: expected 3",
    ),
    "empty list": (lambda: NET([]), ValueError, r"^x: expected at least one sequence, found an empty list$"),
    "list and lengths": (
        lambda: NET([X[0]], lengths=[5]),
        ValueError,
        r"^lengths: expected None with a list",
    ),
    "list of shapes": (
        lambda: NET([X[0], X[0, :, :2]]),
        ValueError,
        r"^x\[1\]: expected \(T, \.\.\.\) with shape \(3,\)",
    ),
    "lengths": (lambda: NET(X, lengths=[5, 6]), ValueError, r"^lengths: "),
    "stream": (lambda: Sequential(GRU(3, 4, bidirectional=True)).stream(), ValueError, r"bidirectional"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_a_refused_gradient_leaves_gradients_and_tape():
    _, _, tape = NET.forward(X)
    NET.zero_grad()
    words = np.full((1, 2, 4), "a")
    for dy, dstate in [
        (np.ones((2, 5, 3)), None),
        (np.ones((2, 5, 2)), (np.zeros((1, 2, 5)), None, None)),
        (np.ones((2, 5, 2)), (words, None, None)),
    ]:
        with pytest.raises((ValueError, TypeError), match=r"^(dy|dstate)"):
            NET.backward(tape, dy, dstate)
        assert not any(g.any() for g in NET.grads.values())
    NET.backward(tape, np.ones((2, 5, 2)))
    assert NET.grads["0.weight_ih_l0"].shape == (12, 3)

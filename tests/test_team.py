"""A lone sequence whose columns several workers share: the same bits and the same gradients as one worker's."""

import threading

import numpy as np
import pytest

import fastrnn

SIZES = [(64, 256), (37, 301), (512, 512)]
KINDS = [(fastrnn.LSTM, {}), (fastrnn.LSTM, {"proj_size": 200}), (fastrnn.GRU, {}),
         (fastrnn.GRU, {"reset_after": False}), (fastrnn.RNN, {"nonlinearity": "relu"}),
         (fastrnn.LSTM, {"bidirectional": True, "num_layers": 2})]


@pytest.fixture
def threads():
    before = fastrnn.get_num_threads()
    yield fastrnn.set_num_threads
    fastrnn.set_num_threads(before)


def network(kind, options, sizes):
    rnn = kind(*sizes, seed=0, **options)
    x = np.random.default_rng(1).standard_normal((23, 1, sizes[0])).astype(np.float32)
    return rnn, x


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_same_bits_as_alone(threads, kind, options, sizes, workers):
    rnn, x = network(kind, options, sizes)
    threads(1)
    assert rnn._engine.plan(1, len(x)) == (1, 1, 1)
    alone = rnn(x)
    threads(workers)
    parts, team, _ = rnn._engine.plan(1, len(x))
    if kind is not fastrnn.RNN or sizes[1] == 512:
        assert (parts, team) == (1, workers)
    for _ in range(3):
        shared = rnn(x)
        np.testing.assert_array_equal(shared[0], alone[0])
        for a, b in zip(shared[1], alone[1]):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_gradients(threads, kind, options):
    rnn, x = network(kind, options, (64, 256))
    dy = np.random.default_rng(2).standard_normal((23, 1, rnn.output_size)).astype(np.float32)
    found = []
    for workers in (1, 2):
        threads(workers)
        rnn.zero_grad()
        _, _, tape = rnn.forward(x)
        dx, _ = rnn.backward(tape, dy)
        found.append([dx, *(g.copy() for g in rnn.grads.values())])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


def test_two_callers_at_once(threads):
    rnn, x = network(fastrnn.LSTM, {}, (64, 256))
    threads(2)
    expected = rnn(x)[0]
    wrong = []

    def call():
        for _ in range(30):
            if not np.array_equal(rnn(x)[0], expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert not wrong

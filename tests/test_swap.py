"""Weights that are loaded while other threads infer: each call uses all of the old or all of the new ones."""

import pickle
import sys
import threading
import time

import numpy as np
import pytest

from fastrnn import GRU, LSTM, RNN, Embedding, LastStep, LayerNorm, Linear, LSTMCell, Seq2Seq, Sequential
from fastrnn.nn.module import walk

SECONDS = 0.7


@pytest.fixture(autouse=True)
def switches_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def random_x(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def ids(*shape):
    return np.random.default_rng(3).integers(0, 300, shape)


NETWORKS = {
    "LSTM": (lambda seed: LSTM(256, 256, num_layers=2, seed=seed), lambda net, x: net(x)[0], random_x(2, 1, 256)),
    "GRU": (lambda seed: GRU(256, 256, bidirectional=True, seed=seed), lambda net, x: net(x)[0], random_x(2, 2, 256)),
    "cell": (lambda seed: LSTMCell(256, 256, seed=seed), lambda net, x: net(x)[0], random_x(2, 256)),
    "Linear": (lambda seed: Linear(256, 1024, seed=seed), lambda net, x: net(x), random_x(4, 256)),
    "Embedding": (lambda seed: Embedding(300, 1024, seed=seed), lambda net, x: net(x), ids(200)),
    "network": (
        lambda seed: Sequential(Embedding(300, 128, seed=seed), LSTM(128, 128, seed=seed), LayerNorm(128), LastStep(),
                                Linear(128, 300, seed=seed)), lambda net, x: net(x)[0], ids(3, 4)),
    "translation": (
        lambda seed: Seq2Seq(300, 300, hidden_size=64, seed=seed),
        lambda net, x: net(x, target=[np.arange(3)] * len(x)), ids(2, 5)),
    "stream": (lambda seed: RNN(256, 256, num_layers=3, seed=seed), lambda net, x: net.stream().step(x), random_x(256)),
    "stream of a network": (
        lambda seed: Sequential(RNN(256, 256, seed=seed), Linear(256, 256, seed=seed), Linear(256, 256, seed=seed)),
        lambda net, x: net.stream().step(x), random_x(256)),
}


@pytest.mark.parametrize("held", [False, True], ids=["", "parameters held"])
@pytest.mark.parametrize("name", NETWORKS)
def test_old_or_new_never_a_mixture(name, held):
    make, infer, x = NETWORKS[name]
    net, states, outputs = make(0), [], []
    for seed in (0, 1):
        states.append(make(seed).state_dict())
        net.load_state_dict(states[-1])
        outputs.append(np.array(infer(net, x)))
    assert not np.array_equal(*outputs)
    kept = net.params if held else None
    stop, counts, wrong = threading.Event(), [0, 0], []

    def read():
        while not stop.is_set():
            found = infer(net, x)
            which = [k for k in (0, 1) if np.array_equal(found, outputs[k])]
            if which:
                counts[which[0]] += 1
            else:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    until, turn = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        net.load_state_dict(states[turn % 2])
        turn += 1
    stop.set()
    for reader in readers:
        reader.join(30)
        assert not reader.is_alive()
    del kept
    assert not wrong, f"{len(wrong)} mixed of {sum(counts)}"
    assert min(counts) > 0 and turn > 3


def test_the_check_finds_a_mixture():
    """The same, with parameters that are written one by one."""
    net, other, x = LSTM(256, 256, num_layers=2, seed=0), LSTM(256, 256, num_layers=2, seed=1), random_x(2, 1, 256)
    outputs = [net(x)[0], other(x)[0]]
    names = list(net.params)
    for name in names[:3]:
        net.params[name][...] = other.params[name]
    assert not any(np.array_equal(net(x)[0], y) for y in outputs)


def test_a_load_within_the_own_inference():
    """No thread waits for itself."""
    net, state = Sequential(LSTM(3, 4, seed=0), Linear(4, 2, seed=0)), None

    class Loads:
        def __array__(self, dtype=None, copy=None):
            net.load_state_dict(state)
            return np.ones((2, 5, 3), np.float32)

    state = net.state_dict()
    expected = net(np.ones((2, 5, 3), np.float32))[0]
    found = []
    worker = threading.Thread(target=lambda: found.append(net(Loads())[0]), daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
    np.testing.assert_array_equal(found[0], expected)


def test_a_failed_load_opens_the_gates_and_changes_nothing():
    net = Sequential(LSTM(3, 4, seed=0), Linear(4, 2, seed=0))
    before, state = net.state_dict(), Sequential(LSTM(3, 4, seed=1), Linear(4, 2, seed=1)).state_dict()
    net.params["1.bias"].flags.writeable = False
    with pytest.raises(ValueError, match=r"params\['1.bias'\]"):
        net.load_state_dict(state)
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, before[name])
    assert net(np.ones((1, 2, 3)))[0].shape == (1, 2, 2)
    net.modules[0].load_state_dict(LSTM(3, 4, seed=2).state_dict())     # the gates are open again


def test_networks_with_gates_are_copied():
    net = Sequential(LSTM(3, 4, seed=0), Linear(4, 2, seed=0))
    twin = pickle.loads(pickle.dumps(net))
    x = np.ones((1, 2, 3), np.float32)
    np.testing.assert_array_equal(twin(x)[0], net(x)[0])
    assert len(list(walk(twin))) == 3 and twin._gate is not net._gate

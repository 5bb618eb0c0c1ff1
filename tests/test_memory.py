"""Estimates of the memory that training takes, and the error where there is not as much."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import SANITIZED

import fastrnn
from fastrnn import GRU, LSTM, QRNN, RNN, Embedding, LastStep, Linear, Sequential, Trainer, memory

MEASURE = """
import sys
import numpy as np
import fastrnn
from fastrnn import *
model = eval(sys.argv[1])
x = np.zeros((8, 3000), np.int64) if model.modules[0].__class__ is Embedding else np.zeros((8, 3000, 6), "float32")

def read(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

def train(x):
    y, state, tape = model.forward(x)
    gradient = np.ones_like(y)
    model.backward(tape, gradient)

train(x[:1, :40])
open("/proc/self/clear_refs", "w").write("5")
before = read("VmRSS")
train(x)
print(read("VmHWM") - before)
"""
NETS = [
    "Sequential(LSTM(6, 64, seed=0), Linear(64, 3, seed=0))",
    "Sequential(GRU(6, 32, 2, bidirectional=True, seed=0), Dropout(0.1), LastStep(bidirectional=True), Linear(64, 3))",
    "Sequential(Embedding(50, 24, seed=0), RNN(24, 96, seed=0), LayerNorm(96), Linear(96, 50, seed=0))",
    "Sequential(LSTM(6, 64, recompute=True, seed=0), Linear(64, 3, seed=0))",
    "Sequential(MinGRU(6, 96, 2, seed=0), Linear(96, 3, seed=0))",
    "Sequential(SRU(6, 64, bidirectional=True, seed=0), Linear(128, 3, seed=0))",
    "Sequential(Embedding(50, 96, seed=0), QRNN(96, 64, window=4, seed=0), Linear(64, 3, seed=0))",
    "Sequential(QRNN(6, 96, 2, window=3, recompute=True, seed=0), Linear(96, 3, seed=0))",
    "Sequential(LSTM(6, 48, layer_norm=True, seed=0), LastStep(), Linear(48, 3, seed=0))",
    "Sequential(Conv1d(6, 64, 5, padding='same', seed=0), ReLU(), GRU(64, 48, seed=0), Linear(48, 3, seed=0))",
    "Sequential(Conv1d(6, 96, 4, 2, seed=0), BatchNorm1d(96), GELU(), MaxPool1d(2), LSTM(96, 64, seed=0), LastStep())",
    "Sequential(Residual(Sequential(Linear(6, 96, seed=0), Tanh(), Linear(96, 6, seed=0))), AttentionPooling(6, 64))",
    "Sequential(Concat(GRU(6, 48, seed=0), Conv1d(6, 48, 3, padding='causal', seed=0)), LSTM(96, 32, seed=0))",
    "Sequential(Sequential(Sequential(GRU(6, 96, 2, bidirectional=True, seed=0))), Linear(192, 3, seed=0))",
]


@pytest.mark.skipif(SANITIZED, reason="sanitizers take memory of their own")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("net", NETS)
def test_the_estimate_is_what_training_takes(net):
    done = subprocess.run([sys.executable, "-c", MEASURE, net], capture_output=True, text=True, check=True)
    taken = int(done.stdout)
    names = {name: getattr(fastrnn, name) for name in fastrnn._HOME_OF}
    model = eval(net, names)
    ids = isinstance(model.modules[0], Embedding)
    estimate = memory.training_bytes(model, 8, 3000, ids=ids, width=6)
    slack = 4e6  # huge pages, and threads' own memory
    assert 0.75 * taken - slack < estimate < 1.5 * taken + slack, (taken, estimate)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_network_in_a_network_takes_what_its_modules_take(batch_first):
    def parts():
        return LSTM(6, 48, bidirectional=True, seed=0), Linear(96, 20, seed=0), LastStep(), Linear(20, 3, seed=0)

    flat = Sequential(*parts(), batch_first=batch_first)
    runner, *layers = parts()
    nested = Sequential(Sequential(Sequential(runner, layers[0]), layers[1]), layers[2], batch_first=batch_first)
    lengths = np.array([300, 200, 7])
    whole = memory.training_bytes(flat, 3, 300, lengths, width=6)
    assert memory.training_bytes(nested, 3, 300, lengths, width=6) == whole
    assert whole > sum(memory.runner_bytes(flat.modules[0], 3, 300, lengths))


def test_recompute_takes_the_square_root():
    def needed(steps, recompute):
        return sum(memory.runner_bytes(LSTM(8, 64, recompute=recompute), 1, steps))

    assert needed(100_000, False) > 130e6
    assert needed(100_000, True) < 6e6
    assert needed(10_000_000, True) < 60e6


def test_inputs_count_too(monkeypatch):
    """A tape of a wide window holds far more of the inputs than of the units."""
    monkeypatch.setattr(memory, "available", lambda: 110_000_000)
    with pytest.raises(MemoryError, match="x: expected"):
        QRNN(256, 2, window=16, seed=0).forward(np.zeros((8000, 1, 256), "float32"))


def test_the_error_before_a_run(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 110_000_000)
    x, y = np.zeros((4, 20_000, 3), "float32"), np.zeros(4, int)
    net = Sequential(GRU(3, 64, seed=0), LastStep(), Linear(64, 2, seed=0))
    trainer = Trainer(net, seed=0)
    before = net.state_dict()
    with pytest.raises(MemoryError, match=r"batch_size: expected .* 110 MB .*found 4 sequences of 20000 steps, about"):
        trainer.fit(x, y, progress=False)
    with pytest.raises(MemoryError, match="recompute=True"):
        net.modules[0].forward(x)
    assert trainer.step == 0 and all(np.array_equal(before[name], net.state_dict()[name]) for name in before)
    assert trainer.memory_estimate(x) > 110_000_000
    assert trainer.memory_estimate(x, batch_size=1) < 60_000_000
    assert trainer.memory_estimate(list(x)) == trainer.memory_estimate(x)
    assert trainer.memory_estimate(x, lengths=[20_000, 1, 1, 1]) < trainer.memory_estimate(x)
    net.modules[0].recompute = True
    assert trainer.memory_estimate(x) < 60_000_000
    trainer.fit(x[:, :500], y, progress=False)


def test_windows_take_what_a_window_takes():
    net = Sequential(Embedding(9, 4), RNN(4, 8), Linear(8, 9))
    ids = np.zeros((4, 5000), int)
    whole, cut = (Trainer(net, tbptt=k).memory_estimate(ids, batch_size=4) for k in (None, (10, 50)))
    assert cut < whole / 10


def test_what_is_available():
    room = memory.available()
    assert room is None or room > 0
    memory.require(10, "x", "nothing much", "nothing to do")
    if room is not None:
        with pytest.raises(MemoryError, match=r"x: expected what fits in the .* found all, about .*; buy more"):
            memory.require(room + 10**12, "x", "all", "buy more")


@pytest.mark.skipif(SANITIZED, reason="sanitizers take addresses of their own")
def test_a_limit_of_the_address_space():
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, -1))
import numpy as np
import fastrnn
try:
    fastrnn.LSTM(1, 512, seed=0).forward(np.zeros((300_000, 1, 1), "float32"))
except MemoryError as error:
    print(error)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("sets a limit as Linux has it")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "x: expected what fits in the" in done.stdout and "recompute=True" in done.stdout

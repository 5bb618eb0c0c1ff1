"""Run by test_allocation.py with a counting malloc preloaded: prints how many allocations each loop makes."""

import ctypes
import json
import sys

import numpy as np

import fastrnn

calls = ctypes.CDLL(None).allocation_calls
calls.restype = ctypes.c_long
WARM = 3


def counted(function, rounds):
    """Allocations of `rounds` calls after a few that may allocate what is kept."""
    for _ in range(WARM):
        function()
    before = calls()
    for _ in range(rounds):
        function()
    return calls() - before


def steps(rnn, batch, dtype, rounds):
    stream = rnn.stream(batch)
    x = np.ones((batch, rnn.input_size), dtype)
    out = np.empty((batch, rnn.hidden_size), dtype)
    return counted(lambda: stream.step(x, out=out), rounds)


def sequence(rnn, length):
    x = np.ones((4, length, rnn.input_size), np.float32)
    return counted(lambda: rnn(x), 5)


def training(rnn, length):
    x = np.ones((4, length, rnn.input_size), np.float32)

    def update():
        y, _, tape = rnn.forward(x)
        rnn.backward(tape, y)

    return counted(update, 5)


fastrnn.set_num_threads(int(sys.argv[1]))
found = {"malloc is counted": counted(lambda: ctypes.create_string_buffer(100_000), 10)}
for kind in (fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU):
    rnn = kind(20, 36, 2, seed=0)
    found[f"steps {kind.__name__}"] = [steps(rnn, 1, "float32", 1000), steps(rnn, 5, "float32", 1000)]
    found[f"sequence {kind.__name__}"] = [sequence(rnn, length) for length in (20, 200)]
    found[f"training {kind.__name__}"] = [training(rnn, length) for length in (20, 200)]
print(json.dumps(found))

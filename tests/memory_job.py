"""Trains on memory-mapped arrays and tells its own memory: run by test_larger.py, and by hand with a size in MB.

    python tests/memory_job.py WHAT MEGABYTES FOLDER

Prints {"anon": RssAnon, "peak": VmHWM, "steps": updates} in bytes; the arrays lie in sparse files.
"""

import json
import os
import sys

import numpy as np

from fastrnn import GRU, Embedding, LaneStream, LastStep, Linear, Sequential, Trainer
from fastrnn.callbacks import Callback

STEPS, FEATURES = 100, 64


def status(name):
    """Bytes of an entry of this process's status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def sparse(folder, name, dtype, shape):
    """A memory-mapped array of zeros that takes no room on the disk."""
    path = os.path.join(folder, name)
    np.memmap(path, dtype, "w+", shape=shape).flush()
    os.truncate(path, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r", shape=shape)



class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, trainer, logs):
        trainer.stop = trainer.step >= self.steps


def train(what, nbytes, folder):
    """Train on so many bytes of X; the number of updates."""
    dtype = {"float64": np.float64, "ids": np.int32, "tokens": np.uint16}.get(what, np.float32)
    itemsize = np.dtype(dtype).itemsize
    if what == "tokens":
        net = Sequential(Embedding(9, 8, seed=0), GRU(8, 16, seed=0), Linear(16, 9, seed=0))
        tokens = sparse(folder, "x", dtype, (nbytes // itemsize,))
        trainer = Trainer(net, seed=0, callbacks=[StopAfter(40)])
        trainer.fit(LaneStream(tokens, 64, 128), progress=False)
        return trainer.step
    steps = STEPS if what != "ids" else STEPS * FEATURES
    count = nbytes // (steps * itemsize * (FEATURES if what != "ids" else 1))
    shape = (count, steps) if what == "ids" else (count, steps, FEATURES)
    X, y = sparse(folder, "x", dtype, shape), sparse(folder, "y", np.int8, (count,))
    if what == "estimator":
        from fastrnn.sklearn import RNNClassifier

        estimator = RNNClassifier(hidden_size=8, epochs=1, batch_size=256, early_stopping=True)
        y = np.arange(count) % 2
        estimator.partial_fit(X, y, classes=[0, 1])
        estimator.fit(X, y)
        return estimator.predict(X[: count // 2]).size
    model = Sequential(Embedding(9, 8, seed=0), GRU(8, 8, seed=0), LastStep(), Linear(8, 3, seed=0))
    if what != "ids":
        model = Sequential(GRU(FEATURES, 16, seed=0), LastStep(), Linear(16, 3, seed=0))
    trainer = Trainer(model, seed=0)
    held = (X[: count // 8], y[: count // 8])
    trainer.fit(X, y, lengths=sparse(folder, "n", np.int16, (count,)) + np.int16(8 if what == "ids" else steps),
                batch_size=128, validation_data=held, progress=False)
    trainer.predict(X[: count // 8], progress=False)
    return trainer.step


if __name__ == "__main__":
    steps = train(sys.argv[1], int(float(sys.argv[2]) * 1e6), sys.argv[3])
    print(json.dumps({"anon": status("RssAnon"), "peak": status("VmHWM"), "steps": steps}))

"""Training that is killed at random moments and resumed until it ends, against the same training left alone.

    python tests/kill_resume.py 50            kills in all, by SIGKILL, spread over as many runs as they take
    python tests/kill_resume.py 50 --command  the same of `fastrnn train --resume`

Final parameters, optimiser, averages, random state, callbacks and figures must be those of the run left alone, bit for
bit.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = 240  # of the run in Python
TEXT = "the cat sat on the mat; the rat sat on the cat. what did the mat say? nothing at all, it was a mat.\n" * 40
COMMAND = """
import sys
from fastrnn import cli
from fastrnn.cli import textjob
textjob.CHECKPOINT_SECONDS = 0
sys.exit(cli.main(sys.argv[1:]))
"""


def data():
    """Ragged sequences of features, with a class for every step."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 3)).astype(np.float32) for n in rng.integers(2, 14, 60)]
    return X, [rng.integers(0, 4, len(x)) for x in X]


def make(callbacks):
    """A trainer that uses all there is to be kept."""
    from fastrnn import GRU, LSTM, ActivationRegularization, Adam, Dropout, LayerNorm, Linear, Sequential, Trainer
    from fastrnn.averaging import EMA
    from fastrnn.schedules import CosineDecay

    model = Sequential(
        LSTM(3, 12, 2, dropout=0.2, seed=1),
        ActivationRegularization(tar=0.1),
        Dropout(0.2, variational=True),
        GRU(12, 10, seed=3),
        LayerNorm(10),
        Linear(10, 4, seed=2),
    )
    return Trainer(
        model,
        optimizer=Adam(0.01),
        schedule=CosineDecay(0.01, STEPS, per="batch"),
        clip_norm=1.0,
        tbptt=(3, 5),
        accumulate=2,
        l2=1e-4,
        metrics=("accuracy",),
        average=EMA(0.98),
        callbacks=callbacks,
        seed=4,
    )


def train(directory):
    """Train, or go on training, with a checkpoint after every update; write what came of it to result.json."""
    from fastrnn import Trainer
    from fastrnn.callbacks import Callback, CSVLogger, EarlyStopping, LearningRateMonitor, ModelCheckpoint

    class Final(Callback):
        """The last parameters, before EarlyStopping brings back the best."""

        def on_fit_end(self, trainer):
            self.params = trainer.model.state_dict()

    final = Final()
    callbacks = [
        final,
        ModelCheckpoint(directory / "run", every_steps=1),
        EarlyStopping("val_loss", patience=100),
        CSVLogger(directory / "log.csv"),
        LearningRateMonitor(),
    ]
    trainer = Trainer.resume_newest(directory / "run", callbacks=callbacks) or make(callbacks)
    print(f"started at {trainer.step}", flush=True)
    X, y = data()
    trainer.fit(X, y, epochs=12, batch_size=4, validation_split=0.2, progress=False)
    (directory / "result.json").write_text(json.dumps({**summary(trainer), "last": digest(final.params)}))


def summary(trainer):
    """Digests of what must be equal, and the figures in full."""
    state = trainer.state_dict()
    history = {name: values for name, values in state["history"].items() if name != "seconds"}
    callbacks = [c for c in state["callbacks"] if c["type"] not in ("CSVLogger", "ModelCheckpoint")]
    parts = {name: state[name] for name in ("params", "optimizer", "schedule", "average", "rng", "epoch", "step")}
    return {
        "history": history,
        "callbacks": digest(callbacks),
        **{name: digest(value) for name, value in parts.items()},
    }


def digest(value):
    """SHA-256 of nested dicts and lists of plain values and arrays."""
    found = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for name in sorted(value):
                found.update(name.encode())
                add(value[name])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        elif isinstance(value, np.ndarray):
            found.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        else:
            found.update(repr(value).encode())

    add(value)
    return found.hexdigest()


class Job:
    """One way to train: how to start it in a directory, and what it leaves there in the end."""

    def __init__(self, command):
        self.command = command

    def arguments(self):
        if not self.command:
            return [sys.executable, __file__, "--train"]
        options = ["--epochs", "3", "--hidden", "16", "--batch-size", "4", "--seq-len", "8", "--out", "m"]
        return [sys.executable, "-c", COMMAND, "train", "text.txt", *options, "--resume"]

    def start(self, directory):
        if self.command:
            (directory / "text.txt").write_text(TEXT)
        return subprocess.Popen(
            self.arguments(),
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "FASTRNN_NUM_THREADS": "1"},
        )

    def alone(self, directory):
        process = self.start(directory)
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors.decode())
        return self.result(directory)

    def result(self, directory):
        if self.command:
            return hashlib.sha256((directory / "m").read_bytes()).hexdigest()
        found = json.loads((directory / "result.json").read_text())
        rows = [line.rsplit(",", 1)[0] for line in (directory / "log.csv").read_text().splitlines()]
        return {**found, "log": rows}  # without the seconds


def kill_and_resume(job, kills, seed, show=print):
    """Kill runs `kills` times in all, let each one end, and compare it; returns the number of runs.

    Raises
    ------
    AssertionError
        Where a run that was killed ends otherwise than the one left alone.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        expected = job.alone(_new(Path(folder) / "alone"))
        longest = time.perf_counter() - started
        done = runs = 0
        while done < kills or not runs:
            directory, here = _new(Path(folder) / str(runs)), 0
            runs += 1
            while True:
                process = job.start(directory)
                if done == kills:
                    _, errors = process.communicate()
                else:
                    try:
                        _, errors = process.communicate(timeout=rng.uniform(0.25, 0.6) * longest)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        _, errors = process.communicate()
                if process.returncode == 0:
                    break
                if process.returncode != -9:
                    raise RuntimeError(errors.decode())
                done, here = done + 1, here + 1
            assert job.result(directory) == expected, f"run {runs} differs after {here} kills"
            left = [path.name for path in directory.iterdir() if path.name.endswith(".tmp")]
            assert not left, f"left behind: {left}"
            show(f"run {runs}: {here} kills, equal ({done} kills so far)")
    return runs


def _new(directory):
    directory.mkdir()
    return directory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--command", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(Path.cwd())
        return
    runs = kill_and_resume(Job(arguments.command), arguments.kills, arguments.seed)
    print(f"{arguments.kills} kills over {runs} runs: every one ended with the bits of the run left alone")


if __name__ == "__main__":
    main()

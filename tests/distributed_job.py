"""What the ranks of tests/test_distributed.py run: ``python distributed_job.py KIND FOLDER [OPTIONS as JSON]``."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from fastrnn import GRU, LSTM, SGD, Adam, Dropout, LaneStream, LastStep, Linear, Sequential
from fastrnn.callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint

LENGTHS = np.array([7, 3, 5, 1, 9, 2, 6, 4, 7, 5, 0, 8, 3])


def data(dtype="float64"):
    rng = np.random.default_rng(0)
    n, steps = len(LENGTHS), LENGTHS.max()
    return {
        "X": rng.standard_normal((n, steps, 3)).astype(dtype),
        "steps": rng.integers(0, 4, (n, steps)),
        "classes": rng.integers(0, 4, n),
        "weight": rng.uniform(0.1, 2.0, n),
        "few": np.where(np.arange(n) % 4, 0.0, 1.0 + np.arange(n)),
        "step_weight": rng.uniform(0.0, 2.0, (n, steps)),
        "stream": rng.standard_normal((83, 3)).astype(dtype),
        "targets": rng.integers(0, 4, 83),
    }


def ragged(array):
    return [row[:length] for row, length in zip(array, LENGTHS)]


def tagger(dtype="float64", batch_first=True):
    return Sequential(LSTM(3, 6, seed=1, dtype=dtype), Linear(6, 4, seed=2, dtype=dtype), batch_first=batch_first)


def classifier(dtype="float64"):
    return Sequential(GRU(3, 6, seed=1, dtype=dtype), LastStep(), Linear(6, 4, seed=2, dtype=dtype))


def cases():
    """name -> (model, options of the trainer, arguments of fit)"""
    d = data()
    X, steps, classes = d["X"], d["steps"], d["classes"]
    lists = {"X": ragged(X), "y": ragged(steps)}
    lanes = LaneStream(d["stream"], 5, 4, d["targets"], dtype="float64")
    held_out = (ragged(X)[:5], ragged(steps)[:5])
    return {
        "whole": (tagger(), {}, {"X": X, "y": steps}),
        "time first": (tagger(batch_first=False), {}, {"X": X, "y": steps, "lengths": LENGTHS}),
        "float32": (tagger("float32"), {"clip_norm": 0.1}, {"X": X.astype("float32"), "y": steps}),
        "ragged": (tagger(), {"clip_norm": 0.1, "clip_value": 0.05}, {**lists, "validation_data": held_out}),
        "weights": (tagger(), {}, {**lists, "sample_weight": d["weight"], "validation_split": 0.3}),
        "weights of steps": (tagger(), {}, {"X": X, "y": steps, "lengths": LENGTHS, "sample_weight": d["step_weight"]}),
        "weights of classes": (tagger(), {"l2": 0.01}, {**lists, "class_weight": {0: 3.0, 2: 0.5}}),
        "few rows of weight": (tagger(), {"clip_norm": 0.1}, {**lists, "sample_weight": d["few"]}),
        "frozen": (tagger().freeze("0.weight_*"), {"clip_norm": 0.1, "l2": 0.01}, lists),
        "sequences": (classifier(), {"metrics": ("accuracy",)}, {"X": X, "y": classes, "validation_split": 0.3}),
        "ragged sequences": (classifier(), {}, {"X": ragged(X), "y": classes, "sample_weight": d["weight"]}),
        "windows": (tagger(), {"tbptt": (2, 3)}, lists),
        "accumulated": (tagger(), {"tbptt": 3, "accumulate": 2}, lists),
        "batches of one": (tagger(), {"tbptt": 4}, {**lists, "batch_size": 1}),
        "in their order": (tagger(), {"tbptt": 3}, {**lists, "batch_order": [[0, 3, 3, 9, 12], [1], [7, 7]]}),
        "summed": (tagger(), {"reduction": "sum", "tbptt": 3, "accumulate": 2}, {
            **lists, "sample_weight": d["weight"]}),
        "by sequence": (tagger(), {"reduction": "batchmean", "tbptt": 3, "accumulate": 2, "clip_norm": 0.3}, lists),
        "weights by sequence": (tagger(), {"reduction": "batchmean"}, {
            "X": X, "y": steps, "lengths": LENGTHS, "sample_weight": d["step_weight"]}),
        "lanes": (tagger(), {"clip_norm": 0.1}, {"X": lanes, "validation_data": lanes}),
    }


def outcome(trainer, arguments):
    """Everything of a fit that must be the same for one process and several."""
    history = trainer.fit(**{"epochs": 2, "batch_size": 4, "progress": False, **arguments})
    figures = {name: values for name, values in history.items() if name != "seconds"}
    figures["params"] = [p.tolist() for p in trainer.model.params.values()]
    if not isinstance(arguments["X"], LaneStream):
        padded = {"lengths": arguments["lengths"]} if "lengths" in arguments else {}
        y = trainer.predict(arguments["X"], **padded, progress=False)
        figures["predictions"] = [row.tolist() for row in y]
        figures["evaluation"] = trainer.evaluate(arguments["X"], arguments["y"], **padded, progress=False)
    return figures


def make(cls, model, options):
    return cls(model, "cross_entropy", SGD(0.5, momentum=0.9), seed=5, **options)


def equal(folder):
    """Every case, to be compared with one process."""
    from fastrnn.distributed import DistributedTrainer

    found = {}
    for name, (model, options, arguments) in cases().items():
        trainer = make(DistributedTrainer, model, options)
        found[name] = outcome(trainer, arguments)
    write(folder, trainer, found)


class After(Callback):
    """Does something on one rank after an update."""

    def __init__(self, do=None, at=None, rank=None):
        self.do, self.at, self.rank = do, at, rank

    def on_step_end(self, trainer, logs):
        if trainer.step == self.at and trainer.ranks.rank == self.rank:
            self.do(trainer)


def stream_trainer(folder, callbacks):
    """One with carried states, dropout and callbacks that write."""
    from fastrnn.distributed import DistributedTrainer

    prefix = folder / "run"
    callbacks = [*callbacks, ModelCheckpoint(prefix, every_seconds=0.05), CSVLogger(folder / "log.csv")]
    return DistributedTrainer.resume_newest(prefix, callbacks=callbacks) or DistributedTrainer(
        Sequential(LSTM(3, 6, 2, dropout=0.3, seed=1), Dropout(0.2), Linear(6, 4, seed=2)),
        optimizer=Adam(0.01),
        callbacks=callbacks,
        seed=5,
    )


def stream(folder, do=None, at=None, rank=None, slow=0.0):
    """A fit of 3 epochs of 20 updates, in which one rank may come to an end."""
    actions = {
        "kill": lambda trainer: os.kill(os.getpid(), signal.SIGKILL),
        "terminate": lambda trainer: os.kill(os.getpid(), signal.SIGTERM),
        "interrupt": lambda trainer: os.kill(os.getpid(), signal.SIGINT),
        "raise": lambda trainer: (_ for _ in ()).throw(OSError("no space left on this rank's disk")),
        "exit": lambda trainer: sys.exit(3),
        "sleep": lambda trainer: time.sleep(3),
        "stop": lambda trainer: setattr(trainer, "stop", True),
    }
    d = data("float32")
    trainer = stream_trainer(folder, [After(actions.get(do), at, rank), Slow(slow)])
    if do == "sleep":
        trainer.ranks.timeout = 0.5
    (folder / f"pid{trainer.ranks.rank}").write_text(str(os.getpid()))
    try:
        trainer.fit(LaneStream(d["stream"][:81], 4, 1, d["targets"][:81]), epochs=3, progress=False)
    except BaseException as error:
        (folder / f"error{trainer.ranks.rank}").write_text(f"{type(error).__name__}: {error}")
        raise
    finally:
        (folder / f"step{trainer.ranks.rank}").write_text(str(trainer.step))
    params = {name: p.tolist() for name, p in trainer.model.params.items()}
    write(folder, trainer, {"params": params, "step": trainer.step})


class Slow(Callback):
    def __init__(self, seconds):
        self.seconds = seconds

    def on_step_end(self, trainer, logs):
        time.sleep(self.seconds)


def early(folder):
    """A fit that early stopping ends, started again from its checkpoint."""
    from fastrnn.distributed import DistributedTrainer

    d = data()
    found = []
    for _ in range(2):
        callbacks = [EarlyStopping("loss", patience=2, min_delta=10.0), ModelCheckpoint(folder / "early")]
        trainer = DistributedTrainer.resume_newest(folder / "early", callbacks=callbacks) or make(
            DistributedTrainer, tagger(), {"callbacks": callbacks}
        )
        trainer.fit(d["X"], d["steps"], epochs=9, progress=False)
        found.append([trainer.epoch, trainer.step, trainer.ranks.rank])
    write(folder, trainer, found)


def not_finite(folder):
    """Data of one sequence, and so the loss of one rank, that is not finite; then a fit that works."""
    from fastrnn import NonFiniteError
    from fastrnn.distributed import DistributedTrainer

    d = data()
    X = d["X"].copy()
    X[3] = np.nan
    trainer = make(DistributedTrainer, tagger(), {})
    before = trainer.model.state_dict()
    found = ""
    try:
        trainer.fit(X, d["steps"], progress=False, batch_size=len(X))
    except NonFiniteError as error:
        found = str(error)
    same = all((p == before[name]).all() for name, p in trainer.model.params.items())
    trainer.fit(d["X"], d["steps"], progress=False)
    write(folder, trainer, [found, same, trainer.step], every=True)


def differ(folder):
    """Ranks that come with different data."""
    from fastrnn.distributed import DistributedTrainer

    d = data()
    trainer = make(DistributedTrainer, tagger(), {})
    n = 13 - trainer.ranks.rank
    try:
        trainer.fit(d["X"][:n], d["steps"][:n], progress=False)
    except ValueError as error:
        write(folder, trainer, str(error), every=True)


def absent(folder):
    """A rank that fails before it comes to training."""
    from fastrnn.distributed import DistributedTrainer

    trainer = make(DistributedTrainer, tagger(), {})
    if trainer.ranks.rank == 1:
        raise FileNotFoundError("rank 1 has no data")
    d = data()
    trainer.fit(d["X"], d["steps"], progress=False)


def write(folder, trainer, value, every=False):
    if every or trainer.ranks.first:
        (folder / f"out{trainer.ranks.rank}.json").write_text(json.dumps(value))


if __name__ == "__main__":
    kind, folder, *options = sys.argv[1:]
    globals()[kind](Path(folder), **json.loads(options[0] if options else "{}"))

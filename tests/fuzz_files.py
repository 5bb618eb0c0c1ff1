"""Files of every kind, changed at random with a right checksum: each opens, or a ValueError names it.

    python tests/fuzz_files.py --files 100000 --seed 0

Every file takes less than a second of the processor and less than 50 MB above its size. File number k of a seed is
always the same; ``--only k`` opens it alone. A file that is not treated as it should is kept in the folder `--keep`.
"""

import contextlib
import functools
import json
import pickle
import struct

import numpy as np
from fuzzing import change_bytes, fuzz, main

import fastrnn
from fastrnn import (
    ActivationRegularization,
    CharModel,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    MeanOverTime,
    averaging,
    schedules,
)
from fastrnn.callbacks import CSVLogger, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fastrnn.files.tensorfile import DTYPES, KEY, NAMES, VERSION, _checksum, read_tensors
from fastrnn.scaling import Rescale, Standardize
from fastrnn.text import OneHot

X, Y = np.zeros((8, 6, 3), "f"), np.ones((8, 1), "f")


def models():
    """One of each type and a few networks, all small."""
    yield fastrnn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    yield fastrnn.LSTM(3, 4, 2, proj_size=2, bidirectional=True, dtype="float64", zoneout=(0.1, 0.2))
    yield fastrnn.LSTM(3, 4, layer_norm=True, init={"forget_bias": 2.0, "recurrent": ["identity", 0.5]})
    yield fastrnn.GRU(3, 4, reset_after=False, bias=False, recompute=True)
    for name in ("MinGRU", "MinLSTM", "SRU"):
        yield getattr(fastrnn, name)(3, 4)
    yield fastrnn.QRNN(3, 4, 2, window=3)
    yield from (fastrnn.RNNCell(3, 4), fastrnn.LSTMCell(3, 4), fastrnn.GRUCell(3, 4, layer_norm=True))
    yield from (Linear(3, 2), Embedding(5, 3), LayerNorm(4), Dropout(0.5), LastStep(bidirectional=True), MeanOverTime())
    yield from (fastrnn.LeakyReLU(0.1), fastrnn.GELU("tanh"), fastrnn.Softplus(0.5), fastrnn.Softmax())
    yield from (OneHot(4), ActivationRegularization(1.0, 2.0), Standardize([0.0, 1.0], [1.0, 2.0]))
    yield fastrnn.Attention("additive", 4, 3, 2)
    yield fastrnn.Sequential(Embedding(7, 3), Dropout(0.5), fastrnn.LSTM(3, 4), LayerNorm(4), Linear(4, 2))
    yield fastrnn.Sequential(Embedding(7, 3), fastrnn.GRU(3, 3), Linear(3, 7), tie_embeddings=True)
    inner = fastrnn.Sequential(MeanOverTime(), Linear(4, 2), Rescale([0.0, 1.0], [1.0, 2.0]))
    yield fastrnn.Sequential(Standardize([0.0] * 3, [1.0] * 3), fastrnn.RNN(3, 4), inner)
    branches = fastrnn.Concat(fastrnn.Residual(fastrnn.GRU(3, 3)), fastrnn.Sequential(fastrnn.Reverse(), Linear(3, 2)))
    yield from (fastrnn.BatchNorm1d(3), fastrnn.AttentionPooling(3, 2), fastrnn.MaxPool1d(2, padding=1))
    inputs = fastrnn.Inputs(a=fastrnn.Sequential(Embedding(5, 3), LastStep()), b=Linear(2, 3))
    yield fastrnn.Sequential(inputs, Linear(6, 2))
    yield fastrnn.Conv1d(4, 6, 3, 2, padding=1, groups=2)
    yield fastrnn.Sequential(branches, fastrnn.Flatten(), fastrnn.ReLU(), Linear(10, 2))
    yield fastrnn.MaskedSequential(Embedding(7, 3), fastrnn.GRU(3, 4, bidirectional=True), LastStep(),
                                   fastrnn.MergeDirections("mul"), mask_value=1)
    yield fastrnn.Seq2Seq(5, 6, embedding_dim=3, hidden_size=4, readout_size=3, dropout=0.1)
    yield fastrnn.Seq2Seq(5, 6, source="features", cell="lstm", embedding_dim=None, hidden_size=4, attention="general")
    yield CharModel('ab\n é😀"', cell="gru", hidden_size=5, num_layers=2, dropout=0.1, embedding_dim=3)
    yield CharModel("abc", hidden_size=4, embedding_dim=None)


def trainers(folder):
    """Trainers with all kinds of parts, some of them within a fit."""

    def network():
        return fastrnn.Sequential(fastrnn.GRU(3, 4, seed=0), LastStep(), Linear(4, 1, seed=0))

    warm = schedules.WarmUp(schedules.LinearDecay(0.1, 10, per="batch"), 2)
    parts = [
        {"optimizer": "adam", "schedule": warm, "average": averaging.EMA(0.9), "clip_norm": 1.0, "l2": 0.1,
         "callbacks": [EarlyStopping("loss"), CSVLogger(folder / "log.csv"), LearningRateMonitor()]},
        {"optimizer": fastrnn.SGD(0.1, momentum=0.5), "schedule": schedules.ReduceOnPlateau(0.1),
         "average": averaging.SWA(), "metrics": ["mse"], "l2": {"*weight_hh*": 0.1}, "accumulate": 2,
         "callbacks": [ModelCheckpoint(folder / "series")], "seed": np.random.Generator(np.random.MT19937(0))},
        {"optimizer": fastrnn.RMSprop(centered=True), "schedule": schedules.OneCycle(0.1, 20),
         "seed": np.random.Generator(np.random.Philox(0))},
        {"optimizer": "adagrad", "seed": np.random.Generator(np.random.SFC64(0)), "clip_value": 1.0},
    ]  # fmt: skip
    for options in parts:
        trainer = fastrnn.Trainer(network(), "mse", **{"seed": 0, **options})
        trainer.fit(X, Y, batch_size=4, progress=False)
        trainer.notes = {"a/b": 1, "a": {"b": [np.arange(3), None, (True, 0.5, "é")]}}
        yield trainer

    class Stop(fastrnn.callbacks.Callback):
        def on_step_end(self, trainer, logs):
            trainer.stop = True

    per_step = fastrnn.Sequential(fastrnn.LSTM(3, 4, seed=0), Linear(4, 1, seed=0))
    trainer = fastrnn.Trainer(per_step, "mse", tbptt=(2, 3), callbacks=[Stop()], seed=0)
    trainer.fit(X, np.ones((8, 6, 1), "f"), batch_size=4, progress=False)
    yield trainer


def estimators():
    try:
        from fastrnn.sklearn import RNNAnomalyDetector, RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger
    except ImportError:
        return
    small = {"hidden_size": 3, "epochs": 1, "random_state": 0}
    yield RNNClassifier(class_weight={"a": 1.0, "b": 2.0}, **small).fit(X, list("abababab"))
    yield RNNClassifier(pooling="mean", dtype=np.float64, **{**small, "random_state": np.random.RandomState(0)}).fit(
        X[..., 0], [0, 1] * 4)
    yield RNNRegressor(**small).fit(X, np.ones((8, 2)))
    yield RNNTagger(class_weight="balanced", **small).fit(X, np.arange(48).reshape(8, 6) % 3)
    series = np.sin(np.arange(40.0))
    yield RNNForecaster(2, window=4, early_stopping=False, **small).fit(series)
    yield RNNForecaster(2, mode="autoregressive", interval="quantile", season=2, window=4, **small).fit([series] * 2)
    yield RNNAnomalyDetector(window=4, **small).fit(series)


def corpus(folder):
    """[(how it is opened, kind, state, tensors)] of valid files."""
    found, path = [], folder / "valid"

    def add(opener, kind):
        tensors, state = read_tensors(path, kind)
        opener(path)
        found.append((opener, kind, state, tensors))

    def resume(at):
        callbacks = [EarlyStopping("loss"), CSVLogger(folder / "log.csv"), LearningRateMonitor()]
        return fastrnn.Trainer.resume(at, callbacks=[*callbacks, ModelCheckpoint(folder / "series")])

    for model in models():
        fastrnn.save(model, path)
        add(fastrnn.load, "model")
    for trainer in trainers(folder):
        trainer.save_checkpoint(path)
        add(resume, "checkpoint")
    for estimator in estimators():
        from fastrnn.sklearn import load

        estimator.save(path)
        add(load, "checkpoint")
    return found


NAMES_TO_TRY = [
    "", "x", "seed", "test", "__init__", "__class__", "__dict__", "predict", "mt19937", "RandomState", "Generator",
    "Optimizer", "Schedule", "Module", "Runner", "Cell", "Layer", "Attention", "Sequential", "Seq2Seq", "CharModel",
    "LSTM", "PCG64", "MT19937", "Adam", "SGD", "EMA", "WarmUp", "OneCycle", "float64", "float16", "O", "U9",
    "<U1000000000", "ctc", "quantile", "auto", "balanced", "\ud800", "\x00", "a/b", "../../x", "é" * 300, "*" * 999,
]  # fmt: skip
NUMBERS = [
    -1, 0, 1, 2, 3, 255, 10_000, 20_000, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63, 2**64, 10**30, 10**400,
    -(10**9), 0.0, -0.0, 0.5, 1.0, 1e-300, 1e-45, 1e300, -1.5, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip


def value(rng, others):
    """Any JSON value, some of them known to be trouble, some from another place."""
    choice = rng.randrange(10)
    if choice < 3:
        return rng.choice(NUMBERS)
    if choice < 5:
        return rng.choice(NAMES_TO_TRY)
    if choice == 5:
        return rng.choice([None, True, False, [], {}, [None], [0] * 300, {"": 0}, {"type": "LSTM"}, [[]] * 50])
    if choice == 6:
        deep = rng.choice([None, 1, "x"])
        for _ in range(rng.choice([3, 30, 120, 300])):
            deep = [deep] if rng.random() < 0.5 else {rng.choice(["list", "dict", "modules", "after", "x"]): deep}
        return deep
    return pickle.loads(pickle.dumps(rng.choice(others)))


def places(tree):
    """(container, key) of every value inside."""
    found, todo = [], [tree]
    while todo:
        at = todo.pop()
        for key, item in at.items() if isinstance(at, dict) else enumerate(at):
            found.append((at, key))
            if isinstance(item, (dict, list)):
                todo.append(item)
    return found


def few(item):
    """How often an item may be there without making its file a large one."""
    return max(1, min(1000, 20_000 // len(pickle.dumps(item))))


def change_state(state, rng, types):
    """The state with one value changed, taken away, put in or renamed."""
    root = {"state": state}
    found = places(root)
    at, key = rng.choice(found)
    old = at[key]
    others = [container[name] for container, name in rng.sample(found, min(len(found), 5))]
    choice = rng.randrange(8)
    if choice == 0 and at is not root:
        del at[key]
    elif choice == 1 and isinstance(at, list):
        new = value(rng, others)
        at[key:key] = [new] * rng.choice([1, 2, few(new)])
    elif choice == 1 and isinstance(at, dict):
        at[rng.choice([*NAMES_TO_TRY, *(name for _, name in found if isinstance(name, str))])] = value(rng, others)
    elif choice == 2 and isinstance(at, dict) and at is not root:
        at[rng.choice([*NAMES_TO_TRY, *(name for _, name in found if isinstance(name, str))])] = at.pop(key)
    elif choice == 3 and isinstance(old, (int, float)) and not isinstance(old, bool):
        at[key] = rng.choice([old + 1, old - 1, old * 10, -old, old * 10**6, float(old) if abs(old) < 1e300 else 0])
    elif choice == 4 and isinstance(old, str):
        at[key] = rng.choice([old + "x", old[:-1], old.lower(), old.upper(), old * 2, old[::-1], rng.choice(types)])
    elif choice == 5 and isinstance(old, list) and old:
        at[key] = old * rng.choice([2, few(old)]) if rng.random() < 0.5 else old[::-1]
    else:
        at[key] = value(rng, others)
    return root["state"]


class Mark:
    """A value of a checkpoint that is more than JSON: an array by its name."""

    def __init__(self, name):
        self.name = name


class Row(list):
    """A tuple of a checkpoint, to be changed."""


def plain(tree):
    """A checkpoint's tree without the marks of what is a dict, list, tuple or array."""
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        return Mark(content)
    if kind == "dict":
        return {key: plain(item) for key, item in content.items()}
    return (Row if kind == "tuple" else list)(plain(item) for item in content)


def marked(tree, tensors, used):
    """The reverse of `plain`; an array that is there again gets a name of its own."""
    if isinstance(tree, Mark):
        name = tree.name
        if name in used and name in tensors:
            name = f"{name}#{len(used)}"
            tensors[name] = tensors[tree.name]
        used.add(name)
        return {"array": name}
    if isinstance(tree, dict):
        return {"dict": {key: marked(item, tensors, used) for key, item in tree.items()}}
    if isinstance(tree, list):
        return {"tuple" if isinstance(tree, Row) else "list": [marked(item, tensors, used) for item in tree]}
    return tree


def change_tensors(tensors, rng):
    """One array changed in its values, shape, dtype or name, taken away or put in."""
    names = list(tensors)
    name = rng.choice(names) if names else "x"
    array = tensors.pop(name, np.zeros(3, np.float32))
    choice = rng.randrange(9)
    if choice == 0:
        return tensors
    if choice == 1:
        name = rng.choice([*NAMES_TO_TRY[:-6], *names])
    elif choice == 2:
        array = array.reshape(rng.choice([(-1,), (1, -1), (-1, 1), (1,) * 20 + (-1,)]))
    elif choice == 3:
        array = array.astype(rng.choice(list(NAMES)))
    elif choice == 4:
        array = array[:-1] if array.ndim else array[None]
    elif choice == 5:
        array = np.concatenate([array.reshape(-1)] * rng.choice([2, 9]))
    elif choice == 6:
        array = array.copy()
        raw = array.reshape(-1).view(np.uint8)
        raw[:] = rng.choice([0, 255, 127, 1]) if array.dtype != bool else 1
    elif choice == 7:
        array = np.zeros(rng.choice([(), (0,), (2**31, 0), (5, 0, 7), (100_000,)]), array.dtype)
    else:
        array = array.copy()
        if array.size and array.dtype.kind in "fiu":
            array.reshape(-1)[rng.randrange(array.size)] = rng.choice([0, 1, 100, 127])
    tensors[name] = array
    return tensors


def change_entries(entries, rng):
    """One number, name or word of what the header says of the arrays changed."""
    if not entries:
        return
    entry = entries[rng.choice(list(entries))]
    choice = rng.randrange(6)
    if choice == 0:
        entry["dtype"] = rng.choice([*DTYPES, "BF16", "F8_E4M3", "", None, 5])
    elif choice == 1:
        entry["shape"] = rng.choice([[], [-1], [2**62, 0], [2**40, 2**40], [1.5], None, ["3"], [10**30], [0] * 33])
    elif choice == 2:
        entry["data_offsets"] = rng.choice([[0, 0], [-1, 3], [0, 2**63], [5], None, [8, 4], [1.0, 2.0], [0, 10**40]])
    elif choice == 3:
        entry["data_offsets"][rng.randrange(2)] += rng.choice([-4, 4, 1, 10**9])
    elif choice == 4:
        entry.pop(rng.choice(list(entry)))
    else:
        entry[rng.choice(NAMES_TO_TRY[:-6])] = rng.choice([0, "x", []])


def make(entry, rng, types):
    """The bytes of a changed file, as far as Python can put it together."""
    while True:
        with contextlib.suppress(RecursionError):   # too deep
            return changed(entry, rng, types)


def changed(entry, rng, types):
    """The bytes of a file made from `entry` with values, arrays or bytes of it changed; may raise RecursionError."""
    _, kind, state, tensors = entry
    tensors = dict(tensors)
    state = pickle.loads(pickle.dumps(state))
    what = rng.random()
    inside = kind == "checkpoint" and rng.random() < 0.8
    state = plain(state) if inside else state
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if what < 0.7:
            state = change_state(state, rng, types)
        if what > 0.55:
            tensors = change_tensors(tensors, rng)
    header = {"kind": kind, "version": VERSION, "state": marked(state, tensors, set()) if inside else state}
    if rng.random() < 0.01:
        header[rng.choice(list(header))] = value(rng, [kind])
    try:
        header["sha256"] = _checksum(tensors, header)
    except (UnicodeEncodeError, RecursionError):
        header["sha256"] = ""
    entries, end, chunks = {}, 0, []
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        entries[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + len(raw)]}
        end += len(raw)
        chunks.append(raw)
    if rng.random() < 0.1:
        change_entries(entries, rng)
    text = json.dumps({"__metadata__": {KEY: json.dumps(header)}, **entries}).encode()
    if rng.random() < 0.02:  # a name that is there twice
        text = text[:-1] + b"," + json.dumps(dict(list(entries.items())[:1])).encode()[1:]
    data = struct.pack("<Q", len(text)) + text + b"".join(chunks)
    return change_bytes(data, rng) if rng.random() < 0.1 else data


def prepare(folder):
    """The function (rng) that makes a changed file; see `fuzzing.fuzz`."""
    entries = corpus(folder)
    groups = [[entry for entry in entries if (entry[0], entry[1]) == which] for which in
              dict.fromkeys((entry[0], entry[1]) for entry in entries)]
    # names that valid files have at other places
    words = {container[name] for entry in entries for container, name in places({"": entry[2]})
             if isinstance(container[name], str) and len(container[name]) < 40}
    types = sorted(words)

    def make_one(rng):
        entry = rng.choice(rng.choice(groups))
        return entry[0], entry[1], ".safetensors", make(entry, rng, types)

    return make_one


if __name__ == "__main__":
    main(__doc__, functools.partial(fuzz, prepare))

"""Data larger than memory: memory-mapped arrays are read batch by batch; batches come from sources one at a time."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastrnn import (
    GRU,
    Embedding,
    LaneStream,
    LastStep,
    Linear,
    NonFiniteError,
    Seq2Seq,
    Sequential,
    Trainer,
    averaging,
    losses,
    schedules,
)
from fastrnn.callbacks import Callback
from fastrnn.data import mapped
from fastrnn.data.mapped import Mapped, chunks, is_mapped, read
from fastrnn.data.scaling import Standardize, mean_and_deviation
from fastrnn.data.source import is_source
from fastrnn.distributed import DistributedTrainer
from fastrnn.sklearn import RNNClassifier, RNNRegressor, RNNTagger

RNG = np.random.default_rng(5)
N, T, F, K = 23, 7, 3, 4
X = RNG.normal(size=(N, T, F))
IDS = RNG.integers(0, 6, (N, T))
STEPS = RNG.integers(0, K, (N, T))
CLASSES = RNG.integers(0, K, N)
LENGTHS = RNG.integers(1, T + 1, N)
LENGTHS[3] = T
WEIGHTS = RNG.integers(1, 4, N) / 2
STEP_WEIGHTS = RNG.integers(0, 4, (N, T)) / 2
QUIET = {"progress": False}


def tagger():
    return Sequential(GRU(F, 5, seed=0), Linear(5, K, seed=0))


def id_tagger():
    return Sequential(Embedding(6, 3, seed=0), GRU(3, 5, seed=0), Linear(5, K, seed=0))


def classifier():
    return Sequential(GRU(F, 5, seed=0), LastStep(), Linear(5, K, seed=0))


def regressor():
    return Sequential(GRU(F, 5, seed=0), LastStep(), Linear(5, 2, seed=0))


@pytest.fixture
def on_disk(tmp_path):
    """A function that puts an array into a file of its own and returns it memory-mapped."""
    made = []

    def put(values, dtype=None, mode="r"):
        values = np.asarray(values, dtype)
        path = tmp_path / f"{len(made)}.npy"
        np.save(path, values)
        made.append(np.load(path, mmap_mode=mode))
        assert is_mapped(made[-1])
        return made[-1]

    return put


def assert_same_params(one, other):
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes(), name


# Memory-mapped arrays: what each case trains on in memory, and the dtypes that it has in files

CASES = {
    "float64 steps": (tagger, "cross_entropy", {"X": X, "y": STEPS}, {"X": "f8", "y": "i2"}, {}),
    "float32 steps": (tagger, "cross_entropy", {"X": X.astype("f4"), "y": STEPS}, {"X": "f4", "y": "i8"}, {}),
    "big-endian": (tagger, "cross_entropy", {"X": X, "y": STEPS}, {"X": ">f8", "y": ">i4"}, {}),
    "lengths": (tagger, "cross_entropy", {"X": X, "y": STEPS, "lengths": LENGTHS},
                {"X": "f8", "y": "i8", "lengths": "i2"}, {}),
    "windows": (tagger, "cross_entropy", {"X": X, "y": STEPS, "lengths": LENGTHS}, {"X": "f8", "y": "i4"},
                {"tbptt": (2, 3), "accumulate": 2}),
    "ids": (id_tagger, "cross_entropy", {"X": IDS, "y": STEPS, "lengths": LENGTHS}, {"X": "u2", "y": "u1"}, {}),
    "one feature": (lambda: Sequential(GRU(1, 5, seed=0), Linear(5, K, seed=0)), "cross_entropy",
                    {"X": X[:, :, 0], "y": STEPS}, {"X": "f8"}, {}),
    "classes": (classifier, "cross_entropy", {"X": X, "y": CLASSES, "sample_weight": WEIGHTS},
                {"X": "f8", "y": "i4", "sample_weight": "f4"}, {}),
    "class weights": (classifier, "cross_entropy",
                      {"X": X, "y": CLASSES, "class_weight": {1: 2.0, 3: 0.5}, "sample_weight": WEIGHTS},
                      {"X": "f8", "y": "i4"}, {}),
    "step weights": (tagger, "cross_entropy", {"X": X, "y": STEPS, "sample_weight": STEP_WEIGHTS,
                                               "class_weight": [1, 2, 0.5, 1]},
                     {"y": "i4", "sample_weight": "f4"}, {}),
    "numbers": (regressor, "mse", {"X": X, "y": RNG.normal(size=(N, 2))}, {"X": "f8", "y": "f8"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_training_on_files_is_training_on_arrays(name, on_disk):
    make, loss, data, kinds, options = CASES[name]
    stored = {key: on_disk(value, kinds[key]) if key in kinds else value for key, value in data.items()}

    def run(given):
        trainer = Trainer(make(), loss, seed=3, **options)
        common = {"epochs": 3, "batch_size": 5, **QUIET}
        weights = {key: given[key] for key in ("sample_weight", "lengths") if key in given}
        held = {key: value[:6] for key, value in weights.items()}
        trainer.fit(given["X"], given["y"], **weights, class_weight=given.get("class_weight"),
                    validation_data={"X": given["X"][:6], "y": given["y"][:6], **held}, **common)
        figures = trainer.evaluate(given["X"], given["y"], **weights, **QUIET)
        lengths = {"lengths": given["lengths"]} if "lengths" in given else {}
        return trainer, figures, trainer.predict(given["X"], **lengths, **QUIET)

    (one, figures, y), (other, found, z) = run(data), run(stored)
    assert_same_params(one.model, other.model)
    assert figures == found and y.tobytes() == z.tobytes()
    for figure in ("loss", "val_loss"):
        assert one.history[figure] == other.history[figure]


def test_a_split_of_files(on_disk):
    def trained(x, y):
        trainer = Trainer(tagger(), seed=3)
        trainer.fit(x, y, validation_split=0.3, batch_size=4, **QUIET)
        return trainer.history["val_loss"]

    assert trained(X, STEPS) == trained(on_disk(X), on_disk(STEPS))


def test_lists_of_files(on_disk):
    def trained(kind):
        trainer = Trainer(tagger(), seed=3)
        x, y = ([kind(a[:n]) for a, n in zip(values, LENGTHS)] for values in (X, STEPS))
        trainer.fit(x, y, batch_size=4, **QUIET)
        return trainer.model

    assert_same_params(trained(lambda a: a), trained(on_disk))


def test_a_stream_from_a_file_of_tokens(on_disk):
    tokens = RNG.integers(0, K, 300)

    def trained(given):
        model = Sequential(Embedding(K, 3, seed=0), GRU(3, 5, seed=0), Linear(5, K, seed=0))
        trainer = Trainer(model, seed=3)
        trainer.fit(LaneStream(given, 4, (6, 9)), validation_data=LaneStream(given[:60], 2, 9), **QUIET)
        return trainer

    one, other = trained(tokens), trained(on_disk(tokens, "u2"))
    assert_same_params(one.model, other.model)
    assert one.history["val_loss"] == other.history["val_loss"]


def test_a_decoder_reads_files(on_disk):
    features = RNG.normal(size=(8, 4, 3))
    y = [RNG.integers(2, 6, n) for n in (1, 3, 2, 0, 4, 2, 1, 3)]

    def trained(x, targets):
        model = Seq2Seq(3, 6, source="features", hidden_size=4, embedding_dim=3, seed=0)
        Trainer(model, seed=3).fit(x, targets, batch_size=3, **QUIET)
        return model

    assert_same_params(trained(features, y), trained(on_disk(features), [on_disk(t, "i4") for t in y]))


@pytest.mark.parametrize("what", ["ids", "classes", "weights"])
def test_a_wrong_value_is_found_when_its_batch_is_read(what, on_disk):
    ids, steps, weights = IDS.copy(), STEPS.copy(), WEIGHTS.copy()
    {"ids": ids, "classes": steps}.get(what, weights)[17] = -3
    trainer = Trainer(id_tagger(), seed=0)
    message = {"ids": r"^X: expected ints in 0 \.\. 5, found -3", "classes": r"^y: expected ints in 0 \.\. 3, found -3",
               "weights": "^sample_weight: expected finite weights"}[what]
    if what != "weights":  # which are read once before, for their mean
        message += r".*\(in the batch of sequences \[.*\b17\b.*\], just read\)"
    with pytest.raises(ValueError, match=message):
        trainer.fit(on_disk(ids), on_disk(steps), sample_weight=on_disk(weights), batch_size=4, **QUIET)
    assert 0 <= trainer.step < 6


def test_numbers_that_are_not_finite_stop_at_their_batch(on_disk):
    bad = X.copy()
    bad[11, 2, 1] = np.nan
    with pytest.raises(NonFiniteError):
        Trainer(tagger(), seed=0).fit(on_disk(bad), STEPS, batch_size=4, **QUIET)
    for estimator in (RNNTagger(epochs=1), RNNClassifier(epochs=1)):
        with pytest.raises(ValueError, match=r"(?i)nan"):
            estimator.fit(on_disk(bad), STEPS if isinstance(estimator, RNNTagger) else CLASSES)
        assert not hasattr(estimator, "network_")


def test_resumed_training_on_files_equals_uninterrupted(on_disk, tmp_path):
    x, y = on_disk(X), on_disk(STEPS)

    def fit(trainer):
        trainer.fit(x, y, lengths=LENGTHS, epochs=3, batch_size=4, **QUIET)
        return trainer.model

    whole = fit(Trainer(tagger(), seed=1))
    stopped = Trainer(tagger(), seed=1, callbacks=[SaveAt(8, tmp_path / "c")])
    with pytest.raises(Stop):
        fit(stopped)
    assert_same_params(whole, fit(Trainer.resume(tmp_path / "c")))


class Stop(Exception):
    pass


class SaveAt(Callback):
    """Write a checkpoint after an update, and stop the program there."""

    def __init__(self, step, path):
        self.at, self.path = step, path

    def on_step_end(self, trainer, logs):
        if trainer.step == self.at:
            trainer.save_checkpoint(self.path)
            raise Stop


def test_files_stay_as_they_are_whatever_their_mode(on_disk, monkeypatch):
    monkeypatch.setattr(mapped, "MOST_PAGES", 1)
    for mode in ("r", "r+", "c"):
        x = on_disk(X, mode=mode)
        expected = X.copy()
        if mode != "r":
            x[3], expected[3] = 5.0, 5.0  # in mode "c" this change is in memory alone, and must stay
        one, other = Trainer(tagger(), seed=1), Trainer(tagger(), seed=1)
        one.fit(expected, STEPS, batch_size=4, **QUIET)
        other.fit(x, STEPS, batch_size=4, **QUIET)
        assert_same_params(one.model, other.model)
        assert x.tobytes() == expected.tobytes()


def test_views_and_what_is_computed_from_files(on_disk):
    x = on_disk(X)
    for view in (x[2:], x[:, ::2], np.asarray(x)[1:3].reshape(2, -1), x.view(np.ndarray)):
        assert is_mapped(view)
    for array in (X, x + 1, x[[1, 2]], np.array(x), [x]):
        assert not is_mapped(array)


def test_a_mapped_array_is_the_array(on_disk, monkeypatch):
    monkeypatch.setattr(mapped, "CHUNK", 8 * T * F * 4)
    m, expected = Mapped(on_disk(X), np.float32), X.astype(np.float32)
    rows = np.array([5, 0, 5, 22])
    assert (m.shape, m.ndim, m.size, len(m), m.dtype) == (X.shape, 3, X.size, N, np.float32)
    for found, wanted in (
        (m.take(rows), expected[rows]), (m.take(rows, 2), expected[rows, :2]),
        (m[3:9].take(rows[:2]), expected[[8, 3]]),
        (m[4].read(), expected[4]), (m[:, :, None].read(), expected[:, :, None]), (m[rows].read(), expected[rows]),
        (m[rows][1:3].take(np.array([1])), expected[[5]]), (m[rows][3], expected[22]),
        (m.astype(np.float64).read(), X), (m.read(), expected), (m.reshape(N, T * F).read(), expected.reshape(N, -1)),
        (m.converted(lambda part: part[:, ::2] * 2).read(), expected[:, ::2] * 2),
        (m[rows].converted(lambda part: part[..., 0]).astype(np.float64)[1:].read(), expected[rows[1:], :, 0]),
    ):  # fmt: skip
        assert found.shape == wanted.shape and found.dtype in (np.float32, np.float64)
        np.testing.assert_array_equal(found, wanted)
    parts = list(chunks(m))
    assert [part.stop - part.start for part, _ in parts] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), expected)
    assert read(X) is X


def test_scales_are_those_of_arrays(on_disk, monkeypatch):
    monkeypatch.setattr(mapped, "CHUNK", 8 * T * F * 4)
    for weight in (None, WEIGHTS):
        one, other = mean_and_deviation(X, weight), mean_and_deviation(on_disk(X), weight)
        flat = X.reshape(-1, F)
        of_step = None if weight is None else np.repeat(weight, T)
        np.testing.assert_allclose(one[0], np.average(flat, axis=0, weights=of_step), rtol=1e-12)
        variance = np.average((flat - one[0]) ** 2, axis=0, weights=of_step)
        np.testing.assert_allclose(one[1], np.sqrt(variance), rtol=1e-12)
        for a, b in zip(one, other):
            assert a.tobytes() == b.tobytes()
    assert Standardize.of(on_disk(X)).config() == Standardize.of(X).config()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
@pytest.mark.parametrize("kind", ["classifier", "regressor", "tagger", "table"])
def test_estimators_learn_the_same_from_files(kind, dtype, on_disk):
    cls = {"classifier": RNNClassifier, "regressor": RNNRegressor, "tagger": RNNTagger, "table": RNNClassifier}[kind]
    y = {"tagger": STEPS, "regressor": RNG.normal(size=N)}.get(kind, CLASSES)
    x = (X * 5).astype(dtype)
    x[7] = x[2]  # a sample that is repeated
    x = x[:, :, 0] if kind == "table" else x

    def learnt(x, y):
        parts = {} if kind == "tagger" else {"frame_size": 2}
        estimator = cls(hidden_size=3, epochs=3, batch_size=4, early_stopping=True, random_state=0, **parts)
        estimator.fit(x, y, sample_weight=WEIGHTS)
        estimator.partial_fit(x[:9], y[:9])
        return estimator, estimator.predict(x)

    one, expected = learnt(x, y)
    other, found = learnt(on_disk(x), on_disk(y))
    assert_same_params(one.network_, other.network_)
    np.testing.assert_array_equal(expected, found)


JOB = Path(__file__).with_name("memory_job.py")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's account of memory")
@pytest.mark.parametrize("what", ["features", "float64", "tokens", "estimator"])
def test_training_on_a_large_file_takes_little_memory(what, tmp_path):
    """400 MB in 300 MB of resident memory, pages of the file included; 4 GB take as much (`python memory_job.py`)."""
    environment = {**os.environ, "FASTRNN_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, JOB, what, "400", tmp_path], capture_output=True, text=True, check=False,
                          env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] >= 40
    # An estimator reads in an order of its own: around each place the system maps pages of the file, which it takes
    # back when it needs them
    assert found["anon"] < (250e6 if what == "estimator" else 100e6), found
    assert what == "estimator" or found["peak"] < 300e6, found


# Sources of batches


class Numbered:
    """Batches by number, as a Sequence of Keras."""

    def __init__(self, x=X, y=STEPS, size=5, lengths=None, weight=None):
        self.x, self.y, self.size, self.lengths, self.weight = x, y, size, lengths, weight
        self.asked = []

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, k):
        self.asked.append(k)
        part = slice(k * self.size, (k + 1) * self.size)
        given = {"X": self.x[part], "y": self.y[part]}
        if self.lengths is not None:
            given["lengths"] = self.lengths[part]
        if self.weight is not None:
            given["sample_weight"] = self.weight[part]
        return given if self.lengths is not None else tuple(given.values())


class Loader:
    """Batches one after another, as of a DataLoader of PyTorch: lists, as its are."""

    def __init__(self, source):
        self.source = source

    def __iter__(self):
        return (list(self.source[k]) for k in range(len(self.source)))


class Sized(Loader):
    def __len__(self):
        return len(self.source)


def generator(source, times=1):
    for _ in range(times):
        for k in range(len(source)):
            yield source[k]


def test_what_is_a_source():
    for source in (Numbered(), Sized(Numbered()), Loader(Numbered()), generator(Numbered())):
        assert is_source(source)
    for data in (X, [X[0]], (X,), {"X": X}, "text", b"text", memoryview(X), range(3), LaneStream(np.arange(9), 1, 2), 5,
                 None, np.float32(3), {1}, Numbered):
        assert not is_source(data)


@pytest.mark.parametrize("window", [None, (2, 3)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_source_is_this_loop(window, accumulate):
    """Batch after batch of the order that the trainer draws, each as a fit of its own would see it."""
    source = Numbered(lengths=LENGTHS, weight=WEIGHTS)
    trainer = Trainer(tagger(), "cross_entropy", seed=4, tbptt=window, accumulate=accumulate)
    trainer.fit(source, epochs=2, **QUIET)
    asked = source.asked[1:]  # the first is a look
    assert source.asked[0] == 0 and sorted(asked[:5]) == sorted(asked[5:]) == list(range(5)) and asked[:5] != asked[5:]
    again = Trainer(tagger(), "cross_entropy", seed=4, tbptt=window, accumulate=accumulate)
    again._position.order_seed = trainer._position.order_seed
    loader = [source[k] for k in asked]
    again.fit(iter(loader), steps_per_epoch=5, epochs=2, **QUIET)
    assert_same_params(trainer.model, again.model)
    assert trainer.history["loss"] == again.history["loss"] and trainer.step == again.step


def test_batches_in_order_are_the_updates_of_single_fits():
    whole = Trainer(tagger(), optimizer="sgd", seed=0)
    whole.fit(generator(Numbered()), steps_per_epoch=5, **QUIET)
    parts = Trainer(tagger(), optimizer="sgd", seed=0)
    for x, y in generator(Numbered()):
        parts.fit(x, y, batch_size=len(x), **QUIET)
    for name, value in whole.model.params.items():  # but for rounding: a fit puts its rows in another order
        np.testing.assert_allclose(value, parts.model.params[name], rtol=1e-5, atol=1e-7)


def test_all_kinds_of_sources_without_an_order_are_the_same():
    kinds = {
        "sized": (Sized(Numbered()), {}),
        "read again": (Loader(Numbered()), {"steps_per_epoch": 5}),
        "generator": (generator(Numbered(), 2), {"steps_per_epoch": 5}),
    }
    trainers = {}
    for name, (source, options) in kinds.items():
        trainers[name] = Trainer(tagger(), seed=0)
        trainers[name].fit(source, epochs=2, **options, **QUIET)
    for trainer in trainers.values():
        assert_same_params(trainers["sized"].model, trainer.model)
        assert trainer.history["loss"] == trainers["sized"].history["loss"] and trainer.step == 10


@pytest.mark.parametrize("make, data", [
    (tagger, {"y": STEPS}), (tagger, {"y": STEPS, "lengths": LENGTHS, "weight": WEIGHTS}),
    (classifier, {"y": CLASSES}), (id_tagger, {"x": IDS, "y": STEPS}),
])  # fmt: skip
def test_figures_and_predictions_are_those_of_arrays(make, data):
    trainer = Trainer(make(), metrics=["accuracy"], seed=0)
    x, y = data.get("x", X), data["y"]
    given = {"lengths": data.get("lengths")}
    expected = trainer.evaluate(x, y, sample_weight=data.get("weight"), batch_size=5, **given, **QUIET)
    outputs = trainer.predict(x, batch_size=5, **given, **QUIET)
    for kind in (lambda source: source, Sized, generator, lambda source: Loader(source)):
        if kind is not generator and "lengths" in data and kind(Numbered(**data)).__class__ is not Numbered:
            continue  # a list of a dict is no batch
        assert trainer.evaluate(kind(Numbered(**data)), **QUIET) == pytest.approx(expected, rel=1e-12)
    for source in (Numbered(**data), generator(Numbered(**data))):
        np.testing.assert_array_equal(trainer.predict(source, **QUIET), outputs)
    if "lengths" not in data:
        bare = (x[k : k + 5] for k in range(0, N, 5))
        np.testing.assert_array_equal(trainer.predict(bare, **QUIET), outputs)


def test_batches_of_their_own_lengths_and_lists():
    trainer = Trainer(tagger(), seed=0)
    ragged = [x[:n] for x, n in zip(X, LENGTHS)]
    batches = [ragged[:4], X[4:9], X[9:, :3]]
    found = trainer.predict(iter(batches), **QUIET)
    assert isinstance(found, list) and [len(y) for y in found] == [*LENGTHS[:4], *[T] * 5, *[3] * (N - 9)]
    np.testing.assert_array_equal(found[2], trainer.predict([ragged[2]], **QUIET)[0])
    np.testing.assert_array_equal(found[20], trainer.predict(X[20:21, :3], **QUIET)[0])
    y = [s[:n] for s, n in zip(STEPS, LENGTHS)]
    trainer.fit(iter([(ragged[:4], y[:4]), (X[4:9], STEPS[4:9]), (X[9:, :3], STEPS[9:, :3])]), steps_per_epoch=3,
                **QUIET)
    assert trainer.step == 3


def test_validation_by_sources():
    expected = Trainer(tagger(), seed=0)
    expected.fit(X, STEPS, epochs=2, validation_data=(X, STEPS), **QUIET)
    for source in (Numbered(), Sized(Numbered()), Loader(Numbered()), {"X": Numbered()}):
        trainer = Trainer(tagger(), seed=0)
        trainer.fit(X, STEPS, epochs=2, validation_data=source, **QUIET)
        assert trainer.history["val_loss"] == pytest.approx(expected.history["val_loss"], rel=1e-12)


def test_class_weights_reach_the_batches():
    one, other = Trainer(classifier(), seed=0), Trainer(classifier(), seed=0)
    weight = {1: 3.0}
    one.fit(generator(Numbered(y=CLASSES)), class_weight=weight, steps_per_epoch=5, **QUIET)
    weighed = Numbered(y=CLASSES, weight=np.where(CLASSES == 1, 3.0, 1.0))
    other.fit(generator(weighed), steps_per_epoch=5, **QUIET)
    assert_same_params(one.model, other.model)


@pytest.mark.parametrize("tbptt", [None, 3])
@pytest.mark.parametrize("kind", ["numbered", "sized"])
def test_a_fit_of_a_source_goes_on_exactly(kind, tbptt, tmp_path):
    def fit(trainer):
        source = Numbered(lengths=LENGTHS)
        if kind == "sized":
            source = Sized(Numbered())
        trainer.fit(source, epochs=3, **QUIET)
        return trainer

    parts = {"tbptt": tbptt, "average": averaging.EMA(0.9), "schedule": schedules.CosineDecay(0.01, 9, per="batch")}
    whole = fit(Trainer(tagger(), seed=1, **parts))
    parts = {"tbptt": tbptt, "average": averaging.EMA(0.9), "schedule": schedules.CosineDecay(0.01, 9, per="batch")}
    with pytest.raises(Stop):
        fit(Trainer(tagger(), seed=1, callbacks=[SaveAt(8, tmp_path / "c")], **parts))
    resumed = fit(Trainer.resume(tmp_path / "c"))
    assert_same_params(whole.model, resumed.model)
    assert whole.history["loss"] == resumed.history["loss"] and whole.step == resumed.step


def test_a_fit_goes_on_with_as_many_batches_only(tmp_path):
    with pytest.raises(Stop):
        Trainer(tagger(), seed=1, callbacks=[SaveAt(2, tmp_path / "c")]).fit(Numbered(), **QUIET)
    with pytest.raises(ValueError, match=r"^X: expected the data and batch size of the fit that goes on"):
        Trainer.resume(tmp_path / "c").fit(Numbered(size=4), **QUIET)


class Broken(Exception):
    pass


def broken(error, after=3):
    yield from (Numbered()[k] for k in range(after))
    raise error


@pytest.mark.parametrize("error", [Broken("mine"), ValueError("mine"), TypeError("mine"), KeyError("mine")])
def test_errors_of_a_source_pass_through(error):
    class Indexed(Numbered):
        def __getitem__(self, k):
            raise error

    trainer = Trainer(tagger(), seed=0)
    calls = (
        lambda: trainer.fit(broken(error), steps_per_epoch=5, **QUIET),
        lambda: trainer.fit(Indexed(), **QUIET), lambda: trainer.evaluate(broken(error), **QUIET),
        lambda: trainer.predict(broken(error), **QUIET), lambda: trainer.predict(Indexed(), **QUIET),
        lambda: trainer.fit(X, STEPS, validation_data=Indexed(), **QUIET),
        lambda: RNNTagger(epochs=1).partial_fit(broken(error), classes=range(K)),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(type(error)) as found:
            call()
        assert found.value is error


def test_updates_before_an_error_stay_and_no_others():
    trainer = Trainer(tagger(), optimizer="sgd", seed=0)
    with pytest.raises(Broken):
        trainer.fit(broken(Broken()), steps_per_epoch=5, **QUIET)
    expected = Trainer(tagger(), optimizer="sgd", seed=0)
    expected.fit(generator(Numbered()), steps_per_epoch=3, **QUIET)
    assert trainer.step == 3 and trainer.epoch == 0 and trainer.history.get("loss", []) == []
    assert_same_params(trainer.model, expected.model)


class Row:
    def __len__(self):
        return N

    def __getitem__(self, k):
        return X[k], STEPS[k]


BAD = {
    "ended": (lambda: generator(Numbered()), {"steps_per_epoch": 3, "epochs": 2}, 5,
              "^X: expected 3 batches for each epoch, as steps_per_epoch says; found 5 in all: it ended after 2 of"),
    "nothing": (lambda: iter(()), {"steps_per_epoch": 3}, 0, "^X: expected 3 batches .* found 0 in all"),
    "an empty one": (lambda: Numbered(X[:0]), {}, 0, r"^X: expected at least one batch, found none: its len\(\) is 0"),
    "features": (lambda: iter([(X[:4], STEPS[:4]), (X[4:8, :, :2], STEPS[4:8])]), {"steps_per_epoch": 2}, 1,
                 r"^batch 1: X: expected floats of shape \(B, T, 3\) as in the first batch, found .* \(B, T, 2\)"),
    "ids": (lambda: iter([(X[:4], STEPS[:4]), (IDS[4:8], STEPS[4:8])]), {"steps_per_epoch": 2}, 1, "^batch 1: X: exp"),
    "targets": (lambda: iter([(X[:4], STEPS[:4]), (X[4:8], STEPS[4:7])]), {"steps_per_epoch": 2}, 1,
                "^batch 1: y: expected 4 entries"),
    "a class": (lambda: iter([(X[:4], STEPS[:4]), (X[4:8], STEPS[4:8] + 9)]), {"steps_per_epoch": 2}, 1,
                r"^batch 1: y: expected ints in 0 \.\. 3"),
    "weights": (lambda: iter([(X[:4], STEPS[:4], np.ones(3))]), {"steps_per_epoch": 2}, 0,
                "^batch 0: sample_weight: expected 4 entries"),
    "lengths": (lambda: iter([{"X": X[:4], "y": STEPS[:4], "lengths": [9] * 4}]), {"steps_per_epoch": 2}, 0,
                "^batch 0: lengths: expected ints from 0 to 7"),
    "names": (lambda: iter([{"x": X[:4]}]), {"steps_per_epoch": 2}, 0, "^batch 0: expected X, y, lengths and"),
    "X alone": (lambda: iter([X[:4]]), {"steps_per_epoch": 2}, 0, r"^batch 0: expected \(X, y\), .*; found ndarray"),
    "four": (lambda: iter([(X, STEPS, 1, 2)]), {"steps_per_epoch": 2}, 0, r"^batch 0: .*; found tuple of 4"),
    "no targets": (lambda: iter([{"X": X[:4]}]), {"steps_per_epoch": 2}, 0, "^batch 0: y: expected targets"),
    "rows": (Row, {}, 0, r"^batch 0: X: expected shape \(B, T, I\).* found float64 of shape \(7, 3\)"),
    "no number": (lambda: generator(Numbered()), {}, 0, r"^steps_per_epoch: .* X has no len\(\); found None"),
    "steps_per_epoch 0": (lambda: generator(Numbered()), {"steps_per_epoch": 0}, 0, "^steps_per_epoch: expected an"),
    "a number beside a len": (Numbered, {"steps_per_epoch": 2}, 0, r"^steps_per_epoch: expected None .*len\(\)"),
    "a number beside arrays": (lambda: X, {"y": STEPS, "steps_per_epoch": 2}, 0, "^steps_per_epoch: expected N"),
    "y": (lambda: generator(Numbered()), {"y": STEPS, "steps_per_epoch": 2}, 0, "^y: expected None with data that"),
    "sample_weight": (Numbered, {"sample_weight": WEIGHTS}, 0, "^sample_weight: expected None with data that come"),
    "lengths beside": (Numbered, {"lengths": LENGTHS}, 0, "^lengths: expected None with data that come"),
    "bucket": (Numbered, {"bucket_by_length": True}, 0, "^bucket_by_length: expected None with data that come"),
    "split": (Numbered, {"validation_split": 0.2}, 0, "^validation_split: expected 0 for data that come batch"),
    "read once": (Numbered, {"validation_data": generator(Numbered())}, 0, "^validation_data: .* can be read again"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_sources_are_named(name):
    make, options, steps, message = BAD[name]
    trainer = Trainer(tagger(), seed=0)
    before = trainer.model.state_dict()
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(make(), **options, **QUIET)
    assert trainer.step == steps
    if not steps:
        assert all((value == before[key]).all() for key, value in trainer.model.params.items())


def test_sources_that_give_less_than_they_say():
    class Short(Sized):
        def __len__(self):
            return 9

    trainer = Trainer(tagger(), seed=0)
    with pytest.raises(ValueError, match=r"^X: expected 9 batches, as its len\(\) says; found 5"):
        trainer.fit(Short(Numbered()), **QUIET)
    for call in (trainer.evaluate, trainer.predict):
        with pytest.raises(ValueError, match=r"^X: expected at least one batch, found none"):
            call(iter(()), **QUIET)


def test_processes_refuse_sources():
    class Ranks:
        size, rank, first, work = 2, 0, True, 0

        def broadcast(self, array):
            pass

        def fail(self, error):
            pass

    trainer = DistributedTrainer(tagger(), ranks=Ranks())
    for call in (trainer.fit, trainer.evaluate, trainer.predict):
        with pytest.raises(TypeError, match=r"^X: expected an array, a list or a LaneStream in several processes"):
            call(Numbered(), **QUIET)


def test_a_larger_batch_is_held_to_the_memory(monkeypatch):
    from fastrnn import memory

    asked = []
    monkeypatch.setattr(memory, "require", lambda nbytes, name, of, remedy: asked.append(of))
    trainer = Trainer(tagger(), seed=0)
    trainer.fit(iter([(X[:4], STEPS[:4]), (X[:4], STEPS[:4]), (X[:8], STEPS[:8]), (X[:2], STEPS[:2])]),
                steps_per_epoch=4, **QUIET)
    asked = [one for one in asked if "steps" in one]
    assert asked == ["4 sequences of 7 steps", "8 sequences of 7 steps"]


@pytest.mark.parametrize("cls, y", [(RNNClassifier, CLASSES), (RNNRegressor, X[:, 0, 0]), (RNNTagger, STEPS)])
def test_partial_fit_takes_a_source(cls, y):
    labels = {} if cls is RNNRegressor else {"classes": range(K)}
    one, other, third = (cls(hidden_size=3, random_state=0) for _ in range(3))
    for k in range(5):
        x, target, weight = Numbered(y=y, weight=WEIGHTS)[k]
        one.partial_fit(x, target, sample_weight=weight, **labels)
    other.partial_fit(generator(Numbered(y=y, weight=WEIGHTS)), **labels)
    third.partial_fit(Numbered(y=y, weight=WEIGHTS), **labels)
    assert_same_params(one.network_, other.network_)
    assert_same_params(one.network_, third.network_)
    assert one.n_iter_ == other.n_iter_ == 5
    with pytest.raises(ValueError, match=r"^batch 1: "):
        other.partial_fit(iter([(X[:4], y[:4]), (X[:4, :, :2], y[:4])]))
    with pytest.raises(ValueError, match=r"^X: expected at least one batch"):
        other.partial_fit(iter(()))
    with pytest.raises(ValueError, match=r"^sample_weight: expected None with data that come"):
        other.partial_fit(Numbered(y=y), sample_weight=WEIGHTS)


def test_a_source_keeps_no_batch():
    """Of batches that were made no more than two are there at a time: the one in use and the next."""
    alive = []

    def batches():
        for _ in range(8):
            x = np.array(X[:4])
            alive.append(sum(kept() is not None for kept in references))
            references.append(weakref(x))
            yield x, STEPS[:4]

    from weakref import ref as weakref

    references = []
    Trainer(tagger(), seed=0).fit(batches(), steps_per_epoch=8, **QUIET)
    gc.collect()
    assert max(alive) <= 3


def test_ctc_and_loss_functions_take_sources():
    labels = [RNG.integers(1, K, n) for n in RNG.integers(1, 4, N)]
    source = Numbered(y=labels)
    one = Trainer(tagger(), "ctc", seed=0)
    one.fit(source, **QUIET)
    assert np.isfinite(one.history["loss"]).all() and one.step == 5
    other = Trainer(regressor(), lambda prediction, target: losses.mse(prediction, target), seed=0)
    other.fit(Numbered(y=RNG.normal(size=(N, 2))), **QUIET)
    assert other.step == 5

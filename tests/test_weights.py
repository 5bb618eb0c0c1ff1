"""What a weight of a row, a step or a class is worth in an update, whatever the batch."""

import functools
import warnings

import numpy as np
import pytest
from tolerances import tolerance

from fastrnn import GRU, LSTM, SGD, Adam, Embedding, LaneStream, LastStep, Linear, Seq2Seq, Sequential, Trainer, losses
from fastrnn.callbacks import Callback

RNG = np.random.default_rng(7)
N, T = 13, 6
X = RNG.normal(size=(N, T, 3))
STEPS = RNG.integers(0, 4, (N, T))
CLASSES = RNG.integers(0, 4, N)
LENGTHS = RNG.integers(1, T + 1, N)
ROW = RNG.choice([0.0, 0.5, 1.0, 40.0], N) + 1e-3
STEP = RNG.exponential(size=(N, T)) * (RNG.uniform(size=(N, T)) < 0.7)
LABELS = [RNG.integers(1, 4, n) for n in RNG.integers(0, 3, N)]
TABLE = np.array([1.0, 30.0, 0.25, 2.0])
QUIET = {"progress": False}


def tagger(dtype="float64", batch_first=True, **options):
    return Sequential(
        LSTM(3, 5, seed=1, dtype=dtype, **options), Linear(5, 4, seed=2, dtype=dtype), batch_first=batch_first
    )


def classifier(dtype="float64"):
    return Sequential(GRU(3, 5, seed=1, dtype=dtype), LastStep(), Linear(5, 4, seed=2, dtype=dtype))


def ragged(array):
    return [row[:n] for row, n in zip(array, LENGTHS)]


class Recorder(Callback):
    """The gradient of every update, before it is clipped."""

    def __init__(self):
        self.grads, self.masses = [], []

    def on_gradient(self, trainer):
        self.grads.append({name: grad.copy() for name, grad in trainer.model.grads.items()})

    def on_step_end(self, trainer, logs):
        self.masses.append(logs["mass"])


def gradients(make, loss, batch_size, accumulate=1, tbptt=None, **given):
    """(gradients of the updates of an epoch that moves nothing, what each counts)"""
    recorder = Recorder()
    options = {"accumulate": accumulate, "tbptt": tbptt, "callbacks": [recorder], "seed": 3}
    trainer = Trainer(make(), loss, SGD(0.0), **options)
    trainer.fit(batch_size=batch_size, **given, **QUIET)
    return recorder.grads, recorder.masses


def seq2seq():
    return Seq2Seq(5, 6, embedding_dim=3, hidden_size=4, dtype="float64", seed=1)


DOORS = {
    "rows": (classifier, "cross_entropy", {"X": X, "y": CLASSES, "sample_weight": ROW}),
    "float32": (lambda: classifier("float32"), "cross_entropy", {"X": X, "y": CLASSES, "sample_weight": ROW}),
    "classes": (classifier, "cross_entropy", {"X": X, "y": CLASSES, "class_weight": {1: 30.0, 2: 0.25}}),
    "numbers": (classifier, "mse", {"X": X, "y": X[:, :4, 0], "sample_weight": ROW}),
    "steps": (tagger, "cross_entropy", {"X": X, "y": STEPS, "sample_weight": STEP}),
    "rows of steps": (tagger, "cross_entropy", {"X": X, "y": STEPS, "lengths": LENGTHS, "sample_weight": ROW}),
    "padded steps": (tagger, "cross_entropy", {"X": X, "y": STEPS, "lengths": LENGTHS, "sample_weight": STEP}),
    "ragged steps": (tagger, "cross_entropy", {"X": ragged(X), "y": ragged(STEPS), "sample_weight": ragged(STEP)}),
    "ragged rows": (tagger, "cross_entropy", {"X": ragged(X), "y": ragged(STEPS), "sample_weight": ROW}),
    "classes of steps": (tagger, "cross_entropy", {"X": ragged(X), "y": ragged(STEPS), "class_weight": TABLE}),
    "both": (
        tagger,
        "cross_entropy",
        {"X": X, "y": STEPS, "lengths": LENGTHS, "sample_weight": ROW, "class_weight": TABLE},
    ),
    "time first": (
        lambda: tagger(batch_first=False),
        "cross_entropy",
        {"X": X, "y": STEPS, "lengths": LENGTHS, "sample_weight": STEP},
    ),
    "recompute": (lambda: tagger(recompute=True), "cross_entropy", {"X": X, "y": STEPS, "sample_weight": STEP}),
    "ctc": (tagger, "ctc", {"X": X, "y": LABELS, "sample_weight": ROW}),
    "seq2seq": (
        seq2seq,
        "cross_entropy",
        {"X": [row[:, 0].astype(int) % 5 for row in 9 * X], "y": LABELS, "sample_weight": ROW},
    ),
}


def plain(given):
    return {name: value for name, value in given.items() if name not in ("sample_weight", "class_weight")}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("batch_size, accumulate", [(1, 1), (4, 1), (2, 3)])
def test_updates_add_up_to_that_of_all_data(door, batch_size, accumulate):
    """N elements' gradients, n of each batch, add up to N times the gradient of the weighted mean, to which one batch
    of all data has led all along."""
    make, loss, given = DOORS[door]
    (expected,), (whole,) = gradients(make, loss, N, **given)
    # What is not weighed counts as many elements in the same batches, of which none is left out
    _, counts = gradients(make, loss, batch_size, accumulate, **plain(given))
    found, _ = gradients(make, loss, batch_size, accumulate, **given)
    assert len(found) == len(counts) == -(-N // (batch_size * accumulate))
    limit = tolerance("ten updates, float32" if door == "float32" else "ten updates, float64")
    for name, value in expected.items():
        total = sum(n * grads[name] for n, grads in zip(counts, found)) / sum(counts)
        np.testing.assert_allclose(total, value, rtol=0, atol=10 * limit, err_msg=name)
    assert whole == pytest.approx(sum(counts) * mean_of(given), rel=1e-12)


def mean_of(given):
    """The mean weight of the valid elements, written out row by row."""
    total, count = 0.0, 0
    for k in range(N):
        y = np.asarray(given["y"][k])
        if given["y"] is LABELS:
            elements = len(y) + 1 if isinstance(given["X"], list) else 1
        elif given["y"] is STEPS:
            elements = LENGTHS[k] if "lengths" in given else T
        else:
            elements = len(y) if isinstance(given["y"], list) else 1
        weight = np.ones(elements)
        if "sample_weight" in given:
            own = np.asarray(given["sample_weight"][k])
            weight *= own[:elements] if own.ndim else own
        if "class_weight" in given:
            table = given["class_weight"]
            table = np.array([table.get(c, 1.0) for c in range(4)]) if isinstance(table, dict) else table
            weight *= np.atleast_1d(table[y])[:elements]
        total, count = total + weight.sum(), count + elements
    return total / count


@pytest.mark.parametrize("door", ["rows", "steps", "rows of steps", "padded steps", "ragged steps", "both", "seq2seq"])
@pytest.mark.parametrize("batch_size, accumulate", [(1, 1), (4, 1), (2, 3)])
def test_updates_averaged_over_sequences_add_up_too(door, batch_size, accumulate):
    make, loss, given = DOORS[door]

    def found(size, parts=1):
        recorder = Recorder()
        options = {"accumulate": parts, "reduction": "batchmean", "callbacks": [recorder], "seed": 3}
        fit = {"batch_size": size, "bucket_by_length": False, **given}
        Trainer(make(), loss, SGD(0.0), **options).fit(**fit, **QUIET)
        return recorder.grads

    (expected,), parts = found(N), found(batch_size, accumulate)
    size = batch_size * accumulate
    counts = [min(size, N - k) for k in range(0, N, size)]
    assert len(parts) == len(counts)
    for name, value in expected.items():
        total = sum(n * grads[name] for n, grads in zip(counts, parts)) / N
        np.testing.assert_allclose(total, value, rtol=0, atol=10 * tolerance("ten updates, float64"), err_msg=name)


@pytest.mark.parametrize("tbptt", [2, (2, 4)])
def test_windows_add_up_too(tbptt):
    given = {"X": X, "y": STEPS, "sample_weight": STEP}
    (one, *others), _ = gradients(tagger, "cross_entropy", N, tbptt=tbptt, **given)
    assert len(others) == T / 2 - 1
    for batch_size in (1, 4):
        found, _ = gradients(tagger, "cross_entropy", batch_size, tbptt=tbptt, **given)
        _, counts = gradients(tagger, "cross_entropy", batch_size, tbptt=tbptt, **plain(given))
        if len(found) < len(counts):  # a window in which nothing weighs makes no update
            continue
        for name in one:
            total = sum(n * grads[name] for n, grads in zip(counts, found)) / (N * T)
            whole = sum(grads[name] for grads in (one, *others)) / (T / 2)
            np.testing.assert_allclose(total, whole, rtol=0, atol=tolerance("ten updates, float64"), err_msg=name)


@pytest.mark.parametrize("loss, make, y", [("cross_entropy", tagger, STEPS), ("mse", classifier, X[:, :4, 0])])
@pytest.mark.parametrize("batch_size", [4, N])
def test_equal_weights_are_as_none(loss, make, y, batch_size):
    fits = []
    for weight in (None, np.ones(N), np.full(N, 0.25), np.full(N, 3.7)):
        model = make()
        trainer = Trainer(model, loss, Adam(0.01), clip_norm=0.3, accumulate=2, seed=0)
        trainer.fit(X, y, epochs=3, batch_size=batch_size, sample_weight=weight, **QUIET)
        fits.append(np.concatenate([p.ravel() for p in model.params.values()]))
    assert fits[1].tobytes() == fits[2].tobytes()
    for other in fits[1:]:
        np.testing.assert_allclose(other, fits[0], rtol=0, atol=tolerance("ten updates, float64"))
    if loss == "cross_entropy":
        assert fits[0].tobytes() == fits[1].tobytes()


@pytest.mark.parametrize("batch_size", [8, 32, 200])
def test_a_rare_class_of_much_weight_is_even_with_the_others(batch_size):
    rows = np.zeros((200, 1), int)
    y = (np.arange(200) >= 196).astype(int)
    net = Sequential(Embedding(1, 2, seed=0), GRU(2, 1, seed=0), LastStep(), Linear(1, 2, seed=0))
    trainer = Trainer(net, optimizer=Adam(0.003), seed=0)
    epochs = min(8 * batch_size, 400)
    trainer.fit(rows, y, epochs=epochs, batch_size=batch_size, class_weight={1: 49.0}, **QUIET)
    odds = np.subtract(*trainer.predict(rows[:1], **QUIET)[0])
    assert abs(odds) < 0.25


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"clip_value": 0.5}])
def test_clipping_does_not_take_weight_from_heavy_rows(options):
    rows, y = np.zeros((60, 1), int), (np.arange(60) > 0).astype(int)
    net = Sequential(Embedding(1, 2, seed=0), GRU(2, 1, seed=0), LastStep(), Linear(1, 2, seed=0))
    trainer = Trainer(net, optimizer=SGD(0.05), seed=0, **options)
    trainer.fit(rows, y, epochs=100, batch_size=4, sample_weight=np.where(y, 1.0, 59.0), **QUIET)
    assert abs(np.subtract(*trainer.predict(rows[:1], **QUIET)[0])) < 0.3


def test_class_weights_inside_a_loss_are_warned_of():
    def fit(loss, **given):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            Trainer(classifier(), loss, SGD(0.0)).fit(X, CLASSES, batch_size=4, **given, **QUIET)
        return [one for one in found if str(one.message).startswith("loss: expected class weights in fit")]

    inside = functools.partial(losses.cross_entropy, class_weight=TABLE)
    (warning,) = fit(inside)
    assert warning.filename.endswith("test_weights.py")
    assert fit(functools.partial(inside, reduction="batchmean"))
    assert not fit(functools.partial(inside, reduction="sum"))  # divides by nothing
    assert not fit(functools.partial(losses.cross_entropy, class_weight=[2.0] * 4))
    assert not fit("cross_entropy", class_weight=TABLE)
    assert not fit(functools.partial(losses.cross_entropy, label_smoothing=0.1))


def test_a_mean_of_the_callers_joins_several_calls():
    weight = ROW[:12]
    whole, parts = Recorder(), Recorder()
    Trainer(classifier(), optimizer=SGD(0.0), callbacks=[whole]).fit(
        X[:12], CLASSES[:12], sample_weight=weight, batch_size=12, **QUIET
    )
    trainer = Trainer(classifier(), optimizer=SGD(0.0), callbacks=[parts])
    for k in range(0, 12, 3):
        part = slice(k, k + 3)
        given = {"sample_weight": weight[part], "mean_weight": weight.mean(), "batch_size": 3}
        trainer.fit(X[part], CLASSES[part], **given, **QUIET)
    for name, value in whole.grads[0].items():
        joined = sum(grads[name] for grads in parts.grads) / 4
        np.testing.assert_allclose(joined, value, rtol=1e-9, atol=1e-12)
    alone = Recorder()
    trainer = Trainer(classifier(), optimizer=SGD(0.0), callbacks=[alone])
    trainer.fit(X[:1], CLASSES[:1], sample_weight=[5.0], **QUIET)
    trainer.fit(X[:1], CLASSES[:1], sample_weight=[5.0], mean_weight=2.0, **QUIET)
    trainer.fit(X[:1], CLASSES[:1], mean_weight=2.0, **QUIET)
    for name, value in alone.grads[0].items():
        np.testing.assert_allclose(alone.grads[1][name], 2.5 * value, rtol=1e-12)
        np.testing.assert_allclose(alone.grads[2][name], 0.5 * value, rtol=1e-12)


def test_the_mean_is_of_what_is_trained_on():
    weight = np.append(np.linspace(1, 2, 10), [1e6, 1e6, 1e6])
    one, other = classifier(), classifier()
    Trainer(one, optimizer=SGD(0.1), seed=0).fit(
        X, CLASSES, sample_weight=weight, validation_split=3 / 13, batch_size=4, **QUIET
    )
    trainer = Trainer(other, optimizer=SGD(0.1), seed=0)
    trainer.fit(X[:10], CLASSES[:10], sample_weight=weight[:10], batch_size=4, **QUIET)
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes()


def test_figures_are_weighted_means():
    for given in ({"sample_weight": STEP}, {"class_weight": TABLE}):
        model = tagger()
        weight = given.get("sample_weight", TABLE[STEPS])
        expected = losses.cross_entropy(model(X)[0], STEPS, lengths=LENGTHS, sample_weight=weight)[0]
        trainer = Trainer(model, optimizer=SGD(0.0))
        for batch_size in (1, 5, N):
            arguments = {"lengths": LENGTHS, "batch_size": batch_size, **given, **QUIET}
            history = trainer.fit(X, STEPS, validation_data={"X": X, "y": STEPS, "lengths": LENGTHS}, **arguments)
            assert history["loss"][-1] == pytest.approx(expected, rel=1e-9)
            assert trainer.evaluate(X, STEPS, **arguments)["loss"] == pytest.approx(expected, rel=1e-9)


def test_resuming_goes_on_to_the_same_bits(tmp_path):
    given = {"X": ragged(X), "y": ragged(STEPS), "sample_weight": ragged(STEP), "batch_size": 3, **QUIET}
    options = {"clip_norm": 0.1, "accumulate": 2, "seed": 4}
    straight = Trainer(tagger(), optimizer=Adam(0.01), **options)
    straight.fit(**given, epochs=4)

    class Save(Callback):
        def on_step_end(self, trainer, logs):
            if trainer.step == 5:
                trainer.save_checkpoint(tmp_path / "c")

    Trainer(tagger(), optimizer=Adam(0.01), **options, callbacks=[Save()]).fit(**given, epochs=4)
    resumed = Trainer.resume(tmp_path / "c")
    resumed.fit(**given, epochs=4)
    for name, value in straight.model.params.items():
        assert value.tobytes() == resumed.model.params[name].tobytes()


ZERO = "expected an element with a weight above 0"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"sample_weight": np.zeros(N)}, f"sample_weight, class_weight: {ZERO}, found all zero"),
        ({"class_weight": np.zeros(4)}, f"sample_weight, class_weight: {ZERO}, found all zero"),
        ({"sample_weight": np.arange(T) >= LENGTHS[:, None]}, ZERO),
        ({"sample_weight": 1.0 * (np.arange(N) > 8), "validation_split": 0.4}, f"{ZERO} in the part trained"),
        ({"sample_weight": 1.0 * (np.arange(N) < 6), "validation_split": 0.4}, f"{ZERO} in the part held out"),
        ({"validation_data": (X, STEPS, np.zeros(N))}, f"validation_data: sample_weight, class_weight: {ZERO}"),
        ({"sample_weight": np.full(N, 1e308)}, "expected weights whose sum is between"),
        ({"class_weight": {7: 2.0}}, "class_weight: expected classes that occur in y, which are 0, 1, 2, 3; found 7"),
        ({"class_weight": {0: 2.0, 1: 1.0, 4: 1.0}}, "class_weight: expected classes that occur in y"),
        ({"class_weight": np.ones(5)}, "class_weight: expected a weight for each of the 4 classes .* found 5"),
        ({"mean_weight": 0.0}, "mean_weight: expected a finite number above 0, found 0"),
        ({"mean_weight": "balanced"}, "mean_weight: expected a number"),
    ],
)
def test_weights_that_say_nothing_are_errors(given, message):
    model = tagger()
    before = model.state_dict()
    trainer = Trainer(model)
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(X, STEPS, **{"lengths": LENGTHS, **given}, **QUIET)
    assert trainer.step == 0 and not trainer.history
    for name, value in before.items():
        assert value.tobytes() == model.params[name].tobytes()


def test_a_class_beyond_the_lengths_does_not_occur():
    steps = np.where(np.arange(T) < LENGTHS[:, None], STEPS % 3, 3)
    assert (steps == 3).any()
    with pytest.raises(ValueError, match="expected classes that occur in y, which are 0, 1, 2; found 3"):
        Trainer(tagger()).fit(X, steps, lengths=LENGTHS, class_weight={3: 2.0}, **QUIET)
    trainer = Trainer(tagger())  # a part of the data may lack a class
    trainer.fit(X, STEPS, class_weight={3: 2.0}, validation_data=(X, STEPS % 3), **QUIET)
    trainer.evaluate(X, STEPS % 3, class_weight={3: 2.0}, **QUIET)
    with pytest.raises(ValueError, match=ZERO):
        trainer.evaluate(X, STEPS, sample_weight=np.zeros(N), **QUIET)


def test_a_sum_takes_weights_as_they_are():
    recorder = Recorder()
    trainer = Trainer(classifier(), optimizer=SGD(0.0), reduction="sum", callbacks=[recorder])
    trainer.fit(X, CLASSES, sample_weight=ROW, batch_size=4, **QUIET)
    (whole,), _ = gradients(classifier, "cross_entropy", N, X=X, y=CLASSES, sample_weight=ROW)
    for name, value in whole.items():
        total = sum(grads[name] for grads in recorder.grads)
        np.testing.assert_allclose(total, ROW.sum() * value, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="mean_weight: expected None with the reduction 'sum'"):
        trainer.fit(X, CLASSES, sample_weight=ROW, mean_weight=1.0, **QUIET)


def test_a_stream_has_no_weights():
    lanes = LaneStream(RNG.normal(size=(40, 3)), 2, 5, RNG.integers(0, 4, 40), dtype="float64")
    with pytest.raises(ValueError, match="mean_weight: expected None with a LaneStream"):
        Trainer(tagger()).fit(lanes, mean_weight=1.0, **QUIET)


def test_batches_of_a_source_weigh_as_they_are_or_by_the_mean_given():
    weight = ROW[:12]
    batches = [(X[k : k + 3], CLASSES[k : k + 3], weight[k : k + 3]) for k in range(0, 12, 3)]
    (expected,), _ = gradients(classifier, "cross_entropy", 12, X=X[:12], y=CLASSES[:12], sample_weight=weight)
    for options, scale in (({}, weight.mean()), ({"mean_weight": 2.0}, weight.mean() / 2)):
        for source in (batches, iter(batches)):
            recorder = Recorder()
            trainer = Trainer(classifier(), optimizer=SGD(0.0), callbacks=[recorder])
            given = {} if source is batches else {"steps_per_epoch": 4}
            source = _Numbered(batches) if source is batches else source
            trainer.fit(source, **given, **options, **QUIET)
            for name, value in expected.items():
                joined = sum(grads[name] for grads in recorder.grads) / 4
                np.testing.assert_allclose(joined, scale * value, rtol=1e-9, atol=1e-12)
    zero = [(x, y, np.zeros(3)) if k == 1 else (x, y, w) for k, (x, y, w) in enumerate(batches)]
    trainer = Trainer(classifier())
    trainer.fit(_Numbered(zero), class_weight={3: 2.0}, **QUIET)  # a batch may lack weight, and a class
    assert trainer.step == 3


class _Numbered:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


@pytest.mark.parametrize("door", ["rows", "classes", "steps", "padded steps", "classes of steps", "both"])
def test_files_weigh_as_arrays_do(door, tmp_path):
    make, loss, given = DOORS[door]

    def stored(values, name):
        if isinstance(values, list):
            return [stored(one, f"{name}{k}") for k, one in enumerate(values)]
        file = np.memmap(tmp_path / name, values.dtype, "w+", shape=values.shape)
        file[...] = values
        return file

    arrays = "X", "y", "sample_weight"
    files = {name: stored(value, name) if name in arrays else value for name, value in given.items()}
    one, other = make(), make()
    for model, data in ((one, given), (other, files)):
        Trainer(model, loss, Adam(0.01), seed=0).fit(**data, batch_size=4, validation_split=0.2, **QUIET)
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes()
    with pytest.raises(ValueError, match=ZERO):
        zero = stored(np.zeros(N), "zero")
        Trainer(make()).fit(files["X"], files["y"], lengths=given.get("lengths"), sample_weight=zero, **QUIET)
    if door in ("classes", "both"):
        with pytest.raises(ValueError, match="class_weight: expected classes that occur in y, which are 0, 1, 2, 3"):
            Trainer(make()).fit(files["X"], files["y"], class_weight={5: 1.0}, **QUIET)

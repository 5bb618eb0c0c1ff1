"""Networks with named inputs: values, gradients, layouts, training, sources of batches, files, streams, bad input."""

import copy
import pickle

import numpy as np
import pytest
from gradcheck import check_gradients
from saver import Saver

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    Adam,
    AttentionPooling,
    Concat,
    Conv1d,
    Dropout,
    Embedding,
    GRUCell,
    Inputs,
    LaneStream,
    LastStep,
    Linear,
    ReLU,
    Sequential,
    Trainer,
)
from fastrnn.diagnostics import diagnose
from fastrnn.distributed import DistributedTrainer

DOUBLE = {"dtype": "float64", "seed": 2}
QUIET = {"progress": False}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pooled(**options):
    """Text, a series and a row of numbers."""
    return Sequential(
        Inputs(
            text=Sequential(Embedding(9, 3, **DOUBLE), GRU(3, 4, bidirectional=True, **DOUBLE), LastStep()),
            series=Sequential(Conv1d(2, 3, 3, padding="same", **DOUBLE), AttentionPooling(3, **DOUBLE)),
            numbers=Sequential(Linear(5, 3, **DOUBLE), ReLU()),
        ),
        Linear(14, 2, **DOUBLE), **options)


def per_step(**options):
    """Two series with an output for every step."""
    inputs = Inputs(price=LSTM(2, 3, **DOUBLE), day=Embedding(7, 2, **DOUBLE))
    return Sequential(inputs, Linear(5, 2, **DOUBLE), **options)


def data(count, seed=0):
    rng = np.random.default_rng(seed)
    text = [rng.integers(0, 9, n) for n in rng.integers(1, 7, count)]
    series = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, count)]
    return {"text": text, "series": series, "numbers": rng.normal(size=(count, 5))}


def padded(sequences):
    lengths = [len(one) for one in sequences]
    out = np.zeros((len(sequences), max(lengths), *sequences[0].shape[1:]), sequences[0].dtype)
    for row, one in zip(out, sequences):
        row[: len(one)] = one
    return out, lengths


def arrays_of(X):
    """(x, lengths) of padded arrays."""
    x, lengths = dict(X), {}
    for name in "text", "series":
        x[name], lengths[name] = padded(X[name])
    return x, lengths


def test_values_are_those_of_the_parts():
    net, X = pooled(), data(4)
    y, state = net(X)
    text, series, numbers = net.modules[0].modules
    whole = np.concatenate([text(X["text"])[0], series(X["series"]), numbers(X["numbers"])], -1)
    np.testing.assert_allclose(y, net.modules[1](whole), rtol=1e-12)
    assert state[0][1] is None and state[1] is None
    x, lengths = arrays_of(X)
    np.testing.assert_array_equal(net(x, lengths=lengths)[0], y)
    dirty = {name: array.astype(float) if name == "series" else array.copy() for name, array in x.items()}
    for name, value in (("text", -7), ("series", np.nan)):
        for row, n in zip(dirty[name], lengths[name]):
            row[n:] = value
    np.testing.assert_array_equal(net(dirty, lengths=lengths)[0], y)
    np.testing.assert_array_equal(net(dict(reversed(X.items())))[0], y, err_msg="by name, not by place")
    for k in range(4):
        one = {name: values[k : k + 1] for name, values in X.items()}
        np.testing.assert_allclose(net(one)[0][0], y[k], rtol=1e-12)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("ragged", [True, False])
def test_gradients(ragged, batch_first):
    net = pooled(batch_first=batch_first)
    x, lengths = arrays_of(data(4))
    if not ragged:
        lengths = None
    if not batch_first:
        x = {name: array if name == "numbers" else np.ascontiguousarray(array.swapaxes(0, 1))
             for name, array in x.items()}
    y, _, tape = net.forward(x, None, lengths)
    dy = normal(*y.shape, seed=3)
    dx, _ = net.backward(tape, dy)
    assert set(dx) == {"text", "series", "numbers"} and dx["text"] is None
    floats = {name: x[name] for name in ("series", "numbers")}
    check_gradients(lambda: float((net.forward(x, None, lengths)[0] * dy).sum()), {**net.params, **floats},
                    {**net.grads, **{name: dx[name] for name in floats}})


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]])
def test_an_output_for_every_step(lengths, batch_first):
    net = per_step(batch_first=batch_first)
    rng = np.random.default_rng(0)
    whole = {"price": rng.normal(size=(3, 5, 2)), "day": rng.integers(0, 7, (3, 5))}
    x = {name: array if batch_first else np.ascontiguousarray(array.swapaxes(0, 1)) for name, array in whole.items()}
    steps = None if lengths is None else {"price": lengths, "day": lengths}
    y, _ = net(x, lengths=steps)
    rows = y if batch_first else y.swapaxes(0, 1)
    listed, _ = net({name: [row[:n] for row, n in zip(array, lengths or [5] * 3)] for name, array in whole.items()})
    for row, one, n in zip(rows, listed, lengths or [5] * 3):
        np.testing.assert_allclose(one, row[:n], rtol=1e-12)
        assert not row[n:].any()
    y, _, tape = net.forward(x, None, steps)
    dy = normal(*y.shape, seed=1)
    dx, _ = net.backward(tape, dy)
    check_gradients(lambda: float((net.forward(x, None, steps)[0] * dy).sum()), {**net.params, "price": x["price"]},
                    {**net.grads, "price": dx["price"]})
    if lengths:
        other = {"price": lengths, "day": [5, 1, 3]}
        with pytest.raises(ValueError, match=r"^lengths\['day'\]: expected as many steps of the output as for 'price'"):
            net(x, lengths=other)


def test_training():
    """Each input has a part of the answer."""
    X = data(160)
    y = np.array([2 * (8 in text) + (row[0] > 0) for text, row in zip(X["text"], X["numbers"])])
    net = Sequential(Inputs(text=Sequential(Embedding(9, 8, seed=0), GRU(8, 12, seed=0), LastStep()),
                            series=Sequential(GRU(2, 4, seed=1), LastStep()), numbers=Linear(5, 8, seed=2)),
                     ReLU(), Linear(24, 4, seed=3))
    trainer = Trainer(net, optimizer=Adam(0.02), metrics=["accuracy"], seed=0)
    assert trainer.memory_estimate(X, y) > 32 * (6 * 12 + 8 * 4) * 4
    history = trainer.fit(X, y, epochs=25, batch_size=16, validation_split=0.1, **QUIET)
    assert history["accuracy"][-1] > 0.95
    x, lengths = arrays_of(X)
    for given in {"X": X}, {"X": x, "lengths": lengths}:
        assert trainer.evaluate(y=y, **given, **QUIET)["accuracy"] > 0.95
        found = trainer.predict(**given, **QUIET)
        assert found.shape == (160, 4)
        np.testing.assert_allclose(found[:1], net({name: values[:1] for name, values in X.items()})[0], atol=1e-5)
    for held_out in (X, y), {"X": x, "y": y, "lengths": lengths}:
        history = trainer.fit(X, y, validation_data=held_out, sample_weight=np.arange(160), **QUIET)
        assert history["val_accuracy"][-1] > 0.9


def test_batches_of_a_source_and_of_files(tmp_path):
    X = data(40)
    x, lengths = arrays_of(X)
    y = np.arange(40) % 2
    for name, array in x.items():
        np.save(tmp_path / name, array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in x}
    cut = [slice(k, k + 8) for k in range(0, 40, 8)]
    batches = [({name: values[part] for name, values in X.items()}, y[part]) for part in cut]
    dicts = [{"X": {name: values[part] for name, values in x.items()}, "y": y[part],
              "lengths": {name: n[part] for name, n in lengths.items()}} for part in cut]

    def trained(*args, **options):
        trainer = Trainer(pooled(), optimizer=Adam(0.01), seed=0)
        trainer.fit(*args, epochs=2, shuffle=False, **options, **QUIET)
        return trainer

    wanted = trained(X, y, batch_size=8)
    for other in (trained(mapped, y, lengths=lengths, batch_size=8), trained(_Batches(batches)),
                  trained(_Batches(dicts))):
        for name, p in wanted.model.params.items():
            np.testing.assert_allclose(other.model.params[name], p, rtol=1e-9, err_msg=name)
    whole = wanted.predict(X, **QUIET)
    np.testing.assert_allclose(wanted.predict(mapped, lengths=lengths, **QUIET), whole, rtol=1e-12)
    np.testing.assert_allclose(wanted.predict(_Batches(dicts), **QUIET), whole, rtol=1e-12)
    np.testing.assert_allclose(wanted.predict((one for one in batches), **QUIET), whole, rtol=1e-12)


class _Batches:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, k):
        return self.batches[k]


def test_targets_for_every_step():
    rng = np.random.default_rng(0)
    prices = [rng.normal(size=(n, 2)) for n in rng.integers(1, 9, 60)]
    days = [rng.integers(0, 7, len(one)) for one in prices]
    y = [(day > 3).astype(int) for day in days]
    trainer = Trainer(per_step(), optimizer=Adam(0.02), metrics=["accuracy"], seed=0)
    history = trainer.fit({"price": prices, "day": days}, y, epochs=20, **QUIET)
    assert history["accuracy"][-1] > 0.95
    found = trainer.predict({"price": prices, "day": days}, **QUIET)
    assert [len(one) for one in found] == [len(one) for one in prices]
    x = {"price": padded(prices), "day": padded(days)}
    lengths = {name: n for name, (_, n) in x.items()}
    rows = trainer.predict({name: array for name, (array, _) in x.items()}, lengths=lengths, **QUIET)
    for one, row in zip(found, rows):
        np.testing.assert_allclose(row[: len(one)], one, rtol=1e-9)
        assert not row[len(one):].any()
    with pytest.raises(ValueError, match=r"^X\['day'\]: expected sequences as long as those of X\['price'\]"):
        trainer.fit({"price": prices, "day": days[::-1]}, y, **QUIET)


def test_files_copies_resume_and_frozen_names(tmp_path):
    X, y = data(24), np.arange(24) % 2
    net = pooled()
    net.freeze("0.text.0.*")
    assert net.frozen == ("0.text.0.weight",) and "0.numbers.0.bias" in net.params
    fastrnn.save(net, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
        assert found.config() == net.config() and repr(found) == repr(net) and found.frozen == net.frozen
        np.testing.assert_array_equal(found(X)[0], net(X)[0])
    whole = Trainer(net, optimizer=Adam(0.01), callbacks=[Saver(tmp_path / "c", 4)], seed=0)
    whole.fit(X, y, epochs=3, batch_size=8, **QUIET)
    resumed = Trainer.resume(tmp_path / "c")
    assert resumed.model.frozen == ("0.text.0.weight",)
    resumed.fit(X, y, epochs=3, batch_size=8, **QUIET)
    for name, p in net.params.items():
        assert p.tobytes() == resumed.model.params[name].tobytes(), name


def test_any_name_will_do(tmp_path):
    names = "self", "x", "modules", "lengths", "class", "Füße"
    net = Sequential(Inputs(**{name: Linear(2, 3, seed=0) for name in names}))
    x = {name: np.ones((1, 4, 2)) for name in net.input_names}
    fastrnn.save(net, tmp_path / "m")
    np.testing.assert_array_equal(fastrnn.load(tmp_path / "m")(x), net(x))


def test_streams():
    net = per_step()
    rng = np.random.default_rng(0)
    x = {"price": rng.normal(size=(2, 5, 2)), "day": rng.integers(0, 7, (2, 5))}
    whole, stream = net(x)[0], net.stream(2)
    for t in range(3):
        assert stream.step({name: array[:, t] for name, array in x.items()}).tobytes() == whole[:, t].tobytes()
    twin = stream.copy()
    for wrong in ({"price": x["price"][:, 3]}, x["price"][:, 3], {**x, "other": 3}, {"price": 3, "day": 4}):
        with pytest.raises((ValueError, TypeError)):
            twin.step(wrong)
    rest = {name: array[:, 3:] for name, array in x.items()}
    assert np.ascontiguousarray(stream.run(rest)).tobytes() == whole[:, 3:].tobytes()
    assert np.ascontiguousarray(twin.run(rest)).tobytes() == whole[:, 3:].tobytes()


X, Y = data(6), np.arange(6) % 2
BAD_DATA = {
    "a list": (list(X["series"]), TypeError, r"^X: expected a dict of the inputs text, series, numbers; found list"),
    "missing": ({"text": X["text"], "series": X["series"]}, ValueError, r"^X: expected exactly .* missing 'numbers'"),
    "unknown": ({**X, "more": X["numbers"]}, ValueError, r"^X: expected exactly .* unexpected 'more'"),
    "rows": ({**X, "numbers": X["numbers"][:4]}, ValueError, r"^X\['numbers'\]: expected 6 entries as in X\['text'\],"),
    "sequences": ({**X, "series": X["series"][:5]}, ValueError, r"^X\['series'\]: expected 6 entries as in X\['text'"),
    "axes of rows": ({**X, "numbers": np.ones((6, 2, 5))}, ValueError, r"^X\['numbers'\]: expected shape \(N, F\)"),
    "numbers for ids": ({**X, "text": np.ones((6, 4))}, TypeError, r"^X\['text'\]: expected ids, integers of shape"),
    "ids for numbers": ({**X, "series": np.ones((6, 4), int)}, TypeError, r"^X\['series'\]: expected numbers of shape"),
    "an id": ({**X, "text": [np.array([9])] * 6}, ValueError, r"^(X\['text'\]\[0\]|x): expected ints in 0 \.\. 8, fou"),
    "words": ({**X, "numbers": [["a"] * 5] * 6}, TypeError, r"^X\['numbers'\]: expected numbers, found dtype <U1"),
    "a step": ({**X, "series": [np.ones((2, 3)), *X["series"][1:]]}, ValueError, r"^X\['series'\]\[1\]: expected 3 fe"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_do_not_fit(name):
    given, kind, message = BAD_DATA[name]
    net = pooled()
    before = net.state_dict()
    for call in (lambda t: t.fit(given, Y, **QUIET), lambda t: t.evaluate(given, Y, **QUIET),
                 lambda t: t.fit(X, Y, validation_data=(given, Y), **QUIET)):
        with pytest.raises(kind, match=message.replace("^", "^(validation_data: )?")):
            call(Trainer(net, seed=0))
    assert all(np.array_equal(p, before[key]) for key, p in net.params.items())


LINEAR = Linear(3, 3, seed=0)
x, lengths = arrays_of(X)
BAD = {
    "nothing": (lambda: Inputs(), ValueError, r"^modules: expected at least one module by the name of its input"),
    "a dot": (lambda: Inputs(**{"a.b": LINEAR}), ValueError, r"^modules: expected names of inputs without a dot"),
    "no module": (lambda: Inputs(a=3), TypeError, r"^modules\[0\]: expected a fastrnn module, found int"),
    "a cell": (lambda: Inputs(a=GRUCell(3, 4)), TypeError, r"^modules\[0\]: expected a module that takes all steps"),
    "within": (lambda: Inputs(a=Inputs(b=LINEAR)), ValueError, r"^modules\[0\]: expected a module with one input"),
    "a branch": (lambda: Concat(Inputs(b=LINEAR)), ValueError, r"^modules\[0\]: expected a module with one input"),
    "later": (lambda: Sequential(LINEAR, Inputs(b=LINEAR)), ValueError, r"^modules\[1\]: expected a module with one"),
    "both": (lambda: Inputs(a=LastStep(), b=GRU(3, 4)), ValueError, r"^b: expected a module that pools the steps as o"),
    "dtypes": (lambda: Inputs(a=LINEAR, b=Linear(3, 3, **DOUBLE)), ValueError, r"^modules: expected one dtype"),
    "config": (lambda: Inputs.from_config({"modules": [], "names": ["a"]}), ValueError, r"^config: expected modules,"),
    "array": (lambda: pooled()(x["series"]), TypeError, r"^x: expected a dict of the inputs text, series, numbers; fo"),
    "names": (lambda: pooled()({"text": x["text"]}), ValueError, r"^x: expected exactly .* missing 'series', 'numbers"),
    "lengths": (lambda: pooled()(x, lengths=[3] * 6), TypeError, r"^lengths: expected a dict of lengths by the names"),
    "a length's name": (lambda: pooled()(x, lengths={"txt": [3]}), ValueError, r"^lengths: expected names of inputs,"),
    "a length": (lambda: pooled()(x, lengths={"text": [99] * 6}), ValueError, r"^x\['text'\]: lengths: expected ints"),
    "of rows": (lambda: pooled()(x, lengths={"numbers": [3] * 6}), ValueError, r"^lengths\['numbers'\]: expected None"),
    "count": (lambda: pooled()({**x, "numbers": x["numbers"][1:]}), ValueError, r"^x\['numbers'\]: expected 6 sequenc"),
    "axes": (lambda: pooled()({**x, "series": x["series"][0]}), ValueError, r"^x\['series'\]: expected sequences of s"),
    "forward": (lambda: pooled().forward(X), TypeError, r"^x\['text'\]: expected an array, found a list"),
    "a dict": (lambda: Trainer(Sequential(LINEAR), "mse").predict({"a": x["series"]}, **QUIET), TypeError,
               r"^X: expected one array or list, as the model has no named inputs"),
    "lanes": (lambda: Trainer(per_step()).fit(LaneStream(np.ones((40, 2)), 2, 5), **QUIET), ValueError,
              r"^a LaneStream: expected a model with one input, found named inputs: price, day"),
    "tbptt": (lambda: Trainer(per_step(), tbptt=3).fit({"price": np.ones((2, 6, 2)), "day": np.ones((2, 6), int)},
                                                       np.ones((2, 6), int), **QUIET), ValueError, r"^tbptt: expected"),
    "diagnosis": (lambda: diagnose(Sequential(Inputs(a=Dropout()), GRU(3, 4)), {"a": x["series"]}, Y), ValueError,
                  r"^model: expected one with one input, found named inputs: a"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_several_processes_are_refused():
    class Ranks:
        size = 2

    with pytest.raises(ValueError, match=r"^model: expected one with one input in several processes, found named"):
        DistributedTrainer(pooled(), ranks=Ranks())

"""The order of batches: as they stand, or as the caller says, with exact resumption."""

import numpy as np
import pytest
from saver import Saver
from tolerances import tolerance

from fastrnn import LSTM, SGD, Dropout, LaneStream, LastStep, Linear, Sequential, Trainer

RNG = np.random.default_rng(8)
N = 11
LENGTHS = np.array([4, 2, 6, 1, 5, 3, 6, 2, 4, 5, 1])
X = RNG.normal(size=(N, 6, 2))
X[:, :, 0] = np.arange(N)[:, None]  # tells the row
Y = RNG.integers(0, 3, (N, 6))
RAGGED = [row[:n] for row, n in zip(X, LENGTHS)], [row[:n] for row, n in zip(Y, LENGTHS)]
ORDER = [[3, 1], [0, 0, 5], [10]]
QUIET = {"progress": False}


class Seen(LSTM):
    """Keeps which rows each forward pass has had."""

    seen: list

    def forward(self, x, *args, **kwargs):
        self.seen.append(np.asarray(x)[:, 0, 0].astype(int).tolist())
        return super().forward(x, *args, **kwargs)


def network(dropout=0.0):
    first = Seen(2, 4, seed=1, dtype="float64")
    first.seen = []
    return Sequential(first, Dropout(dropout), Linear(4, 3, seed=2, dtype="float64"))


def rows(X=X, y=Y, split=0.0, epochs=1, batch_size=4, **order):
    """The rows of each batch of a fit."""
    model = network()
    Trainer(model, optimizer=SGD(0.1), seed=0).fit(
        X, y, epochs=epochs, batch_size=batch_size, validation_split=split, **order, **QUIET)
    return model.modules[0].seen


def test_without_shuffling_rows_come_as_they_stand():
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert rows(shuffle=False, epochs=2) == expected * 2
    assert rows(*RAGGED, shuffle=False) == expected, "not by length either"
    assert rows() != expected and sorted(np.concatenate(rows()).tolist()) == list(range(N))
    by_length = rows(*RAGGED, shuffle=False, bucket_by_length=True, batch_size=2)
    assert np.concatenate(by_length).tolist() == np.argsort(LENGTHS, kind="stable").tolist()


@pytest.mark.parametrize("data", [(X, Y), RAGGED])
def test_batches_come_as_they_are_given(data):
    assert rows(*data, batch_order=ORDER, epochs=2) == ORDER * 2
    assert rows(*data, batch_order=np.array([[1, 2], [2, 9]]), shuffle=False) == [[1, 2], [2, 9]]
    assert rows(*data, batch_order=iter(ORDER)) == ORDER
    assert rows(*data, batch_order=lambda epoch, rng: [[epoch], [9 - epoch, 2]], epochs=3) == [
        [0], [9, 2], [1], [8, 2], [2], [7, 2]]


def test_rows_are_those_left_by_the_split():
    assert rows(split=0.55, batch_order=[[4, 0]], batch_size=9) == [[4, 0]]
    with pytest.raises(ValueError, match=r"^batch_order\[0\]: expected ints in 0 \.\. 4, found 5 at \[0\]$"):
        rows(split=0.55, batch_order=[[5, 0]])


def test_a_row_twice_counts_twice():
    given, twice = network(), network()
    Trainer(given, optimizer=SGD(0.5), seed=0).fit(X, Y, batch_order=[[4, 4, 7]], **QUIET)
    Trainer(twice, optimizer=SGD(0.5), seed=0).fit(X[[4, 4, 7]], Y[[4, 4, 7]], shuffle=False, **QUIET)
    for name, p in given.params.items():
        np.testing.assert_array_equal(p, twice.params[name])


@pytest.mark.parametrize("tbptt", [None, 2])
def test_a_large_update_is_made_of_batches(tbptt):
    found = []
    for size in 8, 3:
        model = network()
        trainer = Trainer(model, optimizer=SGD(0.5), tbptt=tbptt, seed=0)
        trainer.fit(*RAGGED, batch_size=size, batch_order=[[0, 3, 6, 6, 2, 1, 9], [4]], **QUIET)
        found.append((trainer.step, model.params))
    assert found[0][0] == found[1][0]
    for name, p in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], p, rtol=0, atol=tolerance("ten updates, float64"))


def test_more_rows_than_there_are():
    assert rows(X[:2], Y[:2], batch_order=[[0, 1, 0, 1, 1]], batch_size=9) == [[0, 1, 0, 1, 1]]
    ragged = [part[:2] for part in RAGGED]
    assert rows(*ragged, batch_order=[[1] * 20], batch_size=32) == [[1] * 20]


def drawn(epoch, rng):
    return rng.permutation(N)[:9].reshape(3, 3)


@pytest.mark.parametrize("tbptt", [None, 2])
@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("order", [{"shuffle": False}, {"batch_order": ORDER}, {"batch_order": drawn}])
def test_a_fit_goes_on_in_its_order(order, at, tbptt, tmp_path):
    def fit(trainer):
        return trainer.fit(*RAGGED, epochs=3, batch_size=4, **order, **QUIET)

    make = lambda: Sequential(LSTM(2, 4, seed=1), Dropout(0.3), Linear(4, 3, seed=2))  # noqa: E731
    whole = Trainer(make(), optimizer=SGD(0.1), tbptt=tbptt, callbacks=[Saver(tmp_path / "c", at)], seed=0)
    fit(whole)
    resumed = Trainer.resume(tmp_path / "c")
    fit(resumed)
    assert resumed.history["loss"] == whole.history["loss"]
    for name, p in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[name], p)


def test_another_order_is_refused_where_a_fit_goes_on(tmp_path):
    trainer = Trainer(network(), callbacks=[Saver(tmp_path / "c", 2)], seed=0)
    trainer.model.modules[0].seen = []
    trainer = Trainer(Sequential(LSTM(2, 4, seed=1), LastStep(), Linear(4, 3)), callbacks=trainer.callbacks, seed=0)
    y = Y[:, 0]
    whole = trainer.fit(X, y, batch_size=4, batch_order=ORDER, **QUIET)
    resumed = Trainer.resume(tmp_path / "c")
    with pytest.raises(ValueError, match="batch_order: expected the batches of the epoch that goes on, found others"):
        resumed.fit(X, y, batch_size=4, batch_order=[*ORDER[:2], [9]], **QUIET)
    with pytest.raises(ValueError, match="X: expected the data and batch size of the fit that goes on"):
        resumed.fit(X, y, batch_size=4, **QUIET)
    with pytest.raises(ValueError, match=r"batch_order\(0\)\[0\]: expected ints in 0 \.\. 10, found 11"):
        resumed.fit(X, y, batch_size=4, batch_order=lambda epoch, rng: [[11]], **QUIET)
    assert resumed.fit(X, y, batch_size=4, batch_order=ORDER, **QUIET)["loss"] == whole["loss"]


BAD = {
    "a row too many": ({"batch_order": [[0], [11]]}, ValueError, r"^batch_order\[1\]: expected ints in 0 \.\. 10, f"),
    "a row below 0": ({"batch_order": [[-1]]}, ValueError, r"^batch_order\[0\]: expected ints in 0 \.\. 10, found -1"),
    "no rows": ({"batch_order": [[1], []]}, ValueError, r"^batch_order\[1\]: expected at least one row, found none"),
    "no batches": ({"batch_order": []}, ValueError, "^batch_order: expected at least one batch, found none"),
    "floats": ({"batch_order": [[0.0]]}, TypeError, r"^batch_order\[0\]: expected an array of ints"),
    "a mask": ({"batch_order": [np.ones(N, bool)]}, TypeError, r"^batch_order\[0\]: expected an array of ints"),
    "rows alone": ({"batch_order": [0, 1]}, ValueError, r"^batch_order\[0\]: expected shape \(n,\), found \(\)"),
    "a number": ({"batch_order": 3}, TypeError, "^batch_order: expected a sequence of int arrays"),
    "a function's": ({"batch_order": lambda epoch, rng: [[N]]}, ValueError, r"^batch_order\(0\)\[0\]: expected ints"),
    "by length": ({"batch_order": ORDER, "bucket_by_length": True}, ValueError, "^batch_order: expected None with"),
    "shuffle": ({"shuffle": 1}, TypeError, "^shuffle: expected True or False, found 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_orders_are_named(name):
    order, kind, message = BAD[name]
    trainer = Trainer(network(), seed=0)
    before = trainer.model.state_dict()
    with pytest.raises(kind, match=message):
        trainer.fit(*RAGGED, **order, **QUIET)
    assert trainer.step == 0 and trainer.state_dict()["fit"] is None
    for name, p in before.items():
        np.testing.assert_array_equal(trainer.model.params[name], p)


def test_a_stream_has_its_own_order():
    stream = LaneStream(RNG.normal(size=(30, 2)), 2, 5, RNG.integers(0, 3, 30))
    with pytest.raises(ValueError, match=r"^batch_order: expected None with a LaneStream, found"):
        Trainer(network(), seed=0).fit(stream, batch_order=ORDER, **QUIET)
    Trainer(Sequential(LSTM(2, 4), Linear(4, 3)), seed=0).fit(stream, shuffle=False, **QUIET)

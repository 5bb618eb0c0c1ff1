"""Batches of padded and ragged sequences, their weights and windows, and the lanes of a stream."""

import numpy as np
import pytest

from fastrnn import LaneStream
from fastrnn.data.batches import Sequences


def ragged(lengths, features=2):
    return [np.full((n, features), k + 1.0) for k, n in enumerate(lengths)]


def all_batches(data, rng=None):
    return [data.batch(indices) for indices in data.order(rng)]


def test_a_padded_array_is_cut_in_batches_in_order():
    X, y = np.arange(5 * 3 * 2.0).reshape(5, 3, 2), np.arange(5)
    batches = all_batches(Sequences(X, y, per_step=False, batch_size=2))
    assert [len(b.x) for b in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([b.x for b in batches]), X.astype(np.float32))
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), y)
    assert all(b.lengths is None and b.weight is None for b in batches)
    assert batches[0].x.dtype == np.float32


def test_shuffling_follows_the_generator_and_keeps_pairs_together():
    X, y = np.repeat(np.arange(20.0)[:, None, None], 3, axis=1), np.arange(20)
    data = Sequences(X, y, per_step=False, batch_size=6)

    def epoch(seed):
        return all_batches(data, np.random.default_rng(seed))

    one, again, other = epoch(1), epoch(1), epoch(2)
    for batch in one:
        np.testing.assert_array_equal(batch.x[:, 0, 0], batch.y)
    order = np.concatenate([b.y for b in one])
    assert sorted(order) == list(range(20)) and list(order) != list(range(20))
    np.testing.assert_array_equal(order, np.concatenate([b.y for b in again]))
    assert list(order) != list(np.concatenate([b.y for b in other]))


def test_ragged_batches_are_padded_to_their_own_longest():
    X = ragged([3, 1, 0, 5])
    y = [np.arange(len(x)) for x in X]
    first, second = all_batches(Sequences(X, y, batch_size=2, bucket=False))
    assert first.x.shape == (2, 3, 2) and second.x.shape == (2, 5, 2)
    assert first.lengths.tolist() == [3, 1] and second.lengths.tolist() == [0, 5]
    np.testing.assert_array_equal(first.x[1, :, 0], [2, 0, 0])
    np.testing.assert_array_equal(first.y, [[0, 1, 2], [0, 0, 0]])
    assert first.mass(True) == 4 and second.mass(True) == 5 and first.mass(False) == 2


@pytest.mark.parametrize(
    "X, shape, dtype",
    [
        (np.zeros((4, 3), int), (4, 3), np.int64),
        (np.zeros((4, 3)), (4, 3, 1), np.float64),
        (np.zeros((4, 3, 2), int), (4, 3, 2), np.float64),
        ([np.zeros(3, np.int32), np.zeros(1, np.uint8)], (2, 3), np.int64),
        ([np.zeros(3, int), np.zeros(1)], (2, 3, 1), np.float64),
        ([[1, 2, 3], []], (2, 3), np.int64),
    ],
)
def test_ids_and_features_are_told_apart(X, shape, dtype):
    x = Sequences(X, dtype=np.float64).batch(np.arange(len(X))).x
    assert x.shape == shape and x.dtype == dtype


def test_windows_cut_steps_targets_lengths_and_weights():
    X = ragged([7, 4, 2])
    y = [np.arange(len(x)) * 1.0 for x in X]
    weight = [np.linspace(1, 2, len(x)) for x in X]
    data = Sequences(X, y, sample_weight=weight, window=3, batch_size=3, bucket=False)
    (indices,) = data.order()
    whole, windows = data.batch(indices), data.windows(indices)
    assert data.updates(indices) == len(windows) == 3
    assert [w.lengths.tolist() for w in windows] == [[3, 3, 2], [3, 1, 0], [1, 0, 0]]
    for name in ("x", "y", "weight"):
        joined = np.concatenate([getattr(w, name) for w in windows], axis=1)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert sum(w.mass(True) for w in windows) == pytest.approx(whole.mass(True)) == pytest.approx(1.5 * 13)
    later = data.windows(indices, start=2)
    assert len(later) == 1
    np.testing.assert_array_equal(later[0].x, windows[2].x)


def test_class_and_sample_weights_multiply():
    y = np.array([0, 1, 2, 1])
    data = Sequences(np.zeros((4, 2, 1)), y, sample_weight=[1, 2, 3, 0], class_weight={1: 10}, per_step=False)
    np.testing.assert_array_equal(data.batch(np.arange(4)).weight, [1, 20, 3, 0])
    steps = Sequences(np.zeros((2, 2, 1)), [[0, 1], [1, 2]], sample_weight=[1, 2], class_weight=[1, 2, 3])
    np.testing.assert_array_equal(steps.batch(np.arange(2)).weight, [[1, 2], [4, 6]])
    lists = Sequences([[0, 1, 0], [1]], [[0, 1, 2], [1]], sample_weight=[1, 2], class_weight=[1, 2, 3])
    np.testing.assert_array_equal(lists.batch(np.arange(2)).weight, [[1, 2, 3], [4, 0, 0]])


def test_weights_count_only_valid_steps():
    data = Sequences(np.zeros((2, 3, 1)), np.zeros((2, 3)), lengths=[3, 1], sample_weight=[1, 5])
    assert data.batch(np.arange(2)).mass(True) == 3 + 5
    alone = data.batch(np.array([1]))
    assert alone.x.shape == (1, 1, 1) and alone.y.shape == (1, 1), "no longer than it must be"


def test_split_holds_out_the_end():
    data = Sequences(np.arange(10.0)[:, None, None], np.arange(10), lengths=[1] * 10, per_step=False)
    rest, held = data.split(0.3)
    assert (len(rest), len(held)) == (7, 3)
    np.testing.assert_array_equal(held.y, [7, 8, 9])
    with pytest.raises(ValueError, match=r"validation_split: .* found 0.01"):
        data.split(0.01)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"X": np.zeros(3)}, r"X: expected shape \(N, T, I\)"),
        ({"X": np.zeros((0, 3, 2))}, "X: expected at least one sequence"),
        ({"X": []}, "X: expected at least one sequence, found an empty list"),
        ({"X": [np.zeros((2, 2)), np.zeros((2, 3))]}, r"X\[1\]: expected 2 features .* found 3"),
        ({"X": np.array([["a", "b"]])}, "X: expected numbers"),
        ({"y": np.zeros(3)}, "y: expected 4 entries, .* found 3"),
        ({"y": np.zeros((4, 5))}, r"y: expected shape \(4, 3, \.\.\.\), a target for every step"),
        (
            {"X": ragged([2, 3]), "y": [np.zeros(2), np.zeros(2)]},
            r"y\[1\]: expected a target for each of the 3 steps",
        ),
        ({"lengths": [1, 2, 3]}, "lengths: expected 4 ints"),
        ({"lengths": [1, 2, 3, 4]}, "lengths: expected ints from 0 to 3, found 4 at position 3"),
        ({"lengths": [1, 2, 3, -1]}, "lengths: expected ints from 0 to 3, found -1"),
        ({"lengths": [1.0, 2, 3, 3]}, "lengths: expected an array of ints, found dtype float64"),
        ({"X": ragged([3]), "y": [np.zeros(3)], "lengths": [3]}, "lengths: expected None with a list"),
        ({"sample_weight": np.ones(3)}, "sample_weight: expected 4 entries"),
        ({"sample_weight": np.ones((4, 2))}, r"sample_weight: expected shape \(4,\)"),
        ({"sample_weight": [1, 1, 1, -1]}, "sample_weight: expected finite weights of at least 0"),
        ({"sample_weight": [1, 1, 1, np.nan]}, "sample_weight: expected finite weights"),
        ({"class_weight": {0: 1}}, "class_weight: expected integer classes in y"),
        (
            {"y": np.full((4, 3), 2), "class_weight": [1, 2]},
            "class_weight: expected a weight for each of the 3 classes",
        ),
        (
            {"y": np.zeros((4, 3), int), "class_weight": {-1: 2}},
            "class_weight: expected classes from 0 on, found -1",
        ),
        ({"batch_size": 0}, "batch_size: expected an int of at least 1, found 0"),
        ({"batch_size": 2.5}, "batch_size: expected an int, found 2.5"),
        ({"window": 0}, "tbptt: expected an int of at least 1"),
        (
            {"window": 2, "per_step": False, "y": np.zeros(4)},
            "tbptt: expected None for a model with one output",
        ),
    ],
)
def test_bad_input_is_named(arguments, message):
    given = {"X": np.zeros((4, 3, 2)), "y": np.zeros((4, 3)), **arguments}
    with pytest.raises((ValueError, TypeError), match=message):
        Sequences(given.pop("X"), given.pop("y"), **given)


def test_lanes_continue_from_window_to_window():
    ids = np.arange(50)
    stream = LaneStream(ids, batch_size=3, seq_len=5)
    windows = list(stream.windows(None))
    assert stream.steps == 16 and stream.updates(None) == len(windows) == 4
    x = np.concatenate([w.x for w in windows], axis=1)
    np.testing.assert_array_equal(x, np.arange(48).reshape(3, 16))
    np.testing.assert_array_equal(np.concatenate([w.y for w in windows], axis=1), x + 1)
    np.testing.assert_array_equal(next(iter(stream.windows(None, start=2))).x, windows[2].x)
    assert stream.order(np.random.default_rng(0)) == stream.order(), "never shuffled"


def test_lanes_of_features_with_targets():
    stream = LaneStream(np.arange(8.0), batch_size=2, seq_len=3, y=np.arange(8))
    batch = next(iter(stream.windows(None)))
    assert batch.x.shape == (2, 3, 1) and batch.x.dtype == np.float32
    np.testing.assert_array_equal(batch.y, [[0, 1, 2], [4, 5, 6]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"x": np.arange(3)}, "x: expected a target for at least one step in each of the 3 lanes, found 2"),
        ({"x": np.zeros((9, 2, 2))}, r"x: expected shape \(T,\) or \(T, I\)"),
        ({"y": np.zeros(8)}, "y: expected 9 steps as in x, found 8"),
        ({"seq_len": 0}, "seq_len: expected an int of at least 1"),
        ({"batch_size": "3"}, "batch_size: expected an int, found '3'"),
    ],
)
def test_bad_lanes_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LaneStream(**{"x": np.arange(9), "batch_size": 3, "seq_len": 2, **arguments})


def test_what_numpy_cannot_convert_is_named():
    class Tensor:  # as one of torch that requires a gradient
        def __array__(self, *args, **kwargs):
            raise RuntimeError("call detach() first")

    with pytest.raises(TypeError, match=r"X: expected an array, found Tensor \(call detach\(\) first\)"):
        Sequences(Tensor())


# Batches by length


def lengths_of(data, rng):
    return [data.lengths[indices] for indices in data.order(rng)]


def test_batches_are_of_about_one_length_by_default():
    lengths = np.random.default_rng(0).integers(1, 100, 300)
    data = Sequences([np.zeros((n, 1)) for n in lengths], batch_size=8)
    padding = {}
    for bucket in (True, False):
        data.bucket = bucket
        found = lengths_of(data, np.random.default_rng(1))
        assert sorted(np.concatenate(found)) == sorted(lengths), "each sequence once"
        assert sorted(map(len, found)) == [4] + [8] * 37
        padding[bucket] = sum(len(batch) * batch.max() - batch.sum() for batch in found) / lengths.sum()
    assert padding[True] < 0.12 < 0.5 < padding[False]


def test_batches_by_length_are_shuffled_and_seeded():
    lengths = np.random.default_rng(0).integers(1, 100, 600)
    data = Sequences([np.zeros((n, 1)) for n in lengths], batch_size=4)
    assert data.bucket
    first, again, other = ([o.tolist() for o in data.order(np.random.default_rng(s))] for s in (1, 1, 2))
    assert first == again
    assert {frozenset(o) for o in first} != {frozenset(o) for o in other}, "other company in every epoch"
    longest = [lengths[o].max() for o in first]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3, "not from short to long"
    plain = data.order()
    assert (np.diff([lengths[o].max() for o in plain]) >= 0).all(), "without a seed from short to long"


def test_no_batches_by_length_where_all_are_equal_or_by_wish():
    x = [np.zeros((3, 1))] * 5
    assert not Sequences(x).bucket and not Sequences(np.zeros((5, 3, 1)), lengths=[3] * 5).bucket
    ragged = [np.zeros((n, 1)) for n in range(5)]
    assert Sequences(ragged).bucket and not Sequences(ragged, bucket=False).bucket
    with pytest.raises(TypeError, match="bucket_by_length: expected True or False, found 3"):
        Sequences(ragged, bucket=3)


@pytest.mark.parametrize("bucket", [True, False])
def test_parts_of_an_update_are_the_large_batch(bucket):
    x = [np.zeros((n, 1)) for n in np.random.default_rng(0).integers(1, 9, 50)]
    large = Sequences(x, batch_size=12, bucket=bucket)
    parts = Sequences(x, batch_size=4, accumulate=3, bucket=bucket)
    for seed in range(3):
        one, other = (d.order(np.random.default_rng(seed)) for d in (large, parts))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(np.concatenate(parts.parts(b)), a)
            assert all(len(part) <= 4 for part in parts.parts(b))

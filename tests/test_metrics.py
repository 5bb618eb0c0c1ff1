"""Metrics: their values, by batches, in history, on the way and in evaluation."""

import math

import numpy as np
import pytest

from fastrnn import GRU, SGD, LaneStream, LastStep, Linear, Sequential, Trainer, losses, metrics
from fastrnn.callbacks import Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 7, 3)).astype(np.float32)
STEPS = RNG.integers(0, 4, (10, 7))
LENGTHS = np.array([7, 3, 5, 1, 7, 2, 6, 4, 7, 5])
WEIGHT = RNG.uniform(0, 2, 10)
QUIET = {"progress": False}


def tagger(batch_first=True, outputs=4):
    return Sequential(GRU(3, 5, seed=1), Linear(5, outputs, seed=2), batch_first=batch_first)


# accuracy


def test_accuracy_of_classes_and_of_logits():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert metrics.accuracy(scores, [1, 0, 0, 0]) == 0.75
    assert metrics.accuracy(scores, [1, 0, 0, 0], sample_weight=[1, 1, 2, 0]) == 0.5
    for logits in (np.array([2.0, -1.0, 0.5]), np.array([[2.0], [-1.0], [0.5]])):
        assert metrics.accuracy(logits, [1, 0, 0]) == pytest.approx(2 / 3)
    assert metrics.accuracy(np.array([[2.0, -1.0], [0.5, 1.0]]), np.array([[1, 0], [0, 1]])) == 0.75


@pytest.mark.parametrize("batch_first", [True, False])
def test_accuracy_counts_valid_steps(batch_first):
    scores = RNG.normal(size=(10, 7, 4))
    right = scores.argmax(-1) == STEPS
    valid = np.arange(7) < LENGTHS[:, None]
    if not batch_first:
        scores, target = scores.swapaxes(0, 1), STEPS.T
    else:
        target = STEPS
    found = metrics.accuracy(scores, target, lengths=LENGTHS, sample_weight=WEIGHT, batch_first=batch_first)
    assert found == pytest.approx(np.average(right, weights=valid * WEIGHT[:, None]), rel=1e-12)
    assert metrics.accuracy(scores, target, sample_weight=np.zeros(10), batch_first=batch_first) == 0


def test_accuracy_of_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="target: expected int classes"):
        metrics.accuracy(np.zeros((3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="target: expected int classes"):
        metrics.accuracy(np.zeros((3, 4)), np.zeros(2, int))


# in training


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batch_size", [10, 3])
def test_figures_are_means_over_all_elements(batch_first, batch_size):
    model = tagger(batch_first)
    trainer = Trainer(
        model, optimizer=SGD(0.0), metrics=("accuracy", "perplexity", "bits", losses.cross_entropy), seed=0
    )
    data = {"lengths": LENGTHS, "sample_weight": WEIGHT, "batch_size": batch_size, **QUIET}
    history = trainer.fit(X, STEPS, validation_data={"X": X, "y": STEPS, "sample_weight": WEIGHT}, **data)
    logits = model(X)[0] if batch_first else model(X.swapaxes(0, 1))[0].swapaxes(0, 1)
    valid = (np.arange(7) < LENGTHS[:, None]) * WEIGHT[:, None]
    accuracy = np.average(logits.argmax(-1) == STEPS, weights=valid)
    nats = losses.cross_entropy(logits, STEPS, lengths=LENGTHS, sample_weight=WEIGHT)[0]
    expected = {
        "loss": nats,
        "accuracy": accuracy,
        "perplexity": math.exp(nats),
        "bits": nats / math.log(2),
        "cross_entropy": nats,
    }
    found = trainer.evaluate(X, STEPS, **data)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert history[name] == [pytest.approx(value, rel=1e-5)]
        assert found[name] == pytest.approx(value, rel=1e-5)
    everything = np.average(logits.argmax(-1) == STEPS, weights=np.ones((10, 7)) * WEIGHT[:, None])
    assert history["val_accuracy"] == [pytest.approx(everything, rel=1e-6)]
    assert set(history) == {*expected, *(f"val_{name}" for name in expected), "lr", "grad_norm", "seconds"}


def test_roots_are_taken_of_the_whole_mean():
    y = RNG.normal(size=(10, 7, 2))
    model = tagger(outputs=2)
    found = Trainer(model, "mse", metrics=["rmse", "mae"]).evaluate(X, y, batch_size=3, **QUIET)
    error = model(X)[0] - y
    assert found["rmse"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)


def test_metrics_of_ones_own_and_of_streams_and_in_logs():
    def largest(prediction, target):
        return prediction.max()

    class Seen(Callback):
        def __init__(self):
            self.logs = []

        def on_step_end(self, trainer, logs):
            self.logs.append(logs)

    seen = Seen()
    trainer = Trainer(tagger(), metrics=[largest, "accuracy"], callbacks=[seen])
    trainer.fit(LaneStream(X[0], 2, 2, STEPS[0]), **QUIET)
    assert trainer.measured == ("loss", "largest", "accuracy", "lr", "grad_norm", "seconds")
    assert all({"loss", "largest", "accuracy", "lr", "grad_norm", "mass", "penalty"} == set(logs) for logs in seen.logs)
    assert trainer.history["largest"] == [
        pytest.approx(np.average([logs["largest"] for logs in seen.logs], weights=[4, 2]))
    ]


def test_metrics_of_pooled_models():
    model = Sequential(GRU(3, 5, seed=1), LastStep(), Linear(5, 4, seed=2))
    y = RNG.integers(0, 4, 10)
    found = Trainer(model, metrics=["accuracy"]).evaluate(X, y, lengths=LENGTHS, batch_size=3, **QUIET)
    assert found["accuracy"] == pytest.approx((model(X, lengths=LENGTHS)[0].argmax(-1) == y).mean())


def test_metrics_do_not_change_training():
    one, other = tagger(), tagger()
    Trainer(one, seed=0).fit(X, STEPS, epochs=2, **QUIET)
    Trainer(other, seed=0, metrics=["accuracy"]).fit(X, STEPS, epochs=2, **QUIET)
    assert all(one.params[n].tobytes() == other.params[n].tobytes() for n in one.params)


def test_resumed_metrics(tmp_path):
    def own(prediction, target):
        return 1.0

    trainer = Trainer(tagger(), metrics=["accuracy"])
    trainer.fit(X, STEPS, **QUIET)
    trainer.save_checkpoint(tmp_path / "c")
    assert [m.name for m in Trainer.resume(tmp_path / "c").metrics] == ["accuracy"]
    with pytest.raises(ValueError, match="metrics: expected accuracy as in the checkpoint, found own"):
        Trainer.resume(tmp_path / "c", metrics=[own])
    trainer = Trainer(tagger(), metrics=["accuracy", own])
    trainer.save_checkpoint(tmp_path / "c")
    with pytest.raises(ValueError, match=r"metrics: expected those that .* accuracy, own; found None"):
        Trainer.resume(tmp_path / "c")
    assert [m.name for m in Trainer.resume(tmp_path / "c", metrics=["accuracy", own]).metrics] == ["accuracy", "own"]


@pytest.mark.parametrize(
    "given, message",
    [
        ("accuracy", "metrics: expected a sequence of names and functions, found 'accuracy'"),
        (["f1"], r"metrics\[0\]: expected one of accuracy, .* found 'f1'"),
        (["accuracy", 3], r"metrics\[1\]: expected a name or a function, found int"),
        (["mse", losses.mse], r"metrics\[1\]: expected a name of its own, found 'mse'"),
        (3, "metrics: expected a sequence, found 3"),
    ],
)
def test_bad_metrics_are_named(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Trainer(tagger(), metrics=given)

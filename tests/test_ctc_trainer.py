"""Training with the CTC loss: targets of any number of labels."""

import functools

import numpy as np
import pytest
from test_ctc import spoken

from fastrnn import GRU, Adam, LastStep, Linear, Sequential, Trainer, losses
from fastrnn.decoding import ctc_greedy


def network(batch_first=True):
    return Sequential(GRU(5, 24, seed=0), Linear(24, 5, seed=1), batch_first=batch_first)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_trainer_learns_to_transcribe(batch_first):
    rng = np.random.default_rng(0)
    xs, labels = spoken(600, rng)
    trainer = Trainer(network(batch_first), "ctc", Adam(0.02), seed=0)
    history = trainer.fit(xs, labels, epochs=4, validation_split=0.1, progress=False)
    assert history["val_loss"][-1] < 0.5 < history["val_loss"][0]
    xs, labels = spoken(50, rng)
    found = [ctc_greedy(y) for y in trainer.predict(xs, progress=False)]
    assert sum(np.array_equal(a, b) for a, b in zip(found, labels)) >= 45


def test_the_loss_is_the_mean_over_sequences_whatever_the_batches():
    xs, labels = spoken(13, np.random.default_rng(1))
    trainer, weight = Trainer(network(), "ctc"), np.arange(13) % 3
    each = [losses.ctc(y, target)[0] for y, target in zip(trainer.predict(xs, progress=False), labels)]
    for size in 5, 13:
        found = trainer.evaluate(xs, labels, batch_size=size, progress=False)["loss"]
        assert found == pytest.approx(np.mean(each), rel=1e-5)
        found = trainer.evaluate(xs, labels, sample_weight=weight, batch_size=size, progress=False)["loss"]
        assert found == pytest.approx(np.average(each, weights=weight), rel=1e-5)
    padded = np.zeros((13, 20, 5), "float32")
    for row, x in zip(padded, xs):
        row[: len(x)] = x
    found = trainer.evaluate(padded, labels, lengths=[len(x) for x in xs], progress=False)["loss"]
    assert found == pytest.approx(np.mean(each), rel=1e-5)
    other = Trainer(network(), functools.partial(losses.ctc, blank=4))
    assert other.evaluate(xs, [[k - 1 for k in target] for target in labels], progress=False)["loss"] > 0


@pytest.mark.parametrize(
    "options, arguments, message",
    [
        ({}, {"y": [[1]]}, "y: expected 2 entries, one for each sequence of X; found 1"),
        ({}, {"y": [[1], [1.5]]}, r"y\[1\]: expected the labels of X\[1\], ints of shape"),
        ({}, {"y": [[1], [[1]]]}, r"y\[1\]: expected the labels of X\[1\], ints of shape"),
        ({}, {"y": [[1], [0]]}, r"target: expected labels in 0 \.\. 4 other than the blank, 0; found 0 at \["),
        ({}, {"y": [[1], [2]], "class_weight": {1: 2.0}}, "class_weight: expected None"),
        ({"tbptt": 5}, {"y": [[1], [2]]}, "tbptt: expected None"),
        ({"model": Sequential(GRU(5, 3), LastStep())}, {"y": [[1], [2]]}, "loss: expected a model with an output"),
    ],
)
def test_bad_targets_are_named(options, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Trainer(**{"model": network(), "loss": "ctc", **options}).fit(
            [np.zeros((4, 5)), np.zeros((3, 5))], progress=False, **arguments)

"""Published recipes with the public names alone."""

import math
import re

import numpy as np
import pytest
from tolerances import tolerance

from fastrnn import LSTM, SGD, Dropout, Embedding, LaneStream, Linear, Sequential, Trainer
from fastrnn.schedules import ExponentialDecay

WORDS, HIDDEN, LANES, STEPS = 20, 24, 10, 20


def text(length, rng):
    """Words of which four in five follow from the one before; a perplexity of about 2.9 is what can be reached."""
    ids = [1]
    for _ in range(length - 1):
        ids.append((7 * ids[-1] + 3) % WORDS if rng.random() < 0.8 else int(rng.integers(WORDS)))
    return np.array(ids)


def zaremba(dropout=0.0, dtype="float32"):
    """The word-level model of Zaremba et al. (2014), small: everything uniform, a loss summed over the steps of a
    window and averaged over lanes, its gradient's norm clipped at 5, a rate of 1 for four epochs, then halved in each.
    """
    every = ("uniform", 0.1)
    both = {"weight": every, "bias": every}
    model = Sequential(
        Embedding(WORDS, HIDDEN, init=every, dtype=dtype, seed=1),
        Dropout(dropout, seed=2),
        LSTM(HIDDEN, HIDDEN, num_layers=2, dropout=dropout, dtype=dtype, seed=3,
             init={"scheme": "pytorch", "recurrent": every, "input": every, "bias": every}),
        Dropout(dropout, seed=4),
        Linear(HIDDEN, WORDS, init=both, dtype=dtype, seed=5),
    )
    return Trainer(
        model, "cross_entropy", SGD(1.0), reduction="batchmean", clip_norm=5.0, metrics=["perplexity"],
        schedule=ExponentialDecay(1.0, 0.5, hold=4), seed=0,
    )


def test_zarembas_words(capsys):
    rng = np.random.default_rng(0)
    train = LaneStream(text(16001, rng), LANES, STEPS)
    held_out = LaneStream(text(1601, rng), LANES, STEPS)
    trainer = zaremba(dropout=0.1)
    for name, p in trainer.model.params.items():
        assert 0.05 < np.abs(p).max() <= 0.1, name
    history = trainer.fit(train, epochs=8, validation_data=held_out, verbose=True)
    assert history["lr"] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    assert history["val_perplexity"][-1] < 3.3
    assert history["val_perplexity"] == pytest.approx([math.exp(loss) for loss in history["val_loss"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for k, line in enumerate(lines):
        found = re.fullmatch(r"epoch (\d)/8: loss ([\d.]+), perplexity ([\d.]+), val_loss ([\d.]+), "
                             r"val_perplexity ([\d.]+), lr ([\d.]+), [\d.]+ s", line)
        assert found and int(found[1]) == k + 1 and float(found[6]) == history["lr"][k]
        assert float(found[5]) == pytest.approx(history["val_perplexity"][k], rel=1e-3)


def test_zarembas_updates_are_those_of_the_paper():
    """Written out: sums of -log p over the steps of a window, a mean over lanes, state carried, clip, w -= lr g."""
    ids = text(10 * LANES * STEPS + 1, np.random.default_rng(1))
    stream = LaneStream(ids, LANES, STEPS)
    trainer, twin = zaremba(dtype="float64"), zaremba(dtype="float64")
    model = twin.model
    lanes = ids[: 10 * LANES * STEPS].reshape(LANES, -1), ids[1 : 10 * LANES * STEPS + 1].reshape(LANES, -1)
    trainer.fit(stream, epochs=6, progress=False)
    clipped = 0
    for epoch in range(6):
        state, rate = None, 0.5 ** max(0, epoch + 1 - 4)  # as the authors' program counts
        for start in range(0, 10 * STEPS, STEPS):
            x, y = (lane[:, start : start + STEPS] for lane in lanes)
            model.zero_grad()
            logits, state, tape = model.forward(x, state)
            p = np.exp(logits - logits.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            gradient = (p - np.eye(WORDS)[y]) / LANES
            model.backward(tape, gradient)
            norm = math.sqrt(sum(float(np.square(g).sum()) for g in model.grads.values()))
            clipped += norm > 5.0
            for name, weight in model.params.items():
                weight -= rate * min(1.0, 5.0 / (norm + 1e-6)) * model.grads[name]
    assert 0 < clipped < 60, "the clip acts in some updates, not in all"
    for name, p in model.params.items():
        np.testing.assert_allclose(trainer.model.params[name], p, rtol=0, atol=100 * tolerance("ten updates, float64"))

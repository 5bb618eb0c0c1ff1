"""Encoder-decoder networks through `Trainer`: they learn, stop and go on to the same bits, and sample on schedule."""

import functools
import math

import numpy as np
import pytest

import fastrnn
from fastrnn import Adam, Seq2Seq, Trainer, losses
from fastrnn.averaging import EMA
from fastrnn.callbacks import ScheduledSampling


def reversals(count, seed=0, longest=6):
    rng = np.random.default_rng(seed)
    X = [rng.integers(2, 10, rng.integers(1, longest + 1)) for _ in range(count)]
    return X, [x[::-1].copy() for x in X]


def network(**options):
    return Seq2Seq(10, 10, **{"embedding_dim": 16, "hidden_size": 32, "encoder_size": 16, "seed": 0, **options})


@pytest.mark.parametrize("options", [{}, {"attention": "general", "cell": "lstm"}])
def test_it_learns_to_reverse(options):
    X, y = reversals(1200)
    model = network(**options)
    trainer = Trainer(model, optimizer=Adam(0.01), clip_norm=1.0, metrics=["accuracy", "perplexity"], seed=0)
    history = trainer.fit(X, y, epochs=5, validation_split=0.1, progress=False)
    assert history["val_accuracy"][-1] > 0.9
    assert math.isclose(history["val_perplexity"][-1], math.exp(history["val_loss"][-1]), rel_tol=1e-9)
    found = model.generate(X[-100:], max_length=10)
    assert np.mean([np.array_equal(a, b) for a, b in zip(found, y[-100:])]) > 0.6


def test_the_loss_is_the_mean_over_all_ids_and_ends():
    X, y = reversals(50)
    model = network()
    logits = model(X, target=y)
    assert len(logits) == sum(map(len, y)) + len(y)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    trainer = Trainer(model, functools.partial(losses.cross_entropy, label_smoothing=0.1))
    for given, of_row in ((None, None), (weight, np.repeat(weight, [len(ids) + 1 for ids in y]))):
        expected, _ = losses.cross_entropy(logits, model.targets(y), label_smoothing=0.1, sample_weight=of_row)
        found = trainer.evaluate(X, y, sample_weight=given, batch_size=7, progress=False)["loss"]
        assert math.isclose(found, expected, rel_tol=1e-6)


def test_features_train_by_the_trainer():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype("float32")
    y = [np.where(x > 0, 2, 3) for x in X]
    model = Seq2Seq(3, 4, source="features", embedding_dim=8, hidden_size=16, attention=None, seed=0)
    trainer = Trainer(model, optimizer=Adam(0.02), metrics=["accuracy"], seed=0)
    assert trainer.fit(X, y, epochs=8, progress=False)["accuracy"][-1] > 0.9
    assert trainer.evaluate(list(X[:, None]), y, progress=False) == trainer.evaluate(X, y, progress=False)


class Interrupt(fastrnn.callbacks.Callback):
    def __init__(self, at):
        self.at = at

    def on_step_end(self, trainer, logs):
        if trainer.step == self.at:
            raise KeyboardInterrupt


def test_training_that_stops_goes_on_to_the_same_bits(tmp_path):
    X, y = reversals(200)
    options = {"epochs": 3, "batch_size": 16, "validation_split": 0.1, "progress": False}
    whole = Trainer(network(dropout=0.2), average=EMA(0.9), callbacks=[ScheduledSampling("linear", 20)], seed=3)
    whole.fit(X, y, **options)
    cut = Trainer(network(dropout=0.2), average=EMA(0.9), callbacks=[ScheduledSampling("linear", 20), Interrupt(15)],
                  seed=3)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(X, y, **options)
    cut.save_checkpoint(tmp_path / "c.ckpt")
    again = Trainer.resume(tmp_path / "c.ckpt", callbacks=[ScheduledSampling("linear", 20)])
    again.fit(X, y, **options)
    assert again.history["val_loss"] == whole.history["val_loss"] and again.model.sampling == whole.model.sampling > 0.9
    for name, p in whole.model.params.items():
        assert np.array_equal(again.model.params[name], p), name
    assert again.averaged_model().generate(X[:3], max_length=5)[0] is not None


def test_sampling_feeds_the_decoder_its_own_ids():
    X, y = reversals(30)
    model = network(attention="general")
    fed = []
    kept = model._parts["target_embedding"].forward
    model._parts["target_embedding"].forward = lambda ids: (fed.append(ids), kept(ids))[1]
    for sampling in (0.0, 0.5, 1.0):
        model.sampling = sampling
        model.set_rng(np.random.default_rng(0))
        model.forward(X, target=y)
    plain, half, own = fed
    starts = np.cumsum([0, *(len(ids) + 1 for ids in y[:-1])])
    assert (plain[starts] == model.bos).all() and (half[starts] == model.bos).all() and (own[starts] == model.bos).all()
    inner = np.setdiff1d(np.arange(len(plain)), starts)
    part = [np.mean(ids[inner] != plain[inner]) for ids in (half, own)]
    assert 0.3 < part[0] < 0.6 and part[1] > 0.75  # a tenth of what is drawn is right by chance


def test_what_is_drawn_follows_the_prediction():
    model = network()
    model.params["output.weight"][...] = 0
    model.params["output.bias"][...] = np.where(np.arange(10) == 7, 50, 0)
    model.sampling = 1.0
    X, y = reversals(5)
    counts = np.array([len(ids) + 1 for ids in y])
    memory, state, _ = model._encode(*model._checked_source(X, None), False)
    ids = model._sampled(model._inputs(y), counts, memory, state)
    starts = np.cumsum(counts) - counts
    assert (ids[starts] == 0).all() and (np.delete(ids, starts) == 7).all()


def test_sampling_reads_every_layer_of_the_state():
    """Where the likeliest id is all but certain, what is drawn is what greedy decoding gives."""
    model = network(num_layers=2)
    model.params["output.weight"] *= 1e4
    model.sampling = 1.0
    X, _ = reversals(12)
    greedy = model.generate(X, max_length=6)
    counts = np.full(len(X), 7)
    memory, state, _ = model._encode(*model._checked_source(X, None), False)
    ids = model._sampled(np.full(7 * len(X), model.bos), counts, memory, state).reshape(-1, 7)
    for row, labels in zip(ids, greedy):
        assert row[1 : len(labels) + 1].tolist() == list(labels)
    assert sum(map(len, greedy)) > 12


def test_memory_is_estimated_before_a_fit():
    X, y = reversals(8)
    trainer = Trainer(network())
    assert trainer.memory_estimate(X, y) > trainer.memory_estimate(X[:2], y[:2]) > 0
    with pytest.raises(TypeError, match="to estimate memory, give y"):
        trainer.memory_estimate(X)


def test_the_schedules():
    for kind, at_k in (("linear", 0.0), ("exponential", math.exp(-1)), ("inverse_sigmoid", 100 / (100 + math.e))):
        schedule = ScheduledSampling(kind, 100)
        values = [schedule.fed(i) for i in range(0, 2000, 10)]
        assert values == sorted(values, reverse=True) and 0.99 <= values[0] <= 1
        assert math.isclose(schedule.fed(100), at_k, abs_tol=1e-12)
        assert ScheduledSampling(kind, 100, floor=0.25).fed(10**6) == 0.25
    with pytest.raises(ValueError, match="callbacks: expected a model with a decoder"):
        ScheduledSampling().check(Trainer(fastrnn.Linear(1, 1), "mse"))


def test_errors_before_anything_changes():
    X, y = reversals(8)
    trainer = Trainer(network())
    for X_, y_, message in [
        (X, [ids + 5 for ids in y], "y\\[0\\]: expected ints in 0 .. 9"),
        ([x + 9 for x in X], y, "X\\[0\\]: expected ints in 0 .. 9"),
        ([x * 1.0 for x in X], y, "X: expected sequences of ids"),
        (X, y[:3], "y: expected 8 entries"),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.fit(X_, y_, progress=False)
    with pytest.raises(TypeError, match="use its translate"):
        trainer.predict(X)
    with pytest.raises(TypeError, match="found a LaneStream"):
        trainer.fit(fastrnn.LaneStream(np.arange(20) % 9, 2, 3))
    assert trainer.step == 0

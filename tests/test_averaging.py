"""Averages of the parameters: their formulas, what they are used for, and that they are kept."""

import numpy as np
import pytest

from fastrnn import LSTM, Dropout, Linear, Sequential, Trainer
from fastrnn.averaging import EMA, SWA
from fastrnn.callbacks import Callback, EarlyStopping

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 7, 3)).astype(np.float32)
STEPS = RNG.integers(0, 4, (10, 7))
QUIET = {"progress": False}


def tagger():
    return Sequential(LSTM(3, 5, seed=1), Dropout(0.2), Linear(5, 4, seed=2))


class Record(Callback):
    """The parameters after every update, and the epoch each is of."""

    def __init__(self):
        self.params, self.epochs = [], []

    def on_step_end(self, trainer, logs):
        self.params.append(trainer.model.state_dict())
        self.epochs.append(trainer.epoch)


def trained(average, epochs=3):
    record = Record()
    trainer = Trainer(tagger(), "cross_entropy", "adam", average=average, callbacks=[record], seed=0)
    history = trainer.fit(X, STEPS, epochs=epochs, batch_size=3, validation_split=0.2, **QUIET)
    return trainer, history, record


@pytest.mark.parametrize("warmup", [True, False])
def test_ema_is_its_formula(warmup):
    trainer, _, record = trained(EMA(0.9, warmup))
    for name in trainer.model.params:
        expected = record.params[0][name].astype(np.float64)
        for t, params in enumerate(record.params[1:], start=1):
            d = min(0.9, (1 + t) / (10 + t)) if warmup else 0.9
            expected = d * expected + (1 - d) * params[name]
        np.testing.assert_allclose(trainer.average.params[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("every, start", [("epoch", 0), ("epoch", 1), ("step", 0), ("step", 2)])
def test_swa_is_the_plain_mean(every, start):
    trainer, _, record = trained(SWA(start, every), epochs=4)
    ends = [k for k in range(len(record.epochs)) if [*record.epochs, 9][k + 1] != record.epochs[k]]
    chosen = [k for k, epoch in enumerate(record.epochs) if epoch >= start and (every == "step" or k in ends)]
    assert trainer.average.updates == len(chosen)
    for name, average in trainer.average.params.items():
        expected = np.mean([record.params[k][name].astype(np.float64) for k in chosen], axis=0)
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)


def test_the_average_is_what_is_evaluated_and_the_model_what_is_trained():
    plain, _, _ = trained(None)
    trainer, history, _record = trained(EMA(0.9))
    for name, value in plain.model.params.items():
        assert value.tobytes() == trainer.model.params[name].tobytes(), "training goes on as without"
    averaged = trainer.averaged_model()
    assert (
        averaged is not trainer.model
        and averaged.params["0.weight_hh_l0"] is not trainer.model.params["0.weight_hh_l0"]
    )
    for name, value in averaged.params.items():
        np.testing.assert_array_equal(value, trainer.average.params[name])
    expected = Trainer(averaged).evaluate(X[8:], STEPS[8:], **QUIET)["loss"]
    assert expected == trainer.evaluate(X[8:], STEPS[8:], **QUIET)["loss"] == history["val_loss"][-1]
    assert expected != plain.history["val_loss"][-1]
    np.testing.assert_array_equal(trainer.predict(X, **QUIET), averaged(X)[0])


def test_without_an_average_yet_the_model_stands():
    trainer = Trainer(tagger(), average=SWA(start=5), seed=0)
    trainer.fit(X, STEPS, epochs=1, **QUIET)
    np.testing.assert_array_equal(trainer.predict(X, **QUIET), trainer.model(X)[0])
    assert trainer.averaged_model().params["2.bias"].tobytes() == trainer.model.params["2.bias"].tobytes()


@pytest.mark.parametrize("make", [lambda: EMA(0.9), lambda: SWA(1), lambda: SWA(1, "step")])
def test_an_average_is_resumed_exactly(make, tmp_path):
    class Save(Callback):
        last = True
        paths = ()

        def on_step_end(self, trainer, logs):
            self.paths = (*self.paths, tmp_path / str(trainer.step))
            trainer.save_checkpoint(self.paths[-1])

    save, arguments = Save(), {"epochs": 3, "batch_size": 4, "validation_split": 0.2, **QUIET}
    trainer = Trainer(tagger(), average=make(), callbacks=[save], seed=0)
    trainer.fit(X, STEPS, **arguments)
    assert len(save.paths) == 6
    for path in save.paths:
        resumed = Trainer.resume(path)
        assert type(resumed.average) is type(trainer.average)
        assert resumed.fit(X, STEPS, **arguments)["val_loss"] == trainer.history["val_loss"]
        assert resumed.average.updates == trainer.average.updates
        for name, value in trainer.average.params.items():
            assert value.tobytes() == resumed.average.params[name].tobytes()


def test_an_interrupt_of_the_validation_counts_an_epoch_once(tmp_path):
    """The position kept is that before the validation, the average that after the epoch."""
    arguments = {"epochs": 2, "validation_split": 0.2, **QUIET}
    whole = Trainer(tagger(), average=SWA(), seed=0)
    whole.fit(X, STEPS, **arguments)
    stopped = Trainer(tagger(), average=SWA(), seed=0)
    stopped._evaluation = None  # validation fails, as an interrupt would
    with pytest.raises(TypeError):
        stopped.fit(X, STEPS, **arguments)
    assert stopped.average.updates == 1 and stopped.epoch == 0
    stopped.save_checkpoint(tmp_path / "c")
    resumed = Trainer.resume(tmp_path / "c")
    resumed.fit(X, STEPS, **arguments)
    assert resumed.average.updates == 2
    assert resumed.history["val_loss"] == whole.history["val_loss"]


def test_early_stopping_brings_back_the_average_of_the_best_epoch():
    class Worse(Callback):
        def on_epoch_end(self, trainer, logs):
            logs["val_loss"] = {1: 3.0, 2: 2.0}.get(trainer.epoch, 100.0)
            self.at = {
                **getattr(self, "at", {}),
                trainer.epoch: {n: a.copy() for n, a in trainer.average.params.items()},
            }

    worse, stopping = Worse(), EarlyStopping(patience=2)
    trainer = Trainer(tagger(), average=EMA(0.9), callbacks=[worse, stopping], seed=0)
    trainer.fit(X, STEPS, epochs=20, validation_split=0.2, **QUIET)
    assert trainer.epoch == stopping.best_epoch + 2 == 4
    for name, value in worse.at[2].items():
        np.testing.assert_array_equal(trainer.average.params[name], value)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: EMA(1.0), "decay: expected"),
        (lambda: EMA(0.9, 3), "warmup: expected True or False"),
        (lambda: SWA(-1), "start: expected an int of at least 0"),
        (lambda: SWA(0, "batch"), "every: expected one of 'epoch', 'step'"),
        (lambda: Trainer(tagger(), average=0.9), "average: expected one of fastrnn.averaging or None, found float"),
        (lambda: EMA(0.9).load_state_dict(SWA().state_dict()), "state: expected keys type, hyper, updates, params"),
    ],
)
def test_bad_averages_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()

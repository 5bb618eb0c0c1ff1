"""Callbacks: stopping early, checkpoints, logs, the rate, numbers that are not finite; and what a checkpoint keeps."""

import csv
import os
import signal
import warnings

import numpy as np
import pytest

from fastrnn import LSTM, SGD, Adam, Dropout, Linear, NonFiniteError, Sequential, Trainer
from fastrnn.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TerminateOnNonFinite,
)
from fastrnn.files.checkpoint import CheckpointSeries, read_checkpoint
from fastrnn.schedules import ReduceOnPlateau, StepDecay, WarmUp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 7, 3)).astype(np.float32)
STEPS = RNG.integers(0, 4, (10, 7))
QUIET = {"progress": False}


def tagger():
    return Sequential(LSTM(3, 5, seed=1), Dropout(0.2), Linear(5, 4, seed=2))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), name


class Scripted(Callback):
    """Gives each epoch the next of these validation losses; keeps the parameters of each."""

    def __init__(self, values):
        self.values, self.params = values, {}

    def on_epoch_end(self, trainer, logs):
        logs["val_loss"] = self.values[trainer.epoch - 1]
        self.params[trainer.epoch] = trainer.model.state_dict()


def fit(*callbacks, epochs=8, trainer=None, **options):
    trainer = trainer or Trainer(tagger(), optimizer=Adam(0.02), callbacks=callbacks, seed=0, **options)
    trainer.fit(X, STEPS, epochs=epochs, batch_size=4, validation_split=0.2, **QUIET)
    return trainer


def files(directory):
    return sorted(path.name for path in directory.iterdir())


# EarlyStopping


@pytest.mark.parametrize(
    "values, options, best, last",
    [
        ([5, 4, 3, 3.5, 3.2, 2, 2, 2], {"patience": 2}, 3, 5),
        ([5, 4, 3, 3.5, 3.2, 2, 2, 2], {"patience": 3}, 6, 8),
        ([5, 4, 3, 3.5, 3.2, 2, 2, 2], {"patience": 1}, 3, 4),
        ([5, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3], {"patience": 2, "min_delta": 0.15}, 7, 8),
        ([5, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3], {"patience": 2, "min_delta": 2}, 1, 3),
        ([1, 2, 3, 1, 1, 9, 9, 9], {"patience": 2, "mode": "max"}, 3, 5),
        ([np.nan, 2, np.nan, np.nan, 1, 1, 1, 1], {"patience": 2}, 2, 4),
    ],
)
def test_early_stopping_counts_epochs_and_restores_the_best(values, options, best, last):
    scripted, stopping = Scripted(values), EarlyStopping(**options)
    trainer = fit(scripted, stopping)
    assert (trainer.epoch, stopping.best_epoch, stopping.best) == (last, best, values[best - 1])
    assert stopping.stopped == (last < 8 or (values[last - 1] != values[best - 1] and last - best >= stopping.patience))
    assert trainer.completed
    assert_same(trainer.model.params, scripted.params[best])


def test_early_stopping_may_leave_the_last():
    scripted = Scripted([1, 2, 3, 4, 5, 6, 7, 8])
    trainer = fit(scripted, EarlyStopping(patience=2, restore_best=False))
    assert trainer.epoch == 3
    assert_same(trainer.model.params, scripted.params[3])


def test_accuracy_is_better_the_higher_it_is():
    stopping = EarlyStopping("val_accuracy", patience=3)
    trainer = fit(stopping, metrics=["accuracy"])
    assert stopping.best == max(trainer.history["val_accuracy"])


def rising(name):
    """A metric of this name that is higher at each call."""
    calls = iter(range(1, 10**6))

    def score(prediction, target, **_):
        return next(calls) / 100

    score.__name__ = name
    return score


@pytest.mark.parametrize("name", ["f1", "auc", "r2", "F1Score", "top5_accuracy", "bleu"])
def test_a_score_that_rises_does_not_end_the_fit(name, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "run", best_only=True, monitor="val_" + name, keep=1)
    stopping = EarlyStopping("val_" + name, patience=2)
    trainer = fit(stopping, checkpoint, epochs=5, metrics=[rising(name)])
    assert trainer.epoch == stopping.best_epoch == 5 and checkpoint.best == stopping.best == max(
        trainer.history["val_" + name])
    assert files(tmp_path) == ["run.000000010.ckpt"]


@pytest.mark.parametrize("name", ["wer", "MeanSquaredError", "bits_per_character"])
def test_an_error_that_rises_ends_the_fit(name):
    assert fit(EarlyStopping("val_" + name, patience=2), metrics=[rising(name)]).epoch == 3


@pytest.mark.parametrize("name", ["score", "val_score", "lr", "grad_norm", "seconds", "<lambda>", "", "inaccuracy"])
@pytest.mark.parametrize("make", [
    EarlyStopping,
    lambda monitor, **options: ModelCheckpoint("run", best_only=True, monitor=monitor, **options),
    lambda monitor, **options: ReduceOnPlateau(0.1, monitor=monitor, **options),
])  # fmt: skip
def test_a_name_that_does_not_tell_what_is_better_is_refused(make, name):
    for options in {}, {"mode": "auto"}:
        with pytest.raises(ValueError, match=r"monitor: expected mode='min' or mode='max' with it, .*; found '"):
            make(name, **options)
    assert make(name, mode="max").mode == "max"


@pytest.mark.parametrize("monitor, rates", [("val_auc", [0.1] * 5), ("val_mae", [0.1, 0.1, 0.01, 0.001, 0.0001])])
def test_a_schedule_sees_the_figure_that_it_monitors(monitor, rates):
    schedule = ReduceOnPlateau(0.1, patience=0, monitor=monitor)
    trainer = fit(epochs=5, schedule=schedule, metrics=[rising(monitor[4:])])
    assert trainer.history["lr"] == pytest.approx(rates) and schedule.best in trainer.history[monitor]


def test_a_schedule_sees_a_figure_of_each_update():
    schedule = WarmUp(ReduceOnPlateau(0.1, patience=0, per="batch", monitor="wer"), 3)
    trainer = fit(epochs=4, schedule=schedule, metrics=[rising("wer")])
    assert schedule.after.best == 0.05  # the fourth update's, after a validation's; three warm up
    assert trainer.optimizer.lr == pytest.approx(0.1 * 0.1**4)


@pytest.mark.parametrize("schedule, message", [
    (ReduceOnPlateau(0.1, monitor="val_f1"), "monitor one of the figures of each epoch, loss, .*; found 'val_f1'"),
    (ReduceOnPlateau(0.1, monitor="val_loss", per="batch"), "figures of each batch, loss; found 'val_loss'"),
    (WarmUp(ReduceOnPlateau(0.1, monitor="f1"), 3), "figures of each epoch, .*; found 'f1'"),
    (ReduceOnPlateau(0.1, mode="max"), "monitor with mode='max', the name of a figure, .*; found None"),
])  # fmt: skip
def test_a_figure_that_a_schedule_cannot_have_is_named_before_anything_changes(schedule, message):
    trainer = Trainer(tagger(), schedule=schedule)
    with pytest.raises(ValueError, match="schedule: expected.* " + message):
        fit(trainer=trainer)
    assert trainer.step == 0 and trainer.history == {}


def test_a_checkpoint_keeps_what_a_schedule_monitors_and_an_older_one_has_nothing():
    trainer = fit(epochs=2, schedule=ReduceOnPlateau(0.1, monitor="val_accuracy"), metrics=["accuracy"])
    state = trainer.state_dict()
    again = Trainer.from_state(state).schedule
    assert (again.monitor, again.mode, again.best) == ("val_accuracy", "auto", trainer.schedule.best)
    del state["schedule"]["config"]["monitor"]
    assert Trainer.from_state(state).schedule.monitor is None


def test_a_new_fit_begins_the_count_anew():
    stopping = EarlyStopping(patience=1)
    trainer = fit(Scripted([1, 2, 3, 4, 5, 6]), stopping)
    assert trainer.epoch == 2
    fit(trainer=trainer, epochs=3)
    assert trainer.epoch == 4 and stopping.best_epoch == 3


@pytest.mark.parametrize("epoch", range(1, 6))
def test_early_stopping_is_resumed_exactly(epoch, tmp_path):
    values = [5, 4, 3, 3.5, 3.2, 2, 2, 2]

    class Save(Callback):
        last = True

        def on_epoch_end(self, trainer, logs):
            trainer.save_checkpoint(tmp_path / str(trainer.epoch))

    whole = fit(Scripted(values), EarlyStopping(patience=2), Save())
    stopping = EarlyStopping(patience=2)
    resumed = Trainer.resume(tmp_path / str(epoch), callbacks=[Scripted(values), stopping])
    fit(trainer=resumed)
    assert (resumed.epoch, stopping.best_epoch, stopping.stopped) == (5, 3, True)
    assert_same(resumed.model.params, whole.model.params)
    assert resumed.history["loss"] == whole.history["loss"]


def test_an_interrupted_fit_is_not_brought_back_to_the_best():
    class Interrupt(Callback):
        def on_epoch_end(self, trainer, logs):
            if trainer.epoch == 3:
                self.params = trainer.model.state_dict()
                raise KeyboardInterrupt

    interrupt = Interrupt()
    trainer = Trainer(tagger(), callbacks=[Scripted([1, 2, 3]), EarlyStopping(), interrupt], seed=0)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer=trainer)
    assert not trainer.completed
    assert_same(trainer.model.params, interrupt.params)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: EarlyStopping(3), "monitor: expected the name of a figure, found int"),
        (lambda: EarlyStopping(patience=0), "patience: expected an int of at least 1"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta: expected"),
        (lambda: EarlyStopping(mode="up"), "mode: expected one of"),
        (lambda: EarlyStopping(restore_best="yes"), "restore_best: expected True or False"),
        (lambda: ModelCheckpoint("a", keep=0), "keep: expected an int of at least 1"),
        (lambda: ModelCheckpoint("a", every_steps=0), "every_steps: expected"),
        (lambda: ModelCheckpoint("a", every_seconds=-1), "every_seconds: expected"),
        (lambda: ModelCheckpoint("a", best_only=True, every_steps=3), "best_only: expected every_epochs alone"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(
    "make", [lambda p: EarlyStopping("val_f1"), lambda p: ModelCheckpoint(p, best_only=True, monitor="val_f1")]
)
def test_a_figure_that_is_not_measured_is_named_before_anything_changes(make, tmp_path):
    trainer = Trainer(tagger(), callbacks=[make(tmp_path / "a")])
    with pytest.raises(
        ValueError, match=r"monitor: expected one of this fit's figures, loss, val_loss, .* found 'val_f1'"
    ):
        fit(trainer=trainer)
    assert trainer.step == 0 and trainer.history == {} and files(tmp_path) == []


# ModelCheckpoint


@pytest.mark.parametrize(
    "options, steps",
    [
        ({}, [6, 8]),
        ({"keep": 3, "every_epochs": 2}, [4, 8]),
        ({"keep": 3, "every_epochs": None, "every_steps": 3}, [3, 6]),
        ({"keep": 1, "every_steps": 1}, [8]),
        ({"keep": 99, "every_steps": 3}, [2, 3, 4, 6, 8]),
        ({"keep": 99, "every_epochs": None, "every_seconds": 0}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_checkpoints_come_when_they_should_and_the_newest_stay(options, steps, tmp_path):
    fit(ModelCheckpoint(tmp_path / "new" / "run", **options), epochs=4)
    assert files(tmp_path / "new") == [f"run.{step:09d}.ckpt" for step in steps]


def test_the_best_only(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "run", best_only=True, keep=2)
    scripted = Scripted([5, 6, 4, 4.5, 3, 7, 8, 3])
    fit(scripted, checkpoint)
    assert files(tmp_path) == ["run.000000006.ckpt", "run.000000010.ckpt"] and checkpoint.best == 3
    again = ModelCheckpoint(tmp_path / "run", best_only=True)
    resumed = Trainer.resume_newest(tmp_path / "run", callbacks=[again])
    assert resumed.epoch == 5 and again.best == 3
    assert_same(resumed.model.params, scripted.params[5])


def test_a_new_trainer_replaces_an_older_run(tmp_path):
    fit(ModelCheckpoint(tmp_path / "run", keep=9))
    (tmp_path / "other.000000099.ckpt").write_text("")
    (tmp_path / ".run.000000004.ckpt.99999.tmp").write_text("")
    fit(ModelCheckpoint(tmp_path / "run", keep=9), epochs=2)
    assert files(tmp_path) == ["other.000000099.ckpt", "run.000000002.ckpt", "run.000000004.ckpt"]


def test_resume_newest_starts_or_goes_on(tmp_path):
    def run(epochs):
        callbacks = [ModelCheckpoint(tmp_path / "run")]
        trainer = Trainer.resume_newest(tmp_path / "run", callbacks=callbacks)
        return fit(trainer=trainer, epochs=epochs) if trainer else fit(*callbacks, epochs=epochs)

    assert Trainer.resume_newest(tmp_path / "run") is None
    run(2)
    assert run(5).epoch == 5
    assert_same(run(5).model.params, fit(epochs=5).model.params)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
@pytest.mark.parametrize("keep", [2, 3])
def test_a_damaged_newest_file_is_passed_over_with_a_warning(damage, keep, tmp_path):
    whole = fit()
    fit(ModelCheckpoint(tmp_path / "run", keep=keep), epochs=5)
    newest, before = sorted(tmp_path.iterdir())[::-1][:2]
    data = bytearray(newest.read_bytes())
    if damage == "flipped":
        data[-5] ^= 1
    newest.write_bytes({"cut": data[:-1000], "empty": b"", "flipped": bytes(data), "other": b"x" * 99}[damage])
    with pytest.warns(RuntimeWarning, match=rf"skipped: .*{newest.name}: .*; {before.name}, the one before, is whole"):
        resumed = Trainer.resume_newest(tmp_path / "run", callbacks=[ModelCheckpoint(tmp_path / "run", keep=1)])
    assert resumed.epoch == 4
    fit(trainer=resumed)
    assert_same(resumed.model.params, whole.model.params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Trainer.resume_newest(tmp_path / "run").epoch == 8


def test_a_damaged_file_with_a_higher_number_goes_once_another_is_whole(tmp_path):
    series = CheckpointSeries(tmp_path / "run", keep=1)
    (tmp_path / "run.000000009.ckpt").write_text("damaged")
    series.write(5, {"a": 1})
    assert files(tmp_path) == ["run.000000005.ckpt"]


def test_nothing_whole_is_an_error(tmp_path):
    fit(ModelCheckpoint(tmp_path / "run"), epochs=2)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:500])
    with (
        pytest.warns(RuntimeWarning, match=r"skipped: .*run\.000000004\.ckpt: expected a fastrnn checkpoint"),
        pytest.raises(ValueError, match=r"run\.000000002\.ckpt: expected a fastrnn checkpoint"),
    ):
        Trainer.resume_newest(tmp_path / "run")


def test_an_interrupt_writes_a_checkpoint(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:

        class Interrupt(Callback):
            def on_gradient(self, trainer):
                if trainer.step == 4:
                    os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fit(ModelCheckpoint(tmp_path / "run"), Interrupt())
    finally:
        signal.signal(signal.SIGINT, before)
    resumed = fit(trainer=Trainer.resume_newest(tmp_path / "run"))
    assert_same(resumed.model.params, fit().model.params)


def test_every_callbacks_state_is_in_the_checkpoint(tmp_path):
    callbacks = [
        EarlyStopping(),
        CSVLogger(tmp_path / "log.csv"),
        LearningRateMonitor(),
        ModelCheckpoint(tmp_path / "run"),
    ]
    fit(*callbacks, epochs=3)
    saved = {c["type"]: c["state"] for c in read_checkpoint(tmp_path / "run.000000006.ckpt")["callbacks"]}
    assert set(saved) == {"EarlyStopping", "CSVLogger", "LearningRateMonitor", "ModelCheckpoint"}
    assert saved["EarlyStopping"]["best"] == callbacks[0].best and len(saved["CSVLogger"]["rows"]) == 3


# CSVLogger


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_has_a_row_for_each_epoch(tmp_path):
    trainer = fit(CSVLogger(tmp_path / "log.csv"), epochs=3, metrics=["accuracy"])
    found = rows(tmp_path / "log.csv")
    assert list(found[0]) == ["epoch", *trainer.measured]
    for k, row in enumerate(found):
        assert row.pop("epoch") == str(k + 1)
        assert {name: float(value) for name, value in row.items()} == {name: trainer.history[name][k] for name in row}
    fit(trainer=trainer, epochs=2)
    assert [row["epoch"] for row in rows(tmp_path / "log.csv")] == list("12345")


def test_a_csv_holds_each_epoch_once_after_a_resumption(tmp_path):
    fit(CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path / "run", keep=9), epochs=4)
    whole = rows(tmp_path / "log.csv")
    resumed = Trainer.resume(tmp_path / "run.000000004.ckpt", callbacks=[CSVLogger(tmp_path / "log.csv")])
    fit(trainer=resumed, epochs=4)
    found = rows(tmp_path / "log.csv")
    for row in (*found, *whole):
        del row["seconds"]
    assert found == whole
    with pytest.raises(OSError, match=r"nowhere.* cannot be written"):
        fit(CSVLogger(tmp_path / "nowhere" / "log.csv"))


# LearningRateMonitor


def test_the_rate_of_every_update_is_known(tmp_path):
    monitor = LearningRateMonitor()
    assert np.isnan(monitor.rate_at(1))
    fit(monitor, ModelCheckpoint(tmp_path / "run"), epochs=4, schedule=StepDecay(0.1, every=3, gamma=0.5, per="batch"))
    np.testing.assert_array_equal(monitor.steps, [1, 4, 7])
    np.testing.assert_allclose(monitor.rates, [0.1, 0.05, 0.025])
    assert [monitor.rate_at(k) for k in (1, 3, 4, 8)] == [0.1, 0.1, 0.05, 0.025]
    again = LearningRateMonitor()
    Trainer.resume_newest(tmp_path / "run", callbacks=[again])
    np.testing.assert_array_equal(again.steps, monitor.steps)


# TerminateOnNonFinite


class Spoil(Callback):
    def __init__(self, step):
        self.step, self.params = step, None

    def on_gradient(self, trainer):
        if trainer.step == self.step:
            self.params = trainer.model.state_dict()
            trainer.model.grads["2.bias"][0] = np.nan


def test_a_number_that_is_not_finite_ends_the_fit_quietly():
    spoil = Spoil(5)
    trainer = Trainer(tagger(), optimizer=SGD(0.1), callbacks=[spoil, TerminateOnNonFinite()], seed=0)
    with pytest.warns(RuntimeWarning, match=r"training ends early: epoch 3, step 6 .* the gradient of 2\.bias"):
        fit(trainer=trainer)
    assert (trainer.step, trainer.epoch, trainer.completed) == (5, 2, True)
    assert_same(trainer.model.params, spoil.params)
    spoil.step = None
    fit(trainer=trainer, epochs=1)
    assert trainer.epoch == 3, "the next fit is one of its own"
    with pytest.raises(NonFiniteError):
        fit(Spoil(3))


def test_the_best_comes_back_after_a_number_that_is_not_finite():
    scripted = Scripted([1, 2, 3])
    with pytest.warns(RuntimeWarning, match="training ends early"):
        trainer = fit(scripted, EarlyStopping(), Spoil(5), TerminateOnNonFinite())
    assert_same(trainer.model.params, scripted.params[1])


def test_a_figure_that_is_not_finite_ends_the_fit():
    with pytest.warns(RuntimeWarning, match="training ends early: epoch 2: val_loss is nan"):
        trainer = fit(Scripted([1, np.nan, 1]), TerminateOnNonFinite())
    assert trainer.epoch == 2 and trainer.completed


# another machine


def test_another_number_of_threads_is_told(tmp_path):
    import fastrnn

    trainer = fit(epochs=1)
    trainer.save_checkpoint(tmp_path / "c")
    threads = fastrnn.get_num_threads()
    try:
        fastrnn.set_num_threads(threads + 1)
        with pytest.warns(RuntimeWarning, match=f"not to the last bit .*: threads {threads + 1}, then {threads}"):
            Trainer.resume(tmp_path / "c")
    finally:
        fastrnn.set_num_threads(threads)

"""Diagnostics during training: the training is not touched, the records are right, and checkpoints keep them."""

import numpy as np
import pytest

from fastrnn import LSTM, SGD, Dropout, LastStep, Linear, NonFiniteError, Sequential, Trainer, callbacks
from fastrnn.diagnostics import GradientMonitor, diagnose

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 12, 3)).astype("float32")
Y = X.sum(axis=(1, 2))[:, None]
PER_STEP = X.cumsum(axis=1)[..., :1]


def network():
    return Sequential(LSTM(3, 8, 2, dropout=0.3, seed=0), Dropout(0.2, seed=4), LastStep(), Linear(8, 1, seed=1))


def monitor(**options):
    return GradientMonitor(X[:8], Y[:8], **{"every": 3, "show": False, **options})


def fitted(hooks, epochs=2, **options):
    trainer = Trainer(network(), "mse", "adam", seed=5, callbacks=hooks, clip_norm=0.5, **options)
    trainer.fit(X, Y, epochs=epochs, batch_size=8, validation_split=0.2, progress=False)
    return trainer


def test_training_is_the_same_to_the_last_bit():
    watched, plain = fitted([monitor(every=1)]), fitted([])
    for name, p in plain.model.params.items():
        assert np.array_equal(p, watched.model.params[name]), name
    for name in "loss", "val_loss", "grad_norm":
        assert watched.history[name] == plain.history[name]
    assert watched.rng.bit_generator.state == plain.rng.bit_generator.state
    assert all(np.array_equal(g, watched.model.grads[name]) for name, g in plain.model.grads.items())


def test_training_in_windows_is_the_same_too():
    found = []
    for hooks in [], [GradientMonitor(X[:8], PER_STEP[:8], every=2, show=False)]:
        model = Sequential(LSTM(3, 8, seed=0), Linear(8, 1, seed=1))
        trainer = Trainer(model, "mse", seed=5, tbptt=(4, 6), callbacks=hooks)
        trainer.fit(X, PER_STEP, epochs=2, batch_size=8, progress=False)
        found.append(trainer)
    assert all(np.array_equal(p, found[1].model.params[name]) for name, p in found[0].model.params.items())
    (hook,) = found[1].callbacks
    assert len(hook.records) == 1 + found[1].step // 2
    assert len(hook.records[-1].layers[0].decay.norms) == 12  # the probe is not cut into windows


def test_records():
    hook = monitor()
    trainer = fitted([hook])
    assert trainer.step == 8
    assert [record.step for record in hook.records] == [0, 3, 6]
    assert all(record.weights["0.l0"].update is None for record in hook.records[:1])
    assert all(record.weights["3"].update > 0 for record in hook.records[1:])
    expected = diagnose(network(), X[:8], Y[:8], loss="mse")
    assert np.allclose(hook.records[0].layers[1].decay.norms, expected.layers[1].decay.norms, rtol=0.5)
    text = str(hook)
    assert "0.l1" in text and len(text.splitlines()) == 1 + 2 * 3
    assert hook.findings == hook.records[-1].findings


def test_the_update_is_the_one_that_was_made():
    """Plain gradient descent moves by the rate times the gradient."""
    hook = monitor(every=2)
    norms = {}

    class Keep(callbacks.Callback):
        def on_gradient(self, trainer):
            norms[trainer.step + 1] = float(np.linalg.norm(trainer.model.grads["3.weight"]))
            trainer.model.grads["3.bias"][...] = 0

    model = network()
    Trainer(model, "mse", SGD(0.01), seed=5, callbacks=[Keep(), hook]).fit(X, Y, batch_size=8, progress=False)
    for record in hook.records[1:]:
        found = record.weights["3"]
        assert np.isclose(found.update * found.norm, 0.01 * norms[record.step], rtol=1e-3)


def test_a_change_of_the_verdict_is_shown_once(capsys):
    fitted([monitor(every=1, show=True)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 0: ")
    assert all(line.startswith("step ") for line in lines) and len(lines) < 9
    fitted([monitor(every=1)])
    assert not capsys.readouterr().err


def test_checkpoints_keep_the_records(tmp_path):
    whole = monitor()
    fitted([whole], epochs=3)
    first = monitor()
    trainer = fitted([first], epochs=2)
    trainer.save_checkpoint(tmp_path / "c")
    second = monitor()
    resumed = Trainer.resume(tmp_path / "c", callbacks=[second])
    assert [str(record) for record in second.records] == [str(record) for record in first.records]
    resumed.fit(X, Y, epochs=1, batch_size=8, validation_split=0.2, progress=False)
    assert resumed.step == 12
    after = {record.step: str(record) for record in second.records}
    assert {0, 3, 6, 8, 9, 12} == set(after)
    assert all(after[record.step] == str(record) for record in whole.records)


def test_an_update_that_fails_leaves_nothing_behind():
    hook = monitor(every=1)
    model = network()
    trainer = Trainer(model, "mse", seed=5, callbacks=[hook])
    bad = X.copy()
    bad[:] = np.nan
    with pytest.raises(NonFiniteError):
        trainer.fit(bad, Y, progress=False)
    assert hook._before is None and len(hook.records) == 1
    trainer.fit(X, Y, batch_size=8, progress=False)
    assert [record.step for record in hook.records] == [0, 1, 2, 3, 4, 5]


def test_a_picture_is_drawn_at_every_look(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "live.png"
    times = []

    class See(callbacks.Callback):
        last = True

        def on_step_end(self, trainer, logs):
            times.append(path.stat().st_mtime_ns)

    fitted([monitor(every=4, plot=path), See()])
    assert len(set(times)) == 3 and path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"every": 0}, ValueError, "every: expected an int of at least 1"),
        ({"sequences": 1.5}, TypeError, "sequences: expected an int"),
        ({"show": "yes"}, TypeError, "show: expected True or False"),
        ({"plot": "a.txt"}, ValueError, "plot: expected a name that ends in .png"),
        ({"plot": "/nowhere/a.png"}, ValueError, "cannot be written"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        monitor(**options)


def test_data_that_does_not_fit_is_named_before_anything_is_trained():
    trainer = Trainer(network(), "mse", callbacks=[GradientMonitor(X[:4], show=False)])
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match="y: expected targets"):
        trainer.fit(X, Y, progress=False)
    assert trainer.step == 0
    assert all(np.array_equal(p, before[name]) for name, p in trainer.model.params.items())

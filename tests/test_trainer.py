"""The trainer against loops written out, its weights and masks, its errors, and exact resumption."""

import os
import signal

import numpy as np
import pytest

from fastrnn import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Dropout,
    Embedding,
    LaneStream,
    LastStep,
    Linear,
    MeanOverTime,
    NonFiniteError,
    RMSprop,
    Sequential,
    Trainer,
    clip_grad_norm,
    clip_grad_value,
    losses,
)
from fastrnn.callbacks import Callback
from fastrnn.schedules import CosineDecay, OneCycle, ReduceOnPlateau, StepDecay, WarmUp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 7, 3)).astype(np.float32)
STEPS = RNG.integers(0, 4, (10, 7))  # a class for every step
CLASSES = RNG.integers(0, 4, 10)  # a class for every sequence
LENGTHS = np.array([7, 3, 5, 1, 7, 2, 6, 4, 7, 5])
QUIET = {"progress": False}


def tagger(dropout=0.0, batch_first=True, dtype="float32", cell=LSTM):
    return Sequential(
        cell(3, 5, seed=1, dtype=dtype),
        Dropout(dropout),
        Linear(5, 4, seed=2, dtype=dtype),
        batch_first=batch_first,
    )


def classifier(batch_first=True, pool=LastStep):
    return Sequential(GRU(3, 5, seed=1), pool(), Linear(5, 4, seed=2), batch_first=batch_first)


def ragged(array, lengths=LENGTHS):
    return [row[:n] for row, n in zip(array, lengths)]


def assert_same_params(one, other):
    for name, value in one.params.items():
        assert value.tobytes() == other.params[name].tobytes(), name


def assert_close_params(one, other, rtol=1e-5):
    for name, value in one.params.items():
        np.testing.assert_allclose(value, other.params[name], rtol=rtol, atol=1e-6, err_msg=name)


# What one fit does, written out


def test_full_bptt_is_this_loop():
    model, expected = tagger(), tagger()
    trainer = Trainer(model, "cross_entropy", Adam(0.01), clip_norm=0.3, clip_value=0.1, seed=5)
    order_seed = trainer.state_dict()["order_seed"]
    history = trainer.fit(X, STEPS, epochs=2, batch_size=4, **QUIET)

    optimizer, seen = Adam(0.01), []
    for epoch in range(2):
        order = np.random.default_rng([order_seed, epoch]).permutation(10)
        total, norms = 0.0, []
        for k in range(0, 10, 4):
            rows = order[k : k + 4]
            y, _, tape = expected.forward(X[rows])
            loss, dy = losses.cross_entropy(y, STEPS[rows])
            expected.zero_grad()
            expected.backward(tape, dy)
            clip_grad_value(expected, 0.1)
            norms.append(clip_grad_norm(expected, 0.3))
            optimizer.step(expected.params, expected.grads)
            total += loss * len(rows)
        seen.append((total / 10, np.mean(norms)))
    assert_same_params(model, expected)
    np.testing.assert_allclose(np.transpose([history["loss"], history["grad_norm"]]), seen, rtol=1e-12)
    assert history["lr"] == [0.01, 0.01] and len(history["seconds"]) == 2
    assert (trainer.epoch, trainer.step) == (2, 6)


def test_truncated_bptt_is_this_loop():
    model, expected = tagger(), tagger()
    Trainer(model, "mse", SGD(0.1), tbptt=3).fit(X, np.eye(4)[STEPS], batch_size=10, **QUIET)

    optimizer = SGD(0.1)
    order = np.arange(10)  # one batch: its order changes sums only in their last bits
    state = None
    for k in range(0, 7, 3):
        y, state, tape = expected.forward(X[order, k : k + 3], state)
        _, dy = losses.mse(y, np.eye(4)[STEPS[order, k : k + 3]])
        expected.zero_grad()
        expected.backward(tape, dy)
        optimizer.step(expected.params, expected.grads)
    assert_close_params(model, expected)


def test_a_stream_is_this_loop():
    ids = np.random.default_rng(1).integers(0, 6, 60)

    def network():
        return Sequential(
            Embedding(6, 4, seed=0), LSTM(4, 5, seed=0), Linear(5, 6, seed=0), batch_first=False
        )

    model, expected = network(), network()
    history = Trainer(model, optimizer=SGD(0.5)).fit(LaneStream(ids, 3, 4), epochs=2, **QUIET)

    optimizer, means = SGD(0.5), []
    lanes_x, lanes_y = ids[:57].reshape(3, 19).T, ids[1:58].reshape(3, 19).T
    for _ in range(2):
        state, total = None, 0.0
        for k in range(0, 19, 4):
            y, state, tape = expected.forward(lanes_x[k : k + 4], state)
            loss, dy = losses.cross_entropy(y, lanes_y[k : k + 4], batch_first=False)
            expected.zero_grad()
            expected.backward(tape, dy)
            optimizer.step(expected.params, expected.grads)
            total += loss * 3 * len(y)
        means.append(total / 57)
    assert_same_params(model, expected)
    np.testing.assert_allclose(history["loss"], means, rtol=1e-12)


@pytest.mark.parametrize("pool", [LastStep, MeanOverTime])
def test_it_learns_which_half_is_larger(pool):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 8, 2)).astype(np.float32)
    y = (x[:, :, 0].sum(axis=1) > x[:, :, 1].sum(axis=1)).astype(int)
    model = Sequential(GRU(2, 12, seed=0), pool(), Linear(12, 2, seed=0))
    trainer = Trainer(model, "cross_entropy", Adam(0.02), clip_norm=1, seed=0)
    history = trainer.fit(x, y, epochs=20, batch_size=20, validation_split=0.25, **QUIET)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert (trainer.predict(x[90:], **QUIET).argmax(axis=1) == y[90:]).mean() > 0.85


def test_a_stateless_network_trains_too():
    model = Sequential(Linear(3, 4, seed=0))
    history = Trainer(model, "cross_entropy", Adam(0.05)).fit(
        X, STEPS, epochs=5, validation_split=0.2, **QUIET
    )
    assert history["loss"][-1] < history["loss"][0] and len(history["val_loss"]) == 5


def test_the_layout_of_the_network_makes_no_difference():
    fits = []
    for batch_first in (True, False):
        model = tagger(batch_first=batch_first)
        trainer = Trainer(model, optimizer=SGD(0.1), seed=0)
        weight = np.linspace(0, 1, 70).reshape(10, 7)
        history = trainer.fit(X, STEPS, lengths=LENGTHS, sample_weight=weight, batch_size=4, **QUIET)
        fits.append((model, history, trainer.predict(X, lengths=LENGTHS, **QUIET)))
    (one, h1, p1), (other, h2, p2) = fits
    assert_close_params(one, other)
    assert h1["loss"] == pytest.approx(h2["loss"], rel=1e-5)
    np.testing.assert_allclose(p1, p2, rtol=1e-4, atol=1e-6)


def test_a_bare_runner_trains():
    model = RNN(3, 4, seed=0)
    history = Trainer(model, "mse", SGD(0.1)).fit(X, np.zeros((10, 7, 4)), epochs=3, **QUIET)
    assert history["loss"][2] < history["loss"][0]


def test_seeds_decide_order_and_masks():
    def trained(seed, dropout):
        model = tagger(dropout)
        Trainer(model, seed=seed).fit(X, STEPS, epochs=2, batch_size=3, **QUIET)
        return model

    assert_same_params(trained(3, 0.5), trained(3, 0.5))
    for dropout, batch in ((0.0, "order"), (0.5, "masks")):
        one, other = trained(3, dropout), trained(4, dropout)
        assert any((one.params[n] != other.params[n]).any() for n in one.params), batch


# Masks and weights


def test_ragged_lists_are_padded_arrays_with_lengths():
    one, other = tagger(), tagger()
    h1 = Trainer(one, seed=0).fit(X, STEPS, lengths=LENGTHS, epochs=2, batch_size=4, **QUIET)
    h2 = Trainer(other, seed=0).fit(ragged(X), ragged(STEPS), epochs=2, batch_size=4, **QUIET)
    assert_close_params(one, other)
    assert h1["loss"] == pytest.approx(h2["loss"], rel=1e-6)


@pytest.mark.parametrize(
    "make, y, tbptt", [(tagger, STEPS, None), (tagger, STEPS, 2), (classifier, CLASSES, None)]
)
def test_padding_is_never_seen(make, y, tbptt):
    padding = np.arange(7) >= LENGTHS[:, None]
    dirty_x, dirty_y = X.copy(), y.copy()
    dirty_x[padding] = 1e30
    if y is STEPS:
        dirty_y[padding] = -999
    results = []
    for x, targets in ((X, y), (dirty_x, dirty_y)):
        model = make()
        trainer = Trainer(model, seed=0, tbptt=tbptt)
        history = trainer.fit(
            x,
            targets,
            lengths=LENGTHS,
            epochs=2,
            batch_size=4,
            **QUIET,
            validation_data={"X": x, "y": targets, "lengths": LENGTHS},
        )
        results.append(
            (model, history["loss"], history["val_loss"], trainer.predict(x, lengths=LENGTHS, **QUIET))
        )
    (one, l1, v1, p1), (other, l2, v2, p2) = results
    assert_same_params(one, other)
    assert l1 == l2 and v1 == v2
    np.testing.assert_array_equal(p1, p2)


def test_a_weight_of_zero_leaves_out_and_of_two_counts_twice():
    rows = np.array([0, 1, 1, 2, 4])
    weight = np.array([1, 2, 1, 0, 1.0])
    for make, y in ((tagger, STEPS), (classifier, CLASSES)):
        one, other = make(), make()
        h1 = Trainer(one, optimizer=SGD(0.1)).fit(X[rows], y[rows], batch_size=9, **QUIET)
        h2 = Trainer(other, optimizer=SGD(0.1)).fit(X[:5], y[:5], sample_weight=weight, batch_size=9, **QUIET)
        assert_close_params(one, other)
        assert h1["loss"] == pytest.approx(h2["loss"], rel=1e-5)


def test_class_weights_are_sample_weights():
    weights = {0: 3.0, 2: 0.5}
    table = np.array([3, 1, 0.5, 1])
    for make, y in ((tagger, STEPS), (classifier, CLASSES)):
        one, other = make(), make()
        h1 = Trainer(one, seed=0).fit(X, y, class_weight=weights, validation_split=0.3, **QUIET)
        h2 = Trainer(other, seed=0).fit(X, y, sample_weight=table[y], validation_split=0.3, **QUIET)
        assert_same_params(one, other)
        assert h1["loss"] == h2["loss"] and h1["val_loss"] == h2["val_loss"]
        h3 = Trainer(make(), seed=0).fit(
            X[:7], y[:7], class_weight=weights, validation_data=(X[7:], y[7:]), **QUIET
        )
        assert h1["val_loss"] == h3["val_loss"]


def test_the_epochs_loss_is_the_weighted_mean_over_unequal_batches():
    weight = np.linspace(0.1, 2, 10)
    model = tagger()
    expected = losses.cross_entropy(model(X)[0], STEPS, lengths=LENGTHS, sample_weight=weight)[0]
    trainer = Trainer(model, optimizer=SGD(0.0))
    arguments = {"lengths": LENGTHS, "sample_weight": weight, "batch_size": 3, **QUIET}
    for tbptt in (None, 2):
        trainer.tbptt = tbptt
        assert trainer.fit(X, STEPS, **arguments)["loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate(X, STEPS, **arguments)["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_weight_changes_nothing():
    model = tagger()
    trainer = Trainer(model, optimizer=SGD(0.1, weight_decay=0.5))
    before, step = model.state_dict(), trainer.step
    weight = np.append(np.zeros(9), 1.0)
    trainer.fit(X, STEPS, sample_weight=weight, batch_size=1, **QUIET)
    assert trainer.step == step + 1
    other = tagger()
    other.load_state_dict(before)
    Trainer(other, optimizer=SGD(0.1, weight_decay=0.5)).fit(X[9:], STEPS[9:], mean_weight=0.1, **QUIET)
    assert_close_params(model, other)


# Validation and prediction


def test_validation_is_inference_on_what_is_held_out():
    model = tagger(dropout=0.5)
    trainer = Trainer(model, seed=0)
    history = trainer.fit(X, STEPS, epochs=2, validation_split=0.2, **QUIET)
    expected = losses.cross_entropy(model(X[8:])[0], STEPS[8:])[0]
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-6)
    assert trainer.evaluate(X[8:], STEPS[8:], **QUIET)["loss"] == history["val_loss"][-1]
    other = tagger(dropout=0.5)
    Trainer(other, seed=0).fit(X[:8], STEPS[:8], epochs=2, **QUIET)
    assert_same_params(model, other)


def test_the_forms_of_validation_data():
    weight = np.linspace(0, 1, 10)
    given = [
        (X, STEPS),
        (X, STEPS, weight),
        {"X": ragged(X), "y": ragged(STEPS)},
        LaneStream(X[0], 2, 2, STEPS[0]),
    ]
    expected = [
        {"X": X, "y": STEPS},
        {"X": X, "y": STEPS, "sample_weight": weight},
        {"X": X, "y": STEPS, "lengths": LENGTHS},
        {"X": given[3]},
    ]
    for data, arguments in zip(given, expected):
        trainer = Trainer(tagger(), seed=0)
        found = trainer.fit(X, STEPS, validation_data=data, **QUIET)["val_loss"][0]
        assert found == pytest.approx(trainer.evaluate(**arguments, **QUIET)["loss"], rel=1e-6)


def test_predictions_are_the_models_outputs():
    for batch_first in (True, False):
        model = tagger(batch_first=batch_first)
        expected = model(X)[0] if batch_first else model(X.swapaxes(0, 1))[0].swapaxes(0, 1)
        trainer = Trainer(model)
        np.testing.assert_array_equal(trainer.predict(X, batch_size=3, **QUIET), expected)
        valid = np.arange(7) < LENGTHS[:, None]
        padded = trainer.predict(X, lengths=LENGTHS, batch_size=3, **QUIET)
        assert padded.shape == expected.shape
        np.testing.assert_array_equal(padded[valid], expected[valid])
        lists = trainer.predict(ragged(X), batch_size=3, **QUIET)
        assert [len(y) for y in lists] == LENGTHS.tolist()
        np.testing.assert_array_equal(np.concatenate(lists), expected[valid])


def test_predictions_of_one_output_per_sequence():
    for batch_first in (True, False):
        trainer = Trainer(classifier(batch_first))
        padded = trainer.predict(X, lengths=LENGTHS, batch_size=3, **QUIET)
        assert padded.shape == (10, 4)
        np.testing.assert_array_equal(trainer.predict(ragged(X), batch_size=4, **QUIET), padded)


def test_prediction_of_sequences_without_steps():
    trainer = Trainer(tagger())
    found = trainer.predict([X[0], X[1][:0]], **QUIET)
    assert [y.shape for y in found] == [(7, 4), (0, 4)]
    assert Trainer(classifier()).predict([X[0], X[1][:0]], **QUIET).shape == (2, 4)


# Errors


class BadAt(Callback):
    """Spoils something at one update."""

    def __init__(self, step, spoil):
        self.step, self.spoil = step, spoil

    def on_gradient(self, trainer):
        if trainer.step == self.step:
            self.spoil(trainer)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_stops_before_the_update(bad):
    def spoil(trainer):
        trainer.model.grads["0.weight_hh_l0"][2, 1] = bad

    model, reference = tagger(), tagger()
    trainer = Trainer(model, optimizer=Adam(0.01), clip_norm=1, callbacks=[BadAt(4, spoil)], seed=0)
    with pytest.raises(
        NonFiniteError, match=r"epoch 2, step 5 .*: the gradient of 0\.weight_hh_l0 is not finite"
    ) as e:
        trainer.fit(X, STEPS, epochs=3, batch_size=4, **QUIET)
    assert isinstance(e.value, ValueError) and isinstance(e.value, FloatingPointError)
    assert (trainer.step, trainer.optimizer.steps) == (4, 4)

    class Four(Callback):
        def on_step_end(self, trainer, logs):
            trainer.stop = trainer.step == 4

    Trainer(reference, optimizer=Adam(0.01), clip_norm=1, callbacks=[Four()], seed=0).fit(
        X, STEPS, epochs=3, batch_size=4, **QUIET
    )
    assert_same_params(model, reference)
    assert len(trainer.history["loss"]) == 1


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(), AdamW(), RMSprop(), Adagrad()])
def test_a_loss_that_is_not_finite_stops_before_the_update(optimizer):
    model = tagger()
    before = model.state_dict()
    trainer = Trainer(model, optimizer=optimizer)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1 .*: the loss is nan"):
        trainer.fit(np.where(np.arange(3) == 1, np.nan, X), STEPS, **QUIET)
    for name, value in before.items():
        np.testing.assert_array_equal(value, model.params[name])
    assert optimizer.steps == 0 and trainer.step == 0
    assert trainer.fit(X, STEPS, **QUIET)["loss"], "the trainer goes on with better data"


ARGUMENTS = [
    ({"model": 3}, "model: expected a fastrnn module, found int"),
    ({"loss": "l2"}, "loss: expected one of cross_entropy, .* found 'l2'"),
    ({"loss": 3}, "loss: expected a name or a function, found int"),
    ({"optimizer": "adan"}, "optimizer: expected one of sgd, .* found 'adan'"),
    ({"optimizer": SGD}, "optimizer: expected a name or an optimiser of fastrnn, found type"),
    ({"clip_norm": 0}, "clip_norm: expected"),
    ({"clip_value": -1.0}, "clip_value: expected"),
    ({"schedule": 0.1}, "schedule: expected a schedule of fastrnn.schedules or None, found float"),
    ({"tbptt": 0}, "tbptt: expected"),
    ({"callbacks": [print]}, "callbacks: expected instances of fastrnn.callbacks.Callback, found builtin"),
    ({"seed": "x"}, "seed: expected"),
]
FIT_ARGUMENTS = [
    ({"y": None}, "y: expected targets, found None"),
    ({"y": STEPS[:9]}, "y: expected 10 entries"),
    ({"y": CLASSES}, r"y: expected shape \(10, 7, \.\.\.\), a target for every step"),
    ({"epochs": 0}, "epochs: expected"),
    ({"batch_size": 0}, "batch_size: expected"),
    (
        {"validation_split": 0.2, "validation_data": (X, STEPS)},
        "validation_split: expected 0 beside validation_data",
    ),
    ({"validation_split": 1.0}, "validation_split: expected a finite number"),
    ({"validation_split": 0.99}, "validation_split: expected a fraction"),
    ({"validation_split": "x"}, "validation_split: expected a number, found 'x'"),
    ({"validation_split": float("nan")}, "validation_split: expected a finite number"),
    ({"y": 5}, "y: expected 10 entries, .* found int"),
    ({"y": (row for row in STEPS)}, "y: expected 10 entries, .* found generator"),
    ({"sample_weight": 0.5}, "sample_weight: expected 10 entries, .* found float"),
    ({"sample_weight": ["a"] * 10}, "sample_weight: expected an array of real numbers"),
    ({"class_weight": "balanced"}, "class_weight: expected an array of real numbers"),
    ({"class_weight": {0: "a"}}, r"class_weight\[0\]: expected a number, found 'a'"),
    ({"class_weight": {"a": 1}}, "class_weight: expected classes from 0 on, found 'a'"),
    ({"y": np.where(np.arange(70).reshape(10, 7) == 69, 99, STEPS)}, r"y: .* 3, found 99 at \[9, 6\]"),
    ({"validation_data": (X, STEPS + 90)}, r"validation_data: y: expected ints in 0 \.\. 3"),
    ({"X": ragged(X), "y": ragged(STEPS - 4)}, r"y\[0\]: expected ints in 0 \.\. 3"),
    ({"validation_data": (X,)}, r"validation_data: expected \(X, y\)"),
    (
        {"validation_data": {"X": X, "Y": STEPS}},
        r"validation_data: expected X, y, lengths .* found \['X', 'Y'\]",
    ),
    ({"validation_data": (X, STEPS[:3])}, "validation_data: y: expected 10 entries"),
    ({"X": LaneStream(X[0], 2, 2, STEPS[0])}, "y: expected None with a LaneStream"),
    (
        {"X": LaneStream(X[0], 2, 2, STEPS[0]), "y": None, "validation_split": 0.1},
        "validation_split: expected 0 for",
    ),
]


@pytest.mark.parametrize("arguments, message", ARGUMENTS)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Trainer(**{"model": tagger(), **arguments})


@pytest.mark.parametrize("arguments, message", FIT_ARGUMENTS)
def test_bad_arguments_of_fit_change_nothing(arguments, message):
    model = tagger()
    before = model.state_dict()
    trainer = Trainer(model)
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(**{"X": X, "y": STEPS, **QUIET, **arguments})
    assert trainer.step == 0 and trainer.history == {}
    for name, value in before.items():
        np.testing.assert_array_equal(value, model.params[name])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["padded", "ragged", "stream"])
def test_a_late_id_out_of_range_changes_nothing(kind, nested):
    start = Embedding(4, 3, seed=0)
    model = Sequential(Sequential(start) if nested else start, LSTM(3, 5, seed=0), Linear(5, 4, seed=0))
    before = model.state_dict()
    ids = STEPS.copy()
    ids[-1, 0] = 9
    data = {
        "padded": {"X": ids, "y": STEPS},
        "ragged": {"X": ragged(ids), "y": ragged(STEPS)},
        "stream": {"X": LaneStream(ids.ravel(), 1, 4, STEPS.ravel())},
    }[kind]
    with pytest.raises(ValueError, match=r"X.*: expected ints in 0 \.\. 3, found 9"):
        Trainer(model).fit(batch_size=1, **data, **QUIET)
    for name, value in before.items():
        np.testing.assert_array_equal(value, model.params[name])


def test_a_late_class_out_of_range_changes_nothing():
    model = classifier()
    before = model.state_dict()
    trainer = Trainer(model)
    y = np.append(CLASSES[:-1], 99)
    with pytest.raises(ValueError, match=r"y: expected ints in 0 \.\. 3, found 99 at \[9\]"):
        trainer.fit(X, y, batch_size=1, **QUIET)
    for name, value in before.items():
        np.testing.assert_array_equal(value, model.params[name])
    trainer.fit(X, y, sample_weight=np.append(np.ones(9), 0), **QUIET)  # what does not count may be anything


def test_padding_may_hold_any_ids_and_classes():
    def trained(x, y):
        model = Sequential(Embedding(4, 3, seed=0), LSTM(3, 5, seed=0), Linear(5, 4, seed=0))
        Trainer(model, seed=0).fit(x, y, lengths=LENGTHS, batch_size=4, **QUIET)
        return model

    padding = np.arange(7) >= LENGTHS[:, None]
    one = trained(np.where(padding, 0, STEPS), np.where(padding, 0, STEPS))
    assert_same_params(one, trained(np.where(padding, -1, STEPS), np.where(padding, -100, STEPS)))


def test_callbacks_may_be_none():
    assert Trainer(tagger(), callbacks=None).callbacks == []
    with pytest.raises(TypeError, match="callbacks: expected a sequence, found 5"):
        Trainer(tagger(), callbacks=5)


def test_no_state_is_carried_through_two_directions():
    model = Sequential(LSTM(3, 4, bidirectional=True, seed=0), Linear(8, 4, seed=0))
    with pytest.raises(ValueError, match="tbptt: expected a model that reads in one direction"):
        Trainer(model, tbptt=2).fit(X, STEPS, **QUIET)
    with pytest.raises(ValueError, match="a LaneStream: expected a model that reads in one direction"):
        Trainer(model).fit(LaneStream(X[0], 2, 2, STEPS[0]), **QUIET)
    with pytest.raises(ValueError, match="tbptt: expected None for a model with one output per sequence"):
        Trainer(classifier(), tbptt=2).fit(X, CLASSES, **QUIET)
    with pytest.raises(TypeError, match="X: expected an array or a list of sequences, found a LaneStream"):
        Trainer(tagger()).predict(LaneStream(X[0], 2, 2, STEPS[0]))


# Callbacks and schedules


class Recorder(Callback):
    def __init__(self, log, name, last=False):
        self.log, self.name, self.last = log, name, last

    def __getattribute__(self, attribute):
        if attribute.startswith("on_"):
            return lambda trainer, *logs: self.log.append((attribute, self.name, trainer.epoch, trainer.step))
        return super().__getattribute__(attribute)


def test_hooks_are_called_in_order_and_recorders_last():
    log = []
    trainer = Trainer(
        tagger(), callbacks=[Recorder(log, "saver", last=True), Recorder(log, "a"), Recorder(log, "b")]
    )
    trainer.fit(X, STEPS, batch_size=5, **QUIET)
    hooks = [
        ("on_fit_begin", 0, 0),
        ("on_epoch_begin", 0, 0),
        ("on_gradient", 0, 0),
        ("on_step_end", 0, 1),
        ("on_gradient", 0, 1),
        ("on_step_end", 0, 2),
        ("on_epoch_end", 1, 2),
        ("on_fit_end", 1, 2),
    ]
    assert log == [(hook, name, *rest) for hook, *rest in hooks for name in ("a", "b", "saver")]
    assert trainer.extent == (2, 2)


def test_a_callback_can_stop_the_fit():
    class Stop(Callback):
        def on_epoch_end(self, trainer, logs):
            trainer.stop = trainer.epoch == 2

    trainer = Trainer(tagger(), callbacks=[Stop()])
    assert len(trainer.fit(X, STEPS, epochs=5, **QUIET)["loss"]) == 2
    assert len(trainer.fit(X, STEPS, epochs=1, **QUIET)["loss"]) == 3, "the next fit is one of its own"


def test_schedules_set_the_rate_per_update_and_per_epoch():
    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_step_end(self, trainer, logs):
            self.seen.append(logs["lr"])

    rates, cycle = Rates(), OneCycle(0.1, total=6)
    Trainer(tagger(), schedule=cycle, callbacks=[rates]).fit(X, STEPS, epochs=2, batch_size=4, **QUIET)
    assert rates.seen == [cycle.lr_at(k) for k in range(6)]
    history = Trainer(tagger(), schedule=StepDecay(0.1, every=1, gamma=0.5)).fit(X, STEPS, epochs=3, **QUIET)
    assert history["lr"] == [0.1, 0.05, 0.025]
    plateau = ReduceOnPlateau(1e-9, factor=0.5, patience=0, threshold=0.5)
    history = Trainer(tagger(), schedule=plateau).fit(X, STEPS, epochs=3, validation_split=0.3, **QUIET)
    assert history["lr"] == [1e-9, 1e-9, 5e-10] and plateau.best == history["val_loss"][0]


# Interruption


class Interrupt(Callback):
    """A real SIGINT in the middle of one update."""

    def __init__(self, step):
        self.step = step

    def on_gradient(self, trainer):
        if trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def pythons_handler():
    """Python's own handler of interrupts, which a test runner in the background is without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_the_update_and_keeps_what_was_reached(tmp_path, pythons_handler):
    whole, stopped = tagger(0.3), tagger(0.3)
    expected = Trainer(whole, seed=0).fit(X, STEPS, epochs=3, batch_size=4, **QUIET)
    trainer = Trainer(stopped, seed=0, callbacks=[Interrupt(4)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, STEPS, epochs=3, batch_size=4, **QUIET)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (trainer.epoch, trainer.step, trainer.optimizer.steps) == (1, 5, 5)
    assert trainer.history.interrupted and len(trainer.history["loss"]) == 1
    trainer.predict(X, **QUIET)

    trainer.save_checkpoint(tmp_path / "c")
    resumed = Trainer.resume(tmp_path / "c")
    history = resumed.fit(X, STEPS, epochs=3, batch_size=4, **QUIET)
    assert_same_params(whole, resumed.model)
    assert history["loss"] == expected["loss"] and not history.interrupted
    assert len(trainer.fit(X, STEPS, epochs=1, **QUIET)["loss"]) == 2, (
        "fit on the old trainer is a fit of its own"
    )


def test_a_handler_of_ones_own_stays(pythons_handler):
    called = []

    def handler(*_):
        called.append(1)

    signal.signal(signal.SIGINT, handler)
    Trainer(tagger(), callbacks=[Interrupt(0)]).fit(X, STEPS, **QUIET)
    assert called == [1] and signal.getsignal(signal.SIGINT) is handler


# Exact resumption


class Counter(Callback):
    """Something that is kept from one call to the next."""

    def __init__(self):
        self.sums = np.zeros(2)

    def on_step_end(self, trainer, logs):
        self.sums += logs["loss"], 1

    def state_dict(self):
        return {"sums": self.sums}

    def load_state_dict(self, state):
        self.sums = state["sums"].copy()


class SaveEverything(Callback):
    """A checkpoint after every update and every epoch."""

    last = True

    def __init__(self, directory):
        self.directory, self.paths = directory, []

    def save(self, trainer):
        self.paths.append(self.directory / f"{len(self.paths)}.ckpt")
        trainer.save_checkpoint(self.paths[-1])

    def on_step_end(self, trainer, logs):
        self.save(trainer)

    def on_epoch_end(self, trainer, logs):
        self.save(trainer)


IDS = np.random.default_rng(2).integers(0, 5, 40)


def char_network():
    return Sequential(
        Embedding(5, 3, seed=0), LSTM(3, 4, 2, dropout=0.2, seed=0), Linear(4, 5, seed=0), batch_first=False
    )


RUNS = {
    "dropout, one cycle": (
        lambda: tagger(0.3),
        {"optimizer": Adam(0.01), "schedule": OneCycle(0.05, total=12)},
        {"X": X, "y": STEPS, "batch_size": 3, "epochs": 3, "validation_split": 0.2},
    ),
    "ragged, truncated, plateau": (
        lambda: tagger(0.1, False, cell=GRU),
        {
            "optimizer": SGD(0.1, momentum=0.9, nesterov=True),
            "tbptt": 2,
            "clip_norm": 0.5,
            "schedule": WarmUp(ReduceOnPlateau(0.1, patience=0), steps=2),
        },
        {"X": ragged(X), "y": ragged(STEPS), "batch_size": 4, "epochs": 2, "sample_weight": np.arange(10.0)},
    ),
    "stream, carried state": (
        char_network,
        {"optimizer": RMSprop(0.01), "schedule": CosineDecay(0.01, 3)},
        {"X": LaneStream(IDS, 3, 4), "epochs": 3, "validation_data": LaneStream(IDS[:9], 1, 4)},
    ),
    "float64, one output": (
        lambda: Sequential(
            RNN(3, 4, dtype="float64", seed=0), LastStep(), Linear(4, 1, dtype="float64", seed=0)
        ),
        {"optimizer": AdamW(0.01), "loss": "mse", "clip_value": 0.1},
        {"X": X, "y": CLASSES.astype(float), "lengths": LENGTHS, "batch_size": 4, "epochs": 2},
    ),
    "adagrad": (tagger, {"optimizer": "adagrad"}, {"X": X, "y": STEPS, "batch_size": 5, "epochs": 2}),
}


def copy_of(value):
    import copy

    return copy.deepcopy(value)


@pytest.mark.parametrize("name", RUNS)
def test_resumed_training_equals_uninterrupted_training(name, tmp_path):
    make, options, arguments = RUNS[name]
    saver, counter = SaveEverything(tmp_path), Counter()
    trainer = Trainer(make(), callbacks=[saver, counter], seed=7, **copy_of(options))
    expected = trainer.fit(**arguments, **QUIET)
    final = trainer.state_dict()
    assert len(saver.paths) == trainer.step + trainer.epoch
    for path in saver.paths:
        again = Counter()
        resumed = Trainer.resume(path, callbacks=[again])
        history = resumed.fit(**arguments, **QUIET)
        assert_same_params(trainer.model, resumed.model)
        for key in ("loss", "lr", "grad_norm", *(["val_loss"] if "val_loss" in expected else [])):
            assert history[key] == expected[key]
        state = resumed.state_dict()
        for key in ("rng", "epoch", "step", "schedule", "fit", "loss", "options", "order_seed"):
            assert state[key] == final[key], key
        for slot, array in final["optimizer"]["arrays"].items():
            assert array.tobytes() == state["optimizer"]["arrays"][slot].tobytes()
        np.testing.assert_array_equal(again.sums, counter.sums)


def test_training_on_after_a_finished_fit(tmp_path):
    whole, parts = tagger(0.2), tagger(0.2)
    trainer = Trainer(whole, seed=0)
    trainer.fit(X, STEPS, epochs=2, **QUIET)
    trainer.fit(X, STEPS, epochs=2, **QUIET)
    first = Trainer(parts, seed=0)
    first.fit(X, STEPS, epochs=2, **QUIET)
    first.save_checkpoint(tmp_path / "c")
    second = Trainer.resume(tmp_path / "c")
    history = second.fit(X, STEPS, epochs=2, **QUIET)
    assert_same_params(whole, second.model)
    assert history["loss"] == trainer.history["loss"] and len(history["loss"]) == 4


def test_a_model_of_ones_own_takes_the_checkpoint(tmp_path):
    trainer = Trainer(tagger(), seed=0)
    trainer.fit(X, STEPS, **QUIET)
    trainer.notes["of"] = [1, "me"]
    trainer.save_checkpoint(tmp_path / "c")
    model = tagger()
    resumed = Trainer.resume(tmp_path / "c", model=model, optimizer=Adam())
    assert resumed.model is model and resumed.notes == {"of": [1, "me"]}
    assert_same_params(model, trainer.model)
    other, optimizer = classifier(), Adam(0.5)
    with pytest.raises(ValueError, match=r"0\.weight_ih_l0"):
        Trainer.resume(tmp_path / "c", model=other, optimizer=optimizer)
    assert_same_params(other, classifier())
    assert optimizer.lr == 0.5 and optimizer.steps == 0
    model = tagger()
    with pytest.raises((ValueError, TypeError), match="Adam"):
        Trainer.resume(tmp_path / "c", model=model, optimizer=SGD(0.1))
    assert_same_params(model, tagger())


def test_a_loss_of_ones_own_is_asked_for(tmp_path):
    def doubled(prediction, target):
        loss, gradient = losses.cross_entropy(prediction, target)
        return 2 * loss, 2 * gradient

    trainer = Trainer(tagger(), doubled, seed=0)
    trainer.fit(X, STEPS, **QUIET)
    trainer.save_checkpoint(tmp_path / "c")
    with pytest.raises(ValueError, match="loss: expected the function that the checkpoint was trained with"):
        Trainer.resume(tmp_path / "c")
    assert Trainer.resume(tmp_path / "c", loss=doubled).loss is doubled


def test_a_fit_goes_on_with_its_own_data_only(tmp_path):
    saver = SaveEverything(tmp_path)
    Trainer(tagger(), callbacks=[saver]).fit(X, STEPS, batch_size=4, **QUIET)
    resumed = Trainer.resume(saver.paths[0])
    with pytest.raises(ValueError, match="X: expected the data and batch size of the fit that goes on"):
        resumed.fit(X, STEPS, batch_size=5, **QUIET)
    resumed.fit(X, STEPS, batch_size=4, **QUIET)
    assert resumed.step == 3
    resumed.fit(X, STEPS, batch_size=5, **QUIET)
    assert (resumed.step, resumed.epoch) == (5, 2), "a fit of its own"


def test_a_damaged_checkpoint_is_named(tmp_path):
    Trainer(tagger()).save_checkpoint(tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-9])
    with pytest.raises(ValueError, match="c: expected a fastrnn checkpoint, found a truncated or damaged"):
        Trainer.resume(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="d: no such file"):
        Trainer.resume(tmp_path / "d")

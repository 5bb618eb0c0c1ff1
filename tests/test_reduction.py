"""The loss of an update as its reduction says: gradients by hand, in parts, in windows, in files."""

import functools

import numpy as np
import pytest
from tolerances import tolerance

from fastrnn import GRU, LSTM, SGD, LaneStream, LastStep, Linear, Seq2Seq, Sequential, Trainer, losses
from fastrnn.callbacks import Callback

RNG = np.random.default_rng(4)
LENGTHS = np.array([7, 3, 0, 5, 1, 9, 2, 6])
N, STEPS = len(LENGTHS), LENGTHS.max()
X = RNG.normal(size=(N, STEPS, 3))
Y = RNG.integers(0, 4, (N, STEPS))
REAL = RNG.normal(size=(N, STEPS, 4))
CLASSES = RNG.integers(0, 4, N)
WEIGHT = RNG.uniform(0.2, 2.0, N)
STEP_WEIGHT = RNG.uniform(0.0, 2.0, (N, STEPS)) * (RNG.random((N, STEPS)) < 0.7)
DOUBLE = {"dtype": "float64"}
RAGGED = [row[:n] for row, n in zip(X, LENGTHS)], [row[:n] for row, n in zip(Y, LENGTHS)]
REDUCTIONS = ["mean", "sum", "batchmean"]


def tagger(batch_first=True):
    return Sequential(LSTM(3, 5, seed=1, **DOUBLE), Linear(5, 4, seed=2, **DOUBLE), batch_first=batch_first)


def classifier():
    return Sequential(GRU(3, 5, seed=1, **DOUBLE), LastStep(), Linear(5, 4, seed=2, **DOUBLE))


class Gradients(Callback):
    """Each update's gradient and loss."""

    def __init__(self):
        self.grads, self.losses = [], []

    def on_gradient(self, trainer):
        self.grads.append({name: grad.copy() for name, grad in trainer.model.grads.items()})

    def on_step_end(self, trainer, logs):
        self.losses.append(logs["loss"])


def fitted(model, X, y=None, loss="cross_entropy", fit=None, **options):
    seen = Gradients()
    trainer = Trainer(model, loss, SGD(0.0), callbacks=[seen], seed=0, **options)
    trainer.fit(X, y, progress=False, **{"batch_size": N, "bucket_by_length": False, **(fit or {})})
    return trainer, seen


def same(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=tolerance("losses, float64"), err_msg=name)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHT, STEP_WEIGHT])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss, y", [
    ("cross_entropy", Y), ("mse", REAL), ("gaussian_nll", REAL[..., :2]),
    (functools.partial(losses.quantile, quantiles=[0.2, 0.5, 0.6, 0.9]), REAL[..., 0]),
])
def test_the_gradient_is_that_of_the_loss_function(loss, y, reduction, weights, batch_first):
    model = tagger(batch_first)
    function = losses.__dict__[loss] if isinstance(loss, str) else loss
    given = {"lengths": LENGTHS, "sample_weight": weights}
    trainer, seen = fitted(model, X, y, loss, given, reduction=reduction)
    turn = (lambda a: a) if batch_first else (lambda a: a.swapaxes(0, 1))
    order = trainer._position.order(trainer._adapter().for_evaluation(X, y, batch_size=N), 0)[0]
    rows = {"lengths": LENGTHS[order], "sample_weight": None if weights is None else weights[order]}
    turned = {**rows, "batch_first": batch_first}
    if weights is not None and weights.ndim == 2:
        turned["sample_weight"] = turn(rows["sample_weight"])
    model.zero_grad()
    prediction, _, tape = model.forward(turn(X[order]), None, LENGTHS[order])
    value, gradient = function(prediction, turn(y[order]), reduction=reduction, **turned)
    model.backward(tape, gradient)
    same(seen.grads[0], model.grads)
    mean = function(prediction, turn(y[order]), **turned)[0]
    assert seen.losses == [pytest.approx(mean, rel=1e-9)], "figures are means over elements"
    assert trainer.evaluate(X, y, **given, batch_size=3, progress=False)["loss"] == pytest.approx(mean, rel=1e-9)
    assert value != pytest.approx(mean) or reduction == "mean"


@pytest.mark.parametrize("weights", [None, WEIGHT])
@pytest.mark.parametrize("tbptt", [None, 3, (2, 5)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_parts_make_the_large_batchs_gradient(reduction, tbptt, weights):
    found = []
    for size, accumulate in (N, 1), (3, 3), (1, N):
        fit = {"batch_size": size, "sample_weight": weights}
        found.append(fitted(tagger(), *RAGGED, fit=fit, tbptt=tbptt, accumulate=accumulate, reduction=reduction)[1])
    for other in found[1:]:
        assert len(other.grads) == len(found[0].grads)
        for mine, theirs in zip(other.grads, found[0].grads):
            same(mine, theirs)
        assert other.losses == pytest.approx(found[0].losses, rel=1e-9)


def test_windows_of_sequences_sum_up_to_the_whole():
    """With "sum" the windows' losses are those of the steps: the gradient of the output layer adds up."""
    whole = fitted(tagger(), *RAGGED, reduction="sum")[1].grads
    windows = fitted(tagger(), *RAGGED, reduction="sum", tbptt=2)[1].grads
    assert len(windows) == 5
    same({"1.bias": sum(grads["1.bias"] for grads in windows)}, {"1.bias": whole[0]["1.bias"]})


def test_lanes_are_averaged_and_steps_summed():
    ids, targets = RNG.normal(size=(61, 3)), RNG.integers(0, 4, 61)
    lanes = LaneStream(ids, 5, 4, targets, dtype="float64")
    mean = fitted(tagger(), lanes, reduction="mean", fit={"batch_size": 32})[1]
    found = fitted(tagger(), lanes, reduction="batchmean", fit={"batch_size": 32})[1]
    assert len(found.grads) == 3
    for summed, averaged in zip(found.grads, mean.grads):
        same(summed, {name: 4 * grad for name, grad in averaged.items()})
    assert found.losses == pytest.approx(mean.losses)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pooled_outputs_are_one_element_a_sequence(reduction):
    seen = fitted(classifier(), X[:, :4], CLASSES, reduction=reduction)[1]
    mean = fitted(classifier(), X[:, :4], CLASSES)[1]
    same(seen.grads[0], {name: grad * (N if reduction == "sum" else 1) for name, grad in mean.grads[0].items()})
    assert seen.losses == pytest.approx(mean.losses)


@pytest.mark.parametrize("weights", [None, WEIGHT])
def test_a_decoders_sequences_are_averaged(weights):
    sources = [RNG.integers(0, 6, n) for n in (3, 5, 2, 4)]
    targets = [RNG.integers(3, 7, n) for n in (2, 0, 6, 1)]
    weights = None if weights is None else weights[:4]
    found = {}
    for reduction in REDUCTIONS:
        model = Seq2Seq(6, 7, embedding_dim=3, hidden_size=4, seed=3, **DOUBLE)
        fit = {"sample_weight": weights, "batch_size": 4}
        found[reduction] = fitted(model, sources, targets, reduction=reduction, fit=fit)[1]
    sequences = 4 if weights is None else weights.sum()
    expected = {name: grad / sequences for name, grad in found["sum"].grads[0].items()}
    same(found["batchmean"].grads[0], expected)
    for reduction in "sum", "batchmean":
        assert found[reduction].losses == pytest.approx(found["mean"].losses)


@pytest.mark.parametrize("loss, reduction", [
    ("cross_entropy", "batchmean"), ("cross_entropy", None), (functools.partial(losses.huber, delta=0.5), "sum"),
    (functools.partial(losses.cross_entropy, class_weight=np.array([1.0, 2.0, 0.5, 3.0]), label_smoothing=0.1), None),
])
def test_a_checkpoint_keeps_the_loss_with_its_options(tmp_path, loss, reduction):
    y = REAL if reduction == "sum" else Y
    whole = Trainer(tagger(), loss, seed=0, reduction=reduction)
    whole.fit(X, y, epochs=2, batch_size=4, progress=False)
    parted = Trainer(tagger(), loss, seed=0, reduction=reduction)
    parted.fit(X, y, epochs=1, batch_size=4, progress=False)
    parted.save_checkpoint(tmp_path / "c")
    resumed = Trainer.resume(tmp_path / "c")
    resumed.fit(X, y, epochs=1, batch_size=4, progress=False)
    for name, value in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[name], value)
    assert resumed.history["loss"] == whole.history["loss"]


def test_bad_reductions_are_named():
    with pytest.raises(ValueError, match="reduction: expected one of 'mean', 'sum', 'batchmean'; found 'none'"):
        Trainer(tagger(), reduction="none")
    with pytest.raises(ValueError, match="reduction: expected None with a loss of one's own"):
        Trainer(tagger(), lambda prediction, target: None, reduction="sum")
    with pytest.raises(ValueError, match="reduction: expected one of"):
        Trainer(tagger(), functools.partial(losses.mse, reduction="none"))
    assert Trainer(tagger(), "mse").loss is losses.mse
    assert Trainer(tagger(), "mse", reduction="mean").loss is losses.mse

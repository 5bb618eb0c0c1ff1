"""L2, penalties of activations, masks shared over time, tied embeddings: values, and gradients by differences."""

import copy
import pickle

import numpy as np
import pytest
from gradcheck import check_gradients

from fastrnn import (
    GRU,
    LSTM,
    SGD,
    ActivationRegularization,
    Adam,
    Dropout,
    Embedding,
    LaneStream,
    LastStep,
    Linear,
    Sequential,
    Trainer,
    load,
    save,
)
from fastrnn.callbacks import Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 3))
CLASSES = RNG.integers(0, 4, (4, 6))
LENGTHS = [6, 0, 3, 1]
DOUBLE = {"dtype": "float64"}
QUIET = {"progress": False}


class Gradients(Callback):
    """The gradients of every update, before clipping."""

    def __init__(self):
        self.seen = []

    def on_gradient(self, trainer):
        self.seen.append({name: grad.copy() for name, grad in trainer.model.grads.items()})


# L2


def tagger(batch_first=True):
    return Sequential(GRU(3, 5, seed=1, **DOUBLE), Linear(5, 4, seed=2, **DOUBLE), batch_first=batch_first)


@pytest.mark.parametrize(
    "l2, factors",
    [
        (0.1, {"0.weight_ih_l0": 0.1, "0.weight_hh_l0": 0.1, "1.weight": 0.1}),
        ({"*_hh_*": 0.2, "1.bias": 0.3}, {"0.weight_hh_l0": 0.2, "0.bias_hh_l0": 0.2, "1.bias": 0.3}),
    ],
)
def test_l2_adds_its_gradient_and_is_told_beside_the_loss(l2, factors):
    plain, with_l2, model = Gradients(), Gradients(), tagger()
    for name in model.params:
        model.params[name] += 0.1
    Trainer(model, optimizer=SGD(0.0), callbacks=[plain]).fit(X, CLASSES, **QUIET)
    trainer = Trainer(model, optimizer=SGD(0.0), l2=l2, callbacks=[with_l2])
    history = trainer.fit(X, CLASSES, **QUIET)
    expected = 0.0
    for name, p in model.params.items():
        factor = factors.get(name, 0.0)
        np.testing.assert_allclose(with_l2.seen[0][name], plain.seen[0][name] + 2 * factor * p, rtol=1e-12, atol=1e-15)
        expected += factor * np.square(p).sum()
    assert history["penalty"] == [pytest.approx(expected, rel=1e-12)]
    assert history["loss"] == [pytest.approx(trainer.evaluate(X, CLASSES, **QUIET)["loss"], rel=1e-12)]


def test_bad_l2_is_named():
    with pytest.raises(ValueError, match=r"l2: expected patterns of parameters, 0.weight_ih_l0, .* found 'kernel'"):
        Trainer(tagger(), l2={"kernel": 0.1})
    with pytest.raises(ValueError, match="l2: expected a finite number at least 0"):
        Trainer(tagger(), l2=-1)
    with pytest.raises(TypeError, match=r"l2\['\*'\]: expected a number"):
        Trainer(tagger(), l2={"*": "a"})


# Penalties of activations


def penalty_by_hand(x, lengths, ar, tar, start=0):
    """x: (B, T, H)"""
    sizes = [x[b, start:n] for b, n in enumerate(lengths)]
    changes = [np.diff(rows, axis=0) for rows in sizes]
    one, two = (np.concatenate([rows.ravel() for rows in part]) for part in (sizes, changes))
    return ar * np.square(one).mean() + tar * (np.square(two).mean() if two.size else 0.0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("ar, tar", [(2.0, 0.0), (0.0, 1.0), (0.5, 0.7)])
@pytest.mark.parametrize("start", [0, 2])
def test_penalty_and_its_gradient(ar, tar, lengths, batch_first, start):
    module = ActivationRegularization(ar, tar, batch_first=batch_first)
    module.start = start
    x = X.copy() if batch_first else np.ascontiguousarray(X.swapaxes(0, 1))
    y, _, tape = module.forward(x, lengths=lengths)
    np.testing.assert_array_equal(y, x)
    expected = penalty_by_hand(X, [6] * 4 if lengths is None else lengths, ar, tar, start)
    assert module.penalty == pytest.approx(expected, rel=1e-12)
    weighting = RNG.normal(size=x.shape)

    def loss():
        y, _, _ = module.forward(x, lengths=lengths)
        return float((y * weighting).sum()) + module.penalty

    dx, _ = module.backward(tape, weighting)
    check_gradients(loss, {"x": x}, {"x": dx})
    np.testing.assert_array_equal(module(x, lengths=lengths), x)


def test_penalty_of_an_unbatched_sequence_and_of_one_step():
    module = ActivationRegularization(2.0, 1.0)
    module.forward(X[0])
    assert module.penalty == pytest.approx(penalty_by_hand(X[:1], [6], 2.0, 1.0), rel=1e-12)
    module.forward(X[0, :1])
    assert module.penalty == pytest.approx(2 * np.square(X[0, 0]).mean(), rel=1e-12)
    assert ActivationRegularization(1.0, 1.0, batch_first=True).forward(np.zeros((3, 0, 2)))[0].shape == (3, 0, 2)


def test_a_network_with_penalties_trains_on_their_gradient():
    """Merity et al.: AR on the dropped output, TAR on the raw one."""
    model = Sequential(
        LSTM(3, 5, seed=1, **DOUBLE),
        ActivationRegularization(tar=1.0),
        Dropout(0.0),
        ActivationRegularization(ar=2.0),
        Linear(5, 4, seed=2, **DOUBLE),
    )
    seen = Gradients()
    trainer = Trainer(model, optimizer=SGD(0.0), callbacks=[seen])
    lengths = [6, 4, 3, 1]

    def loss():
        h = model.modules[0](X, lengths=lengths)[0]
        return trainer.evaluate(X, CLASSES, lengths=lengths, **QUIET)["loss"] + penalty_by_hand(h, lengths, 2.0, 1.0)

    history = trainer.fit(X, CLASSES, lengths=lengths, **QUIET)
    check_gradients(loss, dict(model.params), seen.seen[0])
    assert history["penalty"][0] == pytest.approx(loss() - history["loss"][0], rel=1e-9)
    assert all((m.start, m.counts) == (0, None) for m in model.modules if isinstance(m, ActivationRegularization))


@pytest.mark.parametrize("tbptt", [(2, 2), (2, 4), (2, 3), (3, 4), (3, 7)])
def test_penalties_count_new_steps_only(tbptt):
    """With ar alone each step's penalty is in one update: their weighted mean is that of the whole."""
    model = Sequential(GRU(3, 5, seed=1, **DOUBLE), ActivationRegularization(ar=2.0), Linear(5, 4, seed=2, **DOUBLE))
    history = Trainer(model, optimizer=SGD(0.0), tbptt=tbptt).fit(X, CLASSES, **QUIET)
    h = model.modules[0](X)[0]
    assert history["penalty"] == [pytest.approx(penalty_by_hand(h, [6] * 4, 2.0, 0.0), rel=1e-9)]


def test_penalties_come_before_pooling():
    with pytest.raises(
        ValueError, match=r"modules\[2\]: expected no module that needs a time axis after one that pools"
    ):
        Sequential(GRU(3, 5), LastStep(), ActivationRegularization(ar=1.0))
    with pytest.raises(ValueError, match=r"modules\[2\]: expected no module that needs a time axis"):
        Sequential(GRU(3, 5), LastStep(), Dropout(0.5, variational=True))
    Sequential(GRU(3, 5), LastStep(), Dropout(0.5))


# Masks shared over time


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_variational_mask_is_the_same_at_every_step(batch_first):
    module = Dropout(0.4, variational=True, batch_first=batch_first, seed=0)
    x = np.ones((30, 7, 40) if batch_first else (7, 30, 40))
    y, _, tape = module.forward(x)
    steps = y.swapaxes(0, 1) if batch_first else y
    np.testing.assert_array_equal(steps, np.broadcast_to(steps[:1], steps.shape))
    assert abs((steps[0] == 0).mean() - 0.4) < 5 * np.sqrt(0.24 / 1200)
    assert len({row.tobytes() for row in steps[0]}) == 30, "each sequence has its own"
    dy = RNG.normal(size=x.shape)
    np.testing.assert_allclose(module.backward(tape, dy)[0], dy * y)
    np.testing.assert_array_equal(module(x), x)
    assert not np.array_equal(module.forward(x)[0], y), "drawn anew in every pass"


def test_variational_masks_in_a_network():
    for batch_first in (True, False):
        net = Sequential(Dropout(0.5, variational=True, seed=3), batch_first=batch_first)
        y = net.forward(np.ones((5, 8, 20)))[0]
        same = y if batch_first else y.swapaxes(0, 1)
        assert (same == same[:, :1]).all()
    module = Dropout(0.5, variational=True, seed=0)
    y = module.forward(np.ones((9, 20)))[0]
    assert (y == y[:1]).all(), "unbatched"
    assert Dropout(0.5, variational=True).config()["variational"] is True
    with pytest.raises(ValueError, match="x: expected two axes, or three"):
        module.forward(np.ones(4))


# Tied embeddings


def tied(batch_first=True, dtype="float64"):
    return Sequential(
        Embedding(7, 5, seed=0, dtype=dtype),
        LSTM(5, 5, seed=1, dtype=dtype),
        Linear(5, 7, seed=2, dtype=dtype),
        batch_first=batch_first,
        tie_embeddings=True,
    )


IDS = RNG.integers(0, 7, (3, 6))
TARGETS = RNG.integers(0, 7, (3, 6))


def assert_tied(model):
    first, last = model.modules[0], model.modules[-1]
    assert first.params["weight"] is last.params["weight"] and first.grads["weight"] is last.grads["weight"]
    assert "0.weight" in model.params and "2.weight" not in model.params and "2.bias" in model.params


def test_tied_gradients_are_the_sum_of_both_uses():
    model = tied()
    assert_tied(model)
    seen = Gradients()
    trainer = Trainer(model, optimizer=SGD(0.0), callbacks=[seen])
    trainer.fit(IDS, TARGETS, **QUIET)
    loss = lambda: trainer.evaluate(IDS, TARGETS, **QUIET)["loss"]  # noqa: E731
    check_gradients(loss, dict(model.params), seen.seen[0])


def test_a_write_to_the_shared_weight_is_seen_by_both():
    model = tied()
    model(IDS)
    weight = model.modules[0].params["weight"]
    for _ in range(2):
        weight *= 1.5
        h = model.modules[1](weight[IDS].swapaxes(0, 1) if not model.batch_first else weight[IDS])[0]
        np.testing.assert_allclose(model(IDS)[0], h @ weight.T + model.params["2.bias"], rtol=1e-12, atol=1e-14)
    model.load_state_dict({name: np.zeros_like(value) for name, value in model.params.items()})
    assert not model(IDS)[0].any()


def test_untied_training_differs_and_tied_counts_once():
    plain = Sequential(*(m for m in tied().modules))
    assert tied().num_parameters == 7 * 5 + 2 * (20 * 5) + 2 * 20 + 7
    assert len(plain.params) == len(tied().params) + 1


def test_tied_networks_are_saved_once_and_loaded_and_copied_right(tmp_path):
    model = tied(batch_first=False, dtype="float32")
    Trainer(model, optimizer=Adam(0.05)).fit(LaneStream(IDS.ravel(), 2, 3), epochs=3, **QUIET)
    save(model, tmp_path / "m")
    copies = {
        "file": load(tmp_path / "m"),
        "pickle": pickle.loads(pickle.dumps(model)),
        "deepcopy": copy.deepcopy(model),
    }
    for how, other in copies.items():
        assert_tied(other)
        np.testing.assert_array_equal(other(IDS.T)[0], model(IDS.T)[0], err_msg=how)
        assert other.params.keys() == model.params.keys()
        before = model.params["0.weight"].copy()
        other.params["0.weight"][...] = 0
        np.testing.assert_array_equal(model.params["0.weight"], before)
    from safetensors import safe_open

    with safe_open(tmp_path / "m", framework="numpy") as file:
        assert "0.weight" in file.keys() and "2.weight" not in file.keys()  # noqa: SIM118


def test_tied_training_is_resumed_exactly(tmp_path):
    class Save(Callback):
        last = True

        def on_step_end(self, trainer, logs):
            trainer.save_checkpoint(tmp_path / str(trainer.step))

    model = tied(dtype="float32")
    arguments = {"X": IDS, "y": TARGETS, "epochs": 3, "batch_size": 2, **QUIET}
    Trainer(model, optimizer=Adam(0.05), callbacks=[Save()], seed=0).fit(**arguments)
    for step in range(1, 7):
        resumed = Trainer.resume(tmp_path / str(step))
        assert_tied(resumed.model)
        resumed.fit(**arguments)
        assert all(resumed.model.params[n].tobytes() == p.tobytes() for n, p in model.params.items())


@pytest.mark.parametrize(
    "modules, message",
    [
        (
            (LSTM(5, 5), Linear(5, 7)),
            "expected an Embedding as first module and a Linear as last, found LSTM and Linear",
        ),
        ((Embedding(7, 5), LSTM(5, 4), Linear(4, 7)), r"embedding: expected float32 weights of shape \(7, 4\)"),
        ((Embedding(7, 5), LSTM(5, 5), LastStep()), "expected an Embedding .*, found Embedding and LastStep"),
    ],
)
def test_what_cannot_be_tied_is_named(modules, message):
    before = [module.params.get("weight") for module in modules]
    with pytest.raises(ValueError, match=f"tie_embeddings: {message}"):
        Sequential(*modules, tie_embeddings=True)
    assert all(module.params.get("weight") is array for module, array in zip(modules, before))
    with pytest.raises(TypeError, match="embedding: expected an Embedding, found Linear"):
        Linear(2, 2).tie(Linear(2, 2))

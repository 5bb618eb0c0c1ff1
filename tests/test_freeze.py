"""Parameters that training leaves as they are: by name, for every optimiser, in files, copies and checkpoints."""

import copy
import pickle

import numpy as np
import pytest

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Embedding,
    LastStep,
    Linear,
    LSTMCell,
    MinGRU,
    RMSprop,
    Seq2Seq,
    Sequential,
    Trainer,
    clip_grad_norm,
    clip_grad_value,
)
from fastrnn.averaging import EMA, SWA
from fastrnn.callbacks import Callback
from fastrnn.diagnostics import GradientMonitor
from fastrnn.optim import all_finite, grad_norm
from fastrnn.text import CharModel

RNG = np.random.default_rng(3)
X = RNG.normal(size=(9, 5, 3))
STEPS = RNG.integers(0, 4, (9, 5))
QUIET = {"progress": False}
OPTIMIZERS = [
    lambda: SGD(0.1, weight_decay=0.1),
    lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda: Adam(0.01, weight_decay=0.1),
    lambda: AdamW(0.01, weight_decay=0.1),
    lambda: RMSprop(0.01, momentum=0.5, centered=True, weight_decay=0.1),
    lambda: Adagrad(0.01, lr_decay=0.1, initial_accumulator=0.1, weight_decay=0.1),
]


def tagger(dtype="float64", **options):
    return Sequential(LSTM(3, 4, 2, seed=1, dtype=dtype, **options), Linear(4, 4, seed=2, dtype=dtype))


def snapshot(model):
    return {name: p.tobytes() for name, p in model.params.items()}


def changed(model, before):
    return {name for name, p in model.params.items() if p.tobytes() != before[name]}


class Restore(Callback):
    """Undoes what an update does to some parameters: what freezing must come to where norms play no part."""

    def __init__(self, model, names):
        self.kept = {name: model.params[name].copy() for name in names}

    def on_step_end(self, trainer, logs):
        for name, value in self.kept.items():
            trainer.model.params[name][...] = value


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_frozen_keeps_its_bits_and_the_others_train_as_ever(optimizer, dtype):
    frozen = tagger(dtype).freeze("0.*_l0", "1.bias")
    names = frozen.frozen
    assert names == ("0.weight_ih_l0", "0.weight_hh_l0", "0.bias_ih_l0", "0.bias_hh_l0", "1.bias")
    before = snapshot(frozen)
    given = {"epochs": 3, "batch_size": 2, **QUIET}
    Trainer(frozen, optimizer=optimizer(), accumulate=2, tbptt=3, seed=0).fit(X, STEPS, **given)
    assert changed(frozen, before) == set(before) - set(names)
    other = tagger(dtype)
    restore = Restore(other, names)
    Trainer(other, optimizer=optimizer(), accumulate=2, tbptt=3, seed=0, callbacks=[restore]).fit(X, STEPS, **given)
    assert snapshot(other) == snapshot(frozen)


@pytest.mark.parametrize("average", [EMA(0.5), SWA(every="step"), SWA()])
def test_averages_and_penalties_leave_it_out(average):
    model = tagger()
    options = {"clip_norm": 0.05, "clip_value": 0.02, "l2": 0.1, "average": average, "seed": 0}
    trainer = Trainer(model, optimizer=AdamW(0.01), metrics=("accuracy",), **options)
    trainer.fit(X, STEPS, epochs=2, batch_size=4, **QUIET)
    model.freeze("0.*")
    before = snapshot(model)
    trainer.fit(X, STEPS, epochs=2, batch_size=4, validation_split=0.3, **QUIET)
    assert changed(model, before) == {"1.weight", "1.bias"}
    averaged = trainer.averaged_model()
    assert averaged.frozen == model.frozen
    for name in model.frozen:
        assert averaged.params[name].tobytes() == before[name]
    penalty = 0.1 * float(np.square(model.params["1.weight"]).sum())
    trainer.optimizer.lr = 0.0
    trainer.optimizer.weight_decay = 0.0
    assert trainer.fit(X, STEPS, **QUIET)["penalty"][-1] == pytest.approx(penalty, rel=1e-9)


def test_norms_are_of_what_is_trained():
    model = tagger()
    y, _, tape = model.forward(X)
    model.backward(tape, y)
    everything = grad_norm(model)
    parts = {name: float(np.square(grad).sum()) for name, grad in model.grads.items()}
    assert everything == pytest.approx(np.sqrt(sum(parts.values())))
    model.freeze("*weight*")
    rest = np.sqrt(sum(value for name, value in parts.items() if "bias" in name))
    assert grad_norm(model) == grad_norm(model.grads) == pytest.approx(rest)
    kept = {name: grad.copy() for name, grad in model.grads.items()}
    assert clip_grad_norm(model, rest / 2) == pytest.approx(rest)
    clip_grad_value(model.grads, 1e-3)
    for name, grad in model.grads.items():
        if "weight" in name:
            assert np.array_equal(grad, kept[name])
        else:
            assert np.abs(grad).max() <= 1e-3
    model.grads["1.weight"][...] = np.nan
    assert all_finite(model)
    assert not all_finite(model.unfreeze("1.weight"))


def test_the_clipped_norm_of_a_fit():
    class Norm(Callback):
        def on_gradient(self, trainer):
            grads = trainer.model.grads
            self.trained = np.sqrt(sum(float(np.square(grads[name]).sum()) for name in ("1.weight", "1.bias")))

    norm = Norm()
    model = tagger().freeze("0.*")
    before = {name: model.params[name].copy() for name in ("1.weight", "1.bias")}
    history = Trainer(model, optimizer=SGD(1.0), clip_norm=0.01, callbacks=[norm]).fit(X, STEPS, **QUIET)
    assert history["grad_norm"][0] == pytest.approx(norm.trained, rel=1e-12)
    moved = np.sqrt(sum(float(np.square(model.params[name] - p).sum()) for name, p in before.items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_numbers_that_are_not_finite_do_not_matter_where_frozen():
    class Spoil(Callback):
        def __init__(self, name):
            self.name = name

        def on_gradient(self, trainer):
            trainer.model.grads[self.name][...] = np.nan

    model = tagger().freeze("0.weight_ih_l0")
    Trainer(model, callbacks=[Spoil("0.weight_ih_l0")]).fit(X, STEPS, **QUIET)
    with pytest.raises(fastrnn.NonFiniteError, match=r"the gradient of 0\.weight_ih_l1 is not finite"):
        Trainer(model, callbacks=[Spoil("0.weight_ih_l0"), Spoil("0.weight_ih_l1")]).fit(X, STEPS, **QUIET)


def test_patterns():
    model = tagger()
    assert model.frozen == () and "frozen" not in repr(model) and "frozen" not in str(model.config())
    assert model.freeze("1.bias") is model and model.frozen == ("1.bias",)
    assert model.freeze("0.bias_ih_l?").frozen == ("0.bias_ih_l0", "0.bias_ih_l1", "1.bias")
    assert model.unfreeze("0.*l0").frozen == ("0.bias_ih_l1", "1.bias")
    assert "frozen=['bias_ih_l1']" in repr(model)
    for call in (model.freeze, model.unfreeze):
        for patterns, kind, message in (
            (("0.*", "2.*"), ValueError, "patterns: expected patterns of parameters, 0.weight_ih_l0, .* found '2.\\*'"),
            (("bias",), ValueError, "found 'bias'"),
            ((3,), TypeError, "patterns: expected patterns of parameters' names, found 3"),
            ((None,), TypeError, "found None"),
        ):
            with pytest.raises(kind, match=message):
                call(*patterns)
            assert model.frozen == ("0.bias_ih_l1", "1.bias")
    assert model.unfreeze().frozen == () and "frozen" not in repr(model)
    assert model.freeze().frozen == tuple(model.params)
    assert repr(model).count("frozen=True") == 2
    assert LastStep().freeze().unfreeze().frozen == ()


def test_a_module_inside_is_frozen_by_itself():
    model = tagger()
    model.modules[1].freeze()
    assert model.frozen == ("1.weight", "1.bias") and model.modules[1].params.frozen == {"weight", "bias"}
    nested = Sequential(Sequential(GRU(3, 4, seed=1), GRU(4, 4, seed=2)), Linear(4, 4, seed=3))
    assert nested.freeze("0.1.*hh*").frozen == ("0.1.weight_hh_l0", "0.1.bias_hh_l0")
    assert nested.modules[0].modules[1].frozen == ("weight_hh_l0", "bias_hh_l0")
    before = snapshot(nested)
    Trainer(nested, optimizer="adamw").fit(X, STEPS, **QUIET)
    assert changed(nested, before) == set(before) - {"0.1.weight_hh_l0", "0.1.bias_hh_l0"}


@pytest.mark.parametrize("end", ["first", "last"])
def test_a_shared_weight_is_frozen_in_both(end, tmp_path):
    model = Sequential(Embedding(5, 4, seed=0), GRU(4, 4, seed=1), Linear(4, 5, seed=2), tie_embeddings=True)
    if end == "first":
        model.freeze("0.weight")
    else:
        model.modules[2].freeze("weight")
    assert model.frozen == ("0.weight",)
    ids = RNG.integers(0, 5, (6, 7))
    fastrnn.save(model, tmp_path / "m")
    for one in (model, copy.deepcopy(model), fastrnn.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        before = snapshot(one)
        Trainer(one, optimizer=SGD(0.1, weight_decay=0.1)).fit(ids, ids, **QUIET)
        assert one.frozen == ("0.weight",) and "0.weight" not in changed(one, before) != set()
        before = snapshot(one.unfreeze("0.weight"))
        Trainer(one).fit(ids, ids, **QUIET)
        assert "0.weight" in changed(one, before)


@pytest.mark.parametrize("kind", [LSTMCell, MinGRU, GRU, Linear, Embedding])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_modules_by_themselves(kind, optimizer):
    module, other = kind(3, 4, seed=0), kind(3, 4, seed=0)
    name, *others = module.params
    module.freeze(name)
    first, second = optimizer(), optimizer()
    before = snapshot(module)
    for _ in range(3):
        for one in (module, other):
            for grad in one.grads.values():
                grad[...] = 0.5
        first.step(module.params, module.grads)
        second.step(other.params, other.grads)
    assert changed(module, before) == set(others)
    for one in others:
        assert np.array_equal(module.params[one], other.params[one])
    assert all(name not in arrays for arrays in first._slots.values())


def test_a_seq2seq_by_its_parts(tmp_path):
    model = Seq2Seq(5, 6, embedding_dim=3, hidden_size=4, seed=1)
    with pytest.raises(ValueError, match="found 'decoders"):
        model.freeze("decoders.*")
    model.freeze("encoder.*")
    assert model.frozen and all(name.startswith("encoder.") for name in model.frozen)
    fastrnn.save(model, tmp_path / "m")
    model = fastrnn.load(tmp_path / "m")
    before = snapshot(model)
    rows = [RNG.integers(0, 5, n) for n in (3, 4, 2)]
    Trainer(model, optimizer="adamw", clip_norm=0.1).fit(rows, [row[:2] % 4 + 2 for row in rows], epochs=2, **QUIET)
    assert changed(model, before).isdisjoint(model.frozen) and len(changed(model, before)) > 3
    assert "frozen=[" in repr(model)


def test_files_and_copies_keep_it(tmp_path):
    models = [tagger().freeze("0.*l1"), GRU(3, 4, seed=0).freeze("bias*"), Linear(3, 4, seed=0).freeze()]
    for model in (*models, CharModel("abc", hidden_size=4, seed=0).freeze("1.*")):
        fastrnn.save(model, tmp_path / "m")
        again = fastrnn.load(tmp_path / "m")
        for one in (again, copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
            assert one.frozen == model.frozen != () and snapshot(one) == snapshot(model)
            assert one.config() == model.config()
        again.unfreeze()
        assert model.frozen != ()
        values = {name: p + 1 for name, p in model.params.items()}
        model.load_state_dict(values)
        for name, value in values.items():
            assert np.array_equal(model.params[name], value)
        model.params[model.frozen[0]][...] = 0
        assert not model.params[model.frozen[0]].any()


@pytest.mark.parametrize("frozen, kind", [(["weight_xy"], ValueError), ("bias_ih_l0", TypeError), ([3], TypeError)])
def test_what_a_file_says_is_checked(frozen, kind):
    config = {**GRU(3, 4, seed=0).config(), "frozen": frozen}
    with pytest.raises(kind, match=r"config\['frozen'\]: expected"):
        fastrnn.nn.module.module_from_config(config)


@pytest.mark.parametrize("given", [False, True])
def test_resuming_goes_on_to_the_same_bits(tmp_path, given):
    class Thaw(Callback):
        """Unfreezes step by step, and saves between."""

        def on_step_end(self, trainer, logs):
            if trainer.step == 4:
                trainer.model.unfreeze("0.*l1")
            if trainer.step == 6:
                trainer.save_checkpoint(tmp_path / "c")

    arguments = {"epochs": 4, "batch_size": 3, **QUIET}
    options = {"clip_norm": 0.1, "l2": 0.01, "seed": 5}
    for optimizer in (Adam(0.01), AdamW(0.01), Adagrad(0.01, lr_decay=0.1), SGD(0.1, momentum=0.9)):
        model = tagger().freeze("0.*")
        straight = Trainer(model, optimizer=optimizer, average=EMA(0.9), callbacks=[Thaw()], **options)
        straight.fit(X, STEPS, **arguments)
        parts = {"model": tagger().freeze("1.*")} if given else {}
        resumed = Trainer.resume(tmp_path / "c", **parts)
        assert resumed.model.frozen == model.frozen != () and resumed.step == 6
        resumed.fit(X, STEPS, **arguments)
        assert snapshot(resumed.model) == snapshot(model)
        for name, value in straight.average.params.items():
            assert value.tobytes() == resumed.average.params[name].tobytes()
        state, again = straight.optimizer.state_dict(), resumed.optimizer.state_dict()
        assert state["missed"] == again["missed"]
        assert set(state["missed"].values()) == {4, 12}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_trained_later_starts_as_anew(optimizer):
    """Its t counts its own steps: the first is not taken for the fifth, which the corrections of Adam would stretch."""
    late, fresh = GRU(2, 3, seed=0, dtype="float64").freeze("bias*"), GRU(2, 3, seed=0, dtype="float64")
    one, other = optimizer(), optimizer()
    for grad in late.grads.values():
        grad[...] = 0.3
    for grad in fresh.grads.values():
        grad[...] = 0.3
    for _ in range(4):
        one.step(late.params, late.grads)
    late.unfreeze()
    for _ in range(2):
        one.step(late.params, late.grads)
        other.step(fresh.params, fresh.grads)
    assert one.steps == 6
    for name in late.params:
        assert np.array_equal(late.params[name], fresh.params[name]) == ("bias" in name)
    again = optimizer()
    again.load_state_dict(one.state_dict())
    copies = {name: p.copy() for name, p in late.params.items()}
    again.step(copies, late.grads)
    one.step(late.params, late.grads)
    for name, p in copies.items():
        assert np.array_equal(p, late.params[name])


@pytest.mark.parametrize(
    "missed, kind",
    [({"a": 0}, ValueError), ({"a": 3}, ValueError), ({"a": 1.5}, TypeError), ([1], TypeError), ({1: 1}, ValueError)],
)
def test_missed_steps_of_a_file_are_checked(missed, kind):
    optimizer = Adam()
    params, grads = ({name: np.ones(2) for name in "ab"} for _ in range(2))
    optimizer.step(params, grads)
    state = {**optimizer.state_dict(), "missed": missed}
    with pytest.raises(kind, match="missed"):
        optimizer.load_state_dict(state)
    assert optimizer.steps == 1


def test_an_optimiser_still_refuses_another_model():
    model, other = GRU(3, 4, seed=0).freeze("bias*"), LSTM(3, 4, seed=0)
    optimizer = Adam()
    optimizer.step(model.params, model.grads)
    with pytest.raises(ValueError, match="earlier steps"):
        optimizer.step(other.params, other.grads)
    with pytest.raises(ValueError, match="earlier steps"):
        optimizer.step(dict(Linear(3, 4).params), dict(Linear(3, 4).grads))


def test_a_fit_with_nothing_to_train_is_an_error():
    model = tagger().freeze()
    trainer = Trainer(model, average=EMA())
    before = snapshot(model)
    with pytest.raises(ValueError, match="model: expected a parameter to train, found all 10 frozen"):
        trainer.fit(X, STEPS, **QUIET)
    assert trainer.step == 0 and not trainer.history and changed(model, before) == set()
    assert trainer.evaluate(X, STEPS, **QUIET)["loss"] > 0
    model.unfreeze("1.bias")
    trainer.fit(X, STEPS, **QUIET)
    assert changed(model, before) == {"1.bias"}


def test_a_monitor_sees_no_update_of_it():
    model = tagger().freeze("0.*l0")
    monitor = GradientMonitor(X, STEPS, every=1, show=False)
    Trainer(model, callbacks=[monitor]).fit(X, STEPS, **QUIET)
    weights = monitor.records[-1].weights
    assert weights["0.l0"].update is None and weights["0.l1"].update > 0 and weights["1"].update > 0
    assert not any(found.kind == "updates" and found.where == "0.l0" for found in monitor.findings)

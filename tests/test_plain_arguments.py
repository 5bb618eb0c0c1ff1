"""Constructor arguments that are NumPy's: everything that a file describes by them saves, and comes back the same."""

import copy
import fractions
import inspect
import json
import pickle
import types

import numpy as np
import pytest

import fastrnn.sklearn
from fastrnn import (
    GRU,
    LSTM,
    Linear,
    Sequential,
    Trainer,
    averaging,
    callbacks,
    optim,
    save,
    schedules,
    vocab,
)
from fastrnn.check.plain import plain_scalar, plain_value
from fastrnn.models import build
from fastrnn.models.io import load
from fastrnn.nn import module

build.build_model({"type": "Dropout", "p": 0.5, "variational": False, "batch_first": False}, {})  # registers all types
OURS = {name: cls for name, cls in module._registry.items() if module.is_ours(cls)}
SIZES = {"init": {"forget_bias": 0.5, "bias": ["normal", 0.25], "recurrent": 0.125}}
# What each type needs, or takes in more forms than its default shows
NEEDED = {
    "AdaptiveSoftmax": {"in_features": 16, "n_classes": 30, "cutoffs": [5, 9], "div_value": 2.5},
    "Attention": {"kind": "additive", "query_size": 3, "memory_size": 4, "size": 5},
    "CharModel": {"vocabulary": "ab", "hidden_size": 3, "num_layers": 2, "dropout": 0.5},
    "AttentionPooling": {"features": 3, "attention_size": 4},
    "AvgPool1d": {"kernel_size": 3, "stride": 2, "padding": 1},
    "BatchNorm1d": {"num_features": 3},
    "MaxPool1d": {"kernel_size": 3, "stride": 2, "padding": 1},
    "Conv1d": {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "padding": 1},
    "Embedding": {"num_embeddings": 5, "embedding_dim": 3},
    "LayerNorm": {"features": 3},
    "Linear": {"in_features": 3, "out_features": 2},
    "OneHot": {"size": 3},
    "Rescale": {"mean": [0.5, 1.0], "scale": [2.0, 0.25]},
    "Standardize": {"mean": [0.5, 1.0], "scale": [2.0, 0.25]},
    "SampledSoftmax": {"in_features": 3, "n_classes": 9, "samples": 4},
    "Seq2Seq": {"source_size": 5, "target_size": 6, "attention_size": 3, "hidden_size": 4, "encoder_size": 3,
                "readout_size": 3, "embedding_dim": 2},
    "LSTM": {"zoneout": (0.25, 0.5), "clip": 2.5, "activations": ["sigmoid", "tanh", ["leaky_relu", 0.125]],
             "num_layers": 2, "dropout": 0.5},
    "LSTMCell": {"zoneout": (0.25, 0.5), "clip": 2.5},
}  # fmt: skip


def as_numpy(value, wide):
    """The value with each of its scalars as one of NumPy's, of 64 bits or of fewer."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return (np.int64 if wide else np.int16)(value)
    if isinstance(value, float):
        return (np.longdouble if wide else np.float32)(value)
    if isinstance(value, str):
        return np.str_(value)
    if isinstance(value, dict):
        return {as_numpy(name, wide): as_numpy(item, wide) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_numpy(item, wide) for item in value)
    return value


def held(value):
    """Floats, alone or in a tuple, as such that float32 holds."""
    if isinstance(value, tuple):
        return tuple(map(held, value))
    return float(np.float32(value)) if isinstance(value, float) else value


def arguments_of(cls, **needed):
    """Arguments of a constructor: those that it needs, and the defaults of the others; numbers that float32 holds."""
    given = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in needed:
            given[name] = needed[name]
        elif name == "seed":
            given[name] = 3
        elif parameter.default is not parameter.empty:
            default = parameter.default
            given[name] = held(default)
    return given


def module_arguments(name):
    cls, needed = OURS[name], dict(NEEDED.get(name, {}))
    if issubclass(cls, module.Module) and "hidden_size" in inspect.signature(cls).parameters and name not in (
        "CharModel", "Seq2Seq"
    ):
        needed = {"input_size": 3, "hidden_size": 4, **SIZES, **needed}
    return arguments_of(cls, **needed)


def assert_plain(value, place="config"):
    """Only what JSON has, of these very types."""
    if type(value) is dict:
        for name, item in value.items():
            assert type(name) is str, place
            assert_plain(item, f"{place}/{name}")
    elif type(value) in (list, tuple):
        for item in value:
            assert_plain(item, place)
    else:
        assert value is None or type(value) in (bool, int, float, str), f"{place}: {type(value)}"


SEVERAL = {"Sequential", "MaskedSequential", "Residual", "Concat", "Inputs"}    # take modules


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", sorted(set(OURS) - SEVERAL))
def test_every_module_takes_numpys_scalars(name, wide, tmp_path):
    arguments = module_arguments(name)
    expected = OURS[name](**arguments)
    given = as_numpy(arguments, wide)
    if "dtype" in given:
        given["dtype"] = np.dtype("float32") if wide else np.float32
    model = OURS[name](**given)
    assert_plain(model.config())
    assert model.config() == expected.config() and repr(model) == repr(expected)
    json.dumps(model.config())
    save(model, tmp_path / "m.safetensors")
    for again in (load(tmp_path / "m.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again) is type(model) and again.config() == expected.config()
        for key, value in expected.params.items():
            assert value.tobytes() == again.params[key].tobytes(), key


def test_a_network_takes_numpys_scalars(tmp_path):
    model = Sequential(GRU(3, 4, seed=0), Linear(4, 2, seed=0), batch_first=np.bool_(False),
                       tie_embeddings=np.bool_(False))
    assert_plain(model.config())
    save(model, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").config() == model.config()


def test_a_callable_initialiser_saves_as_what_it_has_drawn(tmp_path):
    drawn = LSTM(2, 3, init={"recurrent": lambda shape, rng: np.full(shape, 0.25), "forget_bias": np.float64(2)})
    save(drawn, tmp_path / "m.safetensors")
    for again in (load(tmp_path / "m.safetensors"), copy.deepcopy(drawn), pickle.loads(pickle.dumps(drawn))):
        assert again.init == {"recurrent": "given", "forget_bias": 2.0}
        assert (again.params["weight_hh_l0"] == 0.25).all() and (again.params["bias_ih_l0"][3:6] == 2).all()


def test_an_initialiser_is_the_modules_own():
    init = {"forget_bias": 1.0}
    model = LSTM(2, 3, init=init)
    init["forget_bias"] = object()
    assert model.config()["init"] == {"forget_bias": 1.0}


def test_plain_values_are_exact():
    for value, expected in {
        np.float32(0.1): float(np.float32(0.1)), np.float16(0.1): float(np.float16(0.1)), np.int64(2**62): 2**62,
        np.uint64(2**64 - 1): 2**64 - 1, np.longdouble(0.5): 0.5, fractions.Fraction(1, 4): 0.25, np.str_("a"): "a",
        np.float32: "float32", np.dtype("float64"): "float64", float: "float64",
    }.items():  # fmt: skip
        found = plain_scalar(value)
        assert found == expected and type(found) is type(expected)
    assert plain_scalar(np.bool_(True)) is True and plain_scalar(True) is True
    nested = {np.str_("a"): (np.int8(1), [np.float32(0.5), np.array([1, 2])])}
    assert plain_value(types.MappingProxyType(nested)) == {"a": (1, [0.5, [1, 2]])}
    kept = object()
    assert plain_scalar(kept) is kept


def trainer(**parts):
    return Trainer(Sequential(GRU(3, 4, seed=0), Linear(4, 2, seed=0)), **{"seed": 1, **parts})


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4, 3)), rng.integers(2, size=(6, 4))


SCHEDULES = {
    "Constant": {"lr": 0.125},
    "StepDecay": {"lr": 0.125, "every": 2},
    "ExponentialDecay": {"lr": 0.125, "gamma": 0.5},
    "CosineDecay": {"lr": 0.125, "total": 3},
    "LinearDecay": {"lr": 0.125, "total": 3},
    "OneCycle": {"lr": 0.125, "total": 3},
    "WarmUp": {"after": 0.125, "steps": 2},
    "ReduceOnPlateau": {"lr": 0.125},
    "PiecewiseConstant": {"boundaries": [1, 2], "rates": [0.5, 0.25, 0.125]},
    "Join": {"schedules": [0.5, 0.125], "boundaries": [1]},
    "Product": {"schedules": [0.5, 0.25]},
}
PARTS = {
    **{f"optimizer {name}": ("optimizer", getattr(optim, name), {})
       for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")},
    "schedule of a schedule": ("schedule", schedules.WarmUp, {"after": schedules.StepDecay(np.float32(0.5), np.int8(2)),
                                                              "steps": 1}),
    **{f"schedule {name}": ("schedule", getattr(schedules, name), needed) for name, needed in SCHEDULES.items()},
    "EMA": ("average", averaging.EMA, {}),
    "SWA": ("average", averaging.SWA, {"start": 0}),
    "EarlyStopping": ("callbacks", callbacks.EarlyStopping, {"monitor": "loss"}),
    "ProgressBar": ("callbacks", callbacks.ProgressBar, {}),
}  # fmt: skip


def test_every_schedule_is_tried():
    found = {name for name, cls in vars(schedules).items() if isinstance(cls, type) and
             issubclass(cls, schedules.Schedule) and not name.startswith("_")}
    assert found - {"Schedule", "Lambda"} == set(SCHEDULES)     # no file holds the function of a Lambda


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_every_part_of_a_trainer_takes_numpys_scalars(name, wide, tmp_path):
    argument, cls, needed = PARTS[name]

    def trained(convert):
        part = cls(**convert(arguments_of(cls, **needed)))
        t = trainer(**{argument: [part] if argument == "callbacks" else part})
        t.fit(*data(), epochs=2, batch_size=3, progress=False)
        return t

    expected, found = trained(lambda given: given), trained(lambda given: as_numpy(given, wide))
    assert dict(found.history)["loss"] == expected.history["loss"]
    found.save_checkpoint(tmp_path / "c")
    again = Trainer.resume(tmp_path / "c", callbacks=found.callbacks)
    for key, value in expected.model.params.items():
        assert value.tobytes() == again.model.params[key].tobytes(), key
    if argument in ("optimizer", "average"):
        assert getattr(again, argument).state_dict().keys() == getattr(expected, argument).state_dict().keys()


OPTIONS = {
    "clip_norm": 1.5, "clip_value": 0.5, "tbptt": (2, 4), "accumulate": 2, "l2": {"*weight*": 0.125},
    "metrics": ["accuracy"], "loss": "cross_entropy", "optimizer": "sgd", "seed": 5,
}  # fmt: skip


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_a_trainer_takes_numpys_scalars(name, wide, tmp_path):
    expected = trainer(**{name: OPTIONS[name]})
    found = trainer(**{name: as_numpy(OPTIONS[name], wide)})
    for t in (expected, found):
        t.fit(*data(), epochs=np.int64(2), batch_size=np.int64(3), progress=False)
    found.save_checkpoint(tmp_path / "c")
    again = Trainer.resume(tmp_path / "c")
    for option in ("clip_norm", "clip_value", "tbptt", "accumulate", "l2"):
        assert getattr(again, option) == getattr(expected, option)
        assert_plain(getattr(found, option), option)
    for key, value in expected.model.params.items():
        assert value.tobytes() == again.model.params[key].tobytes(), key


def test_l2_of_another_mapping_saves(tmp_path):
    t = trainer(l2=types.MappingProxyType({"*weight*": fractions.Fraction(1, 8)}))
    t.save_checkpoint(tmp_path / "c")
    assert Trainer.resume(tmp_path / "c").l2 == {"*weight*": 0.125}


def test_a_source_of_random_numbers_that_no_file_can_hold_is_refused():
    class Own(np.random.PCG64):
        @property
        def state(self):
            return {**super().state, "bit_generator": "Own"}

    with pytest.raises(ValueError, match=r"^seed\['bit_generator'\]: expected one of MT19937.*found 'Own'"):
        trainer(seed=np.random.Generator(Own(0)))


class Keeper(callbacks.Callback):
    def state_dict(self):
        return {"kept": object()}


def test_a_model_checkpoint_refuses_before_training(tmp_path):
    for change, place in (
        (lambda t: t.callbacks.insert(0, Keeper()), "state/callbacks/0/state/kept"),
        (lambda t: t.notes.update(a=[1, object()]), "state/notes/a/1"),
    ):
        t = trainer(callbacks=[callbacks.ModelCheckpoint(tmp_path / "m")])
        change(t)
        before = t.model.state_dict()
        with pytest.raises(TypeError, match=f"^{place}: expected a number, .* found object"):
            t.fit(*data(), progress=False)
        assert all((value == before[key]).all() for key, value in t.model.params.items())
        assert t.step == 0 and list(tmp_path.iterdir()) == []


def test_a_progress_bars_delay_is_a_number():
    with pytest.raises(TypeError, match=r"^delay: expected a number, found 'soon'$"):
        callbacks.ProgressBar("soon")


def test_a_vocabulary_takes_numpys_scalars(tmp_path):
    words = vocab.Vocabulary(["a b a"], specials=[np.str_("unk")])
    words.save(tmp_path / "v.json")
    assert vocab.Vocabulary.load(tmp_path / "v.json").config() == words.config()


ESTIMATORS = {
    "RNNClassifier": {"class_weight": {0: 1.0, 1: 2.0}, "frame_size": 1},
    "RNNRegressor": {},
    "RNNTagger": {},
    "RNNForecaster": {"window": 3, "season": 1, "interval": "quantile"},
    "RNNAnomalyDetector": {},
}


def predicted(estimator, X):
    return estimator.predict() if isinstance(estimator, fastrnn.sklearn.RNNForecaster) else estimator.predict(X)


def fitted(name, convert, **parts):
    cls = getattr(fastrnn.sklearn, name)
    needed = {"hidden_size": 2, "epochs": 1, "random_state": 4, **ESTIMATORS[name]}
    arguments = convert(arguments_of(cls, **needed))
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(8, 5, 2)), rng.integers(2, size=8)
    if name == "RNNTagger":
        y = rng.integers(2, size=(8, 5))
    if name in ("RNNForecaster", "RNNAnomalyDetector"):
        X, y = rng.normal(size=(40, 2)), None
    return cls(**{**arguments, **parts}).fit(X, y), X


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_takes_numpys_scalars(name, wide, tmp_path):
    expected, X = fitted(name, lambda given: given)
    dtype = np.dtype("float32") if wide else np.float32
    found, _ = fitted(name, lambda given: as_numpy(given, wide), dtype=dtype)
    found.save(tmp_path / "e")
    again = fastrnn.sklearn.load(tmp_path / "e")
    np.testing.assert_array_equal(predicted(again, X), predicted(expected, X))
    for parameter, value in again.get_params().items():
        if type(value) is not dict:
            assert_plain(value, parameter)
        assert value == expected.get_params()[parameter] or parameter == "dtype", parameter
    assert again.dtype == "float32"


@pytest.mark.parametrize("dtype", [float, np.float64, np.dtype("float64"), "d"])
def test_an_estimators_dtype_in_any_form_saves(dtype, tmp_path):
    found, X = fitted("RNNRegressor", lambda given: given, dtype=dtype)
    found.save(tmp_path / "e")
    again = fastrnn.sklearn.load(tmp_path / "e")
    assert again.network_.dtype == np.float64
    np.testing.assert_array_equal(again.predict(X), found.predict(X))


@pytest.mark.parametrize("name", ["RandomState", "numpy.random", "long double"])
def test_an_estimators_sources_and_numbers_save(name, tmp_path):
    parts = {"RandomState": {"random_state": np.random.RandomState(3)}, "numpy.random": {"random_state": np.random},
             "long double": {"learning_rate": np.longdouble(0.125)}}[name]
    found, X = fitted("RNNClassifier", lambda given: given, **parts)
    found.save(tmp_path / "e")
    again = fastrnn.sklearn.load(tmp_path / "e")
    np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))
    if name == "RandomState":
        assert again.random_state.randint(2**31) == found.random_state.randint(2**31)


@pytest.mark.parametrize("kind", ["M8[D]", "M8[ns]", "m8[s]", "M8[us]"])
def test_classes_that_are_times_save(kind, tmp_path):
    classes = np.array([3, 70_000], kind)
    X = np.random.default_rng(0).normal(size=(6, 3))
    found = fastrnn.sklearn.RNNClassifier(hidden_size=2, epochs=1, random_state=0).fit(X, classes[[0, 1, 0, 1, 0, 1]])
    found.save(tmp_path / "e")
    again = fastrnn.sklearn.load(tmp_path / "e")
    assert again.classes_.dtype == classes.dtype and (again.classes_ == classes).all()
    assert (again.predict(X) == found.predict(X)).all()


REFUSED = {
    "a bit generator": ({"random_state": np.random.RandomState(np.random.PCG64(0))},
                        r"^random_state: its bit generator: expected one of 'MT19937'; found 'PCG64'"),
    "verbose": ({"verbose": object()}, "^verbose: expected a number, .*found object"),
    "a class weight": ({"class_weight": {0: object()}}, "^class_weight.*found object"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_estimator_refuses_when_fitted_what_no_file_can_hold(name):
    parts, message = REFUSED[name]
    estimator = fastrnn.sklearn.RNNClassifier(hidden_size=2, epochs=1, **parts)
    with pytest.raises((TypeError, ValueError), match=message):
        estimator.fit(np.zeros((4, 3)), [0, 1, 0, 1])
    assert not hasattr(estimator, "network_")

"""Fitted estimators in files: arrays and plain values, never pickled.

A file is data: its estimator is looked up in a table of ours, its values are held to tables of what an estimator's
constructor takes and its fit sets. Nothing else that an object can have is taken from it.
"""

import re

import numpy as np
from sklearn.utils import check_random_state

from .._check import (
    check_arrays,
    check_bit_generator,
    check_bool,
    check_count,
    check_figure,
    check_history,
    check_number,
    check_optional,
    check_positive_int,
    check_vector,
)
from ..files.checkpoint import read_checkpoint, write_checkpoint
from ..files.wholefile import naming
from ..models.build import build_model
from ..nn.layers import Dropout, LastStep, Linear, MeanOverTime
from ..nn.module import Module
from ..nn.sequential import Sequential
from ..train.fit.history import History
from .anomaly import RNNAnomalyDetector
from .base import CELLS
from .classifier import RNNClassifier
from .forecaster import RNNForecaster
from .inputs import Scaler
from .regressor import RNNRegressor
from .tagger import RNNTagger

ESTIMATORS = {
    cls.__name__: cls for cls in (RNNAnomalyDetector, RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger)
}
MOST_LABEL_BYTES = 32_000_000  # of the labels of one array, which are all as wide as the longest
_LABELS = re.compile(r"[<>=|]?(U\d{1,9}|O|[mM]8(\[\d{0,9}[A-Za-z]{1,2}\])?)")


def save(estimator, path):
    """Write a fitted estimator to `path` in one step; see `RecurrentEstimator.save`."""
    names = (*estimator.get_params(deep=False), *_fitted(type(estimator)))
    state = {name: vars(estimator)[name] for name in names if name in vars(estimator)}
    write_checkpoint(path, {"estimator": type(estimator).__name__, "state": _plain(state)})


def load(path):
    """The fitted estimator that its `save` wrote to `path`.

    Raises
    ------
    ValueError
        Naming the path, what was expected and what was found: a file of another kind, or a damaged one.
    """
    tree = read_checkpoint(path)
    name = tree.get("estimator") if isinstance(tree, dict) else None
    if not isinstance(name, str) or name not in ESTIMATORS or tree.keys() != {"estimator", "state"}:
        raise ValueError(f"{path}: expected an estimator of fastrnn.sklearn, found another checkpoint")
    with naming(path, f"a fitted {name} of this version"):
        return _estimator(ESTIMATORS[name], _rich(tree["state"]))


def _estimator(cls, state):
    """The estimator with what its file says, every value of which is checked."""
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise TypeError("expected a dict of the estimator's values")
    estimator = cls()
    parameters = estimator.get_params(deep=False).keys()
    fitted = _fitted(cls)
    unknown = [name for name in state if name not in parameters and name not in fitted]
    needed = [name for name in _NEEDED[cls] if name not in state]
    if unknown or needed:
        raise ValueError(f"expected what {cls.__name__} is made of and its fit sets, found "
                         f"{', '.join(map(repr, unknown))[:200] or 'nothing'} beside it"
                         f"{', and no ' if needed else ''}{', '.join(needed)}")
    estimator.set_params(**{name: value for name, value in state.items() if name in parameters})
    check_random_state(estimator.random_state)
    estimator._check_params()
    for name, value in state.items():
        if name in fitted:
            fitted[name](value, name)
            vars(estimator)[name] = value
    _check_together(estimator)
    estimator._optimizer = estimator._random = None
    return estimator


def _fitted(cls):
    """What a fit sets -> the check of its value."""
    common = {
        "network_": _network,
        "history_": _history,
        "loss_curve_": _loss_curve,
        "n_iter_": check_count,
        "n_features_in_": check_positive_int,
        "feature_names_in_": _labels,
        "_best_epoch": check_count,
        "_of_table": check_bool,
        "_scaler": check_optional(_scaler),
        "_class_weight": check_optional(check_vector),
    }
    own = next(table for kind, table in _FITTED.items() if issubclass(cls, kind))
    return {**common, **own}


def _is(kind):
    def check(value, name):
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
        return value

    return check


_history, _scaler = _is(History), _is(Scaler)


def _network(value, name):
    """What `_network` of an estimator makes: a runner, perhaps a pooling module and dropout, and a linear layer."""
    parts = _is(Sequential)(value, name).modules
    if (
        type(value) is not Sequential
        or len(parts) < 2
        or type(parts[0]) not in CELLS.values()
        or type(parts[-1]) is not Linear
        or not all(type(part) in (LastStep, MeanOverTime, Dropout) for part in parts[1:-1])
    ):
        raise ValueError(f"{name}: expected a recurrent layer and a linear one, found others")


def _loss_curve(value, name):
    check_history({name: value}, "state")


def _labels(value, name):
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not value.size or value.dtype.kind not in "OUfiubMm":
        raise ValueError(f"{name}: expected an array (n,) of labels, found another value")


def _shape(value, name):
    if not isinstance(value, tuple) or len(value) > 1:
        raise ValueError(f"{name}: expected the shape of a target, found another value")
    for n in value:
        check_positive_int(n, name)


def _arrays(value, name):
    if not isinstance(value, list) or not value:
        raise TypeError(f"{name}: expected a list of arrays, found {type(value).__name__}")
    check_arrays({str(k): array for k, array in enumerate(value)}, name)


def _form(value, name):
    if not isinstance(value, tuple) or len(value) != 2 or value[0] not in ("one", "list", "stack"):
        raise ValueError(f"{name}: expected the form of the series, found another value")
    for flat in _is(list)(value[1], name):
        check_bool(flat, name)


def _spread(value, name):
    check_vector(np.ravel(value), name, low=0)


def _path_seed(value, name):
    check_positive_int(value, name, low=0)


def _matrix(value, name):
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype != np.float64:
        raise ValueError(f"{name}: expected a matrix of float64, found another value")


_SUPERVISED = {"frame_size_": check_positive_int}
_FITTED = {
    RNNClassifier: {**_SUPERVISED, "classes_": _labels},
    RNNTagger: {**_SUPERVISED, "classes_": _labels},
    RNNRegressor: {**_SUPERVISED, "_target_scaler": check_optional(_scaler), "_target_shape": _shape},
    RNNForecaster: {
        "window_": check_positive_int, "_lag": check_count, "_path_seed": _path_seed, "_spread": _spread,
        "_ends": _arrays, "_form": _form, "_target_scaler": _scaler,
    },
    RNNAnomalyDetector: {"_error_mean": check_vector, "_whiten": _matrix, "offset_": check_figure},
}  # fmt: skip
_ALWAYS = ("network_", "n_features_in_", "_scaler")
_NEEDED = {
    RNNClassifier: (*_ALWAYS, "frame_size_", "classes_"),
    RNNTagger: (*_ALWAYS, "frame_size_", "classes_"),
    RNNRegressor: (*_ALWAYS, "frame_size_", "_target_scaler", "_target_shape"),
    RNNForecaster: (*_ALWAYS, "window_", "_lag", "_path_seed", "_spread", "_ends", "_form"),
    RNNAnomalyDetector: (*_ALWAYS, "_error_mean", "_whiten", "offset_"),
}


def _check_together(estimator):
    """That the parts belong together: what a step of the data has, the scales, what the network takes and puts out."""
    network, features = estimator.network_, estimator.n_features_in_
    if isinstance(estimator, (RNNForecaster, RNNAnomalyDetector)):
        inputs, scaled = features, features
    else:
        scaled = 1 if estimator._of_table else features
        inputs = scaled * estimator.frame_size_
    if isinstance(estimator, RNNForecaster):
        outputs = estimator._strategy.targets * estimator._head.width
    elif isinstance(estimator, RNNAnomalyDetector):
        outputs = features
    else:
        outputs = estimator._outputs
    _expect("network_ inputs", inputs, network.modules[0].input_size)
    _expect("network_ width", network.modules[0].output_size, network.modules[-1].in_features)
    _expect("network_ outputs", outputs, network.modules[-1].out_features)
    _expect("network_ dtype", np.dtype(estimator.dtype), network.dtype)
    if estimator._scaler is not None:
        _expect("_scaler", scaled, estimator._scaler.mean.size)
    if isinstance(estimator, (RNNClassifier, RNNTagger)) and estimator._class_weight is not None:
        _expect("_class_weight", outputs, estimator._class_weight.size)
    if isinstance(estimator, RNNRegressor) and estimator._target_scaler is not None:
        _expect("_target_scaler", outputs, estimator._target_scaler.mean.size)
    if hasattr(estimator, "feature_names_in_"):
        _expect("feature_names_in_", features, estimator.feature_names_in_.size)
    if isinstance(estimator, RNNAnomalyDetector):
        _expect("_error_mean", features, estimator._error_mean.size)
        _expect("_whiten", (features, features), estimator._whiten.shape)
        check_number(estimator.offset_, "offset_")
    if isinstance(estimator, RNNForecaster):
        _expect("_lag", estimator.season or 0, estimator._lag)
        _expect("_form", len(estimator._ends), len(estimator._form[1]))
        for end in estimator._ends:
            _expect("_ends", (estimator._lag + estimator.window_, features), end.shape)
        if estimator.mode == "direct":
            _expect("_target_scaler", estimator._strategy.targets, estimator._target_scaler.mean.size)
        _expect("_spread", True, np.size(estimator._spread) in (1, estimator._strategy.targets))


def _expect(name, expected, found):
    if expected != found:
        raise ValueError(f"{name}: expected {expected!s:.80}, found {found!s:.80}")


def _plain(value):
    """`value` as `write_checkpoint` takes it; what is no plain value becomes a dict with the entry "is"."""
    if isinstance(value, Module):
        return {"is": "module", "config": value.config(), "params": value.state_dict()}
    if isinstance(value, Scaler):
        return {"is": "scaler", "state": {"mean": value.mean, "scale": value.scale}}
    if isinstance(value, History):
        return {"is": "history", "figures": dict(value)}
    if isinstance(value, np.random.RandomState):
        return {"is": "random", "state": value.get_state(legacy=False)}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiub":
        return {"is": "labels", "values": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, dict):  # also of labels, such as class weights
        return {"is": "dict", "items": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


def _rich(value):
    """The reverse of `_plain`."""
    if isinstance(value, (list, tuple)):
        return type(value)(_rich(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get("is")
    if not isinstance(kind, str) or kind not in _KINDS or value.keys() != {"is", *_KINDS[kind][0]}:
        raise ValueError(f"expected a value that says what it is, found {kind!r:.80}")
    names, function = _KINDS[kind]
    return function(*(value[name] for name in names))


def _rich_module(config, params):
    check_arrays(params, "params")
    module = build_model(config, params)
    module.load_state_dict(params)
    return module


def _rich_scaler(state):
    if not isinstance(state, dict) or state.keys() != {"mean", "scale"}:
        raise ValueError("expected the mean and the scale of each feature")
    scaler = object.__new__(Scaler)
    scaler.mean = check_vector(state["mean"], "mean")
    scaler.scale = check_vector(state["scale"], "scale", scaler.mean.size, above=0)
    return scaler


def _rich_history(figures):
    history = History()
    history.update(check_history(figures, "history_"))
    return history


def _rich_random(state):
    if not isinstance(state, dict) or not {"has_gauss", "gauss"} < state.keys():
        raise ValueError("random_state: expected the state of a generator")
    state = dict(state)
    gauss = {"has_gauss": check_positive_int(state.pop("has_gauss"), "has_gauss", 0, 1),
             "gauss": check_number(state.pop("gauss"), "gauss")}
    if check_bit_generator(state, "random_state") != "MT19937":
        raise ValueError(f"random_state: expected the generator 'MT19937', found {state['bit_generator']!r}")
    random = np.random.RandomState(0)
    random.set_state({**state, **gauss})
    return random


def _rich_labels(values, dtype):
    """An array of labels, which takes no more memory than labels do."""
    if not isinstance(values, list) or not all(isinstance(v, (str, int, float, type(None))) for v in values):
        raise TypeError("expected a list of labels")
    if not isinstance(dtype, str) or not _LABELS.fullmatch(dtype):
        raise ValueError(f"expected the dtype of labels, found {dtype!r:.80}")
    width = max((len(value) for value in values if isinstance(value, str)), default=1)
    if "U" in dtype and len(values) * max(width, np.dtype(dtype).itemsize // 4) * 4 > MOST_LABEL_BYTES:
        raise ValueError(f"expected labels of at most {MOST_LABEL_BYTES} bytes in all, found {len(values)} of up to "
                         f"{width} characters as {dtype}")
    if "U" in dtype and not all(isinstance(value, str) for value in values):
        raise TypeError(f"expected a list of strings for {dtype}")
    return np.array(values, dtype=dtype)


def _rich_dict(items):
    if not isinstance(items, list) or not all(isinstance(item, (list, tuple)) and len(item) == 2 for item in items):
        raise TypeError("expected a list of pairs for a dict")
    return {_key(_rich(key)): _rich(item) for key, item in items}


def _key(key):
    if not isinstance(key, (str, int, float, type(None))):
        raise TypeError(f"expected labels as keys, found {type(key).__name__}")
    return key


_KINDS = {
    "module": (("config", "params"), _rich_module),
    "scaler": (("state",), _rich_scaler),
    "history": (("figures",), _rich_history),
    "random": (("state",), _rich_random),
    "labels": (("values", "dtype"), _rich_labels),
    "dict": (("items",), _rich_dict),
}

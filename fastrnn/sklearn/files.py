"""Fitted estimators in files: arrays and plain values, never pickled.

A file is data: its estimator is looked up in a table of ours, its values are held to what that estimator's constructor
takes and to `_fitted`, the table of what its fit sets. Nothing else that an object can have is taken from it.
"""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state

from ..check.values import check_number
from ..files.checkpoint import read_checkpoint
from ..files.wholefile import naming
from .anomaly import RNNAnomalyDetector
from .classifier import RNNClassifier
from .forecaster import RNNForecaster
from .regressor import RNNRegressor
from .tagger import RNNTagger
from .values import rich

if TYPE_CHECKING:
    from typing import Any

    from .._types import PathLike

ESTIMATORS = {
    cls.__name__: cls for cls in (RNNAnomalyDetector, RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger)
}


def load(path: "PathLike") -> "Any":
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
        return _estimator(ESTIMATORS[name], rich(tree["state"]))


def _estimator(cls, state):
    """The estimator with what its file says, every value of which is checked."""
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise TypeError("expected a dict of the estimator's values")
    estimator = cls()
    parameters = estimator.get_params(deep=False).keys()
    fitted = cls._fitted
    unknown = [name for name in state if name not in parameters and name not in fitted]
    needed = [name for name in cls._needed if name not in state]
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
    if isinstance(estimator, RNNRegressor) and estimator._target_names is not None:
        _expect("_target_names", outputs, estimator._target_names.size)
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
        _expect("_calendars", True, len(estimator._calendars) in (0, len(estimator._ends)))
        for one in estimator._calendars:
            _expect("_calendars", True, one is None or one[-1] is None or len(one[-1]) == features)
        for end in estimator._ends:
            _expect("_ends", (estimator._lag + estimator.window_, features), end.shape)
        if estimator.mode == "direct":
            _expect("_target_scaler", estimator._strategy.targets, estimator._target_scaler.mean.size)
        _expect("_spread", True, np.size(estimator._spread) in (1, estimator._strategy.targets))


def _expect(name, expected, found):
    if expected != found:
        raise ValueError(f"{name}: expected {expected!s:.80}, found {found!s:.80}")

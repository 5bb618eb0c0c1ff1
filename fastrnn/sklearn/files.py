"""Fitted estimators in files: arrays and plain values, never pickled."""

import numpy as np

from ..checkpoint import build_model, read_checkpoint, write_checkpoint
from ..history import History
from ..module import Module
from .base import SESSION
from .inputs import Scaler

LEFT_OUT = ("_optimizer", "_random", *SESSION)  # a loaded estimator starts these anew


def save(estimator, path):
    """Write a fitted estimator to `path` in one step; see `RecurrentEstimator.save`."""
    state = {name: value for name, value in vars(estimator).items() if name not in LEFT_OUT}
    write_checkpoint(path, {"estimator": type(estimator).__name__, "state": _plain(state)})


def load(path):
    """The fitted estimator that its `save` wrote to `path`.

    Raises
    ------
    ValueError
        Naming the path, what was expected and what was found: a file of another kind, or a damaged one.
    """
    from . import __all__ as names
    from . import anomaly, classifier, forecaster, regressor, tagger

    tree = read_checkpoint(path)
    homes = (anomaly, classifier, forecaster, regressor, tagger)
    name = tree.get("estimator")
    if name not in names:
        raise ValueError(f"{path}: expected an estimator of fastrnn.sklearn, found another checkpoint")
    estimator = next(getattr(home, name) for home in homes if hasattr(home, name))()
    vars(estimator).update(_rich(tree["state"]), _optimizer=None, _random=None)
    return estimator


def _plain(value):
    """`value` as `write_checkpoint` takes it; what is no plain value becomes a dict with the entry "is"."""
    if isinstance(value, Module):
        return {"is": "module", "config": value.config(), "params": value.state_dict()}
    if isinstance(value, Scaler):
        return {"is": "scaler", "state": vars(value)}
    if isinstance(value, History):
        return {"is": "history", "figures": dict(value)}
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
    kind = value["is"]
    if kind == "module":
        module = build_model(value["config"])
        module.load_state_dict(value["params"])
        return module
    if kind == "scaler":
        scaler = object.__new__(Scaler)
        vars(scaler).update(value["state"])
        return scaler
    if kind == "history":
        history = History()
        history.update(value["figures"])
        return history
    if kind == "labels":
        return np.array(value["values"], dtype=value["dtype"])
    return {_rich(key): _rich(item) for key, item in value["items"]}

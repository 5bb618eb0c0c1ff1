"""What an estimator is made of as plain values that a checkpoint holds, and back."""

import re

import numpy as np

from ..check.arrays import check_vector
from ..check.plain import plain_scalar
from ..check.saved import check_arrays, check_bit_generator, check_history
from ..check.values import check_number, check_positive_int
from ..models.build import build_model
from ..nn.module import Module
from ..train.fit.history import History
from .inputs import Scaler

MOST_LABEL_BYTES = 32_000_000  # of the labels of one array, which are all as wide as the longest
_LABELS = re.compile(r"[<>=|]?(U\d{1,9}|O|[mM]8(\[\d{0,9}[A-Za-z]{1,2}\])?)")


def plain(value):
    """`value` as `write_checkpoint` takes it; what is no plain value becomes a dict with the entry "is"."""
    if isinstance(value, Module):
        return {"is": "module", "config": value.config(), "params": value.state_dict()}
    if isinstance(value, Scaler):
        return {"is": "scaler", "state": {"mean": value.mean, "scale": value.scale}}
    if isinstance(value, History):
        return {"is": "history", "figures": dict(value)}
    if isinstance(value, np.random.RandomState):
        return {"is": "random", "state": value.get_state(legacy=False)}
    if value is np.random:  # NumPy's own generator, as None
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiub":
        values = value.view(np.int64) if value.dtype.kind in "mM" else value
        return {"is": "labels", "values": values.tolist(), "dtype": value.dtype.str}
    if isinstance(value, dict):  # also of labels, such as class weights
        return {"is": "dict", "items": [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return plain_scalar(value)


def rich(value):
    """The reverse of `plain`."""
    if isinstance(value, (list, tuple)):
        return type(value)(rich(item) for item in value)
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
    return {_key(rich(key)): rich(item) for key, item in items}


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

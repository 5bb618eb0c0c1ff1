"""Checks of what a fit has set, when it comes from a file."""

import numpy as np

from ..check.arrays import check_vector
from ..check.saved import check_arrays, check_history
from ..check.values import check_bool, check_positive_int
from ..train.fit.history import History
from .inputs import Scaler


def is_a(kind):
    def check(value, name):
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
        return value

    return check


check_figures, check_scaler = is_a(History), is_a(Scaler)


def check_loss_curve(value, name):
    check_history({name: value}, "state")


def check_labels(value, name):
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not value.size or value.dtype.kind not in "OUfiubMm":
        raise ValueError(f"{name}: expected an array (n,) of labels, found another value")


def check_shape(value, name):
    if not isinstance(value, tuple) or len(value) > 1:
        raise ValueError(f"{name}: expected the shape of a target, found another value")
    for n in value:
        check_positive_int(n, name)


def check_ends(value, name):
    if not isinstance(value, list) or not value:
        raise TypeError(f"{name}: expected a list of arrays, found {type(value).__name__}")
    check_arrays({str(k): array for k, array in enumerate(value)}, name)


def check_form(value, name):
    if not isinstance(value, tuple) or len(value) != 2 or value[0] not in ("one", "list", "stack"):
        raise ValueError(f"{name}: expected the form of the series, found another value")
    for flat in is_a(list)(value[1], name):
        check_bool(flat, name)


def check_spread(value, name):
    check_vector(np.ravel(value), name, low=0)


def check_path_seed(value, name):
    check_positive_int(value, name, low=0)


def check_matrix(value, name):
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype != np.float64:
        raise ValueError(f"{name}: expected a matrix of float64, found another value")

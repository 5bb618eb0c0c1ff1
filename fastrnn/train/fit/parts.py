"""The parts of a trainer, by name or by value."""

from collections.abc import Mapping

from ...check.params import matching_names
from ...check.values import check_entries_of, check_number, shown
from .. import optim
from ..callbacks import Callback

OPTIMIZERS = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


def find_optimizer(optimizer):
    """The optimiser of this name, or `optimizer` itself."""
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise ValueError(f"optimizer: expected one of {known} or an optimiser; found {shown(optimizer)}")
        return OPTIMIZERS[optimizer]()
    return instance(optimizer, optim.Optimizer, "optimizer: expected a name or an optimiser of fastrnn")


def instance(value, kind, message):
    """`value`, or a TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"{message}, found {type(value).__name__}")
    return value


def optional(value, kind, message):
    """As `instance`, or None."""
    return value if value is None else instance(value, kind, f"{message} or None")


def find_l2(l2, params, sparse=()):
    """dict of name -> factor, from a number for all weights of two axes or more, or a dict of pattern -> number.

    None of the names is among the `sparse` gradients, as every row would have a part of this gradient.
    """
    found = {}
    if isinstance(l2, Mapping):
        for pattern, factor in l2.items():
            names = matching_names(params, [pattern], "l2")
            found.update(dict.fromkeys(names, check_number(factor, f"l2[{shown(pattern)}]", low=0)))
    elif factor := check_number(l2, "l2", low=0):
        found = {name: factor for name, p in params.items() if p.ndim > 1}
    for name in sparse:
        if name in found:
            raise ValueError(f"l2: expected names without the sparse gradient of {name!r}, found {found[name]} for it")
    return found


def find_callbacks(callbacks):
    """A list of the callbacks; those that record the others' state come last."""
    callbacks = check_entries_of(() if callbacks is None else callbacks, "callbacks", "a sequence")
    for callback in callbacks:
        instance(callback, Callback, "callbacks: expected instances of fastrnn.callbacks.Callback")
    return sorted(callbacks, key=lambda callback: callback.last)

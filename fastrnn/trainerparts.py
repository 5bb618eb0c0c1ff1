"""The parts that a trainer is put together from: by name, by value, and back from a checkpoint."""

import fnmatch
import functools
import inspect
import warnings
from collections.abc import Mapping

import numpy as np

from . import _kernels, averaging, losses, optim, schedules
from ._check import check_number
from .callbacks import Callback
from .threads import get_num_threads

OPTIMIZERS = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}
LOSSES = ("cross_entropy", "mse", "mae", "huber", "binary_cross_entropy", "quantile", "gaussian_nll", "ctc")


def find_loss(loss):
    """A function of `fastrnn.losses` by its name, or any other function as it is."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)} or a function; found {loss!r}")
        return getattr(losses, loss)
    if not callable(loss):
        raise TypeError(f"loss: expected a name or a function, found {type(loss).__name__}")
    return loss


def loss_name(loss):
    """The name of one of this package's losses, None for any other function."""
    name = getattr(loss, "__name__", "")
    return name if getattr(losses, name, None) is loss else None


def takes_labels(loss):
    """Whether the targets of a loss are labels, of any number for each sequence."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss is losses.ctc


def find_optimizer(optimizer):
    """An optimiser by its name, or as it is."""
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)} or an optimiser; found {optimizer!r}")
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


def bound(value, name):
    """A number above 0, or None."""
    return None if value is None else check_number(value, name, above=0)


def find_l2(l2, params):
    """name -> factor for a number, which is for all weights of two axes or more, or a dict of pattern -> number."""
    if not isinstance(l2, Mapping):
        factor = check_number(l2, "l2", low=0)
        return {name: factor for name, p in params.items() if p.ndim > 1} if factor else {}
    found = {}
    for pattern, factor in l2.items():
        names = fnmatch.filter(params, str(pattern))
        if not names:
            raise ValueError(f"l2: expected patterns of parameters, {', '.join(params)}; found {pattern!r}")
        found.update(dict.fromkeys(names, check_number(factor, f"l2[{pattern!r}]", low=0)))
    return found


def find_callbacks(callbacks):
    """A list in which those that record the others' state are last."""
    try:
        callbacks = list(() if callbacks is None else callbacks)
    except TypeError:
        raise TypeError(f"callbacks: expected a sequence, found {type(callbacks).__name__}") from None
    for callback in callbacks:
        instance(callback, Callback, "callbacks: expected instances of fastrnn.callbacks.Callback")
    return sorted(callbacks, key=lambda callback: callback.last)


def machine():
    """What the bits of training depend on beside the data and the seed."""
    return {"threads": get_num_threads(), "isa": _kernels.isa()}


def check_machine(saved):
    """Warn where training goes on with another number of threads or another instruction set."""
    differ = [f"{name} {now}, then {saved[name]}" for name, now in machine().items() if saved[name] != now]
    if differ:
        warnings.warn(
            f"training goes on, but not to the last bit as it would have: {'; '.join(differ)}",
            RuntimeWarning,
            stacklevel=4,
        )


def schedule_config(schedule):
    """A schedule's type and constructor arguments; its own attributes have their names."""
    config = {"type": type(schedule).__name__}
    for name in inspect.signature(type(schedule)).parameters:
        value = getattr(schedule, "base_lr" if name == "lr" else name)
        config[name] = schedule_config(value) if isinstance(value, schedules.Schedule) else value
    return config


def schedule_from_config(config):
    """The schedule that `schedule_config` describes."""
    values = {
        name: schedule_from_config(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name != "type"
    }
    return rebuild(schedules, config["type"], values, "schedule")


def rebuild_saved(module, state, what):
    """The optimiser or average of one of a module's types that has this saved state, which is to be loaded."""
    return rebuild(module, state["type"], state["hyper"], what)


def rebuild(module, name, arguments, what):
    """An object of the type that a module has under this name."""
    if not hasattr(module, name):
        raise ValueError(f"{what}: expected the {name} that the checkpoint was trained with, found None")
    return getattr(module, name)(**arguments)


def rebuild_optimizer(state):
    return rebuild_saved(optim, state, "optimizer")


def rebuild_average(state):
    return rebuild_saved(averaging, state, "average")


def generator(state):
    """A generator of the kind that a bit generator's state belongs to, in that state."""
    rng = np.random.Generator(getattr(np.random, state["bit_generator"])())
    rng.bit_generator.state = state
    return rng

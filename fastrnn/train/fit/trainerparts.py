"""The parts that a trainer is put together from: by name, by value, and back from a checkpoint."""

import fnmatch
import functools
import inspect
import warnings
from collections.abc import Mapping

import numpy as np

from ... import _kernels
from ..._check import check_bit_generator, check_entries_of, check_number, check_text, shown
from ...threads import get_num_threads
from .. import averaging, losses, optim, schedules
from ..callbacks import Callback

OPTIMIZERS = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}
LOSSES = {function.__name__: function for function in (
    losses.cross_entropy, losses.mse, losses.mae, losses.huber, losses.binary_cross_entropy, losses.quantile,
    losses.gaussian_nll, losses.ctc,
)}  # fmt: skip
# What a checkpoint may name: this package's own, nothing else that a module happens to hold.
OPTIMIZER_TYPES = {cls.__name__: cls for cls in OPTIMIZERS.values()}
AVERAGE_TYPES = {cls.__name__: cls for cls in (averaging.EMA, averaging.SWA)}
SCHEDULE_TYPES = {cls.__name__: cls for cls in (
    schedules.Constant, schedules.StepDecay, schedules.ExponentialDecay, schedules.CosineDecay, schedules.LinearDecay,
    schedules.OneCycle, schedules.WarmUp, schedules.ReduceOnPlateau,
)}  # fmt: skip
BIT_GENERATOR_TYPES = {cls.__name__: cls for cls in (
    np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64,
)}  # fmt: skip
MOST_PATTERNS = 1000  # of `l2` in a checkpoint


def find_loss(loss):
    """A function of `fastrnn.losses` by its name, or any other function as it is."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)} or a function; found {shown(loss)}")
        return LOSSES[loss]
    if not callable(loss):
        raise TypeError(f"loss: expected a name or a function, found {type(loss).__name__}")
    return loss


def loss_name(loss):
    """The name of one of this package's losses, None for any other function."""
    return next((name for name, function in LOSSES.items() if function is loss), None)


def takes_labels(loss):
    """Whether the targets of a loss are labels, of any number for each sequence."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss is losses.ctc


def find_optimizer(optimizer):
    """An optimiser by its name, or as it is."""
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
            raise ValueError(f"l2: expected patterns of parameters, {', '.join(params)}; found {shown(pattern)}")
        found.update(dict.fromkeys(names, check_number(factor, f"l2[{shown(pattern)}]", low=0)))
    return found


def find_callbacks(callbacks):
    """A list in which those that record the others' state are last."""
    callbacks = check_entries_of(() if callbacks is None else callbacks, "callbacks", "a sequence")
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
    if not isinstance(config, Mapping):
        raise TypeError(f"schedule: expected a dict that describes one, found {type(config).__name__}")
    values = {
        name: schedule_from_config(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name != "type"
    }
    return rebuild(SCHEDULE_TYPES, config.get("type"), values, "schedule")


def rebuild(types, name, arguments, what):
    """An object of the type that has this name in one of the tables above."""
    if not isinstance(name, str) or name not in types:
        raise ValueError(f"{what}: expected the {name!s:.80} that the checkpoint was trained with, found None")
    cls = types[name]
    if not isinstance(arguments, Mapping) or arguments.keys() != inspect.signature(cls).parameters.keys():
        raise ValueError(f"{what}: expected the arguments of {name}, {', '.join(inspect.signature(cls).parameters)}; "
                         "found others")
    return cls(**arguments)


def rebuild_optimizer(state):
    """The optimiser that has this saved state, which is to be loaded."""
    return rebuild(OPTIMIZER_TYPES, state.get("type"), state.get("hyper"), "optimizer")


def rebuild_average(state):
    """The average that has this saved state, which is to be loaded."""
    return rebuild(AVERAGE_TYPES, state.get("type"), state.get("hyper"), "average")


def generator(state):
    """A generator of the kind that a bit generator's state belongs to, in that state."""
    rng = np.random.Generator(BIT_GENERATOR_TYPES[check_bit_generator(state, "rng")](0))
    rng.bit_generator.state = state
    return rng


def check_options(options, names):
    """The trainer's options in a checkpoint: what takes no more time to check than it should."""
    if not isinstance(options, Mapping) or options.keys() != set(names):
        raise ValueError(f"options: expected {', '.join(names)}; found others")
    l2 = options["l2"]
    if isinstance(l2, Mapping):
        if len(l2) > MOST_PATTERNS:
            raise ValueError(f"l2: expected at most {MOST_PATTERNS} patterns, found {len(l2)}")
        for pattern in l2:
            check_text(pattern, "l2")
    return options

"""A trainer's parts as a checkpoint describes them, and back from there."""

import inspect
import warnings
from collections.abc import Mapping

import numpy as np

from ...check.saved import check_bit_generator, check_text
from ...engine.runtime import _kernels
from ...threads import get_num_threads
from .. import averaging, schedules
from .parts import OPTIMIZERS

# The types that a checkpoint may name: only this package's own.
OPTIMIZER_TYPES = {cls.__name__: cls for cls in OPTIMIZERS.values()}
AVERAGE_TYPES = {cls.__name__: cls for cls in (averaging.EMA, averaging.SWA)}
SCHEDULE_TYPES = {cls.__name__: cls for cls in (
    schedules.Constant, schedules.StepDecay, schedules.ExponentialDecay, schedules.CosineDecay, schedules.LinearDecay,
    schedules.OneCycle, schedules.WarmUp, schedules.ReduceOnPlateau, schedules.PiecewiseConstant, schedules.Join,
    schedules.Product,
)}  # fmt: skip
# Arguments that schedules have got since, and what they are in checkpoints from before.
SINCE = {"ReduceOnPlateau": {"monitor": None}, "ExponentialDecay": {"hold": 1}}
BIT_GENERATOR_TYPES = {cls.__name__: cls for cls in (
    np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64,
)}  # fmt: skip
MOST_PATTERNS = 1000  # of `l2`


def machine():
    """The properties of a machine that change the bits of training."""
    return {"threads": get_num_threads(), "isa": _kernels.isa()}


def check_machine(saved):
    """Warn if training continues with another number of threads or another instruction set."""
    differ = [f"{name} {now}, then {saved[name]}" for name, now in machine().items() if saved[name] != now]
    if differ:
        warnings.warn(
            f"training goes on, but not to the last bit as it would have: {'; '.join(differ)}",
            RuntimeWarning,
            stacklevel=4,
        )


def schedule_config(schedule):
    """A schedule's type and constructor arguments; of a function of the caller's there is nothing to keep."""
    return {"type": type(schedule).__name__, **{name: _described(value) for name, value in schedule._values().items()}}


def _described(value):
    if isinstance(value, schedules.Schedule):
        return schedule_config(value)
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    return None if callable(value) else value


def schedule_from_config(config):
    """The schedule that `schedule_config` describes."""
    if not isinstance(config, Mapping):
        raise TypeError(f"schedule: expected a dict that describes one, found {type(config).__name__}")
    values = {name: _from_description(value) for name, value in config.items() if name != "type"}
    for name, value in SINCE.get(config.get("type"), {}).items() if isinstance(config.get("type"), str) else ():
        values.setdefault(name, value)
    return rebuild(SCHEDULE_TYPES, config.get("type"), values, "schedule")


def _from_description(value):
    if isinstance(value, Mapping):
        return schedule_from_config(value)
    return [_from_description(item) for item in value] if isinstance(value, (list, tuple)) else value


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
    """A new optimiser of the type of this saved state, which the caller then loads."""
    return rebuild(OPTIMIZER_TYPES, state.get("type"), state.get("hyper"), "optimizer")


def rebuild_average(state):
    """A new average of the type of this saved state, which the caller then loads."""
    return rebuild(AVERAGE_TYPES, state.get("type"), state.get("hyper"), "average")


def generator(state):
    """A generator in the saved state of a bit generator."""
    rng = np.random.Generator(BIT_GENERATOR_TYPES[check_bit_generator(state, "rng")](0))
    rng.bit_generator.state = state
    return rng


def check_options(options, names):
    """Check the names of the trainer's options in a checkpoint, and the size of `l2`."""
    if not isinstance(options, Mapping) or options.keys() != set(names):
        raise ValueError(f"options: expected {', '.join(names)}; found others")
    l2 = options["l2"]
    if isinstance(l2, Mapping):
        if len(l2) > MOST_PATTERNS:
            raise ValueError(f"l2: expected at most {MOST_PATTERNS} patterns, found {len(l2)}")
        for pattern in l2:
            check_text(pattern, "l2")
    return options

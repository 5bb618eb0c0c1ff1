"""Learning-rate schedules.

Each computes the rate after a number of steps, `lr_at`, and counts the steps itself: set ``optimizer.lr =
schedule.lr`` at the start and ``optimizer.lr = schedule.step(metric)`` after each batch or epoch, see `per`.

The schedule of Zaremba et al. (2014), a rate of 1 for four epochs and then half of it after each, in three ways::

    ExponentialDecay(1.0, 0.5, hold=4)
    Join([1.0, ExponentialDecay(0.5, 0.5)], [4])
    Lambda(1.0, lambda epoch: 0.5 ** max(0, epoch - 3))
"""

import bisect
import functools
import inspect
import itertools
import math
from typing import TYPE_CHECKING, ClassVar

from ..check.saved import MOST_STEPS, check_count, check_figure, check_optional, check_saved_state, check_saved_values
from ..check.values import (
    check_entries_of,
    check_measured,
    check_number,
    check_option,
    check_positive_int,
    shown,
)
from .direction import sign_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal


class Schedule:
    """Base class. A subclass defines `lr_at`, or overrides `step` if the rate depends on a metric.

    Parameters
    ----------
    lr : float, at least 0
        The base rate.
    per : "epoch" or "batch"
        What one step is.

    Attributes
    ----------
    monitor : str or None
        Name of the figure that `step` takes; None for the loss: that of the held-out data where there are any.
    """

    monitor: str | None = None
    _state: ClassVar = {"count": check_count}  # what changes -> the check of its saved value

    def __init__(self, lr: float, per: "Literal['epoch', 'batch']" = "epoch") -> None:
        self.base_lr = check_number(lr, "lr", low=0)
        self.per = check_option(per, "per", ("epoch", "batch"))
        self.count = 0

    def __setattr__(self, name: str, value: "Any") -> None:
        argument = "lr" if name == "base_lr" else name
        if name in self.__dict__ and argument in _arguments(type(self)):    # an assignment: the constructor checks it
            value = getattr(type(self)(**{**self._values(), argument: value}), name)
        super().__setattr__(name, value)

    def _values(self) -> "dict[str, Any]":
        """The constructor's arguments; attributes have their names, except the base rate."""
        return {name: getattr(self, "base_lr" if name == "lr" else name) for name in _arguments(type(self))}

    def __repr__(self):
        try:
            values = self._values()
        except AttributeError:  # of a subclass that keeps its arguments in another way
            return object.__repr__(self)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def lr_at(self, step: int) -> float:
        """The rate after `step` steps; step 0 is the first batch or epoch."""
        raise NotImplementedError(f"{type(self).__name__} defines no lr_at")

    @property
    def lr(self) -> float:
        """The rate now."""
        return self.lr_at(self.count)

    def step(self, metric: float | None = None) -> float:
        """Count one batch or epoch, whose figure `monitor` was `metric`; returns the rate for the next."""
        self.count += 1
        return self.lr

    def check(self, measured: "Sequence[str]") -> None:
        """Before a fit changes anything: raise a ValueError if its steps cannot have the figure `monitor`.

        `measured` holds the names of the figures that each step will have.
        """
        if self.monitor is not None and self.monitor not in measured:
            raise ValueError(f"schedule: expected as monitor one of the figures of each {self.per}, "
                             f"{', '.join(measured)}; found {self.monitor!r}")

    def state_dict(self) -> "dict[str, Any]":
        """dict of the values that change, JSON-able."""
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        """Continue from what `state_dict` returned."""
        check_saved_values(state, self._state)
        for name in self._state:
            setattr(self, name, state[name])


@functools.cache
def _arguments(cls):
    """The names of a constructor's arguments."""
    return tuple(inspect.signature(cls).parameters)


class Constant(Schedule):
    """The base rate at every step."""

    def lr_at(self, step: int) -> float:
        return self.base_lr


class StepDecay(Schedule):
    """lr * gamma^(step // every).

    Parameters
    ----------
    lr : float, at least 0
    every : int, at least 1
    gamma : float, above 0
    """

    def __init__(self, lr: float, every: int, gamma: float = 0.1, per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(lr, per)
        self.every = check_positive_int(every, "every")
        self.gamma = check_number(gamma, "gamma", above=0)

    def lr_at(self, step: int) -> float:
        return _decayed(self.base_lr, self.gamma, check_count(step, "step") // self.every)


class ExponentialDecay(Schedule):
    """lr * gamma^max(0, step + 1 - hold): constant for `hold` steps, then times gamma at each.

    Parameters
    ----------
    lr : float, at least 0
    gamma : float, above 0
    hold : int, at least 1
        Steps at the base rate; with 1 the decay begins at once, lr * gamma^step.
    """

    def __init__(self, lr: float, gamma: float, per: "Literal['epoch', 'batch']" = "epoch", hold: int = 1) -> None:
        super().__init__(lr, per)
        self.gamma = check_number(gamma, "gamma", above=0)
        self.hold = check_positive_int(hold, "hold")

    def lr_at(self, step: int) -> float:
        return _decayed(self.base_lr, self.gamma, max(0, check_count(step, "step") + 1 - self.hold))


class PiecewiseConstant(Schedule):
    """rates[k] for boundaries[k-1] <= step < boundaries[k].

    Parameters
    ----------
    boundaries : sequence of n ints, at least 1, ascending
        The steps at which the rate changes.
    rates : sequence of n + 1 floats, at least 0
    """

    def __init__(self, boundaries: "Sequence[int]", rates: "Sequence[float]",
                 per: "Literal['epoch', 'batch']" = "epoch") -> None:
        rates = check_entries_of(rates, "rates", "a sequence of numbers")
        self.boundaries = _boundaries(boundaries, len(rates), "rates")
        self.rates = tuple(check_number(rate, f"rates[{k}]", low=0) for k, rate in enumerate(rates))
        super().__init__(self.rates[0], per)

    def lr_at(self, step: int) -> float:
        return self.rates[bisect.bisect_right(self.boundaries, check_count(step, "step"))]


class Lambda(Schedule):
    """lr * function(step), of a function of one's own.

    A checkpoint keeps the count of steps, not the function: `Trainer.resume` takes the schedule again.

    Parameters
    ----------
    lr : float, at least 0
    function : callable
        Takes a step, 0 for the first, and returns a factor of at least 0.
    """

    def __init__(self, lr: float, function: "Callable[[int], float]",
                 per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(lr, per)
        if not callable(function):
            raise TypeError(f"function: expected a function of the step, found {shown(function)}")
        self.function = function

    def lr_at(self, step: int) -> float:
        step = check_count(step, "step")
        return self.base_lr * check_number(self.function(step), f"function({step})", low=0)


class CosineDecay(Schedule):
    """From lr to min_lr along half a cosine in `total` steps, then min_lr (Loshchilov and Hutter 2017).

    Parameters
    ----------
    lr : float, at least 0
    total : int, at least 1
    min_lr : float, at least 0
    """

    def __init__(self, lr: float, total: int, min_lr: float = 0.0, per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(lr, per)
        self.total = check_positive_int(total, "total")
        self.min_lr = check_number(min_lr, "min_lr", low=0)

    def lr_at(self, step: int) -> float:
        return _cosine(self.base_lr, self.min_lr, check_count(step, "step") / self.total)


class LinearDecay(Schedule):
    """From lr down to min_lr along a straight line over `total` steps, min_lr after them.

    Parameters
    ----------
    lr : float, at least 0
    total : int, at least 1
    min_lr : float, at least 0
    """

    def __init__(self, lr: float, total: int, min_lr: float = 0.0, per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(lr, per)
        self.total = check_positive_int(total, "total")
        self.min_lr = check_number(min_lr, "min_lr", low=0)

    def lr_at(self, step: int) -> float:
        return self.min_lr + (self.base_lr - self.min_lr) * max(0.0, 1 - check_count(step, "step") / self.total)


class OneCycle(Schedule):
    """Along cosines from lr / start_factor up to lr, then down to lr / (start_factor * end_factor).

    Smith and Topin (2018) in the form of torch's OneCycleLR.

    Parameters
    ----------
    lr : float, at least 0
        The highest rate.
    total : int, at least 2
        Steps of the whole cycle; the last rate holds after it.
    rise : float between 0 and 1
        Fraction of the steps with a rising rate.
    start_factor, end_factor : float, above 0
    """

    def __init__(self, lr: float, total: int, rise: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4,
                 per: "Literal['epoch', 'batch']" = "batch") -> None:
        super().__init__(lr, per)
        self.total = check_positive_int(total, "total", low=2)
        self.rise = check_number(rise, "rise", above=0, below=1)
        self.start_factor = check_number(start_factor, "start_factor", above=0)
        self.end_factor = check_number(end_factor, "end_factor", above=0)
        check_number(self.base_lr / self.start_factor, "lr / start_factor")
        check_number(self.base_lr / self.start_factor / self.end_factor, "lr / (start_factor * end_factor)")

    def lr_at(self, step: int) -> float:
        step = check_count(step, "step")
        start = self.base_lr / self.start_factor
        top, last = self.rise * self.total - 1, self.total - 1
        if step <= top:
            return _cosine(start, self.base_lr, step / top if top > 0 else 1.0)
        return _cosine(self.base_lr, start / self.end_factor, (step - top) / (last - top))


class WarmUp(Schedule):
    """A straight line from start * rate to the rate over the first `steps` steps, then another schedule.

    Parameters
    ----------
    after : Schedule or float
        The schedule after the warm-up, with step 0 at its end; a number is a constant rate. `per` is the schedule's.
    steps : int, at least 1
    start : float in [0, 1]
        Start of the line, as a fraction of the rate after it.
    """

    def __init__(self, after: "Schedule | float", steps: int, start: float = 0.1,
                 per: "Literal['epoch', 'batch']" = "epoch") -> None:
        self.after = after if isinstance(after, Schedule) else Constant(after, per)
        super().__init__(self.after.base_lr, self.after.per)
        self.steps = check_positive_int(steps, "steps")
        self.start = check_number(start, "start", low=0, high=1)

    def lr_at(self, step: int) -> float:
        step = check_count(step, "step")
        if step < self.steps:
            first = self.after.lr_at(0)
            return first * (self.start + (1 - self.start) * step / self.steps)
        return self.after.lr_at(step - self.steps)

    @property
    def monitor(self) -> str | None:
        """That of the schedule that follows."""
        return self.after.monitor

    def check(self, measured: "Sequence[str]") -> None:
        self.after.check(measured)

    def step(self, metric: float | None = None) -> float:
        """As `Schedule.step`; the schedule after the warm-up gets no metric of the warm-up."""
        self.count += 1
        if self.count > self.steps:
            self.after.step(metric)
        return self.lr

    def state_dict(self) -> "dict[str, Any]":
        return {"count": self.count, "after": self.after.state_dict()}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        check_saved_state(state, ("count", "after"))
        count = check_count(state["count"], "state['count']")
        self.after.load_state_dict(state["after"])
        self.count = count


class _Composed(Schedule):
    """Base of the schedules that are made of others, which count steps of their own.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        At least one, none twice; a number is a constant. All have one `per`, those that take a figure one `monitor`.
    per : "epoch" or "batch"
        Where all are numbers; else the schedules' own.
    """

    def __init__(self, schedules: "Sequence[Schedule | float]", per: "Literal['epoch', 'batch']") -> None:
        schedules = check_entries_of(schedules, "schedules", "a sequence of schedules")
        own = [schedule for schedule in schedules if isinstance(schedule, Schedule)]
        if not schedules or len(set(map(id, own))) < len(own):
            raise ValueError(f"schedules: expected at least one, each only once; found {shown(schedules)}")
        found = list(dict.fromkeys(schedule.per for schedule in own))
        if len(found) > 1:
            raise ValueError("schedules: expected one unit of steps, found some per epoch and some per batch")
        per = found[0] if found else per
        figures = {schedule.monitor for schedule in own if _watches(schedule)}
        if len(figures) > 1:
            raise ValueError(f"schedules: expected one monitor, found {', '.join(sorted(map(repr, figures)))}")
        self.schedules = tuple(schedule if isinstance(schedule, Schedule) else
                               Constant(check_number(schedule, f"schedules[{k}]", low=0), per)
                               for k, schedule in enumerate(schedules))
        super().__init__(self.schedules[0].base_lr, per)

    @property
    def monitor(self) -> str | None:
        """That of the schedules that take a figure."""
        return next((schedule.monitor for schedule in self.schedules if _watches(schedule)), None)

    def check(self, measured: "Sequence[str]") -> None:
        for schedule in self.schedules:
            schedule.check(measured)

    def state_dict(self) -> "dict[str, Any]":
        return {"count": self.count, "schedules": [schedule.state_dict() for schedule in self.schedules]}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        check_saved_state(state, ("count", "schedules"))
        count, states = check_count(state["count"], "state['count']"), state["schedules"]
        if not isinstance(states, (list, tuple)) or len(states) != len(self.schedules):
            raise ValueError(f"state['schedules']: expected {len(self.schedules)} states, found {shown(states)}")
        before = [schedule.state_dict() for schedule in self.schedules]
        try:
            for schedule, one in zip(self.schedules, states):
                schedule.load_state_dict(one)
        except (TypeError, ValueError):
            for schedule, one in zip(self.schedules, before):
                schedule.load_state_dict(one)
            raise
        self.count = count


class Join(_Composed):
    """Schedules one after another: schedules[k], its step 0 at boundaries[k-1], up to boundaries[k].

    Parameters
    ----------
    schedules : sequence of n + 1 Schedule or float
        A number is a constant; all have one `per`.
    boundaries : sequence of n ints, at least 1, ascending
    per : "epoch" or "batch"
        Where all are numbers; else the schedules' own.
    """

    def __init__(self, schedules: "Sequence[Schedule | float]", boundaries: "Sequence[int]",
                 per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(schedules, per)
        self.boundaries = _boundaries(boundaries, len(self.schedules), "schedules")

    def lr_at(self, step: int) -> float:
        schedule, start = self._part(check_count(step, "step"))
        return schedule.lr_at(step - start)

    def step(self, metric: float | None = None) -> float:
        """As `Schedule.step`; a schedule sees the metrics of its own steps."""
        self._part(self.count)[0].step(metric)
        self.count += 1
        return self.lr

    def _part(self, step):
        """The schedule at a step, and where it begins."""
        k = bisect.bisect_right(self.boundaries, step)
        return self.schedules[k], (0, *self.boundaries)[k]


class Product(_Composed):
    """The product of schedules' rates, as of a decay and of a warm-up's factors.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        A number is a constant factor; all have one `per`.
    per : "epoch" or "batch"
        Where all are numbers; else the schedules' own.
    """

    def __init__(self, schedules: "Sequence[Schedule | float]", per: "Literal['epoch', 'batch']" = "epoch") -> None:
        super().__init__(schedules, per)
        self.base_lr = check_number(math.prod(schedule.base_lr for schedule in self.schedules), "lr", low=0)

    def lr_at(self, step: int) -> float:
        return math.prod(schedule.lr_at(step) for schedule in self.schedules)

    def step(self, metric: float | None = None) -> float:
        """As `Schedule.step`, of every schedule."""
        for schedule in self.schedules:
            schedule.step(metric)
        self.count += 1
        return self.lr


class ReduceOnPlateau(Schedule):
    """Multiply the rate by `factor` once a figure has not improved for more than `patience` steps.

    Parameters
    ----------
    lr : float, at least 0
    factor : float between 0 and 1
    patience : int, at least 0
    threshold : float, at least 0
        The part of the best value that an improvement must exceed.
    mode : "min", "max" or "auto"
        Whether lower or higher values are better; "auto" goes by the name `monitor`, as for `EarlyStopping`.
    cooldown : int, at least 0
        Steps after a reduction that are not counted.
    min_lr : float, at least 0
    monitor : str, optional
        Name of the figure, as in `History`: "val_accuracy", ...; of an update, "loss" or a metric. None for the loss:
        that of the held-out data where there are any.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also where "auto" does not know the name, and from `fit` for a figure that it has not, or
        for the loss with mode="max".
    """

    _state: ClassVar = {
        "count": check_count,
        "current": functools.partial(check_number, low=0),
        "best": check_optional(check_figure),
        "bad": check_count,
        "cooling": check_count,
    }

    def __init__(self, lr: float, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
                 mode: "Literal['min', 'max', 'auto']" = "auto", cooldown: int = 0, min_lr: float = 0.0,
                 per: "Literal['epoch', 'batch']" = "epoch", monitor: str | None = None) -> None:
        super().__init__(lr, per)
        self.factor = check_number(factor, "factor", above=0, below=1)
        self.patience = check_positive_int(patience, "patience", low=0)
        self.threshold = check_number(threshold, "threshold", low=0)
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: expected the name of a figure, found {type(monitor).__name__}")
        sign_of("loss" if monitor is None else monitor, mode)
        self.mode, self.monitor = mode, monitor
        self.cooldown = check_positive_int(cooldown, "cooldown", low=0)
        self.min_lr = check_number(min_lr, "min_lr", low=0)
        self.current = self.base_lr
        self.best: float | None = None
        self.bad = 0
        self.cooling = 0

    def lr_at(self, step: int) -> float:
        """The current rate for any step, because later rates are not known."""
        return self.current

    def check(self, measured: "Sequence[str]") -> None:
        super().check(measured)
        if self.monitor is None and self.mode == "max":
            raise ValueError("schedule: expected monitor with mode='max', the name of a figure, as the loss is better "
                             "the lower it is; found None")

    def step(self, metric: float | None = None) -> float:
        """Count one step with its metric, which is required; NaN counts as no improvement."""
        if metric is None:
            raise ValueError("metric: expected the step's metric, found None")
        metric = check_measured(metric, "metric")
        self.count += 1
        if self._improves(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            self.current = min(self.current, max(self.current * self.factor, self.min_lr))
            self.cooling, self.bad = self.cooldown, 0
        return self.current

    def _improves(self, metric):
        if self.best is None:
            return not math.isnan(metric)
        sign = sign_of("loss" if self.monitor is None else self.monitor, self.mode)
        return sign * metric > sign * self.best + self.threshold * abs(self.best)


def _watches(schedule):
    """Whether a schedule's rate depends on what was measured."""
    if isinstance(schedule, WarmUp):
        return _watches(schedule.after)
    if isinstance(schedule, _Composed):
        return any(map(_watches, schedule.schedules))
    return type(schedule).step is not Schedule.step


def _boundaries(values, parts, name):
    """Ascending steps, one fewer than there are parts."""
    values = tuple(check_positive_int(step, f"boundaries[{k}]", high=MOST_STEPS)
                   for k, step in enumerate(check_entries_of(values, "boundaries", "a sequence of ints")))
    if len(values) + 1 != parts or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"boundaries: expected ascending steps, one fewer than {name}, of which there are {parts}; "
                         f"found {shown(values)}")
    return values


def _decayed(lr, gamma, times):
    """lr * gamma^times."""
    try:
        return lr * gamma**times
    except OverflowError:
        raise ValueError(f"step: expected one whose rate a float holds, found gamma = {gamma} to the power of {times}"
                         ) from None


def _cosine(start, end, part):
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2

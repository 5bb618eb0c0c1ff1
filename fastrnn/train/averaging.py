"""Averages of the parameters during training, for evaluation and for use: `EMA` and `SWA`."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.params import frozen_names
from ..check.saved import check_arrays, check_count, check_hyper, check_saved_state
from ..check.values import check_bool, check_number, check_option, check_positive_int

if TYPE_CHECKING:
    from typing import Any, Literal

    from .._types import Array


class Average:
    """Base class. `Trainer` calls `after_step` and `after_epoch`, which only read the live parameters.

    Attributes
    ----------
    params : dict of str to array
        The average, in the parameters' dtype; empty before the first update.
    updates : int
        How many times the average has been updated.
    """

    hyper: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.updates = 0

    def after_step(self, params: "dict[str, Array]") -> None:
        """Called after an update of the parameters."""

    def after_epoch(self, epoch: int, params: "dict[str, Array]") -> None:
        """Called after all updates of an epoch, counted from 1, and before validation."""

    def state_dict(self) -> "dict[str, Any]":
        """dict with "type", "hyper", "updates" and "params" (the live arrays)."""
        hyper = {name: getattr(self, name) for name in self.hyper}
        return {"type": type(self).__name__, "hyper": hyper, "updates": self.updates, "params": dict(self.params)}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        """Continue from what `state_dict` returned."""
        check_saved_state(state, ("type", "hyper", "updates", "params"))
        if state["type"] != type(self).__name__:
            raise ValueError(f"state: expected that of {type(self).__name__}, found that of {state['type']!s:.80}")
        check_hyper(state["hyper"], self.hyper)
        check_count(state["updates"], "state['updates']")
        check_arrays(state["params"], "state['params']")
        fresh = type(self)(**state["hyper"])
        for name in self.hyper:
            setattr(self, name, getattr(fresh, name))
        self.updates = state["updates"]
        self.params = {name: np.array(array) for name, array in state["params"].items()}

    def _move(self, params, rate):
        """average += rate * (params - average); of what is frozen it is that itself"""
        if not self.params:
            self.params = {name: p.copy() for name, p in params.items()}
        else:
            frozen = frozen_names(params)
            for name, p in params.items():
                average = self.params[name]
                if name in frozen:
                    average[...] = p
                    continue
                step = p - average
                step *= average.dtype.type(rate)
                average += step
        self.updates += 1


class EMA(Average):
    """Exponential moving average, a += (1 - d) * (p - a) after each update of the parameters p.

    Parameters
    ----------
    decay : float in [0, 1)
        d.
    warmup : bool
        Whether d is min(decay, (1 + t) / (10 + t)) after t updates, so that the first parameters are soon forgotten.
    """

    hyper = ("decay", "warmup")

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        super().__init__()
        self.decay = check_number(decay, "decay", low=0, below=1)
        self.warmup = check_bool(warmup, "warmup")

    def after_step(self, params: "dict[str, Array]") -> None:
        t = self.updates
        self._move(params, 1 - (min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay))


class SWA(Average):
    """Stochastic weight averaging (Izmailov et al. 2018; Polyak and Juditsky 1992): the plain mean from an epoch on.

    Parameters
    ----------
    start : int
        Number of epochs to leave out.
    every : "epoch" or "step"
        Whether the parameters count at the end of each epoch or after each update.
    """

    hyper = ("start", "every")

    def __init__(self, start: int = 0, every: "Literal['epoch', 'step']" = "epoch") -> None:
        super().__init__()
        self.start = check_positive_int(start, "start", low=0)
        self.every = check_option(every, "every", ("epoch", "step"))
        self._epochs = 0

    def after_step(self, params: "dict[str, Array]") -> None:
        if self.every == "step" and self._epochs >= self.start:
            self._move(params, 1 / (self.updates + 1))

    def after_epoch(self, epoch: int, params: "dict[str, Array]") -> None:
        self._epochs = epoch
        if self.every == "epoch" and epoch > self.start:
            self._move(params, 1 / (self.updates + 1))

    def state_dict(self) -> "dict[str, Any]":
        return {**super().state_dict(), "epochs": self._epochs}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        check_saved_state(state, ("type", "hyper", "updates", "params", "epochs"))
        epochs = check_count(state["epochs"], "state['epochs']")
        super().load_state_dict({name: value for name, value in state.items() if name != "epochs"})
        self._epochs = epochs

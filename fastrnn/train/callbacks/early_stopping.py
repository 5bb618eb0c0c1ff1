"""Stop once a figure has not improved for some epochs."""

from typing import TYPE_CHECKING

import numpy as np

from ...check.saved import check_arrays, check_count, check_figure, check_optional, check_saved_values
from ...check.values import check_bool, check_positive_int
from .base import Monitor

if TYPE_CHECKING:
    from typing import Any, Literal

    from ..._types import Trainer


class EarlyStopping(Monitor):
    """End the fit once a figure has not improved for `patience` epochs in a row (Prechelt 1998).

    Parameters
    ----------
    monitor : str
        Name of the figure, as in `History`: "val_loss", "loss", "val_accuracy", ...
    patience : int, at least 1
        Epochs without improvement after which the fit ends.
    min_delta : float, at least 0
        Least improvement of a better value.
    mode : "min", "max" or "auto"
        Whether lower or higher is better; "auto" goes by the name, as `Monitor` tells, and is refused where it does
        not know that.
    restore_best : bool
        Whether to restore the parameters, and the trainer's average, of the best epoch at the end of the fit, early or
        not. After an interrupt or an error they stay, because the fit can continue.

    Attributes
    ----------
    best : float or None
    best_epoch : int
        Number of the best epoch, counted over all fits; 0 before the first.
    stopped : bool
        Whether this has ended the fit.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0,
                 mode: "Literal['min', 'max', 'auto']" = "auto", restore_best: bool = True) -> None:
        super().__init__(monitor, min_delta, mode)
        self.patience = check_positive_int(patience, "patience")
        self.restore_best = check_bool(restore_best, "restore_best")
        self._reset()

    def _reset(self):
        self.best, self.best_epoch, self.wait, self.stopped = None, 0, 0, False
        self._params = self._average = None

    def on_fit_begin(self, trainer: "Trainer") -> None:
        if not trainer.extent[0]:
            self._reset()
        trainer.stop = trainer.stop or self.stopped

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        if self.improves(logs):
            self.best_epoch, self.wait = trainer.epoch, 0
            if self.restore_best:
                self._params = trainer.model.state_dict()
                average = trainer.average
                self._average = None if average is None else _copied(average.state_dict())
        else:
            self.wait += 1
            if self.wait >= self.patience:
                trainer.stop = self.stopped = True

    def on_fit_end(self, trainer: "Trainer") -> None:
        if trainer.completed and self._params is not None:
            trainer.model.load_state_dict(self._params)
            if self._average is not None:
                trainer.average.load_state_dict(self._average)

    def state_dict(self) -> "dict[str, Any]":
        names = ("best", "best_epoch", "wait", "stopped", "_params", "_average")
        return {name.lstrip("_"): getattr(self, name) for name in names}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        check_saved_values(state, {
            "best": check_optional(check_figure),
            "best_epoch": check_count,
            "wait": check_count,
            "stopped": check_bool,
            "params": check_optional(check_arrays),
            "average": check_optional(_check_dict),
        })
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.wait, self.stopped = state["wait"], state["stopped"]
        self._params, self._average = state["params"], state["average"]


def _check_dict(value, name):
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected a dict, found {type(value).__name__}")


def _copied(value):
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value

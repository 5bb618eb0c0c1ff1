"""Records of a fit: a file of each epoch's figures, and the learning rate of each update."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...check.saved import check_figures, check_saved_values
from ...files.wholefile import check_writable, remove_stale, write_whole
from .base import Callback

if TYPE_CHECKING:
    from typing import Any

    from ..._types import Array, PathLike, Trainer


class CSVLogger(Callback):
    """Write each epoch's figures as a row of a .csv file, with a header.

    Replaces the file in one step after each epoch; after a resumption it still holds each epoch once.

    Parameters
    ----------
    path : str or path-like
        Its directory must exist.

    Attributes
    ----------
    rows : list of dict
        epoch, then the figures of `History`. A resumed fit, or another fit of the trainer, adds to them.
    """

    writes = True

    def __init__(self, path: "PathLike") -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []

    def on_fit_begin(self, trainer: "Trainer") -> None:
        check_writable(self.path)
        remove_stale(self.path)
        self.rows = [row for row in self.rows if row["epoch"] <= trainer.epoch]

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        self.rows.append({"epoch": trainer.epoch, **logs})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.path, text.getvalue().encode())

    def state_dict(self) -> "dict[str, Any]":
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        self.rows = [dict(row) for row in check_saved_values(state, {"rows": _check_rows})["rows"]]


def _check_rows(rows, name):
    if not isinstance(rows, list):
        raise TypeError(f"{name}: expected a list of dicts, found {type(rows).__name__}")
    for k, row in enumerate(rows):
        if "epoch" not in check_figures(row, f"{name}[{k}]"):
            raise ValueError(f"{name}[{k}]: expected an epoch among its figures, found none")


class LearningRateMonitor(Callback):
    """Keep the learning rate of every update.

    Attributes
    ----------
    steps : int64 array
        The updates, counted from 1, at which the rate changed.
    rates : float64 array
        The rates from these updates on.
    """

    def __init__(self) -> None:
        self._changes = []

    @property
    def steps(self) -> "Array":
        return np.array([step for step, _ in self._changes], np.int64)

    @property
    def rates(self) -> "Array":
        return np.array([rate for _, rate in self._changes], np.float64)

    def rate_at(self, step: int) -> float:
        """The rate of update `step`, counted from 1; NaN before the first recorded update."""
        at = int(np.searchsorted(self.steps, step, side="right")) - 1
        return float(self.rates[at]) if at >= 0 else float("nan")

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        if not self._changes or self._changes[-1][1] != logs["lr"]:
            self._changes.append((trainer.step, logs["lr"]))

    def state_dict(self) -> "dict[str, Any]":
        return {"steps": self.steps, "rates": self.rates}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        check_saved_values(state, {"steps": _check_vector, "rates": _check_vector})
        steps, rates = state["steps"], state["rates"]
        if steps.dtype != np.int64 or rates.dtype != np.float64 or len(steps) != len(rates):
            raise ValueError(f"state: expected as many int64 steps as float64 rates, found {len(steps)} {steps.dtype} "
                             f"and {len(rates)} {rates.dtype}")
        self._changes = list(zip(steps.tolist(), rates.tolist()))


def _check_vector(value, name):
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise TypeError(f"{name}: expected an array (n,), found {type(value).__name__}")

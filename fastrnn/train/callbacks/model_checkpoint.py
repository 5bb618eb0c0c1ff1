"""Checkpoints during a fit."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ...check.saved import check_figure, check_optional, check_saved_values
from ...check.values import check_bool, check_number, check_positive_int
from ...files.checkpoint import CheckpointSeries, check_storable
from ...files.wholefile import check_writable
from .base import Monitor

if TYPE_CHECKING:
    from typing import Any, Literal

    from ..._types import PathLike, Trainer


class ModelCheckpoint(Monitor):
    """Write checkpoints ``<prefix>.<step>.ckpt``, each whole or not at all, and keep the newest few.

    ``Trainer.resume_newest(prefix)`` continues from the newest whole one. With its first checkpoint a fit of a new
    trainer replaces those of an earlier run under the prefix. An interrupt writes a checkpoint, too.

    Parameters
    ----------
    prefix : str or path-like
        "runs/a" gives runs/a.000001000.ckpt; a missing directory is created.
    every_epochs, every_steps : int, optional
        Write after this many epochs, updates. None for never.
    every_seconds : float, optional
        Write after the first update that ends this long after the last checkpoint.
    keep : int, at least 1
        Number of files to keep. With 2 or more, a run can continue from the last but one if the newest is damaged.
    best_only : bool
        Whether to write only after epochs whose figure `monitor` is the best so far; steps, seconds and interrupts
        then write nothing.
    monitor, min_delta, mode
        As for `EarlyStopping`; used with `best_only`.

    Raises
    ------
    TypeError
        From `fit`, before it changes anything, where a part of the trainer, such as a callback or `notes`, holds what
        has no place in a file.
    FileError
        An OSError and a ValueError, from `fit`, if a file cannot be written, for example on a full disk. Earlier files
        stay as they are.
    """

    last = True
    writes = True

    def __init__(
        self,
        prefix: "PathLike",
        *,
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        keep: int = 2,
        best_only: bool = False,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        mode: "Literal['min', 'max', 'auto']" = "auto",
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        self.every_epochs = None if every_epochs is None else check_positive_int(every_epochs, "every_epochs")
        self.every_steps = None if every_steps is None else check_positive_int(every_steps, "every_steps")
        self.every_seconds = None if every_seconds is None else check_number(every_seconds, "every_seconds", low=0)
        self.series = CheckpointSeries(prefix, check_positive_int(keep, "keep"))
        self.best_only = check_bool(best_only, "best_only")
        if self.best_only and (self.every_steps or self.every_seconds is not None or not self.every_epochs):
            raise ValueError("best_only: expected every_epochs alone with it, as the best is known after an epoch")
        self._fresh = False
        self._written_at = time.monotonic()

    def check(self, trainer: "Trainer") -> None:
        if self.best_only:
            super().check(trainer)
        check_storable(trainer.state_dict(), "state")

    def on_fit_begin(self, trainer: "Trainer") -> None:
        stem = Path(self.series.stem)
        stem.parent.mkdir(parents=True, exist_ok=True)
        check_writable(stem.with_name(f"{stem.name}.ckpt"))
        self.series.remove_stale()
        self._fresh = trainer.step == trainer.extent[0] == 0
        self._written_at = time.monotonic()

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        due = self.every_steps and trainer.step % self.every_steps == 0
        if self.every_seconds is not None and time.monotonic() - self._written_at >= self.every_seconds:
            due = True
        if due:
            self.write(trainer)

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        improved = self.best_only and self.improves(logs)
        if self.every_epochs and trainer.epoch % self.every_epochs == 0 and (improved or not self.best_only):
            self.write(trainer)

    def on_fit_end(self, trainer: "Trainer") -> None:
        if trainer.history.interrupted and not self.best_only:
            self.write(trainer)

    def write(self, trainer: "Trainer") -> None:
        """Write a checkpoint now."""
        if self._fresh:
            self.series.clear()
            self._fresh = False
        self.series.write(trainer.step, trainer.state_dict())
        self._written_at = time.monotonic()

    def state_dict(self) -> "dict[str, Any]":
        return {"best": self.best}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        self.best = check_saved_values(state, {"best": check_optional(check_figure)})["best"]

"""Hooks into `Trainer.fit`: stopping early, checkpoints, logs, progress, and `Callback` for your own."""

from .base import Callback, Monitor
from .early_stopping import EarlyStopping
from .epoch_line import EpochLine
from .model_checkpoint import ModelCheckpoint
from .non_finite import TerminateOnNonFinite
from .progress_bar import ProgressBar
from .records import CSVLogger, LearningRateMonitor
from .sampling import ScheduledSampling

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "EpochLine",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "Monitor",
    "ProgressBar",
    "ScheduledSampling",
    "TerminateOnNonFinite",
]

"""`DistributedTrainer`: data-parallel training of one model by several processes."""

import contextlib
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files.checkpoint import CheckpointSeries
from ..files.wholefile import MissingFileError, read_whole
from ..nn.layers import BatchNorm1d
from ..nn.module import Module, walk
from ..train.callbacks import ModelCheckpoint
from ..train.fit.lossparts import loss_reduction
from ..train.fit.passes import regularizers
from ..train.fit.trainer import Trainer
from .evaluation import SharedEvaluation
from .loop import SharedLoop
from .merged import MergedStates
from .muted import Muted
from .ranks import RankError, Ranks
from .share import Share
from .update import SharedUpdate
from .wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

    from .._types import Inputs, Outputs, PathLike
    from ..data.batches import LaneStream
    from ..train.fit.history import History
    from ..train.optim import Optimizer

_worlds = {}  # the Ranks of all processes, made once


class DistributedTrainer(Trainer):
    """A `Trainer` whose batches are shared out among the processes of an MPI run.

    Every process runs the same program with the same data and makes the same calls of `fit`, `evaluate` and
    `predict`. Each computes its rows of every batch; gradients, losses and metrics are summed, weighted by elements,
    into those of the whole batch before clipping and the optimiser. So all processes have the same parameters and
    figures at every update, and those of one process but for rounding; `batch_size` is that of all together. Start
    with ::

        mpiexec -n 4 python -m fastrnn.distributed train.py

    Parameters
    ----------
    model, loss, optimizer, **options
        As for `Trainer`. Models may differ at first: all take the parameters of rank 0.
    ranks : Ranks, optional
        All processes by default, with a `timeout` of 600 s; assign to ``trainer.ranks.timeout`` for another.

    Raises
    ------
    RankError
        From `fit`, `evaluate` and `predict`, where another process has died, failed or does not answer. A
        `ModelCheckpoint` among the callbacks has then written the state after the last complete update, and the
        message says where.

    Notes
    -----
    Callbacks with `writes`, and progress, are called on rank 0 only, all others on every rank. `stop` takes effect
    on all ranks at the end of the update or epoch after which it was set, or of the next update. An interrupt or
    SIGTERM that reaches any rank ends the fit on all, as `Trainer.fit` says for an interrupt.

    A checkpoint is that of one process: `Trainer.resume` and any number of processes can go on from it; the same
    number to the last bit. Dropout masks depend on the number of processes. A mean that `ActivationRegularization`
    takes is over each rank's rows.

    Every rank does the optimiser's work and Python's, 0.3 ms or so of each update. Two ranks of one thread each on two
    cores were 1.7 to 1.9 times as fast as one where that one takes 5 ms and more for an update, 1.5 times at 3 ms (LSTM
    64, 32 sequences of 50 steps) and no faster at 0.6 ms: give small networks large batches.
    """

    def __init__(self, model: "Module", loss: "str | Callable[..., Any]" = "cross_entropy",
                 optimizer: "str | Optimizer" = "adam", *, ranks: "Ranks | None" = None, **options: "Any") -> None:
        self.ranks = _world() if ranks is None else ranks
        if self.ranks.size > 1 and isinstance(model, Module) and any(isinstance(m, BatchNorm1d) for m in walk(model)):
            raise ValueError("model: expected layers that take each sequence alone in several processes, found "
                             "BatchNorm1d, whose statistics would be of each process's rows")
        if self.ranks.size > 1 and getattr(model, "input_names", None) is not None:
            raise ValueError("model: expected one with one input in several processes, found named inputs: "
                             f"{', '.join(model.input_names)}")
        self._wishes = Wishes()
        self._merged = MergedStates(self.ranks)
        super().__init__(model, loss, optimizer, **options)
        if self.ranks.size > 1 and loss_reduction(self.loss) == "sum" and regularizers(self.model):
            raise ValueError("reduction: expected 'mean' or 'batchmean' with ActivationRegularization in several "
                             "processes, as its penalty is a mean; found 'sum'")
        seed = np.array([self._position.order_seed], np.int64)
        self.ranks.broadcast(seed)
        self._position.order_seed = int(seed[0])

    @property
    def _shares(self):
        return self.ranks.size

    @classmethod
    def resume(cls, path: "PathLike", **parts: "Any") -> "Self":
        """As `Trainer.resume`; the file need be there for rank 0 only."""
        ranks = _world()
        if ranks.size == 1:
            return super().resume(path, **parts)
        problem = ""
        try:
            data = read_whole(path) if ranks.first else b""
        except OSError as error:
            data, problem = b"", str(error)
        problem = ranks.broadcast_bytes(problem.encode()).decode()
        if problem:
            raise MissingFileError(problem)
        data = ranks.broadcast_bytes(data)  # all ranks go on from what the first has read, whoever writes meanwhile
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / Path(path).name
            copy.write_bytes(data)
            return super().resume(copy, **parts)

    @classmethod
    def resume_newest(cls, prefix: "PathLike", **parts: "Any") -> "Self | None":
        """As `Trainer.resume_newest`; the files need be there for rank 0 only."""
        ranks = _world()
        found = CheckpointSeries(prefix).newest() if ranks.first else None
        name = ranks.broadcast_bytes(b"" if found is None else str(found[0]).encode()).decode()
        return cls.resume(name, **parts) if name else None

    @property
    def stop(self) -> bool:
        """Set it in a callback to end the fit on all ranks."""
        return self._wishes.stop

    @stop.setter
    def stop(self, value: bool) -> None:
        if value:
            self._wishes.want("stop")
        if self.ranks.size == 1:
            self._wishes.stop = bool(value)

    def fit(self, X: "Inputs | LaneStream", y: "Inputs | None" = None, **options: "Any") -> "History":
        """As `Trainer.fit`, on every rank with the same arguments."""
        with self._together(), self._terminable():
            try:
                return super().fit(X, y, **options)
            except RankError as error:
                raise RankError(f"{error}{self._saved()}") from error

    def evaluate(self, X: "Inputs | LaneStream", y: "Inputs | None" = None, **options: "Any") -> dict[str, float]:
        """As `Trainer.evaluate`, on every rank with the same arguments; so is what it returns."""
        with self._together():
            return super().evaluate(X, y, **{**options, "progress": self._shown(options)})

    def predict(self, X: "Inputs", **options: "Any") -> "Outputs":
        """As `Trainer.predict`, on every rank with the same arguments; so is what it returns."""
        options["progress"] = self._shown(options)
        with self._together():
            if self.ranks.size == 1:
                return super().predict(X, **options)
            data = self._adapter().for_prediction(X, lengths=options.pop("lengths", None))
            edges = [len(data) * k // self.ranks.size for k in range(self.ranks.size + 1)]
            mine = slice(*edges[self.ranks.rank : self.ranks.rank + 2])
            lengths = None if data.ragged or data.lengths is None else data.lengths[mine]
            y = super().predict(data.x[mine], lengths=lengths, **options) if len(data.x[mine]) else None
            return self._joined(y, data)

    def _joined(self, y, data):
        """All ranks' predictions, from those of this one."""
        as_list = data.ragged and data.per_step
        if as_list and y is not None:
            y = np.concatenate(y)
        parts = self.ranks.gather(np.empty(0) if y is None else y)
        parts = [part for part in parts if part.ndim > 1 or part.size]
        y = np.concatenate(parts)
        return np.split(y, np.cumsum(data.lengths)[:-1]) if as_list else y

    def _saved(self):
        """Where this rank has saved the state after the last complete update."""
        if not (self.history.interrupted and self.ranks.saves()):
            return ""
        paths = [
            callback.series.paths()[0]
            for callback in self.callbacks
            if isinstance(callback, ModelCheckpoint) and not callback.best_only
        ]
        if not paths:
            return "; nothing was saved, as there is no ModelCheckpoint (without best_only) among the callbacks"
        return f"; update {self.step}, the last complete one, is in {' and '.join(map(str, paths))}: resume from there"

    def state_dict(self) -> "dict[str, Any]":
        """As `Trainer.state_dict`, with the states of all ranks' sequences."""
        state = super().state_dict()
        if state["fit"] is not None:
            state["fit"]["states"] = self._merged.of(state["fit"]["states"])
        return state

    @contextlib.contextmanager
    def _together(self):
        """Work that all ranks do; an error in one of them ends it in all."""
        self.ranks.work += 1
        try:
            yield
        except RankError:
            raise
        except BaseException as error:
            self.ranks.fail(error)
            raise

    @contextlib.contextmanager
    def _terminable(self):
        """SIGTERM as an interrupt at the end of an update."""
        if (
            self.ranks.size == 1
            or threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        ):
            yield
            return

        def remember(signum, frame):
            self._wishes.want("interrupt")

        signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _shown(self, options):
        return options.get("progress", True) and self.ranks.first

    def _share(self, data):
        if self.ranks.size == 1 or data is None:
            return data
        return Share(data, self.ranks.rank, self.ranks.size)

    def _called(self, progress, epochs=0):
        if self.ranks.first:
            return super()._called(progress, epochs)
        return [Muted(callback) if callback.writes else callback for callback in super()._called(False)]

    def _loop(self, data, validation, callbacks):
        if self.ranks.size == 1:
            return super()._loop(data, validation, callbacks)
        together = {"ranks": self.ranks, "wishes": self._wishes, "merged": self._merged}
        update = SharedUpdate(self, self._l2, data, self._position.order_seed, **together)
        return SharedLoop(self, self._position, update, data, self._validate(validation), callbacks, **together)

    def _evaluation(self):
        if self.ranks.size == 1:
            return super()._evaluation()
        return SharedEvaluation(self._evaluated(), self.loss, self.metrics, self.ranks, self._wishes)


def _world():
    """The `Ranks` of all processes; the first call is collective."""
    if "world" not in _worlds:
        _worlds["world"] = Ranks()
    return _worlds["world"]

"""`DistributedTrainer`: data-parallel training of one model by several processes."""

import contextlib
import json
import math
import signal
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np

from ..data.batches import LaneStream
from ..files.checkpoint import CheckpointSeries
from ..files.wholefile import MissingFileError, read_whole
from ..train.callbacks import ModelCheckpoint
from ..train.fit.history import NonFiniteError
from ..train.fit.trainer import Trainer
from ..train.fit.trainerstate import OPTIONS
from .muted import Muted
from .ranks import RankError, Ranks
from .share import Share, describe, flatten, take_rows, unflatten

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

    def __init__(self, model, loss="cross_entropy", optimizer="adam", *, ranks=None, **options):
        self.ranks = _world() if ranks is None else ranks
        self._stop = self._stop_wanted = self._interrupt = self._interrupt_wanted = False
        super().__init__(model, loss, optimizer, **options)
        seed = np.array([self._order_seed], np.int64)
        self.ranks.broadcast(seed)
        self._order_seed = int(seed[0])
        self._flat = self._pieces = None  # all gradients side by side, and each of them there
        self._merged = []  # (states of this rank's rows, states of all), of the last two updates

    @property
    def _shares(self):
        return self.ranks.size

    @classmethod
    def resume(cls, path, **parts):
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
    def resume_newest(cls, prefix, **parts):
        """As `Trainer.resume_newest`; the files need be there for rank 0 only."""
        ranks = _world()
        found = CheckpointSeries(prefix).newest() if ranks.first else None
        name = ranks.broadcast_bytes(b"" if found is None else str(found[0]).encode()).decode()
        return cls.resume(name, **parts) if name else None

    @property
    def stop(self):
        """Set it in a callback to end the fit on all ranks."""
        return self._stop

    @stop.setter
    def stop(self, value):
        self._stop_wanted = self._stop_wanted or bool(value)
        if self.ranks.size == 1:
            self._stop = bool(value)

    def fit(self, X, y=None, **options):
        """As `Trainer.fit`, on every rank with the same arguments."""
        with self._together(), self._terminable():
            try:
                return super().fit(X, y, **options)
            except RankError as error:
                raise RankError(f"{error}{self._saved()}") from error

    def evaluate(self, X, y=None, **options):
        """As `Trainer.evaluate`, on every rank with the same arguments; so is what it returns."""
        with self._together():
            return super().evaluate(X, y, **{**options, "progress": self._shown(options)})

    def predict(self, X, **options):
        """As `Trainer.predict`, on every rank with the same arguments; so is what it returns."""
        options["progress"] = self._shown(options)
        with self._together():
            if self.ranks.size == 1 or isinstance(X, LaneStream):
                return super().predict(X, **options)
            data = self._data(X, None, lengths=options.pop("lengths", None), targets=False)
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

    def state_dict(self):
        """As `Trainer.state_dict`, with the states of all ranks' sequences."""
        state = super().state_dict()
        for mine, merged in self._merged:
            if state["fit"] is not None and state["fit"]["states"] is mine:
                state["fit"] = {**state["fit"], "states": merged}
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
            self._interrupt_wanted = True

        signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _shown(self, options):
        return options.get("progress", True) and self.ranks.first

    def _data(self, X, y, **options):
        data = super()._data(X, y, **options)
        if self.ranks.size == 1 or not options.get("targets", True):
            return data
        return Share(data, self.ranks.rank, self.ranks.size)

    def _hooks(self, progress):
        if self.ranks.first:
            return super()._hooks(progress)
        return [Muted(callback) if callback.writes else callback for callback in super()._hooks(False)]

    def _begin(self, data, epochs):
        self._merged = []
        self._stop = self._stop_wanted = self._interrupt = self._interrupt_wanted = False
        if self.ranks.size > 1:
            self._agree_on(data, epochs)
        super()._begin(data, epochs)
        states = self._fit["states"]
        if self.ranks.size > 1 and states is not None:
            order = data.order(np.random.default_rng([self._order_seed, self.epoch]))
            data.parts(order[self._fit["batch"]])
            mine = [take_rows(state, rows[self.ranks.rank]) for state, rows in zip(states, data.rows)]
            self._fit["states"] = mine
            self._merged = [(mine, states)]

    def _agree_on(self, data, epochs):
        """One set of parameters, and an error on every rank where something else differs."""
        for p in self.model.params.values():
            copy = p.copy()
            self.ranks.broadcast(copy)
            p[...] = copy
        here = {
            "model": self.model.config(),
            "X": data.fingerprint(),
            "optimizer": {**self.optimizer.state_dict(), "arrays": None},
            "options": {name: getattr(self, name) for name in OPTIONS},
            "epochs": epochs,
            "epoch": self.epoch,
            "step": self.step,
        }
        seen = self.ranks.gather_json([json.dumps(part, sort_keys=True, default=str) for part in here.values()])
        for rank, there in enumerate(seen):
            for name, one, other in zip(here, seen[0], there):
                if one != other:
                    raise ValueError(f"{name}: expected the same on every rank, found {one} on 0 and {other} on {rank}")

    def _run_epoch(self, data, validation, hooks, check_interrupt):
        if self.ranks.size == 1:
            return super()._run_epoch(data, validation, hooks, check_interrupt)

        def check():
            try:
                check_interrupt()
            except KeyboardInterrupt:
                self._interrupt_wanted = True
            if self._interrupt:
                raise KeyboardInterrupt

        self._now = data
        try:
            self._heed(self._counted(self._wishes()))  # those of `on_fit_begin`
            if self._stop:
                return
            super()._run_epoch(data, validation, hooks, check)
            self._heed(self._counted(self._wishes()))
            self._compare()
            check()
        except RankError:
            self.history.interrupted = True  # as after an interrupt, checkpoints are written at the end of the fit
            for hook in hooks:
                if isinstance(hook, Muted):
                    hook.heir = self.ranks.saves()
            raise

    def _wishes(self):
        return [float(self._stop_wanted), float(self._interrupt_wanted)]

    def _heed(self, counts):
        """Do what any of the ranks wishes."""
        self._stop = self._stop or counts[0] > 0
        self._interrupt = self._interrupt or counts[1] > 0

    def _counted(self, values):
        totals = np.array(values, np.float64)
        self.ranks.add(totals)
        return totals.tolist()

    def _compare(self):
        """An error where the ranks' parameters have come apart."""
        digest = 0
        for p in self.model.params.values():
            digest = zlib.crc32(np.ascontiguousarray(p), digest)
        if len(set(self.ranks.gather_json(digest))) > 1:
            raise RuntimeError(
                "params: expected the same bits on every rank after an epoch, found others: a callback changes them, "
                "or the processors differ"
            )

    def _gradient(self, batches):
        if self.ranks.size == 1:
            return super()._gradient(batches)
        self.model.set_rng(np.random.default_rng([self._order_seed, self.step, self.ranks.rank]))
        error = None
        try:
            values, penalty, mass, states = super()._gradient(batches)
        except NonFiniteError as found:
            error, mass, states = found, 1.0, None
            values, penalty = dict.fromkeys(self._figures(), math.nan), 0.0
        sums = [value * mass for value in (*values.values(), penalty)]
        *totals, total, stop, interrupt = self._combine([*sums, mass, *self._wishes()], mass)
        self._heed([stop, interrupt])
        *means, penalty = (value / total if total else 0.0 for value in totals)
        values = dict(zip(values, means))
        if not math.isfinite(values["loss"]):
            raise NonFiniteError(f"{self._where()}: the loss is {values['loss']}") from error
        if self.model.recurrent and (self._now.carries or self._now.window is not None):
            self._merge(states)
        return values, penalty, total, states

    def _combine(self, sums, mass):
        """The sums over all ranks, and in `model.grads` the gradient of the batch of all.

        One buffer goes out once BPTT is through. Starting the sum of each layer while BPTT goes on in those before
        it was measured on two ranks (one thread each, two shared cores; ratio of an update's time to one without any
        sum, medians of alternating updates; 3 x LSTM 256, 32 sequences of 50 steps per rank; 4 x LSTM 256, 8 of 25):
        MPICH in shared memory 1.016, 1.109 in one buffer and 1.030, 1.128 layer by layer; MPICH over TCP 1.013, 1.115
        and 1.030, 1.096; Open MPI 1.037, 1.164 and 1.023, 1.130. A thread that waits beside BPTT was slower in all.
        MPI sums on the core that computes, so there is little to hide.
        """
        totals = np.array(sums, np.float64)
        finish_totals = self.ranks.start_adding(totals)
        grads = list(self.model.grads.values())
        if self._flat is None:
            self._flat = np.empty(sum(g.size for g in grads), np.result_type(*grads))
            pieces = np.split(self._flat, np.cumsum([g.size for g in grads])[:-1])
            self._pieces = [piece.reshape(g.shape) for piece, g in zip(pieces, grads)]
        for piece, g in zip(self._pieces, grads):
            np.multiply(g, mass, out=piece, casting="same_kind")
        finish = self.ranks.start_adding(self._flat)
        finish_totals()
        finish()
        total = totals[-3]
        for piece, g in zip(self._pieces, grads):
            np.multiply(piece, 1 / total if total else 0.0, out=g, casting="same_kind")
        return totals.tolist()

    def _merge(self, states):
        """Put the states of all ranks' rows together, for checkpoints."""
        rows = self._now.rows
        description = describe(states)
        if any(len(mine) == 0 for part in rows for mine in part):  # then some rank has no state to tell from
            description = json.loads(self.ranks.broadcast_bytes(json.dumps(description).encode()))
        mine = [len(part[self.ranks.rank]) for part in rows]
        data = b"".join(flatten(*args) for args in zip(states, description, mine))
        parts = [[part] for part in self.ranks.gather_bytes(data)]
        merged = [unflatten(parts, *args) for args in zip(description, rows)]
        self._merged = [*self._merged[-1:], (states, merged)]

    def _measured(self, data, *args, **options):
        return super()._measured(data.own() if isinstance(data, Share) else data, *args, **options)

    def _collected(self, sums, mass):
        if self.ranks.size == 1:
            return sums, mass
        names = self._figures()
        *totals, mass, stop, interrupt = self._counted([*(sums.get(n, 0.0) for n in names), mass, *self._wishes()])
        self._heed([stop, interrupt])
        return dict(zip(names, totals)), mass

    def _figures(self):
        return ("loss", *(metric.name for metric in self.metrics))


def _world():
    """The `Ranks` of all processes; the first call is collective."""
    if "world" not in _worlds:
        _worlds["world"] = Ranks()
    return _worlds["world"]

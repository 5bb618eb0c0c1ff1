"""The loop of a fit that all ranks go through together."""

import json
import zlib

import numpy as np

from ..train.fit.loop import Loop
from ..train.fit.state import OPTIONS
from .muted import Muted
from .ranks import RankError


class SharedLoop(Loop):
    """A `Loop` that begins on all ranks with the same, and stops on all where one of them wishes it.

    Parameters
    ----------
    trainer, position, update, data, validate, callbacks
        As for `Loop`; the data is a `Share`.
    ranks : Ranks
    wishes : Wishes
    merged : MergedStates
    """

    def __init__(self, *args, ranks, wishes, merged):
        super().__init__(*args)
        self._ranks, self._wishes, self._merged = ranks, wishes, merged

    def _begin(self, epochs):
        self._merged.clear()
        self._wishes.clear()
        self._agree(epochs)
        super()._begin(epochs)
        position = self._position
        if position.states is not None:  # of all rows, as a checkpoint has them
            order = position.order(self._data, self._trainer.epoch)
            self._data.parts(order[position.batch])
            position.states = self._merged.divide(position.states, self._data.rows)

    def _agree(self, epochs):
        """One set of parameters, and an error on every rank where something else differs."""
        trainer = self._trainer
        for p in trainer.model.params.values():
            copy = p.copy()
            self._ranks.broadcast(copy)
            p[...] = copy
        here = {
            "model": trainer.model.config(),
            "X": self._data.fingerprint(),
            "mean_weight": self._data.mean_weight,
            "optimizer": {**trainer.optimizer.state_dict(), "arrays": None},
            "options": {name: getattr(trainer, name) for name in OPTIONS},
            "epochs": epochs,
            "epoch": trainer.epoch,
            "step": trainer.step,
        }
        seen = self._ranks.gather_json([json.dumps(part, sort_keys=True, default=str) for part in here.values()])
        for rank, there in enumerate(seen):
            for name, one, other in zip(here, seen[0], there):
                if one != other:
                    raise ValueError(f"{name}: expected the same on every rank, found {one} on 0 and {other} on {rank}")

    def _epoch(self):
        try:
            self._hear_all()  # wishes of `on_fit_begin`
            if self._wishes.stop:
                return
            super()._epoch()
            self._hear_all()
            self._compare()
            self._check_interrupt()
        except RankError:
            self._trainer.history.interrupted = True  # checkpoints are written at the end of the fit, as after one
            for callback in self._callbacks:
                if isinstance(callback, Muted):
                    callback.heir = self._ranks.saves()
            raise

    def _check_interrupt(self):
        try:
            super()._check_interrupt()
        except KeyboardInterrupt:
            self._wishes.want("interrupt")
        if self._wishes.interrupt:
            raise KeyboardInterrupt

    def _hear_all(self):
        self._wishes.heed(self._ranks.total(self._wishes.counts()))

    def _compare(self):
        """An error where the ranks' parameters have come apart."""
        digest = 0
        for p in self._trainer.model.params.values():
            digest = zlib.crc32(np.ascontiguousarray(p), digest)
        if len(set(self._ranks.gather_json(digest))) > 1:
            raise RuntimeError(
                "params: expected the same bits on every rank after an epoch, found others: a callback changes them, "
                "or the processors differ"
            )

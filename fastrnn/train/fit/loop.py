"""The loop of a fit: epochs of updates, each with a validation and a record at its end, and the callbacks."""

import time

from ...data.batches import updates_of
from .figures import finished, names
from .history import NonFiniteError
from .interrupt import deferred_interrupt


class Loop:
    """One fit of a trainer; updates the trainer's counts, rate and history.

    Parameters
    ----------
    trainer : Trainer
    position : Position
        The place of the fit; moves after each update.
    update : Update
    data : Sequences or LaneStream
    validate : function or None
        (a function to call after each batch) -> figures of the held-out data.
    callbacks : list of Callback
        In the order of their calls.
    """

    def __init__(self, trainer, position, update, data, validate, callbacks):
        self._trainer = trainer
        self._position = position
        self._update = update
        self._data = data
        self._validate = validate
        self._callbacks = callbacks
        self._raise_pending = None  # raises an interrupt that came during an update

    def run(self, epochs):
        """Fit until `epochs` epochs are done, from the start or from the place of a checkpoint."""
        trainer, position = self._trainer, self._position
        trainer.measured = self._measured()
        self._check_schedule()
        self._call("check")
        self._begin(epochs)
        try:
            with deferred_interrupt() as self._raise_pending:
                self._call("on_fit_begin")
                try:
                    while position.epoch < epochs and not trainer.stop:
                        self._epoch()
                except NonFiniteError as error:
                    answers = [callback.on_non_finite(trainer, error) for callback in self._callbacks]
                    if not any(answers):
                        raise
                    position.end()  # a resumed fit would end at the same place again
            trainer.completed = position.between_epochs
        except KeyboardInterrupt:
            trainer.history.interrupted = True
            raise
        finally:
            self._call("on_fit_end")
        if trainer.completed:
            position.end()

    def _measured(self):
        """The names of the figures that each epoch has."""
        own = names(self._trainer.metrics)
        penalty = ["penalty"] if self._update.penalises else []
        held_out = [] if self._validate is None else [f"val_{name}" for name in own]
        return (*own, *penalty, *held_out, "lr", "grad_norm", "seconds")

    def _check_schedule(self):
        trainer = self._trainer
        if trainer.schedule is not None:
            trainer.schedule.check(trainer.measured if trainer.schedule.per == "epoch" else names(trainer.metrics))

    def _begin(self, epochs):
        trainer, position, data = self._trainer, self._position, self._data
        order = data.order() if data.batch_order is None else position.plan(data, trainer.epoch)
        position.begin(data.fingerprint())
        trainer.model.set_rng(trainer.rng)
        trainer.stop = trainer.completed = trainer.history.interrupted = False
        per_epoch = sum(data.updates(indices) for indices in order)
        trainer.extent = (position.done, max(epochs * per_epoch, position.done))

    def _epoch(self):
        """Run one epoch from the position on: its updates, then validation and record."""
        started = time.perf_counter() - self._position.seconds
        if self._position.between_epochs:
            self._call("on_epoch_begin")
        if self._make_updates(started):
            self._record(started)

    def _make_updates(self, started):
        """Make the rest of the epoch's updates; returns whether all are done."""
        trainer, position = self._trainer, self._position
        order = position.order(self._data, trainer.epoch)
        while position.batch < len(order):
            for batches in updates_of(self._data, order[position.batch], position.window):
                logs = self._make_update(batches)
                position.next_window()
                position.seconds = time.perf_counter() - started
                trainer.extent = (position.done, max(trainer.extent[1], position.done))
                if logs is not None:
                    self._call("on_step_end", logs)
                self._check_interrupt()
                if trainer.stop:
                    return False
            position.next_batch()
        return True

    def _make_update(self, batches):
        """Make one update and add it to the epoch's record; returns its figures, or None if no element counts."""
        trainer, position = self._trainer, self._position
        made = self._update.make(batches, position.states, lambda: self._call("on_gradient"))
        position.states = made.states
        if not made.mass:
            return None
        figures = finished(trainer.metrics, made.values, 1.0)
        self._advance_schedule("batch", figures)
        position.add(made)
        return {**figures, "penalty": made.penalty, "grad_norm": made.norm, "lr": made.lr, "mass": made.mass}

    def _record(self, started):
        """Do the work after an epoch's last update: average, validation, schedule, history."""
        trainer, position = self._trainer, self._position
        if trainer.average is not None and not position.averaged:
            trainer.average.after_epoch(trainer.epoch + 1, trainer.model.params)
            position.averaged = True  # after an interrupt of the validation a fit continues here
        logs = finished(trainer.metrics, position.sums, position.mass)
        logs["penalty"] = position.penalty / max(position.updates, 1)
        if self._validate is not None:
            held_out = self._validate(self._check_interrupt)
            logs.update({f"val_{name}": value for name, value in held_out.items()})
        logs["lr"] = position.lr
        logs["grad_norm"] = position.norm / max(position.updates, 1)
        logs["seconds"] = time.perf_counter() - started
        logs = {name: logs[name] for name in trainer.measured}
        self._advance_schedule("epoch", logs)
        trainer.epoch += 1
        position.next_epoch()
        trainer.history.add(**logs)
        self._call("on_epoch_end", logs)
        self._check_interrupt()

    def _advance_schedule(self, per, figures):
        schedule = self._trainer.schedule
        if schedule is not None and schedule.per == per:
            name = schedule.monitor
            if name is None:
                name = "val_loss" if "val_loss" in figures else "loss"
            self._trainer.optimizer.lr = schedule.step(figures[name])

    def _check_interrupt(self):
        self._raise_pending()

    def _call(self, hook, *args):
        for callback in self._callbacks:
            getattr(callback, hook)(self._trainer, *args)

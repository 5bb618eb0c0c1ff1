"""The loop of `Trainer`: epochs of updates, each made of a few passes, and the figures of held-out data."""

import contextlib
import copy
import math
import time

import numpy as np

from ...data.batches import passes
from .. import optim
from ..callbacks import Callback, ProgressBar
from ..progress import Progress
from .history import NonFiniteError
from .passes import TrainingPass, add_l2, counted_together, infer, measure, regularizers
from .trainerparts import find_callbacks


class TrainLoop:
    """What `Trainer.fit` does between its checks and its end; the attributes are `Trainer`'s.

    `_fit` is the position in the fit, between two updates: with the parameters, all that it takes to go on.
    """

    def _hooks(self, progress):
        """The callbacks of a fit, in the order of their calls."""
        if isinstance(progress, Callback):
            return find_callbacks([*self.callbacks, progress])
        return find_callbacks([*self.callbacks, ProgressBar()] if progress else self.callbacks)

    def _name_figures(self, validation):
        names = [metric.name for metric in self.metrics]
        held_out = [] if validation is None else [f"val_{name}" for name in ("loss", *names)]
        self._penalised = regularizers(self.model)
        penalty = ["penalty"] if self._l2 or self._penalised else []
        self.measured = ("loss", *names, *penalty, *held_out, "lr", "grad_norm", "seconds")

    def _begin(self, data, epochs):
        """Set the position to the start of a fit, or leave it where a checkpoint was taken."""
        fingerprint = data.fingerprint()
        if self._resumed:
            if self._fit["data"] != fingerprint:
                raise ValueError(
                    f"X: expected the data and batch size of the fit that goes on, "
                    f"{self._fit['data']}; found {fingerprint}"
                )
        else:
            self._fit = {"data": fingerprint, "epoch": 0, "done": 0, **_start_of_epoch()}
        self._resumed = False
        self.model.set_rng(self.rng)
        self.stop = self.completed = self.history.interrupted = False
        per_epoch = sum(data.updates(indices) for indices in data.order())
        self.extent = (self._fit["done"], max(epochs * per_epoch, self._fit["done"]))

    def _run_epoch(self, data, validation, hooks, check_interrupt):
        """Make the updates of one epoch from the position on, then validate and record."""
        fit, started = self._fit, time.perf_counter()
        before = fit["seconds"]
        if fit["batch"] == fit["window"] == 0:
            call(hooks, "on_epoch_begin", self)
        order = data.order(np.random.default_rng([self._order_seed, self.epoch]))
        while fit["batch"] < len(order):
            for batches in passes(data, order[fit["batch"]], fit["window"]):
                logs = self._update(batches, hooks)
                fit["window"] += 1
                fit["done"] += 1
                fit["seconds"] = before + time.perf_counter() - started
                self.extent = (fit["done"], max(self.extent[1], fit["done"]))
                if logs is not None:
                    call(hooks, "on_step_end", self, logs)
                check_interrupt()
                if self.stop:
                    return
            fit.update(batch=fit["batch"] + 1, window=0, states=None)
        if self.average is not None and not fit["averaged"]:
            self.average.after_epoch(self.epoch + 1, self.model.params)
            fit["averaged"] = True  # an interrupt of the validation comes back here
        logs = self._finished(fit["sums"], fit["mass"])
        logs["penalty"] = fit["penalty"] / max(fit["updates"], 1)
        if validation is not None:
            held_out = self._measured(validation, check_interrupt)
            logs.update({f"val_{name}": value for name, value in held_out.items()})
        logs["lr"] = fit["lr"]
        logs["grad_norm"] = fit["norm"] / max(fit["updates"], 1)
        logs["seconds"] = before + time.perf_counter() - started
        logs = {name: logs[name] for name in self.measured}
        self._advance_schedule("epoch", logs.get("val_loss", logs["loss"]))
        self.epoch += 1
        fit.update(_start_of_epoch(), epoch=fit["epoch"] + 1)
        self.history.add(**logs)
        call(hooks, "on_epoch_end", self, logs)
        check_interrupt()

    def _update(self, batches, hooks):
        """Forward, backward, clip, step. An error leaves all but gradients and random state as it was."""
        fit, model = self._fit, self.model
        values, penalty, mass, states = self._gradient(batches)
        if not mass:
            fit["states"] = states
            return None
        if self._l2:
            penalty += add_l2(model.params, model.grads, self._l2)
        call(hooks, "on_gradient", self)
        norm = self._clip()
        lr = self.optimizer.lr
        self.optimizer.step(model.params, model.grads)
        self.step += 1
        if self.average is not None:
            self.average.after_step(model.params)
        self._advance_schedule("batch", values["loss"])
        sums = {name: fit["sums"].get(name, 0.0) + value * mass for name, value in values.items()}
        fit.update(states=states, lr=lr, updates=fit["updates"] + 1, sums=sums, mass=fit["mass"] + mass)
        fit.update(norm=fit["norm"] + norm, penalty=fit["penalty"] + penalty)
        return {**self._finished(values, 1.0), "penalty": penalty, "grad_norm": norm, "lr": lr, "mass": mass}

    def _gradient(self, batches):
        """(means of loss and metrics, penalty, mass, states) of batches, their mean gradient in `model.grads`."""
        model = self.model
        states = list(self._fit["states"] or [None] * len(batches))
        batches = {k: batch for k, batch in enumerate(batches) if batch is not None}
        per_step = not model.pools_time
        masses = {k: batch.mass(per_step) for k, batch in batches.items()}
        mass = sum(masses.values())
        model.zero_grad()
        values = dict.fromkeys(("loss", *(metric.name for metric in self.metrics)), 0.0)
        penalty = 0.0
        with counted_together(self._penalised, list(batches.values())):
            for k, batch in batches.items():
                run = TrainingPass(model, batch, states[k], self._penalised)
                states[k] = run.state
                if not masses[k]:
                    if mass:  # the loss has no part in it, penalties of activations may
                        run.backward(np.zeros_like(run.prediction))
                        penalty += run.penalty
                    continue
                part = masses[k] / mass
                loss, gradient = measure(self.loss, model, run.prediction, batch)
                if not math.isfinite(loss):
                    raise NonFiniteError(f"{self._where()}: the loss is {loss}")
                values["loss"] += loss * part
                penalty += run.penalty
                for metric in self.metrics:
                    values[metric.name] += measure(metric, model, run.prediction, batch) * part
                run.backward(gradient if part == 1 else gradient * gradient.dtype.type(part))
        return values, penalty, mass, states

    def _clip(self):
        """Clip the gradients; returns their norm before."""
        grads = self.model.grads
        if self.clip_value is not None:
            optim.clip_grad_value(grads, self.clip_value)
        norm = optim.grad_norm(grads) if self.clip_norm is None else optim.clip_grad_norm(grads, self.clip_norm)
        if not math.isfinite(norm):
            bad = [name for name, grad in grads.items() if not np.isfinite(grad).all()]
            raise NonFiniteError(
                f"{self._where()}: the gradient of {', '.join(bad) or 'all parameters'} is not finite (norm {norm})"
            )
        return norm

    def _where(self):
        return f"epoch {self.epoch + 1}, step {self.step + 1} (parameters are as before it)"

    def _advance_schedule(self, per, metric):
        if self.schedule is not None and self.schedule.per == per:
            self.optimizer.lr = self.schedule.step(metric)

    def _measured(self, data, check_interrupt=lambda: None, progress=False):
        """Loss and metrics of all of `data` by inference."""
        model = self._evaluated()
        mass, order = 0.0, data.order()
        sums = {}
        with display(progress, sum(data.updates(indices) for indices in order), "batch") as shown:
            for indices in order:
                state = None
                for batch in data.windows(indices, context=False):
                    y, state = infer(model, batch, state)
                    part = batch.mass(data.per_step)
                    if part:
                        loss, _ = measure(self.loss, model, y, batch)
                        values = {"loss": loss, **{m.name: measure(m, model, y, batch) for m in self.metrics}}
                        sums = {name: sums.get(name, 0.0) + value * part for name, value in values.items()}
                        mass += part
                    shown.advance()
                    check_interrupt()
        return self._finished(*self._collected(sums, mass))

    def _collected(self, sums, mass):
        """What sums over elements and their mass add up to with those who share the work; here there are none."""
        return sums, mass

    def _finished(self, sums, mass):
        """The figures that sums over elements of this mass give."""
        means = {name: value / mass for name, value in sums.items()} if mass else {}
        figures = {"loss": means.get("loss", 0.0)}
        for metric in self.metrics:
            figures[metric.name] = metric.finish(means.get(metric.name, 0.0))
        return figures

    def averaged_model(self):
        """A copy of the model with the average's parameters; with its own where there is no average yet."""
        model = copy.deepcopy(self.model)
        if self.average is not None and self.average.params:
            model.load_state_dict(self.average.params)
        return model

    def _evaluated(self):
        """The model to evaluate: a copy with the average's parameters where there are any."""
        if self.average is None or not self.average.params:
            return self.model
        if self._averaged is None:
            self._averaged = self.averaged_model()
        else:
            self._averaged.load_state_dict(self.average.params)
        return self._averaged


def _start_of_epoch():
    """The position at the start of an epoch, and sums for its record."""
    sums = dict.fromkeys(("mass", "norm", "penalty", "lr", "seconds"), 0.0)
    return {"batch": 0, "window": 0, "states": None, "averaged": False, "updates": 0, "sums": {}, **sums}


def call(callbacks, hook, *args):
    for callback in callbacks:
        getattr(callback, hook)(*args)


def display(progress, total, unit):
    return Progress(total, unit) if progress else _Silent()


class _Silent(contextlib.nullcontext):
    """The `Progress` that shows nothing."""

    def __enter__(self):
        return self

    def advance(self, amount=1):
        pass

"""Training: `Trainer` fits a model to data, batch by batch, and can stop and go on at any update."""

import contextlib
import inspect
import math
import signal
import threading
import time

import numpy as np

from . import losses, optim, schedules
from ._check import check_generator, check_number, check_positive_int, check_state_dict
from .batches import Batch, LaneStream, Sequences, check_classes, check_ids
from .callbacks import Callback, ProgressBar
from .checkpoint import build_model, read_checkpoint, write_checkpoint
from .layers import Embedding
from .module import Module
from .progress import Progress


class NonFiniteError(ValueError, FloatingPointError):
    """A loss or gradient that is not finite. The update was not made: parameters are as before it."""


class History(dict):
    """What was measured, name -> list with one entry per epoch: loss, val_loss, lr, grad_norm, seconds.

    `loss` is the mean over the epoch's training elements, `grad_norm` the mean of the norms before
    clipping, `lr` the rate of the last update, `seconds` wall time with validation.

    Attributes
    ----------
    interrupted : bool
        Whether a KeyboardInterrupt ended the last fit.
    """

    interrupted = False

    def add(self, **values):
        """One epoch's figures."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)


class Trainer:
    """Fits a model to data by (truncated) back-propagation through time.

    Parameters
    ----------
    model : Module
        A network whose layout `fit` follows. One that ends in a pooling module (its `pools_time` is true)
        has one output per sequence, any other one per step.
    loss : str or callable
        A function of `fastrnn.losses` or its name, or anything that is called as ``loss(prediction,
        target)`` and returns (float, gradient); it gets `lengths`, `sample_weight` and `batch_first` by
        keyword where they matter.
    optimizer : str or Optimizer
        A name, "sgd", "adam", "adamw", "rmsprop" or "adagrad", stands for its defaults.
    clip_norm, clip_value : float, optional
        Bound of the gradient's norm over all parameters; bound of each of its elements, taken first.
    schedule : Schedule, optional
        Sets the optimiser's rate, per update or per epoch as it says. Per epoch it is told the validation
        loss, or without validation the training loss.
    tbptt : int, optional
        Steps per update. Longer sequences are cut into windows; the state is carried from each to the next,
        the gradient is not (truncated BPTT, Williams and Peng 1990). None is full BPTT.
    callbacks : sequence of Callback
    seed : int, numpy.random.SeedSequence, numpy.random.Generator or None
        Source of the order of batches and of dropout masks.

    Attributes
    ----------
    history : History
    epoch, step : int
        Epochs and updates made so far, over all calls of `fit`.
    rng : numpy.random.Generator
    extent : (int, int)
        Updates that the current fit has made, and those it will make in all.
    stop : bool
        Set it in a callback to end the fit.
    notes : dict
        Plain values that checkpoints keep for the caller.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    def __init__(
        self,
        model,
        loss="cross_entropy",
        optimizer="adam",
        *,
        clip_norm=None,
        clip_value=None,
        schedule=None,
        tbptt=None,
        callbacks=(),
        seed=None,
    ):
        if not isinstance(model, Module):
            raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
        self.model = model
        self.loss = _find_loss(loss)
        self.optimizer = _find_optimizer(optimizer)
        self.clip_norm = _bound(clip_norm, "clip_norm")
        self.clip_value = _bound(clip_value, "clip_value")
        if schedule is not None and not isinstance(schedule, schedules.Schedule):
            raise TypeError(
                f"schedule: expected a schedule of fastrnn.schedules or None, found {type(schedule).__name__}"
            )
        self.schedule = schedule
        self.tbptt = None if tbptt is None else check_positive_int(tbptt, "tbptt")
        self.callbacks = _callbacks(callbacks)
        self.rng = check_generator(seed, "seed")
        self._order_seed = int(self.rng.integers(2**63))
        self.history = History()
        self.epoch = self.step = 0
        self.stop = False
        self.extent = (0, 0)
        self.notes = {}
        self._fit = None  # where the fit is, between its updates
        self._resumed = False
        if schedule is not None:
            self.optimizer.lr = schedule.lr

    def fit(
        self,
        X,
        y=None,
        *,
        lengths=None,
        epochs=1,
        batch_size=32,
        validation_data=None,
        validation_split=0.0,
        sample_weight=None,
        class_weight=None,
        progress=True,
    ):
        """Train for `epochs` epochs.

        Parameters
        ----------
        X : array (N, T, I) or (N, T), list of arrays (T_i, I) or (T_i,), or LaneStream
            (N, T) and (T_i,) are ids if they hold integers, else one feature per step. A `LaneStream`
            brings its own targets, batch and window size, keeps its order, and carries the state through
            the epoch.
        y : array (N, ...), array (N, T, ...) or list of arrays (T_i, ...)
            One target per sequence or per step, as the model has outputs.
        lengths : sequence of N ints, optional
            For a padded X; steps beyond a length count nowhere.
        epochs, batch_size : int
        validation_data : tuple or dict or LaneStream, optional
            (X, y), (X, y, sample_weight), or what `evaluate` takes by keyword.
        validation_split : float
            The part of the sequences, taken from the end, that is held out for validation.
        sample_weight : array (N,), or one weight per target, optional
        class_weight : dict of class -> weight, or array (K,), optional
            Weights apply to training and validation; means are divided by the sum of the weights.
        progress : bool or Callback
            Show progress on standard error if it takes over two seconds; a callback shows it in its own way.

        Returns
        -------
        History
            `history`, over all calls of `fit`.

        Raises
        ------
        NonFiniteError
            A ValueError and a FloatingPointError: at the first update whose loss or gradient is not finite.
        KeyboardInterrupt
            After an interrupt, between two updates (a second one does not wait). Model, history and
            `save_checkpoint` are usable, and ``history.interrupted`` is True.
        ValueError, TypeError
            Before anything is changed, naming the argument.

        Notes
        -----
        A fit that was interrupted, or that a checkpoint was taken from, goes on exactly where it was if
        `fit` is called on the trainer that `resume` returns; `epochs` is then the total of that fit. Any
        other call is a fit of its own.
        """
        epochs = check_positive_int(epochs, "epochs")
        validation_split = check_number(validation_split, "validation_split", low=0, below=1)
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        data = self._data(X, y, lengths=lengths, batch_size=batch_size, window=self.tbptt, **weights)
        self._check_values(data)
        validation = None
        if validation_data is not None:
            if validation_split:
                raise ValueError(
                    f"validation_split: expected 0 beside validation_data, found {validation_split}"
                )
            validation = self._validation_data(validation_data, class_weight, batch_size)
        elif validation_split:
            if data.carries:
                raise ValueError(
                    "validation_split: expected 0 for a LaneStream; give another as validation_data"
                )
            data, validation = data.split(validation_split)
        self._begin(data, epochs)
        if isinstance(progress, Callback):
            hooks = _callbacks([*self.callbacks, progress])
        else:
            hooks = _callbacks([*self.callbacks, ProgressBar()] if progress else self.callbacks)
        try:
            with _deferred_interrupt() as check_interrupt:
                _call(hooks, "on_fit_begin", self)
                while self._fit["epoch"] < epochs and not self.stop:
                    self._run_epoch(data, validation, hooks, check_interrupt)
        except KeyboardInterrupt:
            self.history.interrupted = True
            raise
        finally:
            _call(hooks, "on_fit_end", self)
        if self._fit["batch"] == self._fit["window"] == 0:  # not stopped within an epoch
            self._fit = None
        return self.history

    def evaluate(
        self, X, y=None, *, lengths=None, sample_weight=None, class_weight=None, batch_size=32, progress=True
    ):
        """Mean loss by inference.

        Parameters
        ----------
        X, y, lengths, sample_weight, class_weight
            As for `fit`. Sequences are not cut in windows; a LaneStream's state is carried from start to end.
        batch_size : int
        progress : bool

        Returns
        -------
        dict
            "loss" -> float.
        """
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        data = self._data(X, y, lengths=lengths, batch_size=batch_size, **weights)
        return {"loss": self._mean_loss(data, progress=progress)}

    def predict(self, X, *, lengths=None, batch_size=32, progress=True):
        """The model's outputs by inference.

        Parameters
        ----------
        X, lengths
            As for `fit`; no LaneStream.
        batch_size : int
        progress : bool

        Returns
        -------
        array (N, T, ...), or list of arrays (T_i, ...) for a list, or array (N, ...)
            One output per step, zero beyond a length; or one per sequence where the model has one.
        """
        if isinstance(X, LaneStream):
            raise TypeError("X: expected an array or a list of sequences, found a LaneStream")
        data = self._data(X, None, lengths=lengths, batch_size=batch_size, targets=False)
        outputs = []
        with _display(progress, len(data), "sequence") as display:
            for indices in data.order():
                y, _ = self._infer(data.batch(indices), None)
                outputs.append(y)
                display.advance(len(indices))
        if not data.per_step:
            return np.concatenate(outputs)
        rows = [row for y in outputs for row in y]
        if data.ragged:
            return [row[:length] for row, length in zip(rows, data.lengths)]
        out = np.zeros((len(rows), data.x.shape[1], *rows[0].shape[1:]), rows[0].dtype)
        for target, row in zip(out, rows):
            target[: len(row)] = row
        return out

    def save_checkpoint(self, path):
        """Write all that `resume` needs to `path`: in one step, with a checksum, never pickle.

        That is parameters, optimiser, schedule, random state, history, callbacks' state, and, from within
        `fit` or after an interrupt, the position in the data and the carried states.

        Raises
        ------
        FileError
            An OSError and a ValueError; what was at `path` is as it was.
        """
        write_checkpoint(path, self.state_dict())

    def state_dict(self):
        """What `save_checkpoint` writes: dicts, lists and tuples of plain values and live arrays."""
        schedule = self.schedule and {
            "config": _schedule_config(self.schedule),
            "state": self.schedule.state_dict(),
        }
        return {
            "model": self.model.config(),
            "params": dict(self.model.params),
            "optimizer": self.optimizer.state_dict(),
            "schedule": schedule,
            "loss": _loss_name(self.loss),
            "options": {name: getattr(self, name) for name in ("clip_norm", "clip_value", "tbptt")},
            "order_seed": self._order_seed,
            "rng": self.rng.bit_generator.state,
            "history": dict(self.history),
            "epoch": self.epoch,
            "step": self.step,
            "fit": self._fit,
            "callbacks": [{"type": type(c).__name__, "state": c.state_dict()} for c in self.callbacks],
            "notes": self.notes,
        }

    @classmethod
    def resume(cls, path, *, model=None, loss=None, optimizer=None, schedule=None, callbacks=()):
        """The trainer that `save_checkpoint` wrote to `path`.

        Its next `fit`, called with the same data and arguments, goes on where the checkpoint was taken. The
        result equals that of training without a stop, bit for bit.

        Parameters
        ----------
        path : str or path-like
        model : Module, optional
            Takes the parameters; built anew without it.
        loss : callable, optional
            Needed where the loss was a function of one's own.
        optimizer, schedule : optional
            Of the type that was saved; needed only for types of one's own.
        callbacks : sequence of Callback
            Those of a type that was saved get their state back.

        Raises
        ------
        ValueError, TypeError
            If the file is missing, damaged or no checkpoint, or an argument does not fit to it.
        """
        parts = {"model": model, "loss": loss, "optimizer": optimizer, "schedule": schedule}
        return cls.from_state(read_checkpoint(path), **parts, callbacks=callbacks)

    @classmethod
    def from_state(cls, state, *, model=None, loss=None, optimizer=None, schedule=None, callbacks=()):
        """As `resume`, from what `state_dict` returned."""
        model = build_model(state["model"]) if model is None else model
        check_state_dict(state["params"], model.params)
        loss = state["loss"] if loss is None else loss
        if loss is None:
            raise ValueError("loss: expected the function that the checkpoint was trained with, found None")
        if optimizer is None:
            optimizer = _rebuild(optim, state["optimizer"]["type"], state["optimizer"]["hyper"], "optimizer")
        optimizer.load_state_dict(state["optimizer"])
        if state["schedule"] is not None:
            if schedule is None:
                schedule = _schedule_from_config(state["schedule"]["config"])
            schedule.load_state_dict(state["schedule"]["state"])
        model.load_state_dict(state["params"])
        options = {"schedule": schedule, "callbacks": callbacks, **state["options"]}
        trainer = cls(model, loss, optimizer, seed=_generator(state["rng"]), **options)
        trainer.rng.bit_generator.state = state["rng"]
        trainer._order_seed = state["order_seed"]
        trainer.history.update(state["history"])
        trainer.epoch, trainer.step = state["epoch"], state["step"]
        trainer._fit = state["fit"]
        trainer._resumed = state["fit"] is not None
        trainer.notes = state["notes"]
        saved = list(state["callbacks"])
        for callback in trainer.callbacks:
            match = next((s for s in saved if s["type"] == type(callback).__name__), None)
            if match is not None:
                saved.remove(match)
                callback.load_state_dict(match["state"])
        return trainer

    @property
    def fit_epoch(self):
        """Epochs finished of the fit that is going on, or that the next `fit` goes on with; 0 without one."""
        return 0 if self._fit is None else self._fit["epoch"]

    def _data(
        self,
        X,
        y,
        *,
        lengths=None,
        sample_weight=None,
        class_weight=None,
        batch_size=32,
        window=None,
        targets=True,
    ):
        """X and y as `Sequences` or `LaneStream`."""
        if isinstance(X, LaneStream):
            given = {"y": y, "lengths": lengths, "sample_weight": sample_weight, "class_weight": class_weight}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"{name}: expected None with a LaneStream, found {type(value).__name__}")
            self._check_carry("a LaneStream")
            return X
        if targets and y is None:
            raise ValueError("y: expected targets, found None")
        if window is not None:
            self._check_carry("tbptt")
        return Sequences(
            X,
            y,
            lengths=lengths,
            sample_weight=sample_weight,
            class_weight=class_weight,
            per_step=not self.model.pools_time,
            dtype=self.model.dtype,
            batch_size=batch_size,
            window=window,
        )

    def _validation_data(self, data, class_weight, batch_size):
        if isinstance(data, LaneStream):
            data = {"X": data}
            class_weight = None
        if isinstance(data, dict):
            unknown = set(data) - {"X", "y", "lengths", "sample_weight"}
            if unknown or "X" not in data:
                raise ValueError(
                    f"validation_data: expected X, y, lengths and sample_weight, found {sorted(data)}"
                )
        elif isinstance(data, (tuple, list)) and len(data) in (2, 3):
            data = dict(zip(("X", "y", "sample_weight"), data))
        else:
            raise TypeError(
                "validation_data: expected (X, y), (X, y, sample_weight), a dict or a LaneStream; "
                f"found {type(data).__name__}"
            )
        rest = {name: value for name, value in data.items() if name not in ("X", "y")}
        try:
            data = self._data(
                data["X"], data.get("y"), class_weight=class_weight, batch_size=batch_size, **rest
            )
            self._check_values(data)
            return data
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"validation_data: {error}") from error

    def _check_values(self, data):
        """Ids that the model has embeddings for and classes that it has outputs for."""
        first = self.model
        while getattr(first, "modules", ()):
            first = first.modules[0]
        if isinstance(first, Embedding):
            check_ids(data, first.num_embeddings)
        if self.loss is losses.cross_entropy:
            shape = (1, 1, *(data.x[0].shape[1:]))
            y, _ = self._infer(Batch(np.zeros(shape, data.x[0].dtype), None, None, None), None)
            check_classes(data, y.shape[-1])

    def _check_carry(self, what):
        """A state can be carried through time in one direction only."""
        if any(getattr(m, "bidirectional", False) for m in (self.model, *getattr(self.model, "modules", ()))):
            raise ValueError(
                f"{what}: expected a model that reads in one direction, found a bidirectional one"
            )

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
            self._fit = {"data": fingerprint, "epoch": 0, "done": 0, **_EPOCH}
        self._resumed = False
        self.model.set_rng(self.rng)
        self.stop = self.history.interrupted = False
        per_epoch = sum(data.updates(indices) for indices in data.order())
        self.extent = (self._fit["done"], max(epochs * per_epoch, self._fit["done"]))

    def _run_epoch(self, data, validation, hooks, check_interrupt):
        """Make the updates of one epoch from the position on, then validate and record."""
        fit, started = self._fit, time.perf_counter()
        before = fit["seconds"]
        if fit["batch"] == fit["window"] == 0:
            _call(hooks, "on_epoch_begin", self)
        order = data.order(np.random.default_rng([self._order_seed, self.epoch]))
        while fit["batch"] < len(order):
            indices = order[fit["batch"]]
            for batch in data.windows(indices, fit["window"]):
                logs = self._update(batch, data.per_step, hooks)
                fit["window"] += 1
                fit["done"] += 1
                fit["seconds"] = before + time.perf_counter() - started
                self.extent = (fit["done"], self.extent[1])
                if logs is not None:
                    _call(hooks, "on_step_end", self, logs)
                check_interrupt()
                if self.stop:
                    return
            fit.update(batch=fit["batch"] + 1, window=0, state=None)
        logs = {"loss": fit["loss"] / fit["mass"] if fit["mass"] else 0.0}
        if validation is not None:
            logs["val_loss"] = self._mean_loss(validation, check_interrupt)
        logs["lr"] = fit["lr"]
        logs["grad_norm"] = fit["norm"] / max(fit["updates"], 1)
        logs["seconds"] = before + time.perf_counter() - started
        self._advance_schedule("epoch", logs.get("val_loss", logs["loss"]))
        self.epoch += 1
        fit.update(_EPOCH, epoch=fit["epoch"] + 1)
        self.history.add(**logs)
        _call(hooks, "on_epoch_end", self, logs)
        check_interrupt()

    def _update(self, batch, per_step, hooks):
        """Forward, backward, clip, step. An error leaves all but gradients and random state as it was."""
        fit, model = self._fit, self.model
        mass = batch.mass(per_step)
        x, lengths = self._layout(batch.x), batch.lengths
        prediction, state, tape = model.forward(x, fit["state"], lengths)
        if mass == 0:
            fit["state"] = state
            return None
        loss, gradient = self._loss(prediction, batch, per_step)
        if not math.isfinite(loss):
            raise NonFiniteError(f"{self._where()}: the loss is {loss}")
        model.zero_grad()
        model.backward(tape, gradient)
        _call(hooks, "on_gradient", self)
        if self.clip_value is not None:
            optim.clip_grad_value(model.grads, self.clip_value)
        if self.clip_norm is None:
            norm = optim.grad_norm(model.grads)
        else:
            norm = optim.clip_grad_norm(model.grads, self.clip_norm)
        if not math.isfinite(norm):
            bad = [name for name, grad in model.grads.items() if not np.isfinite(grad).all()]
            raise NonFiniteError(
                f"{self._where()}: the gradient of {', '.join(bad) or 'all parameters'} "
                f"is not finite (norm {norm})"
            )
        lr = self.optimizer.lr
        self.optimizer.step(model.params, model.grads)
        self.step += 1
        self._advance_schedule("batch", loss)
        fit.update(state=state, lr=lr, updates=fit["updates"] + 1)
        fit.update(loss=fit["loss"] + loss * mass, mass=fit["mass"] + mass, norm=fit["norm"] + norm)
        return {"loss": loss, "grad_norm": norm, "lr": lr, "mass": mass}

    def _where(self):
        return f"epoch {self.epoch + 1}, step {self.step + 1} (parameters are as before it)"

    def _advance_schedule(self, per, metric):
        if self.schedule is not None and self.schedule.per == per:
            self.optimizer.lr = self.schedule.step(metric)

    def _mean_loss(self, data, check_interrupt=lambda: None, progress=False):
        total = mass = 0.0
        order = data.order()
        with _display(progress, sum(data.updates(indices) for indices in order), "batch") as display:
            for indices in order:
                state = None
                for batch in data.windows(indices):
                    y, state = self._infer(batch, state, as_is=True)
                    part = batch.mass(data.per_step)
                    if part:
                        total += self._loss(y, batch, data.per_step)[0] * part
                        mass += part
                    display.advance()
                    check_interrupt()
        return total / mass if mass else 0.0

    def _infer(self, batch, state, as_is=False):
        """(outputs, batch first unless as_is; state)"""
        x = self._layout(batch.x)
        if self.model.recurrent:
            y, state = self.model(x, state, batch.lengths)
        else:
            y = self.model(x, batch.lengths)
        return (y if as_is or self.model.pools_time else self._layout(y)), state

    def _loss(self, prediction, batch, per_step):
        """(loss, gradient) of a prediction in the model's layout."""
        options, y, weight = {}, batch.y, batch.weight
        if per_step and not self._batch_first:
            y = y.swapaxes(0, 1)
            weight = weight if weight is None or weight.ndim == 1 else weight.T
            options["batch_first"] = False
        if per_step and batch.lengths is not None:
            options["lengths"] = batch.lengths
        if weight is not None:
            options["sample_weight"] = weight
        return self.loss(prediction, y, **options)

    @property
    def _batch_first(self):
        return getattr(self.model, "batch_first", True)

    def _layout(self, array):
        """Swap batch and time for a time-major model."""
        return array if self._batch_first else array.swapaxes(0, 1)


_EPOCH = {
    "batch": 0,
    "window": 0,
    "state": None,
    "loss": 0.0,
    "mass": 0.0,
    "norm": 0.0,
    "updates": 0,
    "lr": 0.0,
    "seconds": 0.0,
}  # the position at the start of an epoch, and sums for its record

_OPTIMIZERS = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}
_LOSSES = ("cross_entropy", "mse", "mae", "huber", "binary_cross_entropy", "quantile", "gaussian_nll")


def _find_loss(loss):
    if isinstance(loss, str):
        if loss not in _LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(_LOSSES)} or a function; found {loss!r}")
        return getattr(losses, loss)
    if not callable(loss):
        raise TypeError(f"loss: expected a name or a function, found {type(loss).__name__}")
    return loss


def _loss_name(loss):
    """The name of one of this package's losses, None for any other function."""
    name = getattr(loss, "__name__", "")
    return name if getattr(losses, name, None) is loss else None


def _find_optimizer(optimizer):
    if isinstance(optimizer, str):
        if optimizer not in _OPTIMIZERS:
            raise ValueError(
                f"optimizer: expected one of {', '.join(_OPTIMIZERS)} or an optimiser; found {optimizer!r}"
            )
        return _OPTIMIZERS[optimizer]()
    if not isinstance(optimizer, optim.Optimizer):
        raise TypeError(
            f"optimizer: expected a name or an optimiser of fastrnn, found {type(optimizer).__name__}"
        )
    return optimizer


def _bound(value, name):
    return None if value is None else check_number(value, name, above=0)


def _callbacks(callbacks):
    """Those that record the others' state last."""
    try:
        callbacks = list(() if callbacks is None else callbacks)
    except TypeError:
        raise TypeError(f"callbacks: expected a sequence, found {type(callbacks).__name__}") from None
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks: expected instances of fastrnn.callbacks.Callback, "
                f"found {type(callback).__name__}"
            )
    return sorted(callbacks, key=lambda callback: callback.last)


def _call(callbacks, hook, *args):
    for callback in callbacks:
        getattr(callback, hook)(*args)


def _display(progress, total, unit):
    return Progress(total, unit) if progress else _Silent()


class _Silent(contextlib.nullcontext):
    """The `Progress` that shows nothing."""

    def __enter__(self):
        return self

    def advance(self, amount=1):
        pass


def _schedule_config(schedule):
    """A schedule's type and constructor arguments; its own attributes have their names."""
    config = {"type": type(schedule).__name__}
    for name in inspect.signature(type(schedule)).parameters:
        value = getattr(schedule, "base_lr" if name == "lr" else name)
        config[name] = _schedule_config(value) if isinstance(value, schedules.Schedule) else value
    return config


def _schedule_from_config(config):
    values = {
        name: _schedule_from_config(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name != "type"
    }
    return _rebuild(schedules, config["type"], values, "schedule")


def _rebuild(module, name, arguments, what):
    if not hasattr(module, name):
        raise ValueError(f"{what}: expected the {name} that the checkpoint was trained with, found None")
    return getattr(module, name)(**arguments)


def _generator(state):
    """A generator of the kind that a bit generator's state belongs to."""
    return np.random.Generator(getattr(np.random, state["bit_generator"])())


@contextlib.contextmanager
def _deferred_interrupt():
    """Let a first interrupt wait for the next call of the function that this yields: no update is cut in two.

    Only where Python's own handler is in place, in the main thread; it is put back at the end.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    pending = False

    def remember(signum, frame):
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True

    def check():
        if pending:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

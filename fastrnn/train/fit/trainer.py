"""Training: `Trainer` fits a model to data, batch by batch, and can stop and go on at any update."""

import copy
from typing import TYPE_CHECKING

from ...check.values import check_bound, check_generator, check_number, check_positive_int
from ...data.tbptt import check_tbptt
from ...files.checkpoint import CheckpointSeries, read_checkpoint, write_checkpoint
from ...files.wholefile import naming
from ...nn.module import Module
from .. import averaging, schedules
from ..callbacks import Callback, ProgressBar
from ..metrics import find_metrics
from .data import DataAdapter
from .evaluation import Evaluation
from .history import History
from .history import NonFiniteError as NonFiniteError  # programs take it from here
from .loop import Loop
from .parts import find_callbacks, find_l2, find_loss, find_optimizer, instance, optional
from .position import Position
from .state import trainer_from_state, trainer_state
from .update import Update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from typing_extensions import Self

    from ..._types import Inputs, Ints, Outputs, PathLike, Seed, Weights
    from ...data.batches import LaneStream
    from ..metrics import Metric
    from ..optim import Optimizer


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
    tbptt : int or (int, int), optional
        Truncated BPTT(k1, k2) (Williams and Peng 1990), k for k1 = k2 = k: every k1 steps an update, whose loss
        is the mean over those k1 steps and whose gradient flows back through the last k2. Longer sequences
        are cut so; the state is carried on, the gradient is not. None is full BPTT. See `fastrnn.tbptt`.
    accumulate : int
        Batches per update. The gradient is that of one batch `accumulate` times as large: the batches' gradients
        in proportion to their weight, and with `tbptt` window by window, each batch with its own state.
    l2 : float or dict of str -> float
        Adds l2 * sum(w^2) to the loss: for a number over all weights of two axes or more, biases left out; for a
        dict over the parameters whose names match its patterns, such as "*weight_hh*".
    metrics : sequence of str or callable
        "accuracy", "mse", "rmse", "mae", "cross_entropy", "perplexity", "bits", or functions as
        `fastrnn.metrics` tells, under their own names.
    average : EMA or SWA, optional
        An average of the parameters along training (`fastrnn.averaging`). Validation, `evaluate` and `predict`
        then use it; `model` keeps the parameters that are trained, `averaged_model` gives the others.
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
        Updates that the current fit has made, and about as many as it will make in all.
    measured : tuple of str
        Names of the figures that each epoch of the current fit has.
    stop : bool
        Set it in a callback to end the fit.
    completed : bool
        Whether the last fit has come to its end, or was ended by a callback after an epoch or at a number that is
        not finite; not by an interrupt or an error, or within an epoch, from where it can go on.
    notes : dict
        Plain values that checkpoints keep for the caller.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    def __init__(
        self,
        model: Module,
        loss: "str | Callable[..., Any]" = "cross_entropy",
        optimizer: "str | Optimizer" = "adam",
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: "schedules.Schedule | None" = None,
        tbptt: int | tuple[int, int] | None = None,
        accumulate: int = 1,
        l2: float | dict[str, float] = 0.0,
        metrics: "Sequence[str | Callable[..., Any] | Metric]" = (),
        average: "averaging.Average | None" = None,
        callbacks: "Sequence[Callback]" = (),
        seed: "Seed" = None,
    ) -> None:
        self.model: Any = instance(model, Module, "model: expected a fastrnn module")
        self.loss = find_loss(loss)
        self.optimizer = find_optimizer(optimizer)
        self.clip_norm = check_bound(clip_norm, "clip_norm")
        self.clip_value = check_bound(clip_value, "clip_value")
        self.schedule = optional(schedule, schedules.Schedule, "schedule: expected a schedule of fastrnn.schedules")
        check_tbptt(tbptt)
        self.tbptt = tbptt
        self.accumulate = check_positive_int(accumulate, "accumulate")
        self.l2 = l2
        self._l2 = find_l2(l2, model.params)
        self.metrics = find_metrics(metrics)
        self.average = optional(average, averaging.Average, "average: expected one of fastrnn.averaging")
        self.callbacks = find_callbacks(callbacks)
        self.rng = check_generator(seed, "seed")
        self._position = Position(order_seed=int(self.rng.integers(2**63)))
        self.history = History()
        self.epoch = self.step = 0
        self.stop = self.completed = False
        self.extent = (0, 0)
        self.measured = ()
        self.notes = {}
        self._averaged = None  # a copy of the model that takes the average's parameters
        if schedule is not None:
            self.optimizer.lr = schedule.lr

    def fit(
        self,
        X: "Inputs | LaneStream",
        y: "Inputs | None" = None,
        *,
        lengths: "Ints | None" = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: "tuple[Any, ...] | dict[str, Any] | LaneStream | None" = None,
        validation_split: float = 0.0,
        sample_weight: "Inputs | None" = None,
        class_weight: "Weights | None" = None,
        bucket_by_length: bool | None = None,
        progress: bool = True,
    ) -> History:
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
        bucket_by_length : bool, optional
            Whether to make batches of sequences of about the same length, which need less padding: sequences are
            shuffled, sorted by length in pools of 32 updates, cut into batches, and these shuffled. By default
            where lengths differ.
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
        MemoryError
            Before anything is changed, where the largest batch would take more memory than there is.
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
        data, validation = self._adapter().for_fit(
            X,
            y,
            lengths=lengths,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            sample_weight=sample_weight,
            class_weight=class_weight,
            window=self.tbptt,
            accumulate=self.accumulate,
            bucket=bucket_by_length,
        )
        self._loop(self._share(data), self._share(validation), self._called(progress)).run(epochs)
        return self.history

    def evaluate(
        self,
        X: "Inputs | LaneStream",
        y: "Inputs | None" = None,
        *,
        lengths: "Ints | None" = None,
        sample_weight: "Inputs | None" = None,
        class_weight: "Weights | None" = None,
        batch_size: int = 32,
        progress: bool = True,
    ) -> dict[str, float]:
        """Mean loss and metrics by inference, of the average's parameters where there is one.

        Parameters
        ----------
        X, y, lengths, sample_weight, class_weight
            As for `fit`. Sequences are not cut in windows; a LaneStream's state is carried from start to end.
        batch_size : int
        progress : bool

        Returns
        -------
        dict
            "loss" and the metrics' names -> float.
        """
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        data = self._adapter().for_evaluation(X, y, lengths=lengths, batch_size=batch_size, **weights)
        return self._evaluation().figures(self._share(data), progress=progress)

    def memory_estimate(self, X, y=None, *, lengths=None, batch_size=32):
        """Bytes that a training pass over the largest batch takes, beside the data and the parameters.

        Parameters
        ----------
        X, lengths, batch_size
            As for `fit`.
        y : optional
            As for `fit`; needed where the model reads its targets, as a `Seq2Seq` does.
        """
        return self._adapter().training_bytes(X, y, lengths=lengths, batch_size=batch_size, window=self.tbptt)

    def predict(
        self, X: "Inputs", *, lengths: "Ints | None" = None, batch_size: int = 32, progress: bool = True
    ) -> "Outputs":
        """The model's outputs by inference, of the average's parameters where there is one.

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
        data = self._adapter().for_prediction(X, lengths=lengths, batch_size=batch_size)
        return self._evaluation().outputs(data, progress)

    def save_checkpoint(self, path: "PathLike") -> None:
        """Write all that `resume` needs to `path`: in one step, with a checksum, never pickle.

        That is parameters, optimiser, schedule, average, random state, history, callbacks' state, and, from within
        `fit` or after an interrupt, the position in the data and the carried states.

        Raises
        ------
        FileError
            An OSError and a ValueError; what was at `path` is as it was.
        """
        write_checkpoint(path, self.state_dict())

    def state_dict(self) -> "dict[str, Any]":
        """What `save_checkpoint` writes: dicts, lists and tuples of plain values and live arrays."""
        return trainer_state(self)

    @classmethod
    def resume(cls, path: "PathLike", **parts: "Any") -> "Self":
        """The trainer that `save_checkpoint` wrote to `path`.

        Its next `fit`, called with the same data and arguments, goes on where the checkpoint was taken. The
        result equals that of training without a stop, bit for bit, on the same kind of processor with the same
        number of threads; a warning tells where these differ.

        Parameters
        ----------
        path : str or path-like
        model : Module, optional
            Takes the parameters; built anew without it.
        loss, metrics : optional
            Needed where there were functions of one's own among them.
        optimizer, schedule, average : optional
            Of the type that was saved; needed only for types of one's own.
        callbacks : sequence of Callback
            Those of a type that was saved get their state back.

        Raises
        ------
        ValueError, TypeError
            If the file is missing, damaged or no checkpoint, or an argument does not fit to it.
        """
        state = read_checkpoint(path)
        with naming(path, "a checkpoint of this version"):
            return cls.from_state(state, **parts)

    @classmethod
    def resume_newest(cls, prefix: "PathLike", **parts: "Any") -> "Self | None":
        """As `resume`, from the newest whole checkpoint that a `ModelCheckpoint` wrote under `prefix`.

        Returns
        -------
        Trainer or None
            None where there is no checkpoint: ``Trainer.resume_newest(p) or Trainer(...)`` starts or goes on.

        Warns
        -----
        RuntimeWarning
            For each newer checkpoint that is damaged, and so passed over.
        """
        found = CheckpointSeries(prefix).newest()
        if found is None:
            return None
        with naming(found[0], "a checkpoint of this version"):
            return cls.from_state(found[1], **parts)

    @classmethod
    def from_state(cls, state: "dict[str, Any]", **parts: "Any") -> "Self":
        """As `resume`, from what `state_dict` returned."""
        return trainer_from_state(cls, state, **parts)

    @property
    def fit_epoch(self) -> int:
        """Epochs finished of the fit that is going on, or that the next `fit` goes on with; 0 without one."""
        return self._position.epoch

    def averaged_model(self) -> "Any":
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

    def _adapter(self):
        """The `DataAdapter` of the model and the loss as they are now."""
        return DataAdapter(self.model, self.loss, self._shares)

    # What training in several processes does in its own way.

    _shares = 1  # that a batch is dealt out in

    def _share(self, data):
        """This process's share of data with targets, or None of None."""
        return data

    def _called(self, progress):
        """The callbacks of a fit, in the order of their calls."""
        if isinstance(progress, Callback):
            return find_callbacks([*self.callbacks, progress])
        return find_callbacks([*self.callbacks, ProgressBar()] if progress else self.callbacks)

    def _loop(self, data, validation, callbacks):
        """The `Loop` of a fit."""
        return Loop(self, self._position, Update(self, self._l2), data, self._validate(validation), callbacks)

    def _validate(self, validation):
        """The function that a `Loop` calls for the figures of held-out data, or None."""
        if validation is None:
            return None
        return lambda check_interrupt: self._evaluation().figures(validation, check_interrupt)

    def _evaluation(self):
        """The `Evaluation` of the parameters as they are now."""
        return Evaluation(self._evaluated(), self.loss, self.metrics)

"""Training: `Trainer` fits a model to data, batch by batch, and can stop and continue at any update."""

import copy
from typing import TYPE_CHECKING

from ...check.params import sparse_rows
from ...check.plain import plain_value
from ...check.saved import check_bit_generator
from ...check.values import check_bool, check_bound, check_generator, check_number, check_positive_int
from ...data.tbptt import check_tbptt
from ...files.checkpoint import CheckpointSeries, read_checkpoint, write_checkpoint
from ...files.wholefile import naming
from ...nn.module import Module
from .. import averaging, schedules
from ..callbacks import Callback, EpochLine, ProgressBar
from ..metrics import find_metrics
from .data import DataAdapter
from .evaluation import Evaluation
from .history import History
from .history import NonFiniteError as NonFiniteError  # programs take it from here
from .loop import Loop
from .lossparts import check_scores, find_loss, warn_of_class_weight
from .parts import find_callbacks, find_l2, find_optimizer, instance, optional
from .position import Position
from .state import trainer_from_state, trainer_state
from .update import Update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from typing_extensions import Self

    from ..._types import BatchOrder, Inputs, Lengths, Outputs, PathLike, Reduction, Seed, Source, Weights
    from ...data.batches import LaneStream
    from ..metrics import Metric
    from ..optim import Optimizer


class Trainer:
    """Fits a model to data by (truncated) back-propagation through time.

    Parameters
    ----------
    model : Module
        A network whose layout `fit` follows. If it ends in a pooling module (its `pools_time` is true), it has one
        output per sequence, else one per step. Frozen parameters (`Module.freeze`) stay as they are.
    loss : str or callable
        A function of `fastrnn.losses` or its name, or any callable ``loss(prediction, target)`` that returns (float,
        gradient); it gets `lengths`, `sample_weight` and `batch_first` by keyword if they matter. With `sample_weight`
        it returns the weighted mean, divided by the sum of the batch's weights; the trainer then applies the equation
        in the notes of `fit`. A function of `fastrnn.losses` with options is ``functools.partial(losses.huber,
        delta=0.5)``. Class weights among its options divide by their sum in each batch, of which `fit` warns: give them
        to `fit` instead.
    optimizer : str or Optimizer
        "sgd", "adam", "adamw", "rmsprop" or "adagrad" with its defaults, or an optimiser.
    reduction : "mean", "sum" or "batchmean", optional
        How the loss combines the elements of an update, see `fastrnn.losses`; "mean" by default. "batchmean", summed
        over the steps of a window and averaged over the sequences or lanes, is the loss of Zaremba et al. (2014).
        `clip_norm` and the rate act on the gradient of that loss. Figures are means over elements for every
        reduction, so that they can be compared. With `accumulate`, or in several processes, the loss is that of all
        batches together.
    clip_norm, clip_value : float, optional
        Bound of the gradient's norm over all parameters; bound of each element, applied first. For a batch that weighs
        more than the mean both are as much higher: see the notes of `fit`.
    schedule : Schedule, optional
        Sets the optimiser's rate, per update or per epoch, see its `per`. Per epoch it gets the validation loss, or
        without validation the training loss.
    tbptt : int or (int, int), optional
        Truncated BPTT(k1, k2) (Williams and Peng 1990), k for k1 = k2 = k: every k1 steps an update, whose loss
        is the mean over those k1 steps and whose gradient flows back through the last k2. Longer sequences are cut;
        the state passes from part to part, the gradient does not. None is full BPTT. See `fastrnn.tbptt`.
    accumulate : int
        Batches per update. The gradient is that of one batch `accumulate` times as large: the batches' gradients
        in proportion to their weight, and with `tbptt` window by window, each batch with its own state.
    l2 : float or dict of str -> float
        Adds l2 * sum(w^2) to the loss. A number applies to all weights of two axes or more, not to biases; a dict
        applies to the parameters whose names match its patterns, such as "*weight_hh*".
    metrics : sequence of str or callable
        "accuracy", "mse", "rmse", "mae", "cross_entropy", "nll", "perplexity", "bits", or functions with the interface
        in `fastrnn.metrics`, under their own names.
    average : EMA or SWA, optional
        An average of the parameters during training (`fastrnn.averaging`). Validation, `evaluate` and `predict`
        then use it; `model` keeps the trained parameters, `averaged_model` returns the averaged ones.
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
        Updates that the current fit has made, and about how many it will make in all.
    measured : tuple of str
        Names of the figures that each epoch of the current fit has.
    stop : bool
        Set it in a callback to end the fit.
    completed : bool
        True if the last fit has run to its end, or a callback has ended it after an epoch or at a number that is not
        finite. False after an interrupt, an error, or an end within an epoch: the fit can continue from there.
    notes : dict
        Plain values of the caller, which checkpoints keep.

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
        reduction: "Reduction | None" = None,
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
        self.loss = find_loss(loss, reduction)
        check_scores(self.loss, model)
        self.optimizer = find_optimizer(optimizer)
        self.clip_norm = check_bound(clip_norm, "clip_norm")
        self.clip_value = check_bound(clip_value, "clip_value")
        self.schedule = optional(schedule, schedules.Schedule, "schedule: expected a schedule of fastrnn.schedules")
        check_tbptt(tbptt)
        self.tbptt = plain_value(tbptt)
        self.accumulate = check_positive_int(accumulate, "accumulate")
        self.l2 = plain_value(l2)
        self._l2 = find_l2(self.l2, model.params, sparse_rows(model.grads))
        self.metrics = find_metrics(metrics, model.scores_target)
        self.average = optional(average, averaging.Average, "average: expected one of fastrnn.averaging")
        self.callbacks = find_callbacks(callbacks)
        self.rng = check_generator(seed, "seed")
        check_bit_generator(self.rng.bit_generator.state, "seed")
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
        X: "Inputs | LaneStream | Source",
        y: "Inputs | None" = None,
        *,
        lengths: "Lengths | None" = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: "tuple[Any, ...] | dict[str, Any] | LaneStream | Source | None" = None,
        validation_split: float = 0.0,
        sample_weight: "Inputs | None" = None,
        class_weight: "Weights | None" = None,
        mean_weight: float | None = None,
        bucket_by_length: bool | None = None,
        steps_per_epoch: int | None = None,
        shuffle: bool = True,
        batch_order: "BatchOrder | None" = None,
        progress: bool = True,
        verbose: bool = False,
    ) -> History:
        """Train for `epochs` epochs.

        Parameters
        ----------
        X : array (N, T, I) or (N, T), list of arrays (T_i, I) or (T_i,), LaneStream, source of batches, or dict
            (N, T) and (T_i,) are ids if they hold integers, else one feature per step. A `LaneStream` has its own
            targets, batch and window size; it keeps its order, and its state passes through the epoch.
            A source gives batches, with their targets, one at a time; see Notes. A network with named inputs takes a
            dict of exactly their names; see `fastrnn.Inputs`.
        y : array (N, ...), array (N, T, ...) or list of arrays (T_i, ...)
            One target per sequence or per step, like the model's outputs.
        lengths : sequence of N ints, optional
            For a padded X; steps beyond a length do not count. A dict by the names of the inputs where X is one.
        epochs, batch_size : int
        validation_data : tuple, dict, LaneStream or source, optional
            (X, y), (X, y, sample_weight), a dict of the arguments of `evaluate`, or a source that can be read
            again.
        validation_split : float
            Fraction of the sequences, from the end, that is held out for validation.
        sample_weight : array (N,), or one weight per target, optional
            Finite, at least 0, and not all 0.
        class_weight : dict of class -> weight, or array (K,), optional
            For integer y: an element weighs its sample's weight times its class's. A dict may leave out classes, which
            then weigh 1, but names none that does not occur in y; an array has one for each output of the network.
            Weights apply to training and validation; loss and metrics are weighted means, divided by the sum of
            the weights. What they are worth in an update is said below.
        mean_weight : float, optional
            What weights are divided by, m below. By default their mean over the data that are trained on, without those
            held out; for a source, whose batches are unknown before their turn, 1. Give it where data come in several
            calls whose weights belong together.
        bucket_by_length : bool, optional
            Whether to make batches of sequences of about the same length, which need less padding: sequences are
            shuffled, sorted by length in pools of 32 updates, cut into batches, and these shuffled. By default
            true if lengths differ and the order is not the caller's.
        steps_per_epoch : int, optional
            Batches that make an epoch, for a source without a len().
        shuffle : bool
            Whether each epoch takes the sequences in an order of its own, drawn from the trainer's seed. False takes
            them as they stand in X, or by length with ``bucket_by_length=True``. A LaneStream is never shuffled.
        batch_order : sequence of int arrays, or callable, optional
            The rows of X that make each update of an epoch, in their order: a row may come twice, as in oversampling,
            or not at all. A callable takes (epoch, rng), the epochs finished so far and a numpy.random.Generator that
            depends on the trainer's seed and the epoch, and returns such a sequence; if it depends on nothing else, it
            resumes exactly. Rows are those that `validation_split` leaves. An update of more than `batch_size` rows is
            computed in batches of that size, with the gradient of all.
        progress : bool or Callback
            Show progress on standard error if it takes over two seconds; a callback shows it in its own way.
        verbose : bool
            Whether to print a line on standard output after each epoch: loss, metrics, validation, rate, seconds; see
            `fastrnn.callbacks.EpochLine`.

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
            If the largest batch needs more memory than there is; nothing has changed then.
        ValueError, TypeError
            Naming the argument; nothing has changed then.

        Notes
        -----
        The gradient of an update whose n valid elements have the losses l_i and the weights w_i is that of

            (1 / n) sum_i (w_i / m) l_i,    m = mean of the weights of all valid elements of the data

        so that its mean over batches drawn at random is that of the weighted loss of all data, whatever the batch size:
        a row of weight 2 is worth two rows, in a batch of 8 as in one of 1000. (Dividing by the batch's own sum of
        weights would bring all rows of small batches close to one weight.) Elements are sequences where the network has
        one output for each and with CTC; steps within the lengths where it has one output per step, each with its
        sequence's weight or its own; and ids and ends where a decoder puts out ids. n counts elements of weight 0 too;
        padding does not count, nor in m. Without weights, and with equal ones, this is the plain mean over the batch's
        valid elements. With the reduction "batchmean" n is the number of sequences and m their mean weight, each with
        the mean of its weights that are not 0; with "sum" the equation is sum_i w_i l_i. `clip_norm` and `clip_value`
        are multiplied by sum_i w_i / (n m) where that is above 1, so that they do not take weight from heavy rows.
        Batches whose weights are all 0 make no update.

        After an interrupt, or from a checkpoint, a fit continues exactly where it was if you call `fit` on the trainer
        that `resume` returns; `epochs` is then the total of that fit. Any other call starts a new fit.

        Memory-mapped arrays (`numpy.memmap`; X, y and sample_weight) are read batch by batch and never as a whole.
        Their ids and classes are checked with each batch, so that an error can come after some updates, which stay.
        Weights, and y with `class_weight`, are read once before the first update, a part at a time, for their mean.

        A source has ``len(X)`` and ``X[k]``, as a Sequence of Keras, and gives batch k of the epoch, or is anything
        that can be iterated over: a DataLoader of PyTorch, a generator. Each batch is (X, y), (X, y, sample_weight)
        or a dict of X, y, lengths and sample_weight, where X is (B, T, I), (B, T) of ids, or a list of arrays; batch
        sizes and T may differ from batch to batch. `batch_size` is not used. Batches with numbers are shuffled in
        each epoch, and a fit that was interrupted goes on exactly; others keep their order. An iterable with a len()
        begins anew in each epoch; one without goes on from epoch to epoch, `steps_per_epoch` batches in each, and a
        fit that goes on takes what comes next. What a source raises passes through; a batch that does not fit is
        named by its number, counted from 0. Updates made before an error stay. The first batch is looked at before
        anything changes.
        """
        epochs = check_positive_int(epochs, "epochs")
        if self.model.params and len(self.model.frozen) == len(self.model.params):
            raise ValueError(f"model: expected a parameter to train, found all {len(self.model.params)} frozen; "
                             "unfreeze some by model.unfreeze(pattern)")
        if mean_weight is not None:
            mean_weight = check_number(mean_weight, "mean_weight", above=0)
        validation_split = check_number(validation_split, "validation_split", low=0, below=1)
        verbose = check_bool(verbose, "verbose")
        data, validation = self._adapter().for_fit(
            X,
            y,
            lengths=lengths,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            sample_weight=sample_weight,
            class_weight=class_weight,
            mean_weight=mean_weight,
            window=self.tbptt,
            accumulate=self.accumulate,
            bucket=bucket_by_length,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            batch_order=batch_order,
        )
        warn_of_class_weight(self.loss)
        self._loop(self._share(data), self._share(validation), self._called(progress, verbose and epochs)).run(epochs)
        return self.history

    def evaluate(
        self,
        X: "Inputs | LaneStream | Source",
        y: "Inputs | None" = None,
        *,
        lengths: "Lengths | None" = None,
        sample_weight: "Inputs | None" = None,
        class_weight: "Weights | None" = None,
        batch_size: int = 32,
        progress: bool = True,
    ) -> dict[str, float]:
        """Mean loss and metrics by inference, with the average's parameters if there is an average.

        Parameters
        ----------
        X, y, lengths, sample_weight, class_weight
            As for `fit`; the classes of a dict need not occur. Sequences are not cut into windows; a LaneStream's state
            passes from start to end; an iterable without a len() is read to its end.
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
        """Bytes that a training pass over the largest batch needs besides the data and the parameters.

        Parameters
        ----------
        X, lengths, batch_size
            As for `fit`.
        y : optional
            As for `fit`; needed if the model reads its targets, as a `Seq2Seq` does.
        """
        return self._adapter().training_bytes(X, y, lengths=lengths, batch_size=batch_size, window=self.tbptt)

    def predict(
        self, X: "Inputs | Source", *, lengths: "Lengths | None" = None, batch_size: int = 32, progress: bool = True
    ) -> "Outputs":
        """The model's outputs by inference, with the average's parameters if there is an average.

        Parameters
        ----------
        X, lengths
            As for `fit`; no LaneStream. A batch of a source is X alone, or a tuple or dict that begins with it or
            holds it.
        batch_size : int
        progress : bool

        Returns
        -------
        array (N, T, ...), or list of arrays (T_i, ...) for a list, or array (N, ...)
            One output per step, zero beyond a length; or one per sequence, if the model has one. A source gives one
            array of all batches, or a list if their numbers of steps differ.
        """
        data = self._adapter().for_prediction(X, lengths=lengths, batch_size=batch_size)
        return self._evaluation().outputs(data, progress)

    def save_checkpoint(self, path: "PathLike") -> None:
        """Write the state that `resume` needs to `path`: in one step, with a checksum, never pickle.

        The state consists of parameters, optimiser, schedule, average, random state, history, callbacks' state, and,
        within `fit` or after an interrupt, the position in the data and the carried states.

        Raises
        ------
        FileError
            An OSError and a ValueError; a file at `path` is as before.
        """
        write_checkpoint(path, self.state_dict())

    def state_dict(self) -> "dict[str, Any]":
        """The state for `save_checkpoint`: dicts, lists and tuples of plain values and live arrays."""
        return trainer_state(self)

    @classmethod
    def resume(cls, path: "PathLike", **parts: "Any") -> "Self":
        """The trainer that `save_checkpoint` wrote to `path`.

        Its next `fit`, with the same data and arguments, continues at the place of the checkpoint. The result has the
        bits of training without a stop, on the same kind of processor with the same number of threads; a warning says
        if these differ.

        Parameters
        ----------
        path : str or path-like
        model : Module, optional
            Gets the parameters; without it a new model is built.
        loss, metrics : optional
            Needed if the saved ones include your own functions.
        optimizer, schedule, average : optional
            Of the saved type; needed only for your own types.
        callbacks : sequence of Callback
            Callbacks of a saved type get their state back.

        Raises
        ------
        ValueError, TypeError
            If the file is missing, damaged or no checkpoint, or an argument does not fit it.
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
            None without a checkpoint: ``Trainer.resume_newest(p) or Trainer(...)`` starts or continues.

        Warns
        -----
        RuntimeWarning
            For each newer checkpoint, which is damaged and therefore skipped.
        """
        found = CheckpointSeries(prefix).newest()
        if found is None:
            return None
        with naming(found[0], "a checkpoint of this version"):
            return cls.from_state(found[1], **parts)

    @classmethod
    def from_state(cls, state: "dict[str, Any]", **parts: "Any") -> "Self":
        """As `resume`, from a `state_dict`."""
        return trainer_from_state(cls, state, **parts)

    @property
    def fit_epoch(self) -> int:
        """Finished epochs of the current fit, or of the fit that the next `fit` continues; 0 without one."""
        return self._position.epoch

    def averaged_model(self) -> "Any":
        """A copy of the model with the average's parameters; with its own if there is no average yet."""
        model = copy.deepcopy(self.model)
        if self.average is not None and self.average.params:
            model.load_state_dict(self.average.params)
        return model

    def _evaluated(self):
        """The model to evaluate: a copy with the average's parameters, if there are any."""
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

    # Training in several processes overrides these.

    _shares = 1  # shares of a batch

    def _share(self, data):
        """This process's share of data with targets, or None of None."""
        return data

    def _called(self, progress, epochs=0):
        """The callbacks of a fit, in the order of their calls; with a line for each of so many epochs."""
        shown = [progress if isinstance(progress, Callback) else ProgressBar()] if progress else []
        if epochs:
            beside = shown[0] if shown and isinstance(shown[0], ProgressBar) else None
            shown.append(EpochLine(epochs, beside=beside))
        return find_callbacks([*self.callbacks, *shown])

    def _loop(self, data, validation, callbacks):
        """The `Loop` of a fit."""
        update = Update(self, self._l2, data.mean_weight)
        return Loop(self, self._position, update, data, self._validate(validation), callbacks)

    def _validate(self, validation):
        """The function that a `Loop` calls for the figures of held-out data, or None."""
        if validation is None:
            return None
        return lambda check_interrupt: self._evaluation().figures(validation, check_interrupt)

    def _evaluation(self):
        """The `Evaluation` of the parameters as they are now."""
        return Evaluation(self._evaluated(), self.loss, self.metrics)

"""Callers' data, checked against the model and the loss, in batches."""

from collections.abc import Mapping

import numpy as np

from ... import memory
from ...check.named import refuse_names
from ...check.values import check_bool, check_positive_int, shown
from ...data.batch import Batch, Targets
from ...data.batches import LaneStream, Sequences
from ...data.given import check_class_range, check_id_range, check_kind, holds_ids
from ...data.mapped import read
from ...data.named import NamedInputs, NamedSequences
from ...data.source import IndexedBatches, IteratedBatches, Seen, is_indexed, is_iterator, is_source, unpacked
from ...data.tbptt import check_tbptt
from ...data.weights import check_class_count, check_classes_occur
from ...nn.layers import Embedding
from ...nn.module import direction_of, is_ours, walk
from .. import losses
from .lossparts import loss_reduction, own_loss, takes_labels
from .passes import infer, steps_of


class DataAdapter:
    """Makes batches of callers' data, for a model and a loss; raises if they do not fit together.

    Parameters
    ----------
    model : Module
    loss : function
    shares : int
        Number of shares of each batch; one of them must fit into memory.
    """

    def __init__(self, model, loss, shares=1):
        self._model, self._loss, self._shares = model, loss, shares
        self._labels = takes_labels(loss)
        self._classes = {}  # shape and dtype of a step of X -> how many the model tells apart

    def for_fit(
        self, X, y, *, class_weight, batch_size, validation_data, validation_split, window, accumulate, bucket,
        steps_per_epoch, shuffle=True, batch_order=None, mean_weight=None, **given
    ):
        """(data to train on, held-out data or None), each `Sequences`, a `LaneStream` or a `Source`; see
        `Trainer.fit`."""
        weights = {"class_weight": class_weight, "batch_size": batch_size}
        if mean_weight is not None and loss_reduction(self._loss) == "sum":
            raise ValueError("mean_weight: expected None with the reduction 'sum', which divides by nothing; found "
                             f"{mean_weight}")
        if _gives_batches(X, y):
            if batch_order is not None:
                raise ValueError("batch_order: expected None with data that come batch by batch, "
                                 f"found {shown(batch_order)}")
            data = self._source(X, y, steps_per_epoch, window=window, accumulate=accumulate, bucket=bucket,
                                class_weight=class_weight, training=True, **given)
            data.shuffle = check_bool(shuffle, "shuffle")
            if validation_split:
                raise ValueError("validation_split: expected 0 for data that come batch by batch; give others as "
                                 f"validation_data; found {validation_split}")
            if validation_data is not None:
                validation_data = self._validation(validation_data, **weights)
            if mean_weight is not None:
                data.mean_weight = mean_weight
            data.begin()
            return data, validation_data
        if steps_per_epoch is not None:
            raise ValueError("steps_per_epoch: expected None but for batches of a source without a len(), "
                             f"found {shown(steps_per_epoch)}")
        if batch_order is not None and (isinstance(X, LaneStream) or bucket):
            what = "a LaneStream" if isinstance(X, LaneStream) else "bucket_by_length"
            raise ValueError(f"batch_order: expected None with {what}, found {shown(batch_order)}")
        if bucket is None and (batch_order is not None or not check_bool(shuffle, "shuffle")):
            bucket = False
        data = self._batches(X, y, window=window, accumulate=accumulate, bucket=bucket, **weights, **given)
        if class_weight is not None:
            check_classes_occur(class_weight, data)
        self._check_values(data, class_weight)
        if mean_weight is not None and data.carries:
            raise ValueError(f"mean_weight: expected None with a LaneStream, found {mean_weight}")
        held_out = None
        if validation_data is not None:
            if validation_split:
                raise ValueError(f"validation_split: expected 0 beside validation_data, found {validation_split}")
            held_out = self._validation(validation_data, **weights)
        elif validation_split:
            if data.carries:
                raise ValueError("validation_split: expected 0 for a LaneStream; give another as validation_data")
            data, held_out = data.split(validation_split)
        if not data.carries:
            data = data.ordered(shuffle, batch_order)
            of_sequences = loss_reduction(self._loss) == "batchmean"
            data.weigh(" in the part trained on" if validation_split else "", of_sequences)
            if validation_split:
                held_out.weigh(" in the part held out by validation_split")
            if mean_weight is not None:
                data.mean_weight = mean_weight
        self._check_memory(data)
        return data, held_out

    def for_evaluation(self, X, y, **given):
        """The data as `Sequences`, a `LaneStream` or a `Source`; see `Trainer.evaluate`."""
        if _gives_batches(X, y):
            return self._source(X, y, **given)
        data = self._batches(X, y, **given)
        if not data.carries:
            data.weigh()
        return data

    def for_diagnosis(self, X, y, **given):
        """As `for_evaluation`, for training passes that no update follows; see `fastrnn.diagnostics.diagnose`."""
        if self._model.input_names is not None:
            raise ValueError("model: expected one with one input, found named inputs: "
                             f"{', '.join(self._model.input_names)}")
        data = self._batches(X, y, **given)
        self._check_values(data)
        return data

    def for_prediction(self, X, **given):
        """`Sequences` without targets, or a `Source` of such; see `Trainer.predict`."""
        if isinstance(X, LaneStream):
            raise TypeError("X: expected an array or a list of sequences, found a LaneStream")
        if is_source(X):
            return self._source(X, None, targets=False, **given)
        return self._batches(X, None, targets=False, **given)

    def training_bytes(self, X, y, **given):
        """Bytes that a training pass over the largest batch takes; see `Trainer.memory_estimate`."""
        data = self._batches(X, y, targets=y is not None, **given)
        return memory.training_bytes(self._model, **_largest_batch(data), x=self._probe(data))

    def _batches(
        self, X, y, *, lengths=None, sample_weight=None, class_weight=None, batch_size=32, window=None, accumulate=1,
        bucket=None, targets=True,
    ):
        model, labels = self._model, self._labels
        if model.input_names is None:
            refuse_names(X, "X")
        elif isinstance(X, LaneStream) or window is not None:
            what = "a LaneStream" if isinstance(X, LaneStream) else "tbptt"
            raise ValueError(f"{what}: expected a model with one input, found named inputs: "
                             f"{', '.join(model.input_names)}")
        if isinstance(X, LaneStream):
            given = {"y": y, "lengths": lengths, "sample_weight": sample_weight, "class_weight": class_weight}
            return self._stream(X, given, accumulate)
        if labels and model.pools_time:
            raise ValueError("loss: expected a model with an output for every step for ctc, found one that pools the "
                             "steps")
        decoded = model.takes_target
        if decoded:
            if not targets:
                raise TypeError(f"model: expected one that needs no targets here, found {type(model).__name__}; "
                                "to predict, use its translate() or generate(); to estimate memory, give y")
            X = model.source_sequences(X)
        if targets and y is None:
            raise ValueError("y: expected targets, found None")
        if window is not None:
            _check_direction(model, "tbptt")
        kind, of_inputs = Sequences, {"ids": model.takes_ids}
        if model.input_names is not None:
            kind, of_inputs = NamedSequences, _named_kinds(model)
        data = kind(
            X,
            y,
            lengths=lengths,
            sample_weight=sample_weight,
            class_weight=class_weight,
            per_step=not model.pools_time,
            labels=labels or decoded,
            decoded=decoded,
            **of_inputs,
            dtype=model.dtype,
            batch_size=batch_size,
            window=window,
            accumulate=accumulate,
            bucket=bucket,
        )
        if not decoded:
            _check_steps(model, data, targets and not (model.pools_time or labels))
        return data

    def _source(self, X, y=None, steps=None, *, lengths=None, sample_weight=None, bucket=None, window=None,
                accumulate=1, batch_size=None, **options):
        """A `Source`, whose batches bring all of targets, lengths and weights with them."""
        if self._shares > 1:
            raise TypeError("X: expected an array, a list or a LaneStream in several processes, each of which takes "
                            f"its share of a batch; found {type(X).__name__}")
        for name, value in ("y", y), ("lengths", lengths), ("sample_weight", sample_weight), ("bucket_by_length",
                                                                                             bucket or None):
            if value is not None:
                raise ValueError(f"{name}: expected None with data that come batch by batch, found "
                                 f"{type(value).__name__}")
        seen = Seen()

        def make(item, number):
            given = unpacked(item, number, options.get("targets", True))
            try:
                return self._one_batch(given, seen, window=window, **options)
            except MemoryError:
                raise
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"batch {number}: {error}") from error

        together = {"per_step": not self._model.pools_time, "window": check_tbptt(window), "accumulate": accumulate}
        if is_indexed(X):
            kind = IndexedBatches
        else:
            kind = IteratedBatches
            if not hasattr(X, "__len__"):
                if options.get("training") and steps is None:
                    raise ValueError("steps_per_epoch: expected how many batches make an epoch, as X has no len(); "
                                     "found None")
                together["steps"] = None if steps is None else check_positive_int(steps, "steps_per_epoch")
        if steps is not None and "steps" not in together:
            raise ValueError(f"steps_per_epoch: expected None for a source with a len(), found {shown(steps)}")
        return kind(X, make, **together)

    def _one_batch(self, given, seen, training=False, **options):
        """The `Sequences` of one batch of a source, checked, also against those `seen` before."""
        X = given["X"]
        if isinstance(X, Mapping):
            first = next(iter(X.values()), ())
            return self._checked_batch(given, seen, len(first) if hasattr(first, "__len__") else 1, training, options)
        if not isinstance(X, (list, tuple)):
            X = given["X"] = np.asarray(X)
            if X.ndim == 2 and not (holds_ids(X) or self._model.takes_target):
                raise ValueError("X: expected shape (B, T, I), (B, T) of ids or a list of arrays, as it is a batch; "
                                 f"found {X.dtype} of shape {X.shape}; one feature per step is (B, T, 1)")
        return self._checked_batch(given, seen, len(X), training, options)

    def _checked_batch(self, given, seen, count, training, options):
        data = self._batches(given.pop("X"), given.pop("y", None), batch_size=max(count, 1), **given, **options)
        seen.check(data)
        if options.get("targets", True):
            self._check_values(data, options.get("class_weight"))
        if training and seen.is_larger(data):
            self._check_memory(data)
        return data

    def _stream(self, X, given, accumulate):
        """A `LaneStream`, which contains all that is otherwise `given` separately."""
        if self._labels or self._model.takes_target:
            raise TypeError("X: expected sequences for ctc or a decoder, found a LaneStream")
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name}: expected None with a LaneStream, found {type(value).__name__}")
        if accumulate > 1:
            raise ValueError(f"accumulate: expected 1 with a LaneStream, whose lanes are one batch; found {accumulate}")
        _check_direction(self._model, "a LaneStream")
        check_kind(X.x, "X", self._model.takes_ids)
        return X

    def _validation(self, data, class_weight, batch_size):
        """The data of `validation_data`, in any of its forms."""
        if isinstance(data, LaneStream):
            data = {"X": data}
            class_weight = None
        if is_source(data):
            data = {"X": data}
        if isinstance(data, dict):
            unknown = set(data) - {"X", "y", "lengths", "sample_weight"}
            if unknown or "X" not in data:
                raise ValueError(f"validation_data: expected X, y, lengths and sample_weight, found {sorted(data)}")
        elif isinstance(data, (tuple, list)) and len(data) in (2, 3):
            data = dict(zip(("X", "y", "sample_weight"), data))
        else:
            raise TypeError(
                "validation_data: expected (X, y), (X, y, sample_weight), a dict, a LaneStream or a source of batches; "
                f"found {type(data).__name__}"
            )
        if _gives_batches(data["X"], data.get("y")):
            if is_iterator(data["X"]):
                raise TypeError("validation_data: expected batches that can be read again after each epoch, found "
                                f"{type(data['X']).__name__}, which can be read once")
            return self._source(**data, class_weight=class_weight)
        try:
            data = self._batches(**{"y": None, **data}, class_weight=class_weight, batch_size=batch_size)
            self._check_values(data)
            if not data.carries:
                data.weigh()
            return data
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"validation_data: {error}") from error

    def _check_values(self, data, class_weight=None):
        """Raise unless the model has embeddings for all ids and outputs for all classes.

        Data in a file are checked batch by batch, when they are read.
        """
        for name, known in self._known_ids(data):
            _check_named_ids(data, name, known)
        ids, classes = self._sizes(data)
        if classes is not None:
            check_class_count(class_weight, classes)

        def check(values):
            if ids is not None:
                check_id_range(values, ids)
            if classes is not None:
                check_class_range(values, classes, data.per_step)

        if data.mapped:
            data.check_batch = check
        else:
            check(data)

    def _sizes(self, data):
        """How many ids and how many classes the model knows; None where X and y are not of such."""
        model = self._model
        if model.takes_target:
            model.check_source([read(data.x[0])] if data.mapped else data.x)
            return model.source_size if model.source == "ids" else None, model.target_size
        first, classes = model._stages()[0], None
        known = first.num_embeddings if isinstance(first, Embedding) else None
        if model.scores_target:
            classes = model._stages()[-1].n_classes
        elif own_loss(self._loss) in (losses.cross_entropy, losses.nll):
            sample = Batch(self._sample(data), None, None, None)
            step = sample.x.shape[1:], sample.x.dtype
            if step not in self._classes:
                if known is not None:
                    check_id_range(sample, known)
                y, _ = infer(model, sample)
                self._classes[step] = y.shape[-1]
            classes = self._classes[step]
        return known, classes

    def _known_ids(self, data):
        """(name, how many ids its module knows) of the named inputs in memory that hold ids."""
        if isinstance(data, NamedSequences) and not data.mapped:
            for module, name, _ in self._model._stages()[0]._fed({name: name for name in self._model.input_names}):
                first = module._stages()[0]
                if isinstance(first, Embedding):
                    yield name, first.num_embeddings

    def _sample(self, data):
        """The longest of the sequences, or its first window, (1, T, ...), to see what the model makes of it.

        Its first step where all modules are this package's and none needs whole sequences: outputs are then as wide
        whatever the number of steps.
        """
        if self._model.takes_target:
            return None
        if isinstance(data, NamedSequences):
            return data.batch(np.array([int(data.lengths_by_name()[data.main].argmax())])).x
        row = 0 if data.lengths is None else int(data.lengths.argmax())
        steps = data.x.shape[1] if data.lengths is None else int(data.lengths[row])
        if all(is_ours(type(module)) and not module.needs_whole_sequences for module in walk(self._model)):
            steps = min(steps, 1)
        elif data.window is not None:
            steps = min(steps, data.window[1])
        return read(data.x[row][:steps])[None]

    def _probe(self, data):
        """`_sample` as an array, or as arrays by name."""
        sample = self._sample(data)
        return sample.arrays if isinstance(sample, NamedInputs) else sample

    def _check_memory(self, data):
        largest = _largest_batch(data, self._shares)
        found = f"{largest['batch']} sequences of {largest['steps']} steps"
        remedy = "use a smaller batch_size, tbptt, or runners with recompute=True"
        needed = memory.training_bytes(self._model, **largest, x=self._probe(data))
        memory.require(needed, "batch_size", found, remedy)


def _gives_batches(X, y):
    """Whether X is a source of batches; what is indexed beside a y is data, as far as NumPy makes an array of it."""
    return is_source(X) and (y is None or not is_indexed(X))


def _largest_batch(data, shares=1):
    """The arguments of `memory.training_bytes` for the batch, or window, with the most memory: one of its `shares`."""
    first = data.x[0]
    found = {"ids": first.ndim == 1, "width": first.shape[-1]}
    batch = -(-(data.batch_size if data.batch_order is not None else min(data.batch_size, len(data))) // shares)
    lengths = None
    if data.lengths is not None:
        lengths = -np.sort(-data.lengths)
        lengths = np.full(batch, lengths[0]) if batch > len(lengths) else lengths[:batch]
    steps = data.x.shape[1] if lengths is None else int(lengths[0])
    if data.window is not None:
        steps = min(steps, data.window[1])
        lengths = None if lengths is None else np.minimum(lengths, steps)
    if data.decoded:
        found["counts"] = -np.sort(-Targets(data.y).counts())[:batch]
    return {"batch": batch, "steps": steps, "lengths": lengths, **found}


def _check_steps(model, data, per_step):
    """Raise where sequences are too short for the model, or with targets for every step it puts out more or fewer."""
    if isinstance(data, NamedSequences):
        given = steps_of(data)
        put_out, given = model.output_lengths(given), given[data.main]
    else:
        given = np.unique(steps_of(data))
        put_out = model.output_lengths(given)
    if per_step and not np.array_equal(put_out, given):
        k = int(np.argmax(put_out != given))
        raise ValueError(f"y: expected targets for ctc or one per sequence, as the model makes {put_out[k]} steps of "
                         f"{given[k]}; found targets for every step of X")


def _named_kinds(model):
    """The arguments of `NamedSequences` that say what a model's inputs are."""
    first = model._stages()[0]
    return {"kinds": {name: module.takes_ids for name, module in zip(first.input_names, first.modules)},
            "rows": first._rows}


def _check_named_ids(data, name, size):
    """Raise a ValueError where a named input holds ids outside 0 .. size - 1."""
    try:
        check_id_range(data.sequences_by_name()[name], size)
    except ValueError as error:
        raise ValueError(f"X[{name!r}]{str(error).removeprefix('X')}") from error


def _check_direction(model, what):
    """Raise for layers that need what comes later: a state can pass through time in one direction only."""
    for module in walk(model):
        direction = direction_of(module)
        if direction != "forward":
            found = "a bidirectional one" if direction == "bidirectional" else "one that reads backwards"
            raise ValueError(f"{what}: expected a model that reads in one direction, found {found}")
        if module.needs_whole_sequences:
            raise ValueError(f"{what}: expected a model that takes a sequence part by part, found a "
                             f"{type(module).__name__}, which needs whole sequences")

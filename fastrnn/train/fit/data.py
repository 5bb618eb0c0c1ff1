"""Callers' data, checked against the model and the loss, in batches."""

import numpy as np

from ... import memory
from ...check.values import check_bool, shown
from ...data.batch import Batch, Targets
from ...data.batches import LaneStream, Sequences
from ...data.given import check_class_range, check_id_range
from ...nn.layers import Embedding
from ...nn.module import is_ours, walk
from .. import losses
from .lossparts import own_loss, takes_labels
from .passes import infer


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

    def for_fit(
        self, X, y, *, class_weight, batch_size, validation_data, validation_split, window, accumulate, bucket,
        shuffle=True, batch_order=None, **given
    ):
        """(data to train on, held-out data or None), each a `Sequences` or `LaneStream`; see `Trainer.fit`."""
        weights = {"class_weight": class_weight, "batch_size": batch_size}
        if batch_order is not None and (isinstance(X, LaneStream) or bucket):
            what = "a LaneStream" if isinstance(X, LaneStream) else "bucket_by_length"
            raise ValueError(f"batch_order: expected None with {what}, found {shown(batch_order)}")
        if bucket is None and (batch_order is not None or not check_bool(shuffle, "shuffle")):
            bucket = False
        data = self._batches(X, y, window=window, accumulate=accumulate, bucket=bucket, **weights, **given)
        self._check_values(data)
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
        self._check_memory(data)
        return data, held_out

    def for_evaluation(self, X, y, **given):
        """The data as a `Sequences` or `LaneStream`; see `Trainer.evaluate`."""
        return self._batches(X, y, **given)

    def for_prediction(self, X, **given):
        """`Sequences` without targets; see `Trainer.predict`."""
        if isinstance(X, LaneStream):
            raise TypeError("X: expected an array or a list of sequences, found a LaneStream")
        return self._batches(X, None, targets=False, **given)

    def training_bytes(self, X, y, **given):
        """Bytes that a training pass over the largest batch takes; see `Trainer.memory_estimate`."""
        data = self._batches(X, y, targets=y is not None, **given)
        return memory.training_bytes(self._model, **_largest_batch(data), x=self._sample(data))

    def _batches(
        self, X, y, *, lengths=None, sample_weight=None, class_weight=None, batch_size=32, window=None, accumulate=1,
        bucket=None, targets=True,
    ):
        model, labels = self._model, self._labels
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
        return Sequences(
            X,
            y,
            lengths=lengths,
            sample_weight=sample_weight,
            class_weight=class_weight,
            per_step=not model.pools_time,
            labels=labels or decoded,
            decoded=decoded,
            dtype=model.dtype,
            batch_size=batch_size,
            window=window,
            accumulate=accumulate,
            bucket=bucket,
        )

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
        return X

    def _validation(self, data, class_weight, batch_size):
        """The data of `validation_data`, in any of its forms."""
        if isinstance(data, LaneStream):
            data = {"X": data}
            class_weight = None
        if isinstance(data, dict):
            unknown = set(data) - {"X", "y", "lengths", "sample_weight"}
            if unknown or "X" not in data:
                raise ValueError(f"validation_data: expected X, y, lengths and sample_weight, found {sorted(data)}")
        elif isinstance(data, (tuple, list)) and len(data) in (2, 3):
            data = dict(zip(("X", "y", "sample_weight"), data))
        else:
            raise TypeError(
                "validation_data: expected (X, y), (X, y, sample_weight), a dict or a LaneStream; "
                f"found {type(data).__name__}"
            )
        try:
            data = self._batches(**{"y": None, **data}, class_weight=class_weight, batch_size=batch_size)
            self._check_values(data)
            return data
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"validation_data: {error}") from error

    def _check_values(self, data):
        """Raise unless the model has embeddings for all ids and outputs for all classes."""
        model = self._model
        if model.takes_target:
            model.check_source(data.x)
            if model.source == "ids":
                check_id_range(data, model.source_size)
            check_class_range(data, model.target_size)
            return
        first = model._stages()[0]
        if isinstance(first, Embedding):
            check_id_range(data, first.num_embeddings)
        if own_loss(self._loss) is losses.cross_entropy:
            y, _ = infer(model, Batch(self._sample(data), None, None, None))
            check_class_range(data, y.shape[-1])

    def _sample(self, data):
        """The longest of the sequences, or its first window, (1, T, ...), to see what the model makes of it.

        Its first step where all modules are this package's, whose outputs are as wide whatever the number of steps.
        """
        if self._model.takes_target:
            return None
        row = 0 if data.lengths is None else int(data.lengths.argmax())
        steps = data.x.shape[1] if data.lengths is None else int(data.lengths[row])
        if all(is_ours(type(module)) for module in walk(self._model)):
            steps = min(steps, 1)
        elif data.window is not None:
            steps = min(steps, data.window[1])
        return data.x[row][None, :steps]

    def _check_memory(self, data):
        largest = _largest_batch(data, self._shares)
        found = f"{largest['batch']} sequences of {largest['steps']} steps"
        remedy = "use a smaller batch_size, tbptt, or runners with recompute=True"
        needed = memory.training_bytes(self._model, **largest, x=self._sample(data))
        memory.require(needed, "batch_size", found, remedy)


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


def _check_direction(model, what):
    """Raise for bidirectional layers: a state can pass through time in one direction only."""
    for module in walk(model):
        both = getattr(module, "bidirectional", False)
        direction = getattr(module, "direction", "bidirectional" if both else "forward")
        if direction != "forward":
            found = "a bidirectional one" if direction == "bidirectional" else "one that reads backwards"
            raise ValueError(f"{what}: expected a model that reads in one direction, found {found}")

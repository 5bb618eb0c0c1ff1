"""What callers hand in as training, validation and test data, checked and as `Sequences` or `LaneStream`."""

import numpy as np

from ...data.batches import Batch, LaneStream, Sequences, Targets, check_classes, check_ids
from ...nn.layers import Embedding
from ...nn.module import walk
from .. import losses
from .passes import infer


def make_data(
    model,
    X,
    y,
    *,
    lengths=None,
    sample_weight=None,
    class_weight=None,
    batch_size=32,
    window=None,
    targets=True,
    accumulate=1,
    bucket=None,
    labels=False,
):
    """X and y as `Sequences` or `LaneStream`."""
    if isinstance(X, LaneStream):
        if labels or model.takes_target:
            raise TypeError("X: expected sequences for ctc or a decoder, found a LaneStream")
        given = {"y": y, "lengths": lengths, "sample_weight": sample_weight, "class_weight": class_weight}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name}: expected None with a LaneStream, found {type(value).__name__}")
        if accumulate > 1:
            raise ValueError(f"accumulate: expected 1 with a LaneStream, whose lanes are one batch; found {accumulate}")
        _check_carry(model, "a LaneStream")
        return X
    if labels and model.pools_time:
        raise ValueError("loss: expected a model with an output for every step for ctc, found one that pools the steps")
    decoded = model.takes_target
    if decoded:
        if not targets:
            raise TypeError(f"model: expected one that needs no targets here, found {type(model).__name__}; "
                            "to predict, use its translate() or generate(); to estimate memory, give y")
        X = model.source_sequences(X)
    if targets and y is None:
        raise ValueError("y: expected targets, found None")
    if window is not None:
        _check_carry(model, "tbptt")
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


def make_validation_data(make, check, data, class_weight, batch_size):
    """The data of any of the forms of `validation_data`, by `make` and `check` as for training data."""
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
    rest = {name: value for name, value in data.items() if name not in ("X", "y")}
    try:
        data = make(data["X"], data.get("y"), class_weight=class_weight, batch_size=batch_size, **rest)
        check(data)
        return data
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"validation_data: {error}") from error


def check_values(model, loss, data):
    """Ids that the model has embeddings for and classes that it has outputs for."""
    if model.takes_target:
        model.check_source(data.x)
        if model.source == "ids":
            check_ids(data, model.source_size)
        check_classes(data, model.target_size)
        return
    first = model._leaves()[0]
    if isinstance(first, Embedding):
        check_ids(data, first.num_embeddings)
    if loss is losses.cross_entropy:
        shape = (1, 1, *(data.x[0].shape[1:]))
        y, _ = infer(model, Batch(np.zeros(shape, data.x[0].dtype), None, None, None))
        check_classes(data, y.shape[-1])


def largest_batch(data, shares=1):
    """What `memory.training_bytes` asks of the batch, or window, that takes the most memory: one of `shares` of it."""
    first = data.x[0]
    found = {"ids": first.ndim == 1, "width": first.shape[-1]}
    batch = -(-min(data.batch_size, len(data)) // shares)
    lengths = None
    if data.lengths is not None:
        lengths = -np.sort(-data.lengths)[:batch]
    steps = data.x.shape[1] if lengths is None else int(lengths[0])
    if data.window is not None:
        steps = min(steps, data.window[1])
        lengths = None if lengths is None else np.minimum(lengths, steps)
    if data.decoded:
        found["counts"] = -np.sort(-Targets(data.y).counts())[:batch]
    return {"batch": batch, "steps": steps, "lengths": lengths, **found}


def _check_carry(model, what):
    """A state can be carried through time in one direction only."""
    for module in walk(model):
        both = getattr(module, "bidirectional", False)
        direction = getattr(module, "direction", "bidirectional" if both else "forward")
        if direction != "forward":
            found = "a bidirectional one" if direction == "bidirectional" else "one that reads backwards"
            raise ValueError(f"{what}: expected a model that reads in one direction, found {found}")

"""Passes of one `Batch` through a model in the model's own layout: inference, training, losses and metrics."""

import contextlib
import functools
import itertools
import math

import numpy as np

from ...check.params import frozen_names
from ...data.batch import Batch
from ...data.named import NamedInputs, NamedSequences
from ...nn.layers import ActivationRegularization, counted_steps
from ...nn.module import walk
from .. import losses
from .lossparts import loss_reduction, own_loss


def infer(model, batch, state=None):
    """(y, state) of inference; y in the model's layout."""
    x, lengths = arguments(model, batch)
    if model.takes_target:
        return model(x, lengths, target=batch.y), None
    scored = target_of(model, batch, 0, batch.x.shape[1])
    if model.recurrent:
        return model(x, state, lengths, **scored)
    return model(x, lengths=lengths, **scored), None


def target_of(model, batch, start, stop):
    """The argument `target` of a pass over the steps from `start` to `stop`; nothing where the model takes none."""
    if model.takes_target:
        return {"target": batch.y}
    if not model.scores_target or batch.y is None:
        return {}
    y = batch.y
    if batch.weight is not None:    # what has no weight may have any target
        weight = batch.weight.reshape(*batch.weight.shape, *(1,) * (y.ndim - batch.weight.ndim))
        y = np.where(weight != 0, y, 0)
    if model.pools_time:
        return {"target": y}
    missing = max(batch.context - start, 0)     # steps that do not count have no targets
    y = y[:, max(start - batch.context, 0) : max(stop - batch.context, 0)]
    return {"target": to_layout(model, np.pad(y, ((0, 0), (min(missing, stop - start), 0))))}


def arguments(model, batch):
    """(x, lengths) of a batch as the model takes them, dicts where its inputs have names."""
    if isinstance(batch.x, NamedInputs):
        return batch.x.arguments(batch_first(model))
    return to_layout(model, batch.x), batch.lengths


def output_lengths(model, data):
    """The steps of the output for all sequences of data, or of a batch; None where they have no lengths."""
    if data.lengths is None:
        return None
    return model.output_lengths(steps_of(data))


def steps_of(data):
    """The steps of sequences, int array (N,), that count; a dict by the inputs' names where these have some."""
    if isinstance(data, NamedSequences):
        return data.lengths_by_name()
    if isinstance(data, Batch) and isinstance(data.x, NamedInputs):
        return {name: np.full(len(data.x), data.x.arrays[name].shape[1]) if lengths is None else lengths
                for name, lengths in data.x.lengths.items() if name not in data.x.rows}
    lengths = data.counted if isinstance(data, Batch) else data.lengths
    return np.full(len(data.x), data.x.shape[1]) if lengths is None else lengths


def measure(function, model, prediction, batch):
    """The result of a loss or metric for the prediction, in the model's layout, of the steps that count."""
    options, y, weight = {}, batch.y, batch.weight
    if model.takes_target:  # one row of prediction for each id of the targets
        weighed = {} if weight is None else {"sample_weight": np.repeat(weight, y.counts())}
        return function(prediction, model.targets(y), **weighed)
    per_step = not model.pools_time
    if per_step and not batch_first(model):
        if not isinstance(y, list):
            y = y.swapaxes(0, 1)
            weight = weight if weight is None or weight.ndim == 1 else weight.swapaxes(0, 1)
        options["batch_first"] = False
    if per_step and batch.lengths is not None:
        options["lengths"] = output_lengths(model, batch)
    if weight is not None:
        options["sample_weight"] = weight
    return function(prediction, y, **options)


def measure_loss(loss, model, prediction, batch, spare=False):
    """(loss as a mean over the elements, gradient of the loss as it is reduced).

    The gradient may be written over a prediction that is to `spare` and that nothing else refers to.
    """
    if spare and own_loss(loss) is losses.cross_entropy and not model.saves_output and prediction.flags.carray:
        loss = functools.partial(loss, out=prediction)
    reduction, per_step = loss_reduction(loss), not model.pools_time
    decoded = model.takes_target and reduction == "batchmean"  # the function sees ids, not sequences
    value, gradient = measure(functools.partial(loss, reduction="sum") if decoded else loss, model, prediction, batch)
    if reduction == "mean":
        return value, gradient
    divisor = loss_divisor(loss, model, batch)
    if decoded:
        value, gradient = value / divisor, gradient / gradient.dtype.type(divisor)
    elements = batch.mass(per_step) * _per_step(loss, prediction.shape[2 if per_step and not decoded else 1 :])
    return value * divisor / elements, gradient


def measure_all(loss, metrics, model, prediction, batch):
    """(loss, its gradient, iterator of the metrics); `prediction` may hold anything afterwards."""
    others = [metric for metric in metrics if metric.function is not loss]
    value, gradient = measure_loss(loss, model, prediction, batch, spare=not others)
    return value, gradient, (
        value if metric.function is loss else measure(metric, model, prediction, batch) for metric in metrics
    )


def loss_divisor(loss, model, batch):
    """What the sum of the weighted losses of a batch is divided by; up to a constant factor where it is a mean."""
    reduction, per_step = loss_reduction(loss), not model.pools_time
    if reduction == "sum":
        return 1.0
    return batch.sequences(per_step) if reduction == "batchmean" else batch.mass(per_step)


def _per_step(loss, shape):
    """Elements of the loss in a step's prediction of this shape."""
    function = own_loss(loss)
    if function in (losses.cross_entropy, losses.ctc, losses.nll):
        return math.prod(shape[:-1])
    return math.prod(shape) // (2 if function is losses.gaussian_nll else 1)


def batch_first(model):
    """Whether the model's arrays begin with the batch axis."""
    return getattr(model, "batch_first", True)


def to_layout(model, array):
    """Swap batch and time for a time-major model; a second call swaps them back."""
    return array if batch_first(model) else array.swapaxes(0, 1)


class TrainingPass:
    """Forward over a batch, and backward once.

    If the next window starts before this one's end, the steps run in two pieces, so that there is a state between them;
    the gradient flows through both.

    Parameters
    ----------
    model : Module
    batch : Batch
    state
        The initial state.
    penalised : sequence
        The model's `regularizers`.

    Attributes
    ----------
    prediction : array
        The prediction of the steps that count, in the model's layout.
    state
        The state for the next window.
    penalty : float
        The penalty of the model's `ActivationRegularization` modules.
    """

    def __init__(self, model, batch, state, penalised=()):
        self._model = model
        self._axis = 0 if model.pools_time or not batch_first(model) else 1
        self._context = batch.context
        self._pieces = []  # (start, stop, tape)
        self.penalty = 0.0
        self.state = state
        outputs = []
        for start, stop, lengths, context in _pieces(batch):
            if isinstance(batch.x, NamedInputs):    # they come whole
                x, lengths = arguments(model, batch)
            else:
                x = to_layout(model, batch.x[:, start:stop])
            for module in penalised:
                module.start = context
            y, state, tape = model.forward(x, state, lengths, **target_of(model, batch, start, stop))
            for module in penalised:
                self.penalty += module.penalty
            outputs.append(y)
            self._pieces.append((start, stop, tape))
            if stop == batch.carry or batch.carry is None:
                self.state = state
        y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, self._axis)
        self.prediction = y[self._slice(self._context, None)] if self._context else y

    def backward(self, gradient):
        """Add the model's gradients, from `gradient` with respect to `prediction`."""
        dstate = None
        for start, stop, tape in reversed(self._pieces):
            _, dstate = self._model.backward(tape, self._piece(gradient, start, stop), dstate)

    def _piece(self, gradient, start, stop):
        """The gradient of the steps from `start` to `stop`, zero for those that do not count; None if none counts."""
        if len(self._pieces) == 1 and not self._context:
            return gradient
        if stop <= self._context:
            return None
        counted = gradient[self._slice(max(start - self._context, 0), stop - self._context)]
        padding = [(0, 0)] * gradient.ndim
        padding[self._axis] = (max(self._context - start, 0), 0)
        return np.pad(counted, padding)

    def _slice(self, start, stop):
        return (slice(None),) * self._axis + (slice(start, stop),)


def _pieces(batch):
    """(start, stop, lengths or None, steps that do not count) of the one or two passes over a batch."""
    steps = batch.x.shape[1]
    if not (batch.carry and batch.carry < steps):
        yield 0, steps, batch.lengths, batch.context
        return
    cuts = (0, batch.carry, steps)
    for start, stop in itertools.pairwise(cuts):
        lengths = None if batch.lengths is None else np.clip(batch.lengths - start, 0, stop - start)
        yield start, stop, lengths, max(0, batch.context - start)


def regularizers(model):
    """The `ActivationRegularization` modules of a network."""
    return [module for module in walk(model) if isinstance(module, ActivationRegularization)]


@contextlib.contextmanager
def counted_together(modules, batches):
    """Make the penalties of an update means over all its passes."""
    if modules:
        counts = [
            counted_steps(np.full(len(batch.x), stop - start) if lengths is None else lengths, context)
            for batch in batches
            for start, stop, lengths, context in _pieces(batch)
        ]
        for module in modules:
            module.counts = tuple(map(sum, zip(*counts)))
    try:
        yield
    finally:
        for module in modules:
            module.start, module.counts = 0, None


def add_l2(params, grads, l2):
    """Add the gradient of the sum of ``l2[name] * params[name]^2`` to `grads`; returns that sum.

    It is over what is trained.
    """
    penalty, frozen = 0.0, frozen_names(params)
    for name, factor in l2.items():
        if name in frozen:
            continue
        p = params[name]
        grads[name] += p.dtype.type(2 * factor) * p
        penalty += factor * float(np.sum(np.square(p), dtype=np.float64))
    return penalty

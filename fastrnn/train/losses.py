"""Losses with their gradients.

Every function takes (prediction, target) and returns (loss, gradient): a float, summed in double, and an
array of the prediction's shape and dtype. The loss of the elements l[b, t], of sequence b and step t, with weights
w[b, t], which are 1 where none are given and 0 in padding, is by `reduction`

    "mean"          sum_bt w[b, t] l[b, t] / sum_bt w[b, t]
    "sum"           sum_bt w[b, t] l[b, t]
    "batchmean"     sum_bt w[b, t] l[b, t] / sum_b v[b],   v[b] the mean of sequence b's weights that are not 0

"batchmean" is summed over the steps and averaged over the sequences, or lanes of a stream, as in Zaremba et al. (2014):
without weights the divisor is the number of sequences that have a valid element. Where an element has further axes,
as several features, "mean" divides by their number too, the sums run over them. The loss is 0 with a zero gradient
where nothing is valid.

All functions share these parameters:

lengths : sequence of int, optional
    One per sequence; steps beyond a length are padding. Needs a time axis: (B, T, ...), or (T, B, ...) with
    ``batch_first=False``.
mask : bool array, optional
    True for valid elements; has the shape of the elements or of their leading axes.
sample_weight : array, optional
    Not negative. One weight per sequence, (B,), or an array of a shape that `mask` could have.
reduction : "mean", "sum" or "batchmean"
batch_first : bool
    Whether the first axis counts the sequences, or else, where there are two, the second.

Padding and elements of weight 0 contribute neither loss nor gradient, for any prediction and target.
Every error is a ValueError or TypeError that names the argument.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_axes, check_out, check_unit_interval, check_vector, int_array
from ..check.sequences import check_lengths
from ..check.targets import check_class_target, check_element_weights, check_labels, check_prediction, check_real_target
from ..check.values import check_bool, check_number, check_option, check_positive_int, shown
from ..engine.ops import _ctc, _loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from .._types import Array, ArrayLike, Inputs, Ints, Reduction

REDUCTIONS = "mean", "sum", "batchmean"
LOG_FLOOR = -100.0  # of the logarithm of a probability, as in torch


def cross_entropy(prediction: "ArrayLike", target: "ArrayLike", *, lengths: "Ints | None" = None,
                  mask: "ArrayLike | None" = None, sample_weight: "ArrayLike | None" = None,
                  class_weight: "ArrayLike | None" = None, label_smoothing: float = 0.0,
                  reduction: "Reduction" = "mean", batch_first: bool = True,
                  out: "Array | None" = None) -> "tuple[float, Array]":
    """Softmax cross-entropy of logits x: log(sum_k exp(x_k)) - x_target.

    Parameters
    ----------
    prediction : array (..., K), float32 or float64
        Logits.
    target : int array (...)
        Classes 0 .. K-1.
    class_weight : array (K,), optional
        Multiplies the weights of the elements of each class.
    label_smoothing : float in [0, 1]
        Fraction of each target that is spread evenly over all classes.
    lengths, mask, sample_weight, reduction, batch_first
        See the module.
    out : array like prediction, optional
        The gradient is written into it. It may be `prediction` itself, which saves the memory of a second array.

    Returns
    -------
    (float, array (..., K))
    """
    given = prediction
    prediction = check_prediction(prediction)
    shape, classes = prediction.shape[:-1], prediction.shape[-1]
    smoothing = check_number(label_smoothing, "label_smoothing", low=0, high=1)
    weight = check_element_weights(shape, lengths, mask, sample_weight, batch_first)
    target = check_class_target(target, shape, classes, weight)
    counted = weight
    if class_weight is not None:
        class_weight = check_vector(class_weight, "class_weight", classes, low=0)
        of_target = class_weight[np.clip(target, 0, classes - 1)]  # padding may hold any number
        counted = of_target if weight is None else weight * of_target
    scale = _scale(counted, shape, reduction, batch_first)
    if out is None:
        gradient = np.empty_like(prediction)
    elif out is given and type(out) is np.ndarray and out.flags.carray:     # `prediction` is a view of it
        gradient = prediction
    else:
        gradient = _place(out, prediction)
    total = _loss.cross_entropy(gradient.reshape(-1, classes), prediction.reshape(-1, classes),
                                target.reshape(-1), None if weight is None else weight.reshape(-1),
                                class_weight, smoothing, scale)
    return total * scale, gradient


def nll(prediction: "ArrayLike", target: "ArrayLike", *, lengths: "Ints | None" = None,
        mask: "ArrayLike | None" = None, sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
        batch_first: bool = True) -> "tuple[float, Array]":
    """Negative log-likelihood, -prediction[target]: of the logarithms of probabilities.

    Parameters
    ----------
    prediction : array (..., K), float32 or float64
        The logarithms of all classes' probabilities, as from a `LogSoftmax`; or array (...), those of the targets
        alone, as an `AdaptiveSoftmax` gives them.
    target : int array (...)
        Classes 0 .. K-1.
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array like prediction)
    """
    prediction = check_prediction(prediction)
    target = int_array(target, "target")
    alone = target.shape == prediction.shape
    shape = prediction.shape if alone else prediction.shape[:-1]
    weight = check_element_weights(shape, lengths, mask, sample_weight, batch_first)
    scale = _scale(weight, shape, reduction, batch_first)
    if alone:
        return _reduce(-_without_padding(prediction, weight), np.full_like(prediction, -1), weight, scale)
    target = check_class_target(target, shape, prediction.shape[-1], weight)[..., None]
    target = np.clip(target, 0, prediction.shape[-1] - 1)   # padding may hold any number
    chosen = np.take_along_axis(prediction, target, -1)[..., 0]
    total, slope = _reduce(-_without_padding(chosen, weight), np.full_like(chosen, -1), weight, scale)
    gradient = np.zeros_like(prediction)
    np.put_along_axis(gradient, target, slope[..., None], -1)
    return total, gradient


def _place(out, prediction):
    """`out`, which is like the prediction and is it, or lies elsewhere."""
    found = check_out(out, prediction.shape, prediction.dtype)
    if np.may_share_memory(found, prediction) and found.ctypes.data != prediction.ctypes.data:
        raise ValueError("out: expected the prediction itself or an array beside it, found one that overlaps it")
    return found


def binary_cross_entropy(prediction: "ArrayLike", target: "ArrayLike", *, from_logits: bool = True,
                         pos_weight: float = 1.0, lengths: "Ints | None" = None, mask: "ArrayLike | None" = None,
                         sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
                         batch_first: bool = True) -> "tuple[float, Array]":
    """Cross-entropy of yes-no outputs, -pos_weight t log(p) - (1 - t) log(1 - p) with p = sigmoid(x).

    Parameters
    ----------
    prediction : array (...), float32 or float64
        Logits x, or with ``from_logits=False`` probabilities p, whose logarithms are clamped to at least -100.
    target : array (...)
        t, in 0 .. 1. A last axis of size 1 may be missing.
    from_logits : bool
    pos_weight : float, above 0
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array (...))
    """
    positive = check_number(pos_weight, "pos_weight", above=0)
    x, target, weight, scale = _elements(
        prediction, target, lengths, mask, sample_weight, reduction, batch_first)
    check_unit_interval(target, "target")
    if from_logits:
        gradient = np.empty_like(x)
        total = _loss.binary_cross_entropy(gradient.reshape(-1), x.reshape(-1), target.reshape(-1),
                                           None if weight is None else weight.reshape(-1), positive, scale)
        return total * scale, gradient
    check_unit_interval(x, "prediction")
    on, off = positive * target, 1 - target
    with np.errstate(divide="ignore"):
        loss = -on * np.maximum(np.log(x), LOG_FLOOR) - off * np.maximum(np.log1p(-x), LOG_FLOOR)
    slope = (off * x - on * (1 - x)) / np.maximum(x * (1 - x), 1e-12)
    return _reduce(loss, slope, weight, scale)


def mse(prediction: "ArrayLike", target: "ArrayLike", *, lengths: "Ints | None" = None, mask: "ArrayLike | None" = None,
        sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
        batch_first: bool = True) -> "tuple[float, Array]":
    """Squared error, (prediction - target)^2.

    Parameters
    ----------
    prediction : array (...), float32 or float64
    target : array (...)
        A last axis of size 1 may be missing.
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array (...))
    """
    x, target, weight, scale = _elements(
        prediction, target, lengths, mask, sample_weight, reduction, batch_first)
    error = x - target
    return _reduce(error * error, 2 * error, weight, scale)


def mae(prediction: "ArrayLike", target: "ArrayLike", *, lengths: "Ints | None" = None, mask: "ArrayLike | None" = None,
        sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
        batch_first: bool = True) -> "tuple[float, Array]":
    """Absolute error, |prediction - target|, with slope 0 where they are equal. Arguments as for `mse`."""
    x, target, weight, scale = _elements(
        prediction, target, lengths, mask, sample_weight, reduction, batch_first)
    error = x - target
    return _reduce(np.abs(error), np.sign(error), weight, scale)


def huber(prediction: "ArrayLike", target: "ArrayLike", *, delta: float = 1.0, lengths: "Ints | None" = None,
          mask: "ArrayLike | None" = None, sample_weight: "ArrayLike | None" = None,
          reduction: "Reduction" = "mean", batch_first: bool = True) -> "tuple[float, Array]":
    """Huber's (1964) loss of e = prediction - target: e^2 / 2 up to delta, delta (|e| - delta / 2) beyond.

    Parameters
    ----------
    prediction : array (...), float32 or float64
    target : array (...)
        A last axis of size 1 may be missing.
    delta : float, above 0
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array (...))
    """
    delta = check_number(delta, "delta", above=0)
    x, target, weight, scale = _elements(
        prediction, target, lengths, mask, sample_weight, reduction, batch_first)
    error = x - target
    slope = np.clip(error, -delta, delta)
    return _reduce(slope * (error - slope / 2), slope, weight, scale)


def quantile(prediction: "ArrayLike", target: "ArrayLike", *, quantiles: "Sequence[float]" = (0.1, 0.5, 0.9),
             lengths: "Ints | None" = None, mask: "ArrayLike | None" = None, sample_weight: "ArrayLike | None" = None,
             reduction: "Reduction" = "mean", batch_first: bool = True) -> "tuple[float, Array]":
    """Pinball loss (Koenker and Bassett 1978) of e = target - prediction, max(q e, (q - 1) e); slope 0 at 0.

    Parameters
    ----------
    prediction : array (..., Q), float32 or float64
        One column per quantile.
    target : array (...)
        May have a last axis of size 1.
    quantiles : sequence of Q floats between 0 and 1
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array (..., Q))
        The mean is over elements and quantiles.
    """
    quantiles = check_vector(quantiles, "quantiles", above=0, below=1)
    prediction = check_prediction(prediction, last=(quantiles.size, "one column per quantile"))
    column = check_real_target(target, (*prediction.shape[:-1], 1), prediction.dtype)
    x, target, weight, scale = _elements(prediction, np.broadcast_to(column, prediction.shape), lengths, mask,
                                         sample_weight, reduction, batch_first)
    q = quantiles.astype(x.dtype)
    error = target - x
    slope = np.where(error > 0, -q, 1 - q) * np.abs(np.sign(error))
    return _reduce(-slope * error, slope, weight, scale)


def gaussian_nll(prediction: "ArrayLike", target: "ArrayLike", *,
                 scale: "Literal['log_variance', 'softplus']" = "log_variance", min_scale: float = 1e-3,
                 lengths: "Ints | None" = None, mask: "ArrayLike | None" = None,
                 sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
                 batch_first: bool = True) -> "tuple[float, Array]":
    """Negative log-likelihood of a normal distribution, log(2 pi) / 2 + log(s) + ((target - mean) / s)^2 / 2.

    Parameters
    ----------
    prediction : array (..., 2 D), float32 or float64
        The D means, then D numbers r that give the standard deviations s.
    target : array (..., D)
        The last axis may be missing if D is 1.
    scale : "log_variance" or "softplus"
        s = exp(r / 2), or s = log(1 + exp(r)) + min_scale.
    min_scale : float, above 0
        Lower bound of s in the softplus form.
    lengths, mask, sample_weight, reduction, batch_first
        See the module.

    Returns
    -------
    (float, array (..., 2 D))
    """
    check_option(scale, "scale", ("log_variance", "softplus"))
    min_scale = check_number(min_scale, "min_scale", above=0)
    prediction = check_prediction(prediction, even=True)
    mean, raw = np.split(prediction, 2, axis=-1)
    mean, target, weight, factor = _elements(
        mean, target, lengths, mask, sample_weight, reduction, batch_first)
    raw = _without_padding(raw, weight)
    if scale == "log_variance":
        s, ds_over_s = np.exp(raw / 2), 0.5
    else:
        s = np.logaddexp(0, raw) + raw.dtype.type(min_scale)
        ds_over_s = np.exp(-np.logaddexp(0, -raw)) / s
    z = (target - mean) / s
    loss, dmean = _reduce(math.log(2 * math.pi) / 2 + np.log(s) + z * z / 2, -z / s, weight, factor)
    return loss, np.concatenate([dmean, _gradient(ds_over_s * (1 - z * z), weight, factor)], axis=-1)


def ctc(prediction: "ArrayLike", target: "Inputs", lengths: "Ints | None" = None, target_lengths: "Ints | None" = None,
        *, blank: int = 0, zero_infinity: bool = False, mask: "ArrayLike | None" = None,
        sample_weight: "ArrayLike | None" = None, reduction: "Reduction" = "mean",
        batch_first: bool = True) -> "tuple[float, Array]":
    """Connectionist temporal classification (Graves et al. 2006): labels without a time for each.

    A path has one label or blank at each of T steps. It belongs to the target that remains when first repetitions and
    then blanks are removed. The loss of a sequence is -log of the probability of all its target's paths together,

        -log sum over paths of prod over t of softmax(prediction[t])[path[t]]

    Parameters
    ----------
    prediction : array (B, T, K), (T, B, K) with ``batch_first=False``, or (T, K); float32 or float64
        Logits. Logarithms of probabilities are logits, too, because their softmax is the probabilities.
    target : list of B arrays (L_i,) of ints, int array (B, L), or int array (sum of target_lengths,)
        Labels 0 .. K-1 without `blank`; for a prediction (T, K) one array (L,).
    lengths : sequence of B ints, optional
        Valid steps of each sequence.
    target_lengths : sequence of B ints, optional
        Number of labels of each sequence; further labels are padding.
    blank : int
    zero_infinity : bool
        A target without any path has more labels, plus a blank between any two equal neighbours, than the sequence has
        steps. Its loss is inf and its gradient NaN; if true, both are 0.
    mask : bool array (B,), optional
    sample_weight : array (B,), optional
    reduction : "mean", "sum" or "batchmean"
        The elements are the sequences: "mean" and "batchmean" divide by their number, or by the sum of their weights.
        (torch's "mean" first divides each loss by its number of labels.)
    batch_first : bool

    Returns
    -------
    (float, array like prediction)
        The gradient is with respect to the logits.
    """
    prediction = check_prediction(prediction)
    orders = {3: "(B, T, K)" if batch_first else "(T, B, K)", 2: "(T, K)"}
    x = check_axes(prediction, "prediction", orders)
    if x.ndim == 2:
        for name, value in ("lengths", lengths), ("target_lengths", target_lengths):
            if value is not None:
                raise ValueError(f"{name}: expected None for one sequence (T, K), found {shown(value)}")
        x, target, batch_first = x[None], [target], True
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    blank = check_positive_int(blank, "blank", low=0, high=x.shape[2] - 1)
    zero_infinity = check_bool(zero_infinity, "zero_infinity")
    lengths = check_lengths(np.full(batch, steps) if lengths is None else lengths, batch, steps)
    weight = check_element_weights((batch,), None, mask, sample_weight, True)
    labels, starts = check_labels(target, target_lengths, batch, x.shape[2], blank, weight)
    scale = _scale(weight, (batch,), reduction, True)
    loss, gradient = np.empty(batch), np.empty_like(x)
    _ctc.ctc(loss, gradient, x, labels, starts, lengths, weight, blank, zero_infinity, scale, batch_first)
    total = loss.sum() if weight is None else loss[weight > 0] @ weight[weight > 0]
    return float(total) * scale, gradient.reshape(prediction.shape)


def _elements(prediction, target, lengths, mask, sample_weight, reduction, batch_first):
    """Checked (prediction, target, weights or None, factor of the sum), of one shape, with zeros for padding."""
    prediction = check_prediction(prediction)
    weight = check_element_weights(prediction.shape, lengths, mask, sample_weight, batch_first)
    target = check_real_target(target, prediction.shape, prediction.dtype)
    scale = _scale(weight, prediction.shape, reduction, batch_first)
    return _without_padding(prediction, weight), _without_padding(target, weight), weight, scale


def _without_padding(array, weight):
    """The array with zeros where the weight is 0, so that no computation uses the values of padding."""
    return array if weight is None or weight.all() else np.where(weight > 0, array, array.dtype.type(0))


def _scale(weight, shape, reduction, batch_first):
    """The factor of the summed loss and the gradient, for elements of this shape."""
    reduction = check_option(reduction, "reduction", REDUCTIONS)
    if reduction == "sum":
        return 1.0
    if reduction == "batchmean":
        total = _sequences(weight, shape, 0 if batch_first or len(shape) < 2 else 1)
    else:
        total = float(math.prod(shape) if weight is None else weight.sum())
    return 1 / total if total > 0 else 0.0


def _sequences(weight, shape, batch_axis):
    """The number of sequences along an axis that have an element that counts, each times the mean of its weights."""
    if weight is None:
        return float(shape[batch_axis] if shape and math.prod(shape) else math.prod(shape))
    weight = np.moveaxis(weight, batch_axis, 0).reshape(shape[batch_axis], -1) if shape else weight.reshape(1, 1)
    return float((weight.sum(1) / np.maximum((weight > 0).sum(1), 1)).sum())


def _reduce(loss, slope, weight, scale):
    """(loss, gradient) from the losses and slopes of the elements."""
    total = np.sum(loss if weight is None else loss * weight, dtype=np.float64)
    return float(total) * scale, _gradient(slope, weight, scale)


def _gradient(slope, weight, scale):
    if weight is None:
        return slope * slope.dtype.type(scale)
    return (slope * (weight * scale)).astype(slope.dtype)

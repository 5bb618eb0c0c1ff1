"""Arguments of losses and metrics: predictions, targets, and weights of their elements."""

import numpy as np

from .arrays import FLOATS, at_place, check_axes, first_place, in_range, int_array, own_shape, real_array, refuse_masked
from .sequences import check_lengths


def check_prediction(prediction, last=None, even=False):
    """A C-contiguous float array; `last`: (size of the last axis, reason); `even`: the size must be even."""
    prediction = own_shape(real_array(prediction, "prediction"))
    if prediction.dtype not in FLOATS:
        raise TypeError(f"prediction: expected float32 or float64, found {prediction.dtype}")
    if prediction.ndim == 0 or prediction.shape[-1] == 0:
        raise ValueError("prediction: expected at least one axis, the last not empty; "
                         f"found shape {prediction.shape}")
    if last is not None and prediction.shape[-1] != last[0]:
        raise ValueError(f"prediction: expected shape (..., {last[0]}), {last[1]}; found {prediction.shape}")
    if even and prediction.shape[-1] % 2:
        raise ValueError(f"prediction: expected a last axis of even size, found shape {prediction.shape}")
    return np.asarray(prediction, order="C")


def check_real_target(target, shape, dtype):
    """Targets as a C-contiguous array of `shape` and `dtype`; a last axis of size 1 may be missing."""
    target = real_array(target, "target")
    if target.shape != shape and not (shape[-1:] == (1,) and target.shape == shape[:-1]):
        raise ValueError(f"target: expected shape {shape}, found {target.shape}")
    return np.asarray(target.reshape(shape), dtype, order="C")


def check_class_target(target, shape, classes, weight):
    """Classes as a C-contiguous int64 array of `shape`, in 0 .. classes - 1 except where the weight is 0."""
    target = int_array(target, "target")
    if target.shape != shape:
        raise ValueError(f"target: expected shape {shape}, as the logits without their last axis; "
                         f"found {target.shape}")
    return in_range(target, "target", classes, weight)


def check_labels(target, target_lengths, batch, classes, blank, weight):
    """The labels of all sequences, one after another, and the batch + 1 places where they begin or end, int64.

    Labels are in 0 .. classes - 1 and not the blank, except where the sequence's weight is 0.
    """
    labels, counts = _labels_and_counts(target, target_lengths, batch)
    if len(counts) != batch:
        raise ValueError(f"target: expected the labels of {batch} sequences, found those of {len(counts)}")
    starts = np.concatenate([[0], np.cumsum(counts)])
    wrong = (labels < 0) | (labels >= classes) | (labels == blank)
    if weight is not None:
        wrong &= np.repeat(weight, counts) != 0
    if wrong.any():
        at = int(wrong.argmax())
        row = int(np.searchsorted(starts, at, side="right")) - 1
        raise ValueError(f"target: expected labels in 0 .. {classes - 1} other than the blank, {blank}; "
                         f"found {labels[at]} at [{row}, {at - starts[row]}]")
    return labels, starts


def _labels_and_counts(target, target_lengths, batch):
    if isinstance(target, (list, tuple)) and target_lengths is None:
        rows = [check_axes(int_array(row, f"target[{k}]"), f"target[{k}]", {1: "(n,)"})
                for k, row in enumerate(list(target))]
        counts = np.array([len(row) for row in rows], np.int64)
        return np.concatenate([np.empty(0), *rows], dtype=np.int64, casting="unsafe"), counts
    labels = int_array(target, "target").astype(np.int64, copy=False)
    if labels.ndim == 2:
        if target_lengths is None:
            target_lengths = np.full(len(labels), labels.shape[1])
        counts = check_lengths(target_lengths, len(labels), labels.shape[1], "target_lengths")
        return labels[np.arange(labels.shape[1]) < counts[:, None]], counts
    if labels.ndim != 1 or target_lengths is None:
        raise ValueError("target: expected a list of arrays of ints, shape (B, n), or (n,) with target_lengths; "
                         f"found shape {labels.shape}")
    counts = check_lengths(target_lengths, batch, labels.size, "target_lengths")
    if counts.sum() != labels.size:
        raise ValueError(f"target_lengths: expected {labels.size} labels in all as in target, found {counts.sum()}")
    return labels, counts


def check_element_weights(shape, lengths, mask, sample_weight, batch_first):
    """Weight of each element, a C-contiguous float64 array of `shape`; None if all are valid and equal."""
    if lengths is None and mask is None and sample_weight is None:
        return None
    weight = np.ones(shape)
    batch_axis = 0 if batch_first or len(shape) < 2 else 1
    if lengths is not None:
        if len(shape) < 2:
            raise ValueError(f"lengths: expected None for elements of shape {shape}, which have no time axis")
        steps = np.arange(shape[1 - batch_axis])
        valid = steps < check_lengths(lengths, shape[batch_axis], steps.size)[:, None]
        weight *= _trailing(valid if batch_axis == 0 else valid.T, len(shape))
    if mask is not None:
        refuse_masked(mask, "mask")
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask: expected bool, found {mask.dtype}")
        _check_leading(mask, "mask", shape)
        weight *= _trailing(mask, len(shape))
    if sample_weight is not None:
        sample = real_array(sample_weight, "sample_weight").astype(np.float64)
        if sample.ndim == 1 and batch_axis == 1:
            _check_leading(sample, "sample_weight", shape[1:])
            sample = sample[None]
        else:
            _check_leading(sample, "sample_weight", shape)
        wrong = ~((sample >= 0) & (sample < np.inf))
        if wrong.any():
            at = first_place(wrong)
            raise ValueError(f"sample_weight: expected finite numbers of at least 0, "
                             f"found {sample[at]}{at_place(at)}")
        weight *= _trailing(sample, len(shape))
    return weight


def _check_leading(array, name, shape):
    if array.ndim == 0 or array.shape != shape[:array.ndim]:
        raise ValueError(f"{name}: expected shape {shape} or its leading axes, found {array.shape}")


def _trailing(array, ndim):
    return array.reshape(array.shape + (1,) * (ndim - array.ndim))

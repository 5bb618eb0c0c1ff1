"""What elements weigh: weights as callers give them, checked, and their mean over the data."""

import numpy as np

from ..check.arrays import check_floats
from ..check.values import check_number, shown
from .batch import Targets
from .given import as_array, check_count
from .mapped import cuts, is_mapped, read

SMALLEST = float(np.finfo(np.float64).tiny)  # whose reciprocal is a number
SEQUENCES = 4096  # of a list, that are looked at together


def as_weights(sample_weight, class_weight, x, y, ragged, per_step):
    """None, an array (N,) or (N, T), or for a ragged X a list of arrays (T_i,)."""
    weight = None
    if sample_weight is not None:
        weight = _sample_weights(sample_weight, x, ragged, per_step)
    if class_weight is None:
        return weight
    if y is None:
        raise ValueError("class_weight: expected None without y")
    return by_class(class_weight, y, weight)


def by_class(class_weight, y, weight):
    """The weights of the classes in y, times `weight` where there is one."""
    lookup = _class_weights(class_weight, y)
    if isinstance(y, list):
        of_class = [lookup(values) for values in y]
        if weight is None:
            return of_class
        return [of * w for of, w in zip(of_class, weight)]
    of_class = lookup(y)
    if weight is None:
        return of_class
    return of_class * (weight[:, None] if weight.ndim < of_class.ndim else weight)


def _sample_weights(sample_weight, x, ragged, per_step):
    check_count(sample_weight, "sample_weight", len(x))
    if isinstance(sample_weight, np.ndarray) and is_mapped(sample_weight):
        sample_weight = as_array(sample_weight, "sample_weight", np.float64).astype(np.float64)
        _check_weights_shape(sample_weight, x, ragged, per_step)
        return sample_weight.converted(_checked_weights)
    if ragged and per_step and any(np.ndim(w) for w in sample_weight):
        weight = [_floats(w, f"sample_weight[{k}]") for k, w in enumerate(sample_weight)]
        for k, (w, sequence) in enumerate(zip(weight, x)):
            if w.shape != (len(sequence),):
                raise ValueError(
                    f"sample_weight[{k}]: expected {len(sequence)} weights, one for each step of X[{k}]; "
                    f"found shape {w.shape}"
                )
        flat = np.concatenate(weight)
    else:
        weight = flat = _floats(sample_weight, "sample_weight")
        _check_weights_shape(weight, x, ragged, per_step)
    _checked_weights(flat)
    return weight


def _check_weights_shape(weight, x, ragged, per_step):
    if weight.shape != (len(x),) and not (per_step and not ragged and weight.shape == x.shape[:2]):
        raise ValueError(
            f"sample_weight: expected shape ({len(x)},)"
            f"{' or that of the first two axes of X' if per_step else ''}, found {weight.shape}"
        )


def _checked_weights(weight):
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight: expected finite weights of at least 0, found others")
    return weight


def _class_weights(class_weight, y):
    """A function from an array of classes to the array of their weights."""
    flat = np.concatenate([values.ravel() for values in y]) if isinstance(y, list) else y.ravel()
    if flat.dtype.kind not in "iu":
        raise TypeError(f"class_weight: expected integer classes in y with it, found dtype {flat.dtype}")
    top = int(flat.max(initial=0))
    if isinstance(class_weight, dict):
        table = np.ones(top + 1)
        for label, weight in class_weight.items():
            if not isinstance(label, (int, np.integer)) or label < 0:
                raise ValueError(f"class_weight: expected classes from 0 on, found {shown(label)}")
            weight = check_number(weight, f"class_weight[{label!r}]", low=0)
            if label <= top:
                table[label] = weight
    else:
        table = _floats(class_weight, "class_weight")
        if table.ndim != 1 or len(table) <= top:
            raise ValueError(
                f"class_weight: expected a weight for each of the {top + 1} classes, "
                f"found shape {table.shape}"
            )
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError("class_weight: expected finite weights of at least 0, found others")
    return lambda classes: table[np.clip(classes, 0, len(table) - 1)]


def _floats(values, name):
    return check_floats(values, name).astype(np.float64)


def check_classes_occur(class_weight, data):
    """Raise a ValueError if a dict of class weights names a class that no valid target of `data` has."""
    if not isinstance(class_weight, dict):
        return
    found = set()
    for part in _parts(data, data.y):
        y = _rows(data.y, part)
        if isinstance(y, list):
            y = np.concatenate([values.ravel() for values in y])
        elif data.per_step and data.lengths is not None:
            y = y[_valid(data, part)]
        found.update(np.unique(y).tolist())
    missing = [label for label in class_weight if label not in found]
    if missing:
        classes = ", ".join(map(str, sorted(found)[:20])) + (", ..." if len(found) > 20 else "")
        raise ValueError(f"class_weight: expected classes that occur in y, which are {classes}; "
                         f"found {', '.join(map(shown, missing[:5]))}")


def check_class_count(class_weight, classes):
    """Raise a ValueError if an array of class weights is not of as many classes as a model has outputs."""
    if class_weight is not None and not isinstance(class_weight, dict) and len(class_weight) != classes:
        raise ValueError(f"class_weight: expected a weight for each of the {classes} classes that the model has "
                         f"outputs for, found {len(class_weight)}")


def mean_weight(data, which="", of_sequences=False):
    """Mean weight of the valid elements of `Sequences`; None if they have no weights, or all the same.

    With `of_sequences` the mean is over sequences in which something counts, each with the mean of its weights that are
    not 0, as `Batch.sequences` counts them. Data in a file are read once, a part at a time. Raises a ValueError, which
    tells `which` part of the data it is, if all weights are 0, or if their sum or its reciprocal is no finite number.
    """
    if data.weight is None and data.class_weight is None:
        return None
    total, count, low, high = 0.0, 0.0, np.inf, -np.inf
    for weight, counts in _elements(data, of_sequences):
        with np.errstate(over="ignore"):
            total += float((weight * counts).sum())
        count += float(counts.sum())
        used = weight[counts > 0]
        low, high = min(low, used.min(initial=np.inf)), max(high, used.max(initial=-np.inf))
    if count == 0:
        return None
    if total == 0:
        raise ValueError(f"sample_weight, class_weight: expected an element with a weight above 0{which}, "
                         "found all zero")
    if not SMALLEST <= total < np.inf:
        raise ValueError(f"sample_weight, class_weight: expected weights whose sum is between {SMALLEST:.0e} and "
                         f"{np.finfo(np.float64).max:.0e}, found a sum of {total}")
    return None if low == high else total / count


def _elements(data, of_sequences):
    """(weights, number of elements, or sequences, that have each), of some sequences after others."""
    by_step = data.per_step and not data.labels
    for part in _parts(data, data.weight if data.class_weight is None else data.y):
        weight = None if data.weight is None else _rows(data.weight, part)
        if data.class_weight is not None:
            weight = by_class(data.class_weight, _rows(data.y, part), weight)
        if isinstance(weight, list) and of_sequences:
            yield np.array([_own_mean(own) for own in weight]), np.array([len(own) > 0 for own in weight], float)
        elif isinstance(weight, list):
            weight = np.concatenate([values.ravel() for values in weight])
            yield weight, np.ones(weight.shape)
        elif by_step and weight.ndim > 1:
            valid = np.ones(weight.shape[:2], bool) if data.lengths is None else _valid(data, part)
            if of_sequences:
                means = np.array([_own_mean(own[counts]) for own, counts in zip(weight, valid)])
                yield means, valid.any(1).astype(float)
            else:
                weight = weight[valid]
                yield weight, np.ones(weight.shape)
        elif by_step:
            steps = np.full(len(weight), data.x.shape[1]) if data.lengths is None else data.lengths[part]
            yield weight, (steps > 0).astype(float) if of_sequences else steps
        elif data.decoded and not of_sequences:
            yield weight, Targets(data.y[part]).counts()
        else:
            yield weight, np.ones(weight.shape)


def _own_mean(weight):
    """The mean of a sequence's weights that are not 0."""
    return weight.sum() / max(np.count_nonzero(weight), 1)


def _parts(data, values):
    """Slices of the sequences that are looked at together. They do not depend on where the `values` are."""
    if isinstance(values, list):
        return [slice(k, k + SEQUENCES) for k in range(0, len(data), SEQUENCES)]
    return cuts(values.shape)


def _rows(values, part):
    return [read(one) for one in values[part]] if isinstance(values, list) else read(values[part])


def _valid(data, part):
    return np.arange(data.x.shape[1]) < data.lengths[part, None]

"""X as users of scikit-learn have it: tables by scikit-learn's own checks, sequences by those of `data.given`."""

import hashlib
import numbers

import numpy as np
from sklearn.utils.validation import check_array

from .. import memory
from ..check.arrays import refuse_masked
from ..data.given import as_steps
from ..data.mapped import Mapped, is_mapped, read
from ..data.scaling import mean_and_deviation
from .frames import match_names, pandas_of

try:
    from sklearn.utils.validation import validate_data as _validate_data
except ImportError:  # before scikit-learn 1.6

    def _validate_data(estimator, X, **options):
        return estimator._validate_data(X, **options)


FLOATS = (np.float64, np.float32)
MOST_COPIES = 4  # as many samples as before, at most, and about as much more time


def validate_data(estimator, X, **options):
    """scikit-learn's own check of X."""
    refuse_masked(X, "X")
    try:
        return _validate_data(estimator, X, **options)
    except OverflowError as error:
        raise ValueError(f"X: expected numbers that a float holds; {error}") from None


def check_sequences(estimator, X, *, reset):
    """X as an array (n, T, I), or for a ragged X a list of arrays (T_i, I), of finite floats.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets `n_features_in_`, T for a table and else I, and `feature_names_in_` of frames with names if `reset`;
        otherwise X is held to them.
    X : array (n, T, I), table (n, T), or list of arrays or frames (T_i, I), or of arrays or series (T_i,)
        A table has one feature per step.
    reset : bool
        Whether this is what the estimator is fitted to.
    """
    X = listed(X)
    if holds_sequences(X):
        return _sequences(estimator, X, reset)
    if reset or estimator._of_table:
        X = validate_data(estimator, X, dtype=FLOATS, reset=reset)
        estimator._of_table = True
    else:
        refuse_masked(X, "X")
        X = check_array(X, dtype=FLOATS)
        check_features(estimator.n_features_in_, 1)
    X = X[:, :, None]
    return Mapped(X, X.dtype) if is_mapped(X) else X


def listed(X):
    """A series of arrays as a list; others as they are."""
    if pandas_of(X) is not None and X.ndim == 1 and X.dtype == object and len(X) and np.ndim(X.iloc[0]) > 0:
        return list(X)
    return X


def holds_sequences(X):
    """Whether X holds an array, not a number, in each of its places: it is no table."""
    if isinstance(X, np.ndarray):
        return X.ndim == 3 or (X.ndim == 1 and X.dtype == object and X.size > 0 and np.ndim(X[0]) > 0)
    if not isinstance(X, (list, tuple)) or not all(hasattr(x, "__len__") and not isinstance(x, str) for x in X):
        return False
    return any(not isinstance(x, (list, tuple)) or (len(x) and hasattr(x[0], "__len__")) for x in X) or (
        len({len(x) for x in X}) > 1  # a list of lists of numbers that is no table
    )


def _sequences(estimator, X, reset):
    if getattr(X, "ndim", 1) != 3:
        X = as_steps(match_names(estimator, list(X), [f"X[{k}]" for k in range(len(X))], reset=reset))
    else:
        match_names(estimator, [], [], reset=reset)
        X = as_steps(X)
    features = X[0].shape[1]
    if reset:
        estimator.n_features_in_ = features
        estimator._of_table = False
    else:
        check_features(1 if estimator._of_table else estimator.n_features_in_, features)
    return X


def check_features(expected, found):
    """Raise where a sequence has not as many features per step as those of the fit."""
    if found != expected:
        raise ValueError(f"X: expected {expected} features per step as in fit, found {found}")


def repeated(weight):
    """(indices, weights): each sample as often as its weight says, each time of weight 1, or as it is.

    Whole numbers that differ count as repetitions as long as they make at most `MOST_COPIES` times as many samples:
    then a weight and its repetitions give the same fit, exactly. Any others stay weights.
    """
    count = len(weight)
    if (weight == weight[0]).all() or (weight % 1).any() or weight.sum() > MOST_COPIES * count:
        return np.arange(count), weight
    indices = np.repeat(np.arange(count), weight.astype(int))
    return indices, np.ones(len(indices))


def in_own_order(x, y, weight):
    """Indices that put the samples in an order of their own, whatever order they come in."""
    digests = bytearray(16 * len(x))
    for k in range(len(x)):
        digest = hashlib.blake2b(np.ascontiguousarray(read(x[k])).data, digest_size=16)
        digest.update(np.ascontiguousarray(y[k]).data)
        digests[16 * k : 16 * (k + 1)] = digest.digest()
    first, second = np.frombuffer(digests, ">u8").reshape(-1, 2).T.astype(np.uint64)
    return np.lexsort((weight, second, first))


def take(values, indices):
    """Those of an array's or a list's entries."""
    return [values[k] for k in indices] if isinstance(values, list) else values[indices]


def check_weights(weight, count):
    """The samples' weights, (count,) in float64, of which at least one is above 0; ones for None."""
    if weight is None or isinstance(weight, numbers.Number):
        weight = np.full(count, 1.0 if weight is None else weight)
    refuse_masked(weight, "sample_weight")
    weight = check_array(weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.shape != (count,):
        raise ValueError(f"sample_weight: expected shape ({count},), one for each sample, found {weight.shape}")
    if (weight < 0).any():
        raise ValueError(f"sample_weight: expected weights of at least 0, found {weight.min()}")
    if not weight.any():
        raise ValueError("sample_weight: expected at least one weight above 0, found all zero")
    return weight


def cast(x, dtype):
    """An array, or a list of them, in `dtype`."""
    return [a.astype(dtype, copy=False) for a in x] if isinstance(x, list) else x.astype(dtype, copy=False)


def framed(x, size):
    """Every `size` steps as one, side by side; the last step is repeated to fill the last frame."""
    if size == 1:
        return x
    if isinstance(x, list):
        return [framed(steps[None], size)[0] for steps in x]
    count, steps, features = x.shape
    frames = -(-steps // size)
    memory.require(2 * x.itemsize * count * frames * size * features, "frame_size", f"frames of {size} steps",
                   "use a smaller one")
    x = np.pad(x, ((0, 0), (0, frames * size - steps), (0, 0)), mode="edge")
    return x.reshape(count, frames, size * features)


class Scaler:
    """Removes the mean of each feature over all steps and divides by its standard deviation.

    Parameters
    ----------
    x : array (n, ..., I), or list of arrays (T_i, I)
    weight : array (n,), optional
        Of each entry of x.

    Attributes
    ----------
    mean, scale : array (I,)
        `scale` is 1 for a feature that does not vary.
    """

    def __init__(self, x, weight=None):
        self.mean, self.scale = mean_and_deviation(x, weight)

    def __call__(self, x, dtype):
        """x on the scale of mean 0 and deviation 1."""
        if isinstance(x, list):
            return [self(a, dtype) for a in x]
        return ((x - self.mean) / self.scale).astype(dtype)

    def back(self, x):
        """The reverse, in float64."""
        return x * self.scale + self.mean

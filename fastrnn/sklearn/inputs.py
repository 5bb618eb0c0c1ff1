"""X as users of scikit-learn have it, tables, arrays of sequences or ragged lists, as (T, I) for each sequence."""

import hashlib
import numbers

import numpy as np
from sklearn.utils.validation import assert_all_finite, check_array

from .. import memory
from ..data.mapped import Mapped, chunks, is_mapped, read
from ..data.scaling import mean_and_deviation

try:
    from sklearn.utils.validation import validate_data as _validate_data
except ImportError:  # before scikit-learn 1.6

    def _validate_data(estimator, X, **options):
        return estimator._validate_data(X, **options)


FLOATS = (np.float64, np.float32)


def validate_data(estimator, X, **options):
    """scikit-learn's own check of X."""
    try:
        return _validate_data(estimator, X, **options)
    except OverflowError as error:
        raise ValueError(f"X: expected numbers that a float holds; {error}") from None


def check_sequences(estimator, X, *, reset):
    """X as an array (n, T, I), or for a ragged X a list of arrays (T_i, I), of finite floats.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets `n_features_in_`, T for a table and else I, and `feature_names_in_` of a table with names if `reset`;
        otherwise X is held to them.
    X : array (n, T, I), table (n, T), or list of arrays (T_i, I) or (T_i,)
        A table has one feature per step.
    reset : bool
        Whether this is what the estimator is fitted to.
    """
    if holds_sequences(X):
        return _sequences(estimator, X, reset)
    if reset or estimator._of_table:
        X = validate_data(estimator, X, dtype=FLOATS, reset=reset)
        estimator._of_table = True
    else:
        X = check_array(X, dtype=FLOATS)
        check_features(estimator.n_features_in_, 1)
    X = X[:, :, None]
    return Mapped(X, X.dtype) if is_mapped(X) else X


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
    if isinstance(X, np.ndarray) and X.ndim == 3 and is_mapped(X):
        X = _in_file(X)
    elif getattr(X, "ndim", 1) == 3:
        X = check_array(X, dtype=FLOATS, allow_nd=True)
        if 0 in X.shape[1:]:
            raise ValueError(f"X: expected at least one step and one feature, found shape {X.shape}")
    else:
        X = check_arrays(X, "X")
    features = X[0].shape[1]
    if reset:
        estimator.n_features_in_ = features
        estimator._of_table = False
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    else:
        check_features(1 if estimator._of_table else estimator.n_features_in_, features)
    return X


def _in_file(X):
    """A memory-mapped X, of which a part is looked at at a time."""
    if not X.size or X.dtype.kind not in "fiub":
        raise ValueError(f"X: expected real numbers, at least one step and one feature; found {X.dtype} of shape "
                         f"{X.shape}")
    X = Mapped(X, X.dtype if X.dtype in FLOATS else np.float64)
    for _, part in chunks(X):
        assert_all_finite(part, input_name="X")
    return X


def check_features(expected, found):
    """Raise where a sequence has not as many features per step as those of the fit."""
    if found != expected:
        raise ValueError(f"X: expected {expected} features per step as in fit, found {found}")


def check_arrays(arrays, name):
    """A list of finite (T_i, I) float arrays with one I and at least one step each; (T_i,) is (T_i, 1)."""
    checked = [_steps(x, f"{name}[{k}]") for k, x in enumerate(arrays)]
    if not checked:
        raise ValueError(f"{name}: expected at least one sequence, found none")
    for k, x in enumerate(checked):
        if x.shape[1] != checked[0].shape[1]:
            raise ValueError(
                f"{name}[{k}]: expected {checked[0].shape[1]} features per step as in {name}[0], found {x.shape[1]}"
            )
    common = np.result_type(*{x.dtype for x in checked})
    return [x.astype(common, copy=False) for x in checked]


def _steps(x, name):
    x = np.asarray(x)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(f"{name}: expected shape (T, I) or (T,) with at least one step, found {x.shape}")
    if x.dtype.kind == "c":
        raise ValueError(f"{name}: expected real numbers, found dtype {x.dtype}")
    if x.dtype not in FLOATS:
        x = x.astype(np.float64)
    assert_all_finite(x, input_name=name)
    return x[:, None] if x.ndim == 1 else x


def distinct(x, y, weight):
    """(indices, weights): one of each distinct sample of weight above 0, in an order of its own, and their weights.

    So a fit depends on neither the order of the samples nor on whether one is repeated or has a weight.
    """
    first, total = {}, {}
    for k in np.flatnonzero(weight):
        digest = hashlib.blake2b(np.ascontiguousarray(read(x[k])).data, digest_size=16)
        digest.update(np.ascontiguousarray(y[k]).data)
        key = digest.digest()
        first.setdefault(key, k)
        total[key] = total.get(key, 0.0) + float(weight[k])
    keys = sorted(first)
    return np.array([first[key] for key in keys], int), np.array([total[key] for key in keys])


def take(values, indices):
    """Those of an array's or a list's entries."""
    return [values[k] for k in indices] if isinstance(values, list) else values[indices]


def check_weights(weight, count):
    """The samples' weights, (count,) in float64, of which at least one is above 0; ones for None."""
    if weight is None or isinstance(weight, numbers.Number):
        weight = np.full(count, 1.0 if weight is None else weight)
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

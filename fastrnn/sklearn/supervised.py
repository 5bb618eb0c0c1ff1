"""What classifier, regressor and tagger share: from X and y to a fit, and from X to outputs."""

import math

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..check.arrays import refuse_masked
from ..check.values import check_bool, check_number, check_option, check_positive_int
from ..data.mapped import Mapped
from ..data.source import is_indexed, is_source, unpacked
from .base import POOLINGS, RecurrentEstimator
from .inputs import Scaler, cast, check_sequences, check_weights, framed, in_own_order, repeated, take

FRAMES = 32  # about as many steps as a network sees of longer sequences if the estimator may choose

# What the docstrings share
POOLED = """bidirectional : bool
        Whether a second set of layers reads the sequence backwards.
    pooling : "last" or "mean"
        What goes to the output layer: each direction's last step, or the mean of all.
    frame_size : int or "auto"
        Steps that are put side by side and enter the network as one. "auto" makes about 32 frames of the mean
        length; sequences that are shorter stay as they are.
"""
STANDARDIZE = """standardize : bool
        Whether to bring each feature to mean 0 and deviation 1 over all steps of the training data. The scale is
        kept and applied in prediction.
"""
HELD = "The part of the samples, drawn at random, that `early_stopping` holds out."
FEATURES = """n_features_in_ : int
        T for a table (n, T), else I, the features per step; `feature_names_in_` for frames with names."""


NOTES = """A sample of weight 2 is worth two of weight 1; one that occurs several times counts as often. Whole numbers
    that differ, and add up to at most four times n, are repetitions: the fit is that of the repeated samples, exactly.
    Other weights are worth their ratio to their mean (`fastrnn.Trainer.fit` has the equation): the same in expectation
    over batches and dropout; and, but for rounding, where a batch holds all samples and nothing is dropped. Equal
    weights are as none. A fit does not depend on the order of the samples."""
BALANCED = """class_weight : dict of label -> weight, "balanced" or None
        Labels that a dict leaves out weigh 1; it names none that does not occur. "balanced" weighs a class by
        W / (K W_k), where W_k is the weight of its targets, W that of all, and K the number of classes.
"""


class SupervisedEstimator(RecurrentEstimator):
    """Base of the estimators that learn y from X.

    A subclass defines ``_encode(y, used, x, anew)``, the targets of the samples `used` as an array or a list with one
    entry for each of x, and `_outputs`, the number that the network puts out.
    """

    _fitted = RecurrentEstimator._fitted | {"frame_size_": check_positive_int}
    _needed = (*RecurrentEstimator._needed, "frame_size_")
    _loss = "cross_entropy"
    pooling = None  # how the network brings its steps down to one
    frame_size = 1

    def _check_params(self):
        super()._check_params()
        check_bool(self.bidirectional, "bidirectional")
        check_bool(self.standardize, "standardize")
        if self.pooling is not None:
            check_option(self.pooling, "pooling", POOLINGS)
        if self.frame_size != "auto":
            check_positive_int(self.frame_size, "frame_size")

    def _fit(self, X, y, sample_weight, *, once=False, mean_weight=None, **labels):
        """`fit`, or with `once` `partial_fit`."""
        if once and y is None and is_source(X):
            return self._fit_batches(X, sample_weight, mean_weight=mean_weight, **labels)
        self._check_params()
        if mean_weight is not None:
            mean_weight = check_number(mean_weight, "mean_weight", above=0)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        refuse_masked(y, "y")
        anew = not (hasattr(self, "network_") and (once or self.warm_start))
        x = check_sequences(self, X, reset=anew)
        check_consistent_length(X, y)
        weight = check_weights(sample_weight, len(x))
        used = np.flatnonzero(weight)
        x, weight = take(x, used), weight[used]
        y = self._encode(y, used, x, anew, **labels)
        indices = in_own_order(x, y, weight)
        if mean_weight is None:
            copies, weight = repeated(weight[indices])
            indices = indices[copies]
        else:
            weight = weight[indices]
        x, y = take(x, indices), take(y, indices)
        if anew or not once:
            self._begin(anew=anew)
        if anew:
            self._scaler = Scaler(x, weight) if self.standardize else None
            self.frame_size_ = self._choose_frame(x, weight)
        self._prepare(y, weight, anew)
        x = self._network_input(x)
        if anew:
            self.network_ = self._network(x[0].shape[-1], self._outputs, self.pooling, self.bidirectional)
        if once:
            self._train_once(x, self._scaled(y), weight, self._loss, mean_weight)
        else:
            held = self._held_out(y) if self.early_stopping else None
            self._train(x, self._scaled(y), weight, self._loss, held)
        return self

    def _fit_batches(self, source, sample_weight, **options):
        """`partial_fit` of one batch after another."""
        if sample_weight is not None:
            raise ValueError("sample_weight: expected None with data that come batch by batch, found "
                             f"{type(sample_weight).__name__}")
        batches = (source[k] for k in range(len(source))) if is_indexed(source) else source
        number = -1
        for number, item in enumerate(batches):
            given = unpacked(item, number, True)
            if given.get("lengths") is not None:
                raise ValueError(f"batch {number}: lengths: expected None, or a list of arrays as X, found others")
            try:
                self._fit(given["X"], given.get("y"), given.get("sample_weight"), once=True, **options)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"batch {number}: {error}") from error
        if number < 0:
            raise ValueError("X: expected at least one batch, found none")
        return self

    def _choose_frame(self, x, weight):
        if self.frame_size != "auto":
            return self.frame_size
        if isinstance(x, list) and (weight != weight[0]).any():
            return math.ceil(np.average([len(steps) for steps in x], weights=weight) / FRAMES)
        steps = sum(map(len, x)) if isinstance(x, list) else len(x) * x.shape[1]
        return -(-steps // (FRAMES * len(x)))

    def _network_input(self, x):
        if isinstance(x, Mapped):
            return x.converted(self._network_input)
        x = cast(x, self.dtype) if self._scaler is None else self._scaler(x, self.dtype)
        return framed(x, self.frame_size_)

    def _raw(self, X):
        """The network's outputs for X."""
        check_is_fitted(self)
        return self._infer(self._network_input(check_sequences(self, X, reset=False)))

    def _held_out(self, y):
        """Which samples to validate with: drawn at random, from each class in proportion where that can be."""
        count = len(y)
        strata = self._strata(y)
        if strata is not None:
            sizes = np.unique(strata, return_counts=True)[1]
            held = int(np.ceil(self.validation_fraction * count))
            strata = strata if sizes.min() > 1 and min(held, count - held) >= len(sizes) else None
        _, out = train_test_split(
            np.arange(count), test_size=self.validation_fraction, random_state=self._seed(), stratify=strata
        )
        return np.isin(np.arange(count), out)

    def _strata(self, y):
        """Classes to keep in proportion."""
        return None

    def _prepare(self, y, weight, anew):
        """Set what is learnt from the targets before training."""

    def _scaled(self, y):
        """The targets as the network learns them."""
        return y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

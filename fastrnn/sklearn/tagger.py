"""RNNTagger: one class for each step of each sequence."""

import numpy as np
from scipy.special import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM
from .checks import check_labels
from .classes import Classes
from .inputs import check_weights
from .supervised import FEATURES, HELD, STANDARDIZE, SupervisedEstimator


class RNNTagger(Classes, SupervisedEstimator):
    __doc__ = f"""Classifies each step of sequences by a recurrent network, softmax and cross-entropy.

    Parameters
    ----------
    {NETWORK}    bidirectional : bool
        Whether a second set of layers reads the sequence backwards, so that a step's class may depend on what follows.
    {STANDARDIZE}    class_weight : dict of label -> weight, "balanced" or None
    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    classes_ : array (K,)
    {FEATURES}
    {FITTED}
    """

    _fitted = SupervisedEstimator._fitted | {"classes_": check_labels}
    _needed = (*SupervisedEstimator._needed, "classes_")

    def __init__(
        self,
        *,
        cell="gru",
        hidden_size=64,
        num_layers=1,
        dropout=0.2,
        bidirectional=True,
        standardize=True,
        class_weight=None,
        learning_rate=0.01,
        weight_decay=0.01,
        epochs="auto",
        batch_size=16,
        clip_norm=1.0,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        dtype="float32",
        random_state=None,
        verbose=False,
    ):
        self._keep(locals())

    def fit(self, X, y, sample_weight=None):
        """Train on sequences and the classes of their steps.

        Parameters
        ----------
        X : array (n, T, I), table (n, T) with one feature per step, or list of arrays (T_i, I) or (T_i,)
        y : array (n, T), or list of arrays (T_i,), of labels
        sample_weight : array (n,), optional
            One weight for each sequence. One of weight 2 counts as if it were there twice, exactly.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One pass over more data at the constant `learning_rate`.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. The first call sets the scale of the features.
        classes : array (K,)
            All labels that there will be; needed in the first call.

        Returns
        -------
        self
        """
        self._check_partial(classes)
        return self._fit(X, y, sample_weight, once=True, classes=classes)

    def predict_proba(self, X):
        """Probability of each of `classes_` at each step: array (n, T, K), or a list of (T_i, K) for a list."""
        raw = self._raw(X)
        return [softmax(y, axis=-1) for y in raw] if isinstance(raw, list) else softmax(raw, axis=-1)

    def predict(self, X):
        """The most probable class of each step: array (n, T), or a list of arrays (T_i,) for a list."""
        raw = self._raw(X)
        if isinstance(raw, list):
            return [self.classes_[y.argmax(axis=-1)] for y in raw]
        return self.classes_[raw.argmax(axis=-1)]

    def score(self, X, y, sample_weight=None):
        """The part of all steps whose class is right; weights as for `fit`."""
        predicted = self.predict(X)
        right = [np.asarray(a) == b for a, b in zip(self._steps(y, predicted), predicted)]
        weight = check_weights(sample_weight, len(right))
        return float(np.dot(weight, [r.sum() for r in right]) / np.dot(weight, [len(r) for r in right]))

    def _encode(self, y, used, x, anew, classes=None):
        labels = self._steps([y[k] for k in used], x)
        joined = np.concatenate(labels)
        check_classification_targets(joined)
        numbers = self._numbers(joined, classes, anew)
        return np.split(numbers, np.cumsum([len(a) for a in labels])[:-1])

    def _scaled(self, y):
        return y if len({len(a) for a in y}) > 1 else np.stack(y)

    def _steps(self, y, x):
        """The labels of each sequence, as many as it has steps."""
        labels = [np.asarray(a) for a in y]
        for k, (a, steps) in enumerate(zip(labels, x)):
            if a.shape != (len(steps),):
                raise ValueError(f"y[{k}]: expected {len(steps)} labels, one for each step of X[{k}]; "
                                 f"found shape {a.shape}")
            if a.dtype.kind == "f":
                assert_all_finite(a, input_name=f"y[{k}]")
        return labels

    def _prepare(self, y, weight, anew):
        self._set_class_weight(np.concatenate(y))

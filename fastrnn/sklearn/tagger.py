"""RNNTagger: one class for each step of each sequence."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from ..check.arrays import refuse_masked
from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM
from .checks import check_labels
from .classes import Classes
from .frames import check_order
from .inputs import check_weights
from .supervised import BALANCED, FEATURES, HELD, NOTES, STANDARDIZE, SupervisedEstimator

if TYPE_CHECKING:
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import ArrayLike, DType, Inputs, Outputs, RandomState, Source


class RNNTagger(Classes, SupervisedEstimator):
    __doc__ = f"""Classifies each step of sequences by a recurrent network, softmax and cross-entropy.

    Parameters
    ----------
    {NETWORK}    bidirectional : bool
        Whether a second set of layers reads the sequence backwards, so that a step's class may depend on what follows.
    {STANDARDIZE}    {BALANCED}    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    classes_ : array (K,)
    {FEATURES}
    {FITTED}

    Notes
    -----
    {NOTES}
    """

    _fitted = SupervisedEstimator._fitted | {"classes_": check_labels}
    _needed = (*SupervisedEstimator._needed, "classes_")

    def __init__(
        self,
        *,
        cell: "Literal['gru', 'lstm', 'rnn']" = "gru",
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.2,
        bidirectional: bool = True,
        standardize: bool = True,
        class_weight: "dict[Any, float] | Literal['balanced'] | None" = None,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        epochs: "int | Literal['auto']" = "auto",
        batch_size: int = 16,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        dtype: "DType" = "float32",
        random_state: "RandomState" = None,
        verbose: bool = False,
    ) -> None:
        self._keep(locals())

    def fit(self, X: "Inputs", y: "Inputs", sample_weight: "ArrayLike | None" = None) -> "Self":
        """Train on sequences and the classes of their steps.

        Parameters
        ----------
        X : array (n, T, I), table (n, T) with one feature per step, or list of arrays (T_i, I) or (T_i,)
            The list may be of frames, matched by the names of their columns, or of series.
        y : array (n, T), or list of arrays (T_i,), of labels
        sample_weight : array (n,), optional
            One weight for each sequence, at least 0, and not all 0; see the notes of the class.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X: "Inputs | Source", y: "Inputs | None" = None, classes: "ArrayLike | None" = None,
                    sample_weight: "ArrayLike | None" = None, mean_weight: float | None = None) -> "Self":
        """One pass over more data at the constant `learning_rate`.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. The first call sets the scale of the features. In place of them X may be a source of
            batches (X, y) or (X, y, sample_weight), such as a generator, as for `fastrnn.Trainer.fit`: one call for
            each.
        classes : array (K,)
            All labels that there will be; needed in the first call.
        mean_weight : float, optional
            What weights, times those of the classes, are divided by. None: their mean over the samples of this call,
            so that they are worth their ratio within it. Give it where several calls bring parts of one data set;
            weights are then no repetitions.

        Returns
        -------
        self
        """
        self._check_partial(classes)
        return self._fit(X, y, sample_weight, once=True, classes=classes, mean_weight=mean_weight)

    def predict_proba(self, X: "Inputs") -> "Outputs":
        """Probability of each of `classes_` at each step: array (n, T, K), or a list of (T_i, K) for a list."""
        raw = self._raw(X)
        return [softmax(y, axis=-1) for y in raw] if isinstance(raw, list) else softmax(raw, axis=-1)

    def predict(self, X: "Inputs") -> "Outputs":
        """The most probable class of each step: array (n, T), or a list of arrays (T_i,) for a list."""
        raw = self._raw(X)
        if isinstance(raw, list):
            return [self.classes_[y.argmax(axis=-1)] for y in raw]
        return self.classes_[raw.argmax(axis=-1)]

    def score(self, X: "Inputs", y: "Inputs", sample_weight: "ArrayLike | None" = None) -> float:
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
        refuse_masked(y, "y")
        for k, a in enumerate(y):
            check_order(a, f"y[{k}]")
        labels = [np.asarray(a) for a in y]
        for k, (a, steps) in enumerate(zip(labels, x)):
            if a.shape != (len(steps),):
                raise ValueError(f"y[{k}]: expected {len(steps)} labels, one for each step of X[{k}]; "
                                 f"found shape {a.shape}")
            if a.dtype.kind == "f":
                assert_all_finite(a, input_name=f"y[{k}]")
        return labels

    def _prepare(self, y, weight, anew):
        self._set_class_weight(np.concatenate(y), np.repeat(weight, [len(steps) for steps in y]))

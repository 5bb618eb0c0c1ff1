"""RNNClassifier: one class for each sequence."""

from typing import TYPE_CHECKING

from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from ..check.arrays import refuse_masked
from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM
from .checks import check_labels
from .classes import Classes
from .supervised import BALANCED, FEATURES, HELD, NOTES, POOLED, STANDARDIZE, SupervisedEstimator

if TYPE_CHECKING:
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import Array, ArrayLike, DType, Inputs, RandomState, Source


class RNNClassifier(ClassifierMixin, Classes, SupervisedEstimator):
    __doc__ = f"""Classifies sequences by a recurrent network, softmax over the classes and cross-entropy.

    Parameters
    ----------
    {NETWORK}    {POOLED}    {STANDARDIZE}    {BALANCED}    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    classes_ : array (K,)
    {FEATURES}
    {FITTED}

    Notes
    -----
    {NOTES}

    Examples
    --------
    >>> from fastrnn.sklearn import RNNClassifier
    >>> X = [[[0.0], [1.0]], [[1.0], [0.0], [0.0]], [[0.1], [0.9]], [[0.9], [0.1]]]  # ragged: (T_i, 1) each
    >>> RNNClassifier(random_state=0).fit(X, ["up", "down", "up", "down"]).predict([[[0.2], [0.8]]])
    array(['up'], dtype='<U4')
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
        pooling: "Literal['last', 'mean']" = "last",
        frame_size: "int | Literal['auto']" = "auto",
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

    def fit(self, X: "Inputs", y: "ArrayLike", sample_weight: "ArrayLike | None" = None) -> "Self":
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array (n, T, I), table (n, T) with one feature per step, or list of arrays (T_i, I) or (T_i,)
            The list may be of frames, matched by the names of their columns, or of series.
        y : array (n,) of labels
        sample_weight : array (n,), optional
            At least 0, and not all 0; see the notes of the class.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X: "Inputs | Source", y: "ArrayLike | None" = None, classes: "ArrayLike | None" = None,
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

    def predict_proba(self, X: "Inputs") -> "Array":
        """Probability of each of `classes_`, array (n, K)."""
        return softmax(self._raw(X), axis=-1)

    def predict_log_proba(self, X: "Inputs") -> "Array":
        """Logarithm of `predict_proba`, array (n, K)."""
        return log_softmax(self._raw(X), axis=-1)

    def predict(self, X: "Inputs") -> "Array":
        """The most probable class of each sequence, array (n,)."""
        best = self._raw(X).argmax(axis=-1)
        return self.classes_[best]

    def score(self, X: "Inputs", y: "ArrayLike", sample_weight: "ArrayLike | None" = None) -> float:
        """The part of the sequences whose class is right; weights as for `fit`."""
        refuse_masked(y, "y")
        refuse_masked(sample_weight, "sample_weight")
        return super().score(X, y, sample_weight)

    def _encode(self, y, used, x, anew, classes=None):
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return self._numbers(y[used], classes, anew)

    def _prepare(self, y, weight, anew):
        self._set_class_weight(y, weight)

    def _strata(self, y):
        return y

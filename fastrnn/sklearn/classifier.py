"""RNNClassifier: one class for each sequence."""

from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM
from .checks import check_labels
from .classes import Classes
from .supervised import FEATURES, HELD, POOLED, STANDARDIZE, SupervisedEstimator


class RNNClassifier(ClassifierMixin, Classes, SupervisedEstimator):
    __doc__ = f"""Classifies sequences by a recurrent network, softmax over the classes and cross-entropy.

    Parameters
    ----------
    {NETWORK}    {POOLED}    {STANDARDIZE}    class_weight : dict of label -> weight, "balanced" or None
    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    classes_ : array (K,)
    {FEATURES}
    {FITTED}

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
        cell="gru",
        hidden_size=64,
        num_layers=1,
        dropout=0.2,
        bidirectional=True,
        pooling="last",
        frame_size="auto",
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
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array (n, T, I), table (n, T) with one feature per step, or list of arrays (T_i, I) or (T_i,)
        y : array (n,) of labels
        sample_weight : array (n,), optional
            A sample of weight 2 counts as if it were there twice, exactly.

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
        """Probability of each of `classes_`, array (n, K)."""
        return softmax(self._raw(X), axis=-1)

    def predict_log_proba(self, X):
        """Logarithm of `predict_proba`, array (n, K)."""
        return log_softmax(self._raw(X), axis=-1)

    def predict(self, X):
        """The most probable class of each sequence, array (n,)."""
        best = self._raw(X).argmax(axis=-1)
        return self.classes_[best]

    def _encode(self, y, used, x, anew, classes=None):
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return self._numbers(y[used], classes, anew)

    def _prepare(self, y, weight, anew):
        self._set_class_weight(y)

    def _strata(self, y):
        return y

"""What the estimators of classes share: labels and their numbers, weights, probabilities."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from ..check.arrays import refuse_masked


class Classes:
    """Mixin of a supervised estimator whose targets are classes; sets `classes_`."""

    classes_: np.ndarray
    _loss = "cross_entropy"

    @property
    def _outputs(self):
        return len(self.classes_)

    def _check_partial(self, classes):
        """The arguments of `partial_fit`."""
        if self.class_weight == "balanced":
            raise ValueError("class_weight: expected weights or None with partial_fit, found 'balanced'")
        if classes is None and not hasattr(self, "network_"):
            raise ValueError("classes: expected all labels in the first call of partial_fit, found None")

    def _numbers(self, labels, classes, anew):
        """The numbers of an array of labels among `classes`, those found if None, which become `classes_`."""
        refuse_masked(classes, "classes")
        found = np.unique(labels)
        if anew:
            self.classes_ = found if classes is None else np.unique(classes)
        unknown = np.setdiff1d(found, self.classes_)
        if len(unknown):
            raise ValueError(f"y: expected classes among {self.classes_}, found {unknown}")
        return np.searchsorted(self.classes_, labels)

    def _set_class_weight(self, numbers):
        """Weigh the classes as `class_weight` says, given an array of all numbers."""
        if self.class_weight is None:
            self._class_weight = None
            return
        weight = np.ones(len(self.classes_))
        present = np.unique(numbers)
        weight[present] = compute_class_weight(
            self.class_weight, classes=self.classes_[present], y=self.classes_[numbers]
        )
        self._class_weight = weight

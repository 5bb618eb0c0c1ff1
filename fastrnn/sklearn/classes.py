"""What the estimators of classes share: labels and their numbers, weights, probabilities."""

import numpy as np

from ..check.arrays import refuse_masked
from ..check.values import check_number, check_option, shown


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

    def _set_class_weight(self, numbers, weight):
        """Weigh the classes as `class_weight` says, given the numbers of all targets and the targets' weights.

        "balanced" weighs a class by W / (K W_k): W_k is the weight of its targets, W that of all, K the number of
        classes that occur.
        """
        given = self.class_weight
        if given is None:
            self._class_weight = None
        elif isinstance(given, str):
            check_option(given, "class_weight", ("balanced",))
            total = np.bincount(numbers, weight, minlength=len(self.classes_))
            present = total > 0
            self._class_weight = np.ones(len(self.classes_))
            self._class_weight[present] = total.sum() / (present.sum() * total[present])
        else:
            self._class_weight = self._weights_of(given)

    def _weights_of(self, given):
        if not isinstance(given, dict):
            raise TypeError("class_weight: expected a dict of label -> weight, 'balanced' or None, "
                            f"found {type(given).__name__}")
        unknown = [label for label in given if label not in set(self.classes_.tolist())]
        if unknown:
            raise ValueError(f"class_weight: expected labels that occur in y, among {self.classes_}; "
                             f"found {', '.join(map(shown, unknown[:5]))}")
        for label, weight in given.items():
            check_number(weight, f"class_weight[{shown(label)}]", low=0)
        return np.array([float(given.get(label, 1)) for label in self.classes_.tolist()])

"""Figures that a trainer reports beside the loss.

A call of a metric is like that of a loss: (prediction, target), and if they matter `lengths`, `sample_weight` and
`batch_first` by keyword. It returns a float: the mean over the valid elements, weighted if there are weights. A loss is
a metric, too; its gradient is ignored. An epoch's figure is the mean over all its elements.
"""

import math
from typing import TYPE_CHECKING

from ..check.arrays import check_real
from ..check.targets import check_element_weights
from ..check.values import check_entries_of, shown
from . import losses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._types import ArrayLike, Ints


def accuracy(prediction: "ArrayLike", target: "ArrayLike", *, lengths: "Ints | None" = None,
             sample_weight: "ArrayLike | None" = None, batch_first: bool = True) -> float:
    """Fraction of the elements that are right.

    Parameters
    ----------
    prediction : array (..., K) of scores, or (...) or (..., 1) of logits
        The predicted class is that of the highest score; a logit above 0 means yes.
    target : int array (...) of classes, or for logits array (...) or (..., 1), above 0.5 for yes
    lengths, sample_weight, batch_first
        As in `fastrnn.losses`.

    Returns
    -------
    float
    """
    prediction, target = check_real(prediction, "prediction"), check_real(target, "target")
    if prediction.shape == target.shape:
        right = (prediction > 0) == (target > 0.5)
    elif prediction.shape[-1:] == (1,) and prediction.shape[:-1] == target.shape:
        right = (prediction[..., 0] > 0) == (target > 0.5)
    elif prediction.shape[:-1] == target.shape and target.dtype.kind in "iu" and prediction.shape[-1]:
        right = prediction.argmax(axis=-1) == target
    else:
        raise ValueError(
            "target: expected int classes, one for each row of scores, or one yes or no for each logit; found "
            f"{target.dtype} of shape {target.shape} for predictions of shape {prediction.shape}"
        )
    weight = check_element_weights(right.shape, lengths, None, sample_weight, batch_first)
    if weight is None:
        return float(right.mean()) if right.size else 0.0
    return float((right * weight).sum() / weight.sum()) if weight.any() else 0.0


class Metric:
    """A function and a final step for its mean: the root of a mean square, the exponential of a mean logarithm.

    Attributes
    ----------
    name : str
    named : bool
        Whether the name alone identifies it, as in a checkpoint.
    """

    def __init__(self, name: str, function: "Callable[..., Any]", finish: "Callable[[float], float]" = float,
                 named: bool = False) -> None:
        self.name, self.function, self.finish, self.named = name, function, finish, named

    def __call__(self, *args: "Any", **options: "Any") -> float:
        value = self.function(*args, **options)
        return float(value[0] if isinstance(value, tuple) else value)


def _exp(x):
    return math.exp(x) if x < 700 else math.inf


_NAMED = {
    "accuracy": (accuracy, float),
    "mse": (losses.mse, float),
    "rmse": (losses.mse, math.sqrt),
    "mae": (losses.mae, float),
    "cross_entropy": (losses.cross_entropy, float),
    "perplexity": (losses.cross_entropy, _exp),
    "bits": (losses.cross_entropy, lambda nats: nats / math.log(2)),
}
# Of a model that puts out the logarithms of the targets' probabilities.
_OF_SCORES = {name: (losses.nll, finish) for name, (function, finish) in _NAMED.items()
              if function is losses.cross_entropy}
_OF_SCORES["nll"] = _NAMED["nll"] = (losses.nll, float)
_TAKEN = ("loss", "lr", "grad_norm", "seconds", "mass", "penalty")


def find_metrics(metrics: "Sequence[str | Callable[..., Any]] | None", scores_target: bool = False) -> "list[Metric]":
    """A list of `Metric` from names and functions; for a model that scores the targets alone, those of its loss."""
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"metrics: expected a sequence of names and functions, found {shown(metrics)}")
    metrics = check_entries_of(() if metrics is None else metrics, "metrics", "a sequence")
    found = [_find(metric, k, _OF_SCORES if scores_target else _NAMED) for k, metric in enumerate(metrics)]
    names = [metric.name for metric in found]
    for k, name in enumerate(names):
        if name in (*_TAKEN, *names[:k]) or name.startswith("val_"):
            raise ValueError(f"metrics[{k}]: expected a name of its own, found {shown(name)}")
    return found


def _find(metric, k, named):
    if isinstance(metric, str):
        if metric not in named:
            raise ValueError(f"metrics[{k}]: expected one of {', '.join(named)} or a function; found {shown(metric)}")
        return Metric(metric, *named[metric], named=True)
    if not callable(metric):
        raise TypeError(f"metrics[{k}]: expected a name or a function, found {type(metric).__name__}")
    return Metric(getattr(metric, "__name__", type(metric).__name__), metric)

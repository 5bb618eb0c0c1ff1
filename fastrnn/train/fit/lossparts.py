"""The loss that a trainer is given: by name or as a function, with its options and its reduction."""

import functools
import inspect
import warnings

import numpy as np

from ...check.saved import check_saved_state, check_text
from ...check.values import check_mapping, check_option, shown
from .. import losses

LOSSES = {function.__name__: function for function in (
    losses.cross_entropy, losses.mse, losses.mae, losses.huber, losses.binary_cross_entropy, losses.quantile,
    losses.gaussian_nll, losses.ctc, losses.nll,
)}  # fmt: skip
DATA_OPTIONS = "lengths", "target_lengths", "mask", "sample_weight", "batch_first"  # that each batch brings


def find_loss(loss, reduction=None):
    """A function of `fastrnn.losses` by its name, or any other function as it is; with a reduction where one is asked
    for."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)} or a function; found {shown(loss)}")
        loss = LOSSES[loss]
    if not callable(loss):
        raise TypeError(f"loss: expected a name or a function, found {type(loss).__name__}")
    if reduction is None:
        check_option(loss_reduction(loss), "reduction", losses.REDUCTIONS)
        return loss
    reduction = check_option(reduction, "reduction", losses.REDUCTIONS)
    if own_loss(loss) is None:
        raise ValueError(f"reduction: expected None with a loss of one's own, which reduces itself; found "
                         f"{shown(reduction)}")
    return loss if reduction == loss_reduction(loss) else functools.partial(loss, reduction=reduction)


def check_scores(loss, model):
    """Raise unless the loss is of what the model puts out: of the scores of the targets alone, it is `nll`."""
    if model.scores_target and own_loss(loss) is not losses.nll:
        name = getattr(own_loss(loss) or loss, "__name__", type(loss).__name__)
        raise ValueError(f"loss: expected 'nll' for a model that scores its targets alone, found {name}")


def own_loss(loss):
    """The function of `fastrnn.losses` that this is, with or without options (functools.partial); else None."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss if LOSSES.get(getattr(loss, "__name__", None)) is loss else None


def loss_reduction(loss):
    """How a loss brings its elements together; one of the caller's own is taken to be a mean."""
    options = loss.keywords if isinstance(loss, functools.partial) and own_loss(loss) is not None else {}
    return options.get("reduction", "mean")


def warn_of_class_weight(loss):
    """Warn the caller of `fit` if class weights of the loss are divided by their sum in each batch."""
    if own_loss(loss) is not losses.cross_entropy or loss_reduction(loss) == "sum":
        return
    weights = loss.keywords.get("class_weight") if isinstance(loss, functools.partial) else None
    if weights is not None and len(set(np.ravel(weights).tolist())) > 1:
        warnings.warn("loss: expected class weights in fit(class_weight=...), found them among the loss's options, "
                      "where each batch divides by their sum: in small batches a class weighs less than they say",
                      stacklevel=3)


def loss_description(loss):
    """The name of one of this package's losses, with its options where there are some; None for any other function."""
    function = own_loss(loss)
    if function is None or loss is function:
        return function and function.__name__
    if loss.args or not all(name not in DATA_OPTIONS and _is_plain(value) for name, value in loss.keywords.items()):
        return None
    return {"name": function.__name__, "options": dict(loss.keywords)}


def described_loss(description):
    """The loss that `loss_description` describes; None for none."""
    if not isinstance(description, dict):
        return description
    check_saved_state(description, ("name", "options"))
    name, options = check_text(description["name"], "loss['name']"), description["options"]
    check_mapping(options, "loss['options']")
    function = find_loss(name)
    known = [name for name, parameter in inspect.signature(function).parameters.items()
             if parameter.kind is parameter.KEYWORD_ONLY and name not in DATA_OPTIONS]
    for key, value in options.items():
        if key not in known or not _is_plain(value):
            raise ValueError(f"loss['options']: expected numbers, texts and arrays of them for {', '.join(known)}; "
                             f"found {key!r:.80} = {shown(value)}")
    if "reduction" in options:
        check_option(options["reduction"], "reduction", losses.REDUCTIONS)
    return functools.partial(function, **options)


def _is_plain(value):
    """Whether a checkpoint holds it: a number, a text, an array or a sequence of numbers."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (bool, int, float, np.number)) for item in value)
    return value is None or isinstance(value, (bool, int, float, str, np.number)) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def takes_labels(loss):
    """Whether the targets of a loss are labels, of any number for each sequence."""
    return own_loss(loss) is losses.ctc

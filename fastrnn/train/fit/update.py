"""One update of a model: the gradient of a few batches, its clipping, the optimiser's step."""

import math
from typing import NamedTuple

import numpy as np

from ...check.params import frozen_names
from ...nn.module import statistics_as_before, walk
from .. import optim
from .figures import names
from .history import NonFiniteError
from .lossparts import loss_reduction, own_loss
from .passes import TrainingPass, add_l2, counted_together, loss_divisor, measure_all, regularizers


class Made(NamedTuple):
    """The figures of an update.

    values : dict of the loss' and the metrics' means.
    penalty : the regularisation's part of the loss.
    mass : the weight of its elements; 0 means that there was no update.
    weight : the divisor of the loss of all batches by their own weights, up to a constant factor.
    divisor : the same by the number of elements and the mean weight of the data, if there is one; see `Update`.
    states : the states of each batch, for the next window.
    norm : the gradient's norm before clipping.
    lr : the rate of the step.
    """

    values: dict
    penalty: float
    mass: float
    weight: float
    divisor: float
    states: list
    norm: float = 0.0
    lr: float = 0.0


class Update:
    """Makes updates with a trainer's model, loss, optimiser, schedule and average, and counts its `step`.

    The gradient of an update whose n valid elements have the losses l_i and the weights w_i is that of

        sum_i w_i l_i / (n m)

    where m is the mean weight of the data: a weight is worth as much in a small batch as in a large one. Without m the
    divisor is the sum of the w_i, which is the same where all are equal. With the reduction "batchmean" n is the number
    of sequences and m their mean weight; with "sum" nothing is divided.

    Parameters
    ----------
    trainer : Trainer
    l2 : dict of parameter -> factor
    mean_weight : float or None
        m.

    Attributes
    ----------
    penalises : bool
        Whether regularisation adds to the loss.
    """

    def __init__(self, trainer, l2, mean_weight=None):
        self._trainer = trainer
        self._l2 = l2
        self._mean_weight = mean_weight
        self._regularizers = regularizers(trainer.model)
        self._writes_statistics = any(module._statistics for module in walk(trainer.model))
        self.penalises = bool(l2 or self._regularizers)

    def make(self, batches, states, on_gradient):
        """Forward, backward, `on_gradient`, clip, step. An error changes only gradients and random state.

        Parameters
        ----------
        batches : sequence of Batch or None
            Windows of the batches that count as one; None for one that has ended.
        states : list or None
            Initial states of these windows.
        on_gradient : function
            Called before clipping.

        Returns
        -------
        Made
        """
        if not self._writes_statistics:
            return self._make(batches, states, on_gradient)
        with statistics_as_before(self._trainer.model):
            return self._make(batches, states, on_gradient)

    def _make(self, batches, states, on_gradient):
        trainer, model = self._trainer, self._trainer.model
        made = self.gradient(batches, states)
        if not made.mass:
            return made
        penalty = made.penalty
        if self._l2:
            penalty += add_l2(model.params, model.grads, self._l2)
        on_gradient()
        grads = model.grads
        norm, scale = self._clip(grads, max(1.0, made.weight / made.divisor))
        lr = trainer.optimizer.lr
        trainer.optimizer.step(model.params, grads, **({"scale": scale} if scale < 1 else {}))
        trainer.step += 1
        if trainer.average is not None:
            trainer.average.after_step(model.params)
        return made._replace(penalty=penalty, norm=norm, lr=lr)

    def gradient(self, batches, states):
        """`Made` without a step: the gradient of the batches' loss is in `model.grads`."""
        trainer, model = self._trainer, self._trainer.model
        states = list(states or [None] * len(batches))
        batches = {k: batch for k, batch in enumerate(batches) if batch is not None}
        per_step = not model.pools_time
        masses = {k: batch.mass(per_step) for k, batch in batches.items()}
        mass = sum(masses.values())
        reduction, divisors, divisor = loss_reduction(trainer.loss), masses, mass
        if reduction != "mean":
            divisors = {k: loss_divisor(trainer.loss, model, batch) for k, batch in batches.items()}
            divisor = sum(divisors.values())
        weight = divisor
        if reduction == "sum":
            divisor = weight = 1.0
            divisors = dict.fromkeys(divisors, divisor)
        elif self._mean_weight is not None:
            counts = (loss_divisor(trainer.loss, model, batch.unweighted()) for batch in batches.values())
            divisor = self._mean_weight * sum(counts)
        model.zero_grad()
        values = dict.fromkeys(names(trainer.metrics), 0.0)
        penalty = 0.0
        with counted_together(self._regularizers, list(batches.values())):
            for k, batch in batches.items():
                run = TrainingPass(model, batch, states[k], self._regularizers)
                states[k] = run.state
                if not masses[k]:
                    if divisor:  # no element counts for the loss, but activations may have a penalty
                        run.backward(np.zeros_like(run.prediction))
                        penalty += run.penalty
                    continue
                part = masses[k] / mass
                loss, gradient, found = measure_all(trainer.loss, trainer.metrics, model, run.prediction, batch)
                if not math.isfinite(loss):
                    raise NonFiniteError(f"{self._where()}: the loss is {loss}")
                values["loss"] += loss * part
                penalty += run.penalty
                for metric, value in zip(trainer.metrics, found):
                    values[metric.name] += value * part
                share = divisors[k] / divisor
                if share != 1 and own_loss(trainer.loss) is not None:   # whose gradient nobody else has
                    gradient *= gradient.dtype.type(share)
                elif share != 1:
                    gradient = gradient * gradient.dtype.type(share)
                run.backward(gradient)
        return Made(values, penalty, mass, weight, divisor, states)

    def _clip(self, grads, weight):
        """(norm of the gradients before clipping, factor that clips it) for the bounds times `weight`.

        Bounds that were no higher for heavy batches would bring heavy rows down to the weight of others. The optimiser
        applies the factor, which saves a pass over the gradients; those of an optimiser of another class are scaled
        here.
        """
        trainer, scale = self._trainer, 1.0
        if trainer.clip_value is not None:
            optim.clip_grad_value(grads, trainer.clip_value * weight)
        if trainer.clip_norm is not None and type(trainer.optimizer).step is not optim.Optimizer.step:
            norm = optim.clip_grad_norm(grads, trainer.clip_norm * weight)
        else:
            norm = optim.grad_norm(grads)
            if trainer.clip_norm is not None:
                scale = optim.clipping_factor(norm, trainer.clip_norm * weight)
        if not math.isfinite(norm):
            frozen = frozen_names(grads)
            bad = [name for name, grad in grads.items() if name not in frozen and not np.isfinite(grad).all()]
            raise NonFiniteError(
                f"{self._where()}: the gradient of {', '.join(bad) or 'all parameters'} is not finite (norm {norm})"
            )
        return norm, scale

    def _where(self):
        return f"epoch {self._trainer.epoch + 1}, step {self._trainer.step + 1} (parameters are as before it)"

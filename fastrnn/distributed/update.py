"""Updates that all ranks make together: gradients and figures summed over ranks."""

import math

import numpy as np

from ..check.params import frozen_names, sparse_rows
from ..train.fit.figures import names as figure_names
from ..train.fit.history import NonFiniteError
from ..train.fit.lossparts import loss_reduction
from ..train.fit.update import Made, Update


class SharedUpdate(Update):
    """An `Update` whose batches are shared out among ranks; every rank makes the same step.

    Parameters
    ----------
    trainer, l2
        As for `Update`.
    data : Share
        Its mean weight is that of all ranks' rows.
    order_seed : int
        That dropout masks are drawn from, together with the step and the rank.
    ranks : Ranks
    wishes : Wishes
        Summed along with the gradients.
    merged : MergedStates
    """

    def __init__(self, trainer, l2, data, order_seed, ranks, wishes, merged):
        super().__init__(trainer, l2, data.mean_weight)
        self._data, self._order_seed = data, order_seed
        self._ranks, self._wishes, self._merged = ranks, wishes, merged
        self._names = self._flat = self._pieces = None  # all gradients side by side, and each of them there

    def gradient(self, batches, states):
        """As `Update.gradient`, of all ranks' rows; the states are those of this rank's."""
        trainer = self._trainer
        trainer.model.set_rng(np.random.default_rng([self._order_seed, trainer.step, self._ranks.rank]))
        error = None
        try:
            made = super().gradient(batches, states)
        except NonFiniteError as found:
            error = found
            made = Made(dict.fromkeys(figure_names(trainer.metrics), math.nan), 0.0, 1.0, 1.0, 1.0, None)
        sums = [value * made.mass for value in made.values.values()]
        sums += [made.mass, made.penalty * made.divisor, made.weight, made.divisor, *self._wishes.counts()]
        *totals, mass, penalty, weight, divisor, stop, interrupt = self._combine(sums, made.divisor)
        self._wishes.heed([stop, interrupt])
        values = {name: value / mass if mass else 0.0 for name, value in zip(made.values, totals)}
        if not math.isfinite(values["loss"]):
            raise NonFiniteError(f"{self._where()}: the loss is {values['loss']}") from error
        if trainer.model.recurrent and (self._data.carries or self._data.window is not None):
            self._merged.join(made.states, self._data.rows)
        return Made(values, penalty / divisor if divisor else 0.0, mass, weight, divisor, made.states)

    def _combine(self, sums, divisor):
        """The sums over all ranks, and in `model.grads` the gradient of the loss of all.

        One buffer goes out after BPTT. A sum for each layer during BPTT gains little, because MPI sums on the core that
        computes (bench/NOTES.md, One buffer for the sum over ranks).
        """
        totals = np.array(sums, np.float64)
        finish_totals = self._ranks.start_adding(totals)
        grads = self._trainer.model.grads
        names, sparse = grads.keys() - frozen_names(grads), sparse_rows(grads)
        named = [(name, grad) for name, grad in grads.items() if name in names]
        grads = [grad for _, grad in named]
        if self._flat is None or names != self._names:
            self._names = names
            self._flat = np.empty(sum(g.size for g in grads), np.result_type(*grads))
            pieces = np.split(self._flat, np.cumsum([g.size for g in grads])[:-1])
            self._pieces = [piece.reshape(g.shape) for piece, g in zip(pieces, grads)]
        for piece, g in zip(self._pieces, grads):
            np.multiply(g, divisor, out=piece, casting="same_kind")
        finish = self._ranks.start_adding(self._flat)
        finish_totals()
        finish()
        total = 1.0 if loss_reduction(self._trainer.loss) == "sum" else totals[-3]
        factor = 1 / total if total else 0.0
        for piece, (name, g) in zip(self._pieces, named):
            if name in sparse:  # other ranks have added to other rows
                sparse[name].assign(piece * piece.dtype.type(factor), name)
            else:
                np.multiply(piece, factor, out=g, casting="same_kind")
        return totals.tolist()

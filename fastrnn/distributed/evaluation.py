"""Figures of data whose sequences are shared out among ranks."""

from ..train.fit.evaluation import Evaluation
from ..train.fit.figures import names


class SharedEvaluation(Evaluation):
    """An `Evaluation` of a `Share`, whose figures are those of all ranks' rows.

    Parameters
    ----------
    model, loss, metrics
        As for `Evaluation`.
    ranks : Ranks
    wishes : Wishes
        Summed along with the figures.
    """

    def __init__(self, model, loss, metrics, ranks, wishes):
        super().__init__(model, loss, metrics)
        self._ranks, self._wishes = ranks, wishes

    def figures(self, data, *args, **options):
        """As `Evaluation.figures`; a call of all ranks."""
        return super().figures(data.own(), *args, **options)

    def total(self, sums, mass):
        """The sums over all ranks' elements and their mass."""
        measured = names(self._metrics)
        here = [*(sums.get(name, 0.0) for name in measured), mass, *self._wishes.counts()]
        *totals, mass, stop, interrupt = self._ranks.total(here)
        self._wishes.heed([stop, interrupt])
        return dict(zip(measured, totals)), mass

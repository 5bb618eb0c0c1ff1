"""`GradientMonitor`: a diagnosis every so many updates, while a `Trainer` fits."""

import sys
from typing import TYPE_CHECKING

from ..check.values import check_bool, check_positive_int
from ..train.callbacks import Callback
from . import probe
from .diagnose import look, probe_batch
from .plot import check_plot, plot_history
from .report import Diagnosis, _number, table

if TYPE_CHECKING:
    from typing import Any

    from .._types import Inputs, Ints, PathLike, Trainer
    from ..data.batches import LaneStream
    from .findings import Finding


class GradientMonitor(Callback):
    """Looks at the model at the start of a fit and every `every` updates, and tells when the verdict changes.

    It runs forward and backward passes of its own, over a probe batch, after an update; the training goes on as it
    would have without it, bit for bit. Checkpoints keep its records.

    Parameters
    ----------
    X, y, lengths
        Sequences and targets of the probe batch, as for `Trainer.fit`: validation data, or a part of the training
        data.
    every : int
        Updates from one look to the next.
    sequences : int
        So many are looked at, the first ones; of a `LaneStream` its first window.
    show : bool
        Write a line to standard error whenever the kinds of findings change.
    plot : str or path-like, optional
        A .png, .svg or .pdf that is drawn anew at every look; needs Matplotlib (``fastrnn[plot]``).

    Attributes
    ----------
    records : list of Diagnosis
        One for each look, `step` saying when; their `weights` tell the size of the update before.

    Raises
    ------
    ValueError, TypeError, ImportError
        Naming the argument; for the data at the start of the fit.

    Notes
    -----
    Each look costs about three training steps over the probe batch and the eigenvalues of the recurrent matrices; see
    `diagnose`.
    """

    def __init__(self, X: "Inputs | LaneStream", y: "Inputs | None" = None, *, lengths: "Ints | None" = None,
                 every: int = 100, sequences: int = 32, show: bool = True, plot: "PathLike | None" = None) -> None:
        self.data = (X, y, lengths)
        self.every = check_positive_int(every, "every")
        self.sequences = check_positive_int(sequences, "sequences")
        self.show = check_bool(show, "show")
        if plot is not None:
            check_plot(plot, "plot")
        self.plot_path = plot
        self.records: list[Diagnosis] = []
        self._batch = self._before = None

    @property
    def findings(self) -> "list[Finding]":
        """The findings of the last look; empty before the first."""
        return self.records[-1].findings if self.records else []

    def on_fit_begin(self, trainer: "Trainer") -> None:
        self._batch = probe_batch(trainer.model, trainer.loss, *self.data, self.sequences)
        if not (self.records and self.records[-1].step == trainer.step):
            self._look(trainer, None)

    def on_gradient(self, trainer: "Trainer") -> None:
        """Keep the parameters from before an update that ends in a look."""
        if (trainer.step + 1) % self.every == 0:
            self._before = {name: p.copy() for name, p in trainer.model.params.items()}

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        if trainer.step % self.every == 0:
            change = {name: p - self._before[name] for name, p in trainer.model.params.items()}
            self._before = None
            self._look(trainer, probe.group_norms(trainer.model, change))

    def on_fit_end(self, trainer: "Trainer") -> None:
        self._before = None

    def _look(self, trainer, updates):
        kinds = self.records[-1].kinds if self.records else None
        found = look(trainer.model, trainer.loss, self._batch, updates, trainer.step)
        self.records.append(found)
        if self.show and found.kinds != kinds:
            _say(f"step {found.step:,}: {_brief(found)}")
        if self.plot_path is not None:
            self.plot(self.plot_path)

    def __str__(self):
        """A row for each look."""
        head = ["step", "loss", "layer", "per step", "vanishes", "explodes", "most stuck", "radius", "update / norm"]
        rows = []
        for record in self.records:
            for k, layer in enumerate(record.layers):
                start = [f"{record.step:,}", _number(record.loss)] if k == 0 else ["", ""]
                decay = layer.decay
                limits = ["-"] * 3
                if decay is not None:
                    ends = ("-" if at is None else f"at {at}" for at in (decay.vanishes, decay.explodes))
                    limits = ["-" if decay.factor is None else f"{decay.factor:.3f}", *ends]
                stuck = max(layer.gates.items(), key=lambda item: item[1].stuck, default=None)
                stuck = "-" if stuck is None else f"{stuck[0]} {stuck[1].stuck:.0%}"
                radius = max((found.radius for found in layer.spectra.values()), default=None)
                update = _number(record.weights[layer.name].update)
                rows.append([*start, layer.name, *limits, stuck, "-" if radius is None else f"{radius:.3f}", update])
        return table([head, *rows])

    def plot(self, path: "PathLike") -> None:
        """Draw decay, gates, spectra and updates over the training; needs Matplotlib (``fastrnn[plot]``)."""
        plot_history(self.records, path)

    def state_dict(self) -> "dict[str, Any]":
        """What a checkpoint keeps: the records."""
        return {"records": [record.to_dict() for record in self.records]}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        """Take back what `state_dict` gave."""
        self.records = [Diagnosis.from_dict(record) for record in state["records"]]


def _brief(found):
    if not found.findings:
        return "healthy"
    return "; ".join(
        f"{f.kind}{' ' * bool(f.where)}{f.where}{f' at {f.steps} steps' if f.steps is not None else ''}"
        for f in found.findings
    )


def _say(line):
    """To standard error, above a bar if there is one."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)

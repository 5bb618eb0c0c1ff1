"""`Diagnosis`: what was measured of a model, as numbers, as text, and as a picture."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..check.values import shown
from . import findings
from .measures import Decay, Gate, Spectrum

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from .._types import PathLike
    from .findings import Finding


@dataclass(frozen=True, eq=False)
class Layer:
    """One direction of one recurrent layer.

    Attributes
    ----------
    name : str
        The module's index in its `Sequential` (or none), and the suffix of its parameters: "1.l0_reverse".
    kind : str
        "RNN", "LSTM", "GRU", "MinGRU", "MinLSTM", "SRU" or "QRNN".
    decay : Decay or None
        None where no gradient came.
    gates : dict of str to Gate
        LSTM: input, forget, cell, output. GRU: reset, update, new. A tanh RNN: state, which is h. MinGRU: keep, which
        is 1 - z. MinLSTM: forget, input, normalised. SRU: forget, reset. QRNN: candidate, forget, output.
    dead : float or None
        Of a ReLU RNN, the share of units that are 0 at every step.
    spectra : dict of str to Spectrum
        Of the recurrent matrix, a gate's rows at a time (with a projection times weight_hr); empty without one.
    """

    name: str
    kind: str
    decay: Decay | None
    gates: dict[str, Gate]
    dead: float | None
    spectra: dict[str, Spectrum]


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer, as one vector.

    Attributes
    ----------
    norm : float
    gradient : float
        Norm of the gradient of the loss, None where the loss is not finite.
    update : float or None
        Norm of the last update over `norm`; None where there was none, as where all are frozen.
    """

    norm: float
    gradient: float | None
    update: float | None = None

    @property
    def ratio(self) -> float | None:
        """`gradient` over `norm`; None where either is missing."""
        return self.gradient / self.norm if self.norm and self.gradient is not None else None


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` and `GradientMonitor` find.

    Attributes
    ----------
    loss : float
    sequences : int
        How many were looked at.
    layers : list of Layer
    weights : dict of str to Weights
        By layer, the layers without a state included.
    step : int or None
        Of the trainer.
    findings : list of Finding
        What is wrong, the gravest first; empty for a healthy network.
    """

    loss: float
    sequences: int
    layers: list[Layer]
    weights: dict[str, Weights]
    step: int | None = None
    findings: "list[Finding]" = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "findings", findings.judge(self))

    @property
    def kinds(self) -> set[str]:
        """The set of the findings' kinds."""
        return {finding.kind for finding in self.findings}

    @property
    def verdict(self) -> str:
        """str: the findings with their remedies, or "healthy" and by how much."""
        return "\n".join(map(str, self.findings)) or findings.healthy_text(self)

    def to_dict(self) -> "dict[str, Any]":
        """dict of plain values and arrays, which `from_dict` takes back."""
        found = dataclasses.asdict(self)
        del found["findings"]
        return found

    @classmethod
    def from_dict(cls, found: "dict[str, Any]") -> "Self":
        """The diagnosis that `to_dict` described."""
        layers = [
            Layer(
                **{
                    **layer,
                    "decay": None if layer["decay"] is None else Decay(**layer["decay"]),
                    "gates": {name: Gate(**gate) for name, gate in layer["gates"].items()},
                    "spectra": {name: Spectrum(**values) for name, values in layer["spectra"].items()},
                }
            )
            for layer in found["layers"]
        ]
        weights = {name: Weights(**values) for name, values in found["weights"].items()}
        return cls(**{**found, "layers": layers, "weights": weights})

    def plot(self, path: "PathLike") -> None:
        """Draw decay, gates and weights into a .png, .svg or .pdf; needs Matplotlib (``fastrnn[plot]``)."""
        from .plot import plot_diagnosis

        plot_diagnosis(self, path)

    def __str__(self):
        head = "" if self.step is None else f"step {self.step:,}, "
        parts = [f"{head}loss {self.loss:.4g} over {self.sequences} sequences"]
        parts += [part for part in (self._decays(), self._gates(), self._spectra(), self._weights()) if part]
        return "\n\n".join([*parts, f"verdict: {self.verdict}"])

    def _decays(self):
        found = {layer.name: layer.decay for layer in self.layers if layer.decay is not None}
        return decay_table(found, "layer") if found else ""

    def _gates(self):
        rows = [
            [f"{layer.name} {name}", f"{g.mean:.3f}", *map(_percent, (g.left, g.right, g.shut, g.open)), _bars(g)]
            for layer in self.layers
            for name, g in layer.gates.items()
        ]
        rows += [[f"{x.name} dead", "", "", "", _percent(x.dead), ""] for x in self.layers if x.dead is not None]
        head = ["gate", "mean", "left-sat.", "right-sat.", "stuck low", "stuck high", "histogram"]
        return table([head, *rows], last_left=True) if rows else ""

    def _spectra(self):
        rows = [
            [f"{layer.name} {name}", f"{s.radius:.3f}", f"{s.norm:.3f}"]
            for layer in self.layers
            for name, s in layer.spectra.items()
        ]
        return table([["recurrent matrix", "spectral radius", "largest singular value"], *rows]) if rows else ""

    def _weights(self):
        rows = [
            [name or "model", _number(w.norm), _number(w.gradient), _number(w.ratio), _number(w.update)]
            for name, w in self.weights.items()
        ]
        return table([["parameters of", "norm", "gradient", "gradient / norm", "update / norm"], *rows])


def decay_table(decays: "dict[str, Decay]", title: str) -> str:
    """Text: a row for each name and `Decay`, |dE/dh_t| at a few distances, relative to distance 1."""
    if not isinstance(decays, Mapping) or not decays or not all(isinstance(d, Decay) for d in decays.values()):
        raise TypeError(f"decays: expected a dict of name -> Decay, found {shown(decays)}")
    longest = max(len(decay.norms) for decay in decays.values())
    distances = sorted({d for d in (1, 5, 10, 20, 50, 100, 200, 500, 1000, longest - 1) if 0 < d < longest})
    rows = [[title, "|dE/dh| at 1", *(f"g({d})/g(1)" for d in distances[1:]), "per step", "vanishes", "explodes"]]
    for name, decay in decays.items():
        norms = decay.norms
        cells = [_number(float(norms[1])) if len(norms) > 1 else "-"]
        cells += [_number(float(norms[d] / norms[1])) if d < len(norms) and norms[1] else "-" for d in distances[1:]]
        at = ["-" if k is None else f"at {k}" for k in (decay.vanishes, decay.explodes)]
        rows.append([name, *cells, "-" if decay.factor is None else f"{decay.factor:.3f}", *at])
    return table(rows)


def table(rows, last_left=False):
    """Text of rows of strings under a head, the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        if last_left and len(row) == len(widths):
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value):
    if value is None:
        return "-"
    if value == 0 or (math.isfinite(value) and 0.01 <= abs(value) < 1000):
        return f"{value:.3g}"
    return f"{value:.1e}"


def _percent(share):
    return f"{share:.0%}"


def _bars(gate):
    """A histogram in ten characters of ASCII, from the low end of the range to the high."""
    shares = gate.histogram.reshape(10, -1).sum(axis=1)
    marks = " .:-=+*#%@"
    top = shares.max()
    return "|" + "".join(marks[min(int(np.ceil(9 * share / top)), 9)] for share in shares) + "|"

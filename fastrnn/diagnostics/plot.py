"""Pictures of diagnoses, with Matplotlib."""

import importlib.util
import io
from typing import TYPE_CHECKING

import numpy as np

from ..files.wholefile import check_writable, write_whole
from . import criteria

if TYPE_CHECKING:
    from .._types import PathLike
    from .measures import Decay

FORMATS = "png", "svg", "pdf"


def check_plot(path, name):
    """Raise an error if no picture can be made, or written to `path`.

    Raises
    ------
    ImportError
        Where Matplotlib is missing, with what installs it.
    ValueError, TypeError
        For another suffix, or a path that cannot be written.
    """
    if str(path).rpartition(".")[2].lower() not in FORMATS:
        raise ValueError(f"{name}: expected a name that ends in .png, .svg or .pdf, found {str(path)!r}")
    check_writable(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(f'{name}: expected Matplotlib, found none: pip install "fastrnn[plot]"')


def plot_decays(decays: "dict[str, Decay]", path: "PathLike", *,
                title: str = "Gradient of the last step's loss, by distance back") -> None:
    """Draw |dE/dh_t| by distance, a line for each name of a dict of `Decay`, with the limits of the verdict.

    Parameters
    ----------
    decays : dict of str to Decay
    path : str or path-like
        A .png, .svg or .pdf; written whole or not at all.
    title : str

    Raises
    ------
    ImportError, ValueError, TypeError
        See `check_plot`.
    """
    figure = _figure(path, (7.5, 4.5))
    _draw_decays(figure.subplots(), decays, title)
    _save(figure, path)


def plot_diagnosis(diagnosis, path):
    """See `Diagnosis.plot`."""
    gates = [(f"{layer.name} {name}", gate) for layer in diagnosis.layers for name, gate in layer.gates.items()]
    figure = _figure(path, (11, 4 + 0.3 * max(len(gates), len(diagnosis.weights))))
    left, middle, right = figure.subplots(1, 3, width_ratios=(3, 2, 2))
    decays = {layer.name: layer.decay for layer in diagnosis.layers if layer.decay is not None}
    _draw_decays(left, decays, "|dE/dh_t| by distance, over g(1)")
    middle.set_title("Gate values: share per bin", fontsize=9)
    if gates:
        middle.imshow([g.histogram for _, g in gates], aspect="auto", cmap="Blues", extent=(0, 1, len(gates), 0))
        middle.set_yticks(np.arange(len(gates)) + 0.5, [name for name, _ in gates], fontsize=7)
        middle.set_xticks((0, 0.5, 1), ("lowest", "middle", "highest"), fontsize=7)
    else:
        middle.set_axis_off()
    names = list(diagnosis.weights)
    places = np.arange(len(names))
    for shift, what in (-0.2, "ratio"), (0.2, "update"):
        values = [getattr(diagnosis.weights[name], what) for name in names]
        kept = [(place + shift, value) for place, value in zip(places, values) if value]
        if kept:
            label = "gradient / norm" if what == "ratio" else "update / norm"
            right.barh(*zip(*kept), height=0.35, label=label, log=True)
    right.set_yticks(places, [name or "model" for name in names], fontsize=7)
    right.invert_yaxis()
    right.set_title("Parameters", fontsize=9)
    if right.patches:
        right.legend(fontsize=7)
    _save(figure, path)


def plot_history(records, path):
    """See `GradientMonitor.plot`."""
    figure = _figure(path, (11, 7))
    (factor, stuck), (radius, update) = figure.subplots(2, 2, sharex=True)
    series = {axis: {} for axis in (factor, stuck, radius, update)}

    def add(axis, label, step, value):
        if value is not None:
            series[axis].setdefault(label, []).append((step, value))

    for record in records:
        for layer in record.layers:
            if layer.decay is not None:
                add(factor, layer.name, record.step, layer.decay.factor)
            for name, gate in layer.gates.items():
                add(stuck, f"{layer.name} {name}", record.step, gate.left + gate.right)
            for name, found in layer.spectra.items():
                add(radius, f"{layer.name} {name}", record.step, found.radius)
        for name, found in record.weights.items():
            add(update, name or "model", record.step, found.update)
    titles = {
        factor: "Gradient: multiplied at each step by",
        stuck: "Saturated gate values (share)",
        radius: "Spectral radius of the recurrent matrices",
        update: "Update / norm of the parameters",
    }
    for axis, title in titles.items():
        axis.set_title(title, fontsize=9)
        for label, points in series[axis].items():
            axis.plot(*zip(*points), marker=".", markersize=3, linewidth=1, label=label)
        if series[axis]:
            axis.legend(fontsize=6)
    if any(value for points in series[update].values() for _, value in points):
        update.set_yscale("log")
    for axis in radius, update:
        axis.set_xlabel("update", fontsize=8)
    _save(figure, path)


def _draw_decays(axis, decays, title):
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("steps back", fontsize=8)
    axis.set_ylabel("g(k) / g(1)", fontsize=8)
    axis.set_yscale("log")
    smallest, largest = criteria.FALL**2, criteria.RISE**2
    for name, decay in decays.items():
        if len(decay.norms) > 1 and decay.norms[1] > 0:
            axis.plot(decay.norms / decay.norms[1], linewidth=1.2, label=name)
    for limit in criteria.FALL, criteria.RISE:
        axis.axhline(limit, color="grey", linewidth=0.7, linestyle="--")
    axis.set_ylim(smallest, largest)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=7)


def _figure(path, size):
    check_plot(path, "path")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure, path):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=str(path).rpartition(".")[2].lower(), dpi=110)
    write_whole(path, buffer.getvalue())

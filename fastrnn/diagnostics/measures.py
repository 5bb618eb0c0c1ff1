"""From arrays to numbers: decay with distance, gate values, spectra."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._onethread import one_thread
from ..check.arrays import check_floats
from ..nn._init import WORTH_HOLDING
from . import criteria

if TYPE_CHECKING:
    from .._types import ArrayLike


@dataclass(frozen=True, eq=False)
class Decay:
    """How the gradient of the loss at a sequence's end changes on its way back.

    Attributes
    ----------
    norms : float64 array (K,)
        g(k), the norm of dE/dh_t at k steps from the end, in units of the loss over those of h.
    factor : float or None
        What g is multiplied by at each step, the geometric mean from distance 1 to where it vanishes, explodes or
        ends; None for fewer than three distances.
    vanishes, explodes : int or None
        The distance from which on it stays under `FALL` g(1), and the first at which it is over `RISE` g(1).
    """

    norms: np.ndarray
    factor: float | None
    vanishes: int | None
    explodes: int | None

    def steps_to(self, ratio: float) -> float:
        """At how many steps g would be `ratio` of g(1) if it went on as `factor` says; inf if never."""
        if self.factor == 0:
            return 1.0 if ratio < 1 else math.inf
        if self.factor in (None, 1) or not math.isfinite(self.factor):
            return math.inf
        steps = 1 + math.log(ratio) / math.log(self.factor)
        return steps if steps > 0 else math.inf


@dataclass(frozen=True, eq=False)
class Gate:
    """The values of one gate of one layer, over all valid steps and sequences.

    Attributes
    ----------
    low, high : float
        The range of the values: 0 to 1 for a sigmoid, -1 to 1 for a tanh.
    histogram : float64 array (BINS,)
        Shares of the values in equal bins of the range.
    mean : float
    left, right : float
        Shares of the values in the lowest and the highest tenth of the range.
    shut, open : float
        Shares of the units that are stuck at the low and at the high end.
    stuck : float
        Share of the units that are stuck at either, or at both in turn.
    """

    low: float
    high: float
    histogram: np.ndarray
    mean: float
    left: float
    right: float
    shut: float
    open: float
    stuck: float


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Spectral radius (largest absolute eigenvalue) and norm (largest singular value) of a matrix."""

    radius: float
    norm: float


def decay_of(norms):
    """The `Decay` of norms by distance."""
    norms = np.array(norms, np.float64)
    norms[np.isnan(norms)] = np.inf
    if len(norms) < 3 or not norms.any():
        return Decay(norms, None, None, None)
    reference = norms[1] if norms[1] > 0 else norms[0]
    with np.errstate(over="ignore"):
        above = np.flatnonzero((norms > criteria.RISE * reference) | np.isinf(norms))
    explodes = int(above[0]) if above.size else None
    kept = np.flatnonzero(~(norms < criteria.FALL * reference))
    after = int(kept[-1]) + 1
    vanishes = after if after < len(norms) else None
    last = next((k for k in (explodes, vanishes) if k is not None), len(norms) - 1)
    usable = np.flatnonzero((norms[: last + 1] > 0) & np.isfinite(norms[: last + 1]))
    last = int(usable[-1]) if usable.size else 0
    if last > 1:
        factor = float(math.exp(math.log(norms[last] / reference) / (last - 1)))
    else:
        factor = 0.0 if explodes is None else math.inf
    return Decay(norms, factor, vanishes, explodes)


def norms_by_distance(dh, lengths, from_end):
    """Root mean square over the sequences of |dh| (T, B, P) at each distance, float64 (longest length,).

    Distances are from each sequence's last valid step (int array `lengths`), or from its first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("tbp,tbp->tb", dh, dh, dtype=np.float64)
        distance = np.arange(int(lengths.max(initial=0)))[:, None]
        valid = distance < lengths
        at = np.maximum(lengths - 1 - distance, 0) if from_end else np.broadcast_to(distance, valid.shape)
        found = np.where(valid, np.take_along_axis(squares, at, axis=0), 0)
        return np.sqrt(found.sum(axis=1) / valid.sum(axis=1))


def gate_of(values, tanh=False, holds=False):
    """The `Gate` of values (n, H), n valid steps; `holds`: an open one keeps what a unit remembers."""
    unit = (values.astype(np.float64) + 1) / 2 if tanh else values.astype(np.float64)
    histogram = np.histogram(unit, criteria.BINS, (0, 1))[0] / max(unit.size, 1)
    slope = 4 * unit * (1 - unit)  # over its largest, for a sigmoid; for a tanh v, 1 - v^2, it is the same
    shut = (slope < criteria.SLOPE) & (unit < 0.5)
    opened = (slope < (criteria.HOLDING_SLOPE if holds else criteria.SLOPE)) & (unit > 0.5)
    return Gate(
        -1.0 if tanh else 0.0,
        1.0,
        histogram,
        float(values.mean(dtype=np.float64)),
        float((unit < criteria.LEFT).mean()),
        float((unit > criteria.RIGHT).mean()),
        _stuck(shut),
        _stuck(opened),
        _stuck(shut | opened),
    )


def _stuck(flat):
    """Share of the columns that are true in most of the rows."""
    return float((flat.mean(axis=0) >= criteria.MOST_STEPS).mean())


def dead_units(h):
    """Share of the columns of h (n, H) that are 0 in every row."""
    return float((h == 0).all(axis=0).mean())


def spectrum(matrix: "ArrayLike") -> "Spectrum":
    """The `Spectrum` of a square matrix; NaN where it holds one that is not finite.

    Raises
    ------
    ValueError, TypeError
        For anything but a square matrix of real numbers.
    """
    matrix = check_floats(matrix, "matrix")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"matrix: expected a square matrix, found shape {matrix.shape}")
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        return Spectrum(math.nan, math.nan)
    with one_thread if len(matrix) >= WORTH_HOLDING else nullcontext():
        return Spectrum(float(np.abs(np.linalg.eigvals(matrix)).max()), float(np.linalg.norm(matrix, 2)))

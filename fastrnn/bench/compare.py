"""Whether two libraries did the same work."""

import numpy as np

from .problem import valid_steps

# Largest error in units of the largest magnitude of the expected array; float32, sums in another order.
TOLERANCE = {
    "step": 1e-5,
    "sequence": 1e-5,
    "ragged": 1e-5,
    "training": 1e-4,
    "ragged training": 1e-4,
    "loop": 1e-3,
}


def difference(cell, ours, theirs, lengths=None):
    """The largest absolute error of any array, in units of the largest magnitude in ours.

    Outputs beyond a sequence's length do not count. An array that is missing or not finite is an infinite
    error.
    """
    worst = 0.0
    for name, expected in ours.items():
        found = theirs.get(name)
        if found is None or found.shape != expected.shape:
            return float("inf")
        error = np.abs(found - expected)
        if name == "y" and lengths is not None:
            error = np.where(valid_steps(lengths, cell.steps), error, 0)
        error = error.max() / max(np.abs(expected).max(), 1e-30)
        worst = max(worst, float(error) if np.isfinite(error) else float("inf"))
    return worst

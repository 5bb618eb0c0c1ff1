"""Every tolerance of the tests, with its reason, and the one measure of error that they share."""

import numpy as np

TABLE = {
    "finite differences, relative": (
        5e-6,
        "each element of a gradient; a wrong term in an equation is off by 1e-2 or more",
    ),
    "finite differences, absolute": (
        1e-9,
        "elements near 0: rounding of a loss of size 10 over the step, 10 * 1e-16 / 1e-4, times a hundred",
    ),
    "engine, float32": (
        3e-6,
        "float32 against the float64 reference: the reference's own equations in float32 are within 1e-6",
    ),
    "engine, float64": (2e-14, "sums in another order than the reference's: a hundred roundings of 1e-16"),
    "engine, dropping, float32": (1e-5, "the same; what is left is scaled by up to ten"),
    "engine, dropping, float64": (1e-13, "the same in float64"),
    "engine, layer-normalised, float32": (
        1e-3,
        "the same; a norm divides by the spread of its row, which may be a few hundredths of the values; measured 4e-4",
    ),
    "engine, layer-normalised, float64": (1e-12, "the same in float64"),
    "engine, smallest scale": (
        0.1,
        "terms are of size one; a gradient that cancels below a tenth keeps the rounding of its terms",
    ),
    "activations, ULP": (4.0, "the bound that src/kernels/math.inc.h promises; measured 1.1 to 2.6"),
    "instruction sets, float32": (
        3e-6,
        "sums fused or not, and in vectors of another width; relative to the largest",
    ),
    "instruction sets, float64": (1e-13, "the same in float64"),
    "torch, float32": (
        3e-6,
        "two float32 implementations that sum in different orders; each is within 2e-6 of float64",
    ),
    "torch, float64": (1e-12, "two float64 implementations that sum in different orders"),
    "losses, float32": (2e-6, "sums of a few dozen float32 terms of size one, relative to the largest"),
    "losses, float64": (1e-12, "the same in float64, with room for cancellation"),
    "layers, float32": (2e-6, "float32 against the same formula in float64, relative to the largest element"),
    "layers, float64": (1e-12, "sums in another order"),
    "optimisers' formulas, float32": (1e-5, "parameters up to ten after 30 steps against float64, absolute"),
    "optimisers' formulas, float64": (1e-12, "the same in float64"),
    "optimisers against torch, float32": (1e-6, "the same, but with the same roundings"),
    "optimisers against torch, float64": (1e-12, "the same in float64"),
    "ONNX Runtime": (
        2e-6,
        "forward only, float32; its activations are rational approximations good to a few 1e-7",
    ),
    "ten training losses, float32": (1e-5, "the losses and gradient norms of ten steps of Adam, relative"),
    "ten training losses, float64": (1e-12, "the same, where ten steps multiply roundings of 1e-16"),
    "ten updates, float32": (1e-5, "parameters of size one after ten steps of Adam, absolute"),
    "ten updates, float64": (1e-12, "the same in float64"),
    "ranks, float32": (1e-5, "losses and parameters of a few epochs by several processes: sums in another order"),
    "ranks, float64": (1e-11, "the same in float64"),
    "reference, reordered sums": (
        1e-14,
        "the same float64 equations where NumPy may sum in another order for another batch size",
    ),
}


def tolerance(name):
    return TABLE[name][0]


def relative_error(found, expected, smallest_scale=0.0):
    """max |found - expected| / max |expected|, one number per tensor; inf for NaN or a wrong shape.

    The denominator is `smallest_scale` at least.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return np.inf
    if found.size == 0:
        return 0.0
    error = np.abs(found - expected).max()
    if error == 0:
        return 0.0
    scale = max(np.abs(expected).max(), smallest_scale)
    return float(error / scale) if scale > 0 and np.isfinite(error) else np.inf

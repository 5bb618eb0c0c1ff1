"""Gradients checked against float64 finite differences, element by element."""

import numpy as np
from tolerances import tolerance

STEP = 1e-4


def numerical_gradient(loss, array):
    """Gradient of ``loss()`` with respect to `array`, which is perturbed in place and restored.

    The fourth-order central difference ``(8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h``: its error, of order
    h^4, lies below the rounding of f.
    """
    gradient = np.zeros_like(array)
    for at in np.ndindex(array.shape):
        kept = array[at]
        f = {}
        for k in (-2, -1, 1, 2):
            array[at] = kept + k * STEP
            f[k] = loss()
        array[at] = kept
        gradient[at] = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * STEP)
    return gradient


def check_gradients(loss, arrays, gradients):
    """Raise AssertionError, naming the array and element, unless every gradient is that of ``loss()``.

    `arrays` and `gradients` are dicts with equal keys; `loss` reads the arrays in place and returns a float.
    """
    assert arrays.keys() == gradients.keys(), f"{sorted(arrays)} != {sorted(gradients)}"
    rtol, atol = tolerance("finite differences, relative"), tolerance("finite differences, absolute")
    for name, array in arrays.items():
        assert array.dtype == np.float64, f"{name}: finite differences need float64, found {array.dtype}"
        expected, found = numerical_gradient(loss, array), gradients[name]
        assert found.shape == expected.shape, f"{name}: shape {found.shape}, expected {expected.shape}"
        wrong = ~(np.abs(found - expected) <= atol + rtol * np.abs(expected))
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise AssertionError(
                f"{name}: {wrong.sum()} of {wrong.size} elements wrong; at {at} found {found[at]!r}, "
                f"finite differences give {expected[at]!r}"
            )

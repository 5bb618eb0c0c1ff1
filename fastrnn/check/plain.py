"""Arguments as Python's own plain values: what a file, a checkpoint or a representation holds of them."""

import numbers
from collections.abc import Mapping

import numpy as np


def plain_scalar(value):
    """A NumPy scalar or dtype, or another number, as Python's int, float, bool or str of the same value.

    A real number that is neither int nor float, such as a Fraction or a long double, becomes the float that is
    computed with. All else stays as it is.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return value    # for the checks of numbers to refuse
    if isinstance(value, str):
        return str.__getitem__(value, slice(None))  # of a subclass, which may print as it likes
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, (np.generic, float))):
        return np.dtype(value).name
    return value


def plain_value(value):
    """As `plain_scalar`, also in mappings, which become dicts, in lists and in tuples; arrays become lists."""
    if isinstance(value, np.ndarray):
        return plain_value(value.tolist())
    if isinstance(value, Mapping):
        return {plain_scalar(name): plain_value(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain_value, value))
    return plain_scalar(value)

"""Plain values: numbers, names, sources of random numbers, and containers."""

import math
import numbers
from collections.abc import Mapping

import numpy as np


def shown(value) -> str:
    """`value` for an error, in few characters: some values cannot be printed, or not in one line."""
    try:
        text = repr(value)
    except Exception:  # an int of thousands of digits, or a user's class
        return f"{type(value).__name__} that cannot be printed"
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:100]}..."


def check_dtype(dtype, name="dtype") -> np.dtype:
    """float32 or float64 as a numpy.dtype."""
    try:
        found = np.dtype(dtype)
    except Exception:   # NumPy prints a value that it refuses, and that may fail
        found = None
    if dtype is None or found not in (np.float32, np.float64):
        raise ValueError(f"{name}: expected 'float32' or 'float64', found {shown(dtype)}")
    return found


def check_bool(value, name) -> bool:
    """A bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, found {shown(value)}")
    return bool(value)


def check_positive_int(value, name, low=1, high=2**31 - 1) -> int:
    """An int in `low` .. `high`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an int, found {shown(value)}")
    value = int(value)  # a subclass may define its own comparisons
    if value < low:
        raise ValueError(f"{name}: expected an int of at least {low}, found {shown(value)}")
    if value > high:
        raise ValueError(f"{name}: expected an int of at most {high}, found {shown(value)}")
    return value


def check_number(value, name, *, low=None, high=None, above=None, below=None) -> float:
    """A finite float in the given bounds, `low` and `high` included, `above` and `below` excluded."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, found {shown(value)}")
    try:
        value = float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a finite number that a float holds, found {shown(value)}") from None
    bounds = [(low, "at least", value.__ge__), (above, "above", value.__gt__),
              (high, "at most", value.__le__), (below, "below", value.__lt__)]
    wanted = [f"{word} {bound}" for bound, word, _ in bounds if bound is not None]
    if not math.isfinite(value) or not all(holds(bound) for bound, _, holds in bounds if bound is not None):
        bounds = " ".join(["a finite number", " and ".join(wanted)]).strip()
        raise ValueError(f"{name}: expected {bounds}, found {value}")
    return value


def check_measured(value, name):
    """A float, finite or not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, found {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a float holds, found {shown(value)}") from None


def check_bound(value, name) -> float | None:
    """A number above 0, or None."""
    return None if value is None else check_number(value, name, above=0)


def check_option(value, name, options) -> str:
    """One of a few strings."""
    text = str.__getitem__(value, slice(None)) if isinstance(value, str) else None      # a plain one
    if text not in options:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, options))}; found {shown(value)}")
    return text


def check_pair(values, name, **bounds) -> tuple[float, float]:
    """A tuple of two numbers; bounds as for `check_number`."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise TypeError(f"{name}: expected a pair of numbers, found {shown(values)}")
    return tuple(check_number(value, f"{name}[{i}]", **bounds) for i, value in enumerate(values))


def check_zoneout(value, name, has_c) -> float | tuple[float, float]:
    """A probability, or for a cell with c a pair (p_h, p_c)."""
    if not isinstance(value, (tuple, list)):
        return check_number(value, name, low=0, high=1)
    if not has_c:
        raise TypeError(f"{name}: expected a number, as there is no cell state; found {shown(value)}")
    return check_pair(value, name, low=0, high=1)


def check_layer_norm(value, reset_after) -> bool:
    """A bool; layer normalisation needs the GRU whose reset gate acts after the product."""
    if check_bool(value, "layer_norm") and not reset_after:
        raise ValueError("layer_norm: expected reset_after=True, the form that was published; found reset_after=False")
    return bool(value)


def check_entries_of(values, name, of):
    """A list of the entries of `values`, unchecked."""
    try:
        return list(values)
    except (TypeError, NotImplementedError, IndexError):    # the last two from memoryviews and false arrays
        raise TypeError(f"{name}: expected {of}, found {shown(values)}") from None


def check_mapping(mapping, name):
    """Raise unless this is a mapping."""
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name}: expected a dict, found {type(mapping).__name__}")


def check_generator(seed, name) -> "np.random.Generator":
    """A numpy.random.Generator: `seed` itself, or one seeded by it."""
    sources = np.random.Generator, np.random.BitGenerator, np.random.RandomState, numbers.Integral
    kind, entries = TypeError, seed if isinstance(seed, (list, tuple)) else ()
    if isinstance(seed, np.ndarray) and seed.ndim == 1:
        entries = seed.tolist()
    # NumPy may call methods of other objects, and follows nested lists until the stack overflows
    if (seed is None or type(seed) is np.random.SeedSequence or isinstance(seed, sources)
            or (entries and all(isinstance(entry, numbers.Integral) for entry in entries))):
        try:
            return np.random.default_rng(list(map(int, entries)) if entries else seed)
        except (TypeError, ValueError):     # the latter: an int below 0
            kind = ValueError
    raise kind(f"{name}: expected an int of at least 0, a SeedSequence, a Generator or None; found {shown(seed)}")

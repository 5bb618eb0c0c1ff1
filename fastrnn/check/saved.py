"""Contents of files: saved values, arrays, figures, states of optimisers and generators."""

import numpy as np

from .arrays import FLOATS
from .values import check_mapping, check_positive_int, shown

MOST_STEPS = 2**53  # a float holds every count up to here
MOST_TEXT = 1000  # characters of a name
BITS = 2**32 - 1
_LEGACY = {"has_uint32": (int, 1), "uinteger": (int, BITS)}
# The parts of the state of each of NumPy's bit generators: ints up to a bound, arrays of a shape and dtype, or dicts of
# these. NumPy does not check places in a buffer.
BIT_GENERATORS = {
    "MT19937": {"state": {"key": ((624,), np.uint32), "pos": (int, 624)}},
    "PCG64": {"state": {"state": (int, 2**128 - 1), "inc": (int, 2**128 - 1)}, **_LEGACY},
    "PCG64DXSM": {"state": {"state": (int, 2**128 - 1), "inc": (int, 2**128 - 1)}, **_LEGACY},
    "Philox": {"state": {"counter": ((4,), np.uint64), "key": ((2,), np.uint64)}, "buffer": ((4,), np.uint64),
               "buffer_pos": (int, 4), **_LEGACY},
    "SFC64": {"state": {"state": ((4,), np.uint64)}, **_LEGACY},
}


def check_saved_state(state, keys):
    """Raise unless this is a mapping with exactly these keys."""
    check_mapping(state, "state")
    if state.keys() != set(keys):
        raise ValueError(f"state: expected keys {', '.join(keys)}; found {', '.join(map(str, state))[:200]}")


def check_saved_values(state, checks):
    """Raise unless this is a mapping with exactly the keys of `checks`, functions (value, name) for the values."""
    check_saved_state(state, tuple(checks))
    for key, check in checks.items():
        check(state[key], f"state[{key!r}]")
    return state


def check_optional(check):
    """The check of a value that may be None."""
    return lambda value, name: None if value is None else check(value, name)


def check_text(value, name) -> str:
    """A short str."""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ValueError(f"{name}: expected a string of at most {MOST_TEXT} characters, found {shown(value)}")
    return value


def check_count(value, name) -> int:
    """A count: an int of at least 0."""
    return check_positive_int(value, name, 0, MOST_STEPS)


def check_figure(value, name) -> float:
    """A float, finite or not, or an int that fits into a float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}")
    if isinstance(value, int) and abs(value) > MOST_STEPS:
        raise ValueError(f"{name}: expected a number that a float holds, found a larger one")
    return value


def check_figures(values, name):
    """A mapping of str to floats, as of one step."""
    check_mapping(values, name)
    for key, value in values.items():
        check_figure(value, f"{name}[{_brief(key, str)}]")
    return values


def check_history(values, name):
    """A mapping of str to lists of floats, one for each epoch."""
    check_mapping(values, name)
    for key, figures in values.items():
        place = f"{name}[{_brief(key, str)}]"
        if not isinstance(figures, list):
            raise TypeError(f"{place}: expected a list of numbers, found {type(figures).__name__}")
        for figure in figures:
            check_figure(figure, place)
    return values


def _brief(key, kind):
    if not isinstance(key, kind):
        raise TypeError(f"expected names that are {kind.__name__}, found {shown(key)}")
    return f"{key!r:.80}"


def check_arrays(found, name):
    """A mapping of str to float32 or float64 arrays."""
    check_mapping(found, name)
    for key, array in found.items():
        if not isinstance(key, str):
            raise TypeError(f"{name}: expected names that are strings, found {shown(key)}")
        if not isinstance(array, np.ndarray) or array.dtype not in FLOATS:
            raise TypeError(f"{name}[{key!r:.80}]: expected a float32 or float64 array, "
                            f"found {getattr(array, 'dtype', type(array).__name__)}")


def check_same_arrays(found, params, name):
    """Arrays with exactly the names, shapes and dtypes of the parameters that they belong to."""
    check_arrays(found, name)
    if found.keys() != params.keys():
        raise ValueError(f"{name}: expected the parameters' names, found {', '.join(found)[:200] or 'none'}")
    for key, p in params.items():
        if found[key].shape != p.shape or found[key].dtype != p.dtype:
            raise ValueError(f"{name}[{key!r}]: expected {p.dtype} of shape {p.shape} as the parameter, "
                             f"found {found[key].dtype} of shape {found[key].shape}")


def check_optimizer_state(state, type_name, hyper):
    """What `Optimizer.state_dict` returned for this type of optimiser."""
    check_mapping(state, "state")
    check_saved_state({name: value for name, value in state.items() if name != "missed"},
                      ("type", "steps", "hyper", "arrays"))
    if state["type"] != type_name:
        raise ValueError(f"state['type']: expected {type_name!r}, found {shown(state['type'])}")
    check_positive_int(state["steps"], "state['steps']", 0, MOST_STEPS)
    check_hyper(state["hyper"], hyper)
    check_arrays(state["arrays"], "state['arrays']")
    missed = state.get("missed", {})
    check_mapping(missed, "state['missed']")
    for name, count in missed.items():
        check_text(name, "state['missed']")
        check_positive_int(count, "state['missed'] of a parameter", 1, state["steps"])


def check_hyper(found, names):
    """Saved hyperparameters, with exactly these names; the constructor checks their values."""
    check_mapping(found, "state['hyper']")
    if found.keys() != set(names):
        raise ValueError(f"state['hyper']: expected {', '.join(names)}; found {', '.join(map(str, found))[:200]}")


def check_bit_generator(state, name="state"):
    """Check the `state` of one of NumPy's bit generators; return the generator's name."""
    check_mapping(state, name)
    kind = state.get("bit_generator")
    if not isinstance(kind, str) or kind not in BIT_GENERATORS:
        raise ValueError(f"{name}['bit_generator']: expected one of {', '.join(BIT_GENERATORS)}; found {kind!r:.80}")
    _check_layout({key: value for key, value in state.items() if key != "bit_generator"}, BIT_GENERATORS[kind], name)
    return kind


def _check_layout(found, layout, name):
    check_mapping(found, name)
    if found.keys() != layout.keys():
        raise ValueError(f"{name}: expected {', '.join(layout)}; found {', '.join(map(str, found))[:200]}")
    for key, wanted in layout.items():
        value, place = found[key], f"{name}[{key!r}]"
        if isinstance(wanted, dict):
            _check_layout(value, wanted, place)
        elif wanted[0] is int:
            check_positive_int(value, place, 0, wanted[1])
        elif not isinstance(value, np.ndarray) or (value.shape, value.dtype) != wanted:
            raise ValueError(f"{place}: expected an array of {np.dtype(wanted[1])} of shape {wanted[0]}, found another")

"""Parameters by name, and the gradients and accumulators of an optimiser."""

import fnmatch

import numpy as np

from .arrays import FLOATS, own_shape, real_array
from .values import check_mapping, shown


def matching_names(params, patterns, name):
    """The names of `params` that match any of the shell `patterns`, each of which matches at least one."""
    found = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"{name}: expected patterns of parameters' names, found {shown(pattern)}")
        matched = fnmatch.filter(params, pattern)
        if not matched:
            raise ValueError(f"{name}: expected patterns of parameters, {', '.join(params) or '(none)'}; "
                             f"found {shown(pattern)}")
        found.update(matched)
    return [one for one in params if one in found]


def check_frozen(names, params, name):
    """Names of `params`, in a list or tuple, as a file has them."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name}: expected a list of names, found {shown(names)}")
    unknown = [one for one in names if one not in params]
    if unknown:
        raise ValueError(f"{name}: expected names of parameters, {', '.join(params) or '(none)'}; "
                         f"found {shown(unknown[0])}")


def frozen_names(*mappings):
    """The names in dicts of parameters or gradients that are not to be trained."""
    found = frozenset()
    for mapping in mappings:
        found |= getattr(mapping, "frozen", found)
    return found


def sparse_rows(grads):
    """dict of the name of a sparse gradient in a dict of gradients -> its `GradientRows`."""
    return getattr(grads, "sparse", {})


def check_state_dict(mapping, params):
    """Copies of the arrays of `mapping`, with exactly the names and shapes of `params`, in its dtypes."""
    check_mapping(mapping, "state_dict")
    missing = sorted(params.keys() - mapping.keys())
    unexpected = sorted(map(str, mapping.keys() - params.keys()))
    if missing or unexpected:
        parts = [f"{what} {', '.join(names)}"
                 for what, names in (("missing", missing), ("unexpected", unexpected)) if names]
        raise ValueError(f"state_dict: expected exactly the module's parameters, found {'; '.join(parts)}")
    copies = {}
    for name, p in params.items():
        value = mapping[name]
        value = real_array(value.detach() if hasattr(value, "detach") else value, f"state_dict[{name!r}]")
        if value.shape != p.shape:
            raise ValueError(f"state_dict[{name!r}]: expected shape {p.shape}, found {value.shape}")
        if p.dtype.kind in "iu" and value.dtype != p.dtype:
            raise TypeError(f"state_dict[{name!r}]: expected weights as they are stored, {p.dtype}, "
                            f"found {value.dtype}")
        copies[name] = np.array(value, p.dtype)
    return copies


def check_writable_params(params):
    """Raise unless all arrays can be written to."""
    for name, p in params.items():
        if not p.flags.writeable:
            raise ValueError(f"params[{name!r}]: expected a writable array, found a read-only one")


def check_update(params, grads, slots, missed=()):
    """(params, grads) of an update, as dicts of views; raises unless gradients and accumulators fit the parameters.

    Parameters that have `missed` steps, because they were frozen, need no accumulators.
    """
    for mapping, name in (params, "params"), (grads, "grads"):
        check_mapping(mapping, name)
    params, grads = ({name: own_shape(array) if isinstance(array, np.ndarray) else array
                      for name, array in mapping.items()} for mapping in (params, grads))
    earlier = [(arrays.keys() | missed if missed else arrays.keys(), "the earlier steps") for arrays in slots.values()]
    for names, what in [(grads.keys(), "grads"), *earlier]:
        if names != params.keys():
            raise ValueError(f"params: expected the names in {what}, {', '.join(names) or '(none)'}; "
                             f"found {', '.join(params) or '(none)'}")
    for name, p in params.items():
        for array, kind in (p, "params"), (grads[name], "grads"):
            if not isinstance(array, np.ndarray) or array.dtype not in FLOATS:
                raise TypeError(f"{kind}[{name!r}]: expected a float32 or float64 array, "
                                f"found {getattr(array, 'dtype', type(array).__name__)}")
            flags = array.flags
            if not (flags.carray or (flags.c_contiguous and flags.aligned)):
                raise ValueError(f"{kind}[{name!r}]: expected a C-contiguous, aligned array, "
                                 f"found strides {array.strides}")
        if not p.flags.writeable:
            raise ValueError(f"params[{name!r}]: expected a writeable array, found a read-only one")
        _check_like(p, name, grads[name], "gradient")
        for arrays in slots.values():
            if name in arrays:
                _check_like(p, name, arrays[name], "earlier steps")
    return params, grads


def _check_like(p, name, array, kind):
    """Raise unless a parameter has the shape and dtype of this array."""
    if array.shape != p.shape or array.dtype != p.dtype:
        raise ValueError(f"params[{name!r}]: expected {array.dtype} of shape {array.shape} "
                         f"as in the {kind}, found {p.dtype} of shape {p.shape}")

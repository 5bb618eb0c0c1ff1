"""States of recurrent modules and of networks, and gradients of them."""

import math

import numpy as np

from .arrays import check_floats, real_array
from .values import check_positive_int


def check_state(state, name, shapes, dtype, called=("h", "c")):
    """The arrays of a recurrent state, C-contiguous, in `dtype`: one, or as many as `shapes` in a tuple."""
    if state is None:
        return (None,) * len(shapes)
    if len(shapes) == 1:
        parts, names = (state,), (name,)
    else:
        if not isinstance(state, (tuple, list)):
            raise TypeError(f"{name}: expected a tuple ({', '.join(called)}), found {type(state).__name__}")
        if len(state) != len(shapes):
            raise ValueError(f"{name}: expected a tuple ({', '.join(called)}), found one of {len(state)}")
        parts, names = state, tuple(f"{name}[{i}]" for i in range(len(shapes)))
    arrays = []
    for part, of, shape in zip(parts, names, shapes):
        if part is None:
            arrays.append(None)
            continue
        array = real_array(part, of)
        if array.shape != shape:
            raise ValueError(f"{of}: expected shape {shape}, found {array.shape}")
        arrays.append(np.ascontiguousarray(array, dtype))
    return tuple(arrays)


def check_no_state(state, name, module):
    """Raise unless the state is None, for a module that has none."""
    if state is not None:
        raise ValueError(f"{name}: expected None for {type(module).__name__}, which has none; "
                         f"found {type(state).__name__}")


def check_states(state, name, modules):
    """The states of a network's modules; None for a module without a state or with a zero state."""
    if state is None:
        return (None,) * len(modules)
    check_entries(state, name, len(modules))
    for k, (entry, module) in enumerate(zip(state, modules)):
        if not module.recurrent:
            check_no_state(entry, f"{name}[{k}]", module)
    return tuple(state)


def check_dstates(dstate, states, modules):
    """Gradients of the states that a network's forward() returned; any None means zeros."""
    dstates = check_states(dstate, "dstate", modules)
    return tuple(_check_like(found, f"dstate[{k}]", state) for k, (found, state) in enumerate(zip(dstates, states)))


def check_entries(state, name, count):
    """A tuple or list with one entry per module."""
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple with one entry per module, found {type(state).__name__}")
    if len(state) != count:
        raise ValueError(f"{name}: expected {count} entries, one per module; found {len(state)}")
    return state


def _check_like(found, name, state):
    """`found` as arrays with the nesting and shapes of `state`, or None."""
    if found is None:
        return None
    if isinstance(state, tuple):
        if not isinstance(found, (tuple, list)) or len(found) != len(state):
            raise ValueError(f"{name}: expected a tuple of {len(state)} as the state, "
                             f"found {type(found).__name__}")
        return tuple(_check_like(part, f"{name}[{k}]", of) for k, (part, of) in enumerate(zip(found, state)))
    found = real_array(found, name)
    if found.shape != np.shape(state):
        raise ValueError(f"{name}: expected shape {np.shape(state)}, found {found.shape}")
    return found


def check_sum_and_count(state):
    """The state of a running mean: the sum, a float array or number, and the count."""
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"state: expected a pair (sum, count), found {type(state).__name__}")
    return check_floats(state[0], "state[0]").copy(), check_positive_int(state[1], "state[1]", 0, math.inf)


def check_mean_step(x, name, shape, batch, total):
    """A step x, (B, H) or (H,), that fits the sum of earlier steps; `shape` is that of the caller's array."""
    if x.ndim not in (1, 2) or len(np.atleast_2d(x)) != batch:
        raise ValueError(f"{name}: expected a batch of {batch}, found shape {shape}")
    if np.ndim(total) and np.atleast_2d(total).shape != np.atleast_2d(x).shape:
        raise ValueError(f"{name}: expected steps that fit the sum so far, of shape {total.shape}; found shape {shape}")

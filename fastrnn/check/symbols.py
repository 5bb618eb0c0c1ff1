"""Ids and texts, networks that output ids, and their logits."""

import numpy as np

from .arrays import check_axes, in_range, int_array, real_array
from .values import shown


def check_ids(ids, name, size):
    """A new C-contiguous int64 array of ids in 0 .. size - 1."""
    return in_range(int_array(ids, name), name, size, None)


def check_symbols(ids, name, size):
    """An int64 array (n,) of ids in 0 .. size - 1, any number of them."""
    return in_range(check_axes(int_array(ids, name), name, {1: "(n,)"}), name, size, None)


def check_prompts(prompts, name):
    """A list of int64 arrays (P,), P > 0."""
    if not isinstance(prompts, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of arrays of ids, found {type(prompts).__name__}")
    if len(prompts) == 0:
        raise ValueError(f"{name}: expected at least one, found none")
    arrays = [check_axes(int_array(ids, f"{name}[{k}]"), f"{name}[{k}]", {1: "(n,)"}).astype(np.int64)
              for k, ids in enumerate(prompts)]
    for k, ids in enumerate(arrays):
        if not ids.size:
            raise ValueError(f"{name}[{k}]: expected at least one id, found none")
    return arrays


def check_targets(target, name, batch, size):
    """A list of int64 arrays (n,) of ids in 0 .. size - 1, one for each of `batch` sequences (None: any number)."""
    if not isinstance(target, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of arrays of ids, found {type(target).__name__}")
    target = list(target)   # a copy: the conversion of an entry may run code that changes the caller's list
    if batch is not None and len(target) != batch:
        raise ValueError(f"{name}: expected {batch} arrays of ids, one for each sequence; found {len(target)}")
    return [check_symbols(ids, f"{name}[{k}]", size) for k, ids in enumerate(target)]


def check_texts(texts, name):
    """A list of str; a single str means a list of one."""
    found = [texts] if isinstance(texts, str) else texts
    if not isinstance(found, (list, tuple)) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"{name}: expected a string or a list of strings, found {shown(texts)}")
    return found


def check_stepped(network, name):
    """Raise unless this is a module with a stream and an output for every step."""
    if not callable(getattr(network, "stream", None)):
        raise TypeError(f"{name}: expected a fastrnn network with a stream, found {type(network).__name__}")
    if network.pools_time:
        raise ValueError(f"{name}: expected one with an output for every step, found one that pools the steps")


def check_next(logits, name):
    """The logits (B, V) of a step of the network `name`."""
    if not isinstance(logits, np.ndarray) or logits.ndim != 2 or not logits.shape[1]:
        found = f"shape {logits.shape}" if isinstance(logits, np.ndarray) else type(logits).__name__
        raise ValueError(f"{name}: expected a network whose step gives logits (B, V), found an output of {found}")
    return logits


def check_logits(logits, name, ndim=None) -> np.ndarray:
    """A float64 array whose last axis is not empty."""
    logits = real_array(logits, name)
    if logits.ndim == 0 or logits.shape[-1] == 0 or ndim not in (None, logits.ndim):
        wanted = "(..., V)" if ndim is None else "(B, V)"
        raise ValueError(f"{name}: expected shape {wanted} with V at least 1, found {logits.shape}")
    return logits.astype(np.float64, copy=False)

"""All validation of what callers hand in. Errors name the argument, what was expected and what was found."""

import math
import numbers
import sys
from collections.abc import Mapping

import numpy as np


def shown(value):
    """`value` as an error names it, in few characters: some values cannot be printed, or not in one line."""
    try:
        text = repr(value)
    except Exception:  # an int of thousands of digits, or a class of the caller's
        return f"{type(value).__name__} that cannot be printed"
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:100]}..."


def check_dtype(dtype, name="dtype"):
    """float32 or float64 as a numpy.dtype."""
    try:
        found = np.dtype(dtype)
    except Exception:   # NumPy prints what it does not take, and that may fail
        found = None
    if dtype is None or found not in (np.float32, np.float64):
        raise ValueError(f"{name}: expected 'float32' or 'float64', found {shown(dtype)}")
    return found


def check_positive_int(value, name, low=1, high=2**31 - 1):
    """An int in `low` .. `high`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an int, found {shown(value)}")
    value = int(value)  # of a subclass, which may compare as it likes
    if value < low:
        raise ValueError(f"{name}: expected an int of at least {low}, found {shown(value)}")
    if value > high:
        raise ValueError(f"{name}: expected an int of at most {high}, found {shown(value)}")
    return value


def check_number(value, name, *, low=None, high=None, above=None, below=None):
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


def check_entries_of(values, name, of):
    """A list of what `values` holds; nothing is known of its entries."""
    try:
        return list(values)
    except (TypeError, NotImplementedError, IndexError):    # the last two from memoryviews and false arrays
        raise TypeError(f"{name}: expected {of}, found {shown(values)}") from None


def check_option(value, name, options):
    """One of a few strings."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, options))}; found {shown(value)}")
    return value


def check_pair(values, name, **bounds):
    """A tuple of two numbers; bounds as for `check_number`."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise TypeError(f"{name}: expected a pair of numbers, found {shown(values)}")
    return tuple(check_number(value, f"{name}[{i}]", **bounds) for i, value in enumerate(values))


def check_zoneout(value, name, has_c):
    """A probability, or where there is a cell state a pair (p_h, p_c)."""
    if not isinstance(value, (tuple, list)):
        return check_number(value, name, low=0, high=1)
    if not has_c:
        raise TypeError(f"{name}: expected a number, as there is no cell state; found {shown(value)}")
    return check_pair(value, name, low=0, high=1)


def check_layer_norm(value, reset_after):
    """A bool; a layer-normalised GRU is the one whose reset gate acts after the product."""
    if check_bool(value, "layer_norm") and not reset_after:
        raise ValueError("layer_norm: expected reset_after=True, the form that was published; found reset_after=False")
    return bool(value)


def check_generator(seed, name):
    """A numpy.random.Generator: `seed` itself, or one seeded by it."""
    sources = np.random.Generator, np.random.BitGenerator, np.random.RandomState, numbers.Integral
    kind, entries = TypeError, seed if isinstance(seed, (list, tuple)) else ()
    if isinstance(seed, np.ndarray) and seed.ndim == 1:
        entries = seed.tolist()
    # NumPy asks other objects for whatever it likes, and follows lists inside each other until the stack ends
    if (seed is None or type(seed) is np.random.SeedSequence or isinstance(seed, sources)
            or (entries and all(isinstance(entry, numbers.Integral) for entry in entries))):
        try:
            return np.random.default_rng(list(map(int, entries)) if entries else seed)
        except (TypeError, ValueError):     # the latter: an int below 0
            kind = ValueError
    raise kind(f"{name}: expected an int of at least 0, a SeedSequence, a Generator or None; found {shown(seed)}")


def check_vector(values, name, size=None, **bounds):
    """A float64 vector, nobody else's, of `size` elements if given; bounds as for `check_number`."""
    vector = _real_array(values, name).copy()
    if vector.ndim != 1 or vector.size == 0 or (size is not None and vector.size != size):
        raise ValueError(f"{name}: expected shape ({size or 'n, n > 0'},), found {vector.shape}")
    for i, value in enumerate(vector.tolist()):
        check_number(value, f"{name}[{i}]", **bounds)
    return np.asarray(vector, np.float64, order="C")


def check_state_dict(mapping, params):
    """Copies of the arrays of `mapping`, with exactly the names and shapes of `params`, in its dtypes."""
    _check_mapping(mapping, "state_dict")
    missing = sorted(params.keys() - mapping.keys())
    unexpected = sorted(map(str, mapping.keys() - params.keys()))
    if missing or unexpected:
        parts = [f"{what} {', '.join(names)}"
                 for what, names in (("missing", missing), ("unexpected", unexpected)) if names]
        raise ValueError(f"state_dict: expected exactly the module's parameters, found {'; '.join(parts)}")
    copies = {}
    for name, p in params.items():
        value = mapping[name]
        value = _real_array(value.detach() if hasattr(value, "detach") else value, f"state_dict[{name!r}]")
        if value.shape != p.shape:
            raise ValueError(f"state_dict[{name!r}]: expected shape {p.shape}, found {value.shape}")
        copies[name] = np.array(value, p.dtype)
    return copies


def check_writable_params(params):
    """Arrays that can be written to."""
    for name, p in params.items():
        if not p.flags.writeable:
            raise ValueError(f"params[{name!r}]: expected a writable array, found a read-only one")


def check_features(x, name, size, dtype):
    """A C-contiguous array of `dtype` whose last axis has `size` elements."""
    x = _own_shape(_real_array(x, name))
    if x.ndim == 0 or x.shape[-1] != size:
        raise ValueError(f"{name}: expected shape (..., {size}), found {x.shape}")
    return np.asarray(x, dtype, order="C")


def check_logits(logits, name, ndim=None):
    """A float64 array whose last axis is not empty."""
    logits = _real_array(logits, name)
    if logits.ndim == 0 or logits.shape[-1] == 0 or ndim not in (None, logits.ndim):
        wanted = "(..., V)" if ndim is None else "(B, V)"
        raise ValueError(f"{name}: expected shape {wanted} with V at least 1, found {logits.shape}")
    return logits.astype(np.float64, copy=False)


def check_series(series, name):
    """An array of real numbers with a time axis, as it is."""
    series = _real_array(series, name)
    if series.ndim == 0:
        raise ValueError(f"{name}: expected shape (T, ...), found a single number")
    return series


def check_real(values, name):
    """An array of real numbers, of whatever shape and dtype; values that are one already as they are."""
    return _real_array(values, name)


def check_sources(x, name):
    """A list, a tuple or an array, one element for each sequence."""
    _refuse_masked(x, name)
    if not isinstance(x, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of sequences or an array, found {type(x).__name__}")
    if isinstance(x, np.ndarray) and x.ndim == 0:
        raise ValueError(f"{name}: expected a list of sequences or an array, found a single number")
    return x


def check_floats(x, name):
    """A float32 or float64 array; other real numbers become float64."""
    x = _real_array(x, name)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def check_gradient(dy, shape, dtype):
    """The gradient of an output of `shape`: C-contiguous, of `dtype`; None stands for zero."""
    if dy is None:
        return np.zeros(shape, dtype)
    dy = _own_shape(_real_array(dy, "dy"))
    if dy.shape != shape:
        raise ValueError(f"dy: expected shape {shape} as the output, found {dy.shape}")
    return np.asarray(dy, dtype, order="C")


def check_sequence(x, name):
    """A float32 or float64 array with two axes, unbatched, or three."""
    x = check_floats(x, name)
    if x.ndim not in (2, 3):
        raise ValueError(f"{name}: expected two axes, or three with a batch; found shape {x.shape}")
    return x


def check_ids(ids, name, size):
    """A C-contiguous int64 array of ids in 0 .. size - 1, nobody else's."""
    return _in_range(_int_array(ids, name), name, size, None)


def check_no_state(state, name, module):
    """Only recurrent modules have a state."""
    if state is not None:
        raise ValueError(f"{name}: expected None for {type(module).__name__}, which has none; "
                         f"found {type(state).__name__}")


def check_states(state, name, modules):
    """The states of a network's modules, None for those that have none or start from zero."""
    if state is None:
        return (None,) * len(modules)
    check_entries(state, name, len(modules))
    for k, (entry, module) in enumerate(zip(state, modules)):
        if not module.recurrent:
            check_no_state(entry, f"{name}[{k}]", module)
    return tuple(state)


def check_dstates(dstate, states, modules):
    """Gradients of the states that a network's forward() returned; None anywhere stands for zeros."""
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
    """`found` as arrays in the same nesting of tuples and of the same shapes, or None."""
    if found is None:
        return None
    if isinstance(state, tuple):
        if not isinstance(found, (tuple, list)) or len(found) != len(state):
            raise ValueError(f"{name}: expected a tuple of {len(state)} as the state, "
                             f"found {type(found).__name__}")
        return tuple(_check_like(part, f"{name}[{k}]", of) for k, (part, of) in enumerate(zip(found, state)))
    found = _real_array(found, name)
    if found.shape != np.shape(state):
        raise ValueError(f"{name}: expected shape {np.shape(state)}, found {found.shape}")
    return found


def pad_sequences(arrays, lengths, batch_first):
    """A padded batch, (B, T, ...) or (T, B, ...), and the lengths of the arrays (T_i, ...) it holds."""
    if lengths is not None:
        raise ValueError("lengths: expected None with a list of sequences, which tell their own")
    if not arrays:
        raise ValueError("x: expected at least one sequence, found an empty list")
    arrays = [_real_array(array, f"x[{k}]") for k, array in enumerate(arrays)]
    first = arrays[0]
    for k, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != first.shape[1:]:
            raise ValueError(f"x[{k}]: expected (T, ...) with shape {first.shape[1:]} of a step as in x[0], "
                             f"found shape {array.shape}")
    lengths = [len(array) for array in arrays]
    kinds = [array.dtype for array in arrays if array.size]
    dtype = np.result_type(*kinds) if kinds else first.dtype
    padded = np.zeros((len(arrays), max(lengths), *first.shape[1:]), dtype)
    for row, array in zip(padded, arrays):
        row[:len(array)] = array
    return padded if batch_first else padded.swapaxes(0, 1), lengths


def check_lengths(lengths, batch, steps, name="lengths"):
    """An int64 array of `batch` lengths in 0 .. steps."""
    lengths = _int_array(lengths, name)
    if lengths.shape != (batch,):
        raise ValueError(f"{name}: expected {batch} ints, one per sequence; found shape {lengths.shape}")
    return _in_range(lengths, name, steps + 1, None)


def check_sum_and_count(state):
    """The state of a running mean: the sum, a float array or number, and the count."""
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"state: expected a pair (sum, count), found {type(state).__name__}")
    return check_floats(state[0], "state[0]").copy(), check_positive_int(state[1], "state[1]", 0, math.inf)


def check_mean_step(x, name, shape, batch, total):
    """A step x, (B, H) or (H,), that fits the sum of earlier ones; `shape` is what the caller handed in."""
    if x.ndim not in (1, 2) or len(np.atleast_2d(x)) != batch:
        raise ValueError(f"{name}: expected a batch of {batch}, found shape {shape}")
    if np.ndim(total) and np.atleast_2d(total).shape != np.atleast_2d(x).shape:
        raise ValueError(f"{name}: expected steps that fit the sum so far, of shape {total.shape}; found shape {shape}")


def check_update(params, grads, slots):
    """(params, grads) that an optimiser can update, as dicts of views; gradients and accumulators fit them."""
    for mapping, name in (params, "params"), (grads, "grads"):
        _check_mapping(mapping, name)
    params, grads = ({name: _own_shape(array) if isinstance(array, np.ndarray) else array
                      for name, array in mapping.items()} for mapping in (params, grads))
    earlier = [(arrays.keys(), "the earlier steps") for arrays in slots.values()]
    for names, what in [(grads.keys(), "grads"), *earlier]:
        if names != params.keys():
            raise ValueError(f"params: expected the names in {what}, {', '.join(names) or '(none)'}; "
                             f"found {', '.join(params) or '(none)'}")
    for name, p in params.items():
        for array, kind in (p, "params"), (grads[name], "grads"):
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                raise TypeError(f"{kind}[{name!r}]: expected a float32 or float64 array, "
                                f"found {getattr(array, 'dtype', type(array).__name__)}")
            if not (array.flags.c_contiguous and array.flags.aligned):
                raise ValueError(f"{kind}[{name!r}]: expected a C-contiguous, aligned array, "
                                 f"found strides {array.strides}")
        if not p.flags.writeable:
            raise ValueError(f"params[{name!r}]: expected a writeable array, found a read-only one")
        others = [(grads[name], "gradient"), *((arrays[name], "earlier steps") for arrays in slots.values())]
        for array, kind in others:
            if array.shape != p.shape or array.dtype != p.dtype:
                raise ValueError(f"params[{name!r}]: expected {array.dtype} of shape {array.shape} "
                                 f"as in the {kind}, found {p.dtype} of shape {p.shape}")
    return params, grads


MOST_STEPS = 2**53  # a float holds every count up to here


def check_optimizer_state(state, type_name, hyper):
    """What `Optimizer.state_dict` returned for this type of optimiser."""
    check_saved_state(state, ("type", "steps", "hyper", "arrays"))
    if state["type"] != type_name:
        raise ValueError(f"state['type']: expected {type_name!r}, found {shown(state['type'])}")
    check_positive_int(state["steps"], "state['steps']", 0, MOST_STEPS)
    check_hyper(state["hyper"], hyper)
    check_arrays(state["arrays"], "state['arrays']")


def check_hyper(found, names):
    """Saved hyperparameters, with exactly these names; their values are for the constructor to check."""
    _check_mapping(found, "state['hyper']")
    if found.keys() != set(names):
        raise ValueError(f"state['hyper']: expected {', '.join(names)}; found {', '.join(map(str, found))[:200]}")


def check_arrays(found, name):
    """A mapping of str to float32 or float64 arrays."""
    _check_mapping(found, name)
    for key, array in found.items():
        if not isinstance(key, str):
            raise TypeError(f"{name}: expected names that are strings, found {shown(key)}")
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
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


def check_saved_state(state, keys):
    """A mapping with exactly these keys."""
    _check_mapping(state, "state")
    if state.keys() != set(keys):
        raise ValueError(f"state: expected keys {', '.join(keys)}; found {', '.join(map(str, state))[:200]}")


def check_saved_values(state, checks):
    """A mapping with exactly the keys of `checks`, whose functions (value, name) raise for a value that is none."""
    check_saved_state(state, tuple(checks))
    for key, check in checks.items():
        check(state[key], f"state[{key!r}]")
    return state


def check_count(value, name):
    """An int of at least 0, of things that were counted."""
    return check_positive_int(value, name, 0, MOST_STEPS)


def check_figure(value, name):
    """A float, finite or not, or an int that a float holds."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}")
    if isinstance(value, int) and abs(value) > MOST_STEPS:
        raise ValueError(f"{name}: expected a number that a float holds, found a larger one")
    return value


def check_figures(values, name):
    """A mapping of str to floats, as of one step."""
    _check_mapping(values, name)
    for key, value in values.items():
        check_figure(value, f"{name}[{_brief(key, str)}]")
    return values


def check_history(values, name):
    """A mapping of str to lists of floats, one for each epoch."""
    _check_mapping(values, name)
    for key, figures in values.items():
        place = f"{name}[{_brief(key, str)}]"
        if not isinstance(figures, list):
            raise TypeError(f"{place}: expected a list of numbers, found {type(figures).__name__}")
        for figure in figures:
            check_figure(figure, place)
    return values


def check_text(value, name):
    """A short str."""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ValueError(f"{name}: expected a string of at most {MOST_TEXT} characters, found {shown(value)}")
    return value


def check_optional(check):
    """The check of a value that may be None."""
    return lambda value, name: None if value is None else check(value, name)


MOST_TEXT = 1000  # characters of a name


def _brief(key, kind):
    if not isinstance(key, kind):
        raise TypeError(f"expected names that are {kind.__name__}, found {shown(key)}")
    return f"{key!r:.80}"


BITS = 2**32 - 1
_LEGACY = {"has_uint32": (int, 1), "uinteger": (int, BITS)}
# What the state of each of NumPy's bit generators consists of: ints up to a bound, arrays of a shape and dtype, both or
# dicts of them. NumPy takes places in a buffer as they are.
BIT_GENERATORS = {
    "MT19937": {"state": {"key": ((624,), np.uint32), "pos": (int, 624)}},
    "PCG64": {"state": {"state": (int, 2**128 - 1), "inc": (int, 2**128 - 1)}, **_LEGACY},
    "PCG64DXSM": {"state": {"state": (int, 2**128 - 1), "inc": (int, 2**128 - 1)}, **_LEGACY},
    "Philox": {"state": {"counter": ((4,), np.uint64), "key": ((2,), np.uint64)}, "buffer": ((4,), np.uint64),
               "buffer_pos": (int, 4), **_LEGACY},
    "SFC64": {"state": {"state": ((4,), np.uint64)}, **_LEGACY},
}


def check_bit_generator(state, name="state"):
    """The state of one of NumPy's bit generators, as its `state` gives it; returns the generator's name."""
    _check_mapping(state, name)
    kind = state.get("bit_generator")
    if not isinstance(kind, str) or kind not in BIT_GENERATORS:
        raise ValueError(f"{name}['bit_generator']: expected one of {', '.join(BIT_GENERATORS)}; found {kind!r:.80}")
    _check_layout({key: value for key, value in state.items() if key != "bit_generator"}, BIT_GENERATORS[kind], name)
    return kind


def _check_layout(found, layout, name):
    _check_mapping(found, name)
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


def check_prediction(prediction, last=None, even=False):
    """A C-contiguous float array; `last`: the size its last axis must have, and why; `even`: an even one."""
    prediction = _own_shape(_real_array(prediction, "prediction"))
    if prediction.dtype not in (np.float32, np.float64):
        raise TypeError(f"prediction: expected float32 or float64, found {prediction.dtype}")
    if prediction.ndim == 0 or prediction.shape[-1] == 0:
        raise ValueError("prediction: expected at least one axis, the last not empty; "
                         f"found shape {prediction.shape}")
    if last is not None and prediction.shape[-1] != last[0]:
        raise ValueError(f"prediction: expected shape (..., {last[0]}), {last[1]}; found {prediction.shape}")
    if even and prediction.shape[-1] % 2:
        raise ValueError(f"prediction: expected a last axis of even size, found shape {prediction.shape}")
    return np.asarray(prediction, order="C")


def check_real_target(target, shape, dtype):
    """Targets as a C-contiguous array of `shape` and `dtype`; a last axis of size 1 may be missing."""
    target = _real_array(target, "target")
    if target.shape != shape and not (shape[-1:] == (1,) and target.shape == shape[:-1]):
        raise ValueError(f"target: expected shape {shape}, found {target.shape}")
    return np.asarray(target.reshape(shape), dtype, order="C")


def check_class_target(target, shape, classes, weight):
    """Integer classes of `shape` in 0 .. classes - 1, where the weight is not 0, as C-contiguous int64."""
    target = _int_array(target, "target")
    if target.shape != shape:
        raise ValueError(f"target: expected shape {shape}, as the logits without their last axis; "
                         f"found {target.shape}")
    return _in_range(target, "target", classes, weight)


def check_labels(target, target_lengths, batch, classes, blank, weight):
    """The labels of all sequences one after another and the batch + 1 places where each one's begin, int64.

    Labels are in 0 .. classes - 1 and not the blank, except where the sequence's weight is 0.
    """
    labels, counts = _labels_and_counts(target, target_lengths, batch)
    if len(counts) != batch:
        raise ValueError(f"target: expected the labels of {batch} sequences, found those of {len(counts)}")
    starts = np.concatenate([[0], np.cumsum(counts)])
    wrong = (labels < 0) | (labels >= classes) | (labels == blank)
    if weight is not None:
        wrong &= np.repeat(weight, counts) != 0
    if wrong.any():
        at = int(wrong.argmax())
        row = int(np.searchsorted(starts, at, side="right")) - 1
        raise ValueError(f"target: expected labels in 0 .. {classes - 1} other than the blank, {blank}; "
                         f"found {labels[at]} at [{row}, {at - starts[row]}]")
    return labels, starts


def _labels_and_counts(target, target_lengths, batch):
    if isinstance(target, (list, tuple)) and target_lengths is None:
        rows = [check_axes(_int_array(row, f"target[{k}]"), f"target[{k}]", {1: "(n,)"})
                for k, row in enumerate(list(target))]
        counts = np.array([len(row) for row in rows], np.int64)
        return np.concatenate([np.empty(0), *rows], dtype=np.int64, casting="unsafe"), counts
    labels = _int_array(target, "target").astype(np.int64, copy=False)
    if labels.ndim == 2:
        if target_lengths is None:
            target_lengths = np.full(len(labels), labels.shape[1])
        counts = check_lengths(target_lengths, len(labels), labels.shape[1], "target_lengths")
        return labels[np.arange(labels.shape[1]) < counts[:, None]], counts
    if labels.ndim != 1 or target_lengths is None:
        raise ValueError("target: expected a list of arrays of ints, shape (B, n), or (n,) with target_lengths; "
                         f"found shape {labels.shape}")
    counts = check_lengths(target_lengths, batch, labels.size, "target_lengths")
    if counts.sum() != labels.size:
        raise ValueError(f"target_lengths: expected {labels.size} labels in all as in target, found {counts.sum()}")
    return labels, counts


def check_stepped(network, name):
    """A module that can be stepped and has an output for every step."""
    if not callable(getattr(network, "stream", None)):
        raise TypeError(f"{name}: expected a fastrnn network with a stream, found {type(network).__name__}")
    if network.pools_time:
        raise ValueError(f"{name}: expected one with an output for every step, found one that pools the steps")


def check_next(logits, name):
    """The logits (B, V) that a step of the network `name` gave."""
    if not isinstance(logits, np.ndarray) or logits.ndim != 2 or not logits.shape[1]:
        found = f"shape {logits.shape}" if isinstance(logits, np.ndarray) else type(logits).__name__
        raise ValueError(f"{name}: expected a network whose step gives logits (B, V), found an output of {found}")
    return logits


def check_texts(texts, name):
    """A list of str; one str stands for a list of it."""
    found = [texts] if isinstance(texts, str) else texts
    if not isinstance(found, (list, tuple)) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"{name}: expected a string or a list of strings, found {shown(texts)}")
    return found


def check_prompts(prompts, name):
    """A list of int64 arrays (P,), P > 0."""
    if not isinstance(prompts, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of arrays of ids, found {type(prompts).__name__}")
    if len(prompts) == 0:
        raise ValueError(f"{name}: expected at least one, found none")
    arrays = [check_axes(_int_array(ids, f"{name}[{k}]"), f"{name}[{k}]", {1: "(n,)"}).astype(np.int64)
              for k, ids in enumerate(prompts)]
    for k, ids in enumerate(arrays):
        if not ids.size:
            raise ValueError(f"{name}[{k}]: expected at least one id, found none")
    return arrays


def check_symbols(ids, name, size):
    """An int64 array (n,) of ids in 0 .. size - 1, any number of them."""
    return _in_range(check_axes(_int_array(ids, name), name, {1: "(n,)"}), name, size, None)


def check_targets(target, name, batch, size):
    """A list of int64 arrays (n,) of ids in 0 .. size - 1, one for each of `batch` sequences; None: of any number."""
    if not isinstance(target, (list, tuple, np.ndarray)):
        raise TypeError(f"{name}: expected a list of arrays of ids, found {type(target).__name__}")
    target = list(target)   # turning an entry into an array may run Python that changes the caller's
    if batch is not None and len(target) != batch:
        raise ValueError(f"{name}: expected {batch} arrays of ids, one for each sequence; found {len(target)}")
    return [check_symbols(ids, f"{name}[{k}]", size) for k, ids in enumerate(target)]


def check_unit_interval(array, name):
    """Every element in 0 .. 1."""
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        at = _first(wrong)
        raise ValueError(f"{name}: expected values in 0 .. 1, found {array[at]}{_place(at)}")


def check_element_weights(shape, lengths, mask, sample_weight, batch_first):
    """Weight of each element, a C-contiguous float64 array of `shape`; None where all are valid and equal."""
    if lengths is None and mask is None and sample_weight is None:
        return None
    weight = np.ones(shape)
    batch_axis = 0 if batch_first or len(shape) < 2 else 1
    if lengths is not None:
        if len(shape) < 2:
            raise ValueError(f"lengths: expected None for elements of shape {shape}, which have no time axis")
        steps = np.arange(shape[1 - batch_axis])
        valid = steps < check_lengths(lengths, shape[batch_axis], steps.size)[:, None]
        weight *= _trailing(valid if batch_axis == 0 else valid.T, len(shape))
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask: expected bool, found {mask.dtype}")
        _check_leading(mask, "mask", shape)
        weight *= _trailing(mask, len(shape))
    if sample_weight is not None:
        sample = _real_array(sample_weight, "sample_weight").astype(np.float64)
        if sample.ndim == 1 and batch_axis == 1:
            _check_leading(sample, "sample_weight", shape[1:])
            sample = sample[None]
        else:
            _check_leading(sample, "sample_weight", shape)
        wrong = ~((sample >= 0) & (sample < np.inf))
        if wrong.any():
            at = _first(wrong)
            raise ValueError(f"sample_weight: expected finite numbers of at least 0, "
                             f"found {sample[at]}{_place(at)}")
        weight *= _trailing(sample, len(shape))
    return weight


def _check_leading(array, name, shape):
    if array.ndim == 0 or array.shape != shape[:array.ndim]:
        raise ValueError(f"{name}: expected shape {shape} or its leading axes, found {array.shape}")


def _trailing(array, ndim):
    return array.reshape(array.shape + (1,) * (ndim - array.ndim))


def _check_mapping(mapping, name):
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name}: expected a dict, found {type(mapping).__name__}")


def _refuse_masked(values, name):
    """A masked array is no array: NumPy would read what lies under its mask."""
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(values, masked.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, found a masked array; fill it first, or name the "
                        "valid steps with lengths=")


def _real_array(values, name):
    if type(values) is np.ndarray:      # by far the most frequent
        array = values
    else:
        _refuse_masked(values, name)
        try:
            array = np.asarray(values)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: expected an array of real numbers, "
                            f"found {type(values).__name__} ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of real numbers, found dtype {array.dtype}")
    return array if array.flags.aligned else array.copy()


_view = np.ndarray.view


def _own_shape(array):
    """A view of the same values: nobody can give it another shape between a check and the use."""
    return _view(array) if type(array) is np.ndarray else _view(array, np.ndarray)


def _int_array(values, name):
    """An array of ints that nobody else has: what is checked is what is used, whoever writes to `values` meanwhile."""
    _refuse_masked(values, name)
    try:
        array = np.asarray(values).copy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array of ints, "
                        f"found {type(values).__name__} ({error})") from None
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name}: expected an array of ints, found dtype {array.dtype}")
    return array if array.size else array.astype(np.int64)


def _in_range(ids, name, size, weight):
    """Ids in 0 .. size - 1, where the weight is not 0, as C-contiguous int64."""
    wrong = (ids < 0) | (ids >= size)
    if weight is not None:
        wrong &= weight != 0
    if wrong.any():
        at = _first(wrong)
        raise ValueError(f"{name}: expected ints in 0 .. {size - 1}, found {ids[at]}{_place(at)}")
    return np.asarray(ids, np.int64, order="C")


def _first(wrong):
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _place(at):
    return f" at [{', '.join(map(str, at))}]" if at else ""


def check_bool(value, name):
    """A bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, found {shown(value)}")
    return bool(value)


def check_steps(x, name, features, dtype):
    """An array of steps, `features` contiguous in the last axis, in `dtype`; other axes are not checked."""
    x = _own_shape(_real_array(x, name))
    if x.ndim == 0 or x.shape[-1] != features:
        raise ValueError(f"{name}: expected {features} features in the last axis, found shape {x.shape}")
    if x.dtype != dtype:
        x = x.astype(dtype)
    return x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)


def check_axes(x, name, kinds):
    """`x` with one of the numbers of axes in `kinds`, a dict of count -> how the shape is written."""
    if x.ndim not in kinds:
        raise ValueError(f"{name}: expected shape {' or '.join(kinds.values())}, found {x.shape}")
    return x


def check_ragged(sequences, name, features, dtype):
    """A list of (T_i, features) arrays as their rows one after another, and the lengths (int64)."""
    kinds = {2: f"(T, {features})"}
    arrays = [check_axes(check_steps(x, f"{name}[{i}]", features, dtype), f"{name}[{i}]", kinds)
              for i, x in enumerate(list(sequences))]
    lengths = np.array([len(x) for x in arrays], np.int64)
    rows = np.concatenate(arrays) if arrays else np.empty((0, features), dtype)
    if rows.shape != (lengths.sum(), features):
        raise ValueError(f"{name}: expected arrays that keep their shapes during a call, found some that changed")
    return rows, lengths


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
        array = _real_array(part, of)
        if array.shape != shape:
            raise ValueError(f"{of}: expected shape {shape}, found {array.shape}")
        arrays.append(np.ascontiguousarray(array, dtype))
    return tuple(arrays)


def check_out(out, shape, dtype, name="out"):
    """A view of an array that a result can be written into as it is."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected a {dtype} array, found {type(out).__name__}")
    out = _own_shape(out)   # whose attributes are true, whatever a subclass says of itself
    if out.dtype != dtype:
        raise TypeError(f"{name}: expected a {dtype} array, found {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {out.shape}")
    if not out.flags.carray:
        raise ValueError(f"{name}: expected a C-contiguous, aligned, writeable array")
    return out

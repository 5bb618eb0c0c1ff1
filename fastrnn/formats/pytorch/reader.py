"""`from_torch`: models of PyTorch, from live objects, state dicts and files."""

import fnmatch
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import real_array
from ...check.values import check_bool, check_option, shown
from ...files.wholefile import as_path, error_text, naming, opened
from ..arrayfile import is_arrays, read_arrays
from ..names import check_patterns, find_modules, is_parameter, note_of
from ..verify import check_tolerance, verified
from .archive import open_torch
from .channels import notes_of
from .modules import CONTAINERS, MOST_MODULES, Node, convert, is_known, is_module, is_of_torch
from .pickled import Instance
from .tensors import Tensor
from .weightnorm import part_of, whole_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

NONLINEARITIES = "tanh", "relu"
MOST_DEEP = 8  # dicts around a state dict
SCRIPT = "__torch__."


def from_torch(source: "Any", *, key: "str | None" = None, only: "Any" = None,
               kinds: "Mapping[str, str] | None" = None, batch_first: "bool | None" = None,
               nonlinearity: "Literal['tanh', 'relu'] | None" = None, sample_inputs: "Any" = None,
               expected_outputs: "Any" = None, tolerance: float = 1e-5) -> "Any":
    """The model that PyTorch has, with its parameters bit for bit. Files are read without PyTorch and run nothing.

    What gives other numbers is refused, by the names of the module and the attribute. torch.nn.RNN, LSTM, GRU and their
    cells, Embedding, Linear, LayerNorm, Dropout, Identity, ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid, Softplus,
    Hardsigmoid, Softmax and LogSoftmax of the last axis become the modules of the same names, a Sequential of them a
    `Sequential`. So do Conv1d, BatchNorm1d, MaxPool1d, AvgPool1d, Flatten and the adaptive pools with one output, which
    take x with the channels last, (B, T, C), where PyTorch has (N, C, T): a warning says so. Weights under weight_norm
    are put together.

    How a module of one's own calls its parts is not known, and neither is it of a state dict. Then the
    parts are returned: a dict of name -> module in the order of the source, or where there is one, that module. A
    warning names what is left out.

    Parameters
    ----------
    source : torch.nn.Module, mapping of str to tensor or array, str or path-like
        A file is one of torch.save (a state dict, a checkpoint with one in it, a whole module), a .safetensors of any
        program or an .npz of arrays.
    key : str, optional
        Which state dict or module of a checkpoint, such as "model_state", where it has several.
    only : str or sequence of str, optional
        Patterns of the names of parts, as a shell matches file names: "encoder.*". Others are left out.
    kinds : dict of str to str, optional
        Name of a part -> "Embedding", "Linear", "LayerNorm" or "BatchNorm1d", where a state dict's names and shapes
        leave it open: a matrix without a bias, say, whose name is not that of a table or a map.
    batch_first : bool, optional
        Layout of the runners, which a state dict does not tell: False, as in PyTorch, by default.
    nonlinearity : "tanh" or "relu", optional
        Of an RNN, which a state dict does not tell either: "tanh", with a warning, by default.
    sample_inputs, expected_outputs : array, or tuple or list of such, optional
        What PyTorch puts out, y or (y, state), for x or the arguments (x, state). The model's outputs are compared, and
        `model.verification` reports the worst error.
    tolerance : float
        Worst absolute error to accept.

    Returns
    -------
    Module, or dict of str to Module
        float64 where the source is, else float32: float16 and bfloat16 are converted, exactly. Settings of training
        other than dropout (padding_idx, for one) are left out.

    Raises
    ------
    ValueError, TypeError
        Naming the file, the module, what was expected and what was found. Also a FileNotFoundError where there is no
        file.
    """
    check_tolerance(tolerance, sample_inputs, expected_outputs)
    if nonlinearity is not None:
        check_option(nonlinearity, "nonlinearity", NONLINEARITIES)
    if batch_first is not None:
        batch_first = check_bool(batch_first, "batch_first")
    options = {"only": only, "kinds": kinds, "batch_first": batch_first, "nonlinearity": nonlinearity}
    if is_module(source):
        model, notes = _from_value(source, key, options, _live_array, "source")
    elif hasattr(source, "keys") and hasattr(source, "__getitem__"):
        model, notes = _from_value(dict(source), key, options, _live_array, "source")
    else:
        source = as_path(source)
        model, notes = _from_file(source, key, options)
    for note in notes:
        warnings.warn(f"{source if isinstance(source, os.PathLike) else 'source'}: {note}", stacklevel=2)
    return verified(model, sample_inputs, expected_outputs, tolerance)


def _from_file(path, key, options):
    with opened(path) as (file, size):
        with naming(path, "a model of PyTorch"):
            arrays = is_arrays(file, size)
        if arrays:
            with naming(path, "named arrays"):
                return _from_value(read_arrays(file, size, path), key, options, _live_array, "the file")
        with naming(path, "a model of PyTorch"):
            found = open_torch(file, size)
            return _from_value(found.value, key, options, lambda tensor, name: _file_array(found, tensor, name),
                               "the file")


def _live_array(tensor, name):
    if hasattr(tensor, "detach"):
        try:
            tensor = tensor.detach().cpu()
            tensor = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
        except (RuntimeError, TypeError) as error:  # without numbers, sparse, quantised
            raise ValueError(f"{name}: expected a tensor with numbers in their places, found another: "
                             f"{error_text(error)}") from None
    return real_array(tensor, name)


def _file_array(found, tensor, name):
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: expected a tensor, found a {type(tensor).__name__}")
    return found.array(tensor)


def _from_value(value, key, options, array_of, where):
    value = _chosen(value, key)
    if is_module(value):
        return _from_module(value, options, array_of, where)
    if isinstance(value, Instance) and str(value.cls).startswith(SCRIPT):
        value = _flattened(value)
    candidates = _candidates(value)
    if not candidates:
        raise ValueError(f"{where}: expected a module or a state dict with parameters of names that PyTorch gives, "
                         f"found {_brief(value)}")
    if len(candidates) > 1:
        raise ValueError(f"{where}: expected one state dict or module, found several; say key=, one of "
                         f"{', '.join(map(repr, candidates))[:300]}")
    value = next(iter(candidates.values()))
    if is_module(value):
        return _from_module(value, options, array_of, where)
    return _from_state_dict(value, options, array_of, where)


def _brief(value):
    if isinstance(value, dict):
        names = [name[:80] for name in list(value)[:10] if isinstance(name, str)]
        return f"a dict of {', '.join(names) or 'other entries'}"
    return f"a {str(value.cls)[:200] if isinstance(value, Instance) else type(value).__name__}"


def _chosen(value, key):
    """The entry of a checkpoint that is asked for."""
    if key is None:
        return value
    if not isinstance(key, str):
        raise TypeError(f"key: expected the name of an entry, found {shown(key)}")
    parts = [key] if isinstance(value, dict) and key in value else key.split(".")
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            known = ", ".join(repr(name)[:80] for name in list(value)[:20]) if isinstance(value, dict) else "none"
            raise ValueError(f"key: expected an entry of the file, {known}; found {shown(key)}")
        value = value[part]
    return value


def _is_tensor(value):
    return isinstance(value, (Tensor, np.ndarray)) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _weight(name):
    """The name of the weight that a tensor is, or is a part of."""
    part = part_of(name) if isinstance(name, str) else None
    return name if part is None else part[0]


def _candidates(value):
    """The state dicts and modules in nested dicts, by key."""
    found, seen, todo = {}, set(), [(value, "", 0)]
    while todo:
        one, name, deep = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if is_module(one):
            found[name] = one
        elif isinstance(one, dict):
            if any(is_parameter(_weight(inner)) and _is_tensor(tensor) for inner, tensor in one.items()):
                found[name] = one
            elif deep < MOST_DEEP:
                todo.extend((inner, f"{name}.{entry}" if name else entry, deep + 1)
                            for entry, inner in one.items() if isinstance(entry, str))
    return found


def _flattened(script):
    """The tensors of a TorchScript program by name."""
    found, seen, todo = {}, set(), [(script, "")]
    while todo:
        one, name = todo.pop(0)
        if id(one) in seen or not isinstance(one.state, dict):
            continue
        seen.add(id(one))
        inside = [(inner, f"{name}{entry}.") for entry, inner in one.state.items() if isinstance(inner, Instance)]
        found.update((f"{name}{entry}", inner) for entry, inner in one.state.items() if isinstance(inner, Tensor))
        todo = inside + todo
    return found


def _from_state_dict(tensors, options, array_of, where):
    tensors = {name: tensor for name, tensor in tensors.items() if isinstance(name, str) and _is_tensor(tensor)}
    if all(name.startswith("module.") for name in tensors):  # of a DataParallel
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    tensors, array_of = _whole(tensors, array_of)
    found, left = _find(tensors, options, array_of)
    if not found:
        raise ValueError(f"{where}: expected parameters of modules that fastrnn has (say kinds={{name: kind}} where "
                         f"names leave it open), found {', '.join(left)[:300]}")
    notes = note_of(left)
    plain = [name for name, module in found.items() if getattr(module, "kind", None) == "RNN"]
    if plain and options["nonlinearity"] is None:
        notes.append(f"took tanh for the nonlinearity of {', '.join(map(repr, plain))[:200]}, of which parameters do "
                     f"not tell; say nonlinearity=")
    return _one_or_all(found), notes


def _whole(tensors, array_of):
    """The tensors with normalised weights put together, and what gives the array of each."""
    whole = whole_weights(tensors, array_of)
    return whole, lambda tensor, name: array_of(tensor, name) if name in tensors else tensor


def _find(tensors, options, array_of):
    shapes = {name: tensor for name, tensor in tensors.items() if _is_tensor(tensor)}
    return find_modules(shapes, array_of, only=options["only"], kinds=options["kinds"],
                        batch_first=bool(options["batch_first"]), nonlinearity=options["nonlinearity"])


def _one_or_all(found):
    return next(iter(found.values())) if len(found) == 1 else found


def _from_module(module, options, array_of, where):
    for name in ("batch_first", "nonlinearity"):
        if options[name] is not None:
            raise ValueError(f"{name}: expected None with a module, which tells it itself; found "
                             f"{shown(options[name])}")
    root = Node(module, "")
    while root.path in CONTAINERS and root.path.startswith("torch.nn.parallel.") and len(root.children()) == 1:
        root = Node(root.children()[0].module, "")
    if is_known(root) and options["only"] is None:
        model = convert(root, array_of)
        if model is None:
            raise ValueError(f"{where}: expected a model, found an Identity alone")
        return model, notes_of({"": model})
    if is_of_torch(root):
        return convert(root, array_of), []  # which refuses it by name
    found, loose, left = _parts(root, array_of)
    if loose or options["only"] is not None or options["kinds"]:
        loose, array_of = _whole(loose, array_of)
        more, others = _find(loose, {**options, "only": None}, array_of)
        found |= more
        left += others
    if options["only"] is not None:
        found, left = _only(found, options["only"]), []
    if not found:
        raise ValueError(f"{where}: expected a module with parts that fastrnn has, found {root.path[:200]} with "
                         f"{', '.join(left)[:300] or 'none'}")
    return _one_or_all(found), note_of(left) + notes_of(found)


def _only(found, patterns):
    patterns = check_patterns(patterns, "only")
    kept = {name: part for name, part in found.items() if any(fnmatch.fnmatchcase(name, one) for one in patterns)}
    if not kept:
        raise ValueError(f"only: expected patterns of parts, {', '.join(map(repr, found)) or '(none)'}; found "
                         f"{shown(patterns)}")
    return kept


def _parts(root, array_of):
    """(parts with parameters by name, loose tensors of modules of one's own, what is left out)."""
    found, loose, left, seen = {}, {}, [], {id(root.module): ""}
    todo = [root]
    while todo:
        node = todo.pop(0)
        own = {**node.parameters, **node.buffers}
        loose.update({node.name_of(name): tensor for name, tensor in own.items()})
        inside = []
        for child in node.children():
            if id(child.module) in seen:
                continue  # one module under two names
            seen[id(child.module)] = child.where
            if len(seen) > MOST_MODULES:
                raise ValueError(f"expected at most {MOST_MODULES} modules, found more")
            if is_known(child):
                try:
                    module = convert(child, array_of)
                except ValueError as error:
                    if child.path not in CONTAINERS:
                        left.append(str(error))
                        continue
                else:
                    if module is not None and module.params:
                        found[child.where] = module
                    continue
            if is_of_torch(child):
                if child.parameters or child.children():
                    left.append(child.shown())
            else:
                inside.append(child)
        todo = inside + todo
    return found, loose, left

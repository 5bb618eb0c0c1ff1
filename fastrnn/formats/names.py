"""Modules found in named arrays by their names and shapes alone."""

import fnmatch
import re
from typing import TYPE_CHECKING

import numpy as np

from ..check.values import check_mapping, check_option, shown
from ..nn.layers import BatchNorm1d, Embedding, LayerNorm, Linear
from .build import build, build_recurrent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .._types import Array

KINDS = "Embedding", "Linear", "LayerNorm", "BatchNorm1d"
# The end of a name, behind the name of its module: PyTorch's, and the short forms of it that people write.
_RECURRENT = re.compile(r"(?:(?P<module>.+)[._/])?(?P<kind>weight|bias|w|b)_(?P<of>ih|hh|hr)(?P<layer>_l\d{1,4})?"
                        r"(?P<way>_reverse)?\Z", re.DOTALL)
_PLAIN = re.compile(r"(?:(?P<module>.+)[./])?(?P<kind>weight|bias|running_mean|running_var|num_batches_tracked)\Z"
                    r"|(?P<short>.+)[._/](?P<letter>[wb])\Z", re.DOTALL)
_TABLE = re.compile(r"emb", re.IGNORECASE)
_MAP = re.compile(r"linear|lin\d*\Z|fc|dense|proj|out|head|decoder|classifier|logits", re.IGNORECASE)
_NORM = re.compile(r"(layer_?norm|(?<![a-z])ln(?![a-z])|norm)", re.IGNORECASE)
_OTHER_NORM = re.compile(r"batch|group|instance|weight|(?<![a-z])[bgi]n(?![a-z])", re.IGNORECASE)
MOST_SHOWN = 10


def is_parameter(name: "Any") -> bool:
    """Whether an array of this name may belong to a module that is found by names."""
    return isinstance(name, str) and bool(_RECURRENT.match(name) or _PLAIN.match(name) or _TABLE.search(_last(name)))


def find_modules(tensors: "Mapping[str, Any]", array_of: "Callable[[Any, str], Array]", *, only: "Any" = None,
                 kinds: "Any" = None, batch_first: bool = False,
                 nonlinearity: "str | None" = None) -> "tuple[dict[str, Any], list[str]]":
    """The modules that named tensors make up.

    Parameters
    ----------
    tensors : mapping of str to tensor
        Anything with a shape.
    array_of : function (tensor, name) -> array
        Called for the tensors of the modules that are found.
    only : str or sequence of str, optional
        Patterns of modules' names, as a shell matches file names; without it all.
    kinds : dict of str to str, optional
        Module's name -> one of `KINDS`, where name and shape leave it open.
    batch_first, nonlinearity
        Of recurrent layers, whose parameters do not tell.

    Returns
    -------
    modules : dict of str to Module
        In the order of `tensors`, "" for parameters without a module's name.
    left : list of str
        Names of the tensors that belong to none of them.
    """
    only = check_patterns(only, "only")
    kinds = check_kinds(kinds)
    groups: dict[tuple[str, str], dict[str, str]] = {}
    left = []
    for name in tensors:
        key, own = _place(name)
        if key is None:
            left.append(name)
        else:
            groups.setdefault(key, {})[own] = name
    found = {}
    for (what, module), names in groups.items():
        if only is not None and not any(fnmatch.fnmatchcase(module, pattern) for pattern in only):
            continue
        make = _recurrent if what == "recurrent" else _plain_maker(module, names, tensors, kinds)
        if make is None:
            left.extend(names.values())
            continue
        where = module or next(iter(names.values()))
        arrays = {own: array_of(tensors[name], name) for own, name in names.items()}
        if module in found:
            raise ValueError(f"{where}: expected one module of the name, found two")
        found[module] = make(arrays, where, batch_first=batch_first, nonlinearity=nonlinearity)
    if only is not None:
        unused = [pattern for pattern in only if not any(fnmatch.fnmatchcase(name, pattern) for name in found)]
        if unused:
            raise ValueError(f"only: expected patterns of modules, {', '.join(map(repr, found)) or '(none)'}; found "
                             f"{shown(unused[0])}")
    unused = [name for name in kinds if name not in found]
    if unused:
        raise ValueError(f"kinds: expected names of modules, {', '.join(map(repr, found)) or '(none)'}; found "
                         f"{shown(unused[0])}")
    return found, left if only is None else []


def note_of(left: "list[str]") -> "list[str]":
    """The warning of the tensors, or modules, that are left out, if there are any."""
    if not left:
        return []
    more = f" and {len(left) - MOST_SHOWN} more" if len(left) > MOST_SHOWN else ""
    return [f"left out what fastrnn has no module for, or where name and shape do not tell which (say "
            f"kinds={{name: kind}}): {', '.join(left[:MOST_SHOWN])}{more}"]


def check_patterns(patterns, name):
    if patterns is None:
        return None
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple)) or not patterns or not all(isinstance(one, str) for one in patterns):
        raise TypeError(f"{name}: expected patterns of modules' names, found {shown(patterns)}")
    return list(patterns)


def check_kinds(kinds):
    if kinds is None:
        return {}
    check_mapping(kinds, "kinds")
    return {name: check_option(kind, f"kinds[{shown(name)}]", KINDS) for name, kind in kinds.items()}


def _last(name):
    return re.split(r"[./]", name)[-1]


def _place(name):
    """((what, module), the parameter's own name), or (None, None)."""
    match = _RECURRENT.match(name)
    if match:
        kind, layer = {"w": "weight", "b": "bias"}.get(match["kind"], match["kind"]), match["layer"]
        if layer is None and len(match["kind"]) == 1:
            layer = "_l0"   # no cell of PyTorch has these names: as a runner it can do a cell's step, too
        return ("recurrent", match["module"] or ""), f"{kind}_{match['of']}{layer or ''}{match['way'] or ''}"
    match = _PLAIN.match(name)
    if match:
        if match["letter"]:
            return ("plain", match["short"]), {"w": "weight", "b": "bias"}[match["letter"]]
        return ("plain", match["module"] or ""), match["kind"]
    if _TABLE.search(_last(name)):
        return ("plain", name), "weight"
    return None, None


def _recurrent(arrays, where, *, batch_first, nonlinearity):
    return build_recurrent(arrays, where, batch_first=batch_first, nonlinearity=nonlinearity)


def _plain_maker(module, names, tensors, kinds):
    """The function that makes a module without a state, or None where it is not clear which it is."""
    shapes = {own: tuple(tensors[name].shape) for own, name in names.items()}
    kind = kinds.get(module)
    weight, bias = shapes.get("weight"), shapes.get("bias")
    beside = any(f"{module}{mark}{name}" in tensors for mark in "._/" for name in ("running_mean", "running_var"))
    if kind is None and {"running_mean", "running_var"} <= shapes.keys():
        sizes = {shape for own, shape in shapes.items() if own != "num_batches_tracked"}
        alike = len(sizes) == 1 and len(sizes.pop()) == 1 and (weight is None) == (bias is None)
        kind = "BatchNorm1d" if alike else None
    elif kind is None and weight is not None and not beside:
        last = _last(module)
        if len(weight) == 2 and bias is not None:
            kind = "Linear" if bias == weight[:1] else None
        elif len(weight) == 2:
            kind = "Embedding" if _TABLE.search(last) else "Linear" if _MAP.search(last) else None
        elif len(weight) == 1 and bias == weight:
            kind = "LayerNorm" if _NORM.search(last) and not _OTHER_NORM.search(last) else None
    return _MAKERS.get(kind)


def _embedding(arrays, where, **_):
    rows = _matrix(arrays, where)
    return build(Embedding, arrays, where, num_embeddings=rows[0], embedding_dim=rows[1])


def _linear(arrays, where, **_):
    out, features = _matrix(arrays, where)
    return build(Linear, arrays, where, in_features=features, out_features=out, bias="bias" in arrays)


def _layer_norm(arrays, where, **_):
    return build(LayerNorm, arrays, where, features=arrays["weight"].size)


def _batch_norm(arrays, where, **_):
    if "running_mean" not in arrays:
        raise ValueError(f"{where}: expected running_mean and running_var, found {', '.join(arrays)}")
    mean = arrays["running_mean"]
    count = arrays.get("num_batches_tracked", np.zeros((), mean.dtype))     # of integers
    return build(BatchNorm1d, {**arrays, "num_batches_tracked": count.astype(mean.dtype)}, where,
                 num_features=mean.size, affine="weight" in arrays)


def _matrix(arrays, where):
    if "weight" not in arrays or arrays["weight"].ndim != 2:
        raise ValueError(f"{where}: expected a matrix, found {', '.join(arrays)}")
    return arrays["weight"].shape


_MAKERS = {"Embedding": _embedding, "Linear": _linear, "LayerNorm": _layer_norm, "BatchNorm1d": _batch_norm}

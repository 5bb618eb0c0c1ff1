"""Weight normalisation (Salimans and Kingma 2016): weight = g v / ||v||, put together as PyTorch does."""

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..._types import Array

# Both forms that PyTorch has: torch.nn.utils.weight_norm, and that of torch.nn.utils.parametrizations.
_OLD = re.compile(r"(?P<weight>(?:.+\.)?weight[^.]*)_(?P<part>[gv])\Z", re.DOTALL)
_NEW = re.compile(r"(?P<module>(?:.+\.)?)parametrizations\.(?P<own>weight[^.]*)\.original(?P<part>[01])\Z", re.DOTALL)
PARTS = {"g": "g", "v": "v", "0": "g", "1": "v"}


def part_of(name: str) -> "tuple[str, str] | None":
    """(the weight's name, "g" or "v") where the name of a tensor is that of a part of a normalised weight."""
    match = _OLD.match(name)
    if match:
        return match["weight"], PARTS[match["part"]]
    match = _NEW.match(name)
    return (match["module"] + match["own"], PARTS[match["part"]]) if match else None


def whole_weights(tensors: "Mapping[str, Any]", array_of: "Callable[[Any, str], Array]") -> "dict[str, Any]":
    """The tensors with an array for each weight that lies there in its two parts."""
    parts: dict[str, dict[str, str]] = {}
    for name in tensors:
        found = part_of(name)
        if found:
            parts.setdefault(found[0], {})[found[1]] = name
    whole = {weight: own for weight, own in parts.items() if len(own) == 2 and weight not in tensors}
    if not whole:
        return dict(tensors)
    first = {own["g"]: weight for weight, own in whole.items()}
    others = {own["v"] for own in whole.values()}
    found = {}
    for name, tensor in tensors.items():
        if name in first:
            own = whole[first[name]]
            found[first[name]] = normalised(*(array_of(tensors[own[part]], own[part]) for part in "gv"), first[name])
        elif name not in others:
            found[name] = tensor
    return found


def normalised(g: "Array", v: "Array", where: str) -> "Array":
    """g v / ||v||, with a norm for each value of g. Sums are in float64."""
    over = tuple(k for k in range(v.ndim) if g.size == 1 or g.shape[k:k + 1] == (1,))
    wanted = tuple(1 if k in over else n for k, n in enumerate(v.shape))
    if v.dtype.kind != "f" or g.dtype.kind != "f" or not v.size or (g.shape != wanted and g.size != 1):
        raise ValueError(f"{where}: expected a length for each of its rows, or columns, found {g.dtype} of shape "
                         f"{g.shape} for {v.dtype} of shape {v.shape}")
    wide = v.astype(np.float64)
    with np.errstate(all="ignore"):
        return (wide * (g.astype(np.float64) / np.sqrt(np.square(wide).sum(over, keepdims=True)))).astype(v.dtype)

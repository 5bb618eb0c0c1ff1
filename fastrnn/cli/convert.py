"""`fastrnn convert`: models from one system's file to another's."""

import io
import warnings
from pathlib import Path

import numpy as np

import fastrnn

from ..files.tensorfile import is_own
from ..files.wholefile import write_whole
from ..formats.pytorch.writer import to_torch, write_torch
from .frameworks import compare_with_keras, compare_with_torch

TORCH, KERAS = (".pt", ".pth"), (".h5", ".hdf5", ".keras")
READS = (*TORCH, ".safetensors", ".npz", *KERAS, ".onnx")
WRITES = (*TORCH, ".safetensors", ".npz", ".onnx")


def convert(source: str, target: str, *, key: "str | None" = None, config: "str | None" = None,
            verify: bool = False) -> "list[str]":
    """Read the model in `source`, write it to `target`, both of the kinds that their extensions say.

    Of an .onnx file the recurrent layers are read, as parts.

    Returns
    -------
    list of str
        Lines that say what was done.

    Raises
    ------
    ValueError
        Where a kind cannot be read or written, or with `verify` where outputs differ: nothing is then written. Also
        where the file that was written has other parameters.
    """
    kind, wanted = _ending(source, READS, "IN"), _ending(target, WRITES, "OUT")
    for name, value, kinds in ("--key", key, TORCH), ("--config", config, KERAS):
        if value is not None and kind not in kinds:
            raise ValueError(f"{name}: expected with {', '.join(kinds)}, found {kind}")
    model = _read(source, kind, key, config)
    lines = [f"{source}: {_described(model)}"]
    if verify:
        lines.append(_verified(model, source, kind, key, config))
    _write(model, target, wanted)
    if verify:
        _check_written(model, target, wanted)
        lines.append(f"{target}: the same parameters, bit for bit")
    else:
        lines.append(f"{target}: written")
    return lines


def _ending(path, known, name):
    ending = Path(path).suffix.lower()
    if ending not in known:
        raise ValueError(f"{name}: expected a file that ends in {', '.join(known)}; found {str(path)!r}")
    return ending


def _read(source, kind, key=None, config=None):
    if kind == ".onnx":
        return fastrnn.onnx_layers(source)
    if kind in KERAS:
        return fastrnn.from_keras(source, config=config)
    if kind == ".safetensors" and is_own(source):
        return fastrnn.load(source)
    return fastrnn.from_torch(source, key=key)


def _write(model, target, kind):
    if kind == ".onnx":
        if isinstance(model, dict):
            raise ValueError(f"OUT: expected a kind for parts, {', '.join(WRITES[:-1])}, as their calls are not known; "
                             f"found .onnx for {', '.join(model)[:200]}")
        fastrnn.to_onnx(model, target)
    elif kind == ".safetensors" and not isinstance(model, dict):
        fastrnn.save(model, target)
    elif kind == ".safetensors":
        from safetensors.numpy import save

        write_whole(target, save({name: np.ascontiguousarray(array) for name, array in _arrays(model).items()}))
    elif kind == ".npz":
        memory = io.BytesIO()
        np.savez(memory, **_arrays(model))
        write_whole(target, memory.getvalue())
    else:
        write_torch(target, _arrays(model))


def _arrays(model):
    """The state dict of a model, or of all parts by their names."""
    if not isinstance(model, dict):
        return to_torch(model)
    return {f"{name}.{own}" if name else own: array
            for name, part in model.items() for own, array in to_torch(part).items()}


def _described(model):
    parts = model if isinstance(model, dict) else {"": model}
    count = sum(part.num_parameters for part in parts.values())
    shown = ", ".join(f"{name} {type(part).__name__}".strip() for name, part in parts.items())
    return f"{shown}; {count:,} parameters"


def _verified(model, source, kind, key, config):
    """What the comparison with the framework found."""
    if kind in KERAS:
        if config is not None:
            raise ValueError("--verify: expected a file of a whole model, found one of weights and --config")
        return f"{source}: {compare_with_keras(model, source)}"
    if kind in TORCH:
        return f"{source}: {compare_with_torch(model, source, key)}"
    raise ValueError(f"--verify: expected a file of {', '.join((*TORCH, *KERAS))}, whose framework can be asked; found "
                     f"{kind}")


def _check_written(model, target, kind):
    """Raise unless a file that was written has the model's parameters."""
    if kind == ".onnx":
        return
    wanted = _arrays(model) if isinstance(model, dict) or kind != ".safetensors" else model.params
    if kind == ".safetensors" and not isinstance(model, dict):
        found = fastrnn.load(target).params
    elif kind == ".npz":
        with np.load(target) as file:
            found = dict(file)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that leave the modules open do not matter here
            found = fastrnn.from_torch(target, kinds=_kinds(model))
        found = _arrays(found if isinstance(found, dict) else {next(iter(_names(model))): found})
        wanted = {name: array for name, array in wanted.items() if name in found}
    if found.keys() != wanted.keys() or any(
            found[name].dtype != array.dtype or not np.array_equal(found[name], array, equal_nan=True)
            for name, array in wanted.items()):
        raise ValueError(f"{target}: expected the parameters of the model, found others")


def _names(model):
    return model if isinstance(model, dict) else [""]


def _kinds(model):
    parts = model if isinstance(model, dict) else {}
    return {name: type(part).__name__ for name, part in parts.items()
            if type(part).__name__ in ("Embedding", "Linear", "LayerNorm")}

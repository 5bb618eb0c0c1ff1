"""Models in files: `save` and `load`."""

from typing import TYPE_CHECKING

from ..files.tensorfile import read_tensors, write_tensors
from ..files.wholefile import naming
from ..nn.module import Module, known_also
from .build import build_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._types import PathLike


def save(model: "Module", path: "PathLike") -> None:
    """Write `model` to `path` as .safetensors, its configuration in the metadata, in one step.

    Parameters
    ----------
    model : Module
        Any module or network of this package, character models with their vocabulary included.
    path : str or path-like

    Raises
    ------
    TypeError
        If `model` is no Module, or `path` no path.
    FileError
        An OSError and a ValueError, if the file cannot be written; what was there is as it was.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
    write_tensors(path, "model", model.params, model.config(), readable=True)


def load(path: "PathLike", modules: "Mapping[str, type] | None" = None) -> "Any":
    """The model that `save` wrote to `path`.

    Parameters
    ----------
    path : str or path-like
    modules : dict of str to subclass of Module, optional
        What the names of classes in the file stand for, beside those of this package and of those that are imported.

    Returns
    -------
    Module
        Of the type that was saved, with the same parameters, bit for bit.

    Raises
    ------
    ValueError
        Naming the path, what was expected and what was found: a file of another kind or program, a
        truncated or damaged one, a later format, one with a class that is not known. It is a FileNotFoundError too
        where there is no file.
    """
    tensors, config = read_tensors(path, "model")
    with known_also(modules), naming(path, "a model of this version"):
        model = build_model(config, tensors)
        model.load_state_dict(tensors)
    return model

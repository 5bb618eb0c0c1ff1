"""Checkpoint files, each a tree of plain values and arrays, and series of them that keep the newest files."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .tensorfile import read_tensors, write_tensors
from .wholefile import MissingFileError, naming, remove_stale

if TYPE_CHECKING:
    from typing import Any

    from .._types import PathLike

DEEPEST_TREE = 100  # nested dicts, lists and tuples; a file has two levels for each


def write_checkpoint(path: "PathLike", state: "Any") -> None:
    """Write `state`, nested dicts, lists and tuples of JSON-able values and arrays, to `path` in one step.

    Raises
    ------
    FileError
        An OSError and a ValueError; `path` is as it was.
    TypeError
        For a value that a file cannot hold, naming its place.
    """
    arrays = {}
    tree = _pack(state, "state", arrays, DEEPEST_TREE)
    write_tensors(path, "checkpoint", arrays, tree, readable=True)


def check_storable(value: "Any", name: str) -> None:
    """Raise what `write_checkpoint` would for `value`, under the name of the argument that it was handed over as."""
    _pack(value, name, {}, DEEPEST_TREE)


def read_checkpoint(path: "PathLike") -> "Any":
    """The state that `write_checkpoint` wrote to `path`; a ValueError, naming what was found, if it is not whole."""
    arrays, tree = read_tensors(path, "checkpoint")
    with naming(path, "a fastrnn checkpoint"):
        return _unpack(tree, arrays)


class CheckpointSeries:
    """Files ``<stem>.<number>.ckpt``, of which the newest `keep` stay.

    Parameters
    ----------
    stem : str or path-like
    keep : int, at least 1
    """

    def __init__(self, stem: "PathLike", keep: int = 2) -> None:
        self.stem = Path(stem)
        self.keep = keep

    def write(self, number: int, state: "Any") -> "Path":
        """Write `state` as checkpoint `number`, then remove all files but the newest `keep`.

        Also removes files with a higher number: they are damaged, because this run continued from an earlier one.
        """
        path = self.stem.with_name(f"{self.stem.name}.{number:09d}.ckpt")
        write_checkpoint(path, state)
        paths = self.paths()
        if path not in paths:  # another process has cleared the series
            return path
        at = paths.index(path)
        for other in (*paths[:at], *paths[at + self.keep :]):
            other.unlink(missing_ok=True)
        return path

    def paths(self) -> "list[Path]":
        """The existing files, newest first."""
        pattern = re.compile(re.escape(self.stem.name) + r"\.(\d{9,})\.ckpt")
        found = [(pattern.fullmatch(path.name), path) for path in self.stem.parent.glob("*.ckpt")]
        numbered = [(int(match[1]), path) for match, path in found if match]
        return [path for _, path in sorted(numbered, reverse=True)]

    def newest(self) -> "tuple[Path, Any] | None":
        """(path, state) of the newest whole checkpoint, or None; a warning for each newer, damaged one.

        Raises
        ------
        ValueError
            If there are files and all of them are damaged.
        """
        damaged = []
        for path in self.paths():
            try:
                state = read_checkpoint(path)
            except MissingFileError:
                continue
            except ValueError as error:
                damaged.append(error)
                continue
            for error in damaged:
                warnings.warn(f"skipped: {error}; {path.name}, the one before, is whole", RuntimeWarning, stacklevel=2)
            return path, state
        if damaged:
            for error in damaged[:-1]:
                warnings.warn(f"skipped: {error}", RuntimeWarning, stacklevel=2)
            raise damaged[-1]
        return None

    def clear(self) -> None:
        """Remove every file of the series, and files that killed processes left half written."""
        for path in self.paths():
            path.unlink(missing_ok=True)
        self.remove_stale()

    def remove_stale(self) -> None:
        """Remove files that killed processes left half written."""
        remove_stale(self.stem, "*.ckpt")


def _pack(value, where, arrays, depth):
    """A JSON-able copy of `value`; every array goes to `arrays`, named after its place in the tree."""
    if isinstance(value, np.ndarray):
        name = _free_name(where, arrays)
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (dict, list, tuple)) and not depth:
        raise ValueError(f"{where[:80]}: expected at most {DEEPEST_TREE} dicts, lists and tuples inside each other")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: expected names that are strings, found {key!r}")
        return {"dict": {str(key): _pack(item, f"{where}/{key}", arrays, depth - 1) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{where}/{k}", arrays, depth - 1) for k, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{where}: expected a number, string, array, dict, list or tuple; found {type(value).__name__}"
    )


def _free_name(where, arrays):
    """A name for the array at this place: the place itself, changed if it is no text or taken already ("a/b", a: b)."""
    name = where = where.encode("utf-8", "backslashreplace").decode()
    number = len(arrays)
    while name in arrays:
        name, number = f"{where}#{number}", number + 1
    return name


def _unpack(tree, arrays):
    """The reverse of `_pack`; takes each array out of `arrays`."""
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            raise ValueError("expected a value, found a list that is not marked as one")
        return tree
    if len(tree) != 1:
        raise ValueError(f"expected a value with one mark, found {len(tree)}")
    ((kind, content),) = tree.items()
    if kind == "array":
        if not isinstance(content, str) or content not in arrays:
            raise ValueError(f"expected the name of an array of its own, found {content!r:.80}")
        return arrays.pop(content)
    if kind not in ("dict", "list", "tuple") or not isinstance(content, dict if kind == "dict" else list):
        raise ValueError(f"expected an array, dict, list or tuple, found {kind!r:.80} of a {type(content).__name__}")
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in content.items()}
    items = [_unpack(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items

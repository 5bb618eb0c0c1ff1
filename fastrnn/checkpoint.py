"""Checkpoint files: a tree of plain values and arrays; a series of files of which the newest are kept."""

import re
import warnings
from pathlib import Path

import numpy as np

from ._init import left_at_zero
from .module import module_from_config
from .tensorfile import MissingFileError, read_tensors, remove_stale, write_tensors


def write_checkpoint(path, state):
    """Write `state`, nested dicts, lists and tuples of JSON-able values and arrays, to `path` in one step.

    Raises
    ------
    FileError
        An OSError and a ValueError; `path` is as it was.
    TypeError
        For a value that has no place in a file, naming where it is.
    """
    arrays = {}
    tree = _pack(state, "state", arrays)
    write_tensors(path, "checkpoint", arrays, tree)


def read_checkpoint(path):
    """What `write_checkpoint` wrote to `path`; ValueError, naming what was found, if it is not whole."""
    arrays, tree = read_tensors(path, "checkpoint")
    return _unpack(tree, arrays)


class CheckpointSeries:
    """Files ``<stem>.<number>.ckpt`` of which the newest `keep` stay.

    Parameters
    ----------
    stem : str or path-like
    keep : int, at least 1
    """

    def __init__(self, stem, keep=2):
        self.stem = Path(stem)
        self.keep = keep

    def write(self, number, state):
        """Write `state` as checkpoint `number`, then remove what is older than the newest `keep`.

        Files with a higher number go too: they are damaged, or this run would not have written what they come after.
        """
        path = self.stem.with_name(f"{self.stem.name}.{number:09d}.ckpt")
        write_checkpoint(path, state)
        paths = self.paths()
        at = paths.index(path)
        for other in (*paths[:at], *paths[at + self.keep :]):
            other.unlink(missing_ok=True)
        return path

    def paths(self):
        """The files there are, newest first."""
        pattern = re.compile(re.escape(self.stem.name) + r"\.(\d{9,})\.ckpt")
        found = [(pattern.fullmatch(path.name), path) for path in self.stem.parent.glob("*.ckpt")]
        numbered = [(int(match[1]), path) for match, path in found if match]
        return [path for _, path in sorted(numbered, reverse=True)]

    def newest(self):
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

    def clear(self):
        """Remove every file of the series, and what killed processes left half written."""
        for path in self.paths():
            path.unlink(missing_ok=True)
        self.remove_stale()

    def remove_stale(self):
        """Remove what killed processes left half written."""
        remove_stale(self.stem, "*.ckpt")


def build_model(config):
    """The model that a `Module.config` dictionary describes, of whichever of this package's types, to load into."""
    # their types register themselves
    from . import elementwise, layers, runners, scaling, seq2seq, sequential, text  # noqa: F401

    with left_at_zero():
        return module_from_config(config)


def _pack(value, where, arrays):
    """JSON-able copy of `value`; every array goes to `arrays` under its place in the tree."""
    if isinstance(value, np.ndarray):
        arrays[where] = value
        return {"array": where}
    if isinstance(value, np.generic):
        return _pack(value.item(), where, arrays)
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: expected names that are strings, found {key!r}")
        return {"dict": {key: _pack(item, f"{where}/{key}", arrays) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{where}/{k}", arrays) for k, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{where}: expected a number, string, array, dict, list or tuple; found {type(value).__name__}"
    )


def _unpack(tree, arrays):
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in content.items()}
    items = [_unpack(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items

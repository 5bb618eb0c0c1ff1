"""Safetensors files that are written whole or not at all, and checked when they are read. Never pickle."""

import glob
import hashlib
import json
import os
from pathlib import Path

import numpy as np

VERSION = 1
KEY = "fastrnn"  # of the file's metadata


class FileError(OSError, ValueError):
    """A file that cannot be read or written; the message names it."""


class MissingFileError(FileNotFoundError, FileError):
    """A file that is not there."""


def _as_path(path):
    try:
        path = Path(path)
    except TypeError:
        raise TypeError(f"path: expected a str or path-like, found {type(path).__name__}") from None
    if not path.name or "\0" in path.name:
        raise FileError(f"path: expected the name of a file, found {str(path)!r}")
    return path


def write_tensors(path, kind, tensors, state):
    """Write `tensors` and `state` to `path`, replacing the file that is there in one step.

    The bytes go to a temporary file in the same directory, which is flushed to the disk and then renamed:
    whoever reads `path`, at any moment and after any crash, finds the old file or the new one.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What the file is, for example "model"; `read_tensors` asks for it.
    tensors : dict of str to array
    state : JSON-able
        Kept in the file's metadata.

    Raises
    ------
    FileError
        An OSError and a ValueError; `path` is as it was.
    """
    from safetensors.numpy import save

    path = _as_path(path)
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    header = {"kind": kind, "version": VERSION, "state": state}
    header["sha256"] = _checksum(tensors, header)
    # one entry: the order of several would change from run to run
    write_whole(path, save(tensors, {KEY: json.dumps(header)}))


def write_whole(path, data):
    """Write bytes to `path` as `write_tensors` does: all of them or, with a FileError, none."""
    path = _as_path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_tensors(path, kind):
    """What `write_tensors` wrote to `path`.

    Returns
    -------
    tensors : dict of str to array
    state : JSON-able

    Raises
    ------
    ValueError
        Naming the path, what was expected and what was found; also a FileNotFoundError where there is no
        file, and an OSError where it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = _as_path(path)
    expected = f"{path}: expected a fastrnn {kind}, found"
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise ValueError(f"{expected} an empty file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{expected} {_describe(head, path.stat().st_size)}") from error
    if header is None:
        raise ValueError(f"{expected} a safetensors file of another program")
    try:
        header = json.loads(header)
        found, version, state, checksum = (header[key] for key in ("kind", "version", "state", "sha256"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{expected} a damaged one: its metadata cannot be read") from error
    if version != VERSION:
        raise ValueError(f"{path}: expected format version {VERSION}, found {version}")
    if found != kind:
        raise ValueError(f"{expected} a fastrnn {found}")
    if _checksum(tensors, header) != checksum:
        raise ValueError(f"{expected} a damaged one: its checksum does not fit its contents")
    return tensors, state


def check_writable(path):
    """Raise a FileError now if `write_tensors` could not write to `path`; nothing there is changed."""
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path}: cannot be written: Is a directory")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def remove_stale(path, ending=None):
    """Remove the temporary files that killed processes left beside `path`, or beside the files `path`.`ending`."""
    path = Path(path)
    name = glob.escape(path.name) if ending is None else f"{glob.escape(path.name)}.{ending}"
    for temporary in path.parent.glob(f".{name}.*.tmp"):
        if temporary.name.split(".")[-2].isdecimal():
            temporary.unlink(missing_ok=True)


def _checksum(tensors, header):
    described = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(described).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _describe(head, size):
    """What a file is that safetensors cannot read: such a file begins with the length of a JSON header."""
    if head[8:9] == b"{":
        return f"a truncated or damaged safetensors file of {size} bytes"
    return f"a file of {size} bytes that is not safetensors (it begins with {head[:4]!r})"


def _sync_directory(directory):
    """Make a rename last through a power failure, where the system lets a directory be opened."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

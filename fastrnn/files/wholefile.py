"""Files that are written whole or not at all, by any number of writers, and read from one descriptor."""

import contextlib
import glob
import hashlib
import os
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._types import PathLike

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LONG_NAME = 200  # bytes; a longer name gets a temporary file with a short one
RANDOM_BYTES = 8
UNLOCKED_AGE = 86400.0  # seconds after which a temporary file is stale, if files cannot be locked
MOST_SHOWN = 1000  # most characters of an error's text within another


class FileError(OSError, ValueError):
    """A file that cannot be read or written; the message names it."""


class MissingFileError(FileNotFoundError, FileError):
    """A file that is not there."""


def as_path(path: "PathLike") -> str:
    """The path of a file; raises for a value that cannot be one."""
    try:
        path = Path(path)
    except TypeError:
        raise TypeError(f"path: expected a str or path-like, found {type(path).__name__}") from None
    if not path.name or "\0" in str(path):
        raise FileError(f"path: expected the name of a file, found {str(path)!r}")
    return path


@contextlib.contextmanager
def naming(path: "PathLike", expected: str) -> "Iterator[None]":
    """Turn any error in a file's contents into a ValueError that names the file.

    The code that uses the contents checks them, with the same checks as for a caller's arguments. Only this function
    adds the name of the file.
    """
    try:
        yield
    except FileError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        plain = isinstance(error, (ValueError, TypeError)) and not isinstance(error, UnicodeError)
        found = error_text(error) if plain else f"{type(error).__name__} {error_text(error)}".rstrip()
        raise ValueError(f"{path}: expected {expected}, found one that does not fit: {found}") from error


def error_text(error: BaseException) -> str:
    """The text of an error, or another text from a file: one line without control characters, cut if it is long."""
    text = str(error)
    text = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextlib.contextmanager
def opened(path):
    """(an unbuffered file to read, its size); raises at once if it is not a regular file.

    All reads use the one descriptor, so a file that is replaced meanwhile stays the old one. The file is not mapped
    into memory: this process would end if another one cut the file short.
    """
    try:
        handle = _open(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name that the system cannot have
        raise FileError(f"{path}: cannot be read: {error}") from error
    with open(handle, "rb", buffering=0) as file:
        yield file, os.fstat(file.fileno()).st_size


def _open(path):
    _check_regular(os.stat(path).st_mode)  # first, because opening a device may have an effect
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= vars(os).get(name, 0)
    handle = os.open(path, flags)
    try:
        _check_regular(os.fstat(handle).st_mode)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_regular(mode):
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory")
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
        raise OSError(22, f"expected a regular file, found {kinds.get(stat.S_IFMT(mode), 'something else')}")


def read_into(file, buffer):
    """Fill a writable buffer of bytes; return how many bytes there were."""
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])
        if not count:
            break
        done += count
    return done


def read_whole(path: "PathLike") -> bytes:
    """All bytes of a regular file."""
    with opened(path) as (file, size):
        data = bytearray(size)
        try:
            return bytes(data[: read_into(file, memoryview(data))])
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_whole(path: "PathLike", data: bytes) -> None:
    """Write bytes to `path`: all of them or, with a FileError, none.

    The bytes go to a temporary file in the same directory, which is flushed to the disk and then renamed. So a reader
    finds the old file or the new one, at any moment and after any crash. Any number of threads, processes and machines
    may write at the same time; the last one wins. A link stays a link: the file that it leads to is replaced. The file
    keeps its mode; a new file gets the umask's.
    """
    path = as_path(path)
    try:
        target = _target(path)
        file, temporary = _temporary(target)
        try:
            with file:
                with contextlib.suppress(FileNotFoundError):
                    _keep_mode(file, os.stat(target))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)  # under the lock, so that nobody takes it for a stale file before
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def check_writable(path: "PathLike") -> None:
    """Raise a FileError now if `write_whole` could not write to `path`; nothing there is changed."""
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory")
        file, temporary = _temporary(_target(as_path(path)))
        with file:
            temporary.unlink()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def remove_stale(path: "PathLike", ending: str | None = None) -> None:
    """Remove the temporary files that killed processes left beside `path`, or beside the files `path`.`ending`.

    Files that are being written now stay, because they are locked.
    """
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):
        path = _target(path)
    stem = glob.escape(_stem(path.name)) if ending is None else f"{glob.escape(path.name)}.{ending}"
    for temporary in path.parent.glob(f".{stem}.*.tmp"):
        middle = temporary.name.split(".")[-2]
        if middle.isdecimal() or (len(middle) == 2 * RANDOM_BYTES and set(middle) <= set("0123456789abcdef")):
            with contextlib.suppress(OSError):
                _remove_unlocked(temporary)


def _target(path):
    """The file to replace: for a link the file that it leads to."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with contextlib.suppress(FileNotFoundError):
        _check_regular(os.stat(target).st_mode)
    return target


def _stem(name):
    if len(os.fsencode(name)) <= LONG_NAME:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _temporary(target):
    """(a new, locked file beside `target`, its path); its random name is unique, even across machines."""
    while True:
        path = target.with_name(f".{_stem(target.name)}.{secrets.token_hex(RANDOM_BYTES)}.tmp")
        try:
            file = open(path, "xb")  # noqa: SIM115
        except FileExistsError:
            continue
        try:
            if _lock(file) is not False and os.fstat(file.fileno()).st_nlink:
                return file, path
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        file.close()  # another process has just removed it as stale
        path.unlink(missing_ok=True)


def _lock(file):
    """Whether this process now holds the lock of a file; None if files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_unlocked(path):
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    with open(path, "rb+") as file:
        locked = _lock(file)
        if locked or (locked is None and time.time() - os.fstat(file.fileno()).st_mtime > UNLOCKED_AGE):
            path.unlink(missing_ok=True)


def _keep_mode(file, status):
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if hasattr(os, "fchmod") and mode != stat.S_IMODE(os.fstat(file.fileno()).st_mode):
        os.fchmod(file.fileno(), mode)


def _sync_directory(directory):
    """Make a rename survive a power failure, if the system can; the file exists in any case."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

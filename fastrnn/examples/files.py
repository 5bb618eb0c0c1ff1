"""Where examples find their data and packages, and how they write what they draw."""

import importlib.util
import io
from pathlib import Path

from fastrnn.files.wholefile import write_whole

SHARED = Path(__file__).parents[3] / "shared" / "data"


def find_data(path, name, *inside):
    """`path`, or where it is None the file or folder `name` in the data folder beside the checkout.

    Parameters
    ----------
    path : str, path-like or None
    name : str
    *inside : str
        Files that the folder must hold.

    Raises
    ------
    ValueError
        Where there is none, or it lacks one of the files.
    """
    if path is None:
        path = SHARED / name
        if not path.exists():
            raise ValueError(f"--data: expected a path to {name}, as it is not in the folder {SHARED}; found none")
    path = Path(path)
    if not path.exists():
        raise ValueError(f"--data: expected a file or folder, found no {path}")
    for file in inside:
        if not (path / file).is_file():
            raise ValueError(f"--data: expected a folder with {' and '.join(inside)}, found no {file} in {path}")
    return path


def need(package, extra, name):
    """Raise an ImportError that says what installs a package that `name` asks for, where it is missing."""
    if importlib.util.find_spec(package) is None:
        raise ImportError(f'{name}: expected the package {package}, found none: pip install "fastrnn[{extra}]"')


def save_figure(figure, path):
    """Write a Matplotlib figure, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=str(path).rpartition(".")[2].lower(), dpi=110)
    write_whole(path, buffer.getvalue())

"""Where examples find their data, and how they write what they draw."""

import io
from pathlib import Path

from fastrnn.tensorfile import write_whole

SHARED = Path(__file__).parents[3] / "shared" / "data"


def find_data(path, name):
    """`path`, or where it is None the file or folder `name` in the data folder beside the checkout.

    Raises
    ------
    ValueError
        Where there is none.
    """
    if path is None:
        if not (SHARED / name).exists():
            raise ValueError(f"--data: expected a path to {name}, as it is not in the folder {SHARED}; found none")
        return SHARED / name
    if not Path(path).exists():
        raise ValueError(f"--data: expected a file or folder, found no {path}")
    return Path(path)


def save_figure(figure, path):
    """Write a Matplotlib figure, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=str(path).rpartition(".")[2].lower(), dpi=110)
    write_whole(path, buffer.getvalue())

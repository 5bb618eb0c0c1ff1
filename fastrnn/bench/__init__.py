"""Side-by-side benchmark: the same work, weights and threads through fastrnn and every installed peer.

From the top: `run` -> `driver` (rounds) -> `workers` (a process per library) -> `peers` (one file per
library), over the grid in `cells`. `problem` makes weights and inputs, `machine` measures the limits, `cold`
import time and memory, `report` and `plot` show the results. `bench/README.md` says how to read them.
"""


def run(quick=False, threads=None, json_path=None, plot_path=None, tables=None, blas=False):
    """Measure, print the tables, and write the results.

    Parameters
    ----------
    quick : bool
        A small part of the grid, under two minutes on two cores.
    threads : int, optional
        Measure with this many threads only; by default with one and with all usable CPUs. The single step
        is always measured with one.
    json_path, plot_path : str or path-like, optional
        Where to write everything measured, and a picture of the ratios.
    tables : sequence of str, optional
        Names of `fastrnn.bench.cells.TABLES`; by default all.
    blas : bool
        Measure fastrnn with SciPy's BLAS for all products (FASTRNN_BLAS=1) in the place of other libraries.

    Returns
    -------
    int
        0, or 1 if a peer's outputs differed from ours or a peer failed.

    Raises
    ------
    ValueError
        For a path that cannot be written (an OSError too), or a plot without matplotlib; before anything is
        measured.
    """
    from .command import run_command

    return run_command(quick, threads, json_path, plot_path, tables, blas)

"""What this installation is and uses."""

import sys

from . import _kernels
from ._version import __version__
from .threads import available_cpus, get_num_threads


def show_config():
    """Print version, instruction set in use, threads and the source of the matrix products.

    Returns
    -------
    dict
        The same as data: version, isa, isas, threads, cpus, blas, python, numpy.
    """
    import numpy
    found = {
        "version": __version__,
        "isa": _kernels.isa(),
        "isas": _kernels.available_isas(),
        "threads": get_num_threads(),
        "cpus": available_cpus(),
        "blas": "SciPy's BLAS for weight gradients" if _kernels.blas_wanted() else "own packed kernels",
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    print(f"fastrnn {found['version']} (Python {found['python']}, NumPy {found['numpy']})")
    print(f"instruction set: {found['isa']} (of {', '.join(found['isas'])}; FASTRNN_ISA overrides)")
    print(f"threads: {found['threads']} of {found['cpus']} CPUs (FASTRNN_NUM_THREADS overrides)")
    print(f"large products: {found['blas']} (FASTRNN_BLAS=1 or 0 overrides)")
    return found

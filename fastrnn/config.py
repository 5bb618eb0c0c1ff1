"""What this installation is and uses."""

import sys
from typing import TYPE_CHECKING

from ._version import __version__
from .engine.runtime import _backend, _kernels
from .threads import available_cpus, get_num_threads

if TYPE_CHECKING:
    from typing import Any


def show_config() -> "dict[str, Any]":
    """Print version, instruction set in use, threads and the source of the matrix products.

    Returns
    -------
    dict
        The same as data: version, isa, isas, dots ("int8", "bf16" -> the instructions that multiply
        with weights of so few bits), threads, cpus, blas (dtype -> the products that SciPy's BLAS does:
        "forward and BPTT", "BPTT" or "nothing"; our kernels do the others), python, numpy.
    """
    import numpy
    found = {
        "version": __version__,
        "isa": _kernels.isa(),
        "isas": _kernels.available_isas(),
        "dots": _kernels.dots(),
        "threads": get_num_threads(),
        "cpus": available_cpus(),
        "blas": _backend.wanted(),
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    print(f"fastrnn {found['version']} (Python {found['python']}, NumPy {found['numpy']})")
    print(f"instruction set: {found['isa']} (of {', '.join(found['isas'])}; FASTRNN_ISA overrides)")
    dots = "; ".join(f"{name}: {used}" for name, used in found["dots"].items())
    print(f"products with few bits: {dots} (of {', '.join(_kernels.available_dots())}; FASTRNN_DOT overrides)")
    print(f"threads: {found['threads']} of {found['cpus']} CPUs (FASTRNN_NUM_THREADS overrides)")
    done = "; ".join(f"{dtype}: {part}" for dtype, part in found["blas"].items())
    print(f"products by SciPy's BLAS: {done} (FASTRNN_BLAS=1 or 0 overrides)")
    return found

"""The choice of who does the products of the loops: our kernels or SciPy's BLAS.

With FASTRNN_BLAS=1 BLAS does all of them, forward and BPTT; with FASTRNN_BLAS=0 it does none. By default BLAS does
those of BPTT where it is faster. Forward passes always use our kernels: their sums have one order, so the bits do not
depend on the batch, the threads or the chunks. BLAS does not promise that.
"""

from contextlib import nullcontext
import os

from fastrnn.engine.runtime import _kernels
from fastrnn.engine.runtime._kernels cimport FULL, Precision, generation, kernels, kernels_for

# (instruction set, dtype) for which BLAS does the products of BPTT: ours take 2.3 to 4.3 times as long there
# (bench/NOTES.md, BLAS for BPTT).
BLAS_IS_FASTER = (("baseline", "float32"), ("baseline", "float64"))
_SIZES = {"float32": 4, "float64": 8}

cdef int _seen = -1             # the generation of the tables that `_context` belongs to
cdef object _context = None     # makes the context of a call that may use BLAS; None until the first such call


def wanted():
    """What BLAS does: a dict dtype -> "forward and BPTT", "BPTT" or "nothing"."""
    asked = os.environ.get("FASTRNN_BLAS")
    if asked in ("0", "1"):
        return dict.fromkeys(_SIZES, "forward and BPTT" if asked == "1" else "nothing")
    return {dtype: "BPTT" if (_kernels.isa(), dtype) in BLAS_IS_FASTER else "nothing" for dtype in _SIZES}


cdef int _install() except -1:
    """Put the wanted products of BLAS into the tables; import SciPy only if there are any."""
    global _context, _seen
    parts = wanted()
    if any(part != "nothing" for part in parts.values()):
        from fastrnn.engine.runtime import _blas
        from fastrnn._onethread import one_thread
        _context = one_thread.held      # before the products, so that nobody calls BLAS without the context
        for dtype, part in parts.items():
            _blas.install(_SIZES[dtype], part == "forward and BPTT", part != "nothing")
    else:
        _context = nullcontext
    _seen = generation()
    return 0


cdef const fr_kernels *products(int itemsize, Precision precision=FULL) except NULL:
    if precision != FULL:
        return kernels_for(precision)
    if _seen != generation() and os.environ.get("FASTRNN_BLAS") == "1":
        _install()
    return kernels(itemsize)


cdef object blas_context():
    if _seen != generation():
        _install()
    return _context()

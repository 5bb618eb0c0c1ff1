"""Who does the products of the loops: our kernels, or SciPy's BLAS.

FASTRNN_BLAS=1 gives BLAS all of them, forward and BPTT, and FASTRNN_BLAS=0 none. By default BLAS does those of BPTT
where it is faster. Forward passes keep our kernels everywhere: a sum of theirs has one order, so its bits depend on
neither the batch nor the threads nor the chunks. BLAS promises nothing of that.
"""

from contextlib import nullcontext
import os

from fastrnn.engine.runtime import _kernels
from fastrnn.engine.runtime._kernels cimport generation, kernels

# (instruction set, dtype) for which BLAS does the products of BPTT. Measured on a core with AVX-512, time of BPTT with
# our products over that with OpenBLAS's, LSTM 32 to 512 and SRU 256, 1 and 2 threads: avx512 0.50 to 0.91, baseline 2.3
# to 4.3, float32 and float64 alike. avx2 0.8 to 1.6, but BLAS used AVX-512 there; on a core that stops at AVX2 dW of
# 1024 x 256 over 3200 rows ran at 91 : 93 GFLOP/s. Forward passes: avx512 0.2 to 0.9, baseline 1.2 to 4.3.
BLAS_IS_FASTER = (("baseline", "float32"), ("baseline", "float64"))
_SIZES = {"float32": 4, "float64": 8}

cdef int _seen = -1             # the generation of the tables that `_context` is for
cdef object _context = None     # makes the context of a call that may use BLAS; None: nobody has asked yet


def wanted():
    """Who does what: a dict dtype -> "forward and BPTT", "BPTT" or "nothing" is BLAS's."""
    asked = os.environ.get("FASTRNN_BLAS")
    if asked in ("0", "1"):
        return dict.fromkeys(_SIZES, "forward and BPTT" if asked == "1" else "nothing")
    return {dtype: "BPTT" if (_kernels.isa(), dtype) in BLAS_IS_FASTER else "nothing" for dtype in _SIZES}


cdef int _install() except -1:
    """Put BLAS's products into the tables, as far as they are wanted; imports SciPy where any are."""
    global _context, _seen
    parts = wanted()
    if any(part != "nothing" for part in parts.values()):
        from fastrnn.engine.runtime import _blas
        from fastrnn._onethread import one_thread
        _context = one_thread.held      # before the products: nobody may call BLAS outside the context
        for dtype, part in parts.items():
            _blas.install(_SIZES[dtype], part == "forward and BPTT", part != "nothing")
    else:
        _context = nullcontext
    _seen = generation()
    return 0


cdef const fr_kernels *products(int itemsize) except NULL:
    if _seen != generation() and os.environ.get("FASTRNN_BLAS") == "1":
        _install()
    return kernels(itemsize)


cdef object blas_context():
    if _seen != generation():
        _install()
    return _context()

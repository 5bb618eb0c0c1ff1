"""The places of a call's arrays: see ``_carve.pyx``."""

from fastrnn.engine.loops._call cimport Call
from fastrnn.engine.runtime._workspace cimport Arena

# Place the arrays of the forward pass, and of BPTT; with arena.base NULL they only measure.
cdef void carve(Call *call, Arena *arena) noexcept nogil
cdef void carve_bptt(Call *call, Arena *arena) noexcept nogil

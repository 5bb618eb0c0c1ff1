"""Where the arrays of a call lie: see ``_carve.pyx``."""

from fastrnn.engine.loops._call cimport Call
from fastrnn.engine.runtime._workspace cimport Arena

# The forward pass's, and BPTT's; with arena.base NULL they only measure.
cdef void carve(Call *call, Arena *arena) noexcept nogil
cdef void carve_bptt(Call *call, Arena *arena) noexcept nogil

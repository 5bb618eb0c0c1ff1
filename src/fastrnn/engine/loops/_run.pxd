"""The tasks of a call's workers: see ``_run.pyx``."""

from fastrnn.engine.loops._call cimport Call

# Arguments: a Call and the number of a worker or share.
cdef void forward_task(void *call, int worker) noexcept nogil
cdef void backward_task(void *call, int worker) noexcept nogil
cdef void weights_task(void *call, int part) noexcept nogil
cdef void add_sums(const Call *call) noexcept nogil

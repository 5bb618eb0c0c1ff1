"""What the workers of a call do: see ``_run.pyx``."""

from fastrnn.engine.loops._call cimport Call

# Each takes a Call and the number of a worker, or of a share.
cdef void forward_task(void *call, int worker) noexcept nogil
cdef void backward_task(void *call, int worker) noexcept nogil
cdef void weights_task(void *call, int part) noexcept nogil
cdef void add_sums(const Call *call) noexcept nogil

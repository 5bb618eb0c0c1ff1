"""All layers and directions of a runner over a batch, split over workers; see ``_engine.pyx``."""

from libc.stdint cimport uint64_t

from fastrnn.engine.loops._call cimport Call
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.loops._weights cimport Packed, Weights
from fastrnn.engine.runtime._workspace cimport Workspace

cdef class Engine


cdef class Activations:
    """The arrays of one call. A tape keeps them until BPTT; only one caller gets to do that."""
    cdef Workspace memory
    cdef Call call
    cdef Packed packed
    cdef object starts              # int64, first rows of packed sequences; or None
    # Sizes of the call, which BPTT's arrays must fit.
    cdef fr_int layers, rows
    cdef bint packed_rows
    cdef Engine owner               # of a tape
    cdef int ready                  # 1 while it holds a pass that nobody uses; an atomic swap takes it

    cdef int take(self, Engine engine) except -1
    cdef void put_back(self) noexcept

cdef class Engine:
    cdef readonly Weights weights
    cdef readonly int layers, directions
    cdef fr_int window_width        # of the last inputs that a state holds
    # Lists of objects to use again; no tape is among them, because somebody may still hold it.
    cdef list free_calls            # Activations of inference, without memory
    cdef list memories              # Workspaces of these and of tapes
    cdef list backward_memories
    cdef list gradient_memories     # for copies of the gradients, while a call adds to them

    cdef Activations _activations(self, bint keep)
    cdef int _deal(self, Call *call, fr_int B, fr_int T, fr_int total) except -1
    cdef int _give_back(self, Activations act) except -1
    cdef int _run_forward(self, Call *call) except -1
    cdef int _run_backward(self, Call *call) except -1
    cdef int _add_weight_gradients(self, Activations act, Workspace memory) except -1
    cdef Workspace _place_bptt(self, Activations act, Packed packed)
    cdef int _activations_of(self, Call *call, gates, h, c) except -1
    cdef object _check_forward(self, Activations act, x, y, initial, final, lengths, span, bint may_lack_y)
    cdef fr_int _check_span(self, span, fr_int steps, fr_int batch) except -1
    cdef int _check_states(self, tuple parts, str name, int kind, fr_int layers, fr_int batch) except -1
    cdef int _check_backward(self, Activations act, dy, tuple dfinal, dx, tuple dinitial, dh) except -1
    cdef int _forward(self, Activations act, tuple initial, tuple final) except -1
    cdef object _share(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                       uint64_t seed, fr_int first, object span)
    cdef int _prepare(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                      uint64_t seed, fr_int first, object span) except -1

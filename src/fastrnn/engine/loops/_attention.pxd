"""Attention of a decoder over the memory of its source; see ``_attention.pyx``."""

from fastrnn.engine.runtime._arrays cimport Pinned
from fastrnn.engine.runtime._kernels cimport fr_int, fr_kernels, fr_panels
from fastrnn.engine.runtime._watch cimport Watched
from fastrnn.engine.runtime._workspace cimport Arena, Scratch, Workspace

cdef struct Attention:
    # H query, A key, W value width.
    const fr_kernels *k
    bint additive, projected
    fr_int query, width, values
    const char *w_q     # [A,H] where projected
    const char *v       # [A] where additive
    char *dw_q
    char *dv
    fr_panels p_q       # packed for the forward pass
    fr_panels q_q       # for BPTT

cdef struct Memory:
    # The caller's, batch first: S positions of each of B sources.
    fr_int steps                # S
    const fr_int *lengths       # [B] valid positions
    const fr_int *source        # [rows] the source of each sequence; NULL: sequence b reads source b
    const char *values          # [B,S,W]
    const char *keys            # [B,S,A]
    char *dvalues
    char *dkeys                 # may be dvalues

cdef struct Reading:
    # One worker's intermediate values, one sequence after another, step by step (row start[j] + t).
    fr_int *start               # [batch]
    char *weights               # [N,S]
    char *dcontext              # [N,W]
    char *dscores               # [N,S]
    char *queries               # [N,H], packed rows, if the query is h_{t-1}
    char *projected             # [N,A], packed rows
    char *dprojected            # [N,A], packed rows
    char *dv                    # [A]
    char *ordered               # [steps,A] q' of one sequence

cdef void carve_reading(const Attention *a, fr_int batch, fr_int count, fr_int positions, bint before, Reading *reading,
                        Arena *arena) noexcept nogil
cdef void carve_reading_backward(const Attention *a, fr_int count, fr_int steps, fr_int positions, Reading *reading,
                                 Arena *arena) noexcept nogil
cdef void attend(const Attention *a, const Memory *memory, const Reading *reading, const fr_int *seq, fr_int rows,
                 fr_int t, fr_int first, const char *query, fr_int ldq, char *context, fr_int ldc) noexcept nogil
cdef void attend_backward(const Attention *a, const Memory *memory, const Reading *reading, const fr_int *seq,
                          fr_int rows, fr_int t, fr_int first, const char *query, fr_int ldq, char *dquery,
                          fr_int lddq) noexcept nogil
cdef void memory_gradient(const Attention *a, const Memory *memory, const Reading *reading, fr_int j, fr_int b,
                          fr_int steps, const char *queries, const Scratch *scratch) noexcept nogil


cdef class AttentionWeights(Watched):
    cdef Attention attention
    cdef Pinned grads
    cdef Packing packed

    cdef Packing forward_pack(self)
    cdef Packing backward_pack(self)
    cdef Packing _pack(self, bint for_forward)


cdef class Packing:
    cdef Workspace memory
    cdef Attention attention

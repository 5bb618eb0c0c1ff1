"""The C kernels of ``src/kernels/kernels.h``, whose comments are the contract; no other file declares them."""

from libc.stdint cimport int64_t, uint64_t

cdef extern from "kernels.h" nogil:
    ctypedef int64_t fr_int

    ctypedef struct fr_scan:
        fr_int steps, rows, hidden, first, end
        int keep, trace
        void *z
        void *saved
        void *state
        const void *before
        void *out
        const void *skip
        const void *weight
        void *dy
        void *carry
        void *sums
        fr_int ld_z, ld_saved, ld_state, step_state, ld_before, ld_out, step_out, ld_skip, ld_dy, ld_carry
        double skip_scale

    ctypedef struct fr_matrix:
        void *data
        fr_int ld

    ctypedef struct fr_panels:
        const fr_format *format
        void *data
        fr_int columns, inner, stride

    ctypedef struct fr_format:
        int itemsize
        int width
        fr_int (*panel_bytes)(fr_int k) noexcept nogil
        void (*pack)(void *dst, const void *src, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k) noexcept nogil
        void (*multiply)(fr_matrix c, fr_matrix a, const fr_panels *w, fr_matrix init, fr_int r, fr_int first,
                         fr_int n) noexcept nogil

include "kernels.pxi"  # fr_kernels: made from kernels.inc.h by setup.py

cdef extern from "kernels.h" nogil:
    ctypedef struct fr_dot:
        const char *name
        const fr_format **int8
        const fr_format **bf16
        int (*supported)() noexcept nogil

    ctypedef struct fr_isa:
        const char *name
        const fr_kernels **f32
        const fr_kernels **f64
        int (*supported)() noexcept nogil
        const fr_dot *dots

    ctypedef struct fr_team:
        int size, arrived, round, last

    int FR_NO_ROUND
    void fr_team_end(fr_team *team) noexcept
    bint fr_team_ended(const fr_team *team) noexcept

    void fr_barrier(fr_team *team) noexcept
    int fr_has_barrier() noexcept
    const fr_isa *fr_isas() noexcept
    uint64_t fr_flush_begin() noexcept
    void fr_flush_end(uint64_t word) noexcept
    int FR_NOBODY, FR_WORKER, FR_CALLER
    void fr_play(int role) noexcept
    void fr_keep_apart() noexcept
    uint64_t fr_fingerprint(const void *data, fr_int n, uint64_t seed) noexcept

cdef extern from "work.h" nogil:
    ctypedef struct fr_work:
        int waiting

    int FR_MOST_PARTS
    int fr_load(const int *at)
    void fr_store(int *at, int value)
    void fr_work_open(fr_work *work, int parts, int workers)
    void fr_work_reset(fr_work *work)
    int fr_work_claim(fr_work *work, int who)
    int fr_work_done(fr_work *work)
    bint fr_work_watch(fr_work *work, int who, int turns)
    bint fr_work_finished(fr_work *work, int turns)
    void fr_yield()
    uint64_t fr_clock()
    int fr_swap(int *at, int value)
    bint fr_enter(int *inside)
    void fr_leave(int *inside)
    void fr_sleep_begin(int *asleep)
    bint fr_sleep_end(int *asleep)

cdef extern from "sizes.h" nogil:
    size_t FR_TOO_MUCH

    void fr_must(bint holds, const char *what)
    size_t fr_times(size_t a, size_t b)
    fr_int fr_product(fr_int a, fr_int b)
    size_t fr_bytes(fr_int rows, fr_int columns, fr_int size)

cdef extern from "gaps.h" nogil:
    size_t FR_GAP

    void fr_fence(const char *at, size_t used, size_t whole)

ctypedef void (*gemm_tn_fn)(fr_matrix c, fr_matrix a, fr_matrix b, fr_int m, fr_int n, fr_int k,
                            void *work) noexcept nogil

# How weights are stored: as numbers of the arrays' type, or with fewer bits for products of floats.
cdef enum Precision:
    FULL
    INT8
    BF16

# The table in use for elements of 4 or 8 bytes; that for floats and weights of fewer bits; the first, writeable; our
# own gemm_tn even if the table holds BLAS's; how often the tables were filled so far.
cdef const fr_kernels *kernels(int itemsize) noexcept nogil
cdef const fr_kernels *kernels_for(Precision precision) noexcept nogil
cdef fr_kernels *table(int itemsize) noexcept nogil
cdef gemm_tn_fn own_gemm_tn(int itemsize) noexcept nogil
cdef int generation() noexcept nogil
cdef void team_barrier(fr_team *team) noexcept nogil
cdef void end_team(fr_team *team) noexcept nogil
cdef bint team_ended(const fr_team *team) noexcept nogil
cdef bint has_barrier() noexcept nogil
cdef uint64_t flush_begin() noexcept nogil
cdef void flush_end(uint64_t word) noexcept nogil
cdef void play(int role) noexcept nogil
cdef void keep_apart() noexcept nogil
cdef uint64_t fingerprint(const void *data, fr_int n, uint64_t seed) noexcept nogil

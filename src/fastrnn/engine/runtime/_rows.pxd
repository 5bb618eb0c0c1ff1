"""The packed row order: time-major, longest sequence first, valid steps only; see ``_rows.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_int, fr_kernels
from fastrnn.engine.runtime._workspace cimport Arena

cdef struct Rows:
    fr_int batch            # sequences of this worker
    fr_int steps            # length of the longest one
    fr_int count            # N, the valid steps of all
    fr_int block            # steps of a block of weight gradients
    fr_int first            # without lengths: the first sequence's place in the caller's batch, the others follow
    fr_int *seq             # [batch] place in the caller's batch
    fr_int *length          # [batch] descending
    fr_int *whole           # [batch] length with the steps before and after those of this call
    fr_int start            # number of the first step, in the order of each direction
    fr_int *active          # [steps] how many sequences are longer than t; they are the first ones
    fr_int *offset          # [steps + 1] packed row of the first sequence at t

cdef struct View:
    # The caller's array, last axis contiguous, strides in bytes: (T, B, width), or with `starts` (N, width), whose
    # rows from starts[b] on hold sequence b.
    char *data
    fr_int stride_t, stride_b
    const fr_int *starts

cdef inline char *at(const View *view, fr_int t, fr_int b) noexcept nogil:
    """Step t of the caller's sequence b."""
    if view.starts != NULL:
        return view.data + (view.starts[b] + t) * view.stride_t
    return view.data + t * view.stride_t + b * view.stride_b


cdef inline char *step_of(const View *view, const Rows *rows, fr_int t, fr_int j, bint reverse) noexcept nogil:
    """Row (t, j) in the caller's array."""
    t += rows.start
    return at(view, rows.whole[j] - 1 - t if reverse else t, rows.seq[j])


cdef void carve_rows(Rows *rows, Arena *arena, fr_int batch, fr_int steps) noexcept nogil
cdef void index_rows(Rows *rows) noexcept nogil
cdef void gather(char *dst, const View *src, const Rows *rows, bint reverse, fr_int nbytes) noexcept nogil
cdef void scatter(const View *dst, const char *src, fr_int stride, const Rows *rows, bint reverse,
                  fr_int nbytes) noexcept nogil
# One step of `scatter`: src: [active[t], width] goes to step t of the sequences, in forward or reverse order.
cdef void scatter_step(const View *dst, const char *src, fr_int stride, const Rows *rows, fr_int t, bint reverse,
                       fr_int nbytes) noexcept nogil
cdef void add_scattered(const View *dst, const char *src, const Rows *rows, const fr_kernels *k, bint reverse,
                        fr_int width) noexcept nogil
cdef void to_reverse(char *dst, const char *src, fr_int stride, const Rows *rows, fr_int nbytes) noexcept nogil
cdef void from_reverse(char *dst, fr_int stride, const char *src, const Rows *rows, fr_int nbytes) noexcept nogil
cdef void add_from_reverse(char *dst, const char *src, const Rows *rows, const fr_kernels *k,
                           fr_int width) noexcept nogil
# Copy the sequences' states from or to entry `index` of the caller's [entries, batch, width]. A NULL src loads zeros, a
# NULL dst stores nothing. `store_last` reads src: [rows.batch + N, width] at each sequence's last valid step.
cdef void load_state(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                     fr_int nbytes) noexcept nogil
cdef void store_state(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                      fr_int nbytes) noexcept nogil
cdef void store_last(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                     fr_int nbytes) noexcept nogil

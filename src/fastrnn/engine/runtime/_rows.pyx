"""The packed row order of one worker's sequences, and copies into and out of it.

The longest sequences come first, so the first `active[t]` of them are active at step t. Their rows follow one another
step by step: row (t, j) = offset[t] + j. So padding costs nothing. The reverse direction has its own packed order over
its own steps s, with the same `active` and `offset`: its row (s, j) is sequence j at t = length[j] - 1 - s. A call may
take only some steps, from number `start` on, in the order of each direction.
"""

from libc.string cimport memcpy, memset

from fastrnn.engine.runtime._workspace cimport take_array


cdef void carve_rows(Rows *rows, Arena *arena, fr_int batch, fr_int steps) noexcept nogil:
    rows.batch = batch
    rows.steps = steps
    rows.seq = <fr_int *>take_array(arena, batch, 1, sizeof(fr_int))
    rows.length = <fr_int *>take_array(arena, batch, 1, sizeof(fr_int))
    rows.whole = <fr_int *>take_array(arena, batch, 1, sizeof(fr_int))
    rows.active = <fr_int *>take_array(arena, steps, 1, sizeof(fr_int))
    rows.offset = <fr_int *>take_array(arena, steps + 1, 1, sizeof(fr_int))


cdef void index_rows(Rows *rows) noexcept nogil:
    """Fill `active` and `offset` from `length`."""
    cdef fr_int t, left = rows.batch, at = 0
    for t in range(rows.steps):
        while left > 0 and rows.length[left - 1] <= t:
            left -= 1
        rows.active[t] = left
        rows.offset[t] = at
        at += left
    rows.offset[rows.steps] = at
    rows.count = at


cdef inline fr_int reversed_row(const Rows *rows, fr_int s, fr_int j) noexcept nogil:
    return rows.offset[rows.length[j] - 1 - s] + j


cdef void gather(char *dst, const View *src, const Rows *rows, bint reverse, fr_int nbytes) noexcept nogil:
    """dst: [N, width] in forward or reverse order."""
    cdef fr_int t, j
    for t in range(rows.steps):
        for j in range(rows.active[t]):
            memcpy(dst, step_of(src, rows, t, j, reverse), nbytes)
            dst += nbytes


cdef void scatter_step(const View *dst, const char *src, fr_int stride, const Rows *rows, fr_int t, bint reverse,
                       fr_int nbytes) noexcept nogil:
    cdef fr_int j
    for j in range(rows.active[t]):
        memcpy(step_of(dst, rows, t, j, reverse), src + j * stride, nbytes)


cdef void scatter(const View *dst, const char *src, fr_int stride, const Rows *rows, bint reverse,
                  fr_int nbytes) noexcept nogil:
    """The caller's array from src: [N, width], rows `stride` bytes apart, in forward or reverse order."""
    cdef fr_int t
    for t in range(rows.steps):
        scatter_step(dst, src + rows.offset[t] * stride, stride, rows, t, reverse, nbytes)


cdef void add_scattered(const View *dst, const char *src, const Rows *rows, const fr_kernels *k, bint reverse,
                        fr_int width) noexcept nogil:
    """The caller's array += src: [N, width] in forward or reverse order."""
    cdef fr_int t, j
    for t in range(rows.steps):
        for j in range(rows.active[t]):
            k.add(step_of(dst, rows, t, j, reverse), width, src, width, 1, width)
            src += width * k.itemsize


cdef void to_reverse(char *dst, const char *src, fr_int stride, const Rows *rows, fr_int nbytes) noexcept nogil:
    """dst: [N, width] in reverse order from src in forward order, rows `stride` bytes apart."""
    cdef fr_int s, j
    for s in range(rows.steps):
        for j in range(rows.active[s]):
            memcpy(dst, src + reversed_row(rows, s, j) * stride, nbytes)
            dst += nbytes


cdef void from_reverse(char *dst, fr_int stride, const char *src, const Rows *rows, fr_int nbytes) noexcept nogil:
    """dst in forward order, rows `stride` bytes apart, from src: [N, width] in reverse order."""
    cdef fr_int s, j
    for s in range(rows.steps):
        for j in range(rows.active[s]):
            memcpy(dst + reversed_row(rows, s, j) * stride, src, nbytes)
            src += nbytes


cdef void add_from_reverse(char *dst, const char *src, const Rows *rows, const fr_kernels *k,
                           fr_int width) noexcept nogil:
    """dst: [N, width] in forward order += src: [N, width] in reverse order."""
    cdef fr_int s, j, nbytes = width * k.itemsize
    for s in range(rows.steps):
        for j in range(rows.active[s]):
            k.add(dst + reversed_row(rows, s, j) * nbytes, width, src, width, 1, width)
            src += nbytes


cdef void load_state(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                     fr_int nbytes) noexcept nogil:
    """dst: [batch, width] from entry `index` of the caller's states, or zeros."""
    cdef fr_int j
    if dst == NULL:
        return
    if src == NULL:
        memset(dst, 0, rows.batch * nbytes)
        return
    for j in range(rows.batch):
        memcpy(dst + j * nbytes, src + (index * batch + rows.seq[j]) * nbytes, nbytes)


cdef void store_state(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                      fr_int nbytes) noexcept nogil:
    """Entry `index` of the caller's states from src: [batch, width]."""
    cdef fr_int j
    if dst == NULL or src == NULL:
        return
    for j in range(rows.batch):
        memcpy(dst + (index * batch + rows.seq[j]) * nbytes, src + j * nbytes, nbytes)


cdef void store_last(char *dst, const char *src, fr_int batch, const Rows *rows, int index,
                     fr_int nbytes) noexcept nogil:
    """Final states from src: [batch + N, width]: each sequence's at its last valid step."""
    cdef fr_int j, last
    if dst == NULL or src == NULL:
        return
    for j in range(rows.batch):
        last = rows.batch + rows.offset[rows.length[j] - 1] + j if rows.length[j] > 0 else j
        memcpy(dst + (index * batch + rows.seq[j]) * nbytes, src + last * nbytes, nbytes)

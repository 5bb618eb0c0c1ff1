"""Packed weights and the products with them.

    c: [R,N] = init: [R,N] + a: [R,K] w: [K,N]

A format (`fr_format`) packs the weights and names the kernel that reads them. A new kind of weight needs one packer and
one kernel, and no cell changes.
"""

from fastrnn.engine.runtime._kernels cimport fr_format, fr_int, fr_kernels, fr_matrix, fr_panels
from fastrnn.engine.runtime._workspace cimport Arena, take_array


cdef inline fr_matrix matrix(const char *data, fr_int ld) noexcept nogil:
    """Rows that lie `ld` elements apart; with ld 0 every row is the same one."""
    cdef fr_matrix rows
    rows.data = <void *>data
    rows.ld = ld
    return rows


cdef inline fr_matrix zero() noexcept nogil:
    """The start of a sum that begins at zero."""
    return matrix(NULL, 0)


cdef inline void multiply(fr_matrix c, fr_matrix a, const fr_panels *w, fr_matrix init, fr_int rows) noexcept nogil:
    """c = init + a w; init may be c itself."""
    w.format.multiply(c, a, w, init, rows, 0, w.columns)


cdef inline fr_int panel_share(fr_int columns, int width, int part, int parts) noexcept nogil:
    """The first column of a worker's part, which consists of whole panels of `width` columns."""
    return min(columns, (columns + width - 1) // width * part // parts * width)


cdef inline fr_panels pack(Arena *arena, const fr_format *format, const char *w, fr_int n, fr_int k, fr_int stride_n,
                           fr_int stride_k) noexcept nogil:
    """The panels of the matrix at w with n columns and k summed rows; without data if the arena only measures."""
    cdef fr_panels panels
    cdef fr_int count = (n + format.width - 1) // format.width
    panels.format = format
    panels.columns = n
    panels.inner = k
    panels.stride = format.panel_bytes(k)
    panels.data = take_array(arena, count, panels.stride, 1)
    if panels.data != NULL:
        format.pack(panels.data, w, n, k, stride_n, stride_k)
    return panels


cdef inline fr_panels pack_rows(Arena *arena, const fr_kernels *k, const char *w, fr_int n,
                                fr_int inner) noexcept nogil:
    """For the forward product y = x w^T with w: [n, inner]."""
    return pack(arena, k.forward, w, n, inner, inner, 1)


cdef inline fr_panels pack_columns(Arena *arena, const fr_kernels *k, const char *w, fr_int n,
                                   fr_int inner) noexcept nogil:
    """For the product dx = dy w of BPTT with w: [inner, n]."""
    return pack(arena, k.backward, w, n, inner, 1, n)

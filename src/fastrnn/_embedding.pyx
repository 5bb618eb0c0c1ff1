"""Rows of a table by number. V: rows, E: their width, N: ids, which the callers have checked for 0 .. V-1."""

from cython cimport floating
from libc.string cimport memcpy


def gather(floating[:, ::1] out, const floating[:, ::1] table, const long long[::1] ids):
    """out[n] = table[ids[n]].  out: [N,E], table: [V,E], ids: [N]."""
    cdef Py_ssize_t n, width = table.shape[1]
    if width == 0 or table.shape[0] == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            memcpy(&out[n, 0], &table[ids[n], 0], width * sizeof(floating))


def scatter_add(floating[:, ::1] dtable, const floating[:, ::1] dout, const long long[::1] ids):
    """dtable[ids[n]] += dout[n], in the order of n.  dtable: [V,E], dout: [N,E], ids: [N]."""
    cdef Py_ssize_t n, j, width = dtable.shape[1]
    cdef floating *row
    cdef const floating *add
    if width == 0 or dtable.shape[0] == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            row = &dtable[ids[n], 0]
            add = &dout[n, 0]
            for j in range(width):
                row[j] += add[j]

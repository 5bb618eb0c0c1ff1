"""Rows of a table by number. V: rows, E: their width, N: ids in 0 .. V-1."""

from cython cimport floating
from libc.string cimport memcpy

from fastrnn.engine.runtime._arrays cimport check_aligned


cdef int _check(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width, Py_ssize_t table,
                const long long[::1] ids) except -1:
    """Raise unless there is a row for each id, as wide as the table's, and every id is in the table."""
    cdef Py_ssize_t n
    cdef bint outside = False
    if rows != ids.shape[0] or columns != width:
        raise ValueError(f"ids, table: expected an output of shape ({ids.shape[0]}, {width}), found "
                         f"({rows}, {columns})")
    for n in range(rows):
        outside |= <unsigned long long>ids[n] >= <unsigned long long>table
    if outside:
        raise ValueError(f"ids: expected ints in 0 .. {table - 1}, found others")
    return 0


def gather(floating[:, ::1] out not None, const floating[:, ::1] table not None, const long long[::1] ids not None):
    """out[n] = table[ids[n]].  out: [N,E], table: [V,E], ids: [N]."""
    cdef Py_ssize_t n, width = table.shape[1]
    check_aligned("out", &out[0, 0], sizeof(floating))
    check_aligned("table", &table[0, 0], sizeof(floating))
    check_aligned("ids", &ids[0], sizeof(long long))
    _check(out.shape[0], out.shape[1], width, table.shape[0], ids)
    if width == 0 or table.shape[0] == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            memcpy(&out[n, 0], &table[ids[n], 0], width * sizeof(floating))


def scatter_add(floating[:, ::1] dtable not None, const floating[:, ::1] dout not None,
                const long long[::1] ids not None):
    """dtable[ids[n]] += dout[n], in the order of n.  dtable: [V,E], dout: [N,E], ids: [N]."""
    cdef Py_ssize_t n, j, width = dtable.shape[1]
    cdef floating *row
    cdef const floating *add
    check_aligned("dtable", &dtable[0, 0], sizeof(floating))
    check_aligned("dout", &dout[0, 0], sizeof(floating))
    check_aligned("ids", &ids[0], sizeof(long long))
    _check(dout.shape[0], dout.shape[1], width, dtable.shape[0], ids)
    if width == 0 or dtable.shape[0] == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            row = &dtable[ids[n], 0]
            add = &dout[n, 0]
            for j in range(width):
                row[j] += add[j]

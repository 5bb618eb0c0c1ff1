"""Shared code of the layer-normalised cells (Ba, Kiros and Hinton 2016).

    norm(x) = (x - mean(x)) / sqrt(var(x) + 1e-5)        over the units of a row

A cell's `Layer.norm` and `Step.sums` have the same layout: gains and shifts at places that the cell defines, in units
of H.
"""

from fastrnn.engine.cells._cell cimport Layer, Step
from fastrnn.engine.runtime._kernels cimport fr_int, fr_must
from fastrnn.engine.runtime._workspace cimport Arena, take_array

cdef enum:
    STATS = 16      # room for one to four rstd of each row; whole vectors keep rows aligned


cdef inline char *block_at(const Layer *layer, const char *base, fr_int at, fr_int more=0) noexcept nogil:
    """Element at * H + more."""
    return <char *>base + (at * layer.hidden + more) * layer.k.itemsize


cdef inline void set_values(const Layer *layer, char *norm, fr_int at, fr_int width, const char *first,
                            const char *second) noexcept nogil:
    """[width * H] values from `at` on = first + second, either of which may be NULL."""
    cdef fr_int i, nbytes = width * layer.hidden * layer.k.itemsize
    cdef char *dst = block_at(layer, norm, at)
    for i in range(nbytes):
        dst[i] = first[i] if first != NULL else 0
    if second != NULL:
        add_values(layer, dst, second, width)


cdef inline void add_values(const Layer *layer, char *dst, const char *src, fr_int width) noexcept nogil:
    """dst: [width * H] += src, if there is a dst."""
    cdef fr_int n = width * layer.hidden
    if dst != NULL:
        layer.k.add(dst, n, src, n, 1, n)


cdef inline void fits(const Layer *layer, fr_int scaled, int stat, fr_int stats, fr_int gain,
                      fr_int width) noexcept nogil:
    fr_must(scaled + width <= stats and stat < STATS and stats * layer.hidden + STATS <= layer.saved,
            "what a norm keeps lies outside the cell's saved values")
    fr_must(gain + width <= layer.ops.sums, "a gain lies outside the cell's")


cdef inline void normalise(const Layer *layer, const Step *s, char *y, fr_int ldy, const char *x, fr_int ldx,
                           fr_int scaled, int stat, fr_int stats, fr_int gain, fr_int shift,
                           fr_int width) noexcept nogil:
    """y: [R, width * H] = norm(x) * gain + shift, or += norm(x) * gain if shift is below 0. In the step's saved values
    norm(x) goes to place `scaled`, and each row's rstd to element `stat` after place `stats`."""
    fits(layer, scaled, stat, stats, gain, width)
    fr_must(shift + width <= layer.ops.sums, "a shift lies outside the cell's")
    layer.k.norm_forward(y, ldy, block_at(layer, s.saved, scaled), layer.saved, block_at(layer, s.saved, stats, stat),
                         layer.saved, x, ldx, block_at(layer, layer.norm, gain),
                         block_at(layer, layer.norm, shift) if shift >= 0 else NULL, s.rows, width * layer.hidden)


cdef inline void normalise_backward(const Layer *layer, const Step *s, char *dx, fr_int lddx, const char *dy,
                                    fr_int lddy, fr_int scaled, int stat, fr_int stats, fr_int gain,
                                    fr_int width) noexcept nogil:
    """dx: [R, width * H] from dy; adds the gain's gradient to the sums."""
    fits(layer, scaled, stat, stats, gain, width)
    layer.k.norm_backward(dx, lddx, block_at(layer, s.sums, gain), dy, lddy, block_at(layer, s.saved, scaled),
                          layer.saved, block_at(layer, s.saved, stats, stat), layer.saved,
                          block_at(layer, layer.norm, gain), s.rows, width * layer.hidden)


cdef inline void sum_shift(const Layer *layer, const Step *s, const char *dy, fr_int lddy, fr_int shift,
                           fr_int width) noexcept nogil:
    """Add the shift's gradient to the sums."""
    fr_must(shift + width <= layer.ops.sums, "a shift lies outside the cell's")
    layer.k.sum_rows(block_at(layer, s.sums, shift), dy, lddy, s.rows, width * layer.hidden)


cdef inline char *take_norm(Layer *layer, Arena *arena) noexcept nogil:
    return take_array(arena, layer.ops.sums, layer.hidden, layer.k.itemsize)

"""Recurrent dropout, zoneout and dropped recurrent weights, around the step functions of any cell.

Recurrent dropout (Gal and Ghahramani 2016): the recurrent product reads h_{t-1} * m, with one mask m for all steps of a
sequence, 0 with probability p and else 1 / (1 - p). Other uses of h_{t-1} (a GRU's z * h_{t-1}) are not dropped.

Zoneout (Krueger et al. 2017): with h', c' the cell's new state, each value of h_t is that of h_{t-1} with probability
p_h, else that of h'; c_t likewise with p_c. h' comes from c', not from c_t. Inference takes the expected values:

    h_t = p_h * h_{t-1} + (1 - p_h) * h'

DropConnect on W_hh (Merity, Keskar and Socher 2018): one mask of the recurrent weights for a whole call, 0 with
probability p and else 1 / (1 - p).

Every mask is a function of the seed, the layer and direction, the step, the sequence and the unit, as in `_dropout`. So
BPTT recomputes it, and thread count and row order do not change it.
"""

from libc.string cimport memset

from fastrnn.engine.cells._cell cimport leads, barrier
from fastrnn.engine.loops._dropout cimport drawn, limit_of, mix, row_key, scale_of
from fastrnn.engine.runtime._workspace cimport take, take_array

ctypedef fused real:
    float
    double


cdef uint64_t purpose_seed(uint64_t seed, int cell, int purpose) noexcept nogil:
    """The seed of one purpose in one layer and direction, which has the number `cell`."""
    return mix(seed ^ mix(<uint64_t>(cell * PURPOSES + purpose + 1)))


cdef void drop_weights_of(real *dst, const real *src, fr_int rows, fr_int columns, double p, uint64_t seed,
                          bint add) noexcept nogil:
    cdef uint64_t key, limit = limit_of(p)
    cdef real scale = <real>scale_of(p)
    cdef fr_int i, j
    for i in range(rows):
        key = row_key(seed, 0, i)
        for j in range(columns):
            dst[j] = (dst[j] if add else 0) + (0 if drawn(key, j, limit) else src[j] * scale)
        dst += columns
        src += columns


cdef void drop_weights(char *dst, const char *src, int itemsize, fr_int rows, fr_int columns, double p,
                       uint64_t seed, bint add) noexcept nogil:
    """dst: [rows, columns] = src * mask; with `add`, +=."""
    if itemsize == 4:
        drop_weights_of(<float *>dst, <const float *>src, rows, columns, p, seed, add)
    else:
        drop_weights_of(<double *>dst, <const double *>src, rows, columns, p, seed, add)


cdef Noise *carve_noise(const Probabilities *p, const Layer *layer, fr_int batch, fr_int count, Arena *arena,
                        bint training) noexcept nogil:
    """Place the arrays for `batch` sequences of `count` steps in all; NULL if all probabilities are 0, or the arena
    only measures."""
    cdef Noise room
    cdef Noise *noise
    cdef fr_int size = layer.k.itemsize, kept = count if training else batch, P = layer.out, H = layer.hidden
    cdef bint drops = training and p.recurrent > 0, zones_h = p.zone_h > 0, zones_c = layer.ops.has_c and p.zone_c > 0
    if not (drops or zones_h or zones_c):
        return NULL
    room.p = p[0]
    room.training = training
    room.mask = take_array(arena, batch, P, size) if drops else NULL
    room.h_in = take_array(arena, kept, P, size) if drops else NULL
    room.h_new = take_array(arena, kept, P, size) if zones_h else NULL
    room.c_new = take_array(arena, kept, H, size) if zones_c else NULL
    room.dh_in = take_array(arena, batch, P, size) if drops else NULL
    room.dh_stay = take_array(arena, batch, P, size) if training and zones_h else NULL
    room.dc_stay = take_array(arena, batch, H, size) if training and zones_c else NULL
    noise = <Noise *>take(arena, sizeof(Noise))
    if noise != NULL:
        noise[0] = room
    return noise


cdef Noise expected_noise(const Probabilities *p, const Layer *layer, char *h_new, char *c_new) noexcept nogil:
    """The noise of inference, in the caller's arrays h_new: [R, P] and c_new: [R, H]."""
    cdef Noise noise
    memset(&noise, 0, sizeof(Noise))
    noise.p = p[0]
    if p.zone_h > 0:
        noise.h_new = h_new
    if layer.ops.has_c and p.zone_c > 0:
        noise.c_new = c_new
    return noise


cdef void fill_mask(real *mask, fr_int width, const Rows *rows, double p, uint64_t seed) noexcept nogil:
    cdef uint64_t key, limit = limit_of(p)
    cdef real scale = <real>scale_of(p)
    cdef fr_int j, u
    for j in range(rows.batch):
        key = row_key(seed, 0, rows.seq[j])
        for u in range(width):
            mask[u] = 0 if drawn(key, u, limit) else scale
        mask += width


cdef void start_noise(Noise *noise, const Layer *layer, const Rows *rows, uint64_t seed, int cell,
                      fr_int first) noexcept nogil:
    """Draw the masks that all steps use."""
    noise.seed = seed
    noise.cell = cell
    noise.first = first
    if noise.mask != NULL:
        seed = purpose_seed(seed, cell, FOR_RECURRENT)
        if layer.k.itemsize == 4:
            fill_mask(<float *>noise.mask, layer.out, rows, noise.p.recurrent, seed)
        else:
            fill_mask(<double *>noise.mask, layer.out, rows, noise.p.recurrent, seed)


# Loops over the rows of one step; arrays are [R, width], n is the number of their elements.

cdef inline void multiply(real *out, const real *x, fr_int ld, const real *mask, fr_int r, fr_int width) noexcept nogil:
    """out = x * mask, x with rows ld apart."""
    cdef fr_int j, u
    for j in range(r):
        for u in range(width):
            out[j * width + u] = x[j * ld + u] * mask[j * width + u]


cdef inline void multiply_add(real *out, const real *x, const real *mask, fr_int n) noexcept nogil:
    """out += x * mask"""
    cdef fr_int u
    for u in range(n):
        out[u] += x[u] * mask[u]


cdef inline void zone_mean(real *out, fr_int ld, const real *new, const real *before, fr_int ld_before, double p,
                           fr_int r, fr_int width) noexcept nogil:
    """out = p before + (1 - p) new; out may be before."""
    cdef fr_int j, u
    cdef real old_share = <real>p, new_share = <real>(1 - p)
    for j in range(r):
        for u in range(width):
            out[j * ld + u] = old_share * before[j * ld_before + u] + new_share * new[j * width + u]


cdef inline void zone_draw(real *out, fr_int ld, const real *new, const real *before, fr_int ld_before, double p,
                           uint64_t seed, fr_int t, const Rows *rows, fr_int r, fr_int width) noexcept nogil:
    """out = before with probability p, else new."""
    cdef uint64_t key, limit = limit_of(p)
    cdef fr_int j, u
    for j in range(r):
        key = row_key(seed, t, rows.seq[j])
        for u in range(width):
            out[j * ld + u] = before[j * ld_before + u] if drawn(key, u, limit) else new[j * width + u]


cdef inline void zone_split(real *d, real *stay, double p, uint64_t seed, fr_int t, const Rows *rows, fr_int r,
                            fr_int width) noexcept nogil:
    """Split the gradient d: the elements of values that stayed move to `stay`; d + stay is the old d."""
    cdef uint64_t key, limit = limit_of(p)
    cdef fr_int j, u
    for j in range(r):
        key = row_key(seed, t, rows.seq[j])
        for u in range(width):
            if drawn(key, u, limit):
                stay[u] = d[u]
                d[u] = 0
            else:
                stay[u] = 0
        d += width
        stay += width


cdef inline void zone(const Noise *noise, const Layer *layer, const Rows *rows, char *out, fr_int ld, const char *new,
                      const char *before, fr_int ld_before, double p, int purpose, fr_int t, fr_int r,
                      fr_int width) noexcept nogil:
    cdef uint64_t seed
    if not noise.training:
        if layer.k.itemsize == 4:
            zone_mean(<float *>out, ld, <const float *>new, <const float *>before, ld_before, p, r, width)
        else:
            zone_mean(<double *>out, ld, <const double *>new, <const double *>before, ld_before, p, r, width)
        return
    seed = purpose_seed(noise.seed, noise.cell, purpose)
    t += noise.first
    if layer.k.itemsize == 4:
        zone_draw(<float *>out, ld, <const float *>new, <const float *>before, ld_before, p, seed, t, rows, r, width)
    else:
        zone_draw(<double *>out, ld, <const double *>new, <const double *>before, ld_before, p, seed, t, rows, r,
                  width)


cdef inline void split(const Noise *noise, const Layer *layer, const Rows *rows, char *d, char *stay, double p,
                       int purpose, fr_int t, fr_int r, fr_int width) noexcept nogil:
    cdef uint64_t seed = purpose_seed(noise.seed, noise.cell, purpose)
    t += noise.first
    if layer.k.itemsize == 4:
        zone_split(<float *>d, <float *>stay, p, seed, t, rows, r, width)
    else:
        zone_split(<double *>d, <double *>stay, p, seed, t, rows, r, width)


cdef inline void aim(Step *inner, const Noise *noise, const Layer *layer, fr_int row) noexcept nogil:
    """Let a cell read and write the arrays of `noise`, from `row` on, instead of the step's own."""
    cdef fr_int size = layer.k.itemsize
    if noise.h_in != NULL:
        inner.h_in = noise.h_in + row * layer.out * size
        inner.ld_h_in = layer.out
    if noise.h_new != NULL:
        inner.h = noise.h_new + row * layer.out * size
        inner.ld_h = layer.out
    if noise.c_new != NULL:
        inner.c = noise.c_new + row * layer.hidden * size


cdef void noisy_forward(const Noise *noise, const Layer *layer, const Rows *rows, const Step *step, fr_int t,
                        bint keep) noexcept nogil:
    """step_forward with noise on its states. Only training reads `rows`."""
    cdef Step inner = step[0]
    cdef fr_int P = layer.out, H = layer.hidden
    aim(&inner, noise, layer, rows.offset[t] if keep else 0)
    if noise.h_in != NULL:
        if leads(step):
            if layer.k.itemsize == 4:
                multiply(<float *>inner.h_in, <const float *>step.h_prev, step.ld_h_prev, <const float *>noise.mask,
                         step.rows, P)
            else:
                multiply(<double *>inner.h_in, <const double *>step.h_prev, step.ld_h_prev,
                         <const double *>noise.mask, step.rows, P)
        barrier(step)
    layer.ops.step_forward(layer, &inner, keep)
    if noise.h_new == NULL and noise.c_new == NULL:
        return
    if leads(step):
        if noise.h_new != NULL:
            zone(noise, layer, rows, step.h, step.ld_h, inner.h, step.h_prev, step.ld_h_prev, noise.p.zone_h, FOR_H,
                 t, step.rows, P)
        if noise.c_new != NULL:
            zone(noise, layer, rows, step.c, H, inner.c, step.c_prev, H, noise.p.zone_c, FOR_C, t, step.rows, H)
    barrier(step)


cdef void noisy_backward(const Noise *noise, const Layer *layer, const Rows *rows, const Step *step,
                         fr_int t) noexcept nogil:
    """step_backward with noise on its gradients."""
    cdef Step inner = step[0]
    cdef const Noise *n = noise
    cdef fr_int P = layer.out, H = layer.hidden, r = step.rows, size = layer.k.itemsize
    aim(&inner, n, layer, rows.offset[t])
    if n.h_new != NULL:
        split(n, layer, rows, step.dh, n.dh_stay, n.p.zone_h, FOR_H, t, r, P)
    if n.c_new != NULL:
        split(n, layer, rows, step.dc, n.dc_stay, n.p.zone_c, FOR_C, t, r, H)
    if n.h_in != NULL:
        inner.dh_in = n.dh_in
        memset(n.dh_in, 0, r * P * size)
    layer.ops.step_backward(layer, &inner)
    if n.h_in != NULL:
        if not layer.ops.direct:
            memset(step.dh, 0, r * P * size)
        if size == 4:
            multiply_add(<float *>step.dh, <const float *>n.dh_in, <const float *>n.mask, r * P)
        else:
            multiply_add(<double *>step.dh, <const double *>n.dh_in, <const double *>n.mask, r * P)
    if n.h_new != NULL:
        layer.k.add(step.dh, P, n.dh_stay, P, r, P)
    if n.c_new != NULL:
        layer.k.add(step.dc, H, n.dc_stay, H, r, H)

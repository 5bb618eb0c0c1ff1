"""RNN, LSTM and GRU with all options of ONNX's operators of these names, step by step and unit by unit.

With f, g and h for the activations, k(x) for x clipped to -clip .. clip, a for the sums of a gate's products and
biases, and p for peepholes (Gers and Schmidhuber 2000):

    RNN     h_t = f(k(a))
    LSTM    i = f(k(a_i + p_i * c_{t-1}))    f = f(k(a_f + p_f * c_{t-1})), or 1 - i if coupled (Greff et al. 2017)
            g = g(k(a_g))    c_t = f * c_{t-1} + i * g    o = f(k(a_o + p_o * c_t))    h_t = o * h(c_t)
    GRU     r, z = f(k(a_r)), f(k(a_z))      n = g(k(a_n))      h_t = (1 - z) * n + z * h_{t-1}

Gate order in memory as in `_lstm` and `_gru`. z keeps the gates' inputs before clipping, and `saved` their values: for
the LSTM i, f, g, o and h(c_t), with a projection after m_t; for the GRU r, z, n after the values that `_gru` keeps.
`sums` of the LSTM: the biases' gradient [4H] and the peepholes' [3H].
"""

from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from fastrnn.engine.cells._activations cimport activate, real, slope
from fastrnn.engine.cells._cell cimport Arena, CellOps, Layer, Step, barrier, leads, peephole, product, unit_room
from fastrnn.engine.cells._gru cimport gru_after_ops, gru_before_ops
from fastrnn.engine.runtime._kernels cimport fr_int, fr_matrix
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.cells._gru import GRU
from fastrnn.engine.cells._lstm import LSTM
from fastrnn.engine.cells._rnn import RNN
from fastrnn.engine.cells._lstm cimport lstm_ops
from fastrnn.engine.runtime._panels cimport matrix, multiply, zero
from fastrnn.engine.cells._rnn cimport rnn_ops
from fastrnn.engine.runtime._workspace cimport take_array


# Elman's


cdef void rnn_unit(real *kind, const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int r, H = layer.hidden
    for r in range(s.rows):
        activate(layer.k, &layer.options.f, <real *>s.h + r * s.ld_h, <real *>s.z + r * layer.ld_z,
                 layer.options.clip, H)


cdef void rnn_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_matrix z = matrix(s.z, layer.ld_z)
    # z: [R,H] += h_in: [R,H] W_hh^T
    product(s, z, matrix(s.h_in, s.ld_h_in), &layer.p_hh, z)
    barrier(s)
    if leads(s):
        if layer.k.itemsize == 4:
            rnn_unit(<float *>NULL, layer, s)
        else:
            rnn_unit(<double *>NULL, layer, s)
    barrier(s)


cdef void rnn_unit_backward(real *kind, const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef const real *h
    cdef const real *dh
    for r in range(s.rows):
        z, h, dh = <real *>s.z + r * layer.ld_z, <const real *>s.h + r * s.ld_h, <const real *>s.dh + r * H
        for j in range(H):
            z[j] = dh[j] * slope(&layer.options.f, z[j], h[j], layer.options.clip)


cdef void rnn_backward(const Layer *layer, const Step *s) noexcept nogil:
    if layer.k.itemsize == 4:
        rnn_unit_backward(<float *>NULL, layer, s)
    else:
        rnn_unit_backward(<double *>NULL, layer, s)
    # dh_in: [R,H] = dz: [R,H] W_hh
    multiply(matrix(s.dh_in, layer.hidden), matrix(s.z, layer.ld_z), &layer.q_hh, zero(), s.rows)


# LSTM


cdef enum:
    SUMS = 7            # of the LSTM: four gates' biases and three peepholes
    PEEPHOLES = 4       # where the peepholes begin


cdef void pack_peepholes(Layer *layer, Arena *arena) noexcept nogil:
    """Copy p_i, p_f and p_o side by side, with zeros for absent ones, because the parameters may change."""
    cdef fr_int nbytes = layer.hidden * layer.k.itemsize
    cdef int part
    layer.peepholes = take_array(arena, 3, layer.hidden, layer.k.itemsize)
    for part in range(3 if layer.peepholes != NULL else 0):
        if peephole(&layer.params, part) != NULL:
            memcpy(layer.peepholes + part * nbytes, peephole(&layer.params, part), nbytes)
        else:
            memset(layer.peepholes + part * nbytes, 0, nbytes)


cdef void lstm_pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    lstm_ops.pack_forward(layer, arena)
    pack_peepholes(layer, arena)


cdef void lstm_pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    lstm_ops.pack_backward(layer, arena)
    pack_peepholes(layer, arena)


cdef inline real *values_of(real *kind, const Layer *layer, const Step *s, fr_int r) noexcept nogil:
    """The gates' values of row r."""
    return <real *>s.saved + r * layer.saved + layer.ops.values * layer.hidden


cdef void lstm_unit(real *m, const Layer *layer, const Step *s, fr_int ld) noexcept nogil:
    """m: [R,H] = o * h(c_t), rows `ld` elements apart."""
    cdef const real *p = <const real *>layer.peepholes
    cdef double bound = layer.options.clip
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef real *v
    cdef real *c
    cdef const real *c_prev
    for r in range(s.rows):
        z, v = <real *>s.z + r * layer.ld_z, values_of(m, layer, s, r)
        c, c_prev = <real *>s.c + r * H, <const real *>s.c_prev + r * H
        if layer.params.weight_ci != NULL:
            for j in range(H):
                z[j] += p[j] * c_prev[j]
                z[H + j] += p[H + j] * c_prev[j]
        activate(layer.k, &layer.options.f, v, z, bound, 2 * H)
        if layer.options.coupled:
            for j in range(H):
                v[H + j] = 1 - v[j]
        activate(layer.k, &layer.options.g, v + 2 * H, z + 2 * H, bound, H)
        for j in range(H):
            c[j] = v[H + j] * c_prev[j] + v[j] * v[2 * H + j]
        if layer.params.weight_ci != NULL:
            for j in range(H):
                z[3 * H + j] += p[2 * H + j] * c[j]
        activate(layer.k, &layer.options.f, v + 3 * H, z + 3 * H, bound, H)
        activate(layer.k, &layer.options.h, v + 4 * H, c, INFINITY, H)
        for j in range(H):
            m[r * ld + j] = v[3 * H + j] * v[4 * H + j]


cdef void lstm_unit_backward(const real *dm, const Layer *layer, const Step *s) noexcept nogil:
    """dz, dc_{t-1} and the peepholes' gradients from dm: [R,H] and dc."""
    cdef const real *p = <const real *>layer.peepholes
    cdef real *dp = <real *>s.sums + PEEPHOLES * layer.hidden
    cdef double bound = layer.options.clip
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef real *dc
    cdef real *v
    cdef const real *c
    cdef const real *c_prev
    cdef real total, i, f, g, o, hc
    for r in range(s.rows):
        z, v = <real *>s.z + r * layer.ld_z, values_of(<real *>NULL, layer, s, r)
        c, c_prev, dc = <const real *>s.c + r * H, <const real *>s.c_prev + r * H, <real *>s.dc + r * H
        for j in range(H):
            i, f, g, o, hc = v[j], v[H + j], v[2 * H + j], v[3 * H + j], v[4 * H + j]
            z[3 * H + j] = dm[r * H + j] * hc * slope(&layer.options.f, z[3 * H + j], o, bound)
            total = dc[j] + dm[r * H + j] * o * slope(&layer.options.h, c[j], hc, INFINITY)
            total += z[3 * H + j] * p[2 * H + j]
            if layer.options.coupled:
                z[j] = total * (g - c_prev[j]) * slope(&layer.options.f, z[j], i, bound)
                z[H + j] = 0
            else:
                z[j] = total * g * slope(&layer.options.f, z[j], i, bound)
                z[H + j] = total * c_prev[j] * slope(&layer.options.f, z[H + j], f, bound)
            z[2 * H + j] = total * i * slope(&layer.options.g, z[2 * H + j], g, bound)
            dc[j] = total * f + z[j] * p[j] + z[H + j] * p[H + j]
            dp[j] += z[j] * c_prev[j]
            dp[H + j] += z[H + j] * c_prev[j]
            dp[2 * H + j] += z[3 * H + j] * c[j]
    layer.k.sum_rows(s.sums, s.z, layer.ld_z, s.rows, 4 * H)


cdef inline void lstm_gates(const Layer *layer, const Step *s, char *m, fr_int ld) noexcept nogil:
    cdef fr_matrix z = matrix(s.z, layer.ld_z)
    # z: [R,4H] += h_in: [R,P] W_hh^T
    product(s, z, matrix(s.h_in, s.ld_h_in), &layer.p_hh, z)
    barrier(s)
    if leads(s):
        if layer.k.itemsize == 4:
            lstm_unit(<float *>m, layer, s, ld)
        else:
            lstm_unit(<double *>m, layer, s, ld)
    barrier(s)


cdef void lstm_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    lstm_gates(layer, s, s.h, s.ld_h)


cdef void lstm_projected_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    lstm_gates(layer, s, s.saved, layer.saved)
    # h: [R,P] = m: [R,H] W_hr^T
    product(s, matrix(s.h, s.ld_h), matrix(s.saved, layer.saved), &layer.p_hr, zero())
    barrier(s)


cdef inline void lstm_gates_backward(const Layer *layer, const Step *s, const char *dm) noexcept nogil:
    if layer.k.itemsize == 4:
        lstm_unit_backward(<const float *>dm, layer, s)
    else:
        lstm_unit_backward(<const double *>dm, layer, s)
    # dh_in: [R,P] = dz: [R,4H] W_hh
    multiply(matrix(s.dh_in, layer.out), matrix(s.z, layer.ld_z), &layer.q_hh, zero(), s.rows)


cdef void lstm_backward(const Layer *layer, const Step *s) noexcept nogil:
    lstm_gates_backward(layer, s, s.dh)


cdef void lstm_projected_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef char *dm = unit_room(layer, s)
    memcpy(s.dp, s.dh, s.rows * layer.out * layer.k.itemsize)
    # dm: [R,H] = dh: [R,P] W_hr
    multiply(matrix(dm, layer.hidden), matrix(s.dh, layer.out), &layer.q_hr, zero(), s.rows)
    lstm_gates_backward(layer, s, dm)


cdef void lstm_add_sums(const Layer *layer, const char *sums) noexcept nogil:
    cdef fr_int H = layer.hidden, size = layer.k.itemsize
    cdef int part
    if layer.grads.bias_ih != NULL:
        layer.k.add(layer.grads.bias_ih, 4 * H, sums, 4 * H, 1, 4 * H)
        layer.k.add(layer.grads.bias_hh, 4 * H, sums, 4 * H, 1, 4 * H)
    for part in range(3):
        if peephole(&layer.grads, part) != NULL:
            layer.k.add(peephole(&layer.grads, part), H, sums + (PEEPHOLES + part) * H * size, H, 1, H)


# GRU


cdef void gru_unit_after(real *kind, const Layer *layer, const Step *s) noexcept nogil:
    """The reset-after form after its products; `saved` holds the recurrent part of n."""
    cdef double bound = layer.options.clip
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef real *v
    cdef real *hn
    for r in range(s.rows):
        z, v, hn = <real *>s.z + r * layer.ld_z, values_of(kind, layer, s, r), <real *>s.saved + r * layer.saved
        activate(layer.k, &layer.options.f, v, z, bound, 2 * H)
        for j in range(H):
            z[2 * H + j] += v[j] * hn[j]
    gru_update(kind, layer, s)


cdef void gru_update(real *kind, const Layer *layer, const Step *s) noexcept nogil:
    """n and h_t."""
    cdef fr_int r, j, H = layer.hidden
    cdef real *v
    cdef real *h
    cdef const real *h_prev
    for r in range(s.rows):
        v = values_of(kind, layer, s, r)
        h, h_prev = <real *>s.h + r * s.ld_h, <const real *>s.h_prev + r * s.ld_h_prev
        activate(layer.k, &layer.options.g, v + 2 * H, <real *>s.z + r * layer.ld_z + 2 * H, layer.options.clip, H)
        for j in range(H):
            h[j] = (1 - v[H + j]) * v[2 * H + j] + v[H + j] * h_prev[j]


cdef void gru_unit_before(real *kind, const Layer *layer, const Step *s) noexcept nogil:
    """r and z, and r * h_in in `saved`."""
    cdef fr_int r, j, H = layer.hidden
    cdef real *v
    cdef real *rh
    cdef const real *h_in
    for r in range(s.rows):
        v, rh = values_of(kind, layer, s, r), <real *>s.saved + r * layer.saved
        h_in = <const real *>s.h_in + r * s.ld_h_in
        activate(layer.k, &layer.options.f, v, <real *>s.z + r * layer.ld_z, layer.options.clip, 2 * H)
        for j in range(H):
            rh[j] = v[j] * h_in[j]


cdef void gru_after_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_matrix z = matrix(s.z, layer.ld_z), h_in = matrix(s.h_in, s.ld_h_in)
    # z[:, :2H] += h_in: [R,H] W_h[rz]^T;   hn: [R,H] = h_in W_hn^T + b_hn
    product(s, z, h_in, &layer.p_hh, z)
    product(s, matrix(s.saved, layer.saved), h_in, &layer.p_hn, matrix(layer.bias_n, 0))
    barrier(s)
    if leads(s):
        if layer.k.itemsize == 4:
            gru_unit_after(<float *>NULL, layer, s)
        else:
            gru_unit_after(<double *>NULL, layer, s)
    barrier(s)


cdef void gru_before_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_matrix z = matrix(s.z, layer.ld_z)
    cdef fr_matrix z_n = matrix(s.z + 2 * layer.hidden * layer.k.itemsize, layer.ld_z)
    # z[:, :2H] += h_in: [R,H] W_h[rz]^T;   z[:, 2H:] += (r * h_in): [R,H] W_hn^T
    product(s, z, matrix(s.h_in, s.ld_h_in), &layer.p_hh, z)
    barrier(s)
    if leads(s):
        if layer.k.itemsize == 4:
            gru_unit_before(<float *>NULL, layer, s)
        else:
            gru_unit_before(<double *>NULL, layer, s)
    barrier(s)
    product(s, z_n, matrix(s.saved, layer.saved), &layer.p_hn, z_n)
    barrier(s)
    if leads(s):
        if layer.k.itemsize == 4:
            gru_update(<float *>NULL, layer, s)
        else:
            gru_update(<double *>NULL, layer, s)
    barrier(s)


cdef void gru_unit_backward(real *kind, const Layer *layer, const Step *s, bint after) noexcept nogil:
    """dz of z and n, and with `after` that of r, too; the gradient of hn then replaces hn. dh becomes the part of
    dh_{t-1} that does not go through the products."""
    cdef double bound = layer.options.clip
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef real *v
    cdef real *hn
    cdef real *dh
    cdef const real *h_prev
    for r in range(s.rows):
        z, v, hn = <real *>s.z + r * layer.ld_z, values_of(kind, layer, s, r), <real *>s.saved + r * layer.saved
        dh, h_prev = <real *>s.dh + r * H, <const real *>s.h_prev + r * s.ld_h_prev
        for j in range(H):
            z[2 * H + j] = dh[j] * (1 - v[H + j]) * slope(&layer.options.g, z[2 * H + j], v[2 * H + j], bound)
            z[H + j] = dh[j] * (h_prev[j] - v[2 * H + j]) * slope(&layer.options.f, z[H + j], v[H + j], bound)
            dh[j] *= v[H + j]
            if after:
                z[j] = z[2 * H + j] * hn[j] * slope(&layer.options.f, z[j], v[j], bound)
                hn[j] = z[2 * H + j] * v[j]


cdef void gru_after_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_matrix dh_in = matrix(s.dh_in, layer.hidden)
    if layer.k.itemsize == 4:
        gru_unit_backward(<float *>NULL, layer, s, True)
    else:
        gru_unit_backward(<double *>NULL, layer, s, True)
    # dh_in: [R,H] += dz[:, :2H] W_h[rz] + dhn: [R,H] W_hn
    multiply(dh_in, matrix(s.z, layer.ld_z), &layer.q_hh, dh_in, s.rows)
    multiply(dh_in, matrix(s.saved, layer.saved), &layer.q_hn, dh_in, s.rows)


cdef void gru_reset_backward(real *drh, const Layer *layer, const Step *s) noexcept nogil:
    """dz of r from drh: [R,H], and dh_in += r * drh."""
    cdef fr_int r, j, H = layer.hidden
    cdef real *z
    cdef real *v
    cdef real *dh_in
    cdef const real *h_in
    for r in range(s.rows):
        z, v = <real *>s.z + r * layer.ld_z, values_of(drh, layer, s, r)
        dh_in, h_in = <real *>s.dh_in + r * H, <const real *>s.h_in + r * s.ld_h_in
        for j in range(H):
            z[j] = drh[r * H + j] * h_in[j] * slope(&layer.options.f, z[j], v[j], layer.options.clip)
            dh_in[j] += drh[r * H + j] * v[j]


cdef void gru_before_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef char *drh = unit_room(layer, s)
    cdef fr_matrix dh_in = matrix(s.dh_in, H)
    if layer.k.itemsize == 4:
        gru_unit_backward(<float *>NULL, layer, s, False)
    else:
        gru_unit_backward(<double *>NULL, layer, s, False)
    # drh: [R,H] = dn: [R,H] W_hn
    multiply(matrix(drh, H), matrix(s.z + 2 * H * layer.k.itemsize, layer.ld_z), &layer.q_hn, zero(), s.rows)
    if layer.k.itemsize == 4:
        gru_reset_backward(<float *>drh, layer, s)
    else:
        gru_reset_backward(<double *>drh, layer, s)
    # dh_in: [R,H] += dz[:, :2H] W_h[rz]
    multiply(dh_in, matrix(s.z, layer.ld_z), &layer.q_hh, dh_in, s.rows)


cdef CellOps rnn_general_ops, lstm_general_ops, lstm_general_projected_ops
cdef CellOps gru_after_general_ops, gru_before_general_ops
rnn_general_ops = rnn_ops
rnn_general_ops.step_forward = &rnn_forward
rnn_general_ops.step_backward = &rnn_backward

lstm_general_ops = lstm_ops
lstm_general_ops.saved = 5
lstm_general_ops.values_saved = True
lstm_general_ops.sums = SUMS
lstm_general_ops.pack_forward = &lstm_pack_forward
lstm_general_ops.pack_backward = &lstm_pack_backward
lstm_general_ops.step_forward = &lstm_forward
lstm_general_ops.step_backward = &lstm_backward
lstm_general_ops.add_sums = &lstm_add_sums

lstm_general_projected_ops = lstm_general_ops
lstm_general_projected_ops.saved = 6
lstm_general_projected_ops.values = 1
lstm_general_projected_ops.step_forward = &lstm_projected_forward
lstm_general_projected_ops.step_backward = &lstm_projected_backward

gru_after_general_ops = gru_after_ops
gru_after_general_ops.saved = 4
gru_after_general_ops.values = 1
gru_after_general_ops.values_saved = True
gru_after_general_ops.step_forward = &gru_after_forward
gru_after_general_ops.step_backward = &gru_after_backward

gru_before_general_ops = gru_before_ops
gru_before_general_ops.saved = 4
gru_before_general_ops.values = 1
gru_before_general_ops.values_saved = True
gru_before_general_ops.step_forward = &gru_before_forward
gru_before_general_ops.step_backward = &gru_before_backward

cdef Kind kind = RNN
kind.serve(&rnn_general_ops, "general")
kind = LSTM
kind.serve(&lstm_general_ops, "general")
kind.serve(&lstm_general_projected_ops, "general projection")
kind = GRU
kind.serve(&gru_after_general_ops, "general")
kind.serve(&gru_before_general_ops, "general reset_before")

"""Layer-normalised gated recurrent unit (Ba, Kiros and Hinton 2016, supplementary material).

    r, z = sigmoid(gain_i* * norm(W_i* x_t) + b_i* + gain_h* * norm(W_h* h_{t-1}) + b_h*)      norm over r and z: 2H
    u_t  = gain_hn * norm(W_hn h_{t-1}) + b_hn                                                 norm over H values
    n    = tanh(gain_in * norm(W_in x_t) + b_in + r * u_t)
    h_t  = (1 - z) * n + z * h_{t-1}

    da_n = dh_t * (1 - z) * (1 - n^2)      da_z = dh_t * (h_{t-1} - n) * z (1 - z)      da_r = da_n * u_t * r (1 - r)
    d(W_i x_t) = norm'(gain_i * da)        d(W_h h_{t-1}) = norm'(gain_h * [da_r da_z]), norm'(gain_hn * da_n * r)
    dh_{t-1} = dh_t * z + d(W_h h_{t-1}) W_hh

Gate order in memory: r, z, n. After BPTT z holds d(W_ih x_t), and `saved` d(W_hh h_{t-1}) in the place of its norm.
"""

from fastrnn.engine.cells._cell cimport (
    CellOps, Arena, Layer, Product, Step, leads, barrier, no_cell, pack_whole_transposed, product
)
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.cells._gru import GRU
from fastrnn.engine.runtime._kernels cimport fr_int, fr_matrix
from fastrnn.engine.cells._norm cimport (
    STATS, add_values, normalise, normalise_backward, block_at, set_values, sum_shift, take_norm)
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_rows, zero

cdef enum:
    # Places in `saved`, in units of H: u_t [H], the norms of W_ih x_t [3H] and of W_hh h_{t-1} [3H], four rstd.
    U = 0
    NORM_IH = 1
    NORM_HH = 4
    SAVED = 7
    # Places in `norm` and `sums`, in the gate order of z.
    GAIN_IH = 0
    GAIN_HH = 3
    SHIFT = 6           # b_ih, for r and z + b_hh
    SHIFT_U = 9         # b_hn
    SUMS = 10
    N = 2               # start of n's part


cdef void pack_norm(Layer *layer, Arena *arena) noexcept nogil:
    layer.norm = take_norm(layer, arena)
    if layer.norm == NULL:
        return
    set_values(layer, layer.norm, GAIN_IH, 3, layer.params.gain_ih, NULL)
    set_values(layer, layer.norm, GAIN_HH, 3, layer.params.gain_hh, NULL)
    set_values(layer, layer.norm, SHIFT, N, layer.params.bias_ih, layer.params.bias_hh)
    set_values(layer, layer.norm, SHIFT + N, 1, part_of_n(layer, layer.params.bias_ih), NULL)
    set_values(layer, layer.norm, SHIFT_U, 1, part_of_n(layer, layer.params.bias_hh), NULL)


cdef inline char *part_of_n(const Layer *layer, const char *values) noexcept nogil:
    """The part of values: [3H] or rows of them that belongs to n; NULL stays NULL."""
    return block_at(layer, values, N) if values != NULL else NULL


cdef void pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    pack_norm(layer, arena)
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, layer.gate_size, layer.input_size)
    layer.p_hh = pack_rows(arena, layer.k, layer.params.weight_hh, layer.gate_size, layer.out)


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    pack_norm(layer, arena)
    pack_whole_transposed(layer, arena)


cdef void step_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden, E = layer.saved
    cdef char *hh = block_at(layer, s.saved, NORM_HH)
    cdef char *u = block_at(layer, s.saved, U)
    cdef char *z_n = part_of_n(layer, s.z)
    # hh: [R,3H] = h_in: [R,H] W_hh^T
    product(s, matrix(hh, E), matrix(s.h_in, s.ld_h_in), &layer.p_hh, zero())
    barrier(s)
    if leads(s):
        normalise(layer, s, s.z, layer.ld_z, s.z, layer.ld_z, NORM_IH, 0, SAVED, GAIN_IH, SHIFT, N)
        normalise(layer, s, z_n, layer.ld_z, z_n, layer.ld_z, NORM_IH + N, 1, SAVED, GAIN_IH + N, SHIFT + N, 1)
        normalise(layer, s, s.z, layer.ld_z, hh, E, NORM_HH, 2, SAVED, GAIN_HH, -1, N)
        normalise(layer, s, u, E, part_of_n(layer, hh), E, NORM_HH + N, 3, SAVED, GAIN_HH + N, SHIFT_U, 1)
        layer.k.gru_forward(s.h, s.ld_h, s.z, layer.ld_z, u, E, s.h_prev, s.ld_h_prev, s.rows, H)
    barrier(s)


cdef void step_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden, E = layer.saved
    cdef char *hh = block_at(layer, s.saved, NORM_HH)
    cdef char *u = block_at(layer, s.saved, U)
    cdef char *z_n = part_of_n(layer, s.z)
    cdef fr_matrix dh_in = matrix(s.dh_in, H)
    layer.k.gru_backward(s.z, layer.ld_z, u, E, s.dh, H, s.h_prev, s.ld_h_prev, s.rows, H)
    sum_shift(layer, s, s.z, layer.ld_z, SHIFT, 3)
    sum_shift(layer, s, u, E, SHIFT_U, 1)
    normalise_backward(layer, s, hh, E, s.z, layer.ld_z, NORM_HH, 2, SAVED, GAIN_HH, N)
    normalise_backward(layer, s, part_of_n(layer, hh), E, u, E, NORM_HH + N, 3, SAVED, GAIN_HH + N, 1)
    normalise_backward(layer, s, s.z, layer.ld_z, s.z, layer.ld_z, NORM_IH, 0, SAVED, GAIN_IH, N)
    normalise_backward(layer, s, z_n, layer.ld_z, z_n, layer.ld_z, NORM_IH + N, 1, SAVED, GAIN_IH + N, 1)
    # dh_in: [R,H] += d(W_hh h_in): [R,3H] W_hh
    multiply(dh_in, matrix(hh, E), &layer.q_hh, dh_in, s.rows)


cdef int products(const Layer *layer, Product *p) noexcept nogil:
    p[0] = Product(True, NORM_HH * layer.hidden, 0, layer.gate_size, False)
    return 1


cdef void add_sums(const Layer *layer, const char *sums) noexcept nogil:
    add_values(layer, layer.grads.gain_ih, block_at(layer, sums, GAIN_IH), 3)
    add_values(layer, layer.grads.gain_hh, block_at(layer, sums, GAIN_HH), 3)
    add_values(layer, layer.grads.bias_ih, block_at(layer, sums, SHIFT), 3)
    add_values(layer, layer.grads.bias_hh, block_at(layer, sums, SHIFT), N)
    add_values(layer, part_of_n(layer, layer.grads.bias_hh), block_at(layer, sums, SHIFT_U), 1)


cdef CellOps lngru_ops
lngru_ops = no_cell()
lngru_ops.gates = 3
lngru_ops.saved = SAVED
lngru_ops.stats = STATS
lngru_ops.sums = SUMS
lngru_ops.direct = True
lngru_ops.pack_forward = &pack_forward
lngru_ops.pack_backward = &pack_backward
lngru_ops.step_forward = &step_forward
lngru_ops.step_backward = &step_backward
lngru_ops.products = &products
lngru_ops.add_sums = &add_sums

cdef Kind kind = GRU
kind.serve(&lngru_ops, "layer_norm")

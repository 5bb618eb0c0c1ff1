"""Recurrent dropout and zoneout, which act on the states between steps; see ``_noise.pyx``."""

from libc.stdint cimport uint64_t

from fastrnn.engine.cells._cell cimport Layer, Step
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._rows cimport Rows
from fastrnn.engine.runtime._workspace cimport Arena

cdef struct Probabilities:
    double recurrent        # that a value of h_{t-1} is dropped from the recurrent product
    double zone_h, zone_c   # that a value of h or c stays as it was
    double weight           # that a recurrent weight is dropped

cdef struct Noise:
    # Of one direction of one layer for one worker's rows; an array whose probability is 0 is NULL.
    Probabilities p
    bint training           # draw masks; else take the expected values
    uint64_t seed
    int cell                # number of the layer and direction
    fr_int first            # number of the first step
    char *mask              # [batch, P] factors of h_{t-1} in the recurrent product
    char *h_in              # [N, P] h_{t-1} * mask
    char *h_new             # [N, P] when kept, else [batch, P]: h_t and c_t before zoneout
    char *c_new             # [N, H] when kept, else [batch, H]
    char *dh_in             # [batch, P]
    char *dh_stay           # [batch, P] gradients of the values that stayed
    char *dc_stay           # [batch, H]

cdef enum:
    # The purposes of a seed.
    FOR_WEIGHTS, FOR_RECURRENT, FOR_H, FOR_C, PURPOSES

cdef uint64_t purpose_seed(uint64_t seed, int cell, int purpose) noexcept nogil
cdef void drop_weights(char *dst, const char *src, int itemsize, fr_int rows, fr_int columns, double p,
                       uint64_t seed, bint add) noexcept nogil
cdef Noise *carve_noise(const Probabilities *p, const Layer *layer, fr_int batch, fr_int count, Arena *arena,
                        bint training) noexcept nogil
cdef Noise expected_noise(const Probabilities *p, const Layer *layer, char *h_new, char *c_new) noexcept nogil
cdef void start_noise(Noise *noise, const Layer *layer, const Rows *rows, uint64_t seed, int cell,
                      fr_int first) noexcept nogil
cdef void noisy_forward(const Noise *noise, const Layer *layer, const Rows *rows, const Step *step, fr_int t,
                        bint keep) noexcept nogil
cdef void noisy_backward(const Noise *noise, const Layer *layer, const Rows *rows, const Step *step,
                         fr_int t) noexcept nogil

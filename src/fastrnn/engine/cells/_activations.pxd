"""Activation functions by name, with the alpha and beta that ONNX gives some of them, and clipping: see
``_activations.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_int, fr_kernels

cdef enum Kind:
    SIGMOID, TANH, RELU, AFFINE, LEAKY_RELU, THRESHOLDED_RELU, SCALED_TANH, HARD_SIGMOID, ELU, SOFTSIGN, SOFTPLUS, KINDS

cdef struct Activation:
    int kind
    double alpha, beta

ctypedef fused real:
    float
    double

# y: [n] = f(x) of x clipped to -bound .. bound; y must not be x.
cdef void activate(const fr_kernels *k, const Activation *f, real *y, const real *x, double bound,
                   fr_int n) noexcept nogil
# f'(x), given y = f(x); 0 if x is clipped.
cdef real slope(const Activation *f, real x, real y, double bound) noexcept nogil
cdef Activation activation_of(object entry) except *

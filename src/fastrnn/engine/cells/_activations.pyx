"""The activation functions of ONNX's recurrent operators, and their derivatives.

    sigmoid 1 / (1 + e^-x)      tanh                        relu max(0, x)              affine alpha x + beta
    leaky_relu x or alpha x     thresholded_relu x or 0     scaled_tanh alpha tanh(beta x)
    hard_sigmoid alpha x + beta within 0 .. 1               elu x or alpha (e^x - 1)
    softsign x / (1 + |x|)      softplus log(1 + e^x)

The second value holds below 0, for thresholded_relu below alpha. At a corner the derivative is that of the upper side,
for relu that of the lower side.
"""

from libc.math cimport expm1, fabs, log1p, exp as e_to

cdef dict _NAMES = {"sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "affine": AFFINE, "leaky_relu": LEAKY_RELU,
                    "thresholded_relu": THRESHOLDED_RELU, "scaled_tanh": SCALED_TANH, "hard_sigmoid": HARD_SIGMOID,
                    "elu": ELU, "softsign": SOFTSIGN, "softplus": SOFTPLUS}


cdef Activation activation_of(object entry) except *:
    """The activation of (name, alpha, beta)."""
    cdef Activation f
    name, alpha, beta = entry
    if name not in _NAMES:
        raise ValueError(f"activations: expected names among {', '.join(_NAMES)}; found {name!r}")
    f.kind, f.alpha, f.beta = _NAMES[name], alpha, beta
    return f


cdef inline double value(const Activation *f, double x) noexcept nogil:
    """f(x) of a function without a kernel."""
    if f.kind == RELU:
        return 0 if x < 0 else x
    if f.kind == AFFINE:
        return f.alpha * x + f.beta
    if f.kind == LEAKY_RELU:
        return f.alpha * x if x < 0 else x
    if f.kind == THRESHOLDED_RELU:
        return 0 if x < f.alpha else x
    if f.kind == HARD_SIGMOID:
        x = f.alpha * x + f.beta
        return 0 if x < 0 else 1 if x > 1 else x
    if f.kind == ELU:
        return f.alpha * expm1(x) if x < 0 else x
    if f.kind == SOFTSIGN:
        return x / (1 + fabs(x))
    return log1p(e_to(-fabs(x))) + (0 if x < 0 else x)      # softplus


cdef void activate(const fr_kernels *k, const Activation *f, real *y, const real *x, double bound,
                   fr_int n) noexcept nogil:
    cdef real most = <real>bound, scale = <real>f.alpha
    cdef fr_int j
    for j in range(n):
        y[j] = -most if x[j] < -most else most if x[j] > most else x[j]
    if f.kind == SIGMOID:
        k.map_sigmoid(y, y, n)
    elif f.kind == TANH:
        k.map_tanh(y, y, n)
    elif f.kind == SCALED_TANH:
        for j in range(n):
            y[j] *= <real>f.beta
        k.map_tanh(y, y, n)
        for j in range(n):
            y[j] *= scale
    else:
        for j in range(n):
            y[j] = <real>value(f, y[j])


cdef real slope(const Activation *f, real x, real y, double bound) noexcept nogil:
    cdef double t
    if x < -<real>bound or x > <real>bound:
        return 0
    if f.kind == SIGMOID:
        return y * (1 - y)
    if f.kind == TANH:
        return 1 - y * y
    if f.kind == RELU:
        return x > 0
    if f.kind == AFFINE:
        return <real>f.alpha
    if f.kind == LEAKY_RELU:
        return <real>f.alpha if x < 0 else 1
    if f.kind == THRESHOLDED_RELU:
        return 0 if x < f.alpha else 1
    if f.kind == SCALED_TANH:
        t = y / f.alpha if f.alpha != 0 else 0
        return <real>(f.alpha * f.beta * (1 - t * t))
    if f.kind == HARD_SIGMOID:
        t = f.alpha * x + f.beta
        return 0 if t < 0 or t > 1 else <real>f.alpha
    if f.kind == ELU:
        return <real>(y + f.alpha) if x < 0 else 1
    if f.kind == SOFTSIGN:
        t = 1 + fabs(x)
        return <real>(1 / (t * t))
    return <real>(-expm1(-<double>y))      # softplus: 1 - e^-y

/* exp, sigmoid and tanh over vectors. Each opens with its range, accuracy and NaN behaviour;
 * tests/test_accuracy.py enforces the figures for every instruction set.
 */

/* Polynomials of p(r) = (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, Taylor coefficients 1/2!, 1/3!, ...:
 * the first omitted term is below half an ULP of e^r (r^8/8! < 6e-9; r^14/14! < 5e-18). */
#undef FR_EXP_DEGREE
#undef FR_MANTISSA
#undef FR_BIAS
#undef FR_EXP_MAX
#undef FR_ROUND
#undef FR_LN2_HI
#undef FR_LN2_LO
#ifdef FR_F64
#define FR_EXP_DEGREE 12
static const double FN(exp_coef)[FR_EXP_DEGREE] = {
    1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800,
    1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
#define FR_MANTISSA 52
#define FR_BIAS 1023
#define FR_EXP_MAX 750.0
#define FR_ROUND 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define FR_LN2_HI 6.93145751953125e-1
#define FR_LN2_LO 1.42860682030941723212e-6
#else
#define FR_EXP_DEGREE 6
static const float FN(exp_coef)[FR_EXP_DEGREE] = {1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
#define FR_MANTISSA 23
#define FR_BIAS 127
#define FR_EXP_MAX 104.0f
#define FR_ROUND 12582912.0f /* 1.5 * 2^23 */
#define FR_LN2_HI 6.93359375e-1f
#define FR_LN2_LO -2.12194440e-4f
#endif

/* x = n ln2 + r; returns e^r - 1 and n (an integer held as REAL), |n| small enough for vpow2. */
FR_INLINE V FN(vreduce)(V x, V *n)
{
    V shifted = FN(vfma)(x, FN(vset)((REAL)1.44269504088896340736), FN(vset)((REAL)FR_ROUND));
    *n = shifted - (REAL)FR_ROUND;
    V r = FN(vfma)(*n, FN(vset)((REAL)-FR_LN2_HI), x);
    r = FN(vfma)(*n, FN(vset)((REAL)-FR_LN2_LO), r);
    V p = FN(vset)(FN(exp_coef)[FR_EXP_DEGREE - 1]);
    for (int i = FR_EXP_DEGREE - 2; i >= 0; i--)
        p = FN(vfma)(p, r, FN(vset)(FN(exp_coef)[i]));
    return FN(vfma)(p * r, r, r);
}

/* 2^n for an integer n of normal exponent. */
FR_INLINE V FN(vpow2)(VI n) { return FN(vbits)((VI)((n + FR_BIAS) << FR_MANTISSA)); }

/* (m + 1) * 2^n for an integer n of normal exponent. */
FR_INLINE V FN(vscale)(V m, V n)
{
#if defined(__AVX512F__) && FR_BYTES == 64 && !defined(FR_F64)
    return (V)_mm512_scalef_ps((__m512)(m + 1), (__m512)n);
#else
    const V power = FN(vpow2)(FN(vround)(n));
    return FN(vfma)(m, power, power);
#endif
}

/* e^x for every x: 1 ULP (f32 and f64) where the result is normal; overflow gives inf, underflow 0, NaN gives NaN. */
FR_INLINE V FN(vexp)(V x)
{
    V n;
    const V m = FN(vreduce)(FN(vclamp)(x, (REAL)-FR_EXP_MAX, (REAL)FR_EXP_MAX), &n);
    /* Two factors, because 2^n alone can leave the exponent range. */
    VI whole = FN(vround)(n), half = whole >> 1;
    return (m + (REAL)1) * FN(vpow2)(half) * FN(vpow2)(whole - half);
}

/* 1 / (1 + e^-x) for every x: 3 ULP where the result is normal, else 0; saturates to 0 and 1, NaN gives NaN. */
FR_INLINE V FN(vsigmoid)(V x)
{
    /* Beyond these bounds 1 + e^-x is 1, or the result is not a normal number. */
    const REAL low = sizeof(REAL) == 4 ? -87 : -708;
    V n;
    const V m = FN(vreduce)(-FN(vclamp)(x, low, -low), &n);
    return FN(vzero_below)(FN(vdiv)(FN(vset)(1), FN(vscale)(m, n) + (REAL)1), x, low);
}

/* tanh x for every x: 3 ULP, odd to the bit; saturates to -1 and 1, NaN gives NaN.
 * With m = e^(2|x|) - 1, tanh|x| = m / (m + 2), free of cancellation for small x. */
FR_INLINE V FN(vtanh)(V x)
{
    const VI sign_bit = (VI){0} + (INT)(1ull << (8 * sizeof(REAL) - 1));
    VI sign = FN(vword)(x) & sign_bit;
    V y = FN(vbits)((VI)(FN(vword)(x) & ~sign_bit)) * (REAL)2;
    const REAL flat = sizeof(REAL) == 4 ? 20 : 44; /* tanh rounds to 1 from here on */
    y = FN(vclamp)(y, 0, flat);
    V n;
    V m = FN(vreduce)(y, &n);
    V scale = FN(vpow2)(FN(vround)(n));
    m = FN(vfma)(m, scale, scale - (REAL)1);
    return FN(vbits)((VI)(FN(vword)(FN(vdiv)(m, m + (REAL)2)) | sign));
}

#define FR_MAP(name, op)                                                                                              \
    static void FN(name)(void *dst_, const void *src_, fr_int n)                                                      \
    {                                                                                                                 \
        REAL *dst = dst_;                                                                                             \
        const REAL *src = src_;                                                                                       \
        for (fr_int j = 0; j < n; j += VL)                                                                            \
            FN(vstore_n)(dst + j, FN(op)(FN(vload_n)(src + j, n - j)), n - j);                                        \
    }
FR_MAP(map_exp, vexp)
FR_MAP(map_sigmoid, vsigmoid)
FR_MAP(map_tanh, vtanh)
#undef FR_MAP

/* The vector type and the few operations the kernels need: the only width-dependent code.
 * Included once per element type, with FR_F64 defined or not; names become fr_NAME_f32 or fr_NAME_f64,
 * clear of arm_neon.h's own.
 */
#undef FN
#undef REAL
#undef V
#undef VI
#undef INT
#undef VL
#ifdef FR_F64
#define FN(name) fr_##name##_f64
#define REAL double
#define INT int64_t
#else
#define FN(name) fr_##name##_f32
#define REAL float
#define INT int32_t
#endif
#define V FN(vec)
#define VI FN(ivec)
#define VL ((int)(sizeof(V) / sizeof(REAL)))

#if defined(__GNUC__)
#define FR_INLINE static inline __attribute__((always_inline))
#define FR_NOINLINE __attribute__((noinline))
#define FR_UNROLL _Pragma("GCC unroll 16")
#define FR_PREFETCH(p) __builtin_prefetch(p, 0, 2)      /* into L2 */
#define FR_PREFETCH_NEAR(p) __builtin_prefetch(p, 0, 3) /* into L1 */
/* Alignment of one element: every load and store may be unaligned. */
typedef REAL V __attribute__((vector_size(FR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INT VI __attribute__((vector_size(FR_BYTES), aligned(sizeof(REAL)), may_alias));
FR_INLINE V FN(vset)(REAL x) { return x - (V){0}; }
FR_INLINE VI FN(vround)(V x) { return __builtin_convertvector(x, VI); }
/* a where the mask is all ones, b where it is zero. */
FR_INLINE V FN(vselect)(VI mask, V a, V b) { return (V)((mask & (VI)a) | (~mask & (VI)b)); }
FR_INLINE V FN(vbits)(VI x) { return (V)x; }
FR_INLINE VI FN(vword)(V x) { return (VI)x; }
#else
/* Compilers without vector types: one lane, plain C. */
#define FR_INLINE static __forceinline
#define FR_NOINLINE __declspec(noinline)
#define FR_UNROLL
#define FR_PREFETCH(p) (void)(p)
#define FR_PREFETCH_NEAR(p) (void)(p)
typedef REAL V;
typedef INT VI;
FR_INLINE V FN(vset)(REAL x) { return x; }
FR_INLINE VI FN(vround)(V x) { return (VI)x; }
FR_INLINE V FN(vselect)(VI mask, V a, V b) { return mask ? a : b; }
FR_INLINE V FN(vbits)(VI x) { union { VI i; V v; } u; u.i = x; return u.v; }
FR_INLINE VI FN(vword)(V x) { union { VI i; V v; } u; u.v = x; return u.i; }
#endif

FR_INLINE V FN(vload)(const REAL *p) { return *(const V *)p; }
FR_INLINE void FN(vstore)(REAL *p, V x) { *(V *)p = x; }

/* a * b + c, fused where the instruction set has it: the source decides, not the compiler. */
FR_INLINE V FN(vfma)(V a, V b, V c)
{
#if defined(__AVX512F__) && FR_BYTES == 64
#ifdef FR_F64
    return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#else
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
#elif defined(__FMA__) && FR_BYTES == 32
#ifdef FR_F64
    return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
#elif defined(__aarch64__) && FR_BYTES == 16
#ifdef FR_F64
    return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#endif
#else
    return a * b + c;
#endif
}

/* a / b for finite, normal b, at most 1 ULP off. With 512-bit vectors of floats: an estimate, one Newton step and one
 * correction of the quotient, 4 cycles instead of 16 (bench/NOTES.md, Division). */
FR_INLINE V FN(vdiv)(V a, V b)
{
#if defined(__AVX512F__) && FR_BYTES == 64 && !defined(FR_F64)
    const V guess = (V)_mm512_rcp14_ps((__m512)b);
    const V inverse = FN(vfma)(guess, FN(vfma)(-b, guess, FN(vset)(1)), guess);
    const V quotient = a * inverse;
    return FN(vfma)(FN(vfma)(-b, quotient, a), inverse, quotient);
#else
    return a / b;
#endif
}

/* x clamped to low .. high; NaN stays NaN (min and max return their second argument if either is NaN). */
FR_INLINE V FN(vclamp)(V x, REAL low, REAL high)
{
#if defined(__AVX512F__) && FR_BYTES == 64 && !defined(FR_F64)
    return (V)_mm512_min_ps((__m512)FN(vset)(high), _mm512_max_ps((__m512)FN(vset)(low), (__m512)x));
#elif defined(__AVX2__) && FR_BYTES == 32 && !defined(FR_F64)
    return (V)_mm256_min_ps((__m256)FN(vset)(high), _mm256_max_ps((__m256)FN(vset)(low), (__m256)x));
#else
    x = FN(vselect)((VI)(x > high), FN(vset)(high), x);
    return FN(vselect)((VI)(x < low), FN(vset)(low), x);
#endif
}

/* 0 where x < low, else y. */
FR_INLINE V FN(vzero_below)(V y, V x, REAL low)
{
#if defined(__AVX512F__) && FR_BYTES == 64 && !defined(FR_F64)
    return (V)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)FN(vset)(low), _CMP_NLT_UQ), (__m512)y);
#else
    return FN(vselect)((VI)(x < low), (V){0}, y);
#endif
}

/* The first n elements of a vector, all if n >= VL: the common, fast case. */
FR_INLINE V FN(vload_n)(const REAL *p, fr_int n)
{
    if (n >= VL)
        return FN(vload)(p);
#if defined(__AVX512F__) && FR_BYTES == 64
#ifdef FR_F64
    return (V)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
    return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#endif
#else
    REAL part[VL] = {0};
    for (fr_int j = 0; j < n; j++)
        part[j] = p[j];
    return FN(vload)(part);
#endif
}

FR_INLINE void FN(vstore_n)(REAL *p, V x, fr_int n)
{
    if (n >= VL) {
        FN(vstore)(p, x);
        return;
    }
#if defined(__AVX512F__) && FR_BYTES == 64
#ifdef FR_F64
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)x);
#else
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#endif
#else
    REAL part[VL];
    FN(vstore)(part, x);
    for (fr_int j = 0; j < n; j++)
        p[j] = part[j];
#endif
}

/* The vector operations of products with 8 and 16-bit weights: the only code of theirs that depends on the instruction
 * set. Included after vec.h for float, with FR_DOT as well to use instructions that add products of four 8-bit or two
 * 16-bit values; without it the same values come from older instructions.
 *
 * Four neighbouring values of k share a lane of 8-bit weights, two a lane of 16-bit ones.
 */

#define FR_TO_INTEGER 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, ties to even */
#define FR_LEAST_SCALED 1e-30f    /* rows and columns whose values are all smaller count as zeros */
#define FR_INFINITE (__builtin_inff())
#define FR_NOT_A_NUMBER (__builtin_nanf(""))

FR_INLINE VI FN(vloadi)(const void *p)
{
    VI x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The four bytes at p in each lane. */
FR_INLINE VI FN(vset_bytes)(const void *p)
{
    int32_t four;
    memcpy(&four, p, 4);
    return four - (VI){0};
}

FR_INLINE VI FN(vmost)(VI a, VI b)
{
#if FR_BYTES == 64 && defined(__AVX512F__)
    return (VI)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif FR_BYTES == 32 && defined(__AVX2__)
    return (VI)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    return FN(vword)(FN(vselect)((VI)(a > b), FN(vbits)(a), FN(vbits)(b)));
#endif
}

FR_INLINE V FN(vfloat)(VI x)
{
#if defined(__GNUC__)
    return __builtin_convertvector(x, V);
#else
    return (V)x;
#endif
}

FR_INLINE int fr_rounded(float x) { return (int)((x + FR_TO_INTEGER) - FR_TO_INTEGER); }

/* p: [VL] = x, whose values fit into 8 bits. */
FR_INLINE void FN(store8)(int8_t *p, VI x)
{
#if FR_BYTES == 64 && defined(__AVX512F__)
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)x));
#elif FR_BYTES == 32 && defined(__AVX2__)
    const __m256i v = (__m256i)x;
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
#else
    int32_t each[VL];
    memcpy(each, &x, sizeof each);
    for (int lane = 0; lane < VL; lane++)
        p[lane] = (int8_t)each[lane];
#endif
}

/* 8 bits. A row's values are q = -127 .. 127; a weight's are the same, stored as q + FR_WEIGHT_ZERO. left8: four values
 * of a row as dot8 takes them. */
#if defined(FR_DOT) && ((FR_BYTES == 64 && defined(__AVX512VNNI__)) || (FR_BYTES == 32 && defined(__AVXVNNI__)))
#define FR_WEIGHT_ZERO 128 /* vpdpbusd multiplies unsigned by signed values */
typedef VI FN(left8);
FR_INLINE FN(left8) FN(left8_of)(const int8_t *p) { return FN(vset_bytes)(p); }
FR_INLINE VI FN(dot8)(VI sum, FN(left8) x, VI w)
{
#if FR_BYTES == 64
    return (VI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
#else
    return (VI)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x);
#endif
}
#elif defined(__AVX2__)
/* vpmaddubsw adds two products in 16 bits and saturates. |x| (w sign(x)) keeps each product within 127 * 127, so that
 * two of them, at most 32258, always fit. */
#define FR_WEIGHT_ZERO 0
typedef struct { VI q, size; } FN(left8);
FR_INLINE FN(left8) FN(left8_of)(const int8_t *p)
{
    const VI q = FN(vset_bytes)(p);
#if FR_BYTES == 64
    return (FN(left8)){q, (VI)_mm512_abs_epi8((__m512i)q)};
#else
    return (FN(left8)){q, (VI)_mm256_abs_epi8((__m256i)q)};
#endif
}
FR_INLINE VI FN(dot8)(VI sum, FN(left8) x, VI w)
{
#if FR_BYTES == 64
    const __m512i v = (__m512i)w;
    const __m512i turned = _mm512_mask_sub_epi8(v, _mm512_movepi8_mask((__m512i)x.q), _mm512_setzero_si512(), v);
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)x.size, turned);
    return (VI)_mm512_add_epi32((__m512i)sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#else
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x.size, _mm256_sign_epi8((__m256i)w, (__m256i)x.q));
    return (VI)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}
#elif defined(__SSE2__)
/* Even and odd bytes as 16-bit values, so that pmaddwd adds their products in 32 bits. */
#define FR_WEIGHT_ZERO 0
typedef struct { __m128i even, odd; } FN(left8);
FR_INLINE FN(left8) FN(halves8)(VI v)
{
    return (FN(left8)){_mm_srai_epi16(_mm_slli_epi16((__m128i)v, 8), 8), _mm_srai_epi16((__m128i)v, 8)};
}
FR_INLINE FN(left8) FN(left8_of)(const int8_t *p) { return FN(halves8)(FN(vset_bytes)(p)); }
FR_INLINE VI FN(dot8)(VI sum, FN(left8) x, VI w)
{
    const FN(left8) v = FN(halves8)(w);
    const __m128i pairs = _mm_add_epi32(_mm_madd_epi16(v.even, x.even), _mm_madd_epi16(v.odd, x.odd));
    return (VI)_mm_add_epi32((__m128i)sum, pairs);
}
#else
#define FR_WEIGHT_ZERO 0
typedef struct { int32_t q[4]; } FN(left8);
FR_INLINE FN(left8) FN(left8_of)(const int8_t *p)
{
    return (FN(left8)){{p[0], p[1], p[2], p[3]}};
}
FR_INLINE VI FN(dot8)(VI sum, FN(left8) x, VI w)
{
    /* Shifts to the left and back extend each byte's sign (little-endian lanes). */
    for (int i = 0; i < 4; i++)
        sum += ((w << (24 - 8 * i)) >> 24) * x.q[i];
    return sum;
}
#endif

/* 16 bits: bfloat16, the upper half of a float. */
#if defined(FR_DOT) && FR_BYTES == 64 && defined(__AVX512BF16__)
#define FR_DOT16 1
/* p: [VL] = the bfloat16 nearest to x, ties to even. */
FR_INLINE void FN(store16)(uint16_t *p, V x)
{
    const __m256bh near = _mm512_cvtneps_pbh((__m512)x);
    memcpy(p, &near, sizeof near);
}
FR_INLINE V FN(dot16)(V sum, VI x, VI w)
{
    return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
}
#else
#define FR_DOT16 0
#endif
/* The earlier and the later value of k of each lane. */
FR_INLINE V FN(lower16)(VI w) { return FN(vbits)((VI)(w << 16)); }
FR_INLINE V FN(upper16)(VI w) { return FN(vbits)((VI)(w & (int32_t)0xffff0000)); }

/* The bfloat16 nearest to x, ties to even; a NaN stays one. */
FR_INLINE uint16_t fr_bfloat16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

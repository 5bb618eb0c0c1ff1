/* Packed products with weights of 8 and 16 bits; see fr_format. Rows of a are prepared in memory on the stack: to 8
 * bits with one scale for each FR_K8 values, or to bfloat16. Nothing of a row depends on the rows beside it.
 *
 *     8 bits:  c = init + (sum_k q_a q_w) s_w s_a for each block of FR_K8 values of k; the sum of integers is exact
 *     16 bits: one chain of sums in the order of k, as in gemm.inc.h
 */
#include "tile.h"

#if defined(FR_DOT) && FR_BYTES == 64 && defined(__AMX_INT8__) && defined(__AMX_BF16__)
#define FR_TILES 1
#define FR_UNIT8 64 /* panels hold whole tiles */
#define FR_UNIT16 32
#else
#define FR_TILES 0
#define FR_UNIT8 4 /* values of k that share a lane */
#define FR_UNIT16 2
#endif
#define FR_UP(n, unit) (((n) + (unit) - 1) / (unit) * (unit))
#define FR_PREPARED_BYTES 49152 /* rows in L2 while every panel passes by */
#define FR_PREPARED_ROWS 48
#define FR_K8 1024 /* a panel's block of FR_K8 x NR bytes stays in L1 */
#define FR_K16 512
#define FR_AHEAD 512 /* bytes of a panel to prefetch ahead, if the weights are in no cache that is near */

/* w: [nv] vectors of weights, the lanes at b of panels that lie `apart` bytes apart. */
FR_INLINE void FN(load_lanes)(VI *w, const int nv, const int fetch, const void *b, fr_int apart)
{
    FR_UNROLL
    for (int v = 0; v < nv; v++)
        w[v] = FN(vloadi)((const char *)b + (v / 2) * apart + (v % 2) * 4 * VL);
    if (fetch)
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            FR_PREFETCH_NEAR((const char *)b + (v / 2) * apart + (v % 2) * 4 * VL + FR_AHEAD);
}

/* ---- 8 bits. A panel: [ceil(K/4)][NR][4] weights, and [NR] floats s_w. */

static fr_int FN(panel_bytes8)(fr_int k) { return (FR_UP(k, FR_UNIT8) + (fr_int)sizeof(float)) * NR; }

/* s_w = max |w| / 127 of a column, q_w = w / s_w to the nearest integer. */
static void FN(pack8)(void *dst_, const void *src_, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k)
{
    const float *src = src_;
    const fr_int whole = FR_UP(k, FR_UNIT8);
    for (fr_int j = 0; j < n; j += NR) {
        int8_t *panel = (int8_t *)dst_ + j / NR * FN(panel_bytes8)(k);
        float *scales = (float *)(void *)(panel + whole * NR);
        for (fr_int c = 0; c < NR; c++) {
            const float *column = src + (j + c) * stride_n;
            const fr_int valid = j + c < n ? k : 0;
            float most = 0;
            for (fr_int kk = 0; kk < valid; kk++) {
                const float size = column[kk * stride_k] < 0 ? -column[kk * stride_k] : column[kk * stride_k];
                most = size > most || size != size ? size : most; /* NaN stays */
            }
            const int some = most > FR_LEAST_SCALED && most < FR_INFINITE;
            scales[c] = some ? most / 127 : most > FR_LEAST_SCALED || most != most ? FR_NOT_A_NUMBER : 0;
            const float inverse = some ? 127 / most : 0;
            for (fr_int kk = 0; kk < whole; kk++)
                panel[(kk / 4 * NR + c) * 4 + kk % 4] =
                    (int8_t)(uint8_t)((kk < valid && some ? fr_rounded(column[kk * stride_k] * inverse) : 0) +
                                      FR_WEIGHT_ZERO);
        }
    }
}

/* q_a: [n] to dst, followed by zeros up to a multiple of FR_UNIT8; returns s_a = max |a| / 127, NaN if a is not finite.
 * `zero`: what the sums of products with stored weights start from, so that FR_WEIGHT_ZERO drops out. */
FR_INLINE float FN(prepare8)(int8_t *dst, int32_t *zero, const float *a, fr_int n)
{
    VI most = {0};
    fr_int j = 0;
    for (; j < n; j += VL) {
        const VI size = FN(vword)(FN(vload_n)(a + j, n - j)) & 0x7fffffff;
        most = FN(vmost)(most, size);
    }
    int32_t sizes[VL], whole = 0;
    memcpy(sizes, &most, sizeof sizes);
    for (int lane = 0; lane < VL; lane++)
        whole = sizes[lane] > whole ? sizes[lane] : whole; /* the order of positive floats is that of their bits */
    float size;
    memcpy(&size, &whole, sizeof size);
    const int some = size > FR_LEAST_SCALED && size < FR_INFINITE;
    const V inverse = FN(vset)(some ? 127 / size : 0);
    VI total = {0};
    for (j = 0; j < n; j += VL) {
        VI q = {0};
        if (some)
            q = FN(vround)((V)(FN(vload_n)(a + j, n - j) * inverse + FR_TO_INTEGER) - FR_TO_INTEGER);
        FN(store8)(dst + j, q);
        total += q;
    }
    for (; j % FR_UNIT8; j++)
        dst[j] = 0;
    memcpy(sizes, &total, sizeof sizes);
    int32_t sum = 0;
    for (int lane = 0; lane < VL; lane++)
        sum += sizes[lane];
    *zero = -FR_WEIGHT_ZERO * sum;
    return some ? size / 127 : size <= FR_LEAST_SCALED ? 0 : FR_NOT_A_NUMBER;
}

/* The first `left` of c: [VL] = init + sum s_w s_a. */
FR_INLINE void FN(finish8)(float *c, VI sum, const float *column_scale, float scale, const float *init, fr_int left)
{
    const V start = init ? FN(vload_n)(init, left) : (V){0};
    FN(vstore_n)(c, FN(vfma)(FN(vfloat)(sum) * FN(vload)(column_scale), FN(vset)(scale), start), left);
}

FR_INLINE void FN(int8_rows)(const int mr, const int np, const int fetch, float *c, fr_int ldc, const int8_t *a,
                             fr_int lda, const int32_t *zero, const float *scale, const int8_t *b, fr_int pstep,
                             const float *column_scale, const float *init, fr_int ldi, fr_int k, fr_int cols)
{
    VI sum[MR][8], w[8];
    const int nv = 2 * np;
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            sum[m][v] = zero[m] - (VI){0};
    for (fr_int kk = 0; kk < k; kk += 4) {
        FN(load_lanes)(w, nv, fetch, b + kk * NR, pstep);
        FR_UNROLL
        for (int m = 0; m < mr; m++) {
            const FN(left8) x = FN(left8_of)(a + m * lda + kk);
            FR_UNROLL
            for (int v = 0; v < nv; v++)
                sum[m][v] = FN(dot8)(sum[m][v], x, w[v]);
        }
    }
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            if (cols > v * VL)
                FN(finish8)(c + m * ldc + v * VL, sum[m][v],
                            (const float *)(const void *)((const char *)column_scale + (v / 2) * pstep) + v % 2 * VL,
                            scale[m], init ? init + m * ldi + v * VL : 0, cols - v * VL);
}

typedef void (*FN(int8_fn))(float *, fr_int, const int8_t *, fr_int, const int32_t *, const float *, const int8_t *,
                              const float *, const float *, fr_int, fr_int, fr_int);
#define FR_MICRO8(name, mr)                                                                                           \
    static void FN(int8_rows##mr)(float *c, fr_int ldc, const int8_t *a, fr_int lda, const int32_t *zero,             \
                                const float *scale, const int8_t *b, const float *column_scale, const float *init,    \
                                fr_int ldi, fr_int k, fr_int cols)                                                    \
    {                                                                                                                 \
        FN(int8_rows)(mr, 1, 0, c, ldc, a, lda, zero, scale, b, 0, column_scale, init, ldi, k, cols);                 \
    }
FR_EACH_COUNT(FR_MICRO8, 0)
#define FR_NAME8(name, mr) FN(int8_rows##mr),
static const FN(int8_fn) FN(int8_table)[MR + 1] = {0, FR_EACH_COUNT(FR_NAME8, 0)};

#if FR_TILES
#include "tiles.inc.h"
#endif

static FR_NOINLINE void FN(multiply8)(fr_matrix c_, fr_matrix a_, const fr_panels *w, fr_matrix init_, fr_int r,
                                      fr_int first, fr_int n)
{
    _Alignas(64) int8_t room[FR_PREPARED_BYTES + 64];
    int32_t zero[FR_PREPARED_ROWS];
    float scale[FR_PREPARED_ROWS];
    const fr_int ldc = c_.ld, lda = a_.ld, k = w->inner, whole = FR_UP(k, FR_UNIT8), step = w->stride;
    const fr_int apart = FR_UP(k < FR_K8 ? k : FR_K8, VL < FR_UNIT8 ? FR_UNIT8 : VL); /* row to row in `room` */
    const fr_int most = FR_PREPARED_BYTES / apart < FR_PREPARED_ROWS ? FR_PREPARED_BYTES / apart : FR_PREPARED_ROWS;
    const int8_t *panels = (const int8_t *)w->data + first / NR * step;
    FR_EACH_BLOCK (m, rows, r, most) {
        fr_int kb = 0;
        do {
            const fr_int kn = k - kb < FR_K8 ? k - kb : FR_K8;
            for (fr_int i = 0; i < rows; i++)
                scale[i] = FN(prepare8)(room + i * apart, zero + i, (const float *)a_.data + (m + i) * lda + kb, kn);
            float *c = (float *)c_.data + m * ldc + first;
            const float *init = init_.data ? (const float *)init_.data + m * init_.ld + first : 0;
            const fr_int ldi = kb ? ldc : init_.ld;
            if (kb)
                init = c;
            fr_int j = 0;
            if (rows == 1) { /* several panels at a time give enough independent chains */
                for (; j + 4 * NR <= n; j += 4 * NR) {
                    const int8_t *b = panels + j / NR * step;
                    FN(int8_rows)(1, 4, 1, c + j, 0, room, 0, zero, scale, b + kb * NR, step,
                               (const float *)(const void *)(b + whole * NR), init ? init + j : 0, 0, kn, 4 * NR);
                }
            } else if (rows == 2) {
                for (; j + 2 * NR <= n; j += 2 * NR) {
                    const int8_t *b = panels + j / NR * step;
                    FN(int8_rows)(2, 2, 1, c + j, ldc, room, apart, zero, scale, b + kb * NR, step,
                               (const float *)(const void *)(b + whole * NR), init ? init + j : 0, ldi, kn, 2 * NR);
                }
            }
#if FR_TILES
            if (rows > 2) {
                fr_tiles_begin(16);
                for (; j < n; j += NR) {
                    const int8_t *b = panels + j / NR * step;
                    fr_tiles8(c + j, ldc, room, apart, zero, scale, b + kb * NR,
                              (const float *)(const void *)(b + whole * NR), init ? init + j : 0, ldi, rows, kn, n - j);
                }
                _tile_release();
            }
#endif
            for (; j < n; j += NR) {
                const int8_t *b = panels + j / NR * step;
                FR_EACH_BLOCK (i, now, rows, MR)
                    FN(int8_table)[now](c + i * ldc + j, ldc, room + i * apart, apart, zero + i, scale + i, b + kb * NR,
                                        (const float *)(const void *)(b + whole * NR), init ? init + i * ldi + j : 0,
                                        ldi, kn, n - j);
            }
            kb += FR_K8;
        } while (kb < k);
    }
}

/* ---- 16 bits. A panel: [ceil(K/2)][NR][2] weights. */

static fr_int FN(panel_bytes16)(fr_int k) { return FR_UP(k, FR_UNIT16) * (fr_int)sizeof(uint16_t) * NR; }

static void FN(pack16)(void *dst_, const void *src_, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k)
{
    const float *src = src_;
    const fr_int whole = FR_UP(k, FR_UNIT16);
    for (fr_int j = 0; j < n; j += NR) {
        uint16_t *panel = (uint16_t *)dst_ + j * whole;
        for (fr_int c = 0; c < NR; c++)
            for (fr_int kk = 0; kk < whole; kk++)
                panel[(kk / 2 * NR + c) * 2 + kk % 2] =
                    j + c < n && kk < k ? fr_bfloat16(src[(j + c) * stride_n + kk * stride_k]) : 0;
    }
}

#if FR_DOT16
typedef uint16_t FN(value16); /* of a row: bfloat16 */
/* dst: [n] and zeros up to a multiple of FR_UNIT16. */
FR_INLINE void FN(prepare16)(uint16_t *dst, const float *a, fr_int n)
{
    fr_int j = 0;
    for (; j < n; j += VL)
        FN(store16)(dst + j, FN(vload_n)(a + j, n - j));
    for (; j % FR_UNIT16; j += VL)
        FN(store16)(dst + j, (V){0});
}
#else
typedef float FN(value16); /* of a row: as it is */
#endif

#if !FR_TILES
/* sum += the products of two values of k, or with `both` 0 of one alone. */
FR_INLINE void FN(add16)(const int mr, const int nv, const int both, V sum[MR][8], const FN(value16) *a, fr_int lda,
                         const VI *w)
{
    FR_UNROLL
    for (int m = 0; m < mr; m++) {
#if FR_DOT16
        const VI x = FN(vset_bytes)(a + m * lda);
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            sum[m][v] = FN(dot16)(sum[m][v], x, w[v]);
#else
        const V x = FN(vset)(a[m * lda]);
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            sum[m][v] = FN(vfma)(x, FN(lower16)(w[v]), sum[m][v]);
        if (both) {
            const V y = FN(vset)(a[m * lda + 1]);
            FR_UNROLL
            for (int v = 0; v < nv; v++)
                sum[m][v] = FN(vfma)(y, FN(upper16)(w[v]), sum[m][v]);
        }
#endif
    }
    (void)both;
}

/* pstep: bytes from panel to panel */
FR_INLINE void FN(bf16_rows)(const int mr, const int np, const int fetch, float *c, fr_int ldc, const FN(value16) *a,
                             fr_int lda, const uint16_t *b, fr_int pstep, const float *init, fr_int ldi, fr_int k,
                             fr_int cols)
{
    V sum[MR][8];
    VI w[8];
    const int nv = 2 * np;
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            sum[m][v] = init && cols > v * VL ? FN(vload_n)(init + m * ldi + v * VL, cols - v * VL) : (V){0};
    fr_int kk = 0;
    for (; kk + 1 < k + FR_DOT16; kk += 2) {
        FN(load_lanes)(w, nv, fetch, b + kk * NR, pstep);
        FN(add16)(mr, nv, 1, sum, a + kk, lda, w);
    }
    if (kk < k) {
        FN(load_lanes)(w, nv, 0, b + kk * NR, pstep);
        FN(add16)(mr, nv, 0, sum, a + kk, lda, w);
    }
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            if (cols > v * VL)
                FN(vstore_n)(c + m * ldc + v * VL, sum[m][v], cols - v * VL);
}

typedef void (*FN(bf16_fn))(float *, fr_int, const FN(value16) *, fr_int, const uint16_t *, const float *, fr_int,
                               fr_int, fr_int);
#define FR_MICRO16(name, mr)                                                                                          \
    static void FN(bf16_rows##mr)(float *c, fr_int ldc, const FN(value16) *a, fr_int lda, const uint16_t *b,          \
                                 const float *init, fr_int ldi, fr_int k, fr_int cols)                                \
    {                                                                                                                 \
        FN(bf16_rows)(mr, 1, 0, c, ldc, a, lda, b, 0, init, ldi, k, cols);                                            \
    }
FR_EACH_COUNT(FR_MICRO16, 0)
#define FR_NAME16(name, mr) FN(bf16_rows##mr),
static const FN(bf16_fn) FN(bf16_table)[MR + 1] = {0, FR_EACH_COUNT(FR_NAME16, 0)};
#endif

static FR_NOINLINE void FN(multiply16)(fr_matrix c_, fr_matrix a_, const fr_panels *w, fr_matrix init_, fr_int r,
                                       fr_int first, fr_int n)
{
    const fr_int ldc = c_.ld, k = w->inner, step = w->stride / (fr_int)sizeof(uint16_t);
    const uint16_t *panels = (const uint16_t *)w->data + first / NR * step;
    /* A tile's sums begin at zero in each block, so blocks are the same for any number of rows. */
    const fr_int kc = !FR_TILES && r <= MR && k <= FR_PREPARED_BYTES / MR / 2 ? k : FR_K16;
#if FR_DOT16
    _Alignas(64) uint16_t room[FR_PREPARED_BYTES / 2 + 64];
    const fr_int apart = FR_UP(k < kc ? k : kc, FR_TILES ? FR_UNIT16 : VL), fit = FR_PREPARED_BYTES / 2 / apart;
    const fr_int most = fit < FR_PREPARED_ROWS ? fit : FR_PREPARED_ROWS;
#else
    const fr_int apart = a_.ld, most = FR_PREPARED_ROWS;
#endif
    FR_EACH_BLOCK (m, rows, r, most) {
        fr_int kb = 0;
        do {
            const fr_int kn = k - kb < kc ? k - kb : kc;
            const float *source = (const float *)a_.data + m * a_.ld + kb;
#if FR_DOT16
            for (fr_int i = 0; i < rows; i++)
                FN(prepare16)(room + i * apart, source + i * a_.ld, kn);
            const uint16_t *left = room;
#else
            const float *left = source;
#endif
            float *c = (float *)c_.data + m * ldc + first;
            const float *init = init_.data ? (const float *)init_.data + m * init_.ld + first : 0;
            const fr_int ldi = kb ? ldc : init_.ld;
            if (kb)
                init = c;
            fr_int j = 0;
#if FR_TILES
            fr_tiles_begin(rows < 16 ? (int)rows : 16);
            for (; j < n; j += NR)
                fr_tiles16(c + j, ldc, left, apart, panels + j / NR * step + kb * NR, init ? init + j : 0, ldi, rows,
                           kn, n - j);
            _tile_release();
#else
            const fr_int between = step * (fr_int)sizeof(uint16_t);
            if (rows == 1)
                for (; j + 4 * NR <= n; j += 4 * NR)
                    FN(bf16_rows)(1, 4, 1, c + j, 0, left, 0, panels + j / NR * step + kb * NR, between,
                                  init ? init + j : 0, 0, kn, 4 * NR);
            else if (rows == 2)
                for (; j + 2 * NR <= n; j += 2 * NR)
                    FN(bf16_rows)(2, 2, 1, c + j, ldc, left, apart, panels + j / NR * step + kb * NR, between,
                                  init ? init + j : 0, ldi, kn, 2 * NR);
            for (; j < n; j += NR)
                FR_EACH_BLOCK (i, now, rows, MR)
                    FN(bf16_table)[now](c + i * ldc + j, ldc, left + i * apart, apart, panels + j / NR * step + kb * NR,
                                        init ? init + i * ldi + j : 0, ldi, kn, n - j);
#endif
            kb += kc;
        } while (kb < k);
    }
}

static const fr_format FN(format8) = {
    .itemsize = 1, .width = NR, .panel_bytes = FN(panel_bytes8), .pack = FN(pack8), .multiply = FN(multiply8)};
static const fr_format FN(format16) = {
    .itemsize = 2, .width = NR, .panel_bytes = FN(panel_bytes16), .pack = FN(pack16), .multiply = FN(multiply16)};

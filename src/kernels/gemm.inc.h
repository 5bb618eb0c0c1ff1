/* Packed products. The micro kernel holds MR rows x 2 vectors of sums in registers and streams one panel of weights.
 * Each sum over k keeps its order, so blocks of k (whose sums wait in c) and blocks of rows never change a bit.
 */
#include "tile.h"

#define KC 256 /* a panel block of KC x NR stays in L1: 16 KB (AVX2 f32) to 32 KB (AVX-512) */
#define MC 96  /* rows of a kept in L2 while every panel passes by: MC x KC x 4 = 96 KB */
/* Steps of k by which weights of more than FAR bytes are prefetched, with the padded rows below: 108 GFLOP/s instead of
 * 87 at 32 rows (bench/NOTES.md, Prefetched weights). */
#define AHEAD 32
#define FAR 1048576
/* Rows of a that lie multiples of a page apart use the same sets of L1, so they are copied to rows of this length. */
#define PADDED_ROW (KC + 64 / (int)sizeof(REAL))
#define CROWDED_ROWS (sizeof(REAL) == 4 ? 48 : 24)
#define PAGE 4096

static fr_int FN(panel_bytes)(fr_int k) { return k * NR * (fr_int)sizeof(REAL); }

static void FN(pack)(void *dst_, const void *src_, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k)
{
    REAL *dst = dst_;
    const REAL *src = src_;
    for (fr_int j = 0; j < n; j += NR) {
        const fr_int cols = n - j < NR ? n - j : NR;
        if (stride_k == 1) {
            /* Rows of a weight matrix: blocks of 16 k keep both sides in cache. */
            for (fr_int kb = 0; kb < k; kb += 16) {
                const fr_int ke = kb + 16 < k ? kb + 16 : k;
                for (fr_int c = 0; c < cols; c++)
                    for (fr_int kk = kb; kk < ke; kk++)
                        dst[kk * NR + c] = src[(j + c) * stride_n + kk];
            }
        } else if (stride_n == 1 && cols == NR) {
            for (fr_int kk = 0; kk < k; kk++) {
                FN(vstore)(dst + kk * NR, FN(vload)(src + j + kk * stride_k));
                FN(vstore)(dst + kk * NR + VL, FN(vload)(src + j + kk * stride_k + VL));
            }
        } else {
            for (fr_int kk = 0; kk < k; kk++)
                for (fr_int c = 0; c < cols; c++)
                    dst[kk * NR + c] = src[(j + c) * stride_n + kk * stride_k];
        }
        if (cols < NR)
            for (fr_int kk = 0; kk < k; kk++)
                for (fr_int c = cols; c < NR; c++)
                    dst[kk * NR + c] = 0;
        dst += k * NR;
    }
}

/* c[m, :] = init[m, :] + sum_k a[m*lda + k*ka] b[k, :] for mr rows and np adjacent panels (pstep elements apart).
 * cols: valid columns, np * NR in the fast case. fetch: whether to prefetch b. */
FR_INLINE void FN(micro)(const int mr, const int np, const int fetch, REAL *c, fr_int ldc, const REAL *a, fr_int lda,
                         fr_int ka, const REAL *b, fr_int pstep, const REAL *init, fr_int ldi, fr_int k, fr_int cols)
{
    V sum[MR][8];
    const int nv = 2 * np;
    const int full = cols >= np * NR;
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++) {
            if (!init)
                sum[m][v] = (V){0};
            else if (full)
                sum[m][v] = FN(vload)(init + m * ldi + v * VL);
            else
                sum[m][v] = cols > v * VL ? FN(vload_n)(init + m * ldi + v * VL, cols - v * VL) : (V){0};
        }
    for (fr_int kk = 0; kk < k; kk++) {
        V w[8];
        FR_UNROLL
        for (int v = 0; v < nv; v++)
            w[v] = FN(vload)(b + (v / 2) * pstep + kk * NR + (v % 2) * VL);
        if (fetch && mr > 4) /* with 4 rows it costs: 99 GFLOP/s, not 109 (bench/NOTES.md, Prefetched weights) */
            FR_UNROLL
            for (int at = 0; at < NR; at += 64 / (int)sizeof(REAL))
                FR_PREFETCH_NEAR(b + (kk + AHEAD) * NR + at);
        FR_UNROLL
        for (int m = 0; m < mr; m++) {
            const V x = FN(vset)(a[m * lda + kk * ka]);
            FR_UNROLL
            for (int v = 0; v < nv; v++)
                sum[m][v] = FN(vfma)(x, w[v], sum[m][v]);
        }
    }
    FR_UNROLL
    for (int m = 0; m < mr; m++)
        FR_UNROLL
        for (int v = 0; v < nv; v++) {
            if (full)
                FN(vstore)(c + m * ldc + v * VL, sum[m][v]);
            else if (cols > v * VL)
                FN(vstore_n)(c + m * ldc + v * VL, sum[m][v], cols - v * VL);
        }
}

/* One function per row count, so that every loop over rows unrolls into registers. */
typedef void (*FN(micro_fn))(REAL *, fr_int, const REAL *, fr_int, fr_int, const REAL *, const REAL *, fr_int, fr_int,
                             fr_int);
#define FR_MICRO(name, fetch, mr)                                                                                     \
    static void FN(name##mr)(REAL *c, fr_int ldc, const REAL *a, fr_int lda, fr_int ka, const REAL *b,                \
                             const REAL *init, fr_int ldi, fr_int k, fr_int cols)                                     \
    {                                                                                                                 \
        FN(micro)(mr, 1, fetch, c, ldc, a, lda, ka, b, 0, init, ldi, k, cols);                                        \
    }
#define FR_NAME(name, mr) FN(name##mr),
FR_EACH_COUNT(FR_MICRO, micro, 0)
FR_EACH_COUNT(FR_MICRO, fetching, 1)
static const FN(micro_fn) FN(micro_table)[MR + 1] = {0, FR_EACH_COUNT(FR_NAME, micro)};
static const FN(micro_fn) FN(fetching_table)[MR + 1] = {0, FR_EACH_COUNT(FR_NAME, fetching)};
#undef FR_NAME
#undef FR_MICRO

/* One or two rows: several panels at a time give enough independent chains. */
static void FN(gemm_wide1)(REAL *c, const REAL *a, const REAL *packed, const REAL *init, fr_int n, fr_int k)
{
    fr_int j = 0;
    for (; j + 4 * NR <= n; j += 4 * NR)
        FN(micro)(1, 4, 0, c + j, 0, a, 0, 1, packed + j * k, k * NR, init ? init + j : 0, 0, k, 4 * NR);
    for (; j < n; j += NR)
        FN(micro)(1, 1, 0, c + j, 0, a, 0, 1, packed + j * k, 0, init ? init + j : 0, 0, k, n - j);
}

static void FN(gemm_wide2)(REAL *c, fr_int ldc, const REAL *a, fr_int lda, const REAL *packed, const REAL *init,
                           fr_int ldi, fr_int n, fr_int k)
{
    fr_int j = 0;
    for (; j + 2 * NR <= n; j += 2 * NR)
        FN(micro)(2, 2, 0, c + j, ldc, a, lda, 1, packed + j * k, k * NR, init ? init + j : 0, ldi, k, 2 * NR);
    for (; j < n; j += NR)
        FN(micro)(2, 1, 0, c + j, ldc, a, lda, 1, packed + j * k, 0, init ? init + j : 0, ldi, k, n - j);
}

FR_INLINE void FN(row_blocks)(const FN(micro_fn) *table, REAL *c, fr_int ldc, const REAL *a, fr_int lda, fr_int ka,
                              const REAL *b, const REAL *init, fr_int ldi, fr_int r, fr_int k, fr_int cols)
{
    FR_EACH_BLOCK (m, rows, r, MR)
        table[rows](c + m * ldc, ldc, a + m * lda, lda, ka, b, init ? init + m * ldi : 0, ldi, k, cols);
}

/* Blocks of at most mc rows, of nearly equal size. `padded` is NULL or has room for a block's rows of a. */
FR_INLINE void FN(gemm_blocks)(REAL *c, fr_int ldc, const REAL *a, fr_int lda, const REAL *packed, const REAL *init,
                               fr_int ldi, fr_int r, fr_int n, fr_int k, fr_int mc, REAL *padded)
{
    /* If only one block of rows reads a panel, blocks of k gain nothing. */
    const fr_int kc = r <= MR ? k : KC;
    const FN(micro_fn) *table = n * k * (fr_int)sizeof(REAL) > FAR ? FN(fetching_table) : FN(micro_table);
    FR_EACH_BLOCK (m, rows, r, mc) {
        fr_int kb = 0;
        do {
            const fr_int kn = k - kb < kc ? k - kb : kc;
            const REAL *left = a + m * lda + kb;
            if (padded) {
                for (fr_int i = 0; i < rows; i++)
                    memcpy(padded + i * PADDED_ROW, left + i * lda, kn * sizeof(REAL));
                left = padded;
            }
            for (fr_int j = 0; j < n; j += NR) {
                const REAL *start = kb ? c + m * ldc + j : init ? init + m * ldi + j : 0;
                FN(row_blocks)(table, c + m * ldc + j, ldc, left, padded ? PADDED_ROW : lda, 1, packed + j * k + kb * NR,
                               start, kb ? ldc : ldi, rows, kn, n - j);
            }
            kb += kc;
        } while (kb < k);
    }
}

/* A function of its own, because only these sizes need its 50 KB of stack. */
static FR_NOINLINE void FN(gemm_crowded)(REAL *c, fr_int ldc, const REAL *a, fr_int lda, const REAL *packed,
                                         const REAL *init, fr_int ldi, fr_int r, fr_int n, fr_int k)
{
    REAL padded[CROWDED_ROWS * PADDED_ROW];
    FN(gemm_blocks)(c, ldc, a, lda, packed, init, ldi, r, n, k, CROWDED_ROWS, padded);
}

static void FN(multiply)(fr_matrix c_, fr_matrix a_, const fr_panels *w, fr_matrix init_, fr_int r, fr_int first,
                         fr_int n)
{
    const fr_int ldc = c_.ld, lda = a_.ld, ldi = init_.ld, k = w->inner;
    REAL *c = (REAL *)c_.data + first;
    const REAL *a = a_.data, *packed = (const REAL *)w->data + first * k;
    const REAL *init = init_.data ? (const REAL *)init_.data + first : 0;
    if (r == 1)
        FN(gemm_wide1)(c, a, packed, init, n, k);
    else if (r == 2)
        FN(gemm_wide2)(c, ldc, a, lda, packed, init, ldi, n, k);
    else if (r > MR && lda * (fr_int)sizeof(REAL) % PAGE == 0)
        FN(gemm_crowded)(c, ldc, a, lda, packed, init, ldi, r, n, k);
    else
        FN(gemm_blocks)(c, ldc, a, lda, packed, init, ldi, r, n, k, MC, 0);
}

#define TN_KC 256
#define TN_NC 512
#define MR_VECTORS ((MR + VL - 1) / VL * VL)
#define FR_TN_WORK ((fr_int)((TN_KC * (TN_NC + NR) + TN_KC * MR_VECTORS) * sizeof(REAL)))

/* dst: [k][MR_VECTORS] <- m columns of src, m <= MR, in whole vectors. Nobody reads dst beyond column m. Reads of src
 * beyond column m end in the same or the next row; so the last row, and narrow matrices, go element by element. */
FR_INLINE void FN(pack_columns)(REAL *dst, const REAL *src, fr_int ld, fr_int m, fr_int k, int last)
{
    const fr_int whole = ld < MR + VL ? 0 : last ? k - 1 : k;
    for (fr_int kk = 0; kk < whole; kk++)
        for (fr_int j = 0; j < m; j += VL)
            FN(vstore)(dst + kk * MR_VECTORS + j, FN(vload)(src + kk * ld + j));
    for (fr_int kk = whole; kk < k; kk++)
        for (fr_int j = 0; j < m; j++)
            dst[kk * MR_VECTORS + j] = src[kk * ld + j];
}

static void FN(gemm_tn)(fr_matrix c_, fr_matrix a_, fr_matrix b_, fr_int m, fr_int n, fr_int k, void *work)
{
    const fr_int ldc = c_.ld, lda = a_.ld, ldb = b_.ld;
    REAL *c = c_.data;
    const REAL *a = a_.data, *b = b_.data;
    REAL *bp = work, *ap = bp + TN_KC * (TN_NC + NR);
    for (fr_int kb = 0; kb < k; kb += TN_KC) {
        const fr_int kn = k - kb < TN_KC ? k - kb : TN_KC;
        for (fr_int j = 0; j < n; j += TN_NC) {
            const fr_int nn = n - j < TN_NC ? n - j : TN_NC;
            FN(pack)(bp, b + kb * ldb + j, nn, kn, 1, ldb);
            FR_EACH_BLOCK (i, mn, m, MR) {
                FN(pack_columns)(ap, a + kb * lda + i, lda, mn, kn, kb + kn == k);
                /* Prefetch the block after the next one: rows lie too far apart for a hardware prefetcher. */
                const REAL *ahead = a + kb * lda + i + 2 * mn;
                fr_int hinted = i + 2 * mn < m ? 0 : kn;
                for (fr_int jj = 0; jj < nn; jj += NR) {
                    REAL *out = c + i * ldc + j + jj;
                    for (; hinted < kn && hinted * nn < kn * (jj + NR); hinted++)
                        FR_PREFETCH(ahead + hinted * lda);
                    FN(micro_table)[mn](out, ldc, ap, 1, MR_VECTORS, bp + jj * kn, out, ldc, kn, nn - jj);
                }
            }
        }
    }
}

static void FN(sum_rows)(void *sum_, const void *a_, fr_int lda, fr_int r, fr_int n)
{
    REAL *sum = sum_;
    const REAL *a = a_;
    for (fr_int j = 0; j < n; j += 8 * VL) {
        const fr_int left = n - j;
        V acc[8];
        for (int v = 0; v < 8; v++)
            acc[v] = left > v * VL ? FN(vload_n)(sum + j + v * VL, left - v * VL) : (V){0};
        for (fr_int m = 0; m < r; m++)
            for (int v = 0; v < 8; v++)
                if (left > v * VL)
                    acc[v] += FN(vload_n)(a + m * lda + j + v * VL, left - v * VL);
        for (int v = 0; v < 8; v++)
            if (left > v * VL)
                FN(vstore_n)(sum + j + v * VL, acc[v], left - v * VL);
    }
}

static void FN(add)(void *dst_, fr_int ldd, const void *src_, fr_int lds, fr_int r, fr_int n)
{
    REAL *dst = dst_;
    const REAL *src = src_;
    for (fr_int m = 0; m < r; m++, dst += ldd, src += lds)
        for (fr_int j = 0; j < n; j += VL)
            FN(vstore_n)(dst + j, FN(vload_n)(dst + j, n - j) + FN(vload_n)(src + j, n - j), n - j);
}

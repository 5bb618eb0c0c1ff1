/* Layer normalisation of rows. Each row is computed alone and summed in one order, so its bits do not depend on the
 * other rows. A row of 1024 floats takes 0.1 us (bench/NOTES.md, Layer normalisation in a step). */
#include <math.h>

#define FR_NORM_EPS ((REAL)1e-5)

FR_INLINE REAL FN(lane_total)(V x)
{
    REAL part[VL], total = 0;
    FN(vstore)(part, x);
    for (int j = 0; j < VL; j++)
        total += part[j];
    return total;
}

FR_INLINE REAL FN(row_total)(const REAL *x, fr_int n)
{
    V part[4];
    for (int v = 0; v < 4; v++)
        part[v] = (V){0};
    fr_int j = 0;
    for (; j + 4 * VL <= n; j += 4 * VL)
        FR_UNROLL
        for (int v = 0; v < 4; v++)
            part[v] += FN(vload)(x + j + v * VL);
    for (; j < n; j += VL)
        part[0] += FN(vload_n)(x + j, n - j);
    return FN(lane_total)((part[0] + part[1]) + (part[2] + part[3]));
}

FR_INLINE REAL FN(row_squares)(const REAL *x, fr_int n)
{
    V part[4];
    for (int v = 0; v < 4; v++)
        part[v] = (V){0};
    fr_int j = 0;
    for (; j + 4 * VL <= n; j += 4 * VL)
        FR_UNROLL
        for (int v = 0; v < 4; v++) {
            const V a = FN(vload)(x + j + v * VL);
            part[v] = FN(vfma)(a, a, part[v]);
        }
    for (; j < n; j += VL) {
        const V a = FN(vload_n)(x + j, n - j);
        part[0] = FN(vfma)(a, a, part[0]);
    }
    return FN(lane_total)((part[0] + part[1]) + (part[2] + part[3]));
}

static void FN(norm_forward)(void *y_, fr_int ldy, void *scaled_, fr_int lds, void *rstd_, fr_int ldr, const void *x_,
                             fr_int ldx, const void *gain_, const void *shift_, fr_int r, fr_int n)
{
    const REAL *gain = gain_, *shift = shift_;
    for (fr_int m = 0; m < r; m++) {
        REAL *y = (REAL *)y_ + m * ldy, *scaled = (REAL *)scaled_ + m * lds;
        const REAL *x = (const REAL *)x_ + m * ldx, *start = shift ? shift : y;
        const REAL mean = FN(row_total)(x, n) / (REAL)n;
        for (fr_int j = 0; j < n; j += VL)
            FN(vstore_n)(scaled + j, FN(vload_n)(x + j, n - j) - mean, n - j);
        const REAL variance = FN(row_squares)(scaled, n) / (REAL)n;
        const REAL inverse = (REAL)(1 / sqrt((double)(variance + FR_NORM_EPS)));
        ((REAL *)rstd_)[m * ldr] = inverse;
        for (fr_int j = 0; j < n; j += VL) {
            const V s = FN(vload_n)(scaled + j, n - j) * inverse;
            FN(vstore_n)(scaled + j, s, n - j);
            FN(vstore_n)(y + j, FN(vfma)(s, FN(vload_n)(gain + j, n - j), FN(vload_n)(start + j, n - j)), n - j);
        }
    }
}

static void FN(norm_backward)(void *dx_, fr_int lddx, void *dgain_, const void *dy_, fr_int lddy, const void *scaled_,
                              fr_int lds, const void *rstd_, fr_int ldr, const void *gain_, fr_int r, fr_int n)
{
    REAL *dgain = dgain_;
    const REAL *gain = gain_;
    for (fr_int m = 0; m < r; m++) {
        REAL *dx = (REAL *)dx_ + m * lddx;
        const REAL *dy = (const REAL *)dy_ + m * lddy, *scaled = (const REAL *)scaled_ + m * lds;
        V sum = {0}, dot = {0};
        for (fr_int j = 0; j < n; j += VL) {
            const V d = FN(vload_n)(dy + j, n - j), s = FN(vload_n)(scaled + j, n - j);
            const V g = d * FN(vload_n)(gain + j, n - j);
            FN(vstore_n)(dgain + j, FN(vfma)(d, s, FN(vload_n)(dgain + j, n - j)), n - j);
            sum += g;
            dot = FN(vfma)(g, s, dot);
        }
        const REAL inverse = ((const REAL *)rstd_)[m * ldr];
        const REAL mean = FN(lane_total)(sum) / (REAL)n, slope = FN(lane_total)(dot) / (REAL)n;
        for (fr_int j = 0; j < n; j += VL) {
            const V s = FN(vload_n)(scaled + j, n - j);
            const V g = FN(vload_n)(dy + j, n - j) * FN(vload_n)(gain + j, n - j);
            FN(vstore_n)(dx + j, (g - mean - s * slope) * inverse, n - j);
        }
    }
}
#undef FR_NORM_EPS

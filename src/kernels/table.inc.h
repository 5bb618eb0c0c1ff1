/* One element type's kernels and their table, for the instruction set of the including file. */
#include "vec.h"

#define FR_KERNEL(name, arguments) static void FN(name) arguments;
#include "kernels.inc.h"
#undef FR_KERNEL

#include "math.inc.h"
#include "gemm.inc.h"
#include "gates.inc.h"
#include "norm.inc.h"
#include "attend.inc.h"
#include "scan.inc.h"
#ifndef FR_F64
#include "dot.h"
#include "dot.inc.h"
#endif

static const fr_kernels FN(table) = {
    .itemsize = sizeof(REAL),
    .lanes = VL,
    .own = {.itemsize = sizeof(REAL), .width = NR, .panel_bytes = FN(panel_bytes), .pack = FN(pack), .multiply = FN(multiply)},
    .gemm_tn_work = FR_TN_WORK,
#define FR_KERNEL(name, arguments) .name = FN(name),
#include "kernels.inc.h"
#undef FR_KERNEL
};

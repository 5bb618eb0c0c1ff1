/* What every machine of the architecture has: SSE2 on x86-64, NEON on AArch64. */
#define FR_BYTES 16
#include "body.inc.h"
#include "isa.h"

const fr_kernels *const fr_baseline_f32 = &fr_table_f32, *const fr_baseline_f64 = &fr_table_f64;
const fr_format *const fr_baseline_int8 = &fr_format8_f32, *const fr_baseline_bf16 = &fr_format16_f32;

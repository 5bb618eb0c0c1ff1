/* What each isa_*.c offers; null where it was compiled without its instructions. */
#ifndef FASTRNN_ISA_H
#define FASTRNN_ISA_H
#include "kernels.h"

extern const fr_kernels *const fr_baseline_f32, *const fr_baseline_f64;
extern const fr_kernels *const fr_avx2_f32, *const fr_avx2_f64;
extern const fr_kernels *const fr_avx512_f32, *const fr_avx512_f64;
#endif

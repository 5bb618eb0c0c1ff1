/* The formats of dot.inc.h by themselves, with the instructions for sums of products. */
#include "kernels.h"
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#define FR_DOT
#include "vec.h"
#include "dot.h"
#include "dot.inc.h"

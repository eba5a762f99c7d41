// Linear layers in f32: y = scale * x W' + bias, then the epilogue. FMA on f32 operands; nothing is rounded to TF32. Layout, order of
// the sums and both kernels: linear_fma.cuh.
//
// Floor: few rows, 4 bytes a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the FMA peak.
#include "linear_fma.cuh"

LINEAR_KERNELS(linear_f32, F32Words)

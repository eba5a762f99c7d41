// Linear layers in f16: weights rounded to f16; x and the sums are f32: y = scale * x W' + bias, then the epilogue. The sums are those
// of f32, in its order, of weights that become f32 in registers. Layout, order of the sums and both kernels: linear_fma.cuh.
//
// Floor: few rows, 2 bytes a weight over the memory bandwidth; many rows, as f32, 2 rows channels depth operations over the FMA
// peak, plus the widening: one conversion a weight for the 8 rows of a thread, that is one beside 8 FMA.
#include "linear_fma.cuh"

LINEAR_KERNELS(linear_f16, F16Words)

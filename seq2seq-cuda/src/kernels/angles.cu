// Cosine and sine of rotary positions: out[position][pair] = scale (cos a, sin a), a = position * inv_freq[pair] in f32.
//
// The angle is reduced in f64: n = round(a 2 / pi), r = a - n pi / 2 with pi / 2 in two parts, |r| <= pi / 4, by fused
// operations, so that r is good to 2^-50 for every angle below 2^40. Then Taylor series in f64, whose first omitted terms
// are below 2^-47. One thread a pair; made once for the positions that a cache may hold.
//
// Floor: none worth having, it runs once a cache. Not measured: no GPU has run it yet.

#include "common.cuh"

KERNEL angles(float2* out, const float* inv_freq, int pairs, float scale, s64 count) {
    const s64 i = (s64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const double a = __fmul_rn((float)(i / pairs), inv_freq[i % pairs]);
    const double n = rint(a * 0.63661977236758134308);
    double r = fma(-n, 1.57079632679489655800, a);
    r = fma(-n, 6.12323399573676603587e-17, r);
    const double s = r * r;
    double sine = fma(s, 1.0 / 6227020800.0, -1.0 / 39916800.0);
    sine = fma(s, sine, 1.0 / 362880.0);
    sine = fma(s, sine, -1.0 / 5040.0);
    sine = fma(s, sine, 1.0 / 120.0);
    sine = fma(s, sine, -1.0 / 6.0);
    sine = fma(r * s, sine, r);
    double cosine = fma(s, -1.0 / 87178291200.0, 1.0 / 479001600.0);
    cosine = fma(s, cosine, -1.0 / 3628800.0);
    cosine = fma(s, cosine, 1.0 / 40320.0);
    cosine = fma(s, cosine, -1.0 / 720.0);
    cosine = fma(s, cosine, 1.0 / 24.0);
    cosine = fma(s, cosine, -0.5);
    cosine = fma(s, cosine, 1.0);
    const double quadrant = n - 4.0 * floor(n * 0.25);
    const bool swapped = quadrant == 1.0 || quadrant == 3.0;
    const double c = (swapped ? sine : cosine) * (quadrant == 1.0 || quadrant == 2.0 ? -1.0 : 1.0);
    const double d = (swapped ? cosine : sine) * (quadrant >= 2.0 ? -1.0 : 1.0);
    out[i] = {(float)(c * scale), (float)(d * scale)};
}

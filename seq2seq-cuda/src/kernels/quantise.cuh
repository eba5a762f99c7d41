// Rows quantised to u8, each with a scale and a zero point, as `seq2seq_core::quant::row` defines them: by rows.cu once for a layer,
// and by the kernels for up to 8 rows where they are multiplied.
#pragma once
#include "common.cuh"

// Largest magnitudes below this count as zero: 2^-118.
constexpr u32 TINY = (127 - 118) << 23;
// 1.5 * 2^23: adding it rounds to an integer, ties to even, which then stands in the low bits.
constexpr float SHIFT = 12582912.0f;

// The least and the largest value of some, and of 0. As signed integers, bit patterns of positive values are ordered as the values
// are, NaN last, negative ones below; as unsigned ones, those of negative values are ordered by magnitude, NaN last, above
// all positive ones.
struct Extremes {
    u32 low, high;

    __device__ __forceinline__ void clear() { low = 1u << 31, high = 0; }
    __device__ __forceinline__ void add(const Extremes& other) {
        low = max(low, other.low);
        high = (u32)max((int)high, (int)other.high);
    }
    __device__ __forceinline__ void add(float value) {
        u32 bits = __float_as_uint(value);
        add(Extremes{bits, bits});
    }
    __device__ __forceinline__ void add_lanes() {
        for (int step = WARP / 2; step > 0; step /= 2) {
            add(Extremes{__shfl_xor_sync(ALL, low, step), __shfl_xor_sync(ALL, high, step)});
        }
    }
    // Those of all threads of a block; `part` has room for each of its warps.
    __device__ __forceinline__ void add_block(Extremes* part) {
        add_lanes();
        if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = *this;
        __syncthreads();
        const int warps = blockDim.x / WARP;
        for (int i = 0; i < warps; i++) add(part[i]);
    }
};

struct RowScale {
    float scale, inverse, zero;
    bool finite;

    __device__ __forceinline__ RowScale(const Extremes& of) : scale(0.0f), inverse(0.0f), zero(0.0f) {
        finite = (of.low & 0x7fffffffu) < 0x7f800000u && of.high < 0x7f800000u;
        if (!finite) {
            scale = quiet_nan();
        } else if ((of.low & 0x7fffffffu) >= TINY || of.high >= TINY) {
            float lo = __uint_as_float(of.low), hi = __uint_as_float(of.high);
            scale = __fsub_rn(__fdiv_rn(hi, 254.0f), __fdiv_rn(lo, 254.0f));
            inverse = __fdiv_rn(1.0f, scale);
            zero = rintf(__fmul_rn(-lo, inverse));
        }
    }

    // What is not finite becomes zeros.
    __device__ __forceinline__ u32 level(float value) const {
        return finite ? __float_as_uint(__fadd_rn(__fmul_rn(value, inverse), SHIFT + zero)) & 0xff : 0;
    }
};

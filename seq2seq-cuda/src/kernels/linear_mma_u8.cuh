// Linear layers on mma.sync whose rows are u8, of int8 and int4: up to 8 rows as operands.
#pragma once
#include "linear_mma.cuh"
#include "linear_u8.cuh"

struct QuantisedRows : QuantisedRow<8> {
    struct Barrier {
        __device__ __forceinline__ void operator()() const { __syncthreads(); }
    };

    __device__ __forceinline__ QuantisedRows(Layer& layer, const float* x, int width) : QuantisedRow(layer, x, width, Barrier()) {}
    __device__ __forceinline__ uint4 operand(int slab) const {
        u32 word[4];
#pragma unroll
        for (int i = 0; i < 4; i++) word[i] = levels(slab * 64 + i * 16 + threadIdx.x % 4 * 4);
        return make_uint4(word[0], word[1], word[2], word[3]);
    }
};

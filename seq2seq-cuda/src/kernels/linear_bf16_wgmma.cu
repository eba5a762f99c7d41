// Linear layers in bf16 on Hopper: weights and activations rounded to bf16, exact products, f32 sums:
// y = scale * x W' + bias, then the epilogue. Layout, kernels and what limits them: linear_wgmma.cuh. Other GPUs take linear_bf16.cu.
//
// A step is 16 columns. That its sums do not depend on how many channels a product has, nor on where in a tile a row or a channel
// stands, is what "the same bits alone and in a batch" rests on. The ISA does not say how the unit adds within 16 columns, only
// that it adds so for each element; mma.sync, which may add otherwise, is never taken by a linear layer on a device that takes
// these kernels. tests/linear_tiles.rs holds them to it on the played GPU, tests/gpu.rs on a real one.
//
// Floor: few rows, 2 bytes a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the peak of
// the bf16 matrix units.
#include "linear_wgmma.cuh"

struct Bf16 {
    typedef float Sum;
    typedef float2 Pair;
    static constexpr int OPERAND = BF16_SWIZZLED;

    // Rows rounded as rows_bf16_swizzled does it.
    struct Few {
        // Of a piece.
        static constexpr int COLUMNS = 8;
        const float* mine;
        int row, rows, width;

        __device__ __forceinline__ Few(const Layer& layer, const float* x, int width)
            : row(threadIdx.x % WARP / 4), rows(layer.rows), width(width) {
            mine = x + (u64)row * width;
        }
        struct Values {
            float4 half[2];
        };
        __device__ __forceinline__ Values read(int slab, int piece) const {
            Values v;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int column = slab * 64 + piece * COLUMNS + h * 4;
                bool there = row < rows && column < width;
                v.half[h] = there ? *(const float4*)(mine + column) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            }
            return v;
        }
        __device__ __forceinline__ uint4 piece(const Values& v, int, int) const {
            const float4 a = v.half[0], b = v.half[1];
            return make_uint4(bf16_pair(a.x, a.y), bf16_pair(a.z, a.w), bf16_pair(b.x, b.y), bf16_pair(b.z, b.w));
        }
    };

    static __device__ __forceinline__ float value(const Layer& layer, int, int channel, float sum) {
        return scaled(layer, channel, sum);
    }
};

LINEAR_KERNELS(linear_bf16_wgmma, Bf16)

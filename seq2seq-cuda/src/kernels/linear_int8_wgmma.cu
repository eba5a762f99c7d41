// Linear layers in int8 on Hopper. What a sum becomes: linear_int8.cuh. Layout, kernels and what limits them: linear_wgmma.cuh. Other
// GPUs take linear_int8.cu, and get the same bits.
//
// A step is 32 columns of u8 by s8. Up to 8 rows are quantised by each block that multiplies them: all five of its warps look for
// the extremes of the rows, while weights are under way, and the warp that copies then reads the rows a second time.
//
// Floor: few rows, 1 byte a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the peak of
// the int8 matrix units, of which mma.sync is said to reach some 60%.
#include "linear_int8.cuh"
#include "linear_u8.cuh"
#include "linear_wgmma.cuh"

struct Int8 {
    typedef int Sum;
    typedef int2 Pair;
    static constexpr int OPERAND = NO_OPERAND;

    struct Few : QuantisedRow<FEW_THREADS / WARP> {
        // Of a piece.
        static constexpr int COLUMNS = 16;

        struct Barrier {
            __device__ __forceinline__ void operator()() const { barrier_sync<FEW, FEW_THREADS>(); }
        };

        __device__ __forceinline__ Few(Layer& layer, const float* x, int width) : QuantisedRow(layer, x, width, Barrier()) {}
        struct Values {
            float4 quarter[4];
        };
        __device__ __forceinline__ Values read(int slab, int piece) const {
            Values v;
#pragma unroll
            for (int q = 0; q < 4; q++) v.quarter[q] = values(slab * 128 + piece * COLUMNS + q * 4);
            return v;
        }
        __device__ __forceinline__ uint4 piece(const Values& v, int slab, int piece) const {
            const int k = slab * 128 + piece * COLUMNS;
            return make_uint4(levels(v.quarter[0], k), levels(v.quarter[1], k + 4), levels(v.quarter[2], k + 8),
                              levels(v.quarter[3], k + 12));
        }
    };

    static __device__ __forceinline__ float value(const Layer& layer, int row, int channel, int sum) {
        return int8_value(layer, row, channel, sum);
    }
};

LINEAR_KERNELS(linear_int8_wgmma, Int8)

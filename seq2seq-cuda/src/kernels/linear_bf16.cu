// Linear layers in bf16: weights and activations rounded to bf16, exact products, f32 sums: y = scale * x W' + bias, then the
// epilogue. Layout, order of the sums and both kernels: linear_mma.cuh. Hopper takes linear_bf16_wgmma.cu.
//
// Floor: few rows, 2 bytes a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the peak of
// the bf16 matrix units. A slab is 32 columns: two steps of mma.m16n8k16, 1024 bytes of a tile of 16 channels.
//
// Keeping chunks apart costs the tile kernel a second set of accumulators and one addition an element for each 8 products of
// the matrix unit; it is what gives one row the bits that it has among many, and rounds long sums less.
#include "linear_mma.cuh"

struct Bf16 {
    typedef float Sum;
    static constexpr int A_BYTES = 1024;
    static constexpr bool CHAIN = true;
    static constexpr int OPERAND = BF16;

    static __device__ __forceinline__ float add(float total, float sum) { return __fadd_rn(total, sum); }

    // The row of a lane, rounded as rows_bf16 does it.
    struct Rows {
        const float* mine;
        int columns;  // 0 where there is no such row

        __device__ __forceinline__ Rows(const Layer& layer, const float* x, int width) {
            int row = threadIdx.x % WARP / 4;
            columns = row < layer.rows ? width : 0;
            mine = x + (u64)row * width;
        }
        __device__ __forceinline__ uint4 operand(int slab) const {
            u32 pair[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int k = slab * 32 + threadIdx.x % 4 * 2 + 8 * i;
                float2 v = k < columns ? *(const float2*)(mine + k) : make_float2(0.0f, 0.0f);
                pair[i] = bf16_pair(v.x, v.y);
            }
            return make_uint4(pair[0], pair[1], pair[2], pair[3]);
        }
    };

    // One slab of M tiles of channels, `stride` bytes apart, and N of rows.
    template <int M, int N>
    static __device__ __forceinline__ void multiply(float (&sum)[M][N][4], const u8* a, int stride, const uint4 (&b)[N], int lane) {
#pragma unroll
        for (int i = 0; i < M; i++) {
            const uint4* lanes = (const uint4*)(a + i * stride) + lane;
            uint4 first = lanes[0], second = lanes[WARP];
            const u32 a0[4] = {first.x, first.y, first.z, first.w}, a1[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
            for (int j = 0; j < N; j++) {
                const u32 b0[2] = {b[j].x, b[j].y}, b1[2] = {b[j].z, b[j].w};
                mma_bf16(sum[i][j], a0, b0);
                mma_bf16(sum[i][j], a1, b1);
            }
        }
    }

    static __device__ __forceinline__ float value(const Layer& layer, int, int channel, float sum) {
        return scaled(layer, channel, sum);
    }
};

LINEAR_KERNELS(linear_bf16, Bf16, 128, 4, 2, 4)

// Linear layers in int8. What a sum becomes: linear_int8.cuh. Layout and both kernels: linear_mma.cuh. Hopper takes
// linear_int8_wgmma.cu, and gets the same bits.
//
// Floor: few rows, 1 byte a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the peak of
// the int8 matrix units. A slab is 64 columns: two steps of mma.m16n8k32, 1024 bytes of a tile of 16 channels. Few rows
// take the matrix unit too: the loads are the limit, and a dot product of four bytes would need more instructions.
#include "linear_int8.cuh"
#include "linear_mma_u8.cuh"

// d += a b: a is 16 x 32, s8; b is 32 x 8 (columns), u8; d is 16 x 8, i32. Lane l holds, with g = l / 4 and t = l % 4:
// a: (g, 4t..), (g + 8, 4t..), (g, 4t + 16..), (g + 8, 4t + 16..); b: (4t.., g), (4t + 16.., g); d as in mma_bf16.
DEVICE void mma_int8(int (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

struct Int8 {
    typedef int Sum;
    typedef QuantisedRows Rows;
    static constexpr int A_BYTES = 1024;
    static constexpr bool CHAIN = false;
    static constexpr int OPERAND = NO_OPERAND;

    static __device__ __forceinline__ int add(int total, int sum) { return total + sum; }

    // One slab of M tiles of channels, `stride` bytes apart, and N of rows.
    template <int M, int N>
    static __device__ __forceinline__ void multiply(int (&sum)[M][N][4], const u8* a, int stride, const uint4 (&b)[N], int lane) {
#pragma unroll
        for (int i = 0; i < M; i++) {
            const uint4* lanes = (const uint4*)(a + i * stride) + lane;
            uint4 first = lanes[0], second = lanes[WARP];
            const u32 a0[4] = {first.x, first.y, first.z, first.w}, a1[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
            for (int j = 0; j < N; j++) {
                const u32 b0[2] = {b[j].x, b[j].y}, b1[2] = {b[j].z, b[j].w};
                mma_int8(sum[i][j], a0, b0);
                mma_int8(sum[i][j], a1, b1);
            }
        }
    }

    static __device__ __forceinline__ float value(const Layer& layer, int row, int channel, int sum) {
        return int8_value(layer, row, channel, sum);
    }
};

LINEAR_KERNELS(linear_int8, Int8, 128, 4, 2, 4)

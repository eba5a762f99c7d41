// Linear layers in int4: y = (sum over groups of g * sum of (q - z) w) * row scale * scale + bias, then the epilogue. q (u8),
// z and the row scale are those of rows_u8; w is one of 16 levels, its code 4 bits; g is the bf16 scale of 32 columns of a
// channel. Sums in a group are exact integers; the sum over the groups is one of f32. The zero point leaves once for all
// groups: z * (sum over groups of g * sum of w), kept with the layer. Layout and both kernels: linear_mma.cuh.
//
// Floor: few rows, 4.5 bits a weight over the memory bandwidth; many rows, as int8, plus the unpacking. A slab is two groups,
// 576 bytes of a tile of 16 channels: [group][lane][8 bytes], the codes of a lane's operand of mma.m16n8k32 in the order of
// its bytes, lowest bits first; then [group][g][2] bf16, the scales of channels 2 g and 2 g + 1.
//
// Four codes become four levels by byte permutations: one looks among the lower eight levels, one among the upper eight, and
// the fourth bit of each code chooses. A warp of the large tile unpacks 32 channels for 32 rows: with 64 channels, as the other
// formats have it, it needed every register there is (255), and with the 136 that it needs now 12 warps have room, not 16.
#include "linear_mma_u8.cuh"

// d = a b; see linear_int8.cu. A group begins at 0.
DEVICE void mma_int8_from_zero(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
}

// The levels of seq2seq_core::quant::group, in order: -127 -100 -80 -64 -50 -38 -25 -12 0 13 26 39 52 67 84 106.
constexpr u32 LEVELS[4] = {0xc0b09c81u, 0xf4e7dace, 0x271a0d00u, 0x6a544334u};

// The levels of the four codes in the low 16 bits.
DEVICE u32 levels(u32 codes) {
    u32 among = codes & 0x7777;
    u32 low = __byte_perm(LEVELS[0], LEVELS[1], among), high = __byte_perm(LEVELS[2], LEVELS[3], among);
    u32 upper = __byte_perm(0x0000ff00, 0, codes >> 3 & 0x1111);  // A byte of ones where a code is 8 or more.
    return (low & ~upper) | (high & upper);
}

struct Int4 {
    typedef float Sum;
    typedef QuantisedRows Rows;
    static constexpr int A_BYTES = 576, CODES = 256, SCALES = 512;
    static constexpr bool CHAIN = true;
    static constexpr int OPERAND = NO_OPERAND;

    static __device__ __forceinline__ float add(float total, float sum) { return __fadd_rn(total, sum); }

    // One slab of M tiles of channels, `stride` bytes apart, and N of rows.
    template <int M, int N>
    static __device__ __forceinline__ void multiply(float (&sum)[M][N][4], const u8* a, int stride, const uint4 (&b)[N], int lane) {
#pragma unroll
        for (int i = 0; i < M; i++) {
#pragma unroll
            for (int group = 0; group < 2; group++) {
                const u8* slab = a + i * stride;
                uint2 codes = ((const uint2*)(slab + group * CODES))[lane];
                u32 scales = ((const u32*)(slab + SCALES + group * 32))[lane / 4];
                float even = __uint_as_float(scales << 16), odd = __uint_as_float(scales & 0xffff0000u);
                const u32 w[4] = {levels(codes.x), levels(codes.x >> 16), levels(codes.y), levels(codes.y >> 16)};
#pragma unroll
                for (int j = 0; j < N; j++) {
                    int exact[4];
                    mma_int8_from_zero(exact, w, group ? b[j].z : b[j].x, group ? b[j].w : b[j].y);
                    sum[i][j][0] = __fmaf_rn((float)exact[0], even, sum[i][j][0]);
                    sum[i][j][1] = __fmaf_rn((float)exact[1], even, sum[i][j][1]);
                    sum[i][j][2] = __fmaf_rn((float)exact[2], odd, sum[i][j][2]);
                    sum[i][j][3] = __fmaf_rn((float)exact[3], odd, sum[i][j][3]);
                }
            }
        }
    }

    static __device__ __forceinline__ float value(const Layer& layer, int row, int channel, float sum) {
        float levels = ((const float*)layer.channel_sum)[channel];
        float centred = __fmaf_rn(-(float)layer.row_zero[row], levels, sum);
        return __fmaf_rn(centred, __fmul_rn(layer.row_scale[row], layer.scale), layer.bias[channel]);
    }
};

LINEAR_KERNELS(linear_int4, Int4, 96, 2, 4, 3)

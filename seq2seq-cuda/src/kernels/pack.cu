// Matrices that are on the device already, laid out as the weights of a linear kernel: for training, whose weights change with
// each step, and for products of two activations.
//
// value(i, j) = source[i * outer_stride + j * inner_stride], i < outer, j < inner, becomes the weight of channel
// channel + i * channel_step in column `column` + j. The rest of `out` is zeroed beforehand.
//
// pack_f32:  [channels / 32][depth][32] f32, as words.cuh has it.
// pack_bf16: the operand slabs of linear_mma.cuh.
// pack_bf16_swizzled: [depth / 64][channels / 8][1024 bytes], as linear_wgmma.cuh has it.
//
// A block takes 32 by 32 values and turns them in shared memory where that is needed for neighbours to read neighbours
// (padded by one, so that a column meets 32 banks). Floor: 4 bytes read and 4 or 2 written a value over the bandwidth.
// `bad` is set where a value is not finite, in the format.
#include "common.cuh"

constexpr int SIDE = 32, STEP = 8;

struct Source {
    const float* values;
    s64 outer_stride, inner_stride;
    int outer, inner;
};

// Rows of the block's square along i, columns along j, zeros outside. `square` is shared.
DEVICE void load_square(const Source& s, float (*square)[SIDE + 1]) {
    int i0 = blockIdx.y * SIDE, j0 = blockIdx.x * SIDE, fast = threadIdx.x % SIDE;
    for (int slow = threadIdx.x / SIDE; slow < SIDE; slow += STEP) {
        int di = s.inner_stride == 1 ? slow : fast, dj = s.inner_stride == 1 ? fast : slow;
        int i = i0 + di, j = j0 + dj;
        bool inside = i < s.outer && j < s.inner;
        square[di][dj] = inside ? s.values[i * s.outer_stride + j * s.inner_stride] : 0.0f;
    }
    __syncthreads();
}

DEVICE bool finite(float v) { return (__float_as_uint(v) & 0x7fffffffu) < 0x7f800000u; }

KERNEL __launch_bounds__(256) pack_f32(const float* values, s64 outer_stride, s64 inner_stride, int outer, int inner,
                                       int channel, int channel_step, int column, int depth, float* out, u32* bad) {
    __shared__ float square[SIDE][SIDE + 1];
    load_square({values, outer_stride, inner_stride, outer, inner}, square);
    int di = threadIdx.x % SIDE, i = blockIdx.y * SIDE + di;
    for (int dj = threadIdx.x / SIDE; dj < SIDE; dj += STEP) {
        int j = blockIdx.x * SIDE + dj;
        if (i < outer && j < inner) {
            float v = square[di][dj];
            if (!finite(v)) atomicOr(bad, 1u);
            int c = channel + i * channel_step;
            out[((u64)(c / 32) * depth + column + j) * 32 + c % 32] = v;
        }
    }
}

// Weights rounded to bf16, each where `place(channel, column)` has it, as `Layout::at` of the host does.
template <typename Place>
DEVICE void pack_rounded(const Source& s, int channel, int channel_step, int column, u16* out, u32* bad, Place place) {
    __shared__ float square[SIDE][SIDE + 1];
    load_square(s, square);
    int dj = threadIdx.x % SIDE, j = blockIdx.x * SIDE + dj;
    for (int di = threadIdx.x / SIDE; di < SIDE; di += STEP) {
        int i = blockIdx.y * SIDE + di;
        if (i < s.outer && j < s.inner) {
            u16 v = f32_to_bf16(square[di][dj]);
            if (!finite(bf16_to_f32(v))) atomicOr(bad, 1u);
            out[place(channel + i * channel_step, column + j)] = v;
        }
    }
}

KERNEL __launch_bounds__(256) pack_bf16(const float* values, s64 outer_stride, s64 inner_stride, int outer, int inner,
                                        int channel, int channel_step, int column, int depth, u16* out, u32* bad) {
    auto place = [=](int c, int k) {
        int within = k % 16, part = c % 2 + 2 * (within / 8), lane = c % 16 / 2 * 4 + within % 8 / 2;
        u64 step = (u64)(c / 16) * (depth / 16) + k / 16;
        return step * 256 + lane * 8 + part * 2 + k % 2;
    };
    pack_rounded({values, outer_stride, inner_stride, outer, inner}, channel, channel_step, column, out, bad, place);
}

KERNEL __launch_bounds__(256) pack_bf16_swizzled(const float* values, s64 outer_stride, s64 inner_stride, int outer, int inner,
                                                 int channel, int channel_step, int column, int channels, u16* out, u32* bad) {
    auto place = [=](int c, int k) {
        int piece = k % 64 / 8 ^ c % 8;
        u64 tile = (u64)(k / 64) * (channels / 8) + c / 8;
        return tile * 512 + c % 8 * 64 + piece * 8 + k % 8;
    };
    pack_rounded({values, outer_stride, inner_stride, outer, inner}, channel, channel_step, column, out, bad, place);
}

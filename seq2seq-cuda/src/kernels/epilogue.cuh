// What is done to a finished sum of a linear layer before it is stored: scale and bias, activation or gate, residual.
//
// Every rounding is spelled out (__fmaf_rn and its like are never merged or split by the compiler), so that all kernels of
// a format give the same bits from the same sum.
#pragma once
#include "overlap.cuh"
#include "rows.cuh"

enum Activation { NONE, RELU, GELU, GELU_TANH, QUICK_GELU, SILU, TANH };

DEVICE float sigmoid(float x) { return __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-x))); }

DEVICE float activate(int activation, float x) {
    switch (activation) {
        case NONE: return x;
        case RELU: return x < 0.0f ? 0.0f : x;  // NaN stays.
        case GELU: return __fmul_rn(__fmul_rn(0.5f, x), __fadd_rn(1.0f, erff(__fmul_rn(x, 0.70710678f))));
        case GELU_TANH: {
            // 0.5 (1 + tanh z) = sigmoid(2 z), without cancellation below 0.
            float cube = __fmul_rn(__fmul_rn(x, x), x);
            return __fmul_rn(x, sigmoid(__fmul_rn(1.5957691f, __fmaf_rn(0.044715f, cube, x))));
        }
        case QUICK_GELU: return __fmul_rn(x, sigmoid(__fmul_rn(1.702f, x)));
        case SILU: return __fmul_rn(x, sigmoid(x));
        default: return tanhf(x);
    }
}

// Arguments that every linear kernel has in common; null where a format or a layer lacks one.
struct Layer {
    const float* bias;            // [channels]
    const float* channel_scale;   // int8: [channels]
    const void* channel_sum;      // int8: sum of the weights, i32; int4: sum of scale * level, f32; [channels]
    const float* row_scale;       // int8, int4: [rows]
    const int* row_zero;          // int8, int4: [rows]
    const float* residual;        // [rows, outputs]
    float* y;                     // [rows, outputs]; where it lays_out, rows of the next layer's operand
    float scale;
    int activation, gated, lays_out;
    int rows, channels, outputs;
};

// Parameters of a kernel, in the order of the launcher, and the layer that they make.
#define LAYER_PARAMETERS                                                                                                  \
    const u8 *weights, const u8 *x, const float *bias, const float *channel_scale, const void *channel_sum,               \
        const float *row_scale, const int *row_zero, const float *residual, float *y, float scale, int activation,        \
        int gated, int lays_out, int rows, int channels, int outputs, int depth
#define LAYER                                                                                                             \
    {bias,  channel_scale, channel_sum, row_scale, row_zero, residual, y,                                                 \
     scale, activation,    gated,       lays_out,  rows,     channels, outputs}

// Asks for what the layer has for `channels` channels from `first` on, all of which it has, both multiples of 4. One thread,
// before it waits.
DEVICE void prefetch_of_channels(const Layer& layer, int first, int channels) {
    const u32 bytes = channels * sizeof(float);
    prefetch(layer.bias + first, bytes);
    if (layer.channel_scale) prefetch(layer.channel_scale + first, bytes);
    if (layer.channel_sum) prefetch((const float*)layer.channel_sum + first, bytes);
}

// What a product of a format can give besides values: bf16 in the layout of the next layer's rows (rows.cuh), which are whole tiles.
// `outputs` is then a multiple of a slab, and there is no residual.

DEVICE int row_tiles(const Layer& layer) { return (layer.rows + ROW_TILE - 1) / ROW_TILE; }

// Rows that are stored.
template <int OPERAND>
DEVICE int stored_rows(const Layer& layer) {
    return OPERAND != NO_OPERAND && layer.lays_out ? row_tiles(layer) * ROW_TILE : layer.rows;
}

// Stores products `a` and `b` of channels c and c + 1 (c even) of a row, both with scale and bias. In a gated layer they are
// gate and up of output c / 2.
template <int OPERAND>
DEVICE void store_pair(const Layer& layer, int row, int c, float a, float b) {
    if (row >= stored_rows<OPERAND>(layer) || c >= layer.channels) return;
    const bool lays_out = OPERAND != NO_OPERAND && layer.lays_out;
    int column = layer.gated ? c / 2 : c, values = layer.gated || c + 1 == layer.channels ? 1 : 2;
    u64 at = lays_out ? operand_place<OPERAND>(row, column, row_tiles(layer), layer.outputs) : (u64)row * layer.outputs + column;
    u32 pair = 0;
    // Not unrolled: the activations are most of the code.
#pragma unroll 1
    for (int i = 0; i < values; i++) {
        float out = activate(layer.activation, i == 0 ? a : b);
        if (layer.gated) out = __fmul_rn(out, b);
        if (lays_out) {
            pair |= (row < layer.rows ? (u32)f32_to_bf16(out) : 0) << 16 * i;
        } else {
            layer.y[at + i] = layer.residual ? __fadd_rn(out, layer.residual[at + i]) : out;
        }
    }
    if (!lays_out) return;
    u16* to = (u16*)layer.y + at;
    if (layer.gated) {
        *to = (u16)pair;
    } else {
        *(u32*)to = pair;
    }
}

// scale * sum + bias of a channel, for formats whose sums need nothing else. Biases are there for a padded channel too.
DEVICE float scaled(const Layer& layer, int channel, float sum) {
    return __fmaf_rn(sum, layer.scale, layer.bias[channel]);
}

// Stores sums that a block has put into shared memory, rows `stride` apart: neighbouring threads store neighbours, and the
// epilogue stands in the code once. F::value makes of a sum what goes into the epilogue, F::OPERAND is what it can lay out.
template <class F>
DEVICE void store_staged(const Layer& layer, const typename F::Sum* staged, int stride, int first_row, int first_channel,
                         int rows, int channels, int threads) {
#pragma unroll 1
    for (int i = threadIdx.x; i < rows * channels / 2; i += threads) {
        int r = i / (channels / 2), c = i % (channels / 2) * 2, row = first_row + r, channel = first_channel + c;
        if (row < stored_rows<F::OPERAND>(layer) && channel < layer.channels) {
            float a = F::value(layer, row, channel, staged[r * stride + c]);
            float b = F::value(layer, row, channel + 1, staged[r * stride + c + 1]);
            store_pair<F::OPERAND>(layer, row, channel, a, b);
        }
    }
}

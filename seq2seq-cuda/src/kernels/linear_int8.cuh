// What a sum of int8 becomes, for linear_int8.cu and linear_int8_wgmma.cu: y = (sum of (q - z) w) * row scale * channel scale + bias,
// then the epilogue. q (u8), z and the row scale are those of rows_u8; w (s8) and the channel scale are made when the layer is
// packed. The sum is exact in i32, in any order: sum q w - z sum w, the latter kept with the layer.
#pragma once
#include "epilogue.cuh"

DEVICE float int8_value(const Layer& layer, int row, int channel, int sum) {
    int exact = sum - layer.row_zero[row] * ((const int*)layer.channel_sum)[channel];
    float factor = __fmul_rn(layer.row_scale[row], layer.channel_scale[channel]);
    return __fmaf_rn((float)exact, factor, layer.bias[channel]);
}

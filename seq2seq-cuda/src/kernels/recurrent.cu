// One position of LSTM and GRU for all sequences that have it; what stands before is U h + b, a linear layer over their h.
//
//   LSTM: i, f, g, o = x + u;  c' = s(f) c + s(i) tanh(g);  h' = s(o) tanh(c')
//   GRU:  r = s(x_r + u_r);  z = s(x_z + u_z);  n = tanh(x_n + r u_n);  h' = (1 - z) n + z h       (s the logistic function)
//
// Sequences are ordered by length, longest first, so that those with a position t are the first `count`.
// x: [rows, x_stride], this direction's gates from its first column on; u: [count, gates * width]; h: [sequences, width], in
// that order; y: [rows, y_stride], from this direction's first column on; state: [sequences, state_stride] in the order of the
// batch, h of this direction from its first column on, c at `cells` behind it.
//
// Floor: a position reads gates * width * 8 bytes and writes width * 16 a sequence. A thread takes one unit.
#include "epilogue.cuh"

// h of the state, in the order of length.
KERNEL recur_begin(const float* state, const u32* order, int width, int state_stride, float* h) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j < width) h[(u64)sequence * width + j] = state[(u64)order[sequence] * state_stride + j];
}

// `first` and `last` are the first row of each sequence and the row behind its last, in the order of length.
DEVICE u64 row_of(const u32* first, const u32* last, int sequence, int position, int backwards) {
    return backwards ? last[sequence] - 1 - position : first[sequence] + position;
}

KERNEL recur_lstm(const float* x, const float* u, const u32* order, const u32* first, const u32* last, int position,
                  int backwards, int width, int x_stride, int y_stride, int state_stride, int cells, float* h, float* y,
                  float* state) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    u64 row = row_of(first, last, sequence, position, backwards);
    const float* xs = x + row * x_stride + j;
    const float* us = u + (u64)sequence * 4 * width + j;
    float gate[4];
#pragma unroll
    for (int i = 0; i < 4; i++) gate[i] = __fadd_rn(xs[(u64)i * width], us[(u64)i * width]);
    float* kept = state + (u64)order[sequence] * state_stride + j;
    float old = __fmul_rn(sigmoid(gate[1]), kept[cells]);
    float c = __fadd_rn(old, __fmul_rn(sigmoid(gate[0]), tanhf(gate[2])));
    float out = __fmul_rn(sigmoid(gate[3]), tanhf(c));
    kept[cells] = c;
    kept[0] = out;
    h[(u64)sequence * width + j] = out;
    y[row * y_stride + j] = out;
}

KERNEL recur_gru(const float* x, const float* u, const u32* order, const u32* first, const u32* last, int position,
                 int backwards, int width, int x_stride, int y_stride, int state_stride, float* h, float* y, float* state) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    u64 row = row_of(first, last, sequence, position, backwards);
    const float* xs = x + row * x_stride + j;
    const float* us = u + (u64)sequence * 3 * width + j;
    float r = sigmoid(__fadd_rn(xs[0], us[0]));
    float z = sigmoid(__fadd_rn(xs[width], us[width]));
    float n = tanhf(__fadd_rn(xs[2 * (u64)width], __fmul_rn(r, us[2 * (u64)width])));
    float* unit = h + (u64)sequence * width + j;
    float out = __fadd_rn(__fmul_rn(__fsub_rn(1.0f, z), n), __fmul_rn(z, *unit));
    state[(u64)order[sequence] * state_stride + j] = out;
    *unit = out;
    y[row * y_stride + j] = out;
}

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
// kept, where it is wanted: [rows, kept_stride], from this direction's first column on: i, f, g, o and c' of an LSTM, r, z, n and
// u_n of a GRU, for the way back.
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
                  int backwards, int width, int x_stride, int y_stride, int state_stride, int cells, int kept_stride, float* h,
                  float* y, float* state, float* kept_out) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    u64 row = row_of(first, last, sequence, position, backwards);
    const float* xs = x + row * x_stride + j;
    const float* us = u + (u64)sequence * 4 * width + j;
    float gate[4];
#pragma unroll
    for (int i = 0; i < 4; i++) gate[i] = __fadd_rn(xs[(u64)i * width], us[(u64)i * width]);
    float* held = state + (u64)order[sequence] * state_stride + j;
    float in = sigmoid(gate[0]), forget = sigmoid(gate[1]), candidate = tanhf(gate[2]), open = sigmoid(gate[3]);
    float c = __fadd_rn(__fmul_rn(forget, held[cells]), __fmul_rn(in, candidate));
    float out = __fmul_rn(open, tanhf(c));
    if (kept_out) {
        float* to = kept_out + row * kept_stride + j;
        const float all[5] = {in, forget, candidate, open, c};
#pragma unroll
        for (int i = 0; i < 5; i++) to[(u64)i * width] = all[i];
    }
    held[cells] = c;
    held[0] = out;
    h[(u64)sequence * width + j] = out;
    y[row * y_stride + j] = out;
}

KERNEL recur_gru(const float* x, const float* u, const u32* order, const u32* first, const u32* last, int position,
                 int backwards, int width, int x_stride, int y_stride, int state_stride, int kept_stride, float* h, float* y, float* state,
                 float* kept_out) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    u64 row = row_of(first, last, sequence, position, backwards);
    const float* xs = x + row * x_stride + j;
    const float* us = u + (u64)sequence * 3 * width + j;
    float r = sigmoid(__fadd_rn(xs[0], us[0]));
    float z = sigmoid(__fadd_rn(xs[width], us[width]));
    float un = us[2 * (u64)width], n = tanhf(__fadd_rn(xs[2 * (u64)width], __fmul_rn(r, un)));
    if (kept_out) {
        float* to = kept_out + row * kept_stride + j;
        const float all[4] = {r, z, n, un};
#pragma unroll
        for (int i = 0; i < 4; i++) to[(u64)i * width] = all[i];
    }
    float* unit = h + (u64)sequence * width + j;
    float out = __fadd_rn(__fmul_rn(__fsub_rn(1.0f, z), n), __fmul_rn(z, *unit));
    state[(u64)order[sequence] * state_stride + j] = out;
    *unit = out;
    y[row * y_stride + j] = out;
}

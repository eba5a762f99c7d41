// One position of LSTM and GRU for all sequences that have it; what stands before is U h + b, a linear layer over their h. Layers
// whose weights fit on the chip take recurrent_chip.cuh instead.
//
//   LSTM: i, f, g, o = x + u;  c' = s(f) c + s(i) tanh(g);  h' = s(o) tanh(c')
//   GRU:  r = s(x_r + u_r);  z = s(x_z + u_z);  n = tanh(x_n + r u_n);  h' = (1 - z) n + z h       (s the logistic function)
//
// u: [count, gates * width]; h: [sequences, width], in the order of length; all else as `Sequences` has it. kept, where it is
// wanted: i, f, g, o and c' of an LSTM, r, z, n and u_n of a GRU, for the way back.
//
// Floor: a position reads gates * width * 8 bytes and writes width * 16 a sequence. A thread takes one unit.
#include "recurrent.cuh"

// h of the state, in the order of length.
KERNEL recur_begin(const float* state, const u32* order, int width, int state_stride, float* h) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j < width) h[(u64)sequence * width + j] = state[(u64)order[sequence] * state_stride + j];
}

template <class C>
DEVICE void position_of(const Sequences& s, int position, const float* u, float* h) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= s.width) return;
    Before<C> before = read_unit<C>(s, sequence, position, j);
    float product[C::GATES];
#pragma unroll
    for (int i = 0; i < C::GATES; i++) product[i] = u[((u64)sequence * C::GATES + i) * s.width + j];
    h[(u64)sequence * s.width + j] = pass_unit<C>(s, before, j, product);
}

KERNEL recur_lstm(SEQUENCES_PARAMETERS, int position, const float* u, float* h) { position_of<Lstm>(SEQUENCES, position, u, h); }
KERNEL recur_gru(SEQUENCES_PARAMETERS, int position, const float* u, float* h) { position_of<Gru>(SEQUENCES, position, u, h); }

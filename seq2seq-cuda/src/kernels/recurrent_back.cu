// One position of LSTM and GRU on the way back, for all sequences that have it. What stands behind is U' du, a linear layer.
// Equations and what lies where: recurrent_back.cuh. Layers of bf16 whose weights fit on the chip take
// recurrent_back_chip.cu instead.
//
// dh is dy plus what comes back from the next position, `carry`. step: [count, gates * width] in the order of length, du for
// the product.
//
// Floor: a position reads about width * 40 bytes and writes about width * 44 a sequence. A thread takes one unit.
#include "recurrent_back.cuh"

template <class C>
DEVICE void position_back(const SequencesBack& s, int position, float* step) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= s.width) return;
    float du[C::GATES];
    pass_back<C>(s, read_back<C>(s, sequence, position, j), sequence, j, s.carry[(u64)sequence * s.width + j], du);
#pragma unroll
    for (int gate = 0; gate < C::GATES; gate++) step[((u64)sequence * C::GATES + gate) * s.width + j] = du[gate];
}

KERNEL recur_lstm_back(SEQUENCES_BACK_PARAMETERS, int position, float* step) {
    position_back<LstmBack>(SEQUENCES_BACK, position, step);
}
KERNEL recur_gru_back(SEQUENCES_BACK_PARAMETERS, int position, float* step) {
    position_back<GruBack>(SEQUENCES_BACK, position, step);
}

// What a direction ends its way back with goes to the gradient of the state: state[order[s]][j] = carry[s][j].
KERNEL recur_end_back(const float* carry, const u32* order, int width, int state_stride, float* state) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j < width) state[(u64)order[sequence] * state_stride + j] = carry[(u64)sequence * width + j];
}

// The h that each row began with: that of row before[row] of y, or, where that is negative, of sequence -1 - before[row] of the
// state, zeros where there is none. y and state from this direction's first column on.
KERNEL recur_before(const float* y, const float* state, const int* before, int width, int y_stride, int state_stride, float* h) {
    int from = before[blockIdx.x], j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    float v = 0.0f;
    if (from >= 0) {
        v = y[(u64)from * y_stride + j];
    } else if (state) {
        v = state[(u64)(-1 - from) * state_stride + j];
    }
    h[(u64)blockIdx.x * width + j] = v;
}

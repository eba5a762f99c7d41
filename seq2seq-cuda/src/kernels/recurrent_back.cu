// One position of LSTM and GRU on the way back, for all sequences that have it. What stands behind is Uᵀ du, a linear layer.
//
//   LSTM: dc' = dc + dh o (1 - tanh² c');  da_i = dc' g i (1 - i);  da_f = dc' c f (1 - f);  da_g = dc' i (1 - g²);
//         da_o = dh tanh c' o (1 - o);  dc = dc' f;  dx = du = da
//   GRU:  da_n = dh (1 - z) (1 - n²);  da_z = dh (h - n) z (1 - z);  da_r = da_n u_n r (1 - r);
//         dx = (da_r, da_z, da_n);  du = (da_r, da_z, da_n r);  dh z goes back beside the product
//
// dh is dy plus what comes back from the next position, `carry`. Sequences are in the order of length, as in recurrent.cu; kept,
// y, dy, du and dx are in that of the rows, from this direction's first column on; carry, carry_c, through and step ([count,
// gates * width], du for the product) in that of length. dy, state and dx may be null.
//
// Floor: a position reads about width * 40 bytes and writes about width * 44 a sequence. A thread takes one unit.
#include "common.cuh"

struct Place {
    u64 row, before;  // The row, and that of the position before.
    bool first;
};

DEVICE Place place(const u32* first, const u32* last, int sequence, int position, int backwards) {
    u64 row = backwards ? last[sequence] - 1 - position : first[sequence] + position;
    return {row, backwards ? row + 1 : row - 1, position == 0};
}

KERNEL recur_lstm_back(const float* kept, const float* dy, const float* state, const u32* order, const u32* first, const u32* last,
                       int position, int backwards, int width, int kept_stride, int y_stride, int state_stride, int cells,
                       int gate_stride, const float* carry, float* carry_c, float* step, float* du, float* dx) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    Place at = place(first, last, sequence, position, backwards);
    u64 own = (u64)sequence * width + j;
    const float* k = kept + at.row * kept_stride + j;
    float i = k[0], f = k[width], g = k[2 * (u64)width], o = k[3 * (u64)width], tanh = tanhf(k[4 * (u64)width]), c;
    if (at.first) {
        c = state ? state[(u64)order[sequence] * state_stride + cells + j] : 0.0f;
    } else {
        c = kept[at.before * kept_stride + 4 * (u64)width + j];
    }
    float dh = carry[own] + (dy ? dy[at.row * y_stride + j] : 0.0f);
    float dc = carry_c[own] + dh * o * (1.0f - tanh * tanh);
    const float da[4] = {dc * g * (i * (1.0f - i)), dc * c * (f * (1.0f - f)), dc * i * (1.0f - g * g),
                         dh * tanh * (o * (1.0f - o))};
    carry_c[own] = dc * f;
#pragma unroll
    for (int gate = 0; gate < 4; gate++) {
        step[((u64)sequence * 4 + gate) * width + j] = da[gate];
        u64 to = at.row * gate_stride + (u64)gate * width + j;
        du[to] = da[gate];
        if (dx) dx[to] = da[gate];
    }
}

KERNEL recur_gru_back(const float* kept, const float* y, const float* dy, const float* state, const u32* order, const u32* first,
                      const u32* last, int position, int backwards, int width, int kept_stride, int y_stride, int state_stride,
                      int gate_stride, const float* carry, float* through, float* step, float* du, float* dx) {
    int sequence = blockIdx.x, j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= width) return;
    Place at = place(first, last, sequence, position, backwards);
    u64 own = (u64)sequence * width + j;
    const float* k = kept + at.row * kept_stride + j;
    float r = k[0], z = k[width], n = k[2 * (u64)width], un = k[3 * (u64)width], h;
    if (at.first) {
        h = state ? state[(u64)order[sequence] * state_stride + j] : 0.0f;
    } else {
        h = y[at.before * y_stride + j];
    }
    float dh = carry[own] + (dy ? dy[at.row * y_stride + j] : 0.0f);
    float dn = dh * (1.0f - z) * (1.0f - n * n), dz = dh * (h - n) * (z * (1.0f - z)), dr = dn * un * (r * (1.0f - r));
    through[own] = dh * z;
    const float da[3] = {dr, dz, dn}, back[3] = {dr, dz, dn * r};
#pragma unroll
    for (int gate = 0; gate < 3; gate++) {
        step[((u64)sequence * 3 + gate) * width + j] = back[gate];
        u64 to = at.row * gate_stride + (u64)gate * width + j;
        du[to] = back[gate];
        if (dx) dx[to] = da[gate];
    }
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

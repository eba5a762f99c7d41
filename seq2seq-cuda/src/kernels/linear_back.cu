// What lies between the products of a trained linear layer, forward and back.
//
// linear_epilogue: from the sums z of the layer, as the linear kernels give them without an epilogue (gate and up of an output
// side by side), to y = act(z) or act(gate) * up, times the factor of dropout, plus residual, and to z as it is kept:
// [rows, gates, then ups]. The operations are those of store_pair, so the bits are.
//
// linear_slopes: dz from dy after dropout. dz = dy act'(z); of a gated layer dy u act'(g) and dy act(g), [rows, gates | ups].
//
// Floor: the bytes read and written over the memory bandwidth. A thread takes an element.
#include "dropout.cuh"
#include "epilogue.cuh"

KERNEL linear_epilogue(const float* z, const float* residual, int activation, int gated, int rows, int outputs, DROPOUT_PARAMETERS,
                       float* y, float* kept) {
    u64 row = blockIdx.x;
    int o = blockIdx.y * blockDim.x + threadIdx.x;
    if (o >= outputs) return;
    u64 at = row * outputs + o;
    float gate = z[gated ? 2 * at : at], out = activate(activation, gate);
    if (gated) {
        float up = z[2 * at + 1];
        out = __fmul_rn(out, up);
        if (kept) kept[2 * row * outputs + outputs + o] = up;
    }
    if (kept) kept[(gated ? 2 * row * outputs : row * outputs) + o] = gate;
    if (drop_scale != 0.0f) out = __fmul_rn(out, dropout_factor(DROPOUT, row, o));
    y[at] = residual ? __fadd_rn(out, residual[at]) : out;
}

// The slope of an activation; that of ReLU at 0 is 0. s (1 - s) times what may be infinite is 0 where it vanishes.
DEVICE float gated_slope(float x, float z, float dz) {
    float s = sigmoid(z), rest = s * (1.0f - s);
    return s + (rest == 0.0f ? 0.0f : x * rest * dz);
}

DEVICE float slope(int activation, float x) {
    switch (activation) {
        case NONE: return 1.0f;
        case RELU: return x > 0.0f ? 1.0f : x <= 0.0f ? 0.0f : x;  // NaN stays.
        case GELU: {
            float density = expf(-0.5f * x * x) * 0.3989423f, tail = density == 0.0f ? 0.0f : x * density;
            return 0.5f * (1.0f + erff(x * 0.70710678f)) + tail;
        }
        case GELU_TANH: return gated_slope(x, 1.5957691f * (x + 0.044715f * x * x * x), 1.5957691f * (1.0f + 0.134145f * x * x));
        case QUICK_GELU: return gated_slope(x, 1.702f * x, 1.702f);
        case SILU: return gated_slope(x, x, 1.0f);
        default: {
            float t = tanhf(x);
            return 1.0f - t * t;
        }
    }
}

KERNEL linear_slopes(const float* dy, const float* sums, int activation, int gated, int rows, int outputs, DROPOUT_PARAMETERS,
                     float* dz) {
    u64 row = blockIdx.x;
    int o = blockIdx.y * blockDim.x + threadIdx.x;
    if (o >= outputs) return;
    float d = dy[row * outputs + o];
    if (drop_scale != 0.0f) d *= dropout_factor(DROPOUT, row, o);
    if (gated) {
        u64 at = 2 * row * outputs + o;
        float gate = sums[at], up = sums[at + outputs];
        dz[at] = d * up * slope(activation, gate);
        dz[at + outputs] = d * activate(activation, gate);
    } else {
        u64 at = row * outputs + o;
        dz[at] = activation == NONE ? d : d * slope(activation, sums[at]);
    }
}

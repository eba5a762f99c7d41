// Back through windows of grids: dx[p][c] = the sum of dy[n][t C + c] over the taps t of windows n that see position p.
//
// Floor: dy read and dx written once, over the memory bandwidth. A thread takes a channel of a position and adds over rising
// taps, each of which at most one window has there: nothing is added by two threads, and the sum is the same in every run. A
// block takes `positions` of them, as many as fill it. Not measured on a GPU yet.
#include "windows.cuh"

KERNEL windows_back(const float* dy, int channels, WINDOWS_PARAMETERS, int positions, u32 rows, float* dx) {
    const u32 p = blockIdx.x * positions + threadIdx.x / channels;
    if (threadIdx.x / channels >= positions || p >= rows) return;
    const Sight sight = sight_of<&Sight::from>(sights, count, p);
    const s64 y = (p - sight.from) / sight.width + padding_y, x = (p - sight.from) % sight.width + padding_x;
    for (int channel = threadIdx.x % channels; channel < channels; channel += blockDim.x) {
        float sum = 0.0f;
        for (int tap_y = 0; tap_y < kernel_y; tap_y++) {
            const s64 top = y - tap_y * dilation_y;
            if (top < 0) break;
            // Place and padding together are below 2^32.
            const u32 row = (u32)top / (u32)stride_y;
            if ((u32)top % (u32)stride_y || row >= sight.window_rows) continue;
            for (int tap_x = 0; tap_x < kernel_x; tap_x++) {
                const s64 left = x - tap_x * dilation_x;
                if (left < 0) break;
                const u32 column = (u32)left / (u32)stride_x;
                if ((u32)left % (u32)stride_x || column >= sight.window_columns) continue;
                const u64 n = sight.to + (u64)row * sight.window_columns + column;
                sum += dy[((n * kernel_y + tap_y) * kernel_x + tap_x) * channels + channel];
            }
        }
        dx[(u64)p * channels + channel] = sum;
    }
}

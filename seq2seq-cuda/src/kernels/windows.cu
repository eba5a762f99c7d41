// Windows of grids: y[n][t C + c] = x[place of tap t of window n][c], or 0 where it lies outside the grid.
//
// Floor: each element of y written and each of x read once, over the memory bandwidth; what windows share comes from the second
// cache. A block takes a window; a row of its taps is one run of x where they are not dilated, and is copied without a division. Not
// measured on a GPU yet.
#include "windows.cuh"

KERNEL windows(const float* x, int channels, WINDOWS_PARAMETERS, float* y) {
    const u32 n = blockIdx.x;
    const Sight sight = sight_of<&Sight::to>(sights, count, n);
    const u32 row = (n - sight.to) / sight.window_columns, column = (n - sight.to) % sight.window_columns;
    const s64 top = row * stride_y - padding_y, left = column * stride_x - padding_x;
    const s64 line = (s64)sight.width * channels;
    const int run = kernel_x * channels;
    y += (u64)n * kernel_y * run;
    for (int tap_y = 0; tap_y < kernel_y; tap_y++, y += run) {
        const s64 place_y = top + tap_y * dilation_y;
        const bool seen = place_y >= 0 && place_y < sight.height;
        const float* from = x + ((s64)sight.from * channels + place_y * line);
        for (int j = threadIdx.x; j < run; j += blockDim.x) {
            s64 at = left * channels + j;
            if (dilation_x != 1) at += (j / channels) * (dilation_x - 1) * channels;
            y[j] = seen && at >= 0 && at < line ? from[at] : 0.0f;
        }
    }
}

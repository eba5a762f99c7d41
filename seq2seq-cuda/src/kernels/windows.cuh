// Grids of positions and their windows: windows.cu and windows_back.cu.
#pragma once
#include "common.cuh"

// A grid and its windows, and where they lie in their tensors.
struct Sight {
    u32 height, width, from, window_rows, window_columns, to;
};

// The last grid that begins at row `row` or before, by its positions or by its windows. Grids without rows begin where the next
// one does.
template <u32 Sight::*BEGIN>
DEVICE Sight sight_of(const Sight* sights, int count, u32 row) {
    int low = 0, high = count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (sights[middle].*BEGIN <= row) low = middle;
        else high = middle;
    }
    return sights[low];
}

// What is seen: along rows and columns. Each is below 2^31, and so products of two are counted in 64 bits.
#define WINDOWS_PARAMETERS                                                                                                      \
    const Sight *sights, int count, int kernel_y, int kernel_x, s64 stride_y, s64 stride_x, s64 padding_y, s64 padding_x, \
        s64 dilation_y, s64 dilation_x

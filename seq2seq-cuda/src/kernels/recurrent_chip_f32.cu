// Recurrent layers on the chip in f32: recurrent_chip_fma.cuh.
#include "recurrent_chip_fma.cuh"

template <int OCTETS>
using F32 = Fma<F32Words, OCTETS>;

RECUR_KERNELS(recur_lstm_f32, Lstm, F32)
RECUR_KERNELS(recur_gru_f32, Gru, F32)

// Recurrent layers on the chip in f16: recurrent_chip_fma.cuh.
#include "recurrent_chip_fma.cuh"

template <int OCTETS>
using F16 = Fma<F16Words, OCTETS>;

RECUR_KERNELS(recur_lstm_f16, Lstm, F16)
RECUR_KERNELS(recur_gru_f16, Gru, F16)

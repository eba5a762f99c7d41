#!/bin/sh
# Compiles the kernels of these tests with the pinned compiler. A virtual environment with
#   pip install nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
# has nvcc in its site-packages/nvidia/cu13/bin; give that path as NVCC.
set -eu
cd "$(dirname "$0")"
for name in ${*:-faults whole hopper overlap}; do
    case $name in hopper) arch=sm_90a ;; overlap) arch=compute_90 ;; *) arch=compute_80 ;; esac
    "${NVCC:-nvcc}" -arch="$arch" -ptx -lineinfo "$name.cu" -o "$name.ptx"
    # Paths of the machine that compiled do not belong here, nor does the text of debugging sections.
    sed -i -E 's|^(\t\.file\t[0-9]+ ").*/|\1|; /^\t\.section/,$d' "$name.ptx"
done

#!/usr/bin/env bash
# usage: scripts/kernel_spills.sh PROGRAM_OR_LIBRARY...
#
# Fails where a micro-kernel moves vectors of registers to the stack. A tile has as many rows as its sums leave registers for; what the
# compiler keeps besides them it stores and loads again within the loop, and the kernel runs at half its speed while every
# test passes. Which of two builds does so hangs on link-time optimisation, so both are to be shown to this script.
set -euo pipefail
for file in "$@"; do
  objdump -dC --no-show-raw-insn "$file" 2>/dev/null | awk -v file="$file" '
    /^[0-9a-f]+ <.*>:$/ { name = $0; kernels += name ~ /KERNEL::entry/ }
    # A few outside of the loops, and two for each group of int4, cost nothing that can be measured.
    /vmov[a-z0-9]* +%[xyz]mm[0-9]+,.*\(%[re][sb]p/ && name ~ /KERNEL::entry/ && ++moves[name] == 9 { bad[name] }
    END {
      for (name in bad) print moves[name] " vectors to the stack in " name
      for (name in bad) exit 1
      if (kernels == 0) { print "no micro-kernel in " file; exit 1 }
      print kernels " micro-kernels in " file " keep their sums in registers"
    }'
done

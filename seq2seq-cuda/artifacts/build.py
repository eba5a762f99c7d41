#!/usr/bin/env python3
"""Compiles src/kernels/*.cu to what is shipped, with pinned compilers: PTX, and where it is for one architecture its machine code.

    artifacts/build.py [--venv DIR] [--check] [NAME ...]

Without --check the artifacts are written. With it they are made again in memory and compared byte by byte. Either way
machine code for each architecture of the target is made of them, and what the assembler says is looked at: no spills, no
products that it had to put one after the other; in the kernels that are built on them matrix instructions, in PTX and in
machine code, or those that make f32 of f16; the instructions of overlap.cuh in those that begin while others run.
resources.txt has the registers and the static shared memory of each kernel: what takes more than before, and so may leave
room for a block less on a multiprocessor, is seen in the change that does it. It is written and compared as artifacts are.
NAME is the stem of a .cu file; all of them where none is given.

The compilers come from the wheels below, installed into DIR (a virtual environment, made where there is none). nvcc
needs a host gcc to run its preprocessor. The compilers' output does not change from run to run.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

WHEELS = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    # The disassembler; there is none of 13.0.
    "nvidia-cuda-nvdisasm==13.2.51",
]
HERE = pathlib.Path(__file__).resolve().parent
KERNELS = HERE.parent / "src" / "kernels"
RESOURCES = HERE / "resources.txt"
# What each artifact is compiled for, and the architectures that it is tried on. Kernels for one architecture alone have a
# name of their own, and their machine code is shipped too (NAME.ARCHITECTURE.cubin); all others are for any GPU from Ampere on.
TARGETS = {name: [("compute_90a", ["sm_90a"])] for name in ["linear_bf16_wgmma", "linear_int8_wgmma"]}
ANY = [("compute_80", ["sm_80", "sm_90"])]
# What a step of a decoding launches is compiled for Hopper and later, too: its kernels begin while others run (overlap.cuh).
STEP = [
    "additive", "attention_bf16_split", "attention_merge", "attention_split", "columns", "embed", "kv_parents",
    "kv_store", "linear_bf16", "linear_f16", "linear_f32", "linear_int4", "linear_int8", "norm", "norm_rows", "rows",
]  # fmt: skip
TARGETS |= {name: [("compute_80", ["sm_80"]), ("compute_90", ["sm_90"])] for name in STEP}
OVERLAP = ["griddepcontrol.launch_dependents;", "griddepcontrol.wait;"]
# What attention of many rows in bf16 is built on, and its way back.
ATTENTION_TILE = [
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
    "cp.async.cg.shared.global",
]
# Products of f16 weights and f32 rows: each weight becomes f32, and what is multiplied is f32.
WIDENED = ["cvt.f32.f16", "fma.rn.f32"]
# What each artifact's PTX must contain, by stem.
NEEDED = {
    "attention_back_keys_bf16": ATTENTION_TILE,
    "attention_back_queries_bf16": ATTENTION_TILE,
    "attention_bf16": ATTENTION_TILE,
    "attention_bf16_dropped": ATTENTION_TILE,
    "attention_bf16_wide": ATTENTION_TILE,
    "attention_bf16_split": [
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "movmatrix.sync.aligned.m8n8.trans.b16",
    ],
    "linear_bf16": ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"],
    "linear_bf16_wgmma": [
        f"wgmma.mma_async.sync.aligned.m64n{n}k16.f32.bf16.bf16" for n in [16, 32, 64, 128, 256]
    ],
    "linear_f16": [*WIDENED, "cp.async.cg.shared.global"],
    "linear_f32": ["fma.rn.f32", "cp.async.cg.shared.global"],
    "linear_int8": ["mma.sync.aligned.m16n8k32.row.col.s32"],
    "linear_int8_wgmma": [f"wgmma.mma_async.sync.aligned.m64n{n}k32.s32.u8.s8" for n in [16, 32, 64, 128, 256]],
    "linear_int4": ["mma.sync.aligned.m16n8k32.row.col.s32"],
    "recurrent_chip_f16": WIDENED,
    "recurrent_chip_f32": ["fma.rn.f32"],
    "recurrent_chip_bf16": ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"],
    "recurrent_back_chip": ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"],
}

# What the machine code of an artifact must contain, by what its PTX has to.
MACHINE = {
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32": "HMMA.16816.F32.BF16",
    "mma.sync.aligned.m16n8k32.row.col.s32": "IMMA.16832",
} | {
    f"wgmma.mma_async.sync.aligned.m64n{n}k{k}.{types}": f"{unit}.64x{n}x{k}"
    for n in [16, 32, 64, 128, 256]
    for k, types, unit in [(16, "f32.bf16.bf16", "HGMMA"), (32, "s32.u8.s8", "IGMMA")]
}


def toolkit(venv):
    """The folder that holds bin/nvcc; installs the wheels where they are not."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    listed = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True)
    missing = [wheel for wheel in WHEELS if wheel not in listed.stdout.split()]
    if missing:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *missing], check=True)
    found = sorted(venv.glob("lib/python3*/site-packages/nvidia/*/bin/nvcc"))
    if not found:
        sys.exit(f"no nvcc under {venv}")
    return found[0].parent.parent


def compile_ptx(root, name, target):
    """PTX of one kernel file, without the parts that name this machine."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.ptx"
        command = [root / "bin" / "nvcc", "-ptx", f"-arch={target}", "-std=c++17", "-O3", f"{name}.cu", "-o", out]
        subprocess.run(command, cwd=KERNELS, check=True)
        # Names of what is internal to a file begin with a hash of the folder that it lies in.
        return re.sub(r"_INTERNAL_[0-9a-f]{8}_", "_INTERNAL_00000000_", out.read_text())


def assemble(root, name, ptx, arch):
    """Machine code of an artifact, what ptxas says of it, and the matrix instructions that it lacks."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = pathlib.Path(folder) / f"{name}.ptx", pathlib.Path(folder) / "out.cubin"
        source.write_text(ptx)
        command = [root / "bin" / "ptxas", "-v", f"-arch={arch}", source, "-o", out]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        needed = [MACHINE[ptx] for ptx in NEEDED.get(name, []) if ptx in MACHINE]
        listing = ""
        if needed:
            command = [root / "bin" / "nvdisasm", "-c", out]
            listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        faults = [f"{name} {arch}: no {instruction}" for instruction in needed if instruction not in listing]
        return out.read_bytes(), said, faults


def report(name, arch, said):
    """What ptxas says of an artifact, a line a kernel, and faults in it."""
    lines, faults = [], []
    kernel = "?"
    for line in said.splitlines():
        if "warning" in line.lower():
            faults.append(f"{name} {arch}: {line}")
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = match[1]
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            # Not a spill, and as slow: an array that is indexed by what only the run tells.
            if match[1] != "0":
                faults.append(f"{name} {kernel} {arch}: {match[1]} bytes of stack, {match[2]} of spills")
        if match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            memory = f", {shared[1]} bytes shared" if shared else ""
            lines.append(f"{name} {kernel} {arch} {match[1]} registers{memory}")
    return lines, faults


def lacks(name, ptx, target):
    """Faults in what the PTX of an artifact should contain."""
    faults = [f"{name}: no {needed}" for needed in NEEDED.get(name, []) if needed not in ptx]
    if name in TARGETS and target != "compute_80":
        for entry in ptx.split(".entry ")[1:]:
            faults += [f"{name} {target} {entry.split('(')[0]}: no {needed}" for needed in OVERLAP if needed not in entry]
    return faults


def keep(file, content, check):
    """Writes an artifact, or gives the fault that it is not what there is."""
    artifact = HERE / file
    if not check:
        artifact.write_bytes(content)
    elif not artifact.exists() or artifact.read_bytes() != content:
        return [f"{file} is not what its source compiles to; run artifacts/build.py"]
    return []


def build(root, name, target, architectures, check):
    """Makes an artifact, and the machine code of it: what there is to say, and faults."""
    ptx = compile_ptx(root, name, target)
    lines, faults = [], keep(f"{name}.{target}.ptx", ptx.encode(), check) + lacks(name, ptx, target)
    for arch in architectures:
        code, said, lacking = assemble(root, name, ptx, arch)
        of_kernels, found = report(name, arch, said)
        lines += of_kernels
        faults += lacking + found
        if target.endswith("a"):
            faults += keep(f"{name}.{arch}.cubin", code, check)
    return lines, faults


def resources(lines, names, check):
    """What kernels take, beside what they took: writes the lines of `names` anew, or gives those that are others."""
    before = RESOURCES.read_text().splitlines() if RESOURCES.exists() else []
    of_names = [line for line in before if line.split()[0] in names]
    if check:
        return [f"not as in {RESOURCES.name}: {line}" for line in sorted({*of_names} ^ {*lines})]
    kept = [line for line in before if line.split()[0] not in names and (KERNELS / f"{line.split()[0]}.cu").exists()]
    RESOURCES.write_text("".join(f"{line}\n" for line in sorted(kept + lines)))
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, default=HERE / ".venv", help="where the compilers are or go")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("names", nargs="*", metavar="NAME", help="stems of kernel files")
    options = parser.parse_args()
    root = toolkit(options.venv.resolve())
    names = options.names or sorted(path.stem for path in KERNELS.glob("*.cu"))
    artifacts = [(name, *target) for name in names for target in TARGETS.get(name, ANY)]
    taken, faults = [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        made = [pool.submit(build, root, *artifact, options.check) for artifact in artifacts]
        for lines, found in (future.result() for future in made):
            print(*lines, sep="\n", flush=True)
            taken += lines
            faults += found
    faults += resources(taken, names, options.check)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

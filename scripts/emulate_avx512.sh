#!/usr/bin/env bash
# Runs a test binary on an emulated processor with AVX-512: `emulate_avx512.sh BINARY [ARGUMENT...]`.
# Prints what the binary prints and exits with its status. For Debian, as root (it installs what it lacks).
#
# Why: QEMU's emulation ends at AVX2. Bochs has AVX-512 with VNNI and, after its release 2.7, BF16; it emulates whole
# machines only, so a Debian kernel is booted from an image whose first process is a script that runs the binary.
# Debian's package is 2.7 and has no BF16, so Bochs is built once, from its repository at a fixed commit (some minutes).
#
#   BOCHS          a Bochs to use rather than build one (configured as below)
#   BOCHS_SOURCE   where to clone Bochs from
#   EMULATE_CACHE  where Bochs and the kernel are kept
#   EMULATE_LIMIT  seconds until the machine is stopped
#   EMULATE_WITHOUT   features to take from the processor, such as "avx512bf16"
# Variables SEQ2SEQ_*, PROPTEST_* and RUST_* are passed on to the binary.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
binary=$(realpath "$1")
shift
cache=${EMULATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/emulate_avx512}
source=${BOCHS_SOURCE:-https://github.com/bochs-emu/Bochs}
commit=783b58fd6d9bae598a07c59719122322fa0edce6 # August 2026
mkdir -p "$cache"

install() { # COMMAND-OR-FILE PACKAGE ...: each package whose command or file is missing
  local missing=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2")
    shift 2
  done
  [ ${#missing[@]} -eq 0 ] && return
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2
}
install /usr/share/bochs/BIOS-bochs-latest bochsbios /usr/share/vgabios/vgabios.bin vgabios /bin/busybox busybox-static \
  grub-mkrescue grub-common /usr/lib/grub/i386-pc grub-pc-bin xorriso xorriso mformat mtools cpio cpio

# The emulator. Only what it compiles is checked out.
bochs=${BOCHS:-$cache/bochs}
if ! [ -x "$bochs" ]; then
  install git git g++ g++ make make
  {
    rm -rf "$cache/source" &&
      git clone -q --no-checkout "$source" "$cache/source" &&
      git -C "$cache/source" checkout -q "$commit" -- bochs ':!bochs/bios/OVMF' &&
      pushd "$cache/source/bochs" &&
      ./configure --with-nogui --enable-cpu-level=6 --enable-x86-64 --enable-pci --enable-avx --enable-evex --enable-amx \
        --enable-all-optimizations --disable-plugins --disable-docbook &&
      make -j"$(nproc)" &&
      cp bochs "$bochs" &&
      popd
  } >"$cache/build.log" 2>&1 || { tail "$cache/build.log" >&2; exit 1; }
fi

# A kernel, unpacked only.
if ! [ -e "$cache/vmlinuz" ]; then
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
  (cd "$cache" && apt-get download -qq "$package" 2>/dev/null && dpkg -x "$package"_*.deb kernel)
  cp "$cache"/kernel/boot/vmlinuz-* "$cache/vmlinuz"
  rm -r "$cache/kernel" "$cache/$package"_*.deb
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first file system: busybox, the binary with its libraries, and a script that runs it.
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,work} "$work/iso/boot/grub"
cp /bin/busybox "$root/bin/"
strip -o "$root/work/binary" "$binary"
for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*' || true); do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
{
  echo '#!/bin/busybox sh'
  echo '/bin/busybox mount -t devtmpfs dev /dev; exec >/dev/ttyS0 2>&1'
  echo 'for kind in proc sysfs tmpfs; do'
  echo '  case $kind in proc) at=/proc ;; sysfs) at=/sys ;; tmpfs) at=/tmp ;; esac; /bin/busybox mount -t $kind $kind $at'
  echo 'done'
  for variable in $(compgen -e | grep -E '^(SEQ2SEQ|PROPTEST|RUST)_' || true); do
    printf 'export %s=%q\n' "$variable" "${!variable}"
  done
  printf 'cd /work; echo "#BEGIN"; ./binary'
  [ $# -eq 0 ] || printf ' %q' "$@"
  printf '\necho "#END $?"\n'
  # Setting the terminal waits until all is sent.
  echo '/bin/busybox stty -F /dev/ttyS0 sane; /bin/busybox poweroff -f'
} >"$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/iso/boot/initrd"

# Bochs leaves out that string instructions are fast, and Linux then takes ERMS away but not FSRM, with which its memmove
# overruns its buffer: hence `clearcpuid=fsrm`. The clock counts instructions, not what the processor's name promises.
cp "$cache/vmlinuz" "$work/iso/boot/"
cat >"$work/iso/boot/grub/grub.cfg" <<END
set timeout=0
linux /boot/vmlinuz console=ttyS0 quiet panic=-1 clearcpuid=fsrm tsc_early_khz=50000 tsc=reliable mitigations=off no5lvl
initrd /boot/initrd
boot
END
grub-mkrescue -o "$work/image.iso" "$work/iso" >"$work/grub.log" 2>&1 || { cat "$work/grub.log" >&2; exit 1; }

# AMX is taken away because Linux refuses half of it: Bochs lacks XFD, by which Linux hands it out.
cat >"$work/bochsrc" <<END
config_interface: textconfig
display_library: nogui
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model=sapphire_rapids, count=1, ips=50000000, reset_on_triple_fault=0, exclude_features="amx amx_int8 amx_bf16 ${EMULATE_WITHOUT:-}"
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/image.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: /dev/null
panic: action=fatal
clock: sync=none
END
touch "$work/serial"
timeout "${EMULATE_LIMIT:-1800}" "$bochs" -q -f "$work/bochsrc" </dev/null >"$work/screen" 2>&1 || true

# The kernel may speak as well, but only before and after.
tr -d '\r' <"$work/serial" | sed -n '/^#BEGIN/,/^#END/{/^#/!p}'
status=$(tr -d '\r' <"$work/serial" | sed -n 's/^#END //p')
if [ -z "$status" ]; then
  echo "the machine stopped before the binary ended:" >&2
  tail -n 20 "$work/serial" "$work/screen" >&2
  exit 1
fi
exit "$status"

//! What a host does: buffers of numbers on a device, and launches.

use seq2seq_ptx::{Arg, Device, Fault, Launch, Module};

/// A device with a gigabyte of memory.
pub(crate) fn device() -> Device {
    Device::new(1 << 30)
}

/// A type whose numbers lie on a device as their little-endian bytes.
pub(crate) trait Number: Copy {
    /// Bytes of a number.
    const BYTES: usize;
    /// Appends the bytes of a number.
    fn put(self, to: &mut Vec<u8>);
    /// The number of these bytes.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Number for $t {
            const BYTES: usize = size_of::<$t>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("the bytes of one number"))
            }
        }
    )*};
}
numbers!(u8 u16 u32 i32 u64 f32 f64);

/// Allocates and fills a buffer.
pub(crate) fn upload<T: Number>(device: &Device, values: &[T]) -> u64 {
    let mut bytes = Vec::new();
    values.iter().for_each(|v| v.put(&mut bytes));
    let pointer = device.alloc(bytes.len() as u64).expect("room");
    device.write(pointer, &bytes).expect("a buffer");
    pointer
}

/// Copies a buffer back.
pub(crate) fn download<T: Number>(device: &Device, pointer: u64, count: usize) -> Vec<T> {
    let mut bytes = vec![0; count * T::BYTES];
    device.read(pointer, &mut bytes).unwrap_or_else(|fault| panic!("{fault}"));
    bytes.chunks(T::BYTES).map(T::get).collect()
}

/// Runs a kernel along one axis.
pub(crate) fn run(
    device: &Device,
    module: &Module,
    kernel: &str,
    [blocks, threads]: [u32; 2],
    args: &[Arg],
) -> Result<(), Fault> {
    let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
    let shape = Launch { grid, block, dynamic_shared: 0, cooperative: false };
    device.launch(module, kernel, shape, args)
}

/// Numbers in [-1, 1), the same for the same seed.
pub(crate) fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

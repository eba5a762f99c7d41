//! A model that does not fit into a device's memory: the error says what it takes, what is free, and in which format it fits.

use crate::support::fixture;
use seq2seq_core::{
    Backend, ConvolutionOps, CrossAttentionOps, DecoderOps, DeviceMemory, EncoderOps, Error as Op,
    Format, HostTensor, LinearSpec, NormSpec, RecurrentOps, Result, inherit, reference::Reference,
};
use seq2seq_models::{Error, Files, LoadOptions, Model};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Computes as the reference, on a device with little memory: weights take what their formats say.
#[derive(Clone)]
struct Small {
    inner: Reference,
    free: Arc<AtomicU64>,
    total: u64,
}

impl Small {
    fn new(total: u64) -> Self {
        Self { inner: Reference, free: Arc::new(AtomicU64::new(total)), total }
    }

    fn take(&self, needed: usize) -> Result<()> {
        let needed = needed as u64;
        let taken = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(needed));
        taken.map(drop).map_err(|free| Op::OutOfMemory { needed, free, total: self.total })
    }
}

impl Backend for Small {
    inherit! { inner: Reference =>
        Tensor, Linear, Norm, Embedding,
        describe, upload, download, linear, embed, norm, gather_rows, pool, dropout, observe
    }

    fn device_memory(&self) -> Result<Option<DeviceMemory>> {
        let free = self.free.load(Ordering::Relaxed);
        Ok(Some(DeviceMemory { free, total: self.total }))
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Self::Linear> {
        for part in &spec.parts {
            let [a, b] = part.weight.shape() else { panic!("a matrix") };
            let (outputs, inputs) = if part.transposed { (*b, *a) } else { (*a, *b) };
            self.take(format.bytes(outputs, inputs))?;
            self.take(part.bias.as_ref().map_or(0, |bias| bias.len() * 4))?;
        }
        self.inner.pack(spec, format)
    }

    fn embedding(&self, table: &HostTensor) -> Result<Self::Embedding> {
        self.take(table.bytes().len())?;
        self.inner.embedding(table)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Self::Norm> {
        self.take((spec.weight.len() + spec.bias.as_ref().map_or(0, HostTensor::len)) * 4)?;
        self.inner.norm_weights(spec)
    }
}

impl EncoderOps for Small {
    inherit! { inner: Reference => RelativeBias, relative_bias, attend }
}

impl DecoderOps for Small {
    inherit! { inner: Reference => KvCache, Chosen, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k, choose, chosen }
}

impl CrossAttentionOps for Small {
    inherit! { inner: Reference => Memory, memory, cross_attend }
}

impl ConvolutionOps for Small {
    inherit! { inner: Reference => windows }
}

impl RecurrentOps for Small {
    inherit! { inner: Reference =>
        Recurrent, Additive, AdditiveMemory,
        recurrent, recur, columns, stack_rows, additive, additive_memory, additive_attend
    }
}

fn files(name: &str) -> Files {
    Files::folder(fixture(name).folder).unwrap()
}

fn load(name: &str, format: Format, device: Small) -> Result<Model, Error> {
    let options = LoadOptions { format, ..LoadOptions::default() };
    Model::load_on(files(name), device, &options)
}

/// What the weights of a model take of a device that is large enough.
fn used(name: &str, format: Format) -> u64 {
    let device = Small::new(1 << 40);
    load(name, format, device.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    device.total - device.free.load(Ordering::Relaxed)
}

#[test]
fn the_error_names_the_formats_that_fit() {
    for name in ["t5_v1_0", "gpt2", "llama"] {
        let memory = used(name, Format::F32) - 1;
        let error = load(name, Format::F32, Small::new(memory)).map(drop).unwrap_err();
        let text = error.to_string();
        let Error::NoRoom { format, needed, free, total, fits } = error else { panic!("{text}") };
        assert_eq!((format, free, total), (Format::F32, memory, memory), "{name}");
        assert!(needed.abs_diff(memory + 1) <= memory / 16, "{name}: {needed}, not {memory}");
        assert_eq!(fits[0].0, Format::Bf16, "{text}");
        assert!(text.contains("in f32") && text.contains("they fit in bf16 ("), "{text}");
        // What is said to fit, fits.
        for (format, bytes) in fits {
            let takes = used(name, format);
            assert!(bytes.abs_diff(takes) <= takes / 16, "{name} {format}: {bytes}, not {takes}");
            load(name, format, Small::new(memory)).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn where_nothing_fits_it_says_so() {
    let error = load("gpt2", Format::Bf16, Small::new(1000)).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::NoRoom { fits, .. } if fits.is_empty()), "{text}");
    assert!(
        text.contains("1.0 kB of the device's 1.0 kB are free; they fit in no other"),
        "{text}"
    );
}

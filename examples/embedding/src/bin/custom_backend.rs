//! A backend that changes one operation and inherits the rest: `custom_backend FOLDER TEXT` counts the floating-point
//! operations of all linear layers.

use embedding::Text;
use seq2seq_core::{
    Backend, ConvolutionOps, CrossAttentionOps, DecoderOps, EncoderOps, Epilogue, Format, LinearSpec, RecurrentOps,
    Result, Rows, inherit,
};
use seq2seq_cpu::{Cpu, CpuOptions};
use seq2seq_models::{Files, LoadOptions, Model};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The SIMD backend, counting.
#[derive(Clone)]
struct Counting {
    cpu: Cpu,
    operations: Arc<AtomicU64>,
}

/// A layer and its operations a row: two a weight.
struct Counted {
    layer: <Cpu as Backend>::Linear,
    operations: u64,
}

impl Backend for Counting {
    type Linear = Counted;

    inherit! { cpu: Cpu =>
        Tensor, Norm, Embedding,
        describe, upload, download, embedding, embed, norm_weights, norm, gather_rows, pool,
        step
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Counted> {
        let weights: usize = spec.parts.iter().map(|part| part.weight.len()).sum();
        Ok(Counted { layer: self.cpu.pack(spec, format)?, operations: 2 * weights as u64 })
    }

    fn linear(
        &self,
        x: &Self::Tensor,
        layer: &Counted,
        epilogue: Epilogue<'_, Self::Tensor>,
    ) -> Result<Self::Tensor> {
        self.operations.fetch_add(x.rows() as u64 * layer.operations, Ordering::Relaxed);
        self.cpu.linear(x, &layer.layer, epilogue)
    }
}

impl EncoderOps for Counting {
    inherit! { cpu: Cpu => RelativeBias, relative_bias, attend }
}

impl DecoderOps for Counting {
    inherit! { cpu: Cpu => KvCache, Chosen, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k, choose, chosen }
}

impl CrossAttentionOps for Counting {
    inherit! { cpu: Cpu => Memory, memory, cross_attend }
}

impl ConvolutionOps for Counting {
    inherit! { cpu: Cpu => windows }
}

impl RecurrentOps for Counting {
    inherit! { cpu: Cpu =>
        Recurrent, Additive, AdditiveMemory,
        recurrent, recur, columns, stack_rows, additive, additive_memory, additive_attend
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(input)) = (arguments.next(), arguments.next()) else {
        return Err("usage: custom_backend FOLDER TEXT".into());
    };
    let counting = Counting { cpu: Cpu::new(CpuOptions::default())?, operations: Arc::default() };
    let files = Files::folder(folder)?;
    let model = Model::load_on(files, counting.clone(), &LoadOptions::default())?;
    println!("{}", Text::new(model)?.write(&input, &mut ())?);
    let operations = counting.operations.load(Ordering::Relaxed);
    println!("{:.1} million operations", operations as f64 / 1e6);
    Ok(())
}

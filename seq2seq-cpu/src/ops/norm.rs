//! LayerNorm and RMSNorm.

use crate::gemm::{Converted, convert};
use crate::kernels::norm::{Norm, Run};
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::{NormKind, NormSpec, Result, Rows, backend::check};
use std::sync::Arc;

pub(crate) fn norm_weights(spec: &NormSpec) -> Result<Norm> {
    let width = check::norm_weights(spec)?;
    let bias = match (&spec.bias, spec.kind) {
        (Some(bias), _) => bias.to_f32(),
        (None, NormKind::Layer) => vec![0.0; width],
        (None, NormKind::Rms) => Vec::new(),
    };
    let (kind, eps, weight) = (spec.kind, spec.eps, spec.weight.to_f32());
    Ok(Norm { kind, eps, weight, bias, readers: Arc::default() })
}

/// Where a linear layer in another type than f32 read what this norm gave before, each row is converted while it lies in the
/// first cache; so the layer finds the rows as it reads them.
pub(crate) fn norm(cpu: &Cpu, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.weight.len())?;
    let (rows, width, run, isa) = (x.rows(), x.width(), norm.weight.len(), cpu.isa());
    let row = |i: usize, y: &mut [f32]| {
        for (x, y) in x.row(i).chunks(run).zip(y[..width].chunks_mut(run)) {
            dispatch(isa, Run { norm, x, y });
        }
    };
    let mut out = Tensor::scratch(rows, width);
    let parts = Chunks::<f32>::rows(&mut out);
    let Some(element) = norm.readers.wanted() else {
        cpu.threads().each_part(parts, 2 * width, row);
        return Ok(out.for_readers(&norm.readers, None));
    };
    let mut converted = Converted::scratch(element, (rows, width));
    cpu.threads().each_part((parts, converted.rows_mut()), 3 * width, |i, (y, converted)| {
        row(i, y);
        convert(isa, element, &y[..width], converted);
    });
    Ok(out.for_readers(&norm.readers, Some(converted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CpuOptions, isa::Isa, ops::linear};
    use seq2seq_core::{Epilogue, Format, HostTensor, LinearSpec};

    #[test]
    fn what_a_layer_has_read_is_converted_at_once() {
        let values: Vec<f32> = (0..5 * 33).map(|i| (i * 37 % 101) as f32 / 7.0 - 6.0).collect();
        let host = |shape: [usize; 2]| HostTensor::from_f32(shape.to_vec(), &values).unwrap();
        let weight = HostTensor::from_f32(vec![33], &values[..33]).unwrap();
        let spec = NormSpec { kind: NormKind::Rms, eps: 1e-6, weight, bias: None };
        for isa in Isa::available() {
            let cpu = Cpu::new(CpuOptions { threads: Some(2), isa: Some(isa) }).unwrap();
            let x = crate::ops::embed::upload(&cpu, &host([5, 33])).unwrap();
            for format in Format::ALL {
                let layer = LinearSpec::single(host([5, 33]), None);
                let layer = linear::pack(cpu.threads(), isa, &layer, format).unwrap();
                let weights = norm_weights(&spec).unwrap();
                let through = |y: &Tensor| linear::linear(cpu.threads(), y, &layer, Epilogue::NONE);
                let first = norm(&cpu, &x, &weights).unwrap();
                let want = through(&first).unwrap();
                let second = norm(&cpu, &x, &weights).unwrap();
                if let Some(element) = weights.readers.wanted() {
                    assert_eq!(element, layer.element());
                    second.converted(element, || unreachable!("{isa} {format}"));
                } else {
                    assert_eq!(layer.element(), crate::gemm::Element::F32);
                }
                let got = through(&second).unwrap();
                for row in 0..5 {
                    assert_eq!(second.row(row), first.row(row), "{isa} {format}");
                    assert_eq!(got.row(row), want.row(row), "{isa} {format}");
                }
            }
        }
    }
}

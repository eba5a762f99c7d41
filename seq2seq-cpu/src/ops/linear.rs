//! Linear layers.

use crate::{
    gemm::{self, Converted, Element, LhsRows, Linear, Residual},
    isa::Isa,
    memory::Tensor,
    threads::Threads,
};
use seq2seq_core::{Epilogue, Format, LinearSpec, Result, Rows, backend::check};

/// Packs a layer for the kernels of `isa`.
pub(crate) fn pack(
    threads: &Threads,
    isa: Isa,
    spec: &LinearSpec,
    format: Format,
) -> Result<Linear> {
    Linear::pack(threads, isa, spec, format)
}

/// `[N, in]` to `[N, out]`.
///
/// Rows in the element type of bf16, or of int8 and int4, are kept in `x`, so that the next layer that reads it (a cross-attention in
/// each layer of a decoder, say) finds them made.
pub(crate) fn linear(
    threads: &Threads,
    x: &Tensor,
    layer: &Linear,
    epilogue: Epilogue<'_, Tensor>,
) -> Result<Tensor> {
    let shape = layer.shape();
    check::linear(x, shape, &epilogue)?;
    let mut out = Tensor::scratch(x.rows(), shape.output);
    if x.rows() == 0 {
        return Ok(out);
    }
    let stride = out.stride();
    let operand = Operand::of(threads, x, layer);
    let (rows, converted) = match &operand {
        Operand::Plain => (LhsRows::f32(x.values(), x.stride()), None),
        Operand::Kept(c) => (c.rows(), Some(*c)),
        Operand::Made(c) => (c.rows(), Some(c)),
    };
    let epilogue = gemm::Epilogue {
        activation: epilogue.activation,
        residual: epilogue.residual.map(|r| Residual { data: r.values(), stride: r.stride() }),
        converted,
    };
    layer.multiply(threads, x.rows(), rows, &epilogue, (out.values_mut(), stride));
    Ok(out)
}

/// Activations in the element type of a layer.
enum Operand<'a> {
    /// As they are.
    Plain,
    /// Kept with the tensor.
    Kept(&'a Converted),
    /// For this call: another instruction set, with another type, has been at the tensor before.
    Made(Converted),
}

impl<'a> Operand<'a> {
    fn of(threads: &Threads, x: &'a Tensor, layer: &Linear) -> Self {
        let element = layer.element();
        if element == Element::F32 {
            return Self::Plain;
        }
        let convert = || {
            let (values, size) = ((x.values(), x.stride()), (x.rows(), x.width()));
            Converted::new(threads, layer.isa(), element, values, size)
        };
        let kept = x.converted(element, convert);
        match kept.element() == element {
            true => Self::Kept(kept),
            false => Self::Made(convert()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::test_levels;
    use seq2seq_core::{Error, HostTensor};

    fn layer(threads: &Threads, isa: Isa, format: Format) -> Linear {
        let weights: Vec<f32> = (0..20 * 30).map(|i| (i % 17) as f32 - 8.0).collect();
        let weight = HostTensor::from_f32(vec![20, 30], &weights).unwrap();
        pack(threads, isa, &LinearSpec::single(weight, None), format).unwrap()
    }

    fn tensor(rows: usize, width: usize) -> Tensor {
        let mut x = Tensor::scratch(rows, width);
        x.values_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 11) as f32 - 5.0);
        x
    }

    fn rows(x: &Tensor) -> Vec<&[f32]> {
        (0..x.rows()).map(|i| x.row(i)).collect()
    }

    #[test]
    fn a_second_layer_finds_the_rows_converted() {
        let threads = Threads::new(Some(2)).unwrap();
        for format in [Format::Bf16, Format::Int8, Format::Int4] {
            let layer = layer(&threads, Isa::detect(), format);
            let mut x = tensor(3, 30);
            let first = linear(&threads, &x, &layer, Epilogue::NONE).unwrap();
            let made = || unreachable!("the rows are kept");
            let kept = |x: &Tensor| std::ptr::from_ref(x.converted(layer.element(), made));
            let before = kept(&x);
            let second = linear(&threads, &x, &layer, Epilogue::NONE).unwrap();
            assert_eq!(before, kept(&x));
            assert_eq!(rows(&first), rows(&second));
            // What is kept goes when the tensor changes.
            x.values_mut().fill(0.0);
            let zeros = linear(&threads, &x, &layer, Epilogue::NONE).unwrap();
            assert!(rows(&zeros).iter().all(|row| row.iter().all(|&v| v == 0.0)));
        }
    }

    #[test]
    fn levels_may_take_turns_at_a_tensor() {
        let threads = Threads::new(Some(1)).unwrap();
        for format in Format::ALL {
            let shared = tensor(2, 30);
            for isa in test_levels() {
                let layer = layer(&threads, isa, format);
                let got = linear(&threads, &shared, &layer, Epilogue::NONE).unwrap();
                let want = linear(&threads, &tensor(2, 30), &layer, Epilogue::NONE).unwrap();
                assert_eq!(rows(&got), rows(&want), "{isa} {format}");
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        let threads = Threads::new(Some(2)).unwrap();
        for format in Format::ALL {
            let layer = layer(&threads, Isa::detect(), format);
            let y = linear(&threads, &tensor(0, 30), &layer, Epilogue::NONE).unwrap();
            assert_eq!((y.rows(), y.width()), (0, 20));
        }
    }

    #[test]
    fn sizes_that_do_not_agree_are_errors() {
        let threads = Threads::new(Some(1)).unwrap();
        let layer = layer(&threads, Isa::detect(), Format::F32);
        let run = |x: &Tensor, residual: &Tensor| {
            linear(&threads, x, &layer, Epilogue::residual(residual)).map(|_| ())
        };
        assert_eq!(run(&tensor(2, 30), &tensor(2, 20)), Ok(()));
        for (x, residual) in [((2, 31), (2, 20)), ((2, 30), (2, 21)), ((2, 30), (1, 20))] {
            let got = run(&tensor(x.0, x.1), &tensor(residual.0, residual.1));
            assert!(matches!(got, Err(Error::Shape { op: "linear", .. })), "{got:?}");
        }
    }
}

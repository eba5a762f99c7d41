//! Linear layers.

use crate::{
    gemm::{self, Converted, Element, LhsRows, Linear, Residual, RoundedF32, Stored},
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
    check::linear(x, layer.shape(), &epilogue)?;
    let mut out = Tensor::scratch(x.rows(), layer.shape().output);
    if x.rows() > 0 {
        let stride = out.stride();
        multiply(threads, x, layer, &epilogue, (out.values_mut(), stride));
    }
    Ok(out)
}

/// Two layers. What lies between is stored as the second one multiplies it where that is rounded to bf16, value by value; a row of
/// integers has no scale before it is whole.
pub(crate) fn feed_forward(
    threads: &Threads,
    x: &Tensor,
    [first, second]: [&Linear; 2],
    [inner, outer]: [Epilogue<'_, Tensor>; 2],
) -> Result<Tensor> {
    check::feed_forward(x, [first.shape(), second.shape()], [&inner, &outer])?;
    let element = second.element();
    if !matches!(element, Element::Bf16 | Element::Rounded)
        || !first.fills_its_panels()
        || x.rows() == 0
    {
        return linear(threads, &linear(threads, x, first, inner)?, second, outer);
    }
    let mut between = Converted::scratch(element, (x.rows(), first.shape().output));
    match element {
        Element::Bf16 => multiply(threads, x, first, &inner, between.values_mut::<u16>()),
        _ => multiply(threads, x, first, &inner, between.values_mut::<RoundedF32>()),
    }
    let mut out = Tensor::scratch(x.rows(), second.shape().output);
    let stride = out.stride();
    let epilogue = fused(&outer, Some(&between));
    second.multiply(threads, x.rows(), between.rows(), &epilogue, (out.values_mut(), stride));
    Ok(out)
}

/// The rows of `x` through `layer`, stored where `out` begins, `out.1` values from row to row.
fn multiply<T: Stored>(
    threads: &Threads,
    x: &Tensor,
    layer: &Linear,
    epilogue: &Epilogue<'_, Tensor>,
    out: (&mut [T], usize),
) {
    let operand = Operand::of(threads, x, layer);
    let (rows, converted) = match &operand {
        Operand::Plain => (LhsRows::f32(x.values(), x.stride()), None),
        Operand::Kept(c) => (c.rows(), Some(*c)),
        Operand::Made(c) => (c.rows(), Some(c)),
    };
    layer.multiply(threads, x.rows(), rows, &fused(epilogue, converted), out);
}

/// The epilogue of a product whose rows were `converted`.
fn fused<'a>(
    epilogue: &Epilogue<'a, Tensor>,
    converted: Option<&'a Converted>,
) -> gemm::Epilogue<'a> {
    let residual = epilogue.residual.map(|r| Residual { data: r.values(), stride: r.stride() });
    gemm::Epilogue { activation: epilogue.activation, residual, converted }
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

    fn bits(x: &Tensor) -> Vec<Vec<u32>> {
        rows(x).into_iter().map(|row| row.iter().map(|v| v.to_bits()).collect()).collect()
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
    fn rows_between_two_layers_are_those_of_two_calls() {
        let threads = Threads::new(Some(2)).unwrap();
        let packed = |isa, [inputs, outputs]: [usize; 2], format| {
            let values =
                (0..outputs * inputs).map(|i| (i % 23) as f32 / 7.0 - 1.5).collect::<Vec<_>>();
            let weight = HostTensor::from_f32(vec![outputs, inputs], &values).unwrap();
            pack(&threads, isa, &LinearSpec::single(weight, None), format).unwrap()
        };
        // Panels that are filled, and others.
        for (between, rows) in [(64, 1), (64, 40), (33, 5), (64, 0)] {
            for isa in test_levels() {
                for format in Format::ALL {
                    let layers =
                        [packed(isa, [30, between], format), packed(isa, [between, 20], format)];
                    let (x, residual) = (tensor(rows, 30), tensor(rows, 20));
                    let inner = || Epilogue::activation(seq2seq_core::Activation::Gelu);
                    let [first, second] = [&layers[0], &layers[1]];
                    let middle = linear(&threads, &x, first, inner()).unwrap();
                    let want =
                        linear(&threads, &middle, second, Epilogue::residual(&residual)).unwrap();
                    let epilogues = [inner(), Epilogue::residual(&residual)];
                    let got = feed_forward(&threads, &x, [first, second], epilogues).unwrap();
                    assert_eq!(bits(&got), bits(&want), "{isa} {format}");
                }
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

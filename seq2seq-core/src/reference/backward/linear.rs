//! Linear layers, f32 and bf16.

use super::{Real, Tensor, add_wanted, kept, numbers};
use crate::backend::check;
use crate::reference::{activation, linear::Linear};
use crate::train::{LinearBackward, LinearGradients, MasterPart, Masters, TrainEpilogue};
use crate::{Format, HostTensor, LinearPart, LinearSpec, Result, Rows};

/// A layer and how its parts lie in their checkpoint.
///
/// ```
/// use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec, reference::{Reference, backward::TrainLinear}};
/// use seq2seq_core::train::{MasterPart, Masters, TrainBackend, TrainEpilogue};
///
/// let b = Reference;
/// let host = HostTensor::from_f32(vec![1, 2], &[0.3, -0.7])?;
/// let master = b.upload(&host)?;
/// let parts = vec![MasterPart { weight: &master, bias: None, transposed: false }];
/// let layer: TrainLinear = b.pack_masters(&Masters { parts, gated: false, scale: 1.0 }, Format::Bf16)?;
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 2.0])?)?;
/// let (y, _) = b.linear_forward(&x, &layer, &TrainEpilogue { activation: None, dropout: None, residual: None }, false)?;
/// // What is served later is what was trained, to the bit.
/// let served = b.pack(&LinearSpec::single(host, None), Format::Bf16)?;
/// assert_eq!(y, b.linear(&x, &served, Epilogue::NONE)?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainLinear {
    layer: Linear,
    format: Format,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    output: usize,
    transposed: bool,
}

/// Masters on the host.
pub(super) fn part(part: &MasterPart<'_, Tensor>) -> Result<LinearPart> {
    let MasterPart { weight, bias, transposed } = *part;
    let weight = HostTensor::from_f32(vec![weight.rows, weight.width], &weight.values)?;
    let bias = bias.map(|b| HostTensor::from_f32(vec![b.values.len()], &b.values)).transpose()?;
    Ok(LinearPart { weight, bias, transposed })
}

fn spec(masters: &Masters<'_, Tensor>) -> Result<LinearSpec> {
    let parts = masters.parts.iter().map(part).collect::<Result<_>>()?;
    Ok(LinearSpec { parts, gated: masters.gated, scale: masters.scale })
}

impl TrainLinear {
    pub(super) fn pack(masters: &Masters<'_, Tensor>, format: Format) -> Result<Self> {
        check::train_format(format)?;
        let part = |p: &MasterPart<'_, Tensor>| Part {
            output: if p.transposed { p.weight.width } else { p.weight.rows },
            transposed: p.transposed,
        };
        let parts = masters.parts.iter().map(part).collect();
        Ok(Self { layer: Linear::pack(&spec(masters)?, format)?, format, parts })
    }

    pub(super) fn repack(&mut self, masters: &Masters<'_, Tensor>) -> Result<()> {
        let packed = Self::pack(masters, self.format)?;
        check::repack(self.layer.shape(), packed.layer.shape(), packed.parts == self.parts)?;
        *self = packed;
        Ok(())
    }

    fn parts(&self) -> impl ExactSizeIterator<Item = ([usize; 2], usize)> {
        let input = self.layer.shape().input;
        self.parts.iter().map(move |&Part { output, transposed }| {
            (if transposed { [input, output] } else { [output, input] }, output)
        })
    }
}

pub(super) fn forward(
    x: &Tensor,
    layer: &TrainLinear,
    epilogue: &TrainEpilogue<'_, Tensor>,
    keep: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let TrainLinear { layer, .. } = layer;
    let shape = layer.shape();
    check::linear_forward(x, shape, epilogue.residual, epilogue.dropout)?;
    let act = |v: f64| epilogue.activation.map_or(v, |a| activation::apply(a, v));
    let (mut out, mut sums) = (Vec::new(), Vec::new());
    for (n, row) in x.iter().enumerate() {
        let products = layer.products(row);
        for o in 0..shape.output {
            let mut y = act(products[o]);
            if layer.gated() {
                y *= products[shape.output + o];
            }
            y *= kept::<f64>(epilogue.dropout, n, o);
            if let Some(residual) = epilogue.residual {
                y += f64::from(residual.row(n)[o]);
            }
            out.push(y as f32);
        }
        sums.extend(products.iter().map(|&s| s as f32));
    }
    let needed = keep && (layer.gated() || epilogue.activation.is_some());
    let sums = needed.then(|| Tensor::new(x.rows(), shape.product, sums));
    Ok((Tensor::new(x.rows(), shape.output, out), sums))
}

/// The operands of a backward.
pub(crate) struct Operands<'a, R> {
    /// `[N, in]`
    pub(crate) x: &'a [R],
    /// `[N, product]`; empty where there is neither an activation nor a gate.
    pub(crate) sums: &'a [R],
    /// `[N, out]`, after dropout.
    pub(crate) dy: &'a [R],
    /// `[product, in]`
    pub(crate) weights: &'a [R],
    /// in, out
    pub(crate) shape: [usize; 2],
    pub(crate) gated: bool,
    pub(crate) scale: f32,
    pub(crate) activation: Option<crate::Activation>,
    /// Whether operands are rounded before they are multiplied.
    pub(crate) bf16: bool,
}

/// The gradients of input, `[N, in]`, weights, `[product, in]`, and bias, `[product]`.
pub(crate) fn gradients<R: Real>(of: &Operands<'_, R>) -> [Vec<R>; 3] {
    let [input, output] = of.shape;
    let product = if of.gated { 2 * output } else { output };
    let act = |z: R| of.activation.map_or(z, |a| z.activated(a));
    let slope = |z: R| of.activation.map_or(R::exact(1.0), |a| z.slope(a));
    let rows = of.dy.len() / output;
    let mut dz = Vec::with_capacity(rows * product);
    for n in 0..rows {
        let dy = &of.dy[n * output..(n + 1) * output];
        match (of.gated, of.activation) {
            (false, None) => dz.extend_from_slice(dy),
            (false, Some(_)) => {
                let sums = &of.sums[n * product..(n + 1) * product];
                dz.extend(dy.iter().zip(sums).map(|(dy, &z)| dy.times(slope(z))));
            }
            (true, _) => {
                let (gate, up) = of.sums[n * product..(n + 1) * product].split_at(output);
                let to_gate = |(i, dy): (usize, &R)| dy.times(up[i]).times(slope(gate[i]));
                dz.extend(dy.iter().enumerate().map(to_gate));
                dz.extend(dy.iter().zip(gate).map(|(dy, &g)| dy.times(act(g))));
            }
        }
    }
    let column = |values: &[R], width: usize, i: usize| -> Vec<R> {
        (0..rows).map(|n| values[n * width + i]).collect()
    };
    let db = (0..product).map(|o| R::sum(&column(&dz, product, o))).collect();
    let round = |values: &[R]| -> Vec<R> {
        values.iter().map(|v| if of.bf16 { v.rounded() } else { *v }).collect()
    };
    // The weights are rounded already where they are packed in bf16.
    let (dz, x, scale) = (round(&dz), round(of.x), R::exact(of.scale.into()));
    let mut dx = Vec::with_capacity(rows * input);
    for n in 0..rows {
        let dz = &dz[n * product..(n + 1) * product];
        dx.extend((0..input).map(|i| {
            let weights = (0..product).map(|o| of.weights[o * input + i]);
            R::dot(dz.iter().copied().zip(weights)).times(scale)
        }));
    }
    let columns: Vec<Vec<R>> = (0..input).map(|i| column(&x, input, i)).collect();
    let mut dw = Vec::with_capacity(product * input);
    for o in 0..product {
        let dz = column(&dz, product, o);
        let dot = |x: &Vec<R>| R::dot(dz.iter().copied().zip(x.iter().copied())).times(scale);
        dw.extend(columns.iter().map(dot));
    }
    [dx, dw, db]
}

/// Rows `from` on of `[product, in]`, as a part of this shape has them in its checkpoint.
pub(crate) fn part_of<R: Copy>(
    dw: &[R],
    from: usize,
    shape: [usize; 2],
    transposed: bool,
) -> Vec<R> {
    let [rows, columns] = shape;
    let (output, input) = if transposed { (columns, rows) } else { (rows, columns) };
    let dw = &dw[from * input..(from + output) * input];
    match transposed {
        false => dw.to_vec(),
        true => (0..input).flat_map(|i| (0..output).map(move |o| dw[o * input + i])).collect(),
    }
}

pub(super) fn backward(
    layer: &TrainLinear,
    of: &LinearBackward<'_, Tensor>,
    gradients_of: LinearGradients<'_, Tensor>,
) -> Result<()> {
    let (shape, gated) = (layer.layer.shape(), layer.layer.gated());
    check::linear_backward(of, (shape, gated), layer.parts(), &gradients_of)?;
    let dropped = |(i, &dy): (usize, &f32)| {
        f64::from(dy) * kept::<f64>(of.dropout, i / shape.output, i % shape.output)
    };
    let dy: Vec<f64> = of.dy.values.iter().enumerate().map(dropped).collect();
    let [dx, dw, db] = gradients(&Operands {
        x: &numbers(of.x),
        sums: &of.sums.map(numbers).unwrap_or_default(),
        dy: &dy,
        weights: &f64::all(layer.layer.floats()),
        shape: [shape.input, shape.output],
        gated,
        scale: layer.layer.scale(),
        activation: of.activation,
        bf16: layer.format == Format::Bf16,
    });
    add_wanted(gradients_of.x, of.x.rows, shape.input, &dx);
    let mut from = 0;
    for ((part, (size, output)), [weight, bias]) in
        layer.parts.iter().zip(layer.parts()).zip(gradients_of.parts)
    {
        add_wanted(weight, size[0], size[1], &part_of(&dw, from, size, part.transposed));
        add_wanted(bias, 1, output, &db[from..from + output]);
        from += output;
    }
    Ok(())
}

//! Linear layers, forward with what is kept, and back.

use super::super::linear::{ACTIVATIONS, Case};
use super::super::tolerance::Approx;
use super::super::values::{Profile, values};
use super::super::{Outcome, bits, each, host, within};
use super::{added, begun, dropout, gradient_values, narrow};
use crate::reference::backward::linear::{Operands, gradients, part_of};
use crate::reference::{backward::kept, real::Real};
use crate::train::{
    Dropout, Gradient, LinearBackward, LinearGradients, MasterPart, Masters, TrainBackend,
    TrainEpilogue,
};
use crate::{DType, Epilogue, Format, HostTensor, LinearPart, Result};
use proptest::prelude::*;

/// A layer and its way back.
#[derive(Debug, Clone)]
struct BackwardCase {
    layer: Case,
    dropout: Option<Dropout>,
}

fn cases() -> BoxedStrategy<BackwardCase> {
    let rows = prop_oneof![1 => Just(0usize), 2 => Just(1), 6 => 2..=20usize, 2 => 30..=50usize];
    let parts = proptest::collection::vec(narrow(), 1..=3);
    let scale = proptest::sample::select(&[1.0f32, 0.044_194_174, -3.0][..]);
    let activation = proptest::option::of(proptest::sample::select(&ACTIVATIONS[..]));
    let format = proptest::sample::select(&[Format::F32, Format::Bf16][..]);
    let x = proptest::sample::select(&[Profile::Normal, Profile::Wide, Profile::Sparse][..]);
    let kind = (scale, activation, any::<bool>(), format, x);
    (rows, narrow(), parts, any::<[bool; 2]>(), kind, dropout(), 0..1000u64)
        .prop_map(|(rows, input, mut parts, [gated, bias], kind, dropout, seed)| {
            let (scale, activation, residual, format, x) = kind;
            if gated {
                parts = vec![parts[0]; 2];
            }
            let layer = Case {
                rows,
                input,
                parts,
                gated,
                bias,
                scale,
                activation,
                residual,
                format,
                dtype: DType::F32,
                x,
                w: Profile::Normal,
                seed,
            };
            BackwardCase { layer, dropout }
        })
        .boxed()
}

/// Matrix and bias of each part on the device.
struct Held<B: TrainBackend> {
    parts: Vec<(B::Tensor, Option<B::Tensor>, bool)>,
}

impl<B: TrainBackend> Held<B> {
    fn new(backend: &B, parts: &[LinearPart]) -> Result<Self> {
        let row = |b: &HostTensor| backend.upload(&b.reshape(vec![1, b.len()])?);
        let part = |p: &LinearPart| {
            let bias = p.bias.as_ref().map(row).transpose()?;
            Ok((backend.upload(&p.weight)?, bias, p.transposed))
        };
        Ok(Self { parts: parts.iter().map(part).collect::<Result<_>>()? })
    }

    fn masters(&self, case: &Case) -> Masters<'_, B::Tensor> {
        Masters {
            parts: self
                .parts
                .iter()
                .map(|(weight, bias, transposed)| MasterPart {
                    weight,
                    bias: bias.as_ref(),
                    transposed: *transposed,
                })
                .collect(),
            gated: case.gated,
            scale: case.scale,
        }
    }
}

fn packed<B: TrainBackend>(backend: &B, case: &Case) -> Result<B::TrainLinear> {
    let held = Held::new(backend, &case.spec().parts)?;
    backend.pack_masters(&held.masters(case), case.format)
}

/// Everything that comes of a case.
struct Ran<B: TrainBackend> {
    y: B::Tensor,
    sums: Option<B::Tensor>,
    x: Gradient<B::Tensor>,
    parts: Vec<[Gradient<B::Tensor>; 2]>,
}

impl BackwardCase {
    fn dy(&self) -> Vec<f32> {
        gradient_values(self.layer.seed + 9, self.layer.rows * self.layer.output())
    }

    fn run<B: TrainBackend>(&self, backend: &B) -> Result<Ran<B>> {
        let (case, dropout) = (&self.layer, self.dropout);
        let layer = packed(backend, case)?;
        let x = backend.upload(&case.x())?;
        let residual = case.residual().map(|r| backend.upload(&r)).transpose()?;
        let activation = case.activation;
        let epilogue = TrainEpilogue { activation, dropout, residual: residual.as_ref() };
        let (y, sums) = backend.linear_forward(&x, &layer, &epilogue, true)?;
        let dy = backend.upload(&host(case.rows, case.output(), &self.dy()))?;
        let mut dx = begun(backend, case.rows, case.input)?;
        // Weights are added to, biases begun.
        let mut parts: Vec<[Gradient<B::Tensor>; 2]> = Vec::new();
        for part in &case.spec().parts {
            let shape = part.weight.shape();
            parts.push([begun(backend, shape[0], shape[1])?, None]);
        }
        let of = LinearBackward { x: &x, sums: sums.as_ref(), activation, dropout, dy: &dy };
        let wanted = parts.iter_mut().map(|p| p.each_mut().map(Some)).collect();
        let gradients = LinearGradients { x: Some(&mut dx), parts: wanted };
        backend.linear_backward(&layer, &of, gradients)?;
        Ok(Ran { y, sums, x: dx, parts })
    }

    /// Everything on the host, in one list.
    fn flat<B: TrainBackend>(&self, backend: &B) -> Result<Vec<f32>> {
        let Ran { y, sums, x, parts } = self.run(backend)?;
        let mut out = backend.download(&y)?;
        let gradients = parts.into_iter().flatten().flatten();
        for tensor in sums.into_iter().chain(x).chain(gradients) {
            out.extend(backend.download(&tensor)?);
        }
        Ok(out)
    }
}

/// Without dropout the forward has the bits of [`linear`](crate::Backend::linear); what it keeps lies within the bound
/// of the sums; nothing is kept that is not needed or not asked for.
pub fn forward_is_linear<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |BackwardCase { layer: case, .. }| {
        let plain = backend.pack(&case.spec(), case.format)?;
        let x = backend.upload(&case.x())?;
        let residual = case.residual().map(|r| backend.upload(&r)).transpose()?;
        let (activation, residual) = (case.activation, residual.as_ref());
        let epilogue = Epilogue { activation, residual, ..Epilogue::NONE };
        let want = backend.download(&backend.linear(&x, &plain, epilogue)?)?;
        let layer = packed(backend, case)?;
        let epilogue = TrainEpilogue { activation, dropout: None, residual };
        for keep in [false, true] {
            let (y, sums) = backend.linear_forward(&x, &layer, &epilogue, keep)?;
            bits("linear_forward", &want, &backend.download(&y)?)?;
            match (sums, keep && (case.gated || activation.is_some())) {
                (None, false) => {}
                (Some(sums), true) => {
                    within("the sums", &case.products()?, &backend.download(&sums)?)?;
                }
                (sums, _) => {
                    let kept = sums.is_some();
                    return super::super::fail(format!("sums are kept: {kept}, keep: {keep}"));
                }
            }
        }
        Ok(())
    })
}

/// Gradients of input, weights and biases lie within their bounds, and so does the result under dropout.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let BackwardCase { layer, dropout } = case;
        let (input, output) = (layer.input, layer.output());
        let product = if layer.gated { 2 * output } else { output };
        let sums = layer.products()?;
        let spec = layer.spec();
        let (x, dy) = (layer.x().to_f32(), case.dy());
        let dropped = |(i, &dy): (usize, &f32)| {
            let factor = kept::<Approx>(*dropout, i / output, i % output);
            Approx::exact(dy).times(factor)
        };
        let weights: Vec<Approx> = spec
            .parts
            .iter()
            .flat_map(|p| {
                let w = Approx::all(&p.weight.to_f32());
                let [rows, columns] = [p.weight.shape()[0], p.weight.shape()[1]];
                // Read as the gradient of a part is: turned.
                if p.transposed { part_of(&w, 0, [columns, rows], true) } else { w }
            })
            .map(|w| if layer.format == Format::Bf16 { w.rounded() } else { w })
            .collect();
        let [dx, dw, db] = gradients(&Operands {
            x: &Approx::all(&x),
            sums: if layer.gated || layer.activation.is_some() { &sums } else { &[] },
            dy: &dy.iter().enumerate().map(dropped).collect::<Vec<_>>(),
            weights: &weights,
            shape: [input, output],
            gated: layer.gated,
            scale: layer.scale,
            activation: layer.activation,
            bf16: layer.format == Format::Bf16,
        });
        let ran = case.run(backend)?;
        added(backend, "dx", (&dx, product), &ran.x, true)?;
        let mut from = 0;
        for (i, (part, [weight, bias])) in spec.parts.iter().zip(&ran.parts).enumerate() {
            let shape = [part.weight.shape()[0], part.weight.shape()[1]];
            let outputs = layer.parts[i];
            let want = part_of(&dw, from, shape, part.transposed);
            added(backend, "dW", (&want, layer.rows), weight, true)?;
            added(backend, "db", (&db[from..from + outputs], layer.rows), bias, false)?;
            from += outputs;
        }
        let act = |z: Approx| layer.activation.map_or(z, |a| z.activated(a));
        let residual = layer.residual().map(|r| r.to_f32());
        let element = |i: usize| {
            let sums = &sums[i / output * product..][..product];
            let mut y = act(sums[i % output]);
            if layer.gated {
                y = y.times(sums[output + i % output]);
            }
            y = y.times(kept(*dropout, i / output, i % output));
            residual.as_ref().map_or(y, |r| y.plus(Approx::exact(r[i])))
        };
        let want: Vec<Approx> = (0..dy.len()).map(element).collect();
        within("the result", &want, &backend.download(&ran.y)?)
    })
}

/// A layer that is packed again is as one packed from the new masters, forward and back.
pub fn packs_again<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |BackwardCase { layer: case, .. }| {
        let other = Case { seed: case.seed + 1000, ..case.clone() };
        // Parts lie as before: with an even difference of seeds.
        let held = Held::new(backend, &other.spec().parts)?;
        let fresh = backend.pack_masters(&held.masters(&other), case.format)?;
        let mut again = packed(backend, case)?;
        backend.repack(&mut again, &held.masters(&other))?;
        let x = backend.upload(&case.x())?;
        let n = case.rows * case.output();
        let dy = host(case.rows, case.output(), &values(Profile::Normal, 5, n));
        let dy = backend.upload(&dy)?;
        let run = |layer: &B::TrainLinear| -> Result<Vec<f32>> {
            let activation = case.activation;
            let epilogue = TrainEpilogue { activation, dropout: None, residual: None };
            let (y, sums) = backend.linear_forward(&x, layer, &epilogue, true)?;
            let mut dx = None;
            let sums = sums.as_ref();
            let of = LinearBackward { x: &x, sums, activation, dropout: None, dy: &dy };
            let parts = case.parts.iter().map(|_| [None, None]).collect();
            backend.linear_backward(layer, &of, LinearGradients { x: Some(&mut dx), parts })?;
            let mut out = backend.download(&y)?;
            out.extend(dx.map_or(Ok(Vec::new()), |dx| backend.download(&dx))?);
            Ok(out)
        };
        bits("packed again", &run(&fresh)?, &run(&again)?)
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &BackwardCase| bits("linear", &case.flat(a)?, &case.flat(b)?);
    for format in [Format::F32, Format::Bf16] {
        for gated in [false, true] {
            let layer = Case {
                parts: vec![300, 300],
                gated,
                format,
                activation: Some(crate::Activation::Gelu),
                ..Case::plain(130, 200, 0)
            };
            same(&BackwardCase { layer, dropout: None })?;
        }
    }
    each(cases(), same)
}

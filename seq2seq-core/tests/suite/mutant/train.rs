//! What training adds, with one fault at a time.

use super::{Fault, Mutant, changed};
use seq2seq_core::reference::backward::TrainLinear;
use seq2seq_core::reference::{
    Reference, Tensor, attention::RelativeBias, cross::Memory, norm::Norm,
};
use seq2seq_core::train::*;
use seq2seq_core::*;

impl Mutant {
    /// Another use of dropout than the forward's.
    fn elsewhere(&self, dropout: Option<Dropout>) -> Option<Dropout> {
        match self.is(Fault::DropoutElsewhere) {
            true => dropout.map(|d| Dropout { place: d.place + 1, ..d }),
            false => dropout,
        }
    }

    /// In an attention in bf16, numbers of four significant bits in place of eight.
    fn coarse(&self, dy: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let coarse = self.is(Fault::FactorsOfFourBits) && spec.precision == Precision::Bf16;
        changed(dy, |v| {
            if coarse {
                *v = f32::from_bits((v.to_bits() + (1 << 19)) >> 20 << 20);
            }
        })
    }
}

impl OptimiserOps for Mutant {
    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Reference.zeros(rows, columns)
    }

    fn sums_of_squares(&self, tensors: &[&Tensor]) -> Result<Vec<f64>> {
        let mut sums = Reference.sums_of_squares(tensors)?;
        if self.is(Fault::NormForSquares) {
            sums.iter_mut().for_each(|sum| *sum = sum.sqrt());
        }
        Ok(sums)
    }

    fn adamw(
        &self,
        settings: &AdamW,
        parameter: &mut Tensor,
        gradient: &Tensor,
        moments: &mut [Tensor; 2],
    ) -> Result<()> {
        let mut settings = *settings;
        match self.0 {
            Fault::StepsFromZero => settings.step += 1,
            Fault::GradientUnscaled => settings.gradient_scale = 1.0,
            _ => {}
        }
        Reference.adamw(&settings, parameter, gradient, moments)
    }

    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Tensor,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
    ) -> Result<()> {
        let mut settings = *settings;
        if self.is(Fault::DecayForgotten) {
            settings.decay = 0.0;
        }
        Reference.sgd(&settings, parameter, gradient, velocity)
    }

    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Tensor,
        gradient: &Tensor,
        second: &mut Second<Tensor>,
    ) -> Result<()> {
        let mut settings = *settings;
        if self.is(Fault::UpdateUnclipped) {
            settings.clip = f32::MAX;
        }
        Reference.adafactor(&settings, parameter, gradient, second)
    }

    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Tensor,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        let mut settings = *settings;
        match self.0 {
            Fault::OneIterationLess => settings.iterations -= 1,
            Fault::UpdateOfTheMomentum => {
                // Without Nesterov's step: as if the gradient of this step had been the momentum.
                let held = settings.momentum;
                let mut average = Reference.download(momentum)?;
                let scaled = Reference.download(gradient)?;
                for (m, g) in average.iter_mut().zip(scaled) {
                    *m = held * *m + (1.0 - held) * g * settings.gradient_scale;
                }
                let shape = vec![momentum.rows(), momentum.width()];
                *momentum = Reference.upload(&HostTensor::from_f32(shape, &average)?)?;
                let settings = Muon { gradient_scale: 1.0, ..settings };
                let gradient = changed(momentum, |_| ())?;
                return Reference.muon(&settings, parameter, &gradient, momentum);
            }
            Fault::UpdateUnscaled => {
                settings.decay *= settings.rate;
                settings.rate /= Muon::scale(parameter.rows(), parameter.width()) as f32;
                settings.decay /= settings.rate;
            }
            Fault::Bf16AsF32 => settings.format = Format::F32,
            _ => {}
        }
        Reference.muon(&settings, parameter, gradient, momentum)
    }
}

impl TrainBackend for Mutant {
    type TrainLinear = TrainLinear;

    fn pack_masters(&self, masters: &Masters<'_, Tensor>, format: Format) -> Result<TrainLinear> {
        let format = match (self.0, format) {
            (Fault::BackInF32, Format::Bf16) => Format::F32,
            (_, format) => format,
        };
        Reference.pack_masters(masters, format)
    }

    fn repack(&self, layer: &mut TrainLinear, masters: &Masters<'_, Tensor>) -> Result<()> {
        match self.is(Fault::RepackForgotten) {
            true => Ok(()),
            false => Reference.repack(layer, masters),
        }
    }

    fn linear_forward(
        &self,
        x: &Tensor,
        layer: &TrainLinear,
        epilogue: &TrainEpilogue<'_, Tensor>,
        keep: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (y, sums) = Reference.linear_forward(x, layer, epilogue, keep)?;
        match self.is(Fault::ResultKept) {
            true => Ok((y, sums.map(|s| changed(&s, |v| *v = v.max(0.0))).transpose()?)),
            false => Ok((y, sums)),
        }
    }

    fn linear_backward(
        &self,
        layer: &TrainLinear,
        of: &LinearBackward<'_, Tensor>,
        mut gradients: LinearGradients<'_, Tensor>,
    ) -> Result<()> {
        let mut of = LinearBackward {
            dropout: self.elsewhere(of.dropout),
            activation: of.activation,
            ..*of
        };
        match self.0 {
            Fault::SlopeForgotten => of.activation = None,
            Fault::GradientReplaced => {
                gradients.x.iter_mut().for_each(|gradient| **gradient = None);
            }
            Fault::BiasGradientForgotten => {
                gradients.parts.iter_mut().for_each(|[_, bias]| *bias = None);
            }
            _ => {}
        }
        Reference.linear_backward(layer, &of, gradients)
    }

    fn embed_masters(&self, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
        Reference.embed_masters(lookups)
    }

    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Tensor,
        table: &mut Gradient<Tensor>,
    ) -> Result<()> {
        if self.is(Fault::LookedUpUnscaled) {
            return Reference.embed_backward(Looked { scale: 1.0, ..looked }, dy, table);
        }
        if !self.is(Fault::IdsCountedOnce) {
            return Reference.embed_backward(looked, dy, table);
        }
        let first = |&n: &usize| !looked.ids[..n].contains(&looked.ids[n]);
        let rows: Vec<usize> = (0..looked.ids.len()).filter(first).collect();
        let ids: Vec<u32> = rows.iter().map(|&n| looked.ids[n]).collect();
        let dy = Reference.gather_rows(dy, &rows)?;
        Reference.embed_backward(Looked { ids: &ids, ..looked }, &dy, table)
    }

    fn renew_norm(&self, norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        match self.is(Fault::RepackForgotten) {
            true => Ok(()),
            false => Reference.renew_norm(norm, weight, bias),
        }
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        norm: &Norm,
        dy: &Tensor,
        gradients: NormGradients<'_, Tensor>,
    ) -> Result<()> {
        let dy = match self.is(Fault::NormGradientOff) {
            true => &changed(dy, |v| *v *= 1.001)?,
            false => dy,
        };
        Reference.norm_backward(x, norm, dy, gradients)
    }

    fn renew_relative_bias(&self, bias: &mut RelativeBias, table: &Tensor) -> Result<()> {
        Reference.renew_relative_bias(bias, table)
    }

    fn attend_forward(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        Reference.attend_forward(qkv, rows, spec, bias, dropout)
    }

    fn attend_backward(
        &self,
        of: &AttendBackward<'_, Tensor, RelativeBias>,
        qkv: Wanted<'_, Tensor>,
        table: Wanted<'_, Tensor>,
    ) -> Result<()> {
        let mut spec = of.spec.clone();
        match self.0 {
            Fault::BackBidirectional => spec.causal = false,
            Fault::RotaryScaleForgotten => {
                spec.rotary.iter_mut().for_each(|rotary| rotary.scale = 1.0);
            }
            _ => {}
        }
        let (dropout, dy) = (self.elsewhere(of.dropout), &self.coarse(of.dy, &spec)?);
        let of = AttendBackward { spec: &spec, dropout, dy, ..*of };
        Reference.attend_backward(&of, qkv, table)
    }

    fn cross_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        memory: &Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        Reference.cross_attend_forward(q, rows, memory, sources, spec, dropout)
    }

    fn cross_attend_backward(
        &self,
        of: &CrossBackward<'_, Tensor, Memory>,
        q: Wanted<'_, Tensor>,
        kv: Wanted<'_, Tensor>,
    ) -> Result<()> {
        let first = vec![0; of.sources.len()];
        let sources = if self.is(Fault::FirstSourceForAll) { &first } else { of.sources };
        let dy = &self.coarse(of.dy, of.spec)?;
        Reference.cross_attend_backward(&CrossBackward { sources, dy, ..*of }, q, kv)
    }

    fn gather_rows_backward(
        &self,
        dy: &Tensor,
        rows: &[usize],
        count: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        let mut rows = rows.to_vec();
        if self.is(Fault::RowsSorted) {
            rows.sort_unstable();
        }
        Reference.gather_rows_backward(dy, &rows, count, dx)
    }

    fn pool_backward(
        &self,
        dy: &Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        let pool =
            if self.is(Fault::LastIsFirst) && pool == Pool::Last { Pool::First } else { pool };
        Reference.pool_backward(dy, rows, pool, dx)
    }

    fn apply_dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        let y = Reference.apply_dropout(x, dropout)?;
        match self.is(Fault::KeptUnscaled) {
            true => changed(&y, |v| *v /= dropout.scale()),
            false => Ok(y),
        }
    }

    fn cross_entropy(
        &self,
        logits: &Tensor,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<(Loss, Tensor)> {
        let all: Vec<_> = targets.iter().map(|t| t.or(Some(0))).collect();
        match (self.0, smoothing) {
            (Fault::SmoothingOfOthers, Smoothing::Uniform(e)) => {
                Reference.cross_entropy(logits, targets, Smoothing::Others(e))
            }
            (Fault::IgnoredCounted, _) => Reference.cross_entropy(logits, &all, smoothing),
            _ => Reference.cross_entropy(logits, targets, smoothing),
        }
    }

    fn add(&self, x: Tensor, gradient: &mut Gradient<Tensor>) -> Result<()> {
        Reference.add(x, gradient)
    }
}

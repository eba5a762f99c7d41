//! Steps of optimisers: computed in f64 from f32 operands, each result rounded to f32 once.

use super::{Reference, Tensor, muon::update};
use crate::backend::check;
use crate::reference::real::Real;
use crate::train::{Adafactor, AdamW, Factors, Muon, OptimiserOps, Second, Sgd};
use crate::{Format, Result};

fn size(x: &Tensor) -> [usize; 2] {
    [x.rows, x.width]
}

/// The root of the mean square.
fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    (values.map(|v| v * v).sum::<f64>() / n).sqrt()
}

/// `held` becomes β held + (1 - β) new.
fn average(held: &mut f32, beta: f64, new: f64) {
    *held = (beta * f64::from(*held) + (1.0 - beta) * new) as f32;
}

impl OptimiserOps for Reference {
    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(Tensor::new(rows, columns, vec![0.0; rows * columns]))
    }

    fn sums_of_squares(&self, tensors: &[&Tensor]) -> Result<Vec<f64>> {
        let sum = |x: &&Tensor| x.values.iter().map(|&v| f64::from(v).powi(2)).sum();
        Ok(tensors.iter().map(sum).collect())
    }

    fn adamw(
        &self,
        settings: &AdamW,
        parameter: &mut Tensor,
        gradient: &Tensor,
        moments: &mut [Tensor; 2],
    ) -> Result<()> {
        check::adamw(parameter, gradient, moments)?;
        let [first, second] = moments;
        let [beta1, beta2] = settings.betas;
        let (rate, step) = (f64::from(settings.rate), settings.step as i32);
        let correct = [1.0 - beta1.powi(step), (1.0 - beta2.powi(step)).sqrt()];
        let moments = first.values.iter_mut().zip(&mut second.values);
        for ((p, &g), (m, v)) in parameter.values.iter_mut().zip(&gradient.values).zip(moments) {
            let g = f64::from(g) * f64::from(settings.gradient_scale);
            average(m, beta1, g);
            average(v, beta2, g * g);
            let root = f64::from(*v).sqrt() / correct[1] + f64::from(settings.eps);
            let kept = f64::from(*p) * (1.0 - rate * f64::from(settings.decay));
            *p = (kept - rate / correct[0] * f64::from(*m) / root) as f32;
        }
        Ok(())
    }

    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Tensor,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
    ) -> Result<()> {
        let shape = size(parameter);
        check::sgd(parameter, gradient, velocity.as_ref())?;
        let Sgd { rate, momentum, decay, gradient_scale } = *settings;
        let first = velocity.is_none();
        let held = velocity
            .get_or_insert_with(|| Tensor::new(shape[0], shape[1], vec![0.0; shape[0] * shape[1]]));
        for ((p, &g), b) in parameter.values.iter_mut().zip(&gradient.values).zip(&mut held.values)
        {
            let g = f64::from(g) * f64::from(gradient_scale) + f64::from(decay) * f64::from(*p);
            *b = (if first { 0.0 } else { f64::from(momentum) * f64::from(*b) } + g) as f32;
            *p = (f64::from(*p) - f64::from(rate) * f64::from(*b)) as f32;
        }
        Ok(())
    }

    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Tensor,
        gradient: &Tensor,
        second: &mut Second<Tensor>,
    ) -> Result<()> {
        let [rows, columns] = size(parameter);
        check::adafactor(parameter, gradient, second)?;
        let scaled = |&g: &f32| f64::from(g) * f64::from(settings.gradient_scale);
        let gradient: Vec<f64> = gradient.values.iter().map(scaled).collect();
        let squares: Vec<f64> =
            gradient.iter().map(|g| g * g + f64::from(settings.eps[0])).collect();
        let beta = settings.beta();
        let update: Vec<f64> = match second {
            Second::Full(held) => {
                held.values.iter_mut().zip(&squares).for_each(|(v, s)| average(v, beta, *s));
                gradient.iter().zip(&held.values).map(|(g, &v)| g / f64::from(v).sqrt()).collect()
            }
            Second::Factored(Factors { rows: by_row, columns: by_column }) => {
                for (held, squares) in by_row.values.iter_mut().zip(squares.chunks(columns)) {
                    average(held, beta, squares.iter().sum::<f64>() / columns as f64);
                }
                for (i, held) in by_column.values.iter_mut().enumerate() {
                    let sum: f64 = squares.iter().skip(i).step_by(columns).sum();
                    average(held, beta, sum / rows as f64);
                }
                let mean = by_row.values.iter().map(|&r| f64::from(r)).sum::<f64>() / rows as f64;
                let root = |i: usize| {
                    let row = f64::from(by_row.values[i / columns]) / mean;
                    (row * f64::from(by_column.values[i % columns])).sqrt()
                };
                gradient.iter().enumerate().map(|(i, g)| g / root(i)).collect()
            }
        };
        let clip = (rms(update.iter().copied()) / f64::from(settings.clip)).max(1.0);
        let least = if settings.scale_parameter {
            rms(parameter.values.iter().map(|&p| f64::from(p))).max(settings.eps[1].into())
        } else {
            1.0
        };
        let rate = f64::from(settings.rate) * least;
        for (p, u) in parameter.values.iter_mut().zip(update) {
            let kept = f64::from(*p) * (1.0 - rate * f64::from(settings.decay));
            *p = (kept - rate * u / clip) as f32;
        }
        Ok(())
    }

    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Tensor,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        check::muon(settings, parameter, gradient, momentum)?;
        let [rows, columns] = size(parameter);
        let (kept, rate) = (f64::from(settings.momentum), f64::from(settings.rate));
        let mut u = Vec::with_capacity(rows * columns);
        for (held, &g) in momentum.values.iter_mut().zip(&gradient.values) {
            let g = f64::from(g) * f64::from(settings.gradient_scale);
            average(held, kept, g);
            u.push(kept * f64::from(*held) + (1.0 - kept) * g);
        }
        let bf16 = settings.format == Format::Bf16;
        let update = update::<f64>(&u, [rows, columns], settings.iterations, bf16);
        let scale = rate * Muon::scale(rows, columns);
        for (p, u) in parameter.values.iter_mut().zip(update) {
            let left = f64::from(*p) * (1.0 - rate * f64::from(settings.decay));
            *p = (left - scale * u.value()) as f32;
        }
        Ok(())
    }
}

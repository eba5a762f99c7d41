//! Steps of optimisers.

use crate::kernels::backward::adafactor::{FactoredRow, FullRow};
use crate::kernels::backward::optimiser::{AdamWRow, AdamWStep, SgdRow};
use crate::kernels::backward::sum::{ColumnSquares, Mix, Squares};
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::{Adafactor, AdamW, Factors, Muon, OptimiserOps, Second, Sgd};
use seq2seq_core::{Result, Rows, backend::check};

/// Σ x², row by row in order.
pub(super) fn squares(cpu: &Cpu, x: &Tensor) -> f64 {
    let mut sums = Buffer::<f64>::scratch(x.rows());
    cpu.threads().each_part(Chunks::new(&mut sums[..], 1), x.width(), |row, sum| {
        sum[0] = dispatch(cpu.isa(), Squares(x.row(row)));
    });
    sums.iter().sum()
}

/// The root of the mean square.
fn rms(cpu: &Cpu, x: &Tensor) -> f64 {
    (squares(cpu, x) / (x.rows() * x.width()).max(1) as f64).sqrt()
}

/// Rows of β held + (1 - β) mean, where `mean` gives one value for each place.
fn average(held: &mut Tensor, beta: f64, mean: impl Fn(usize) -> f64) {
    let width = held.width();
    for (i, held) in held.values_mut()[..width].iter_mut().enumerate() {
        *held = (beta * f64::from(*held) + (1.0 - beta) * mean(i)) as f32;
    }
}

impl OptimiserOps for Cpu {
    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(super::zeros(self, rows, columns))
    }

    fn sums_of_squares(&self, tensors: &[&Tensor]) -> Result<Vec<f64>> {
        Ok(tensors.iter().map(|x| squares(self, x)).collect())
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
        let (step, width) = (AdamWStep::new(settings), parameter.width());
        let rows = |x| Chunks::<f32>::rows(x);
        let parts = (rows(parameter), (rows(first), rows(second)));
        self.threads().each_part(parts, 4 * width, |row, (parameter, (first, second))| {
            let gradient = gradient.row(row);
            let [parameter, first, second] = [parameter, first, second].map(|x| &mut x[..width]);
            dispatch(self.isa(), AdamWRow { step, gradient, parameter, first, second });
        });
        Ok(())
    }

    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Tensor,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
    ) -> Result<()> {
        let shape = [parameter.rows(), parameter.width()];
        check::sgd(parameter, gradient, velocity.as_ref())?;
        let (settings, width) = (*settings, shape[1]);
        // The first velocity is the gradient: what is kept of zeros is nothing.
        let velocity = super::begun(self, velocity, shape);
        let parts = (Chunks::<f32>::rows(parameter), Chunks::<f32>::rows(velocity));
        self.threads().each_part(parts, 3 * width, |row, (parameter, velocity)| {
            let gradient = gradient.row(row);
            let [parameter, velocity] = [parameter, velocity].map(|x| &mut x[..width]);
            dispatch(self.isa(), SgdRow { settings, gradient, parameter, velocity });
        });
        Ok(())
    }

    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Tensor,
        gradient: &Tensor,
        second: &mut Second<Tensor>,
    ) -> Result<()> {
        let [rows, columns] = [parameter.rows(), parameter.width()];
        check::adafactor(parameter, gradient, second)?;
        let (beta, scale) = (settings.beta(), f64::from(settings.gradient_scale));
        let least = f64::from(settings.eps[0]);
        let mut update = Tensor::scratch(rows, columns);
        let chunks = Chunks::<f32>::rows(&mut update);
        match second {
            Second::Full(held) => {
                let (betas, least) = ([beta, 1.0 - beta].map(|b| b as f32), settings.eps[0]);
                let parts = (chunks, Chunks::<f32>::rows(held));
                self.threads().each_part(parts, 8 * columns, |row, (update, held)| {
                    let (scale, gradient) = (settings.gradient_scale, gradient.row(row));
                    let [held, update] = [held, update].map(|x| &mut x[..columns]);
                    dispatch(self.isa(), FullRow { betas, scale, least, gradient, held, update });
                });
            }
            Second::Factored(Factors { rows: by_row, columns: by_column }) => {
                let mut row_sums = Buffer::<f64>::scratch(rows);
                let each_row = Chunks::new(&mut row_sums[..], 1);
                self.threads().each_part(each_row, columns, |row, sum| {
                    sum[0] = dispatch(self.isa(), Squares(gradient.row(row)));
                });
                let mut column_sums = Buffer::<f64>::zeroed(columns);
                const STRIPE: usize = 64;
                let stripes = Chunks::new(&mut column_sums[..], STRIPE);
                self.threads().each_part(stripes, rows * STRIPE, |i, out| {
                    let columns = i * STRIPE..i * STRIPE + out.len();
                    dispatch(self.isa(), ColumnSquares { x: gradient, columns, out });
                });
                let mean = |sum: f64, n: usize| scale * scale * sum / n as f64 + least;
                average(by_row, beta, |i| mean(row_sums[i], columns));
                average(by_column, beta, |i| mean(column_sums[i], rows));
                let sum: f64 = by_row.row(0).iter().map(|&r| f64::from(r)).sum();
                let mean = sum / rows as f64;
                let by_row = by_row.row(0);
                let inverse = |&c: &f32| (1.0 / f64::from(c).sqrt()) as f32;
                let by_column: Vec<f32> = by_column.row(0).iter().map(inverse).collect();
                self.threads().each_part(chunks, 2 * columns, |row, update| {
                    let scale = (scale / (f64::from(by_row[row]) / mean).sqrt()) as f32;
                    let (gradient, update) = (gradient.row(row), &mut update[..columns]);
                    let by_column = &by_column;
                    dispatch(self.isa(), FactoredRow { scale, by_column, gradient, update });
                });
            }
        }
        let clip = (rms(self, &update) / f64::from(settings.clip)).max(1.0);
        let size = match settings.scale_parameter {
            true => rms(self, parameter).max(settings.eps[1].into()),
            false => 1.0,
        };
        let rate = f64::from(settings.rate) * size;
        let kept = (1.0 - rate * f64::from(settings.decay)) as f32;
        let factor = (rate / clip) as f32;
        let parts = Chunks::<f32>::rows(parameter);
        self.threads().each_part(parts, 2 * columns, |row, parameter| {
            let (out, x) = (&mut parameter[..columns], update.row(row));
            dispatch(self.isa(), Mix { out, kept, x, factor: -factor });
        });
        Ok(())
    }

    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Tensor,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        super::muon::step(self, settings, parameter, gradient, momentum)
    }
}

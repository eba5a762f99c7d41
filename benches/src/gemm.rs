//! The crate `gemm` as a peer in the same process: products alone, in f32, of rows and a matrix as it lies in a checkpoint.

use crate::{
    bench::Bench,
    runner::{Runner, Took},
};
use gemm::Parallelism;
use seq2seq_core::conformance::linear;
use seq2seq_core::{Error, Format, Result};
use std::any::Any;
use std::time::{Duration, Instant};

/// How it multiplies.
pub(crate) struct Gemm {
    threads: usize,
}

impl Gemm {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads }
    }

    pub(crate) fn describe(&self) -> String {
        format!("the crate gemm ({} threads)", self.threads)
    }

    /// The case, where it is a linear layer in f32 without anything behind the product.
    pub(crate) fn product(case: &dyn Any) -> Option<&linear::Case> {
        let case = case.downcast_ref::<linear::Case>()?;
        let bare = !case.gated && !case.bias && !case.residual && case.activation.is_none();
        (bare && case.format == Format::F32 && case.scale == 1.0).then_some(case)
    }

    /// The product of a case.
    pub(crate) fn runner<O: Bench>(&self, case: &O::Case) -> Result<Box<dyn Runner>> {
        let case = Self::product(case).ok_or_else(|| Error::Unsupported {
            what: format!("{} by the crate gemm", O::NAME),
            hint: "products in f32, without bias, activation and residual".into(),
        })?;
        Ok(Box::new(Product::new(case, self.threads)))
    }
}

/// `y = x wᵀ`
struct Product {
    /// `[rows, input]`
    x: Vec<f32>,
    /// `[output, input]`
    w: Vec<f32>,
    /// `[rows, output]`
    y: Vec<f32>,
    /// Rows, columns of the result, columns of x.
    shape: [usize; 3],
    parallelism: Parallelism,
}

impl Product {
    fn new(case: &linear::Case, threads: usize) -> Self {
        let output = case.parts.iter().sum();
        let mut w = Vec::with_capacity(output * case.input);
        for part in &case.spec().parts {
            let (values, outputs) =
                (part.weight.to_f32(), part.weight.shape()[usize::from(part.transposed)]);
            match part.transposed {
                false => w.extend(values),
                true => w.extend(
                    (0..outputs).flat_map(|n| values.iter().copied().skip(n).step_by(outputs)),
                ),
            }
        }
        Self {
            x: case.x().to_f32(),
            w,
            y: vec![0.0; case.rows * output],
            shape: [case.rows, output, case.input],
            parallelism: match threads {
                1 => Parallelism::None,
                threads => Parallelism::Rayon(threads),
            },
        }
    }

    fn multiply(&mut self) {
        let [rows, output, input] = self.shape;
        assert_eq!(
            [self.x.len(), self.w.len(), self.y.len()],
            [rows * input, output * input, rows * output]
        );
        let [output_step, input_step] = [output, input].map(|step| step as isize);
        // SAFETY: by the lengths above all elements of [rows, input], [input, output] and [rows, output] at these distances lie
        // in x, w and y, of which only y is written, and borrowed for that.
        unsafe {
            gemm::gemm(
                rows,
                output,
                input,
                self.y.as_mut_ptr(),
                1,
                output_step,
                false,
                self.x.as_ptr(),
                1,
                input_step,
                self.w.as_ptr(),
                input_step,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                self.parallelism,
            );
        }
    }
}

impl Runner for Product {
    fn run(&mut self, calls: usize) -> Result<Took> {
        let begin = Instant::now();
        (0..calls).for_each(|_| self.multiply());
        let all = begin.elapsed();
        Ok(Took { all, asking: all })
    }

    fn replay(&mut self, steps: usize, calls: usize) -> Result<Duration> {
        Ok(self.run(steps * calls)?.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::{conformance::Op, reference::Reference};

    /// Products of parts that lie either way, and of no other case.
    #[test]
    fn it_multiplies_what_the_suite_multiplies() {
        for seed in [0, 1] {
            let case = linear::Case {
                parts: vec![5, 9],
                bias: false,
                seed,
                ..linear::Case::plain(7, 33, 0)
            };
            let expected = linear::Linear::run(&Reference, &case).unwrap();
            for threads in [1, 2] {
                let mut product = Product::new(Gemm::product(&case).unwrap(), threads);
                product.multiply();
                assert_eq!(product.y.len(), expected.len());
                for (found, expected) in product.y.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
                }
            }
            let others = [
                linear::Case { bias: true, ..case.clone() },
                linear::Case { residual: true, ..case.clone() },
                linear::Case { format: Format::Int8, ..case },
            ];
            assert!(others.iter().all(|case| Gemm::product(case).is_none()));
        }
    }
}

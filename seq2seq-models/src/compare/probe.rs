//! A backend that computes each linear layer in other formats too, on the same input, and notes how far they are off.
//! So it does with the product of the state in a recurrent layer (`recurrent.rs`).

mod recurrent;

use seq2seq_core::{
    Backend, CrossAttentionOps, DecoderOps, EncoderOps, Epilogue, Format, LinearPart, LinearSpec,
    Result, Rows, SeqBackend, inherit,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// What probes found out. It is shared by all layers of a model.
#[derive(Debug)]
pub(crate) struct Recorder {
    formats: Vec<Format>,
    on: AtomicBool,
    /// `[layer][part][format]`, layers in the order in which they were packed.
    layers: Mutex<Vec<Vec<Vec<Deviation>>>>,
}

impl Recorder {
    pub(crate) fn new(formats: &[Format]) -> Arc<Self> {
        let (on, layers) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { formats: formats.to_vec(), on, layers })
    }

    /// Runs `work`, all linear layers of which are measured. Others are not.
    pub(crate) fn recording<T>(&self, work: impl FnOnce() -> T) -> T {
        self.on.store(true, Ordering::Relaxed);
        let done = work();
        self.on.store(false, Ordering::Relaxed);
        done
    }

    /// `[layer][part][format]`
    pub(crate) fn layers(&self) -> MutexGuard<'_, Vec<Vec<Vec<Deviation>>>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far values are from what they should be: ‖y' - y‖ and ‖y‖, over all that was added.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Deviation {
    /// Values that were compared.
    pub(crate) values: usize,
    difference: f64,
    expected: f64,
}

impl Deviation {
    /// Adds values and what they should be.
    pub(crate) fn add(&mut self, expected: &[f32], got: &[f32]) {
        self.values += expected.len();
        for (&e, &g) in expected.iter().zip(got) {
            let (e, g) = (f64::from(e), f64::from(g));
            self.difference += (g - e) * (g - e);
            self.expected += e * e;
        }
    }

    /// ‖y' - y‖ / ‖y‖; 0 where both are 0.
    pub(crate) fn relative(&self) -> f64 {
        match self.difference == 0.0 {
            true => 0.0,
            false => (self.difference / self.expected).sqrt(),
        }
    }
}

/// Computes as `inner` does, to the bit.
#[derive(Clone)]
pub(crate) struct Probe<B> {
    inner: B,
    recorder: Arc<Recorder>,
}

impl<B> Probe<B> {
    pub(crate) fn new(inner: B, recorder: Arc<Recorder>) -> Self {
        Self { inner, recorder }
    }
}

/// A layer and, for each matrix in it, that matrix by itself: an activation or a gate would hide whose error it is.
pub(crate) struct Probed<B: Backend> {
    inner: B::Linear,
    /// Its place in [`Recorder::layers`].
    layer: usize,
    parts: Vec<Versions<B>>,
}

/// One matrix in each format.
struct Versions<B: Backend> {
    exact: B::Linear,
    others: Vec<B::Linear>,
}

impl<B: Backend> Probe<B> {
    /// Measures every part of a layer on `x`.
    fn measure(&self, x: &B::Tensor, layer: &Probed<B>) -> Result<()> {
        let mut parts = layer.parts.iter().enumerate();
        parts.try_for_each(|(part, versions)| self.measure_part(x, versions, layer.layer, part))
    }

    fn measure_part(
        &self,
        x: &B::Tensor,
        versions: &Versions<B>,
        layer: usize,
        part: usize,
    ) -> Result<()> {
        let run = |layer: &B::Linear| {
            self.inner.download(&self.inner.linear(x, layer, Epilogue::NONE)?)
        };
        let expected = run(&versions.exact)?;
        for (format, other) in versions.others.iter().enumerate() {
            let got = run(other)?;
            self.recorder.layers()[layer][part][format].add(&expected, &got);
        }
        Ok(())
    }

    /// A matrix in each format.
    fn versions(&self, part: LinearPart, scale: f32, format: Format) -> Result<Versions<B>> {
        let alone = LinearSpec { parts: vec![part], gated: false, scale };
        let pack = |&format: &Format| self.inner.pack(&alone, format);
        Ok(Versions {
            exact: pack(&format)?,
            others: self.recorder.formats.iter().map(pack).collect::<Result<_>>()?,
        })
    }

    /// Makes room for the deviations of a layer of that many parts, and gives its place.
    fn place(&self, parts: usize) -> usize {
        let mut layers = self.recorder.layers();
        layers.push(vec![vec![Deviation::default(); self.recorder.formats.len()]; parts]);
        layers.len() - 1
    }
}

impl<B: Backend> Backend for Probe<B> {
    type Linear = Probed<B>;

    inherit! { inner: B =>
        Tensor, Norm, Embedding,
        describe, formats, device_memory, upload, download, embedding, embed, norm_weights, norm, gather_rows, pool,
        step
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Probed<B>> {
        let inner = self.inner.pack(spec, format)?;
        let versions = |part| self.versions(part, spec.scale, format);
        let parts = spec.parts.iter().cloned().map(versions).collect::<Result<Vec<_>>>()?;
        Ok(Probed { inner, layer: self.place(parts.len()), parts })
    }

    fn linear(
        &self,
        x: &B::Tensor,
        layer: &Probed<B>,
        epilogue: Epilogue<'_, B::Tensor>,
    ) -> Result<B::Tensor> {
        if self.recorder.on.load(Ordering::Relaxed) && x.rows() > 0 {
            self.measure(x, layer)?;
        }
        self.inner.linear(x, &layer.inner, epilogue)
    }
}

impl<B: EncoderOps> EncoderOps for Probe<B> {
    inherit! { inner: B => RelativeBias, relative_bias, attend }
}

impl<B: SeqBackend> DecoderOps for Probe<B> {
    inherit! { inner: B => KvCache, Chosen, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k, choose, chosen }
}

impl<B: SeqBackend> CrossAttentionOps for Probe<B> {
    inherit! { inner: B => Memory, memory, cross_attend }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::{Activation, HostTensor, quant, reference::Reference};

    const ROWS: usize = 3;
    const INPUT: usize = 5;

    fn wave(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * step) % 23) as f32 / 7.0 - 1.4).collect()
    }

    fn part(outputs: usize, step: usize) -> LinearPart {
        let weight = HostTensor::from_f32(vec![outputs, INPUT], &wave(outputs * INPUT, step));
        let bias = HostTensor::from_f32(vec![outputs], &wave(outputs, 3));
        LinearPart { weight: weight.unwrap(), bias: Some(bias.unwrap()), transposed: false }
    }

    /// y of x Wᵀ + b in int8, from the definition of the format.
    fn int8(x: &[f32], part: &LinearPart) -> Vec<f32> {
        let activations = |run: &[f32]| {
            let mut q = vec![0; run.len()];
            let affine = quant::row::quantise(run, &mut q);
            let q: Vec<i32> = q.into_iter().map(|q| i32::from(q) - affine.zero).collect();
            (q, f64::from(affine.scale))
        };
        let weights = |run: &[f32]| {
            let mut q = vec![0; run.len()];
            let scale = quant::channel::quantise(run, &mut q);
            (q, f64::from(scale))
        };
        let (w, b) = (part.weight.to_f32(), part.bias.as_ref().unwrap().to_f32());
        x.chunks(INPUT)
            .flat_map(|row| {
                let (x, r) = activations(row);
                w.chunks(INPUT).zip(&b).map(move |(w, &b)| {
                    let (w, c) = weights(w);
                    let sum: i32 = x.iter().zip(&w).map(|(&x, &w)| x * i32::from(w)).sum();
                    (f64::from(sum) * r * c + f64::from(b)) as f32
                })
            })
            .collect()
    }

    fn exact(x: &[f32], part: &LinearPart) -> Vec<f32> {
        let (w, b) = (part.weight.to_f32(), part.bias.as_ref().unwrap().to_f32());
        let dot = |x: &[f32], w: &[f32]| -> f64 {
            x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
        };
        x.chunks(INPUT)
            .flat_map(|x| w.chunks(INPUT).zip(&b).map(|(w, &b)| (dot(x, w) + f64::from(b)) as f32))
            .collect()
    }

    #[test]
    fn errors_are_those_of_a_direct_computation() {
        let recorder = Recorder::new(&[Format::F32, Format::Int8]);
        let probe = Probe::new(Reference, recorder.clone());
        // A gate, whose two matrices are to be told apart.
        let spec = LinearSpec { parts: vec![part(4, 5), part(4, 11)], gated: true, scale: 1.0 };
        let layer = probe.pack(&spec, Format::F32).unwrap();
        let batches = [wave(ROWS * INPUT, 7), wave(ROWS * INPUT, 13)];
        let run = |x: &[f32]| {
            let x = probe.upload(&HostTensor::from_f32(vec![ROWS, INPUT], x).unwrap()).unwrap();
            let epilogue = || Epilogue::activation(Activation::Gelu);
            let got = probe.linear(&x, &layer, epilogue()).unwrap();
            let plain = Reference.pack(&spec, Format::F32).unwrap();
            assert_eq!(got, Reference.linear(&x, &plain, epilogue()).unwrap());
        };
        run(&wave(ROWS * INPUT, 3)); // before recording begins: not counted
        recorder.recording(|| batches.iter().for_each(|x| run(x)));
        run(&wave(ROWS * INPUT, 5));
        let layers = recorder.layers();
        assert_eq!((layers.len(), layers[0].len()), (1, 2));
        for (part, found) in spec.parts.iter().zip(&layers[0]) {
            let (mut off, mut all) = (0.0, 0.0);
            for x in &batches {
                for (y, q) in exact(x, part).into_iter().zip(int8(x, part)) {
                    off += (f64::from(q) - f64::from(y)).powi(2);
                    all += f64::from(y).powi(2);
                }
            }
            let expected = (off / all).sqrt();
            assert!(expected > 1e-4);
            assert_eq!(found[0].relative(), 0.0);
            assert!((found[1].relative() / expected - 1.0).abs() < 1e-9, "{found:?} {expected}");
            assert_eq!(found[1].values, 2 * ROWS * 4);
        }
    }
}

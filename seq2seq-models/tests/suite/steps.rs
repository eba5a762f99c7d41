//! Decoding asks for each step of one id a hypothesis as a whole ([`Backend::step`]), which a device may replay.

use crate::support::fixture;
use seq2seq_core::{
    Backend, ConvolutionOps, CrossAttentionOps, DecoderOps, EncoderOps, Epilogue, Error,
    RecurrentOps, Result, inherit, reference::Reference,
};
use seq2seq_models::{Files, LoadOptions, Model, Prompt, generate::GenerationConfig};
use std::sync::{Arc, Mutex};

/// Steps, and linear layers that were asked for outside of any, before the first and behind it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    steps: usize,
    inside: bool,
    before: usize,
    behind: usize,
}

/// Computes as the reference, and looks at what is a step.
#[derive(Clone)]
struct Watching {
    inner: Reference,
    seen: Arc<Mutex<Seen>>,
}

impl Backend for Watching {
    inherit! { inner: Reference =>
        Tensor, Linear, Norm, Embedding,
        describe, formats, device_memory, upload, download, pack, embedding, embed, norm_weights, norm, gather_rows, pool, dropout,
        observe
    }

    fn linear(
        &self,
        x: &Self::Tensor,
        layer: &Self::Linear,
        epilogue: Epilogue<'_, Self::Tensor>,
    ) -> Result<Self::Tensor> {
        let mut seen = self.seen.lock().unwrap();
        match *seen {
            Seen { inside: true, .. } => {}
            Seen { steps: 0, .. } => seen.before += 1,
            _ => seen.behind += 1,
        }
        self.inner.linear(x, layer, epilogue)
    }

    fn step<T, E: From<Error>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let inside = |inside| {
            let mut seen = self.seen.lock().unwrap();
            seen.inside = inside;
            seen.steps += usize::from(inside);
        };
        inside(true);
        let done = self.inner.step(work);
        inside(false);
        done
    }
}

impl EncoderOps for Watching {
    inherit! { inner: Reference => RelativeBias, relative_bias, attend }
}

impl DecoderOps for Watching {
    inherit! { inner: Reference => KvCache, Chosen, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k, choose, chosen }
}

impl CrossAttentionOps for Watching {
    inherit! { inner: Reference => Memory, memory, cross_attend }
}

impl ConvolutionOps for Watching {
    inherit! { inner: Reference => windows }
}

impl RecurrentOps for Watching {
    inherit! { inner: Reference =>
        Recurrent, Additive, AdditiveMemory,
        recurrent, recur, columns, stack_rows, additive, additive_memory, additive_attend
    }
}

#[test]
fn each_id_is_one_step() {
    const IDS: usize = 6;
    // The prompt of a decoder is no step: it gives the first id.
    for (name, prompt) in [("t5_v1_0", 0), ("rnn_lstm_bahdanau", 0), ("gpt2", 1)] {
        let backend = Watching { inner: Reference, seen: Arc::default() };
        let files = Files::folder(fixture(name).folder).unwrap();
        let model = Model::load_on(files, backend.clone(), &LoadOptions::default()).unwrap();
        let config = GenerationConfig {
            num_beams: Some(2),
            min_new_tokens: Some(IDS),
            max_new_tokens: Some(IDS),
            ..GenerationConfig::default()
        };
        *backend.seen.lock().unwrap() = Seen::default();
        let prompts = [Prompt::new(vec![5, 6, 7]), Prompt::new(vec![8, 9])];
        model.generate(&prompts, &config, &mut ()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let Seen { steps, inside, before, behind } = *backend.seen.lock().unwrap();
        assert_eq!((steps, inside, behind), (IDS - prompt, false, 0), "{name}");
        assert!(before > 0, "{name}: what is read is no step");
    }
}

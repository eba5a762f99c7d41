//! Settings that make no sense, each refused with what to do.

use super::{ConfigLayers, Context, GenerationConfig, Origin};
use crate::{Error, Result};

/// Checks the settings of all layers for a model of `context`.
pub(super) fn check(layers: &ConfigLayers, context: &Context<'_>) -> Result<()> {
    let config = layers.config();
    let checker = Checker { layers };
    checker.lengths(&config)?;
    checker.beams(&config, context.vocab)?;
    checker.penalties(&config)?;
    if config.do_sample == Some(true) {
        checker.sampling(&config)?;
    }
    checker.token_ids(&config, context.vocab)?;
    checker.stopping(&config)
}

struct Checker<'a> {
    layers: &'a ConfigLayers,
}

impl Checker<'_> {
    fn refuse<T>(&self, field: &str, value: impl std::fmt::Display, why: &str) -> Result<T> {
        let origin = self.layers.origin(field);
        Err(Error::Input(format!("{field} = {value} ({origin}): {why}")))
    }

    /// `value` unless absent must lie in `allowed`, once it is the f32 that scores are computed with: 1e-300 is 0 there, and
    /// 1e300 infinite.
    fn within(
        &self,
        field: &str,
        value: Option<f64>,
        allowed: impl Fn(f32) -> bool,
        why: &str,
    ) -> Result<()> {
        match value {
            Some(v) if !allowed(v as f32) => self.refuse(field, short(v), why),
            _ => Ok(()),
        }
    }

    fn lengths(&self, c: &GenerationConfig) -> Result<()> {
        if c.max_new_tokens == Some(0) {
            return self.refuse("max_new_tokens", 0, "must be at least 1");
        }
        if let Some(seconds) = c.max_time
            && !(seconds > 0.0 && seconds < 1e9)
        {
            return self.refuse("max_time", seconds, "must be seconds above 0");
        }
        // Limits from different places may well cross: transformers then obeys the maximum, and so do we.
        for (min_field, min, max_field, max) in [
            ("min_new_tokens", c.min_new_tokens, "max_new_tokens", c.max_new_tokens),
            ("min_length", c.min_length, "max_length", c.max_length),
        ] {
            let by_caller = |field| self.layers.origin(field) == Origin::Caller;
            if let (Some(min), Some(max)) = (min, max)
                && min > max
                && by_caller(min_field)
                && by_caller(max_field)
            {
                return self.refuse(min_field, min, &format!("is more than {max_field} = {max}"));
            }
        }
        Ok(())
    }

    fn beams(&self, c: &GenerationConfig, vocab: usize) -> Result<()> {
        let beams = c.num_beams.unwrap_or(1);
        let returned = c.num_return_sequences.unwrap_or(1);
        if beams == 0 {
            return self.refuse("num_beams", 0, "must be at least 1 (1 is greedy search)");
        }
        if returned == 0 {
            return self.refuse("num_return_sequences", 0, "must be at least 1");
        }
        if beams > 1 && returned > beams {
            let why = format!("beam search returns at most num_beams = {beams} sequences");
            return self.refuse("num_return_sequences", returned, &why);
        }
        if beams == 1 && returned > 1 && c.do_sample != Some(true) {
            let why = "greedy search finds one sequence; raise num_beams or set do_sample";
            return self.refuse("num_return_sequences", returned, why);
        }
        let eos = c.eos_token_id.as_ref().map_or(0, |ids| ids.0.len());
        if beams > 1 && (1 + eos).max(2) > vocab {
            let why =
                format!("a vocabulary of {vocab} is too small for beam search with {eos} EOS ids");
            return self.refuse("num_beams", beams, &why);
        }
        // Lengths to this power divide the scores; that of two ids is the first that it changes.
        let divides = |v: f32| (2f32.powf(v)).is_normal();
        let why = "f32 does not hold a length of 2 to this power";
        self.within("length_penalty", c.length_penalty, divides, why)
    }

    fn penalties(&self, c: &GenerationConfig) -> Result<()> {
        let why = "must be above 0 (1 changes nothing) and finite in f32";
        self.within("repetition_penalty", c.repetition_penalty, above_0, why)?;
        // Its inverse is what scores are multiplied by.
        let both = |v: f32| above_0(v) && above_0(v.recip());
        self.within("encoder_repetition_penalty", c.encoder_repetition_penalty, both, why)?;
        if let Some((start, factor)) = c.exponential_decay_length_penalty {
            let field = "exponential_decay_length_penalty";
            let why = "the factor must be above 0 and finite in f32";
            self.within(field, Some(factor), above_0, why)?;
            if c.eos_token_id.as_ref().is_none_or(|ids| ids.0.is_empty()) {
                return self.refuse(field, start, "needs an eos_token_id to favour");
            }
        }
        c.sequence_bias.iter().flatten().try_for_each(|(_, bias)| {
            self.within("sequence_bias", Some(*bias), f32::is_finite, "must be finite in f32")
        })
    }

    fn sampling(&self, c: &GenerationConfig) -> Result<()> {
        let why = "must be above 0 and finite in f32; for the most likely text leave do_sample out";
        self.within("temperature", c.temperature, above_0, why)?;
        let share = |v: f32| (0.0..=1.0).contains(&v);
        self.within("top_p", c.top_p, share, "must lie between 0 and 1 (1 keeps all)")?;
        self.within("min_p", c.min_p, share, "must lie between 0 and 1 (0 keeps all)")?;
        let typical = |v: f32| v > 0.0 && v <= 1.0;
        self.within("typical_p", c.typical_p, typical, "must lie above 0 and up to 1")?;
        let cutoff = |v: f32| (0.0..1.0).contains(&v);
        let why = "must be at least 0 (which keeps all) and below 1";
        self.within("epsilon_cutoff", c.epsilon_cutoff, cutoff, why)?;
        self.within("eta_cutoff", c.eta_cutoff, cutoff, why)
    }

    /// Ids that are made to come must exist. Ids that are only kept from coming may lie outside, as in transformers.
    fn token_ids(&self, c: &GenerationConfig, vocab: usize) -> Result<()> {
        let forced_eos = c.forced_eos_token_id.as_ref().map_or(&[][..], |ids| &ids.0[..]);
        let words = c.bad_words_ids.iter().flatten().flatten();
        let biased = c.sequence_bias.iter().flatten().flat_map(|(ids, _)| ids);
        for (field, id) in (c.forced_bos_token_id.iter().map(|id| ("forced_bos_token_id", id)))
            .chain(forced_eos.iter().map(|id| ("forced_eos_token_id", id)))
            .chain(words.map(|id| ("bad_words_ids", id)))
            .chain(biased.map(|id| ("sequence_bias", id)))
        {
            if *id as usize >= vocab {
                let why = format!("the vocabulary ends at {}", vocab.saturating_sub(1));
                return self.refuse(field, id, &why);
            }
        }
        let suppressed = c.suppress_tokens.as_deref().unwrap_or(&[]);
        for (field, forced) in [
            ("forced_bos_token_id", c.forced_bos_token_id.as_slice()),
            ("forced_eos_token_id", forced_eos),
        ] {
            if !forced.is_empty() && forced.iter().all(|id| suppressed.contains(id)) {
                let why = "suppress_tokens leaves none of these; take them out of one of the two";
                return self.refuse(field, format!("{forced:?}"), why);
            }
        }
        Ok(())
    }

    fn stopping(&self, c: &GenerationConfig) -> Result<()> {
        match c.stop_strings.iter().flatten().any(String::is_empty) {
            true => self.refuse("stop_strings", "\"\"", "an empty string would end every text"),
            false => Ok(()),
        }
    }
}

fn above_0(v: f32) -> bool {
    v > 0.0 && v.is_finite()
}

/// A number without hundreds of zeros.
fn short(v: f64) -> String {
    match v.abs() {
        0.0 | 1e-6..1e9 => v.to_string(),
        _ => format!("{v:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn error(value: Value) -> String {
        error_over(&json!({}), &value)
    }

    /// What is wrong with the caller's settings over a file's.
    fn error_over(file: &Value, caller: &Value) -> String {
        let layers = ConfigLayers::from_json(&Default::default(), file.as_object()).unwrap();
        let layers = layers.with_fields(caller).unwrap();
        let context = Context {
            encoder_decoder: true,
            vocab: 10,
            max_position_embeddings: None,
            token_bytes: None,
        };
        check(&layers, &context).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (value, says) in [
            (json!({"num_beams": 0}), "num_beams = 0 (options): must be at least 1"),
            (json!({"num_return_sequences": 0}), "at least 1"),
            (json!({"num_beams": 2, "num_return_sequences": 3}), "at most num_beams = 2"),
            (json!({"num_return_sequences": 2}), "raise num_beams or set do_sample"),
            (json!({"num_beams": 2, "eos_token_id": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}), "too small"),
            (json!({"max_new_tokens": 0}), "at least 1"),
            (json!({"max_new_tokens": 3, "min_new_tokens": 4}), "more than max_new_tokens = 3"),
            (json!({"max_length": 3, "min_length": 4}), "more than max_length = 3"),
            (
                json!({"do_sample": true, "temperature": 0}),
                "temperature = 0 (options): must be above 0",
            ),
            (json!({"do_sample": true, "top_p": 1.5}), "top_p"),
            (json!({"do_sample": true, "min_p": -0.1}), "min_p"),
            (json!({"do_sample": true, "typical_p": 0.0}), "typical_p"),
            (json!({"do_sample": true, "epsilon_cutoff": 1.0}), "epsilon_cutoff"),
            (json!({"do_sample": true, "eta_cutoff": -1.0}), "eta_cutoff"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
            (json!({"encoder_repetition_penalty": -2}), "encoder_repetition_penalty"),
            (json!({"forced_bos_token_id": 10}), "the vocabulary ends at 9"),
            (json!({"forced_eos_token_id": [10]}), "the vocabulary ends at 9"),
            (json!({"forced_eos_token_id": [1, 2], "suppress_tokens": [2, 1]}), "none of these"),
            (json!({"bad_words_ids": [[1], [2, 30]]}), "bad_words_ids = 30"),
            (json!({"sequence_bias": [[[1, 99], 2.0]]}), "sequence_bias = 99"),
            (
                json!({"forced_bos_token_id": 3, "suppress_tokens": [3]}),
                "suppress_tokens leaves none",
            ),
            (json!({"exponential_decay_length_penalty": [2, 1.1]}), "needs an eos_token_id"),
            (json!({"stop_strings": ["a", ""]}), "empty"),
            (json!({"max_time": -1.0}), "max_time"),
            // What f64 holds and f32 does not.
            (json!({"do_sample": true, "temperature": 1e-300}), "temperature = 1e-300 (options)"),
            (json!({"do_sample": true, "temperature": 1e300}), "temperature = 1e300"),
            (json!({"do_sample": true, "typical_p": 1e-60}), "typical_p = 1e-60"),
            (json!({"do_sample": true, "epsilon_cutoff": 0.999_999_999_9}), "epsilon_cutoff"),
            (json!({"repetition_penalty": 1e300}), "repetition_penalty = 1e300"),
            (json!({"repetition_penalty": 1e-300}), "repetition_penalty = 1e-300"),
            (json!({"encoder_repetition_penalty": 1e39}), "encoder_repetition_penalty = 1e39"),
            (json!({"encoder_repetition_penalty": 1e-40}), "encoder_repetition_penalty = 1e-40"),
            (json!({"length_penalty": -1e300}), "length_penalty = -1e300"),
            (json!({"length_penalty": 1000.0}), "length_penalty = 1000 (options)"),
            (json!({"sequence_bias": [[[5], 1.0], [[6], -1e300]]}), "sequence_bias = -1e300"),
            (
                json!({"exponential_decay_length_penalty": [2, 1e300], "eos_token_id": 1}),
                "exponential_decay_length_penalty = 1e300",
            ),
        ] {
            let e = error(value.clone());
            assert!(e.contains(says), "{value}: {e}");
        }
    }

    /// bart-large-cnn says min_length 56: asking it for 20 tokens is no mistake.
    #[test]
    fn lengths_of_a_file_may_cross_those_of_the_caller() {
        for (file, caller) in [
            (json!({"min_length": 56}), json!({"max_length": 20})),
            (json!({"max_length": 20}), json!({"min_length": 56})),
            (json!({"min_new_tokens": 9, "max_new_tokens": 8}), json!({})),
        ] {
            assert_eq!(error_over(&file, &caller), "", "{file} {caller}");
        }
    }

    #[test]
    fn harmless_settings_pass() {
        for value in [
            json!({}),
            json!({"num_beams": 4, "num_return_sequences": 4}),
            json!({"temperature": 0.0, "top_p": 3.0}),
            json!({"do_sample": true, "num_return_sequences": 7, "top_p": 0.0}),
            json!({"suppress_tokens": [50], "eos_token_id": [2, 60]}),
            json!({"min_length": 50}),
            json!({"num_beams": 2, "length_penalty": -5.0, "sequence_bias": [[[5], -1e30]]}),
            json!({"do_sample": true, "min_p": 1e-60, "top_p": 0.999_999_999_9}),
            json!({"bad_words_ids": [], "sequence_bias": []}),
            json!({"forced_eos_token_id": [1, 2], "suppress_tokens": [2]}),
        ] {
            assert_eq!(error(value.clone()), "", "{value}");
        }
    }
}

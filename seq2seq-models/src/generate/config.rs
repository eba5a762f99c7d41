//! What decoding is asked to do: the fields of transformers' `GenerationConfig`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The settings of a generation, named and meant as in transformers' `GenerationConfig` (5.x).
///
/// A field that is `None` leaves the matter to the layer below: the caller's settings lie over those of the model's
/// files, and these over [`GenerationConfig::defaults`]; see [`ConfigLayers`](super::ConfigLayers).
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Prompt, generate::{EarlyStopping, GenerationConfig}};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let prompts = [Prompt::new([14, 15, 9, 1]), Prompt::new([8, 1])];
///
/// let beams = GenerationConfig {
///     num_beams: Some(4),
///     num_return_sequences: Some(2),
///     no_repeat_ngram_size: Some(3),
///     ..GenerationConfig::default()
/// };
/// let sequences = model.generate(&prompts, &beams, &mut ())?;
/// assert!(sequences.iter().all(|row| row.len() == 2 && row[0].score >= row[1].score));
///
/// let sampled = GenerationConfig {
///     do_sample: Some(true),
///     top_p: Some(0.9),
///     temperature: Some(0.7),
///     seed: Some(1), // the same draws every time
///     ..GenerationConfig::default()
/// };
/// assert_eq!(model.generate(&prompts, &sampled, &mut ())?, model.generate(&prompts, &sampled, &mut ())?);
///
/// // What a request of a service asks for, as the fields of transformers.
/// let asked: GenerationConfig = serde_json::from_str(r#"{"num_beams": 4, "early_stopping": "never"}"#)?;
/// assert_eq!(asked.early_stopping, Some(EarlyStopping::Never));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationConfig {
    /// The most ids of a sequence, prompt included. Unset, 20 new ids are generated. The caller's goes before a file's
    /// `max_new_tokens`.
    pub max_length: Option<usize>,
    /// The most new ids; takes precedence over a `max_length` from the same place.
    pub max_new_tokens: Option<usize>,
    /// EOS is banned while a sequence, prompt included, is shorter. The caller's goes before a file's `min_new_tokens`.
    pub min_length: Option<usize>,
    /// EOS is banned while fewer new ids have come; takes precedence over a `min_length` from the same place.
    pub min_new_tokens: Option<usize>,
    /// When beam search stops looking for better hypotheses.
    pub early_stopping: Option<EarlyStopping>,
    /// Seconds after which the sequences are ended where they are.
    pub max_time: Option<f64>,
    /// A sequence ends once its text contains one of them.
    #[serde(deserialize_with = "one_or_many")]
    pub stop_strings: Option<Vec<String>>,

    /// Draw at random rather than take the best; with more than one beam, beam sampling.
    pub do_sample: Option<bool>,
    /// Hypotheses that beam search keeps; 1 for no beam search.
    pub num_beams: Option<usize>,
    /// Sequences returned for each input.
    pub num_return_sequences: Option<usize>,
    /// Makes sampling repeatable. Not a field of transformers, which has a global generator.
    pub seed: Option<u64>,

    /// Divides the scores before sampling.
    pub temperature: Option<f64>,
    /// Sample from the k best ids; 0 for all.
    pub top_k: Option<usize>,
    /// Sample from the smallest set of best ids with this probability (Holtzman et al. 2020).
    pub top_p: Option<f64>,
    /// Sample from ids with at least this share of the best one's probability.
    pub min_p: Option<f64>,
    /// Sample from the ids of the most typical information, of this mass (Meister et al. 2023).
    pub typical_p: Option<f64>,
    /// Sample from ids of at least this probability (Hewitt et al. 2022).
    pub epsilon_cutoff: Option<f64>,
    /// Sample from ids above a cutoff that falls with the entropy (Hewitt et al. 2022).
    pub eta_cutoff: Option<f64>,

    /// Above 1 discourages ids that the sequence or its prompt holds (Keskar et al. 2019).
    pub repetition_penalty: Option<f64>,
    /// Above 1 encourages ids of the encoder's input.
    pub encoder_repetition_penalty: Option<f64>,
    /// Beam search divides the score by length to this power: above 0 favours long sequences.
    pub length_penalty: Option<f64>,
    /// No run of so many ids occurs twice; 0 for no such rule.
    pub no_repeat_ngram_size: Option<usize>,
    /// No run of so many ids of the encoder's input occurs; 0 for no such rule.
    pub encoder_no_repeat_ngram_size: Option<usize>,
    /// Sequences of ids that must not come about; an empty list lifts those of the model's files, which is an error in transformers.
    pub bad_words_ids: Option<Vec<Vec<u32>>>,
    /// `[[ids, bias], …]`: added to the score of the id that would complete `ids`. An empty list lifts those of the model's files.
    pub sequence_bias: Option<Vec<(Vec<u32>, f64)>>,
    /// Beam search normalises the scores again once the rules have changed them.
    pub renormalize_logits: Option<bool>,
    /// The first id after a decoder start of one id.
    pub forced_bos_token_id: Option<u32>,
    /// The last id when the maximum length is reached.
    pub forced_eos_token_id: Option<TokenIds>,
    /// `(start, factor)`: from `start` new ids on, EOS gains more and more.
    pub exponential_decay_length_penalty: Option<(usize, f64)>,
    /// Ids that never come.
    pub suppress_tokens: Option<Vec<u32>>,
    /// Ids that do not come first.
    pub begin_suppress_tokens: Option<Vec<u32>>,

    /// What fills a batch in transformers. Nothing is filled here.
    #[serde(deserialize_with = "id_or_unset")]
    pub pad_token_id: Option<u32>,
    /// What an empty prompt of a decoder-only model becomes; the decoder's start where it has no other.
    #[serde(deserialize_with = "id_or_unset")]
    pub bos_token_id: Option<u32>,
    /// Ids that end a sequence.
    pub eos_token_id: Option<TokenIds>,
    /// What the decoder of an encoder-decoder begins with.
    #[serde(deserialize_with = "id_or_unset")]
    pub decoder_start_token_id: Option<u32>,
}

impl GenerationConfig {
    /// What holds where neither the model's files nor the caller say anything.
    pub fn defaults() -> Self {
        Self {
            max_length: Some(20),
            min_length: Some(0),
            early_stopping: Some(EarlyStopping::No),
            do_sample: Some(false),
            num_beams: Some(1),
            num_return_sequences: Some(1),
            temperature: Some(1.0),
            top_k: Some(50),
            top_p: Some(1.0),
            typical_p: Some(1.0),
            epsilon_cutoff: Some(0.0),
            eta_cutoff: Some(0.0),
            repetition_penalty: Some(1.0),
            encoder_repetition_penalty: Some(1.0),
            length_penalty: Some(1.0),
            no_repeat_ngram_size: Some(0),
            encoder_no_repeat_ngram_size: Some(0),
            ..Self::default()
        }
    }

    /// Every number with a fraction, and the field that it is in.
    fn numbers(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let single = [
            ("max_time", self.max_time),
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("typical_p", self.typical_p),
            ("epsilon_cutoff", self.epsilon_cutoff),
            ("eta_cutoff", self.eta_cutoff),
            ("repetition_penalty", self.repetition_penalty),
            ("encoder_repetition_penalty", self.encoder_repetition_penalty),
            ("length_penalty", self.length_penalty),
        ];
        let decay = self.exponential_decay_length_penalty;
        let decay = decay.map(|(_, factor)| ("exponential_decay_length_penalty", factor));
        let biases = self.sequence_bias.iter().flatten().map(|(_, bias)| ("sequence_bias", *bias));
        let single = single.into_iter().filter_map(|(field, number)| Some((field, number?)));
        single.chain(decay).chain(biases)
    }

    /// Fails, naming the field, where a number is NaN or infinite. Settings are laid over each other as JSON, which has no such
    /// numbers: they would be taken for fields that are not set.
    pub(super) fn check_finite(&self) -> Result<(), String> {
        match self.numbers().find(|(_, number)| !number.is_finite()) {
            None => Ok(()),
            Some((field, number)) => Err(format!("{field} = {number}: must be finite")),
        }
    }
}

/// When beam search stops looking for better hypotheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EarlyStopping {
    /// When the best running hypothesis, at its present length, is no better than the worst finished one.
    #[default]
    No,
    /// As soon as `num_beams` hypotheses have finished.
    Yes,
    /// When no running hypothesis can become better, whatever follows.
    Never,
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => s.serialize_bool(false),
            Self::Yes => s.serialize_bool(true),
            Self::Never => s.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Flag(bool),
            Word(String),
        }
        match Form::deserialize(d) {
            Ok(Form::Flag(false)) => Ok(Self::No),
            Ok(Form::Flag(true)) => Ok(Self::Yes),
            Ok(Form::Word(w)) if w == "never" => Ok(Self::Never),
            _ => Err(D::Error::custom("expected true, false or \"never\"")),
        }
    }
}

/// One id or several; written as a number or a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenIds(pub Vec<u32>);

impl From<u32> for TokenIds {
    fn from(id: u32) -> Self {
        Self(vec![id])
    }
}

impl Serialize for TokenIds {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0[..] {
            [id] => id.serialize(s),
            _ => self.0.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for TokenIds {
    /// Ids below 0 never occur and are left out.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let ids = match OneOrMany::<i64>::deserialize(d) {
            Ok(OneOrMany::One(id)) => vec![id],
            Ok(OneOrMany::Many(ids)) => ids,
            Err(_) => return Err(D::Error::custom("expected a token id or a list of token ids")),
        };
        ids.into_iter()
            .filter(|&id| id >= 0)
            .map(|id| u32::try_from(id).map_err(|_| D::Error::custom(format!("token id {id}"))))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A string or a list of strings.
fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(match Option::<OneOrMany<String>>::deserialize(d) {
        Ok(None) => None,
        Ok(Some(OneOrMany::One(s))) => Some(vec![s]),
        Ok(Some(OneOrMany::Many(s))) => Some(s),
        Err(_) => return Err(D::Error::custom("expected a string or a list of strings")),
    })
}

/// Many published files write -1 for a token that the model does not have.
fn id_or_unset<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    match Option::<i64>::deserialize(d)? {
        None | Some(..0) => Ok(None),
        Some(id) => u32::try_from(id).map(Some).map_err(|_| D::Error::custom("token id too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn every_number_must_be_finite() {
        let all = GenerationConfig {
            max_time: Some(1.0),
            min_p: Some(0.5),
            exponential_decay_length_penalty: Some((3, 1.5)),
            sequence_bias: Some(vec![(vec![5], 0.5), (vec![6], f64::NEG_INFINITY)]),
            ..GenerationConfig::defaults()
        };
        let json = serde_json::to_value(&all).unwrap();
        let fields = json.as_object().unwrap().iter();
        let fraction = |v: &serde_json::Value| v.is_f64() || v.is_array();
        let expected: BTreeSet<&str> =
            fields.filter(|(_, v)| fraction(v)).map(|(name, _)| name.as_str()).collect();
        let checked: BTreeSet<&str> = all.numbers().map(|(name, _)| name).collect();
        assert_eq!(checked, expected);
        assert!(all.check_finite().unwrap_err().starts_with("sequence_bias = -inf"));
        GenerationConfig::defaults().check_finite().unwrap();
        let nan = GenerationConfig { temperature: Some(f64::NAN), ..Default::default() };
        assert!(nan.check_finite().unwrap_err().starts_with("temperature = NaN"));
    }

    fn parse(value: serde_json::Value) -> Result<GenerationConfig, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn reads_every_form_that_files_use() {
        let c = parse(json!({
            "early_stopping": "never", "eos_token_id": 2, "forced_eos_token_id": [2, 3], "pad_token_id": -1,
            "stop_strings": "stop", "sequence_bias": [[[1, 2], -4.0], [[3], 1]], "temperature": 1,
            "exponential_decay_length_penalty": [3, 1.25], "bad_words_ids": [[5], [9, 11]], "unknown": {},
        }))
        .unwrap();
        assert_eq!(c.early_stopping, Some(EarlyStopping::Never));
        assert_eq!(c.eos_token_id, Some(2.into()));
        assert_eq!(c.forced_eos_token_id, Some(TokenIds(vec![2, 3])));
        assert_eq!(c.pad_token_id, None);
        assert_eq!(c.stop_strings, Some(vec!["stop".to_string()]));
        assert_eq!(c.sequence_bias, Some(vec![(vec![1, 2], -4.0), (vec![3], 1.0)]));
        assert_eq!(c.exponential_decay_length_penalty, Some((3, 1.25)));
        assert_eq!(
            parse(json!({"early_stopping": true})).unwrap().early_stopping,
            Some(EarlyStopping::Yes)
        );
    }

    #[test]
    fn survives_a_round_trip() {
        let c = GenerationConfig {
            eos_token_id: Some(TokenIds(vec![1, 7])),
            early_stopping: Some(EarlyStopping::Never),
            ..GenerationConfig::defaults()
        };
        assert_eq!(parse(serde_json::to_value(&c).unwrap()).unwrap(), c);
    }

    #[test]
    fn refuses_other_types() {
        for bad in [
            json!({"early_stopping": "always"}),
            json!({"num_beams": -1}),
            json!({"num_beams": "four"}),
            json!({"eos_token_id": "</s>"}),
            json!({"eos_token_id": 4294967296u64}),
            json!({"stop_strings": 3}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}

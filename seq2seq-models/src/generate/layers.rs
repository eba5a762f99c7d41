//! Which setting comes from where: defaults, the model's files, the caller.

use super::{GenerationConfig, unsupported};
use crate::{Error, Files, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
};

const LEGACY_FORCE_BOS: &str = "force_bos_token_to_be_generated";

/// Where a setting was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// Nowhere: what holds for every model.
    Default,
    /// The model's `config.json`, which older checkpoints keep their decoding in.
    ModelConfig,
    /// The model's `generation_config.json`.
    GenerationConfig,
    /// The caller.
    Caller,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::ModelConfig => "config.json",
            Self::GenerationConfig => "generation_config.json",
            Self::Caller => "options",
        })
    }
}

/// Settings laid over each other, each remembering where it came from.
///
/// As in transformers, `config.json` counts only where there is no `generation_config.json`.
#[derive(Debug, Clone)]
pub struct ConfigLayers {
    /// Known and unknown fields by name, nulls left out.
    merged: BTreeMap<String, (Value, Origin)>,
    notices: Vec<String>,
}

impl Default for ConfigLayers {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigLayers {
    /// The defaults alone.
    pub fn new() -> Self {
        let mut this = Self { merged: BTreeMap::new(), notices: Vec::new() };
        this.set(&fields_of(&GenerationConfig::defaults()), Origin::Default);
        this
    }

    /// The defaults under what a model's folder says, where it says anything.
    ///
    /// # Errors
    /// Files that are no JSON objects, and known fields of a wrong type, naming file and field.
    pub fn from_files(files: &Files) -> Result<Self> {
        let model_config: Option<Map<String, Value>> = files.json("config.json")?;
        let generation_config: Option<Map<String, Value>> = files.json("generation_config.json")?;
        Self::from_json(&model_config.unwrap_or_default(), generation_config.as_ref())
    }

    pub(super) fn from_json(
        model_config: &Map<String, Value>,
        generation_config: Option<&Map<String, Value>>,
    ) -> Result<Self> {
        let mut this = Self::new();
        match generation_config {
            Some(json) => {
                check(json, Origin::GenerationConfig)?;
                this.report_unknown(json, Origin::GenerationConfig);
                this.report_unread(json, model_config);
                this.set(json, Origin::GenerationConfig);
            }
            None => {
                let json = legacy_fields(model_config);
                check(&json, Origin::ModelConfig)?;
                this.set(&json, Origin::ModelConfig);
            }
        }
        this.apply_legacy_force_bos();
        Ok(this)
    }

    /// These layers under the caller's settings by name, such as a struct or a map that was read from JSON; null leaves a
    /// field to the layers below, and so does a number that JSON has not, NaN or infinite. Unknown fields are among the
    /// [`notices`](Self::notices).
    ///
    /// ```
    /// use seq2seq_models::generate::{ConfigLayers, Origin};
    /// use std::collections::BTreeMap;
    ///
    /// let layers = ConfigLayers::new().with_fields(&BTreeMap::from([("num_beams", 4), ("num_beems", 4)]))?;
    /// assert_eq!(layers.config().num_beams, Some(4));
    /// assert_eq!(layers.origin("num_beams"), Origin::Caller);
    /// assert_eq!(layers.notices(), ["options: unknown field 'num_beems' is ignored"]);
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// What is written as JSON otherwise than as an object, and a known field of a wrong type, by its name.
    pub fn with_fields(&self, fields: &impl Serialize) -> Result<Self> {
        let fields = serde_json::to_value(fields)
            .map_err(|e| Error::Input(format!("{}: {e}", Origin::Caller)))?;
        let Value::Object(fields) = fields else {
            return Err(Error::Input(format!("{}: {fields} has no fields", Origin::Caller)));
        };
        let mut this = self.clone();
        check(&fields, Origin::Caller)?;
        this.report_unknown(&fields, Origin::Caller);
        this.set_by_caller(&fields);
        Ok(this)
    }

    /// These layers under the caller's settings.
    ///
    /// # Errors
    /// Numbers that are NaN or infinite.
    pub fn with(&self, config: &GenerationConfig) -> Result<Self> {
        config.check_finite().map_err(|e| Error::Input(format!("{}: {e}", Origin::Caller)))?;
        let mut this = self.clone();
        this.set_by_caller(&fields_of(config));
        Ok(this)
    }

    /// What all layers come to.
    pub fn config(&self) -> GenerationConfig {
        let json = self.merged.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
        // Each layer has been checked, so that this cannot fail.
        serde_json::from_value(Value::Object(json)).unwrap_or_default()
    }

    /// Where a field of [`GenerationConfig`] was set.
    pub fn origin(&self, field: &str) -> Origin {
        self.merged.get(field).map_or(Origin::Default, |(_, origin)| *origin)
    }

    /// Every field that is set: its name, value and origin, by name. A value is written as JSON.
    pub fn entries(&self) -> impl Iterator<Item = (&str, impl Display + Serialize, Origin)> {
        self.merged.iter().map(|(k, (v, origin))| (k.as_str(), v, *origin))
    }

    /// What is odd about the layers, for people: unknown fields, fields that transformers would not read, fields of the caller
    /// that others of theirs put out of force.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The value of a field that [`GenerationConfig`] may not know.
    pub(super) fn raw(&self, field: &str) -> Option<&Value> {
        self.merged.get(field).map(|(v, _)| v)
    }

    fn set(&mut self, json: &Map<String, Value>, origin: Origin) {
        let read = fields_read();
        for (name, value) in json.iter().filter(|(_, v)| !v.is_null()) {
            if read.contains(name) {
                self.merged.insert(name.clone(), (value.clone(), origin));
            }
        }
    }

    /// Sets fields of the caller, and notes which length of theirs goes before another (PARITY trap 80).
    fn set_by_caller(&mut self, json: &Map<String, Value>) {
        self.set(json, Origin::Caller);
        for (unused, used) in [("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")] {
            let both = [unused, used].iter().all(|field| self.origin(field) == Origin::Caller);
            let notice =
                format!("{}: '{unused}' is not used, since {used} is given, too", Origin::Caller);
            if both && !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
    }

    fn report_unknown(&mut self, json: &Map<String, Value>, origin: Origin) {
        let read = fields_read();
        for name in json.keys() {
            if !read.contains(name) && !unsupported::is_without_effect(name) {
                self.notices.push(format!("{origin}: unknown field '{name}' is ignored"));
            }
        }
    }

    /// Decoding fields of `config.json` that a `generation_config.json` puts out of force.
    fn report_unread(&mut self, json: &Map<String, Value>, model_config: &Map<String, Value>) {
        for (name, value) in legacy_fields(model_config) {
            if json.get(&name) != Some(&value) {
                self.notices.push(format!(
                    "config.json: '{name}' is not used, since generation_config.json exists"
                ));
            }
        }
    }

    /// The oldest BART checkpoints say in this way that `forced_bos_token_id` is BOS.
    fn apply_legacy_force_bos(&mut self) {
        let forced = self.raw(LEGACY_FORCE_BOS) == Some(&Value::Bool(true));
        if forced && let Some((bos, origin)) = self.merged.get("bos_token_id").cloned() {
            self.merged.insert("forced_bos_token_id".into(), (bos, origin));
        }
    }
}

/// The fields that are set.
fn fields_of(config: &GenerationConfig) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map.into_iter().filter(|(_, v)| !v.is_null()).collect(),
        _ => Map::new(),
    }
}

/// The names of all fields that are looked at.
fn fields_read() -> BTreeSet<String> {
    let known = match serde_json::to_value(GenerationConfig::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    known
        .into_iter()
        .map(|(name, _)| name)
        .chain(unsupported::names().chain([LEGACY_FORCE_BOS]).map(String::from))
        .collect()
}

/// The decoding fields of `config.json`; where it lacks one, that of its decoder.
fn legacy_fields(model_config: &Map<String, Value>) -> Map<String, Value> {
    let inner = ["decoder", "generator", "text_config"]
        .into_iter()
        .find_map(|name| model_config.get(name)?.as_object().filter(|o| !o.is_empty()));
    fields_read()
        .into_iter()
        .filter_map(|name| {
            let set = |map: &Map<String, Value>| map.get(&name).filter(|v| !v.is_null()).cloned();
            let value = set(model_config).or_else(|| inner.and_then(set))?;
            Some((name, value))
        })
        .collect()
}

/// Parses each known field on its own, so that an error can name it.
fn check(json: &Map<String, Value>, origin: Origin) -> Result<()> {
    for (name, value) in json {
        let one = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<GenerationConfig>(Value::Object(one))
            .map_err(|e| Error::Input(format!("{origin}: {name} = {value}: {e}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn later_layers_win_and_are_remembered() {
        let config = object(json!({"num_beams": 3, "d_model": 8}));
        let generation = object(json!({"num_beams": 4, "max_length": 50, "top_k": null}));
        let layers = ConfigLayers::from_json(&config, Some(&generation)).unwrap();
        let five = GenerationConfig { num_beams: Some(5), ..Default::default() };
        let layers = layers.with(&five).unwrap();
        let c = layers.config();
        assert_eq!((c.num_beams, c.max_length, c.top_k), (Some(5), Some(50), Some(50)));
        assert_eq!(layers.origin("num_beams"), Origin::Caller);
        assert_eq!(layers.origin("max_length"), Origin::GenerationConfig);
        assert_eq!(layers.origin("top_k"), Origin::Default);
        assert_eq!(layers.origin("seed"), Origin::Default);
        assert!(
            layers
                .entries()
                .any(|(k, v, o)| (k, &*v.to_string(), o) == ("num_beams", "5", Origin::Caller))
        );
    }

    /// What `from_pretrained` of transformers 5.23 does (ran it): with a `generation_config.json`, no field of
    /// `config.json` is read; without one, they all are, those of the decoder last.
    #[test]
    fn config_json_counts_only_alone() {
        let config = object(json!({
            "eos_token_id": 2, "num_beams": 3,
            "decoder": {"num_beams": 9, "no_repeat_ngram_size": 3},
        }));
        let alone = ConfigLayers::from_json(&config, None).unwrap();
        let c = alone.config();
        assert_eq!((c.num_beams, c.no_repeat_ngram_size), (Some(3), Some(3)));
        assert_eq!(alone.origin("num_beams"), Origin::ModelConfig);
        let generation = object(json!({"max_length": 7}));
        let both = ConfigLayers::from_json(&config, Some(&generation)).unwrap();
        assert_eq!((both.config().num_beams, both.config().eos_token_id), (Some(1), None));
        assert!(both.notices().iter().any(|n| n.contains("'eos_token_id' is not used")));
    }

    #[test]
    fn unknown_fields_are_reported_and_wrong_types_named() {
        let odd = object(json!({"num_beems": 4, "use_cache": true, "transformers_version": "4.1"}));
        let layers = ConfigLayers::from_json(&Map::new(), Some(&odd)).unwrap();
        assert_eq!(
            layers.notices(),
            ["generation_config.json: unknown field 'num_beems' is ignored"]
        );
        let wrong = object(json!({"num_beams": "four"}));
        let e = ConfigLayers::from_json(&Map::new(), Some(&wrong)).unwrap_err().to_string();
        assert!(e.starts_with("generation_config.json: num_beams = \"four\""), "{e}");
        assert!(
            ConfigLayers::new().with_fields(&wrong).unwrap_err().to_string().starts_with("options")
        );
    }

    #[test]
    fn the_oldest_barts_force_bos() {
        let config = object(json!({"bos_token_id": 0, "force_bos_token_to_be_generated": true}));
        let layers = ConfigLayers::from_json(&config, None).unwrap();
        assert_eq!(layers.config().forced_bos_token_id, Some(0));
    }
}

//! Settings from a file and from `key=value`.

use super::Settings;
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;
use toml::{Table, Value};

impl Settings {
    /// Reads a `config.toml` and lays `key=value` over it, the key with dots between the tables that it is in, the value as
    /// TOML has it or else as text.
    ///
    /// # Errors
    /// Where the file cannot be read or is no TOML, and for keys that do not exist, naming the nearest that does.
    pub fn from_toml(path: Option<&Path>, set: &[String]) -> Result<Self> {
        let mut table = match path {
            None => Table::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
                text.parse().map_err(|e: toml::de::Error| Error::file(path, e.to_string()))?
            }
        };
        for assignment in set {
            let (key, value) = assignment.split_once('=').ok_or_else(|| {
                Error::Input(format!("'{assignment}' sets nothing; write key=value"))
            })?;
            insert(&mut table, key.trim(), value.trim())?;
        }
        Self::from_table(table).map_err(|reason| match path {
            Some(path) if set.is_empty() => Error::file(path, reason),
            _ => Error::Input(reason),
        })
    }

    fn from_table(table: Table) -> Result<Self, String> {
        serde_path_to_error::deserialize(Value::Table(table))
            .map_err(|e| explain(&e.path().to_string(), e.inner().message()))
    }
}

fn insert(table: &mut Table, key: &str, value: &str) -> Result<()> {
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let value = parsed.and_then(|mut t| t.remove("value")).unwrap_or_else(|| value.into());
    let mut names = key.split('.');
    let Some(last) = names.next_back().filter(|name| !name.is_empty()) else {
        return Err(Error::Input(format!("'{key}' is no key")));
    };
    let mut inner = table;
    for name in names {
        let next = inner.entry(name).or_insert_with(|| Value::Table(Table::new()));
        inner = next
            .as_table_mut()
            .ok_or_else(|| Error::Input(format!("'{key}': '{name}' is no table of settings")))?;
    }
    inner.insert(last.into(), value);
    Ok(())
}

/// Says where, and of a name that does not exist which one is meant.
fn explain(path: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = ["unknown field", "unknown variant"].iter().any(|m| message.starts_with(m));
    let (true, Some(found)) = (is_unknown, quoted.next()) else {
        return format!("'{path}': {}", message.trim_end());
    };
    unknown(path, found, &quoted.collect::<Vec<_>>())
}

/// Says of a name that does not exist which one is meant.
pub(super) fn unknown(path: &str, found: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(found, name);
    let near = known.iter().min_by_key(distance).filter(|n| distance(n) <= 1 + found.len() / 3);
    let known = known.join(", ");
    match near {
        Some(near) => format!("'{path}': there is no '{found}'; '{near}' may be meant, of {known}"),
        None => format!("'{path}': there is no '{found}'; there is {known}"),
    }
}

/// One of something, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<OneOrMore<T>> for Vec<T> {
    fn from(values: OneOrMore<T>) -> Self {
        match values {
            OneOrMore::One(value) => vec![value],
            OneOrMore::More(values) => values,
        }
    }
}

/// One path or several.
pub(super) mod paths {
    use super::OneOrMore;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::PathBuf;

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], s: S) -> Result<S::Ok, S::Error> {
        paths.serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
        OneOrMore::deserialize(d).map(Vec::from)
    }
}

/// What has a name.
pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::{fmt::Display, str::FromStr};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// What has a name, one or several.
pub(super) mod texts {
    use super::OneOrMore;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::{fmt::Display, str::FromStr};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(values.iter().map(T::to_string))
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let names: Vec<String> = OneOrMore::deserialize(d)?.into();
        names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ObjectiveSettings, OptimiserKind};
    use super::*;

    fn read(text: &str, set: &[&str]) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let set: Vec<String> = set.iter().map(|&s| s.into()).collect();
        Settings::from_toml(Some(&path), &set)
    }

    #[test]
    fn a_file_and_assignments_over_it() {
        let text = r#"
            train = "rows.tsv"
            valid = ["a.tsv", "b.tsv"]
            family = "t5"
            [architecture]
            d_model = 64
            [optimiser]
            kind = "adafactor"
            [data.objective]
            kind = "spans"
            ratio = 0.3
            [[parameters]]
            names = ["*.relative_attention_bias.weight"]
            rate = 10
        "#;
        let settings = read(text, &["optimiser.rate=1e-3", "output=out", "seed = 7"]).unwrap();
        assert_eq!((settings.train.len(), settings.valid.len(), settings.seed), (1, 2, 7));
        assert_eq!(settings.optimiser.kind, OptimiserKind::Adafactor);
        assert_eq!(settings.optimiser.rate, Some(1e-3));
        assert_eq!(settings.groups[0].rate, 10.0);
        assert!(matches!(settings.data.objective, ObjectiveSettings::Spans(s) if s.ratio == 0.3));
        settings.check().unwrap();
        let again = toml::to_string(&settings).unwrap();
        assert_eq!(read(&again, &[]).unwrap(), settings);
    }

    #[test]
    fn one_metric_needs_no_list() {
        let metrics = |set: &str| read("", &[set]).map(|s| s.evaluation.metrics);
        let one = metrics("evaluation.metrics=bleu").unwrap();
        assert_eq!(one.iter().map(|m| m.name()).collect::<Vec<_>>(), ["bleu"]);
        assert_eq!(metrics("evaluation.metrics=['bleu']").unwrap(), one);
        let error = metrics("evaluation.metrics=blue").unwrap_err().to_string();
        assert!(error.contains("evaluation.metrics") && error.contains("bleu"), "{error}");
    }

    #[test]
    fn what_a_model_has_is_not_set() {
        let text = "train = 'a'\noutput = 'b'\nmodel = 'c'\n";
        read(text, &[]).unwrap().check().unwrap();
        for set in ["tokenizer.kind=bpe", "tokenizer.vocab_size=500", "tokenizer.folder=d"] {
            let error = read(text, &[set]).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("'tokenizer' is for a new model"), "{error}");
        }
    }

    #[test]
    fn what_does_not_exist_names_what_is_near() {
        let message = |text: &str, set: &[&str]| read(text, set).unwrap_err().to_string();
        let error = message("trian = 'x'", &[]);
        assert!(error.contains("config.toml") && error.contains("'train' may be meant"), "{error}");
        let error = message("", &["optimiser.rat=1"]);
        assert!(error.contains("'optimiser.rat'") && error.contains("'rate'"), "{error}");
        let error = message("[optimiser]\nkind = 'adam'", &[]);
        assert!(error.contains("'adamw' may be meant"), "{error}");
        let error = message("[evaluation]\nmetrics = ['blue']", &[]);
        assert!(error.contains("evaluation.metrics") && error.contains("bleu"), "{error}");
        assert!(message("steps = 'many'", &[]).contains("steps"));
        assert!(message("", &["steps"]).contains("key=value"));
        assert!(message("steps = 1", &["steps.x=1"]).contains("no table"));
        assert!(message("a = ", &[]).contains("config.toml"));
    }

    #[test]
    fn a_kind_alone_stands_for_its_table() {
        let word = [
            "schedule.decay=cosine",
            "sampling.decay=linear",
            "data.objective={kind='denoise', noise=['text_infilling', {kind='token_masking', ratio=0.5}]}",
        ];
        let table = [
            "schedule.decay={kind='cosine'}",
            "sampling.decay={kind='linear'}",
            "data.objective={kind='denoise', noise=[{kind='text_infilling'}, {kind='token_masking', ratio=0.5}]}",
        ];
        assert_eq!(read("", &word).unwrap(), read("", &table).unwrap());
        let vae = |annealing: &str| {
            read("", &["data.objective.kind=vae", &format!("data.objective.annealing={annealing}")])
        };
        assert_eq!(vae("constant").unwrap(), vae("{kind='constant'}").unwrap());
        let objective = |text: &str| read("", &[&format!("data.objective={text}")]).unwrap().data;
        assert_eq!(objective("spans"), objective("{kind='spans'}"));
        for (set, says) in [
            ("schedule.decay=cosin", &["'schedule.decay'", "'cosine' may be meant"][..]),
            ("data.objective=tags", &["'data.objective'", "'tag' may be meant"]),
            ("schedule.decay=5", &["'schedule.decay'", "a kind, or a table"]),
            ("sampling.decay=exponential", &["'sampling.decay'", "missing field `k`"]),
        ] {
            let error = read("", &[set]).unwrap_err().to_string();
            assert!(says.iter().all(|part| error.contains(part)), "{set}: {error}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let base = ["train=a.tsv", "output=o", "family=t5"];
        for (set, says) in [
            ("train=[]", "'train' is missing"),
            ("model=x", "both named"),
            ("steps=0", "must have steps"),
            ("minutes=-1.0", "must have steps"),
            ("optimiser.accumulate=0", "'optimiser.accumulate' is 0"),
            ("optimiser.betas=[0.9, 1.0]", "'optimiser.betas' is 1"),
            ("optimiser.smoothing=1.0", "'optimiser.smoothing'"),
            ("evaluation.best=bleurt", "'evaluation.best'"),
            ("format=int8", "'format' is int8"),
            ("format=f16", "'format' is f16; training is in f32 or bf16"),
            ("data.objective={kind='spans', ratio=0.0}", "ratio"),
            ("parameters=[{names=[]}]", "'parameters[0].names'"),
        ] {
            let set: Vec<&str> = base.into_iter().chain([set]).collect();
            let error = read("", &set).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(says), "{set:?}: {error}");
        }
        let error = read("", &base).unwrap();
        error.check().unwrap();
        assert!(Settings { family: Some("bert".into()), ..error }.new_family().is_err());
    }
}

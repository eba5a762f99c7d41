use crate::{Error, Files, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemType {
    /// Scores are the logits.
    Regression,
    /// One label holds: softmax.
    SingleLabelClassification,
    /// Any number of labels hold: a sigmoid each.
    MultiLabelClassification,
}

/// What `config.json` says about the classes of a head. As in transformers, names default to `LABEL_0`, `LABEL_1`, …; their
/// number to 2; the problem to one of a single label, or a sigmoid where there is only one class.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Config")]
pub struct Labels {
    names: Vec<String>,
    problem: ProblemType,
}

#[derive(Deserialize)]
struct Config {
    id2label: Option<BTreeMap<String, String>>,
    num_labels: Option<usize>,
    problem_type: Option<ProblemType>,
}

impl TryFrom<Config> for Labels {
    type Error = &'static str;

    fn try_from(config: Config) -> Result<Self, &'static str> {
        let names = match config.id2label {
            None => (0..config.num_labels.unwrap_or(2)).map(|i| format!("LABEL_{i}")).collect(),
            Some(map) => (0..map.len())
                .map(|i| map.get(&i.to_string()).cloned())
                .collect::<Option<Vec<_>>>()
                .ok_or("id2label: ids must be 0, 1, 2, … without gaps")?,
        };
        let problem = config.problem_type.unwrap_or(match names.len() {
            1 => ProblemType::MultiLabelClassification,
            _ => ProblemType::SingleLabelClassification,
        });
        Ok(Self { names, problem })
    }
}

impl Labels {
    /// From the `config.json` among the files of a model.
    ///
    /// # Errors
    /// When there is no such file, a field has another type, or ids are not 0, 1, 2, …
    pub fn from_files(files: &Files) -> Result<Self> {
        const NAME: &str = "config.json";
        let missing = || Error::file(files.path(NAME), "no such file");
        files.json(NAME)?.ok_or_else(missing)
    }

    /// The names by class.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How logits become scores.
    pub fn problem(&self) -> ProblemType {
        self.problem
    }

    /// Fails unless a head is as wide as there are names.
    pub(super) fn check(&self, width: usize) -> Result<()> {
        if width == self.names.len() {
            return Ok(());
        }
        Err(Error::Input(format!(
            "config.json names {} labels (id2label), the head has {width} classes",
            self.names.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::borrow::Cow;

    #[test]
    fn defaults_are_those_of_transformers() {
        let of = |json| serde_json::from_value::<Labels>(json).unwrap();
        assert_eq!(of(json!({})).names(), ["LABEL_0", "LABEL_1"]);
        assert_eq!(of(json!({})).problem(), ProblemType::SingleLabelClassification);
        let one = of(json!({"id2label": {"0": "score"}}));
        assert_eq!(
            (&one.names()[0][..], one.problem()),
            ("score", ProblemType::MultiLabelClassification)
        );
        let many: serde_json::Map<_, _> =
            (0..11).map(|i| (i.to_string(), format!("l{i}").into())).collect();
        assert_eq!(of(json!({"id2label": many})).names()[10], "l10");
        let value = of(json!({"problem_type": "regression", "num_labels": 1}));
        assert_eq!(value.problem(), ProblemType::Regression);
        let gap = Cow::Borrowed(&br#"{"id2label": {"1": "a"}}"#[..]);
        let gap = Labels::from_files(&Files::embedded("gap", [("config.json", gap)]));
        let error = gap.unwrap_err().to_string();
        assert!(error.starts_with("gap/config.json") && error.contains("without gaps"), "{error}");
        let none: [(&str, _); 0] = [];
        assert!(Labels::from_files(&Files::embedded("none", none)).is_err());
        assert!(of(json!({})).check(3).unwrap_err().to_string().contains("3 classes"));
    }
}

use super::{Labels, ProblemType, Seen, Task, finite, largest, softmax};
use crate::{Encoding, Error, Result, Tokenizer};
use serde::Serialize;

/// A text, or a text and one to be read with it (premise and hypothesis, query and passage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPair {
    /// The text.
    pub text: String,
    /// Read with it.
    pub pair: Option<String>,
}

impl From<&str> for TextPair {
    fn from(text: &str) -> Self {
        Self { text: text.into(), pair: None }
    }
}

/// A label and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Classification {
    /// From `id2label`.
    pub label: String,
    /// A probability; for regression the value itself.
    pub score: f32,
}

/// Sequence classification.
#[derive(Debug)]
pub struct Classifier<'a> {
    /// Cuts texts.
    pub tokenizer: &'a Tokenizer,
    /// Names the classes.
    pub labels: Labels,
    /// How many of the best labels to give.
    pub top_k: usize,
    /// Texts are cut to so many tokens; `None` leaves them whole.
    pub truncate: Option<usize>,
}

impl<'a> Classifier<'a> {
    /// Gives the best label of whole texts.
    ///
    /// ```
    /// use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks::{self, Classifier, Labels}};
    ///
    /// # let folder = "../fixtures/bert_sequence_classification";
    /// let model = Model::load(folder, &LoadOptions::default())?;
    /// let tokenizer = Tokenizer::from_files(model.files())?;
    /// let classifier = Classifier::new(&tokenizer, Labels::from_files(model.files())?);
    /// let best = &tasks::run(&model, &classifier, &["the cat sat on the mat".into()])?[0][0];
    /// println!("{} {}", best.label, best.score);
    /// assert!(["dull", "fine", "grand"].contains(&best.label.as_str()));
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    pub fn new(tokenizer: &'a Tokenizer, labels: Labels) -> Self {
        Self { tokenizer, labels, top_k: 1, truncate: None }
    }

    /// The best labels for one row of logits.
    ///
    /// # Errors
    /// Where there are not as many labels as logits, and for logits that are not finite.
    pub fn scores(&self, logits: &[f32]) -> Result<Vec<Classification>> {
        self.labels.check(logits.len())?;
        finite("logits", logits)?;
        let scores = match self.labels.problem() {
            ProblemType::Regression => logits.to_vec(),
            ProblemType::SingleLabelClassification => softmax(logits),
            ProblemType::MultiLabelClassification => {
                logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
            }
        };
        let name =
            |i: usize| Classification { label: self.labels.names()[i].clone(), score: scores[i] };
        Ok(largest(&scores, self.top_k).into_iter().map(name).collect())
    }
}

impl Task for Classifier<'_> {
    type Input = TextPair;
    type Output = Vec<Classification>;

    fn prepare(&self, input: &TextPair) -> Result<Vec<Encoding>> {
        let encoding = match (&input.pair, self.truncate) {
            (None, None) => self.tokenizer.encode(&input.text),
            (None, Some(limit)) => self.tokenizer.encode_truncated(&input.text, limit),
            (Some(pair), None) => self.tokenizer.encode_pair(&input.text, pair),
            (Some(_), Some(_)) => {
                Err(Error::Input("pairs are not truncated: shorten the texts".into()))
            }
        }?;
        Ok(vec![encoding])
    }

    fn finish(&self, _: &TextPair, seen: &[Seen<'_>]) -> Result<Self::Output> {
        let logits = seen[0].output("logits")?;
        self.scores(logits.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::test_tokenizers::word_piece;
    use serde_json::{Value, json};

    fn classify(config: Value, logits: &[f32], top_k: usize) -> Result<Vec<Classification>> {
        let labels = serde_json::from_value(config).unwrap();
        let tokenizer = word_piece(false);
        Classifier { tokenizer: &tokenizer, labels, top_k, truncate: None }.scores(logits)
    }

    #[test]
    fn the_problem_decides_the_function() {
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        let single = classify(json!({}), &[0.0, 3f32.ln()], 9).unwrap();
        assert!(
            single[0].label == "LABEL_1"
                && close(single[0].score, 0.75)
                && close(single[1].score, 0.25)
        );
        let multi =
            classify(json!({"problem_type": "multi_label_classification"}), &[0.0, 3f32.ln()], 1)
                .unwrap();
        assert!(multi.len() == 1 && close(multi[0].score, 0.75));
        let value =
            classify(json!({"problem_type": "regression", "num_labels": 1}), &[-7.5], 1).unwrap();
        assert_eq!(value[0].score, -7.5);
        assert!(classify(json!({}), &[1.0], 1).is_err());
        assert!(classify(json!({}), &[1.0, f32::NAN], 1).unwrap_err().to_string().contains("NaN"));
    }
}

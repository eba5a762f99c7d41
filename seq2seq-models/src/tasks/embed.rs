use super::{Pooling, Seen, Task, finite, pooling::normalize};
use crate::{Encoding, Error, Files, Result, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

/// Lists what a sentence-transformers model is made of.
const MODULES: &str = "modules.json";

/// Sentence embeddings as sentence-transformers makes them: a transformer, pooling, perhaps normalisation.
///
/// Texts longer than [`limit`](Self::limit) tokens are cut there, as sentence-transformers does. Of T5 it reads the encoder alone,
/// for which a model is loaded as `T5EncoderModel` ([`LoadOptions::architecture`](crate::LoadOptions)).
#[derive(Debug)]
pub struct Embedder<'a> {
    tokenizer: &'a Tokenizer,
    modules: Modules,
    limit: Option<usize>,
}

/// What a sentence-transformers folder says beside the transformer itself.
#[derive(Debug, Clone, PartialEq)]
struct Modules {
    pooling: Pooling,
    normalize: bool,
    max_seq_length: Option<usize>,
    lowercase: bool,
    /// Put before every text.
    prompt: String,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

impl<'a> Embedder<'a> {
    /// Reads `modules.json` and what it names. A folder without it is a bare encoder: its rows are averaged and not
    /// normalised, as sentence-transformers does then. `positions` is the longest input of the model.
    ///
    /// # Errors
    /// When a file is malformed, or a module is none of Transformer, Pooling and Normalize.
    pub fn new(files: &Files, tokenizer: &'a Tokenizer, positions: Option<usize>) -> Result<Self> {
        let modules = Modules::read(files)?;
        let stated = modules.max_seq_length.or(tokenizer.max_length());
        let limit = stated.into_iter().chain(positions).min();
        Ok(Self { tokenizer, modules, limit })
    }

    /// Tokens, special ones included, after which a text is cut.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }
}

impl Task for Embedder<'_> {
    type Input = String;
    type Output = Vec<f32>;

    fn prepare(&self, text: &String) -> Result<Vec<Encoding>> {
        let mut text = format!("{}{}", self.modules.prompt, text);
        if self.modules.lowercase {
            text = text.to_lowercase();
        }
        let whole = self.tokenizer.encode(&text)?;
        let encoding = match self.limit {
            Some(limit) if whole.len() > limit => {
                tracing::info!("a text of {} tokens is cut to {limit}", whole.len());
                self.tokenizer.encode_truncated(&text, limit)?
            }
            _ => whole,
        };
        Ok(vec![encoding])
    }

    fn finish(&self, _: &String, seen: &[Seen<'_>]) -> Result<Vec<f32>> {
        let rows = seen[0].output("last_hidden_state")?;
        finite("hidden states", rows.values)?;
        let mut embedding = self.modules.pooling.apply(rows)?;
        if self.modules.normalize {
            normalize(&mut embedding);
        }
        Ok(embedding)
    }
}

impl Modules {
    fn read(files: &Files) -> Result<Self> {
        let mut this = Self {
            pooling: Pooling(vec![super::PoolingMode::Mean]),
            normalize: false,
            max_seq_length: None,
            lowercase: false,
            prompt: String::new(),
        };
        let Some(modules) = files.json::<Vec<Module>>(MODULES)? else { return Ok(this) };
        for module in &modules {
            match module.r#type.rsplit('.').next().unwrap_or_default() {
                "Transformer" if module.path.is_empty() => {}
                "Pooling" => {
                    let name = format!("{}/config.json", module.path);
                    let missing = || {
                        Error::file(files.path(&name), "no such file, but modules.json names it")
                    };
                    this.pooling = Pooling::from_config(&files.json(&name)?.ok_or_else(missing)?)?;
                }
                "Normalize" => this.normalize = true,
                _ => {
                    return Err(Error::file(
                        files.path(MODULES),
                        format!(
                            "module {} (\"{}\") is not supported: Transformer in the folder itself, Pooling and Normalize are",
                            module.r#type, module.path
                        ),
                    ));
                }
            }
        }
        this.read_settings(files)?;
        Ok(this)
    }

    /// `sentence_bert_config.json` and the default prompt of `config_sentence_transformers.json`.
    fn read_settings(&mut self, files: &Files) -> Result<()> {
        if let Some(config) = files.json::<Value>("sentence_bert_config.json")? {
            self.max_seq_length = config["max_seq_length"].as_u64().map(|n| n as usize);
            self.lowercase = config["do_lower_case"].as_bool().unwrap_or(false);
        }
        if let Some(config) = files.json::<Value>("config_sentence_transformers.json")?
            && let Some(name) = config["default_prompt_name"].as_str()
        {
            self.prompt = config["prompts"][name].as_str().unwrap_or_default().to_owned();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ForwardOutput, tasks::PoolingMode, tokenizer::test_tokenizers::word_piece};

    fn files(files: &[(&str, &str)]) -> Files {
        Files::embedded("test", files.iter().map(|(n, text)| (*n, text.as_bytes().to_vec().into())))
    }

    const THREE: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

    #[test]
    fn follows_the_modules() {
        let files = files(&[
            ("modules.json", THREE),
            ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#),
            ("sentence_bert_config.json", r#"{"max_seq_length": 4, "do_lower_case": true}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"q": "the "}, "default_prompt_name": "q"}"#,
            ),
        ]);
        let t = word_piece(false);
        let e = Embedder::new(&files, &t, Some(512)).unwrap();
        assert_eq!(e.limit(), Some(4));
        let encoding = &e.prepare(&"cats".into()).unwrap()[0];
        assert_eq!(encoding.ids(), [2, 5, 6, 3]);
        let outputs = [ForwardOutput {
            name: "last_hidden_state",
            rows: vec![1, 2],
            per_position: true,
            width: 2,
            values: vec![9., 9., 3., 4., 5., 5.],
        }];
        let seen = Seen { encoding, outputs: &outputs, index: 1 };
        assert_eq!(e.finish(&String::new(), &[seen]).unwrap(), [0.6, 0.8]);
        let logits = [ForwardOutput { name: "logits", ..outputs[0].clone() }];
        let error =
            e.finish(&String::new(), &[Seen { outputs: &logits, ..seen }]).unwrap_err().to_string();
        assert!(error.contains("logits, not last_hidden_state"), "{error}");
    }

    #[test]
    fn a_bare_encoder_is_averaged() {
        let files = files(&[]);
        let t = word_piece(false);
        let e = Embedder::new(&files, &t, Some(512)).unwrap();
        assert_eq!(
            (e.limit(), e.modules.normalize, e.modules.pooling.0[0]),
            (Some(512), false, PoolingMode::Mean)
        );
    }

    #[test]
    fn unknown_modules_and_missing_files_are_named() {
        let t = word_piece(false);
        let dense = THREE.replace("Normalize", "Dense");
        let pooling = ("1_Pooling/config.json", "{}");
        for (list, needle) in [
            (vec![("modules.json", dense.as_str()), pooling], "Dense"),
            (vec![("modules.json", THREE)], "1_Pooling"),
            (vec![("modules.json", "{")], "modules.json"),
        ] {
            let error = Embedder::new(&files(&list), &t, None).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}

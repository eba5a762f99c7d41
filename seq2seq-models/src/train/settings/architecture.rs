use super::file;
use crate::{Error, Family, Result, train::new_model};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use toml::{Table, Value};

/// What a new model is: keys of its `config.json` over those of the family's small model.
///
/// ```
/// use seq2seq_models::train::Architecture;
///
/// let mut architecture: Architecture = "d_model = 64\nnum_layers = 2".parse()?; // as in a config.toml
/// architecture.set("dropout_rate", 0.1)?;
/// assert_eq!(architecture, "d_model = 64\nnum_layers = 2\ndropout_rate = 0.1".parse()?);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Architecture(Table);

impl Architecture {
    /// Whether nothing is set, and the model is the family's small one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a key, whatever it was.
    ///
    /// # Errors
    /// For a value that TOML cannot hold, such as `None`.
    pub fn set(&mut self, key: &str, value: impl Serialize) -> Result<()> {
        let value = Value::try_from(value)
            .map_err(|e| Error::Input(format!("'architecture.{key}': {e}")))?;
        self.0.insert(key.to_owned(), value);
        Ok(())
    }

    /// Fails for keys that a new model of the family has not, naming the nearest that it has.
    pub(crate) fn check(&self, family: Family) -> Result<()> {
        if self.contains("latent") {
            // That says which family has it.
            new_model::latent(family)?;
        }
        let known = new_model::keys(family)?;
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let unknown = self.0.keys().find(|key| !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |key| {
            let path = format!("architecture.{key}");
            Err(Error::Input(file::unknown(&path, key, &known)))
        })
    }

    /// Whether a key is set.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// The keys as a `config.toml` has them below `[architecture]`.
impl FromStr for Architecture {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|e| Error::Input(format!("'architecture': {e}")))
    }
}

//! Reading config.json: what all families share.

use super::Unplanned;
use seq2seq_core::Activation;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, Visitor, value},
    forward_to_deserialize_any,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The configuration as a family's struct; errors name the key.
pub(super) fn read<T: DeserializeOwned>(config: &Value) -> Result<T, Unplanned> {
    serde_path_to_error::deserialize(config)
        .map_err(|e| Unplanned::Invalid(format!("'{}': {}", e.path(), e.inner())))
}

/// The configuration with values for keys that it lacks, where a family's defaults differ from those of its struct.
pub(super) fn with_defaults(config: &Value, defaults: &[(&str, Value)]) -> Value {
    let mut config = config.clone();
    if let Some(keys) = config.as_object_mut() {
        for (key, value) in defaults {
            keys.entry(*key).or_insert_with(|| value.clone());
        }
    }
    config
}

/// The keys that a family's struct has, whether they must be there or not.
pub(super) fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields = Fields(&[]);
    // It always fails, once it has been told the fields.
    let _ = T::deserialize(&mut fields);
    fields.0
}

/// What a struct of these fields is read from.
struct Fields(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Fields {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(value::Error::custom("there are no values"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys of `config.json` that are read of every family.
pub(super) const OF_ALL: [&str; 12] = [
    "architectures",
    "model_type",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "max_position_embeddings",
    "n_positions",
];

/// An activation by its name in transformers; those of one formula share one name of ours.
pub(super) fn activation(name: &str) -> Result<Activation, Unplanned> {
    const KNOWN: &str =
        "relu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, silu, swish, tanh";
    Ok(match name {
        "relu" => Activation::Relu,
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
            Activation::GeluTanh
        }
        "quick_gelu" => Activation::QuickGelu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        _ => {
            return Err(Unplanned::Unknown {
                what: "activation",
                found: name.into(),
                known: KNOWN.into(),
            });
        }
    })
}

/// heads · D = width, as families without an explicit head width need it.
pub(super) fn head_dim(width: usize, heads: usize) -> Result<usize, Unplanned> {
    match heads {
        0 => Err(Unplanned::Invalid("there are 0 attention heads".into())),
        _ if !width.is_multiple_of(heads) => Err(Unplanned::Invalid(format!(
            "a width of {width} does not divide into {heads} heads"
        ))),
        _ => Ok(width / heads),
    }
}

/// D^-0.5
pub(super) fn inverse_sqrt(head_dim: usize) -> f32 {
    (head_dim as f64).sqrt().recip() as f32
}

/// The first of `architectures`, or `default` where the file does not say.
pub(super) fn architecture<'a>(config: &'a Value, default: &'static str) -> &'a str {
    config.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or(default)
}

/// The error for an architecture that the family does not have here.
pub(super) fn unknown_architecture<T>(found: &str, known: &[&str]) -> Result<T, Unplanned> {
    Err(Unplanned::Unknown { what: "architecture", found: found.into(), known: known.join(", ") })
}

/// How many classes a head tells apart: `id2label`, else `num_labels`, else `default`.
pub(super) fn classes(config: &Value, default: usize) -> Result<usize, Unplanned> {
    #[derive(Deserialize)]
    struct Labels {
        id2label: Option<BTreeMap<String, Value>>,
        num_labels: Option<usize>,
    }
    let Labels { id2label, num_labels } = read(config)?;
    let named = id2label.map(|l| l.len()).filter(|n| *n > 0);
    Ok(named.or(num_labels).unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_are_counted() {
        let count = |config| classes(&config, 2).ok();
        assert_eq!(count(json!({})), Some(2));
        assert_eq!(count(json!({"num_labels": 5})), Some(5));
        assert_eq!(
            count(json!({"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 5})),
            Some(3)
        );
        assert_eq!(count(json!({"num_labels": "many"})), None);
    }

    #[test]
    fn keys_are_those_of_the_struct() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "read by their names only")]
        struct Config {
            width: usize,
            #[serde(rename = "n_layer", default)]
            layers: Option<usize>,
        }
        assert_eq!(keys::<Config>(), ["width", "n_layer"]);
    }

    #[test]
    fn errors_name_the_key() {
        #[derive(Deserialize, Debug)]
        struct Config {
            #[expect(dead_code, reason = "read by the error only")]
            width: usize,
        }
        let error = match read::<Config>(&json!({"width": "wide"})) {
            Err(Unplanned::Invalid(reason)) => reason,
            _ => panic!(),
        };
        assert!(error.contains("'width'"), "{error}");
    }
}

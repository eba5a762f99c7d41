//! Which format each linear layer is packed in.
//!
//! A model is loaded in one format. Not every layer is packed in it: [`layer_format`] says what a format is not meant
//! for, and [`ModuleFormat`]s are the user's exceptions.

use crate::{Error, Result, pattern};
use seq2seq_core::{Format, Precision};
use std::{fmt, str::FromStr};

/// The format of the layer `module` in a model that is loaded in `format`.
///
/// int4 is for layers that read their weights for a few rows at a time, where memory is what takes time: the self-attention,
/// the feed-forward and the output layer of a decoder, and of its cross-attention the query and the output. All others,
/// encoders and the keys and values of a cross-attention, meet whole sequences: there int4 is slower than int8, as codes
/// have to be unpacked, and less exact. They are packed in int8. So are the products of the state in recurrent layers
/// (`.hidden`), whose errors go from step to step.
///
/// `module` is a path of the kind that is the same in every family, such as `decoder.layers.3.ffn.out`.
///
/// ```
/// use seq2seq_models::{checkpoint::layer_format, seq2seq_core::Format};
///
/// let format = |module| layer_format(Format::Int4, module);
/// assert_eq!(format("decoder.layers.3.ffn.out"), Format::Int4);
/// assert_eq!(format("encoder.layers.3.ffn.out"), Format::Int8); // meets whole sequences
/// assert_eq!(layer_format(Format::Bf16, "encoder.layers.3.ffn.out"), Format::Bf16);
/// ```
pub fn layer_format(format: Format, module: &str) -> Format {
    match format {
        Format::Int4 if !meets_few_rows(module) => Format::Int8,
        _ => format,
    }
}

fn meets_few_rows(module: &str) -> bool {
    if module.ends_with(".hidden") {
        return false;
    }
    let keys_and_values = module.ends_with(".cross.key") || module.ends_with(".cross.value");
    module.starts_with("head.language.") || module.starts_with("decoder.") && !keys_and_values
}

/// An exception: linear layers that are packed in another format than [`layer_format`] says.
///
/// As text, `PATTERN=FORMAT`, such as `decoder.layers.*.ffn.out=int8`. The pattern is matched with the whole path of a
/// module; `*` stands for any run of characters. Matrices that are one layer (query, key and value of a self-attention,
/// key and value of a cross-attention, gate and up) are packed together: a pattern that matches one of them is for all.
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, seq2seq_core::Format};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let module_formats = vec!["decoder.layers.*.ffn.out=int8".parse()?];
/// let options = LoadOptions { format: Format::Int4, module_formats, ..LoadOptions::default() };
/// let model = Model::load(folder, &options)?;
/// println!("{} bytes of weights", model.bytes());
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFormat {
    /// What the module's path must be.
    pub pattern: String,
    /// What its layer is packed in.
    pub format: Format,
}

impl fmt::Display for ModuleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.format)
    }
}

impl FromStr for ModuleFormat {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s.rsplit_once('=') {
            Some((pattern, format)) if !pattern.is_empty() && !pattern.contains(' ') => {
                Ok(Self { pattern: pattern.into(), format: format.parse()? })
            }
            _ => Err(Error::Input(format!(
                "'{s}' is no exception; write PATTERN=FORMAT, such as decoder.layers.*.ffn.out=int8"
            ))),
        }
    }
}

/// The formats of all layers of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Formats {
    pub(crate) format: Format,
    /// A later one goes before an earlier one.
    pub(crate) exceptions: Vec<ModuleFormat>,
}

impl Formats {
    /// That of attention: f32 where rows of activations are f32. The other formats round its operands, or what they come from,
    /// as it is.
    pub(crate) fn precision(&self) -> Precision {
        match self.format {
            Format::F32 | Format::F16 => Precision::F32,
            Format::Bf16 | Format::Int8 | Format::Int4 => Precision::Bf16,
        }
    }

    /// The format of the layer that these modules make up. `used` has a place for each exception, and is set where one
    /// matches.
    pub(super) fn of(&self, modules: &[String], used: &mut [bool]) -> Format {
        let Some(first) = modules.first() else { return self.format };
        let mut format = layer_format(self.format, first);
        for (exception, used) in self.exceptions.iter().zip(used) {
            if modules.iter().any(|module| pattern::matches(&exception.pattern, module)) {
                (format, *used) = (exception.format, true);
            }
        }
        format
    }
}

/// The error for an exception that is for no layer, with what there is: paths whose numbers are left out.
pub(super) fn unused(exception: &ModuleFormat, modules: impl Iterator<Item = String>) -> Error {
    Error::Input(format!(
        "module format '{exception}': the pattern matches no linear layer; there are {}",
        kinds(modules)
    ))
}

/// Paths of modules with `*` for their numbers, each once.
pub(crate) fn kinds(modules: impl Iterator<Item = String>) -> String {
    let kind = |module: String| {
        let segment =
            |s: &str| if s.bytes().all(|b| b.is_ascii_digit()) { "*".into() } else { s.into() };
        module.split('.').map(segment).collect::<Vec<String>>().join(".")
    };
    let kinds: std::collections::BTreeSet<String> = modules.map(kind).collect();
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int4_is_for_what_meets_few_rows() {
        for (module, format) in [
            ("decoder.layers.0.attention.query", Format::Int4),
            ("decoder.layers.11.cross.query", Format::Int4),
            ("decoder.layers.11.cross.output", Format::Int4),
            ("decoder.layers.11.cross.key", Format::Int8),
            ("decoder.layers.11.cross.value", Format::Int8),
            ("decoder.layers.2.ffn.in", Format::Int4),
            ("head.language.out", Format::Int4),
            ("head.masked.out", Format::Int8),
            ("encoder.layers.0.ffn.out", Format::Int8),
            ("decoder.layers.0.forward.input", Format::Int4),
            ("decoder.layers.0.forward.hidden", Format::Int8),
        ] {
            assert_eq!(layer_format(Format::Int4, module), format, "{module}");
            for other in [Format::F32, Format::Bf16, Format::F16, Format::Int8] {
                assert_eq!(layer_format(other, module), other);
            }
        }
    }

    #[test]
    fn exceptions_parse_and_the_last_wins() {
        let parse = |s: &str| s.parse::<ModuleFormat>();
        let exceptions = vec![parse("decoder.*=f32").unwrap(), parse("*.key=bf16").unwrap()];
        assert_eq!(exceptions[1].to_string(), "*.key=bf16");
        let formats = Formats { format: Format::Int4, exceptions };
        let mut used = [false; 2];
        let of = |modules: &[&str], used: &mut [bool]| {
            formats.of(&modules.iter().map(ToString::to_string).collect::<Vec<_>>(), used)
        };
        assert_eq!(of(&["encoder.ffn.in"], &mut used), Format::Int8);
        assert_eq!(of(&["decoder.ffn.in"], &mut used), Format::F32);
        assert_eq!(used, [true, false]);
        assert_eq!(of(&["decoder.query", "decoder.key"], &mut used), Format::Bf16);
        assert_eq!(used, [true, true]);
        for bad in ["int8", "=int8", "a=int3"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

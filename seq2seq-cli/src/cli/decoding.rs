use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;

/// The settings of a generation, by their names in GenerationConfig. What is absent is left to the model's files.
#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct DecodingArgs {
    /// The most new tokens; 20 where neither this nor the model says otherwise.
    #[arg(long, value_name = "N", help_heading = LENGTH)]
    max_new_tokens: Option<usize>,
    /// No end before so many new tokens.
    #[arg(long, value_name = "N", help_heading = LENGTH)]
    min_new_tokens: Option<usize>,
    /// The most tokens, those of the prompt (or decoder start) included; --max-new-tokens goes before it.
    #[arg(long, value_name = "N", help_heading = LENGTH)]
    max_length: Option<usize>,
    /// No end before so many tokens, those of the prompt included; --min-new-tokens goes before it.
    #[arg(long, value_name = "N", help_heading = LENGTH)]
    min_length: Option<usize>,
    /// Ends every text after so many seconds, wherever it is.
    #[arg(long, value_name = "SECONDS", value_parser = number, help_heading = LENGTH)]
    max_time: Option<f64>,
    /// Ends a text where it comes to contain this, or one of ["a", "b"].
    #[arg(long, value_name = "TEXT|JSON", value_parser = text_or_json, help_heading = LENGTH)]
    stop_strings: Option<Value>,

    /// Hypotheses that beam search keeps. 1 is greedy search: the best token each time. 4 or 5 is common for
    /// translation and summaries.
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    num_beams: Option<usize>,
    /// Sequences to give for each input: the best of the beams, or so many samples.
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    num_return_sequences: Option<usize>,
    /// Beams are ranked by score over length to this power: above 0 favours long texts, below 0 short ones.
    #[arg(long, value_name = "POWER", value_parser = number, allow_negative_numbers = true, help_heading = SEARCH)]
    length_penalty: Option<f64>,
    /// When beam search stops: false as soon as the best running beam looks no better than the worst finished one,
    /// true as soon as num_beams are finished, never only when none can become better.
    #[arg(long, value_name = "true|false|never", value_parser = early_stopping, help_heading = SEARCH)]
    early_stopping: Option<Value>,
    /// Beam search makes scores probabilities again after the rules below have changed them. `=false` for a model whose files
    /// ask for it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = SEARCH)]
    renormalize_logits: Option<bool>,

    /// Draws tokens at random by their probability. With --num-beams above 1, beam sampling: the continuations of all beams
    /// are drawn together. `=false` for a model whose files ask for it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = SAMPLING)]
    do_sample: Option<bool>,
    /// Makes sampling repeatable: a row draws the same whatever stands beside it.
    #[arg(long, value_name = "N", help_heading = SAMPLING)]
    seed: Option<u64>,
    /// Below 1 sharpens the distribution, above 1 flattens it.
    #[arg(long, value_name = "T", value_parser = number, help_heading = SAMPLING)]
    temperature: Option<f64>,
    /// Draws from the k best tokens; 0 for all. 50 where nothing else is said.
    #[arg(long, value_name = "K", help_heading = SAMPLING)]
    top_k: Option<usize>,
    /// Draws from the smallest set of tokens with this probability together (nucleus sampling).
    #[arg(long, value_name = "P", value_parser = number, help_heading = SAMPLING)]
    top_p: Option<f64>,
    /// Draws from tokens with at least this share of the best one's probability.
    #[arg(long, value_name = "P", value_parser = number, help_heading = SAMPLING)]
    min_p: Option<f64>,
    /// Draws from the tokens whose information is nearest to the expected, of this probability together.
    #[arg(long, value_name = "P", value_parser = number, help_heading = SAMPLING)]
    typical_p: Option<f64>,
    /// Draws from tokens of at least this probability.
    #[arg(long, value_name = "P", value_parser = number, help_heading = SAMPLING)]
    epsilon_cutoff: Option<f64>,
    /// Draws from tokens above a bound that falls as the distribution flattens.
    #[arg(long, value_name = "P", value_parser = number, help_heading = SAMPLING)]
    eta_cutoff: Option<f64>,

    /// Above 1 makes tokens that have occurred less likely, those of the prompt included. 1.2 is much.
    #[arg(long, value_name = "FACTOR", value_parser = number, help_heading = RULES)]
    repetition_penalty: Option<f64>,
    /// Above 1 makes tokens of the encoder's input more likely.
    #[arg(long, value_name = "FACTOR", value_parser = number, help_heading = RULES)]
    encoder_repetition_penalty: Option<f64>,
    /// No run of so many tokens occurs twice; 0 for no such rule.
    #[arg(long, value_name = "N", help_heading = RULES)]
    no_repeat_ngram_size: Option<usize>,
    /// No run of so many tokens of the encoder's input occurs; 0 for no such rule.
    #[arg(long, value_name = "N", help_heading = RULES)]
    encoder_no_repeat_ngram_size: Option<usize>,
    /// Sequences of ids that must not occur: [[5], [9, 11]].
    #[arg(long, value_name = "JSON", value_parser = json, help_heading = RULES)]
    bad_words_ids: Option<Value>,
    /// What is added to the score of the id that completes a sequence: [[[5], -2.0], [[9, 11], 4.0]].
    #[arg(long, value_name = "JSON", value_parser = json, help_heading = RULES)]
    sequence_bias: Option<Value>,
    /// Ids that never occur: [3, 4].
    #[arg(long, value_name = "JSON", value_parser = json, help_heading = RULES)]
    suppress_tokens: Option<Value>,
    /// Ids that do not come first: [3, 4].
    #[arg(long, value_name = "JSON", value_parser = json, help_heading = RULES)]
    begin_suppress_tokens: Option<Value>,
    /// From so many new tokens on, the end becomes likelier by this factor each time: [20, 1.1].
    #[arg(long, value_name = "JSON", value_parser = json, help_heading = RULES)]
    exponential_decay_length_penalty: Option<Value>,

    /// The id, or ids, that end a text: 1 or [60, 61].
    #[arg(long, value_name = "ID|JSON", value_parser = json, help_heading = TOKENS)]
    eos_token_id: Option<Value>,
    /// The first new id of an encoder-decoder, such as the language of a translation.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    forced_bos_token_id: Option<u32>,
    /// The last id where the maximal length is reached.
    #[arg(long, value_name = "ID|JSON", value_parser = json, help_heading = TOKENS)]
    forced_eos_token_id: Option<Value>,
    /// What the decoder of an encoder-decoder begins with.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    decoder_start_token_id: Option<u32>,
    /// What an empty prompt becomes.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    bos_token_id: Option<u32>,
    /// Padding, which there is none of here: taken so that settings can be given as they are.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    pad_token_id: Option<u32>,
}

const LENGTH: &str = "Length";
const SEARCH: &str = "Search";
const SAMPLING: &str = "Sampling";
const RULES: &str = "Rules for tokens";
const TOKENS: &str = "Special tokens";

impl DecodingArgs {
    /// What random draws hang on, where it was given.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.seed
    }
}

/// Options that mean true by themselves and take a value behind `=` alone, so that a text may follow them.
const SWITCHES: [&str; 2] = ["--renormalize-logits", "--do-sample"];

/// What is wrong with `--do-sample false`, if that was given: it would turn sampling on and write on from the text "false".
pub(super) fn misplaced_value(arguments: &[OsString]) -> Option<String> {
    let options = arguments.split(|a| a == "--").next().unwrap_or_default();
    let pair = options.windows(2).find(|pair| {
        SWITCHES.iter().any(|&switch| pair[0] == switch)
            && (pair[1] == "true" || pair[1] == "false")
    })?;
    let (switch, value) = (pair[0].display(), pair[1].display());
    Some(format!(
        "{switch} takes its value behind '=': {switch}={value}; where '{value}' is a text, put it behind '--'"
    ))
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a finite number".into()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        // An option that is absent is null, and left to the model's files.
        Ok(Value::Null) => Err("null leaves it to the model's files; [] stands for none".into()),
        Ok(value) => Ok(value),
        Err(e) => Err(format!("not JSON: {e}")),
    }
}

fn text_or_json(text: &str) -> Result<Value, String> {
    if text.starts_with('[') { json(text) } else { Ok(text.into()) }
}

fn early_stopping(text: &str) -> Result<Value, String> {
    match text {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        "never" => Ok(text.into()),
        _ => Err("one of true, false, never".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};
    use seq2seq_models::generate::GenerationConfig;
    use serde_json::json;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        decoding: DecodingArgs,
    }

    /// What was given.
    fn parse(args: &[&str]) -> Value {
        let all = Alone::parse_from([&["x"], args].concat()).decoding;
        let mut all = serde_json::to_value(all).unwrap();
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        all
    }

    #[test]
    fn every_field_has_its_option() {
        let names = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let fields = names(serde_json::to_value(GenerationConfig::default()).unwrap());
        let options = names(serde_json::to_value(DecodingArgs::default()).unwrap());
        assert_eq!(fields, options);
    }

    #[test]
    fn switches_take_their_value_behind_the_equals_sign() {
        let command = Alone::command();
        let behind_equals = command.get_arguments().filter(|a| a.is_require_equals_set());
        let names: Vec<String> =
            behind_equals.map(|a| format!("--{}", a.get_long().unwrap())).collect();
        assert_eq!(names, SWITCHES);
        let wrong =
            |args: &[&str]| misplaced_value(&args.iter().map(OsString::from).collect::<Vec<_>>());
        for switch in SWITCHES {
            let error = wrong(&["generate", switch, "false", "text"]).unwrap();
            assert!(error.contains(&format!("{switch}=false")), "{error}");
            assert!(wrong(&["generate", "text", switch, "true"]).is_some());
            for fine in [
                &[switch, "falsehood"][..],
                &["--do-sample=false", "true"],
                &[switch, "--", "false"],
                &["--", switch, "false"],
                &["false", switch],
            ] {
                assert_eq!(wrong(fine), None, "{fine:?}");
            }
        }
    }

    #[test]
    fn values_arrive_as_their_fields_want_them() {
        assert_eq!(parse(&[]), json!({}));
        let given = parse(&[
            "--early-stopping",
            "never",
            "--eos-token-id",
            "[60,61]",
            "--bad-words-ids",
            "[[5],[9,11]]",
            "--do-sample",
            "--length-penalty",
            "-0.5",
            "--stop-strings",
            "\n",
            "--renormalize-logits=false",
        ]);
        let expected = json!({
            "early_stopping": "never", "eos_token_id": [60, 61], "bad_words_ids": [[5], [9, 11]], "do_sample": true,
            "length_penalty": -0.5, "stop_strings": "\n", "renormalize_logits": false,
        });
        assert_eq!(given, expected);
        assert!(Alone::try_parse_from(["x", "--early-stopping", "always"]).is_err());
        assert!(Alone::try_parse_from(["x", "--temperature", "nan"]).is_err());
        assert!(Alone::try_parse_from(["x", "--bad-words-ids", "[[5]"]).is_err());
        assert!(Alone::try_parse_from(["x", "--eos-token-id", "null"]).is_err());
    }
}

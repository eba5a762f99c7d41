//! The tokenizer of the default model: a Unigram vocabulary laid out by hand rather than learned.
//!
//! Every word of the grammar is one piece, every digit one token, German compounds fall into their parts (`▁einhundert`
//! `dreiund` `zwanzig`), Roman numerals into letters, and anything else into characters or bytes, so that no text fails.
//! Short targets made of whole words train several times faster than bytes and leave nothing to spell.

use clap::Parser;
use expressions::{Rows, Split, Task};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::{error::Error, fs, path::PathBuf, process::ExitCode};

/// Writes tokenizer.json and tokenizer_config.json of the default model.
#[derive(Parser)]
struct Arguments {
    /// The folder for both; it is made where it does not exist.
    folder: PathBuf,
    /// Rows of the grammar that words are taken from.
    #[arg(long, default_value_t = 400_000)]
    rows: usize,
    /// The seed of these rows.
    #[arg(long, default_value_t = 1_000_000)]
    seed: u64,
}

const SPACE: char = '▁';
const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];
const TASKS: [&str; 4] = ["speak", "write", "french", "german"];
const SIGNS: &str = "€£¥°²½¼¾⅓⅔éûäöüß−–’";

/// What German numbers are put together from.
fn german() -> Vec<String> {
    const UNITS: &str = "ein zwei drei vier fünf sechs sieben acht neun";
    const WORDS: &str = "eins eine zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn \
                         zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig tausend hundert";
    let units = || UNITS.split(' ');
    let joined = |end: &'static str| units().map(move |unit| format!("{unit}{end}"));
    let words = units().chain(WORDS.split(' ')).map(str::to_owned);
    words.chain(joined("hundert")).chain(joined("und")).collect()
}

/// Whether a word consists of `parts`, the longest of which is taken each time; so is nothing of none.
fn is_compound(word: &str, parts: &[String]) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let longest = parts.iter().filter(|part| rest.starts_with(part.as_str())).map(String::len);
        match longest.max() {
            Some(length) => rest = &rest[length..],
            None => return false,
        }
    }
    true
}

/// Runs of letters and of signs such as `²`, each with the hyphen before it, and single characters.
fn runs(word: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let hyphen = if first == '-' { 1 } else { 0 };
        let letters = rest[hyphen..].find(|c: char| !c.is_alphanumeric() || c.is_ascii_digit());
        let letters = letters.unwrap_or(rest.len() - hyphen);
        let length = if letters == 0 { first.len_utf8() } else { hyphen + letters };
        runs.push(&rest[..length]);
        rest = &rest[length..];
    }
    runs
}

/// Letters of one case that may be a Roman numeral; `dix` is French.
fn is_roman(run: &str) -> bool {
    let run = run.trim_start_matches('-');
    let of = |letters: &str| !run.is_empty() && run.chars().all(|c| letters.contains(c));
    (of("mdclxvi") || of("MDCLXVI")) && run != "dix"
}

/// The pieces of a text that are whole words of the vocabulary.
fn pieces(text: &str, german: &[String], into: &mut BTreeSet<String>) {
    for word in text.split(' ').filter(|word| !is_compound(word, german)) {
        for (index, run) in runs(word).into_iter().enumerate() {
            // Letter by letter, so that "mi" is a thousand and one as well as miles.
            if is_roman(run) {
                continue;
            }
            if index == 0 && run.starts_with(char::is_alphabetic) {
                into.insert(format!("{SPACE}{run}"));
            } else if run.chars().nth(1).is_some() {
                into.insert(run.to_owned());
            }
        }
    }
}

/// Pieces and their logarithms. Viterbi takes the best sum: a whole word beats its parts, fewer parts beat more,
/// characters come last.
fn vocabulary(words: BTreeSet<String>, german: &[String]) -> Vec<(String, f64)> {
    let characters: Vec<String> =
        [SPACE].into_iter().chain('!'..='~').chain(SIGNS.chars()).map(String::from).collect();
    let parts = german.iter().flat_map(|part| [part.clone(), format!("{SPACE}{part}")]);
    let tasks = TASKS.map(|task| format!("{SPACE}{task}:"));
    let mut seen: HashSet<String> = characters.iter().cloned().collect();
    // "▁dix" and "-dix" are French, the rest is Roman.
    let words = words.into_iter().filter(|word| word != "dix").chain(parts).chain(tasks);
    let words: Vec<String> = words.filter(|word| seen.insert(word.clone())).collect();

    let special = SPECIAL.iter().zip([0.0, 0.0, -100.0]).map(|(&token, log)| (token.into(), log));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), -100.0));
    let characters = characters.into_iter().map(|character| (character, -20.0));
    let length = |word: &str| word.chars().count() as f64;
    let words = words.into_iter().map(|word| {
        let log = 0.01 * length(&word) - 10.0;
        (word, log)
    });
    special.chain(bytes).chain(characters).chain(words).collect()
}

fn tokenizer(vocabulary: &[(String, f64)]) -> Value {
    let added = |(id, token): (usize, &&str)| {
        json!({
            "id": id, "content": token, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [sequence("A"), end],
            "pair": [sequence("A"), end, sequence("B"), end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                { "type": "Replace", "pattern": { "String": SPACE }, "content": " " },
                { "type": "ByteFallback" },
                { "type": "Fuse" },
                { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
            ],
        },
        "model": { "type": "Unigram", "unk_id": 2, "vocab": vocabulary, "byte_fallback": true },
    })
}

/// What transformers reads beside tokenizer.json.
fn settings() -> Value {
    let [pad, eos, unk] = SPECIAL;
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": pad,
        "eos_token": eos,
        "unk_token": unk,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": false,
    })
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let tasks: Vec<_> = Task::all().into_iter().map(|task| (task, 1)).collect();
    let (german, mut words) = (german(), BTreeSet::new());
    for row in Rows::new(Split::Train, arguments.seed, &tasks, false).take(arguments.rows) {
        pieces(&row.source, &german, &mut words);
        pieces(&row.target, &german, &mut words);
    }
    fs::create_dir_all(&arguments.folder)?;
    let vocabulary = vocabulary(words, &german);
    for (name, value) in
        [("tokenizer.json", tokenizer(&vocabulary)), ("tokenizer_config.json", settings())]
    {
        let text = serde_json::to_string_pretty(&value)? + "\n";
        fs::write(arguments.folder.join(name), text)?;
    }
    println!("{} pieces", vocabulary.len());
    Ok(())
}

fn main() -> ExitCode {
    expressions::exit_code(run(&Arguments::parse()))
}

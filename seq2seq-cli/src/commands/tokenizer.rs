//! `tokenizer train`: a tokenizer from rows of text.

use crate::{cli::TokenizerTrainArgs, failure::Result, output::Output};
use seq2seq_models::train::{
    data::Corpus,
    tokenizers::{NewTokenizer, TokenizerOptions},
};

pub(super) fn train(args: &TokenizerTrainArgs) -> Result<()> {
    let &TokenizerTrainArgs { kind, vocab_size, extra_ids, mask, .. } = args;
    let options = TokenizerOptions { kind, vocab_size, extra_ids, mask };
    let mut corpus = match args.input.is_empty() {
        true => None,
        false => Some(Corpus::open(&args.input)?),
    };
    let new = NewTokenizer::train(&options, corpus.as_mut())?;
    new.save(&args.output)?;
    let mut output = Output::open(None)?;
    let names = new.files().map(|(name, _)| name).join(", ");
    output.text(&format!("{}: {} tokens, {names}\n", args.output.display(), new.tokens()))?;
    output.finish()
}

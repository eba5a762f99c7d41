//! Questions, and the tokens of a text that answer them.

use super::{Example, Overlong, RowEncoder};
use crate::{Encoding, Error, Result};
use std::ops::Range;

/// The context is the second text of a pair.
const CONTEXT: usize = 1;
/// Tokens that neighbouring windows of a long context share, as in [`tasks::Answering`](crate::tasks::Answering); half of
/// what there is of the context where that is less.
const SHARED: usize = 128;

/// The ids of a question and its context, and the places of the first and the last that have characters of the answer. Of a
/// context that is too long the first window is taken that holds the whole answer.
pub(super) fn example(
    encoder: &RowEncoder,
    question: &str,
    context: &str,
    answer: Range<usize>,
    limit: Option<usize>,
) -> Result<Example> {
    let tokenizer = &encoder.tokenizer;
    let whole = tokenizer.encode_pair(question, context)?;
    let span = match answer.is_empty() {
        true => None,
        false => Some(Span::of(&whole, &answer).ok_or_else(|| {
            Error::input("the tokenizer makes no token of the answer; is it nothing but spaces?")
        })?),
    };
    let (kept, at) = match limit.filter(|&limit| whole.len() > limit) {
        None => {
            let at = span.map_or((0, 0), |span| span.places);
            (whole, at)
        }
        Some(limit) if encoder.overlong == Overlong::Refuse => {
            let tokens = whole.len();
            return Err(Error::Input(format!(
                "question and context have {tokens} tokens, more than {limit}"
            )));
        }
        Some(limit) => {
            let of_context = whole.sequence_ids().iter().filter(|&&s| s == Some(CONTEXT)).count();
            let room = (limit + of_context).saturating_sub(whole.len());
            let stride = SHARED.min(room / 2);
            let windows = tokenizer.encode_windows(question, context, limit, stride)?;
            let holds = |window: Encoding| match &span {
                None => Some((window, (0, 0))),
                Some(span) => {
                    let found = Span::of(&window, &answer)?;
                    (found.characters == span.characters).then_some((window, found.places))
                }
            };
            windows.into_iter().find_map(holds).ok_or_else(|| {
                Error::Input(format!(
                    "no window of {limit} tokens holds the whole answer; raise data.max_source or data.batch_tokens"
                ))
            })?
        }
    };
    let place = |at| u32::try_from(at).map_err(|_| Error::input("the context is too long"));
    Ok(Example {
        source: kept.ids().to_vec(),
        target: vec![place(at.0)?, place(at.1)?],
        segments: kept.type_ids().to_vec(),
    })
}

/// Tokens of a context.
struct Span {
    /// The first and the last.
    places: (usize, usize),
    /// From the first character of the first token to the end of the last.
    characters: Range<usize>,
}

impl Span {
    /// Those that share characters with a stretch of the context.
    fn of(encoding: &Encoding, stretch: &Range<usize>) -> Option<Self> {
        let texts = encoding.sequence_ids();
        let shares = |&i: &usize| {
            let (start, end) = encoding.offsets()[i];
            texts[i] == Some(CONTEXT) && start < stretch.end && stretch.start < end
        };
        let mut places = (0..encoding.len()).filter(shares);
        let first = places.next()?;
        let last = places.next_back().unwrap_or(first);
        let characters = encoding.offsets()[first].0..encoding.offsets()[last].1;
        Some(Self { places: (first, last), characters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tokenizer::test_tokenizers::word_piece, train::data::Row};

    fn row(context: &str, answer: &str) -> Row {
        let byte = context.find(answer).unwrap();
        Row::Question {
            question: "cat".into(),
            context: context.into(),
            answer: answer.into(),
            start: context[..byte].chars().count(),
        }
    }

    /// `[CLS] cat [SEP] the cat ##s sat . the [SEP]`
    const TEXT: &str = "The cats sat. The";

    #[test]
    fn answers_are_places_of_tokens() {
        let encoder = RowEncoder::new(word_piece(true));
        for (context, answer, places) in [
            (TEXT, "cats sat", [4, 6]),
            (TEXT, "The", [3, 3]),
            // Parts of a token are the token.
            (TEXT, "at", [4, 4]),
            (TEXT, "s s", [5, 6]),
            (TEXT, "", [0, 0]),
            ("é é the", "the", [5, 5]),
        ] {
            let example = encoder.encode(&row(context, answer)).unwrap();
            assert_eq!(example.target, places, "{answer}");
            let kinds = [0, 0, 0].into_iter().chain([1; 9]).take(example.source.len());
            assert!(example.segments.iter().copied().eq(kinds), "{:?}", example.segments);
        }
        let error = encoder.encode(&row("the  cat", "  ")).unwrap_err().to_string();
        assert!(error.contains("no token"), "{error}");
    }

    #[test]
    fn a_long_context_is_read_where_the_answer_is() {
        let mut encoder = RowEncoder::new(word_piece(true));
        // Room for four tokens of the context; windows share two.
        encoder.max_source = Some(8);
        let whole = RowEncoder::new(word_piece(true)).encode(&row(TEXT, "sat. The")).unwrap();
        assert_eq!((whole.source.len(), &whole.target[..]), (10, &[6, 8][..]));
        let cut = encoder.encode(&row(TEXT, "sat. The"));
        let cut = cut.unwrap();
        let [first, last] = [0, 1].map(|i| cut.target[i] as usize);
        assert_eq!(cut.source[first..=last], whole.source[6..=8]);
        assert!(cut.source.len() <= 8 && cut.source[..3] == whole.source[..3]);
        let error = encoder.encode(&row(TEXT, TEXT)).unwrap_err().to_string();
        assert!(error.contains("no window of 8 tokens"), "{error}");
        // As much as a batch has room for beside the two places of the answer.
        encoder.max_source = None;
        let (within, told) = encoder.encode_within(&row(TEXT, "sat. The"), 10).unwrap();
        assert!(within == cut && told.unwrap().contains("has 12 tokens"));
        encoder.max_source = Some(8);
        encoder.overlong = Overlong::Refuse;
        let error = encoder.encode(&row(TEXT, "sat")).unwrap_err().to_string();
        assert!(error.contains("have 10 tokens, more than 8"), "{error}");
    }
}

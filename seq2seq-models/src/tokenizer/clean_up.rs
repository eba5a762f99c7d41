//! `clean_up_tokenization_spaces`: English spacing around punctuation and contractions.

/// What is replaced by what, one pattern after the other over the whole text
/// (transformers, `PreTrainedTokenizerBase.clean_up_tokenization`).
const REPLACEMENTS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

pub(super) fn clean_up(text: &str) -> String {
    REPLACEMENTS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The largest `at` such that `clean_up(text + more)` begins with `clean_up(text[..at])` for any `more`, and cleaning
/// the rest apart gives the rest.
///
/// Every pattern begins with a space and only ` ' ` has a second one. So a cut before a space is safe unless the text
/// before it ends in ` '`: no match can span it.
pub(super) fn safe_cut(text: &str) -> usize {
    text.rmatch_indices(' ').map(|(at, _)| at).find(|&at| !text[..at].ends_with(" '")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_punctuation_and_contractions() {
        assert_eq!(clean_up("do n't stop , it 's ' fine ' . ok ?"), "don't stop, it's'fine '. ok?");
        assert_eq!(clean_up("we 've , they 're , i 'm !"), "we've, they're, i'm!");
    }

    #[test]
    fn pieces_cut_safely_add_up() {
        let texts =
            ["a ' n't . b", " ' ' ' x 's", "it 's ' . ' n't , 'm", "   .  ", "x ' ", "é 'véré , ü"];
        for text in texts {
            for (split, _) in text.char_indices() {
                let head = &text[..split];
                let at = safe_cut(head);
                let pieces = clean_up(&head[..at]) + &clean_up(&text[at..]);
                assert_eq!(pieces, clean_up(text), "{text:?} seen up to {split}");
            }
        }
    }
}

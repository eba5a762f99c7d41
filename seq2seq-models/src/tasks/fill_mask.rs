use super::{Seen, Task, View, finite, largest, softmax};
use crate::{Encoding, Error, Result, Tokenizer};
use serde::Serialize;

/// One proposal for one mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Fill {
    /// The probability.
    pub score: f32,
    /// The id.
    pub token: u32,
    /// The id as text.
    pub token_str: String,
    /// The whole text with the mask filled.
    pub sequence: String,
}

/// Proposes tokens in place of the mask token; several masks are filled each by itself.
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks::{self, MaskFiller}};
///
/// # let folder = "../fixtures/bert_masked_lm";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// let filler = MaskFiller::new(&tokenizer, 5)?;
/// let masks = &tasks::run(&model, &filler, &["The [MASK] sat on the river.".into()])?[0];
/// for fill in &masks[0] {
///     println!("{} {}", fill.score, fill.sequence);
/// }
/// # assert_eq!(masks[0][0].token_str, "##c");
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug)]
pub struct MaskFiller<'a> {
    tokenizer: &'a Tokenizer,
    mask: u32,
    top_k: usize,
}

impl<'a> MaskFiller<'a> {
    /// Gives the `top_k` best proposals for each mask.
    ///
    /// # Errors
    /// When the tokenizer has no mask token.
    pub fn new(tokenizer: &'a Tokenizer, top_k: usize) -> Result<Self> {
        let mask =
            tokenizer.mask_token().and_then(|t| tokenizer.token_to_id(t)).ok_or_else(|| {
                Error::Input("the tokenizer has no mask token: this model cannot fill masks".into())
            })?;
        Ok(Self { tokenizer, mask, top_k })
    }

    /// For each mask among `ids` its best fills, from logits `[T, V]`.
    ///
    /// # Errors
    /// For logits that are not finite, and ids that the tokenizer cannot decode.
    pub fn fills(&self, ids: &[u32], logits: View<'_>) -> Result<Vec<Vec<Fill>>> {
        let masks = ids.iter().filter(|&&id| id == self.mask).count();
        ids.iter()
            .zip(logits.rows())
            .enumerate()
            .filter(|(_, (id, _))| **id == self.mask)
            .map(|(at, (_, row))| self.fill(ids, at, row, masks == 1))
            .collect()
    }

    fn fill(&self, ids: &[u32], at: usize, logits: &[f32], single: bool) -> Result<Vec<Fill>> {
        finite("logits", logits)?;
        let probabilities = softmax(logits);
        let fill = |token: usize| {
            let token = token as u32;
            let mut filled = ids.to_vec();
            filled[at] = token;
            filled.retain(|&id| Some(id) != self.tokenizer.pad_id());
            Ok(Fill {
                score: probabilities[token as usize],
                token,
                token_str: self.tokenizer.decode(&[token], false)?,
                // The other masks are special tokens: leaving these out would hide them.
                sequence: self.tokenizer.decode(&filled, single)?,
            })
        };
        largest(&probabilities, self.top_k).into_iter().map(fill).collect()
    }
}

impl Task for MaskFiller<'_> {
    type Input = String;
    type Output = Vec<Vec<Fill>>;

    fn prepare(&self, text: &String) -> Result<Vec<Encoding>> {
        let encoding = self.tokenizer.encode(text)?;
        if !encoding.ids().contains(&self.mask) {
            let mask = self.tokenizer.mask_token().unwrap_or_default();
            return Err(Error::Input(format!("no {mask} in the text: nothing to fill")));
        }
        Ok(vec![encoding])
    }

    fn finish(&self, _: &String, seen: &[Seen<'_>]) -> Result<Self::Output> {
        self.fills(seen[0].encoding.ids(), seen[0].output("logits")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::test_tokenizers::{byte_level, word_piece};

    #[test]
    fn fills_each_mask_by_itself() {
        let t = word_piece(true);
        let filler = MaskFiller::new(&t, 2).unwrap();
        let encoding = &filler.prepare(&"the [MASK] [MASK].".into()).unwrap()[0];
        assert_eq!(encoding.ids(), [2, 5, 4, 4, 9, 3]);
        let mut logits = vec![0.0; 6 * 14];
        (logits[2 * 14 + 6], logits[2 * 14 + 5], logits[3 * 14 + 8]) = (2.0, 1.0, 3.0);
        let fills = filler.fills(encoding.ids(), View { values: &logits, width: 14 }).unwrap();
        let first = &fills[0][0];
        assert_eq!(
            (first.token, &first.token_str[..], &first.sequence[..]),
            (6, "cat", "[CLS] the cat [MASK]. [SEP]")
        );
        assert_eq!(fills[0][1].token, 5);
        assert!((fills[1][0].score - 3f32.exp() / (3f32.exp() + 13.0)).abs() < 1e-6);

        let one = &filler.prepare(&"the [MASK]".into()).unwrap()[0];
        let fills =
            filler.fills(one.ids(), View { values: &logits[14..14 * 5], width: 14 }).unwrap();
        assert_eq!(fills[0][0].sequence, "the sat");
    }

    #[test]
    fn refuses_what_cannot_be_filled() {
        let t = word_piece(true);
        let error = MaskFiller::new(&t, 2).unwrap().prepare(&"the cat".into()).unwrap_err();
        assert!(error.to_string().contains("[MASK]"));
        assert!(MaskFiller::new(&byte_level(), 2).is_err());
    }
}

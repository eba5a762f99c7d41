//! Measures of ids, summed as batches come.

/// e to the mean loss a token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Perplexity {
    loss: f64,
    tokens: u64,
}

impl Perplexity {
    /// Adds the **sum** of -ln p(token) over `tokens` tokens. Batches of any sizes may be added: the mean is one over
    /// all tokens, not one of the batches' means.
    pub fn add(&mut self, loss: f64, tokens: u64) {
        self.loss += loss;
        self.tokens += tokens;
    }

    /// The mean loss in nats a token; NaN before the first token.
    pub fn loss(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// e^[`loss`](Self::loss): 1 for certainty, V for a guess among V.
    pub fn value(&self) -> f64 {
        self.loss().exp()
    }
}

/// The share of tokens that are what and where they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenAccuracy {
    hits: u64,
    tokens: u64,
}

impl TokenAccuracy {
    /// Compares position by position. Where lengths differ, as those of generated text may, what stands beyond the
    /// shorter one counts as wrong; under teacher forcing they are the same.
    pub fn add(&mut self, ids: &[u32], reference: &[u32]) {
        self.hits += ids.iter().zip(reference).filter(|(a, b)| a == b).count() as u64;
        self.tokens += ids.len().max(reference.len()) as u64;
    }

    /// From 0 to 100; NaN before the first token.
    pub fn value(&self) -> f64 {
        100.0 * self.hits as f64 / self.tokens as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_weighs_by_tokens() {
        let mut perplexity = Perplexity::default();
        assert!(perplexity.value().is_nan());
        perplexity.add(3.0 * 2f64.ln(), 3);
        perplexity.add(8f64.ln(), 1);
        assert!((perplexity.value() - 2f64.powf(1.5)).abs() < 1e-12);
    }

    #[test]
    fn tokens_beyond_the_end_are_wrong() {
        let mut accuracy = TokenAccuracy::default();
        accuracy.add(&[1, 2, 3], &[1, 5, 3]);
        accuracy.add(&[4], &[4, 1]);
        accuracy.add(&[4, 4, 4], &[]);
        assert_eq!(accuracy.value(), 100.0 * 3.0 / 8.0);
    }
}

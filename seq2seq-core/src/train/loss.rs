//! Cross-entropy and its smoothing.

/// Label smoothing (Szegedy et al. 2016) in the two definitions that are in use, which are not equal (trap 62).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Smoothing {
    /// The negative log-likelihood of the target.
    #[default]
    None,
    /// (1 - e) nll + e mean(-ln p), the mean over all V ids: PyTorch and transformers.
    Uniform(f32),
    /// (1 - e - e') nll + e' Σ(-ln p), e' = e / (V - 1): fairseq.
    Others(f32),
}

impl Smoothing {
    /// The weights a of nll and b of Σ(-ln p) in the loss a nll + b Σ(-ln p), over `vocab` ids. Both definitions have
    /// a + b V = 1.
    pub fn weights(self, vocab: usize) -> (f64, f64) {
        match self {
            Self::None => (1.0, 0.0),
            Self::Uniform(e) => (1.0 - f64::from(e), f64::from(e) / vocab as f64),
            Self::Others(e) => {
                let each = f64::from(e) / (vocab.max(2) - 1) as f64;
                (1.0 - f64::from(e) - each, each)
            }
        }
    }

    /// e
    pub fn epsilon(self) -> f32 {
        match self {
            Self::None => 0.0,
            Self::Uniform(e) | Self::Others(e) => e,
        }
    }
}

/// The loss over the rows that have a target. Sums, so that those of several batches add up to that of all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// Σ loss, smoothed.
    pub sum: f64,
    /// Σ negative log-likelihood of the targets; e to the power of its mean is the perplexity.
    pub nll: f64,
    /// Rows that have a target.
    pub tokens: usize,
    /// Rows whose target has the largest logit, the lowest id of several.
    pub correct: usize,
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.nll += other.nll;
        self.tokens += other.tokens;
        self.correct += other.correct;
    }
}

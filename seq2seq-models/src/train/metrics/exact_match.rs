use super::Counts;

#[derive(Debug, Default)]
pub(super) struct ExactMatch {
    rows: u64,
    hits: u64,
}

impl Counts for ExactMatch {
    fn add(&mut self, hypothesis: &str, references: &[&str]) {
        self.rows += 1;
        self.hits += u64::from(references.contains(&hypothesis));
    }

    fn score(&self) -> f64 {
        100.0 * self.hits as f64 / self.rows as f64
    }
}

/// The cross-attention of every step, kept until it is known which hypotheses are returned.
#[derive(Default)]
pub(super) struct WeightLog {
    /// `[step][layer][hypothesis]`, each `[head][source position]` flattened.
    steps: Vec<Vec<Vec<Vec<f32>>>>,
}

impl WeightLog {
    /// Keeps what `DecodeSession::take_weights` gave after a step.
    pub(super) fn record(&mut self, weights: Vec<Vec<Vec<f32>>>) {
        self.steps.push(weights);
    }

    /// `[token][layer][head][source position]`, the last two flattened, of a sequence whose token t was chosen from the
    /// scores of hypothesis `origins[t]` of step t.
    pub(super) fn trace(&self, origins: &[usize]) -> Vec<Vec<Vec<f32>>> {
        let layer = |rows: &Vec<Vec<f32>>, row: usize| rows.get(row).cloned().unwrap_or_default();
        self.steps
            .iter()
            .zip(origins)
            .map(|(layers, &row)| layers.iter().map(|rows| layer(rows, row)).collect())
            .collect()
    }
}

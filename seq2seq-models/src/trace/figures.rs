//! Figures of what a stage computed.

use serde::Serialize;

/// What one stage computed, over all times that it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageReport {
    /// Its path, such as `encoder.layers.3`; `decoder.memory` are the keys and values of the encoder's output in all layers,
    /// `choice` is the choice of the next ids.
    pub name: String,
    /// How often it came: once a pass or step; `decoder.memory` once a layer, `choice` twice a step where the likeliest
    /// ids are kept.
    pub calls: usize,
    /// Rows that it gave, over all calls.
    pub rows: usize,
    /// Columns of a row.
    pub width: usize,
    /// Seconds between the stage before and the end of this one, over all calls.
    pub seconds: f64,
    /// Figures of its values; absent for a choice.
    pub values: Option<ValueReport>,
}

/// Figures of the values of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ValueReport {
    /// The root mean square of ‖row‖.
    pub norm: f64,
    /// Mean of all values.
    pub mean: f64,
    /// The least.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

/// A [`StageReport`] in the making.
#[derive(Debug, Clone)]
pub(super) struct StageSums {
    pub(super) name: String,
    calls: usize,
    rows: usize,
    width: usize,
    seconds: f64,
    values: usize,
    sum: f64,
    squares: f64,
    min: f32,
    max: f32,
}

impl StageSums {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            calls: 0,
            rows: 0,
            width: 0,
            seconds: 0.0,
            values: 0,
            sum: 0.0,
            squares: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// Adds a call that gave `rows` of `width`, and what they hold where that is of interest.
    pub(super) fn add(&mut self, [rows, width]: [usize; 2], seconds: f64, values: &[f32]) {
        self.calls += 1;
        self.rows += rows;
        self.width = width;
        self.seconds += seconds;
        self.values += values.len();
        for &v in values {
            self.sum += f64::from(v);
            self.squares += f64::from(v) * f64::from(v);
            self.min = self.min.min(v);
            self.max = self.max.max(v);
        }
    }

    pub(super) fn finish(self) -> StageReport {
        let of_values = (self.values > 0).then(|| ValueReport {
            norm: (self.squares / self.rows as f64).sqrt(),
            mean: self.sum / self.values as f64,
            min: self.min,
            max: self.max,
        });
        let Self { name, calls, rows, width, seconds, .. } = self;
        StageReport { name, calls, rows, width, seconds, values: of_values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up() {
        let mut sums = StageSums::new("x".into());
        sums.add([1, 2], 0.5, &[3.0, 4.0]);
        sums.add([2, 2], 0.25, &[0.0, 0.0, -1.0, 0.0]);
        let values = ValueReport { norm: (26.0f64 / 3.0).sqrt(), mean: 1.0, min: -1.0, max: 4.0 };
        let expected = StageReport {
            name: "x".into(),
            calls: 2,
            rows: 3,
            width: 2,
            seconds: 0.75,
            values: Some(values),
        };
        assert_eq!(sums.finish(), expected);
        let mut choice = StageSums::new("choice".into());
        choice.add([1, 9], 0.1, &[]);
        assert_eq!(choice.finish().values, None);
    }
}

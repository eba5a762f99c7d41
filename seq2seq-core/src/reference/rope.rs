//! Rotary position embedding, split halves. The rotated values are rounded to f32, as a cache stores them.

use crate::Rotary;

/// Rotates the vector of one head at `position` in place.
///
/// With half = `inv_freq.len()` and angle = position · inv_freq\[j\] (an f32 product), columns a = j and b = j + half
/// become a cos - b sin and b cos + a sin, cosine and sine each times `scale`.
///
/// ```
/// use seq2seq_core::{Rotary, reference::rope::rotate};
/// use std::f32::consts::FRAC_PI_2;
///
/// // One frequency: the columns 0 and 1 are a pair, which turns by a right angle a position; the third is left alone.
/// let rotary = Rotary { inv_freq: [FRAC_PI_2].into(), scale: 1.0 };
/// let mut head = [1.0, 0.0, 5.0];
/// rotate(&rotary, 1, &mut head);
/// assert!(head[0].abs() < 1e-6 && (head[1] - 1.0).abs() < 1e-6 && head[2] == 5.0, "{head:?}");
/// ```
pub fn rotate(rotary: &Rotary, position: usize, head: &mut [f32]) {
    let half = rotary.inv_freq.len();
    for (j, &frequency) in rotary.inv_freq.iter().enumerate() {
        let angle = f64::from(position as f32 * frequency);
        let scale = f64::from(rotary.scale);
        let (cos, sin) = (angle.cos() * scale, angle.sin() * scale);
        let (a, b) = (f64::from(head[j]), f64::from(head[j + half]));
        head[j] = (a * cos - b * sin) as f32;
        head[j + half] = (b * cos + a * sin) as f32;
    }
}

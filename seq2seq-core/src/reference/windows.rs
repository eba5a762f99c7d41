//! Windows of grids: copies.

use super::Tensor;
use crate::backend::check;
use crate::{Grid, Result, Rows, Windows};

pub(super) fn windows(x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let mut values = Vec::with_capacity(sights.rows * sights.width);
    let nothing = vec![0.0; x.width()];
    for sight in &sights.each {
        for row in 0..sight.windows.height {
            for column in 0..sight.windows.width {
                for tap_row in 0..windows.kernel[0] {
                    let y = windows.place(0, (row, tap_row), sight.grid.height);
                    for tap in 0..windows.kernel[1] {
                        let x_place = windows.place(1, (column, tap), sight.grid.width);
                        values.extend_from_slice(match (y, x_place) {
                            (Some(y), Some(place)) => {
                                x.row(sight.from + y * sight.grid.width + place)
                            }
                            _ => &nothing,
                        });
                    }
                }
            }
        }
    }
    Ok(Tensor::new(sights.rows, sights.width, values))
}

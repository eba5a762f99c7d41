//! The drawing: how often the first device fits into each other one, a bar a case, on a logarithmic scale.

use crate::record::{Row, cases, ratio};
use plotters::prelude::*;
use std::{error::Error, path::Path};

const COLOURS: [RGBColor; 3] =
    [RGBColor(38, 102, 168), RGBColor(214, 116, 28), RGBColor(70, 140, 70)];
const LINE: i32 = 16;
const LEFT: i32 = 330;
const WIDTH: i32 = 860;

/// Draws nothing where there is one device.
pub(crate) fn draw(path: &Path, devices: &[&str], rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let others = devices.len() - 1;
    if others == 0 || rows.is_empty() {
        return Ok(());
    }
    let count = rows.len() / devices.len();
    let height = 60 + LINE * (count * others) as i32;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    let title = format!(
        "time of {} over that of {}: right of the line, {} is faster",
        devices[1..].join(", "),
        devices[0],
        devices[0]
    );
    area.draw(&Text::new(title, (8, 8), text(14)))?;
    // A factor of two a step, from a sixteenth to 64.
    let place = |ratio: f64| {
        LEFT + ((ratio.log2().clamp(-4.0, 6.0) + 4.0) / 10.0 * f64::from(WIDTH - LEFT - 60)) as i32
    };
    for step in -4..=6 {
        let x = place(f64::from(step).exp2());
        let style = if step == 0 { BLACK.stroke_width(2) } else { BLACK.mix(0.15).stroke_width(1) };
        area.draw(&PathElement::new([(x, 44), (x, height - 8)], style))?;
        let label = if step < 0 { format!("1/{}", 1 << -step) } else { format!("{}", 1 << step) };
        area.draw(&Text::new(label, (x - 6, 30), text(11)))?;
    }
    for (i, case) in cases(rows, devices.len()).enumerate() {
        for (j, other) in case[1..].iter().enumerate() {
            let y = 46 + LINE * (i * others + j) as i32;
            let (from, to) = (place(1.0), place(ratio(other, &case[0])));
            let corners = [(from.min(to), y + 2), (from.max(to), y + LINE - 3)];
            area.draw(&Rectangle::new(corners, COLOURS[j % COLOURS.len()].filled()))?;
            let label = format!("{:.2}", ratio(other, &case[0]));
            area.draw(&Text::new(label, (from.max(to) + 4, y + 2), text(11)))?;
        }
        let y = 46 + LINE * (i * others) as i32;
        area.draw(&Text::new(format!("{}: {}", case[0].op, case[0].case), (8, y + 2), text(12)))?;
    }
    area.present()?;
    Ok(())
}

//! The drawing, a line a case: what share of its limit each device reaches, and how often the first device fits into each other
//! one, on a logarithmic scale.

use crate::record::{Record, Row, ratio};
use plotters::{coord::Shift, prelude::*};
use std::{error::Error, ops::Range, path::Path};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const COLOURS: [RGBColor; 4] =
    [RGBColor(38, 102, 168), RGBColor(214, 116, 28), RGBColor(70, 140, 70), RGBColor(130, 90, 160)];
/// Height of a bar with its space.
const LINE: i32 = 16;
const TOP: i32 = 62;
const WIDTH: i32 = 1180;
/// Where shares are drawn, and ratios. The rest on the right is for their labels.
const SHARES: Range<i32> = 330..680;
const RATIOS: Range<i32> = 760..1120;

/// A scale with its grid.
struct Panel {
    across: Range<i32>,
    /// What lies at both ends.
    ends: [f64; 2],
    ticks: Vec<(f64, String)>,
    /// Where bars begin.
    from: f64,
    title: String,
}

impl Panel {
    fn place(&self, value: f64) -> i32 {
        let [low, high] = self.ends;
        let part = (value.clamp(low, high) - low) / (high - low);
        self.across.start + (part * f64::from(self.across.end - self.across.start)) as i32
    }

    fn grid(&self, area: &Area<'_>, height: i32) -> Result<(), Box<dyn Error>> {
        area.draw(&Text::new(self.title.clone(), (self.across.start, 26), text(12)))?;
        for (value, label) in &self.ticks {
            let x = self.place(*value);
            let strong = *value == self.from;
            let style = if strong { BLACK.stroke_width(2) } else { BLACK.mix(0.15).into() };
            area.draw(&PathElement::new([(x, TOP - 2), (x, height - 8)], style))?;
            area.draw(&Text::new(label.clone(), (x - 6, 44), text(11)))?;
        }
        Ok(())
    }

    fn bar(
        &self,
        area: &Area<'_>,
        y: i32,
        value: f64,
        colour: RGBColor,
        label: String,
    ) -> Result<(), Box<dyn Error>> {
        let (from, to) = (self.place(self.from), self.place(value));
        let corners = [(from.min(to), y + 2), (from.max(to), y + LINE - 3)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        area.draw(&Text::new(label, (from.max(to) + 4, y + 2), text(11)))?;
        Ok(())
    }
}

fn text(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

fn shares() -> Panel {
    let tick = |percent: i32| (f64::from(percent) / 100.0, format!("{percent}%"));
    Panel {
        across: SHARES,
        ends: [0.0, 1.25],
        ticks: [0, 25, 50, 75, 100].map(tick).into(),
        from: 0.0,
        title: "share of the limit (operations/peak or bytes/bandwidth)".into(),
    }
}

/// A factor of two a step, from a sixteenth to 64.
fn ratios(first: &str) -> Panel {
    let tick = |step: i32| {
        let label = if step < 0 { format!("1/{}", 1 << -step) } else { format!("{}", 1 << step) };
        (f64::from(step), label)
    };
    Panel {
        across: RATIOS,
        ends: [-4.0, 6.0],
        ticks: (-4..=6).map(tick).collect(),
        from: 0.0,
        title: format!("time over that of {first}: right of the line, {first} is faster"),
    }
}

/// Draws nothing where there is no case.
pub(crate) fn draw(path: &Path, record: &Record) -> Result<(), Box<dyn Error>> {
    let devices = record.devices.len();
    if record.rows.is_empty() {
        return Ok(());
    }
    let height = TOP + 12 + (LINE * devices as i32 + 4) * record.cases().count() as i32;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for (i, device) in record.devices.iter().enumerate() {
        let x = 8 + 160 * i as i32;
        let colour = COLOURS[i % COLOURS.len()];
        area.draw(&Rectangle::new([(x, 8), (x + 10, 18)], colour.filled()))?;
        area.draw(&Text::new(device.clone(), (x + 16, 7), text(13)))?;
    }
    let (shares, ratios) = (shares(), ratios(&record.devices[0]));
    shares.grid(&area, height)?;
    if devices > 1 {
        ratios.grid(&area, height)?;
    }
    for (i, case) in record.cases().enumerate() {
        let top = TOP + (LINE * devices as i32 + 4) * i as i32;
        let name = format!("{}: {}", case[0].op, case[0].case);
        area.draw(&Text::new(name, (8, top + 2), text(12)))?;
        let (rows, first) = record.by_device(case);
        for (j, row) in rows.enumerate() {
            let (y, colour) = (top + LINE * j as i32, COLOURS[j % COLOURS.len()]);
            if let Some(share) = row.and_then(Row::share) {
                shares.bar(&area, y, share, colour, format!("{:.0}%", 100.0 * share))?;
            }
            if let (true, Some(row), Some(first)) = (j > 0, row, first) {
                let ratio = ratio(row, first);
                ratios.bar(&area, y, ratio.log2(), colour, format!("{ratio:.2}"))?;
            }
        }
    }
    area.present()?;
    Ok(())
}

//! Loss and scores over steps, drawn from the log of a training.

use crate::{
    failure::{Failure, Result},
    output::Output,
};
use plotters::prelude::*;
use serde_json::Value;
use std::{collections::BTreeMap, fs, ops::Range, path::Path};
use textplots::{Chart, LabelBuilder, LabelFormat, Plot, Shape};

/// Points by step.
type Series = Vec<(f32, f32)>;

/// What there is to be drawn.
#[derive(Debug, Default)]
pub(super) struct Curves {
    train_loss: Series,
    valid_loss: Series,
    /// From 0 to 100, by name.
    scores: BTreeMap<String, Series>,
}

/// Keys of an evaluation that are no scores.
const OTHERS: [&str; 8] =
    ["event", "step", "loss", "perplexity", "best", "reconstruction", "kl", "elbo"];

impl Curves {
    /// Reads a `metrics.jsonl`. Lines that are none of ours are passed over.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Failure::output(path, &e))?;
        let mut this = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            this.add(&line);
        }
        Ok(this)
    }

    fn add(&mut self, line: &Value) -> Option<()> {
        let number = |key: &str| Some(line.get(key)?.as_f64()? as f32);
        let point = (number("step")?, number("loss")?);
        if line.get("event")? == "train" {
            self.train_loss.push(point);
            return Some(());
        }
        self.valid_loss.push(point);
        for (name, value) in line.as_object()? {
            if let (false, Some(value)) = (OTHERS.contains(&&name[..]), value.as_f64()) {
                let series = self.scores.entry(name.clone()).or_default();
                series.push((point.0, value as f32));
            }
        }
        Some(())
    }

    /// Draws loss and scores, one beneath the other. The file appears when it is whole.
    pub(super) fn write_svg(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        self.draw(&mut text).map_err(Failure::Other)?;
        let mut output = Output::open(Some(path))?;
        output.text(&text)?;
        output.finish()
    }

    fn draw(&self, text: &mut String) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("the curves cannot be drawn: {e}");
        let panels = if self.scores.is_empty() { 1 } else { 2 };
        let root = SVGBackend::with_string(text, (900, 320 * panels)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| failed(&e))?;
        let areas = root.split_evenly((panels as usize, 1));
        let mut losses = vec![("loss", &self.train_loss)];
        if !self.valid_loss.is_empty() {
            losses.push(("loss, evaluated", &self.valid_loss));
        }
        let highest = losses.iter().flat_map(|(_, s)| s.iter()).map(|p| p.1).fold(0.0, f32::max);
        let scores: Vec<_> = self.scores.iter().map(|(name, series)| (&name[..], series)).collect();
        let panels = [(&losses, 0.0..1.05 * highest.max(1e-3)), (&scores, 0.0..100.0)];
        for (area, (series, range)) in areas.iter().zip(panels) {
            panel(area, series, self.steps(), range).map_err(|e| failed(&e))?;
        }
        root.present().map_err(|e| failed(&e))
    }

    fn steps(&self) -> Range<f32> {
        let all = self.train_loss.iter().chain(&self.valid_loss);
        0.0..all.map(|p| p.0).fold(1.0, f32::max)
    }

    /// The loss for a terminal; nothing where there are too few points to draw a line.
    pub(super) fn terminal(&self) -> String {
        if self.train_loss.len() < 2 {
            return String::new();
        }
        let steps = self.steps();
        let (train, valid) = (Shape::Lines(&self.train_loss), Shape::Points(&self.valid_loss));
        let highest = self.train_loss.iter().map(|p| p.1).fold(0.0, f32::max);
        let mut chart = Chart::new_with_y_range(120, 40, steps.start, steps.end, 0.0, highest);
        let chart = chart.lineplot(&train);
        let chart = if self.valid_loss.is_empty() { chart } else { chart.lineplot(&valid) };
        let chart = chart
            .x_label_format(LabelFormat::Custom(Box::new(|x| format!("step {x:.0}"))))
            .y_label_format(LabelFormat::Custom(Box::new(|y| format!("loss {y:.2}"))));
        chart.axis();
        chart.figures();
        format!("{chart}\n")
    }
}

/// Colours that are told apart in greys too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x5a, 0xa6),
    RGBColor(0xd9, 0x6b, 0x0b),
    RGBColor(0x2a, 0x8c, 0x4a),
    RGBColor(0x9b, 0x2f, 0x8f),
    RGBColor(0x7a, 0x5c, 0x3a),
    RGBColor(0x55, 0x55, 0x55),
];

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    series: &[(&str, &Series)],
    x: Range<f32>,
    y: Range<f32>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("steps")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (i, (name, points)) in series.iter().enumerate() {
        let style = COLOURS[i % COLOURS.len()].stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_from_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("metrics.jsonl");
        let lines = "\
            {\"event\":\"train\",\"step\":10,\"loss\":4.0}\n\
            {\"event\":\"train\",\"step\":20,\"loss\":2.0}\n\
            {\"event\":\"evaluate\",\"step\":20,\"loss\":2.5,\"best\":true,\"token_accuracy\":40.0}\n\
            {\"torn";
        fs::write(&log, lines).unwrap();
        let curves = Curves::read(&log).unwrap();
        assert_eq!(curves.train_loss, [(10.0, 4.0), (20.0, 2.0)]);
        assert_eq!(curves.scores["token_accuracy"], [(20.0, 40.0)]);
        let path = folder.path().join("curves.svg");
        curves.write_svg(&path).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("loss, evaluated") && svg.contains("token_accuracy"));
        let terminal = curves.terminal();
        assert!(terminal.contains("loss 4.00") && terminal.contains("step 20"), "{terminal}");
        assert!(Curves::default().terminal().is_empty());
    }
}

//! Exact match of several models on the same rows, by the length of the source: a table, and a drawing of it.

use clap::Parser;
use expressions::outcome::{Count, generated, read, rows};
use plotters::prelude::*;
use std::{fs, path::PathBuf, process::ExitCode};

/// Scores models side by side by the length of the source, in characters.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Rows of `expressions --with-class`.
    rows: PathBuf,
    /// The name of a model, and what `seq2seq generate --output` wrote for the rows with it.
    #[arg(long = "model", value_name = "NAME=FILE", value_parser = model, required = true)]
    models: Vec<(String, PathBuf)>,
    /// Characters of one class of lengths.
    #[arg(long, default_value_t = 10)]
    step: usize,
    /// Rows below which a class of lengths is joined with the one before.
    #[arg(long, default_value_t = 50)]
    least: usize,
    /// The drawing.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn model(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE is wanted")?;
    Ok((name.into(), file.into()))
}

/// Rows whose sources have `from` to `to` characters.
struct Class {
    from: usize,
    to: usize,
    /// Of each model.
    counts: Vec<Count>,
}

impl Class {
    fn rows(&self) -> usize {
        self.counts[0].rows
    }
}

/// Classes of `step` lengths; the last ones with fewer than `least` rows are joined.
fn classes(sources: &[(usize, Vec<bool>)], step: usize, least: usize) -> Vec<Class> {
    let mut all: Vec<Class> = Vec::new();
    let mut sorted: Vec<_> = sources.iter().collect();
    sorted.sort_by_key(|(length, _)| *length);
    for (length, exact) in sorted {
        if all.last().is_none_or(|class| *length > class.to) {
            let from = length / step * step;
            let counts = exact.iter().map(|_| Count::default()).collect();
            all.push(Class { from, to: from + step - 1, counts });
        }
        let Some(class) = all.last_mut() else { continue };
        class.counts.iter_mut().zip(exact).for_each(|(count, &exact)| count.add(exact));
    }
    while let [.., before, last] = &mut all[..]
        && last.rows() < least
    {
        before.to = last.to;
        for (count, more) in before.counts.iter_mut().zip(&last.counts) {
            (count.rows, count.exact) = (count.rows + more.rows, count.exact + more.exact);
        }
        all.pop();
    }
    all
}

const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x5a, 0xa6),
    RGBColor(0xd9, 0x6b, 0x0b),
    RGBColor(0x2a, 0x8c, 0x4a),
    RGBColor(0x9b, 0x2f, 0x8f),
];

fn draw(classes: &[Class], names: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (760, 380)).into_drawing_area();
        root.fill(&WHITE)?;
        let first = classes.first().map_or(0, |class| class.from);
        let last = classes.last().map_or(1, |class| class.from);
        let mut chart = ChartBuilder::on(&root)
            .margin(14)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(first as f32..last as f32 + 1.0, 0.0f32..104.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc("characters of the source, at least")
            .y_desc("exact match, %")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        for (i, name) in names.iter().enumerate() {
            let points =
                classes.iter().map(|c| (c.from as f32, 100.0 * c.counts[i].share() as f32));
            let colour = COLOURS[i % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        root.present()?;
    }
    Ok(text)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let text = read(&arguments.rows)?;
    let rows = rows(&text)?;
    let mut sources: Vec<(usize, Vec<bool>)> =
        rows.iter().map(|[_, source, _]| (source.chars().count(), Vec::new())).collect();
    for (name, path) in &arguments.models {
        let texts = generated(&read(path)?)?;
        if texts.len() != rows.len() || rows.is_empty() {
            return Err(format!("{name}: {} rows but {} outputs", rows.len(), texts.len()).into());
        }
        for ((row, text), (_, exact)) in rows.iter().zip(&texts).zip(&mut sources) {
            exact.push(text == row[2]);
        }
    }
    let classes = classes(&sources, arguments.step.max(1), arguments.least);
    let names: Vec<&str> = arguments.models.iter().map(|(name, _)| &name[..]).collect();
    println!("| characters | rows | {} |", names.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(names.len()));
    for class in &classes {
        let shares = class.counts.iter().map(|count| format!(" {:.1}% |", 100.0 * count.share()));
        let (from, to) = (class.from, class.to);
        println!("| {from} to {to} | {} |{}", class.rows(), shares.collect::<String>());
    }
    if let Some(path) = &arguments.svg {
        fs::write(path, draw(&classes, &names)?)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    expressions::exit_code(run(&Arguments::parse()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_tails_are_joined() {
        let sources: Vec<_> = [3, 12, 12, 25, 31]
            .into_iter()
            .map(|length| (length, vec![length < 20, length == 31]))
            .collect();
        let classes = classes(&sources, 10, 2);
        let seen: Vec<_> = classes.iter().map(|c| (c.from, c.to, c.rows())).collect();
        assert_eq!(seen, [(0, 9, 1), (10, 19, 2), (20, 39, 2)]);
        assert_eq!(classes[1].counts[0].share(), 1.0);
        assert_eq!(classes[2].counts[1].share(), 0.5);
    }
}

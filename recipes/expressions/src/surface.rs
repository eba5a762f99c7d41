//! The many ways people write an expression, and the few ways they spell its words.

use crate::tables::MONTHS;
use crate::words::grouped;
use crate::{Expression, Number, Rng};

impl Expression {
    /// One of its written forms, the canonical one among them.
    pub fn surface(&self, rng: &mut Rng) -> String {
        match self {
            Expression::Cardinal(n) => integer(*n, &["", ","], rng),
            Expression::French(n) => integer(*n, &["", "", ",", " "], rng),
            Expression::German(n) => integer(*n, &["", "", ",", "."], rng),
            Expression::Ordinal(n) => {
                let canonical = self.written();
                let suffix = &canonical[canonical.len() - 2..];
                format!("{}{suffix}", grouped(*n, rng.pick(&["", ","])))
            }
            Expression::Decimal(n) => {
                if n.whole == 0 && rng.chance(20) {
                    return format!("{}.{}", if n.negative { "-" } else { "" }, n.decimals);
                }
                number(n, rng)
            }
            Expression::Fraction { whole, numerator, denominator } => {
                let symbol = match (numerator, denominator) {
                    (1, 2) => "½",
                    (1, 4) => "¼",
                    (3, 4) => "¾",
                    (1, 3) => "⅓",
                    (2, 3) => "⅔",
                    _ => return self.written(),
                };
                match (whole, rng.chance(50)) {
                    (_, false) => self.written(),
                    (0, true) => symbol.into(),
                    (_, true) => format!("{whole}{}{symbol}", rng.pick(&["", " "])),
                }
            }
            Expression::Date { year, month, day } => date(*year, *month, *day, rng),
            Expression::Time { hour, minute, second, pm } => {
                let Some(pm) = pm else {
                    let seconds = second.map(|s| format!(":{s:02}")).unwrap_or_default();
                    return match rng.chance(50) {
                        true => format!("{hour:02}:{minute:02}{seconds}"),
                        false => format!("{hour}:{minute:02}{seconds}"),
                    };
                };
                let half = match pm {
                    true => rng.pick(&[" pm", " pm", " PM", "pm", "PM", " p.m."]),
                    false => rng.pick(&[" am", " am", " AM", "am", "AM", " a.m."]),
                };
                match *minute == 0 && rng.chance(50) {
                    true => format!("{hour}{half}"),
                    false => format!("{hour}:{minute:02}{half}"),
                }
            }
            Expression::Money { currency, major, minor } => {
                if *minor == 0 && *major > 0 && major.is_multiple_of(1_000_000) && rng.chance(40) {
                    return format!("{}{} million", currency.symbol, major / 1_000_000);
                }
                let mut amount = grouped(*major, rng.pick(&["", ","]));
                if *minor > 0 || (!currency.minor[0].is_empty() && rng.chance(15)) {
                    amount += &format!(".{minor:02}");
                }
                let (symbol, code) = (currency.symbol, currency.code);
                match rng.weighted(&[12, 1, 1, 1, 1]) {
                    0 => format!("{symbol}{amount}"),
                    1 => format!("{symbol} {amount}"),
                    2 => format!("{amount} {symbol}"),
                    3 => format!("{amount} {code}"),
                    _ => format!("{code} {amount}"),
                }
            }
            Expression::Measure { number: n, unit } => {
                let name = if rng.chance(20) { unit.alias } else { unit.symbol };
                format!("{}{}{name}", number(n, rng), rng.pick(&["", " "]))
            }
            Expression::Phone { digits, country } => {
                let (head, line) = digits.split_at(digits.len() - 4);
                if head.len() == 3 {
                    return self.written();
                }
                let (area, exchange) = head.split_at(3);
                match country {
                    true => match rng.below(3) {
                        0 => format!("+1 {area} {exchange} {line}"),
                        1 => format!("+1-{area}-{exchange}-{line}"),
                        _ => format!("+1{digits}"),
                    },
                    false => match rng.below(5) {
                        0 | 1 => format!("{area}-{exchange}-{line}"),
                        2 => format!("({area}) {exchange}-{line}"),
                        3 => format!("{area}.{exchange}.{line}"),
                        _ => digits.clone(),
                    },
                }
            }
            Expression::Roman(_) if rng.chance(25) => self.written().to_lowercase(),
            Expression::Roman(_) => self.written(),
        }
    }

    /// Its spoken form, now and then with hyphens ("twenty-one") or, in a cardinal, with "and" after "hundred".
    pub fn spelling(&self, rng: &mut Rng) -> String {
        let spoken = self.spoken();
        if !rng.chance(12) {
            return spoken;
        }
        let mut out = String::new();
        let mut previous = "";
        for word in spoken.split(' ') {
            let joined = previous.ends_with("ty")
                && is_unit(word)
                && !matches!(
                    self,
                    Expression::Date { .. } | Expression::Time { .. } | Expression::Fraction { .. }
                );
            if joined {
                out.push('-');
            } else if !out.is_empty() {
                out.push(' ');
            }
            let scale = matches!(word, "million" | "thousand");
            if matches!(self, Expression::Cardinal(_)) && previous == "hundred" && !scale {
                out += "and ";
            }
            out += word;
            previous = word;
        }
        out
    }
}

fn is_unit(word: &str) -> bool {
    const UNITS: [&str; 18] = [
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "first", "second",
        "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    ];
    UNITS.contains(&word)
}

fn integer(n: i64, separators: &[&str], rng: &mut Rng) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, grouped(n.unsigned_abs(), rng.pick(separators)))
}

fn number(n: &Number, rng: &mut Rng) -> String {
    n.written(rng.pick(&["", ","]))
}

fn date(year: Option<u64>, month: usize, day: u64, rng: &mut Rng) -> String {
    let (long, number) = (MONTHS[month], month + 1);
    let name = if rng.chance(30) { &long[..3] } else { long };
    let Some(year) = year else {
        return match rng.below(3) {
            0 | 1 => format!("{name} {day}"),
            _ => format!("{day} {name}"),
        };
    };
    match rng.below(9) {
        0 | 1 => format!("{number}/{day}/{year}"),
        2 => format!("{number:02}/{day:02}/{year}"),
        3 | 8 => format!("{year}-{number:02}-{day:02}"),
        4 | 5 => format!("{name} {day}, {year}"),
        6 => format!("{name} {day} {year}"),
        _ => format!("{day} {name} {year}"),
    }
}

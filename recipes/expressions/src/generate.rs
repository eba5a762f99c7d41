//! Drawing expressions and rows from a seed.

use std::collections::HashSet;

use crate::tables::{CURRENCIES, MONTH_DAYS, UNITS};
use crate::{Expression, Kind, Number, Rng, Split, Task};

impl Expression {
    /// A random expression of a kind, from every split.
    pub fn draw(kind: Kind, rng: &mut Rng) -> Self {
        match kind {
            Kind::Cardinal => Expression::Cardinal(integer(rng)),
            Kind::French => Expression::French(integer(rng)),
            Kind::German => Expression::German(integer(rng)),
            Kind::Ordinal => Expression::Ordinal(natural(6, rng).max(1)),
            Kind::Decimal => Expression::Decimal(Number {
                negative: rng.chance(10),
                whole: if rng.chance(15) { 0 } else { natural(6, rng) },
                decimals: decimals(5, rng),
            }),
            Kind::Fraction => fraction(rng),
            Kind::Date => {
                let month = rng.below(12) as usize;
                let day = rng.between(1, MONTH_DAYS[month]);
                let year = match rng.below(10) {
                    0 => None,
                    1..5 => Some(rng.between(1900, 2099)),
                    _ => Some(rng.between(1100, 2099)),
                };
                // The 29th of February only where the calendar has it.
                let leap = year.is_none_or(|y| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
                Expression::Date {
                    year,
                    month,
                    day: if month == 1 && !leap { day.min(28) } else { day },
                }
            }
            Kind::Time => {
                let minute = if rng.chance(8) { 0 } else { rng.below(60) };
                match rng.below(5) {
                    0 | 1 => Expression::Time {
                        hour: rng.between(1, 12),
                        minute,
                        second: None,
                        pm: Some(rng.chance(50)),
                    },
                    2 | 3 => {
                        Expression::Time { hour: rng.below(24), minute, second: None, pm: None }
                    }
                    _ => Expression::Time {
                        hour: rng.below(24),
                        minute,
                        second: Some(rng.below(60)),
                        pm: None,
                    },
                }
            }
            Kind::Money => {
                let currency = &CURRENCIES[rng.weighted(&[5, 3, 3, 1])];
                let minor = match rng.below(10) {
                    _ if currency.minor[0].is_empty() => 0,
                    0..4 => 0,
                    4 => rng.between(1, 9),
                    _ => rng.between(1, 99),
                };
                let major = if minor > 0 && rng.chance(10) { 0 } else { natural(7, rng) };
                Expression::Money { currency, major, minor }
            }
            Kind::Measure => {
                let unit = &UNITS[rng.below(UNITS.len() as u64) as usize];
                let decimals = if rng.chance(40) { decimals(3, rng) } else { String::new() };
                let whole = match decimals.is_empty() {
                    true if rng.chance(5) => 1,
                    true => natural(5, rng),
                    false => natural(4, rng),
                };
                let negative = unit.symbol.starts_with('°') && whole > 0 && rng.chance(30);
                Expression::Measure { number: Number { negative, whole, decimals }, unit }
            }
            Kind::Phone => {
                let mut digits: Vec<u8> = (0..10).map(|_| b'0' + rng.below(10) as u8).collect();
                repeat(&mut digits, rng);
                digits[0] = b'2' + rng.below(8) as u8;
                digits[3] = b'2' + rng.below(8) as u8;
                let local = rng.chance(20);
                let digits = String::from_utf8(digits).expect("ASCII digits");
                let digits = if local { digits[3..].to_owned() } else { digits };
                Expression::Phone { digits, country: !local && rng.chance(30) }
            }
            Kind::Roman => Expression::Roman(if rng.chance(25) {
                rng.between(1, 199)
            } else {
                rng.between(1, 3999)
            }),
        }
    }
}

/// Up to nine digits, each length nearly as likely as the next, one in twenty negative.
fn integer(rng: &mut Rng) -> i64 {
    let n = natural(9, rng) as i64;
    if rng.chance(5) { -n } else { n }
}

/// A number of 1 to `longest` digits: lengths nearly uniform (fewer of one digit and two, there are not many), and
/// with more zeros inside, round numbers and teens than a uniform draw has.
fn natural(longest: usize, rng: &mut Rng) -> u64 {
    const WEIGHTS: [u64; 9] = [1, 2, 4, 4, 4, 5, 5, 5, 6];
    let length = 1 + rng.weighted(&WEIGHTS[..longest]);
    let mut digits: Vec<u64> =
        (0..length).map(|i| rng.between(u64::from(i == 0 && length > 1), 9)).collect();
    match rng.below(10) {
        // Zeros inside.
        0 | 1 => {
            for digit in &mut digits[1..] {
                if rng.chance(50) {
                    *digit = 0;
                }
            }
        }
        // Round: one to three leading digits, then zeros.
        2 | 5 => {
            let kept = rng.between(1, 3) as usize;
            digits.iter_mut().skip(kept).for_each(|d| *d = 0);
        }
        // A teen in the lowest group or the one above.
        3 if length >= 2 => {
            let tens = if length >= 5 && rng.chance(50) { length - 5 } else { length - 2 };
            digits[tens] = 1;
        }
        4 => repeat(&mut digits, rng),
        _ => {}
    }
    digits.iter().fold(0, |n, d| n * 10 + d)
}

/// One to `longest` digits after the point, shorter ones more often, with some extra zeros and runs.
fn decimals(longest: u64, rng: &mut Rng) -> String {
    let length = rng.between(1, longest).min(rng.between(1, longest + 1));
    let digit = |rng: &mut Rng| if rng.chance(10) { b'0' } else { b'0' + rng.below(10) as u8 };
    let mut digits: Vec<u8> = (0..length).map(|_| digit(rng)).collect();
    repeat(&mut digits, rng);
    String::from_utf8(digits).expect("ASCII digits")
}

/// In one case of four, makes runs of one digit: people have numbers such as 555-1111, and counting the ones is the
/// hard part of them.
fn repeat<T: Copy>(digits: &mut [T], rng: &mut Rng) {
    if rng.chance(25) {
        for index in 1..digits.len() {
            if rng.chance(40) {
                digits[index] = digits[index - 1];
            }
        }
    }
}

fn fraction(rng: &mut Rng) -> Expression {
    // Everyday denominators, then any, then the "over" form.
    let (whole, numerator, denominator) = match rng.below(20) {
        0 | 1 => (0, rng.between(1, 999), rng.between(2, 999)),
        2..8 => (0, rng.between(1, 99), rng.between(2, 99)),
        8..12 => (0, rng.between(1, 20), rng.between(2, 20)),
        12..16 => {
            let denominator = rng.between(2, 16);
            (rng.between(1, 99), rng.between(1, denominator - 1), denominator)
        }
        _ => {
            let denominator = rng.between(2, 99);
            (rng.between(1, 999), rng.between(1, denominator - 1), denominator)
        }
    };
    Expression::Fraction { whole, numerator, denominator }
}

/// One example for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub task: Task,
    pub source: String,
    pub target: String,
}

/// An endless stream of rows of one split, fixed by the seed; ends only where `distinct` rows have run out.
pub struct Rows {
    rng: Rng,
    split: Split,
    tasks: Vec<Task>,
    weights: Vec<u64>,
    seen: Option<HashSet<String>>,
}

impl Rows {
    /// Rows of `split`. Each task comes up in proportion to its weight. `distinct` never repeats a source text.
    pub fn new(split: Split, seed: u64, weighted: &[(Task, u64)], distinct: bool) -> Self {
        Self {
            rng: Rng::new(seed),
            split,
            tasks: weighted.iter().map(|(task, _)| *task).collect(),
            weights: weighted.iter().map(|(_, weight)| *weight).collect(),
            seen: distinct.then(HashSet::new),
        }
    }

    fn row(&mut self, task: Task) -> Option<Row> {
        for _ in 0..20_000 {
            let expression = Expression::draw(task.kind(), &mut self.rng);
            if expression.split() != self.split {
                continue;
            }
            let (from, target) = match task {
                Task::Write(_) => (expression.spelling(&mut self.rng), expression.written()),
                _ => (expression.surface(&mut self.rng), expression.spoken()),
            };
            let source = format!("{}: {from}", task.prefix());
            if self.seen.as_mut().is_none_or(|seen| seen.insert(source.clone())) {
                return Some(Row { task, source, target });
            }
        }
        None
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while self.weights.iter().any(|w| *w > 0) {
            let index = self.rng.weighted(&self.weights);
            if let Some(row) = self.row(self.tasks[index]) {
                return Some(row);
            }
            // This class has no distinct row left.
            self.weights[index] = 0;
        }
        None
    }
}

//! The grammar of the default model.
//!
//! An [`Expression`] is a meaning: the amount 1250.75 dollars, the 14th of March 2026, the number 80 to be said in
//! French. It has one canonical [written](Expression::written) form, one [spoken](Expression::spoken) form, and,
//! except for French and German, the two determine each other:
//!
//! | kind | written | spoken |
//! |---|---|---|
//! | cardinal | `1,250` | one thousand two hundred fifty |
//! | ordinal | `21st` | twenty first |
//! | decimal | `3.05` | three point zero five |
//! | fraction | `2 3/4` | two and three quarters |
//! | date | `March 14, 2026` | march fourteenth twenty twenty six |
//! | time | `3:05 pm`, `15:05` | three oh five p m, fifteen oh five |
//! | money | `$1,250.75` | one thousand two hundred fifty dollars and seventy five cents |
//! | measure | `5 km` | five kilometers |
//! | phone | `555-123-4567` | five five five one two three four five six seven |
//! | roman | `XIV` | roman fourteen |
//! | french | `80` | quatre-vingts |
//! | german | `123` | einhundertdreiundzwanzig |
//!
//! A [`Task`] makes a row of it. `speak:` asks for the spoken form and shows the model one of many written
//! [surfaces](Expression::surface) (`3/14/2026`, `2026-03-14`, `14 Mar 2026`); `write:` asks for the canonical
//! written form and shows it the spoken one; `french:` and `german:` ask for the words.
//!
//! # Held-out expressions
//!
//! Whether an expression is trained on, validated on or tested on is decided by a hash of its kind and its canonical
//! written form ([`Expression::split`]), never by the draw. So no seed brings a test expression into training, under
//! none of its surfaces and in neither direction. Only the atoms of the grammar (numbers up to one hundred, Roman
//! numerals up to twenty, one of each unit) are always trained on: nobody can deduce "seize" from its parts.

#![forbid(unsafe_code)]

mod generate;
pub mod outcome;
mod rng;
mod surface;
pub mod tables;
pub mod words;

pub use generate::{Row, Rows};
pub use rng::Rng;

use std::{error::Error, fmt::Write as _, process::ExitCode};
use tables::{CURRENCIES, Currency, MONTHS, Unit};

/// How a program ends: what went wrong is told.
pub fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A meaning with a written and a spoken form. Ranges are those of [`Expression::draw`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Up to 999,999,999 on either side of zero.
    Cardinal(i64),
    /// 1 to 999,999.
    Ordinal(u64),
    /// A number with decimals, trailing zeros included.
    Decimal(Number),
    /// `whole` is zero unless it is a mixed number.
    Fraction { whole: u64, numerator: u64, denominator: u64 },
    /// Without a year, a day of any year.
    Date { year: Option<u64>, month: usize, day: u64 },
    /// `pm` is None on the 24-hour clock; seconds only there.
    Time { hour: u64, minute: u64, second: Option<u64>, pm: Option<bool> },
    /// `minor` in hundredths.
    Money { currency: &'static Currency, major: u64, minor: u64 },
    /// A number with a unit.
    Measure { number: Number, unit: &'static Unit },
    /// Seven or ten digits of a North American number; with ten, perhaps `+1` before them.
    Phone { digits: String, country: bool },
    /// 1 to 3999.
    Roman(u64),
    /// A number to be said in French; the range of [`Expression::Cardinal`].
    French(i64),
    /// A number to be said in German; the range of [`Expression::Cardinal`].
    German(i64),
}

/// A decimal number as it is written: `decimals` are digits, possibly none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    pub negative: bool,
    pub whole: u64,
    pub decimals: String,
}

impl Number {
    fn written(&self, separator: &str) -> String {
        let mut out = String::from(if self.negative { "-" } else { "" });
        out += &words::grouped(self.whole, separator);
        if !self.decimals.is_empty() {
            let _ = write!(out, ".{}", self.decimals);
        }
        out
    }

    fn spoken(&self) -> String {
        let mut out = String::from(if self.negative { "minus " } else { "" });
        out += &words::english(self.whole);
        if !self.decimals.is_empty() {
            let _ = write!(out, " point {}", words::digits(&self.decimals));
        }
        out
    }

    fn is_one(&self) -> bool {
        self.whole == 1 && self.decimals.is_empty()
    }
}

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Cardinal,
    Ordinal,
    Decimal,
    Fraction,
    Date,
    Time,
    Money,
    Measure,
    Phone,
    Roman,
    French,
    German,
}

impl Kind {
    /// The kinds with an inverse, in the order of the tables.
    pub const ENGLISH: [Kind; 10] = [
        Kind::Cardinal,
        Kind::Ordinal,
        Kind::Decimal,
        Kind::Fraction,
        Kind::Date,
        Kind::Time,
        Kind::Money,
        Kind::Measure,
        Kind::Phone,
        Kind::Roman,
    ];

    /// Its name in the class column.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cardinal => "cardinal",
            Kind::Ordinal => "ordinal",
            Kind::Decimal => "decimal",
            Kind::Fraction => "fraction",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::Money => "money",
            Kind::Measure => "measure",
            Kind::Phone => "phone",
            Kind::Roman => "roman",
            Kind::French => "french",
            Kind::German => "german",
        }
    }
}

/// What the model is asked to do with an expression: one class of the accuracy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Written to spoken, one of [`Kind::ENGLISH`].
    Speak(Kind),
    /// Spoken to written, one of [`Kind::ENGLISH`].
    Write(Kind),
    /// A number in French words.
    French,
    /// A number in German words.
    German,
}

impl Task {
    /// All classes, in the order of the tables.
    pub fn all() -> Vec<Task> {
        let speak = Kind::ENGLISH.map(Task::Speak);
        let write = Kind::ENGLISH.map(Task::Write);
        [&speak[..], &write[..], &[Task::French, Task::German]].concat()
    }

    /// Its name in the class column: `speak-date`, `write-date`, `french`.
    pub fn name(self) -> String {
        match self {
            Task::French | Task::German => self.kind().name().into(),
            _ => format!("{}-{}", self.prefix(), self.kind().name()),
        }
    }

    /// The word before the colon in the source text.
    pub fn prefix(self) -> &'static str {
        match self {
            Task::Speak(_) => "speak",
            Task::Write(_) => "write",
            Task::French => "french",
            Task::German => "german",
        }
    }

    /// What its expressions are about.
    pub fn kind(self) -> Kind {
        match self {
            Task::Speak(kind) | Task::Write(kind) => kind,
            Task::French => Kind::French,
            Task::German => Kind::German,
        }
    }
}

/// Which part of the data an expression belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Expression {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Expression::Cardinal(_) => Kind::Cardinal,
            Expression::Ordinal(_) => Kind::Ordinal,
            Expression::Decimal(_) => Kind::Decimal,
            Expression::Fraction { .. } => Kind::Fraction,
            Expression::Date { .. } => Kind::Date,
            Expression::Time { .. } => Kind::Time,
            Expression::Money { .. } => Kind::Money,
            Expression::Measure { .. } => Kind::Measure,
            Expression::Phone { .. } => Kind::Phone,
            Expression::Roman(_) => Kind::Roman,
            Expression::French(_) => Kind::French,
            Expression::German(_) => Kind::German,
        }
    }

    /// The canonical written form: what `write:` answers. Thousands are separated by commas.
    pub fn written(&self) -> String {
        match self {
            Expression::Cardinal(n) | Expression::French(n) | Expression::German(n) => {
                signed(*n, "-", |n| words::grouped(n, ","))
            }
            Expression::Ordinal(n) => format!("{}{}", words::grouped(*n, ","), ordinal_suffix(*n)),
            Expression::Decimal(number) => number.written(","),
            Expression::Fraction { whole: 0, numerator, denominator } => {
                format!("{numerator}/{denominator}")
            }
            Expression::Fraction { whole, numerator, denominator } => {
                format!("{whole} {numerator}/{denominator}")
            }
            Expression::Date { year: Some(year), month, day } => {
                format!("{} {day}, {year}", MONTHS[*month])
            }
            Expression::Date { year: None, month, day } => format!("{} {day}", MONTHS[*month]),
            Expression::Time { hour, minute, second, pm } => {
                let mut out = format!("{hour}:{minute:02}");
                if let Some(second) = second {
                    let _ = write!(out, ":{second:02}");
                }
                if let Some(pm) = pm {
                    out += if *pm { " pm" } else { " am" };
                }
                out
            }
            Expression::Money { currency, major, minor } => {
                let mut out = format!("{}{}", currency.symbol, words::grouped(*major, ","));
                if *minor > 0 {
                    let _ = write!(out, ".{minor:02}");
                }
                out
            }
            Expression::Measure { number, unit } => {
                let space = if unit.symbol == "%" { "" } else { " " };
                format!("{}{space}{}", number.written(","), unit.symbol)
            }
            Expression::Phone { digits, country } => {
                let (head, line) = digits.split_at(digits.len() - 4);
                match (head.len(), country) {
                    (3, _) => format!("{head}-{line}"),
                    (_, false) => format!("{}-{}-{line}", &head[..3], &head[3..]),
                    (_, true) => format!("+1 {} {} {line}", &head[..3], &head[3..]),
                }
            }
            Expression::Roman(n) => words::roman(*n),
        }
    }

    /// The words: what `speak:`, `french:` and `german:` answer.
    pub fn spoken(&self) -> String {
        match self {
            Expression::Cardinal(n) => signed(*n, "minus ", words::english),
            Expression::French(n) => signed(*n, "moins ", words::french),
            Expression::German(n) => signed(*n, "minus ", words::german),
            Expression::Ordinal(n) => words::english_ordinal(*n),
            Expression::Decimal(number) => number.spoken(),
            Expression::Fraction { whole, numerator, denominator } => {
                let whole = if *whole > 0 {
                    format!("{} and ", words::english(*whole))
                } else {
                    String::new()
                };
                whole + &fraction(*numerator, *denominator)
            }
            Expression::Date { year, month, day } => {
                let mut out =
                    format!("{} {}", MONTHS[*month].to_lowercase(), words::english_ordinal(*day));
                if let Some(year) = year {
                    let _ = write!(out, " {}", words::year(*year));
                }
                out
            }
            Expression::Time { hour, minute, second, pm } => {
                let mut out = words::english(*hour);
                match minute {
                    0 if pm.is_some() => {}
                    0 => out += " o'clock",
                    1..10 => out += &format!(" oh {}", words::english(*minute)),
                    _ => out += &format!(" {}", words::english(*minute)),
                }
                if let Some(second) = second {
                    let _ = write!(out, " and {}", counted(*second, ["second", "seconds"]));
                }
                if let Some(pm) = pm {
                    out += if *pm { " p m" } else { " a m" };
                }
                out
            }
            Expression::Money { currency, major, minor } => match (major, minor) {
                (_, 0) => counted(*major, currency.major),
                (0, _) => counted(*minor, currency.alone),
                _ => format!(
                    "{} and {}",
                    counted(*major, currency.major),
                    counted(*minor, currency.minor)
                ),
            },
            Expression::Measure { number, unit } => {
                let name = if number.is_one() { unit.singular } else { unit.plural };
                format!("{} {name}", number.spoken())
            }
            Expression::Phone { digits, country } => {
                format!("{}{}", if *country { "plus one " } else { "" }, words::digits(digits))
            }
            Expression::Roman(n) => format!("roman {}", words::english(*n)),
        }
    }

    /// Which part of the data it belongs to: 90% training, 2% validation, 8% test.
    pub fn split(&self) -> Split {
        let atom = match self {
            Expression::Cardinal(n) | Expression::French(n) | Expression::German(n) => {
                n.unsigned_abs() <= 100
            }
            Expression::Ordinal(n) => *n <= 100,
            Expression::Roman(n) => *n <= 20,
            Expression::Measure { number, .. } => number.is_one(),
            _ => false,
        };
        if atom {
            return Split::Train;
        }
        // FNV-1a, then a finaliser: FNV alone is weak in the high bits of short keys.
        let key = format!("{}:{}", self.kind().name(), self.written());
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        match rng::mix(hash) % 100 {
            0..8 => Split::Test,
            8..10 => Split::Valid,
            _ => Split::Train,
        }
    }
}

fn signed(n: i64, minus: &str, magnitude: impl Fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { minus } else { "" }, magnitude(n.unsigned_abs()))
}

fn counted(n: u64, names: [&str; 2]) -> String {
    format!("{} {}", words::english(n), names[usize::from(n != 1)])
}

fn ordinal_suffix(n: u64) -> &'static str {
    match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// Up to 99 both ways the denominator is an ordinal; beyond, "over": "one hundred twenty fifths" would be both
/// 100/25 and 120/5.
fn fraction(numerator: u64, denominator: u64) -> String {
    let name = match denominator {
        _ if numerator > 99 || denominator > 99 => {
            return format!("{} over {}", words::english(numerator), words::english(denominator));
        }
        2 => return counted(numerator, ["half", "halves"]),
        4 => "quarter".to_owned(),
        _ => words::english_ordinal(denominator),
    };
    let s = if numerator == 1 { "" } else { "s" };
    format!("{} {name}{s}", words::english(numerator))
}

/// The currency with this symbol.
pub fn currency(symbol: &str) -> Option<&'static Currency> {
    CURRENCIES.iter().find(|c| c.symbol == symbol)
}

#[cfg(test)]
mod tests;

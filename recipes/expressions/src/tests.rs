use std::collections::HashMap;

use super::tables::UNITS;
use super::*;

fn money(symbol: &str, major: u64, minor: u64) -> Expression {
    Expression::Money { currency: currency(symbol).expect("known"), major, minor }
}

fn measure(number: Number, symbol: &str) -> Expression {
    Expression::Measure { number, unit: UNITS.iter().find(|u| u.symbol == symbol).expect("known") }
}

fn number(negative: bool, whole: u64, decimals: &str) -> Number {
    Number { negative, whole, decimals: decimals.into() }
}

fn check(expression: &Expression, written: &str, spoken: &str) {
    assert_eq!(expression.written(), written);
    assert_eq!(expression.spoken(), spoken, "{written}");
}

#[test]
fn cardinals() {
    for (n, written, spoken) in [
        (0, "0", "zero"),
        (13, "13", "thirteen"),
        (40, "40", "forty"),
        (110, "110", "one hundred ten"),
        (1_005, "1,005", "one thousand five"),
        (-21, "-21", "minus twenty one"),
        (300_017, "300,017", "three hundred thousand seventeen"),
        (
            999_999_999,
            "999,999,999",
            "nine hundred ninety nine million nine hundred ninety nine thousand nine hundred ninety nine",
        ),
        (100_000_001, "100,000,001", "one hundred million one"),
    ] {
        check(&Expression::Cardinal(n), written, spoken);
    }
}

#[test]
fn ordinals() {
    for (n, written, spoken) in [
        (1, "1st", "first"),
        (2, "2nd", "second"),
        (3, "3rd", "third"),
        (11, "11th", "eleventh"),
        (12, "12th", "twelfth"),
        (20, "20th", "twentieth"),
        (113, "113th", "one hundred thirteenth"),
        (122, "122nd", "one hundred twenty second"),
        (1_000, "1,000th", "one thousandth"),
    ] {
        check(&Expression::Ordinal(n), written, spoken);
    }
}

#[test]
fn decimals() {
    check(&Expression::Decimal(number(false, 3, "14")), "3.14", "three point one four");
    check(&Expression::Decimal(number(true, 0, "05")), "-0.05", "minus zero point zero five");
    check(
        &Expression::Decimal(number(false, 1_234, "50")),
        "1,234.50",
        "one thousand two hundred thirty four point five zero",
    );
}

#[test]
fn fractions() {
    let fraction =
        |whole, numerator, denominator| Expression::Fraction { whole, numerator, denominator };
    check(&fraction(0, 1, 2), "1/2", "one half");
    check(&fraction(0, 5, 2), "5/2", "five halves");
    check(&fraction(0, 3, 4), "3/4", "three quarters");
    check(&fraction(0, 1, 21), "1/21", "one twenty first");
    check(&fraction(0, 20, 5), "20/5", "twenty fifths");
    check(&fraction(2, 3, 8), "2 3/8", "two and three eighths");
    check(&fraction(0, 100, 25), "100/25", "one hundred over twenty five");
    check(&fraction(0, 120, 5), "120/5", "one hundred twenty over five");
}

#[test]
fn dates() {
    let date = |year, month: usize, day| Expression::Date { year, month: month - 1, day };
    check(&date(Some(2026), 3, 14), "March 14, 2026", "march fourteenth twenty twenty six");
    check(&date(Some(1905), 12, 1), "December 1, 1905", "december first nineteen oh five");
    check(&date(Some(1900), 1, 31), "January 31, 1900", "january thirty first nineteen hundred");
    check(&date(Some(2000), 2, 29), "February 29, 2000", "february twenty ninth two thousand");
    check(&date(Some(2008), 5, 2), "May 2, 2008", "may second two thousand eight");
    check(&date(None, 7, 4), "July 4", "july fourth");
}

#[test]
fn times() {
    let time = |hour, minute, second, pm| Expression::Time { hour, minute, second, pm };
    check(&time(3, 5, None, Some(true)), "3:05 pm", "three oh five p m");
    check(&time(12, 0, None, Some(false)), "12:00 am", "twelve a m");
    check(&time(15, 5, None, None), "15:05", "fifteen oh five");
    check(&time(0, 0, None, None), "0:00", "zero o'clock");
    check(&time(9, 30, Some(1), None), "9:30:01", "nine thirty and one second");
}

#[test]
fn amounts() {
    check(
        &money("$", 1_250, 75),
        "$1,250.75",
        "one thousand two hundred fifty dollars and seventy five cents",
    );
    check(&money("$", 1, 1), "$1.01", "one dollar and one cent");
    check(&money("$", 0, 50), "$0.50", "fifty cents");
    check(&money("€", 0, 50), "€0.50", "fifty euro cents");
    check(&money("£", 1, 1), "£1.01", "one pound and one penny");
    check(&money("£", 3, 20), "£3.20", "three pounds and twenty pence");
    check(&money("¥", 500, 0), "¥500", "five hundred yen");
}

#[test]
fn measures() {
    check(&measure(number(false, 5, ""), "km"), "5 km", "five kilometers");
    check(&measure(number(false, 1, ""), "ft"), "1 ft", "one foot");
    check(&measure(number(false, 1, "0"), "ft"), "1.0 ft", "one point zero feet");
    check(&measure(number(true, 40, ""), "°C"), "-40 °C", "minus forty degrees celsius");
    check(&measure(number(false, 99, "5"), "%"), "99.5%", "ninety nine point five percent");
}

#[test]
fn phone_numbers() {
    let phone = |digits: &str, country| Expression::Phone { digits: digits.into(), country };
    check(&phone("5551234", false), "555-1234", "five five five one two three four");
    check(
        &phone("2125550000", false),
        "212-555-0000",
        "two one two five five five zero zero zero zero",
    );
    check(
        &phone("2125550000", true),
        "+1 212 555 0000",
        "plus one two one two five five five zero zero zero zero",
    );
}

#[test]
fn roman_numerals() {
    check(&Expression::Roman(14), "XIV", "roman fourteen");
    check(&Expression::Roman(1994), "MCMXCIV", "roman one thousand nine hundred ninety four");
    check(&Expression::Roman(3999), "MMMCMXCIX", "roman three thousand nine hundred ninety nine");
}

#[test]
fn french_numbers() {
    for (n, spoken) in [
        (0, "zéro"),
        (17, "dix-sept"),
        (21, "vingt et un"),
        (22, "vingt-deux"),
        (60, "soixante"),
        (61, "soixante et un"),
        (70, "soixante-dix"),
        (71, "soixante et onze"),
        (77, "soixante-dix-sept"),
        (80, "quatre-vingts"),
        (81, "quatre-vingt-un"),
        (91, "quatre-vingt-onze"),
        (99, "quatre-vingt-dix-neuf"),
        (100, "cent"),
        (101, "cent un"),
        (180, "cent quatre-vingts"),
        (200, "deux cents"),
        (201, "deux cent un"),
        (1_000, "mille"),
        (1_100, "mille cent"),
        (80_000, "quatre-vingt mille"),
        (200_000, "deux cent mille"),
        (1_000_000, "un million"),
        (-2_000_300, "moins deux millions trois cents"),
        (80_000_000, "quatre-vingts millions"),
        (200_000_080, "deux cents millions quatre-vingts"),
        (71_021_061, "soixante et onze millions vingt et un mille soixante et un"),
    ] {
        assert_eq!(Expression::French(n).spoken(), spoken, "{n}");
    }
}

#[test]
fn german_numbers() {
    for (n, spoken) in [
        (0, "null"),
        (1, "eins"),
        (16, "sechzehn"),
        (17, "siebzehn"),
        (21, "einundzwanzig"),
        (30, "dreißig"),
        (76, "sechsundsiebzig"),
        (100, "einhundert"),
        (101, "einhunderteins"),
        (123, "einhundertdreiundzwanzig"),
        (1_000, "eintausend"),
        (1_001, "eintausendeins"),
        (101_000, "einhunderteintausend"),
        (21_012, "einundzwanzigtausendzwölf"),
        (1_000_000, "eine Million"),
        (-1_000_001, "minus eine Million eins"),
        (21_000_000, "einundzwanzig Millionen"),
        (101_000_000, "einhunderteine Millionen"),
        (2_345_678, "zwei Millionen dreihundertfünfundvierzigtausendsechshundertachtundsiebzig"),
    ] {
        assert_eq!(Expression::German(n).spoken(), spoken, "{n}");
    }
}

/// Neither direction has two answers: no text of the spoken or the written side means two things.
#[test]
fn every_source_has_one_target() {
    let mut rng = Rng::new(1);
    let mut targets: HashMap<String, String> = HashMap::new();
    for round in 0..30_000 {
        for task in Task::all() {
            let expression = Expression::draw(task.kind(), &mut rng);
            let (from, target) = match task {
                Task::Write(_) if round % 2 == 0 => (expression.spoken(), expression.written()),
                Task::Write(_) => (expression.spelling(&mut rng), expression.written()),
                _ => (expression.surface(&mut rng), expression.spoken()),
            };
            let source = format!("{}: {from}", task.prefix());
            assert!(!source.contains('\t') && !target.contains('\t'));
            if let Some(other) = targets.insert(source.clone(), target.clone()) {
                assert_eq!(other, target, "{source}");
            }
        }
    }
}

#[test]
fn the_written_form_is_its_own_surface_and_inverse() {
    let mut rng = Rng::new(2);
    let mut spoken_by_written: HashMap<(Kind, String), String> = HashMap::new();
    let mut written_by_spoken: HashMap<String, (Kind, String)> = HashMap::new();
    for _ in 0..30_000 {
        for kind in Kind::ENGLISH {
            let expression = Expression::draw(kind, &mut rng);
            let (written, spoken) = (expression.written(), expression.spoken());
            let earlier = spoken_by_written.insert((kind, written.clone()), spoken.clone());
            assert!(earlier.is_none_or(|earlier| earlier == spoken), "{written}");
            let earlier = written_by_spoken.insert(spoken.clone(), (kind, written.clone()));
            assert!(earlier.is_none_or(|earlier| earlier == (kind, written)), "{spoken}");
        }
    }
}

#[test]
fn surfaces_vary() {
    let mut rng = Rng::new(3);
    let date = Expression::Date { year: Some(2026), month: 2, day: 14 };
    let seen: std::collections::HashSet<String> =
        (0..500).map(|_| date.surface(&mut rng)).collect();
    for form in
        ["3/14/2026", "03/14/2026", "2026-03-14", "March 14, 2026", "14 March 2026", "Mar 14, 2026"]
    {
        assert!(seen.contains(form), "{form}");
    }
}

/// No meaning is in two splits, whatever the seed, the surface and the direction.
#[test]
fn held_out_expressions_stay_held_out() {
    let all: Vec<(Task, u64)> = Task::all().into_iter().map(|task| (task, 1)).collect();
    let sources = |split, seed| -> Vec<(Kind, String, String)> {
        Rows::new(split, seed, &all, false)
            .take(60_000)
            .map(|row| match row.task {
                Task::Write(kind) => (kind, row.target, String::new()),
                // The spoken form identifies the meaning of whatever surface was drawn.
                task => (task.kind(), String::new(), row.target),
            })
            .collect()
    };
    let train: std::collections::HashSet<_> =
        (0..4).flat_map(|seed| sources(Split::Train, seed)).collect();
    for split in [Split::Valid, Split::Test] {
        for row in sources(split, 9) {
            assert!(!train.contains(&row), "{row:?}");
        }
    }
}

/// The training rows of `write:` never show the answer to a test row of `speak:`, nor the other way round.
#[test]
fn the_inverse_of_a_held_out_expression_is_held_out() {
    let mut rng = Rng::new(4);
    let weights: Vec<(Task, u64)> =
        Kind::ENGLISH.iter().map(|kind| (Task::Write(*kind), 1)).collect();
    let trained: std::collections::HashSet<String> =
        Rows::new(Split::Train, 5, &weights, false).take(100_000).map(|row| row.target).collect();
    let mut held_out = 0;
    for _ in 0..20_000 {
        for kind in Kind::ENGLISH {
            let expression = Expression::draw(kind, &mut rng);
            if expression.split() == Split::Test {
                held_out += 1;
                assert!(!trained.contains(&expression.written()));
            }
        }
    }
    assert!((10_000..20_000).contains(&held_out), "{held_out}");
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    let all: Vec<(Task, u64)> = Task::all().into_iter().map(|task| (task, 1)).collect();
    let rows = |seed| Rows::new(Split::Train, seed, &all, false).take(200).collect::<Vec<_>>();
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
}

#[test]
fn distinct_rows_end_where_they_run_out() {
    let rows = Rows::new(Split::Test, 1, &[(Task::Write(Kind::Roman), 1)], true).take(5_000);
    let sources: Vec<String> = rows.map(|row| row.source).collect();
    let unique: std::collections::HashSet<&String> = sources.iter().collect();
    assert_eq!(unique.len(), sources.len());
    assert!((100..1_000).contains(&sources.len()), "{}", sources.len());
}

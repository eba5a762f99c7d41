//! Numbers in words: English, French, German; and Roman numerals.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// An English cardinal below 10^12: American style, no "and", no hyphens.
pub fn english(n: u64) -> String {
    let mut words: Vec<&str> = Vec::new();
    for (scale, name) in
        [(1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (1, "")]
    {
        let group = (n / scale % 1000) as usize;
        if group == 0 {
            continue;
        }
        if group >= 100 {
            words.extend([ONES[group / 100], "hundred"]);
        }
        match group % 100 {
            0 => {}
            rest @ 1..20 => words.push(ONES[rest]),
            rest => {
                words.push(TENS[rest / 10]);
                if rest % 10 != 0 {
                    words.push(ONES[rest % 10]);
                }
            }
        }
        if !name.is_empty() {
            words.push(name);
        }
    }
    if words.is_empty() { "zero".into() } else { words.join(" ") }
}

/// An English ordinal: the cardinal with its last word changed.
pub fn english_ordinal(n: u64) -> String {
    let cardinal = english(n);
    let (head, last) = match cardinal.rsplit_once(' ') {
        Some((head, last)) => (format!("{head} "), last),
        None => (String::new(), cardinal.as_str()),
    };
    let last = match last {
        "one" => "first".into(),
        "two" => "second".into(),
        "three" => "third".into(),
        "five" => "fifth".into(),
        "eight" => "eighth".into(),
        "nine" => "ninth".into(),
        "twelve" => "twelfth".into(),
        word => match word.strip_suffix('y') {
            Some(stem) => format!("{stem}ieth"),
            None => format!("{word}th"),
        },
    };
    head + &last
}

/// Digits one by one: `"305"` is "three zero five". Characters that are not digits are skipped.
pub fn digits(text: &str) -> String {
    let words: Vec<&str> =
        text.chars().filter_map(|c| c.to_digit(10)).map(|d| ONES[d as usize]).collect();
    words.join(" ")
}

/// A year from 1100 to 2099 as it is spoken in a date: "nineteen oh five", "two thousand six", "twenty ten".
pub fn year(n: u64) -> String {
    match (n / 100, n % 100) {
        (20, 0..=9) => english(n),
        (century, 0) => format!("{} hundred", english(century)),
        (century, rest @ 1..=9) => format!("{} oh {}", english(century), english(rest)),
        (century, rest) => format!("{} {}", english(century), english(rest)),
    }
}

const UN: [&str; 20] = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze",
    "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
];
const DIX: [&str; 7] = ["", "", "vingt", "trente", "quarante", "cinquante", "soixante"];

/// A French cardinal below 10^9: of France (soixante-dix, quatre-vingts), with the traditional hyphens (only
/// below one hundred, and not around "et"), not those of the 1990 reform.
pub fn french(n: u64) -> String {
    if n == 0 {
        return UN[0].into();
    }
    let (millions, thousands, rest) = (n / 1_000_000, n / 1000 % 1000, n % 1000);
    let mut words = Vec::new();
    match millions {
        0 => {}
        1 => words.push("un million".to_owned()),
        // "million" is a noun: "quatre-vingts" and "cents" keep their s before it.
        _ => words.push(format!("{} millions", french_group(millions, true))),
    }
    match thousands {
        0 => {}
        1 => words.push("mille".to_owned()),
        // "mille" is a numeral: they lose it.
        _ => words.push(format!("{} mille", french_group(thousands, false))),
    }
    if rest > 0 {
        words.push(french_group(rest, true));
    }
    words.join(" ")
}

fn french_group(n: u64, plural: bool) -> String {
    let (hundreds, rest) = (n / 100, n % 100);
    let s = if plural && rest == 0 && hundreds > 1 { "s" } else { "" };
    let head = match hundreds {
        0 => String::new(),
        1 => "cent".into(),
        _ => format!("{} cent{s}", UN[hundreds as usize]),
    };
    match (head.is_empty(), rest) {
        (false, 0) => head,
        (true, _) => french_below_hundred(rest, plural),
        (false, _) => format!("{head} {}", french_below_hundred(rest, plural)),
    }
}

fn french_below_hundred(n: u64, plural: bool) -> String {
    let n = n as usize;
    match n {
        0..20 => UN[n].into(),
        80 => if plural { "quatre-vingts" } else { "quatre-vingt" }.into(),
        81.. => format!("quatre-vingt-{}", UN[n - 80]),
        71 => "soixante et onze".into(),
        61..80 if n != 61 => format!("soixante-{}", UN[n - 60]),
        _ => match n % 10 {
            0 => DIX[n / 10].into(),
            1 => format!("{} et un", DIX[n / 10]),
            unit => format!("{}-{}", DIX[n / 10], UN[unit]),
        },
    }
}

const EIN: [&str; 20] = [
    "null",
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const ZEHN: [&str; 10] = [
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
];

/// A German cardinal below 10^9: one compound up to 999,999 ("einhundertdreiundzwanzigtausend…", always with
/// "ein" before "hundert" and "tausend"), "Million" and "Millionen" as nouns of their own.
pub fn german(n: u64) -> String {
    if n == 0 {
        return EIN[0].into();
    }
    let (millions, thousands, rest) = (n / 1_000_000, n / 1000 % 1000, n % 1000);
    let mut compound = String::new();
    if thousands > 0 {
        compound = german_group(thousands, "ein") + "tausend";
    }
    if rest > 0 {
        compound += &german_group(rest, "eins");
    }
    let noun = match millions {
        0 => return compound,
        1 => "eine Million".to_owned(),
        _ => german_group(millions, "eine") + " Millionen",
    };
    if compound.is_empty() { noun } else { format!("{noun} {compound}") }
}

/// Below 1000; a final one that is not part of "und…zig" takes the form `one` (eins, ein, eine).
fn german_group(n: u64, one: &str) -> String {
    let (hundreds, rest) = ((n / 100) as usize, (n % 100) as usize);
    let head = if hundreds > 0 { format!("{}hundert", EIN[hundreds]) } else { String::new() };
    match rest {
        0 => head,
        1 => head + one,
        2..20 => head + EIN[rest],
        _ if rest % 10 == 0 => head + ZEHN[rest / 10],
        _ => format!("{head}{}und{}", EIN[rest % 10], ZEHN[rest / 10]),
    }
}

/// A Roman numeral, 1 to 3999.
pub fn roman(mut n: u64) -> String {
    const PARTS: [(u64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut out = String::new();
    for (value, letters) in PARTS {
        while n >= value {
            out += letters;
            n -= value;
        }
    }
    out
}

/// Digits with a separator between groups of three: `1250` is "1,250".
pub fn grouped(n: u64, separator: &str) -> String {
    let plain = n.to_string();
    let mut out = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            out += separator;
        }
        out.push(digit);
    }
    out
}

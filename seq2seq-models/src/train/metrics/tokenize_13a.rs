//! The tokens of `mteval-v13a.pl`, NIST's script for BLEU, as sacrebleu reads them.

use super::ngrams::split;

/// `text` with a space between any two tokens.
pub(super) fn tokenize(text: &str) -> String {
    let mut line = text.trim_end_matches(super::ngrams::is_space).replace("<skipped>", "");
    line = line.replace("-\n", "").replace('\n', " ");
    // In this order: `&amp;lt;` becomes `<`.
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        line = line.replace(entity, character);
    }
    let line = format!(" {line} ");
    let line = line.chars().fold(String::new(), |mut done, c| {
        match stands_alone(c) {
            true => done.extend([' ', c, ' ']),
            false => done.push(c),
        }
        done
    });
    let line = pairs(&line, |a, b| !a.is_ascii_digit() && is_point(b), |a, b| [a, ' ', b, ' ']);
    let line = pairs(&line, |a, b| is_point(a) && !b.is_ascii_digit(), |a, b| [' ', a, ' ', b]);
    let line = pairs(&line, |a, b| a.is_ascii_digit() && b == '-', |a, b| [a, ' ', b, ' ']);
    split(&line).collect::<Vec<_>>().join(" ")
}

/// ASCII punctuation but for `'`, `,`, `-` and `.`.
fn stands_alone(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.')
}

fn is_point(c: char) -> bool {
    matches!(c, '.' | ',')
}

/// Puts `with` for every two neighbours that `matches`, from left to right; a character belongs to one pair at most.
fn pairs<const N: usize>(
    line: &str,
    matches: impl Fn(char, char) -> bool,
    with: impl Fn(char, char) -> [char; N],
) -> String {
    let mut done = String::with_capacity(2 * line.len());
    let mut rest = line.chars();
    while let Some(a) = rest.next() {
        match rest.clone().next() {
            Some(b) if matches(a, b) => {
                done.extend(with(a, b));
                rest.next();
            }
            _ => done.push(a),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_sacrebleu() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/metrics/tokens_13a.json");
        let lines: Vec<[String; 2]> =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(lines.len() > 30);
        for [line, tokens] in lines {
            assert_eq!(tokenize(&line), tokens, "{line:?}");
        }
    }
}

//! Patterns of names.

/// Whether `pattern` stands for the whole of `name`; `*` is for any run of characters, also an empty one.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_for_whole_paths() {
        let module = "decoder.layers.10.ffn.out";
        for pattern in ["*", module, "decoder.*", "*.out", "decoder.*.ffn.*", "*1*0*", "**.ffn.out"]
        {
            assert!(matches(pattern, module), "{pattern}");
        }
        for pattern in ["", "decoder", "ffn.out", "*.ffn", "decoder.*.cross.*", "*out*out", "*0*1*"]
        {
            assert!(!matches(pattern, module), "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"));
    }
}

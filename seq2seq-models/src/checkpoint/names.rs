//! What checkpoints call our tensors.

/// Our path and their names, the preferred first.
pub(crate) type Rule = (&'static str, &'static [&'static str]);

/// A family's table of names.
///
/// Our paths are the same for every family: `encoder.layers.3.attention.query.weight`. A rule gives the names of a
/// module (its `weight` and `bias` follow) or, where our side ends in `.weight` or `.bias`, of one tensor verbatim.
/// `*` stands for one segment of letters and `#` for one number, the same on both sides.
pub(crate) struct NameTable {
    /// Tried in order before each name: the prefix of a model with a head, and none, as bare models are saved.
    pub(crate) prefixes: &'static [&'static str],
    /// In groups, which families share. Of two rules for a path the first is preferred.
    pub(crate) rules: &'static [&'static [Rule]],
    /// Ends of names that checkpoints carry and nobody needs, such as saved masks.
    pub(crate) ignored: &'static [&'static str],
    /// Whether linear weights are stored `[in, out]` (PARITY trap 36).
    pub(crate) transposed: bool,
}

impl NameTable {
    fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        self.rules.iter().copied().flatten()
    }

    /// Whether some rule is for `module`.
    pub(crate) fn knows(&self, module: &str) -> bool {
        self.rules().any(|(ours, _)| captures(ours, module).is_some())
    }

    /// Every name under which our tensor may be stored, the preferred first.
    pub(crate) fn candidates(&self, tensor: &str) -> Vec<String> {
        let (module, leaf) = tensor.rsplit_once('.').unwrap_or((tensor, ""));
        // The spellings of TensorFlow's LayerNorm live on in old files (PARITY trap 31).
        let leaves: &[&str] = match leaf {
            "weight" => &[".weight", ".gamma"],
            "bias" => &[".bias", ".beta"],
            _ => &[],
        };
        let mut names = Vec::new();
        for (ours, theirs) in self.rules() {
            let (caught, leaves) = match (captures(ours, tensor), captures(ours, module)) {
                (Some(caught), _) => (caught, &[""][..]),
                (None, Some(caught)) => (caught, leaves),
                (None, None) => continue,
            };
            for leaf in leaves {
                for name in *theirs {
                    let name = caught.fill(name);
                    names
                        .extend(self.prefixes.iter().map(|prefix| format!("{prefix}{name}{leaf}")));
                }
            }
        }
        names
    }

    /// Whether a tensor that nothing used is known to be of no use.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|end| name.ends_with(end))
    }
}

/// What the wildcards of a pattern stood for.
#[derive(Default)]
struct Captures<'a> {
    word: &'a str,
    number: &'a str,
}

impl Captures<'_> {
    fn fill(&self, pattern: &str) -> String {
        pattern.replace('*', self.word).replace('#', self.number)
    }
}

fn captures<'a>(pattern: &str, path: &'a str) -> Option<Captures<'a>> {
    let mut caught = Captures::default();
    let mut segments = path.split('.');
    for p in pattern.split('.') {
        let s = segments.next()?;
        match p {
            "*" => caught.word = s,
            "#" if s.bytes().all(|b| b.is_ascii_digit()) => caught.number = s,
            _ if p == s => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(caught)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: NameTable = NameTable {
        prefixes: &["bert.", ""],
        rules: &[&[
            ("*.layers.#.attention.norm", &["*.layer.#.LayerNorm"]),
            ("*.tokens", &["*.embed", "shared"]),
            ("head.out.bias", &["cls.bias"]),
            ("head.out", &["cls.decoder"]),
        ]],
        ignored: &["position_ids"],
        transposed: false,
    };

    #[test]
    fn candidates_come_in_order() {
        assert_eq!(
            TABLE.candidates("encoder.layers.12.attention.norm.bias"),
            [
                "bert.encoder.layer.12.LayerNorm.bias",
                "encoder.layer.12.LayerNorm.bias",
                "bert.encoder.layer.12.LayerNorm.beta",
                "encoder.layer.12.LayerNorm.beta",
            ]
        );
        let tokens = TABLE.candidates("decoder.tokens.weight");
        assert_eq!(
            tokens[..3],
            ["bert.decoder.embed.weight", "decoder.embed.weight", "bert.shared.weight"]
        );
    }

    #[test]
    fn one_tensor_may_be_named_verbatim() {
        let names = TABLE.candidates("head.out.bias");
        assert_eq!(names[..2], ["bert.cls.bias", "cls.bias"]);
        assert!(names.contains(&"cls.decoder.bias".to_string()));
        assert!(!TABLE.candidates("head.out.weight").iter().any(|n| n.contains("cls.bias")));
    }

    #[test]
    fn unknown_paths_have_no_names() {
        assert!(TABLE.candidates("encoder.layers.x.attention.norm.bias").is_empty());
        assert!(TABLE.candidates("encoder").is_empty());
        assert!(TABLE.knows("encoder.layers.0.attention.norm") && !TABLE.knows("encoder.layers"));
        assert!(TABLE.ignores("bert.embeddings.position_ids"));
    }
}

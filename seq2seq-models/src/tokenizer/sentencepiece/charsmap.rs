//! The rules by which sentencepiece replaces characters, as they lie in its file: the length of a trie in bytes, the
//! trie, and the replacements, each of which ends with a NUL.
//!
//! The trie is a double array of darts-clone: a unit holds an offset to its children, the byte that leads to it, and
//! whether a key ends there; the value of such a key lies at the offset itself.

/// More bytes than any character is replaced by; longer ones are taken for a damaged file.
const LONGEST_REPLACEMENT: usize = 1024;

/// Rules that were checked: no walk through the trie leaves it, and each value is where a replacement may begin.
#[derive(Debug, Clone)]
pub(in crate::tokenizer) struct Charsmap {
    units: Vec<Unit>,
    replacements: String,
}

#[derive(Debug, Clone, Copy)]
struct Unit(u32);

impl Unit {
    /// Whether this is a value, which no byte leads to.
    fn is_value(self) -> bool {
        self.0 >> 31 == 1
    }

    fn value(self) -> usize {
        (self.0 & 0x7FFF_FFFF) as usize
    }

    fn ends_a_key(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    fn is_reached_by(self, byte: u8) -> bool {
        !self.is_value() && self.0 & 0xFF == u32::from(byte)
    }

    fn offset(self) -> usize {
        ((self.0 >> 10) << ((self.0 & 1 << 9) >> 6)) as usize
    }
}

impl Charsmap {
    /// `None` where there are no rules.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub(in crate::tokenizer) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let broken = |what: &str| format!("its rules for characters are damaged: {what}");
        let (length, rest) =
            bytes.split_first_chunk::<4>().ok_or_else(|| broken("they end at once"))?;
        let (trie, replacements) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| broken("the trie is cut off"))?;
        let (units, []) = trie.as_chunks::<4>() else {
            return Err(broken("the trie is no whole number of units"));
        };
        let units = units.iter().map(|&unit| Unit(u32::from_le_bytes(unit))).collect();
        let replacements = String::from_utf8(replacements.to_vec())
            .map_err(|_| broken("a replacement is not UTF-8"))?;
        let map = Self { units, replacements };
        match map.is_sound() {
            true => Ok(Some(map)),
            false => Err(broken("the trie leads out of itself, or to no replacement")),
        }
    }

    /// Whether each unit that can be reached has its children, and its value, in the trie. Children of one unit lie
    /// in one block of 256.
    fn is_sound(&self) -> bool {
        let sound = |(at, &unit): (usize, &Unit)| {
            if unit.is_value() && at != 0 {
                return true;
            }
            let children = at ^ unit.offset();
            let value =
                || self.units.get(children).is_some_and(|v| self.has_replacement(v.value()));
            (children | 0xFF) < self.units.len() && (!unit.ends_a_key() || value())
        };
        !self.units.is_empty() && self.units.iter().enumerate().all(sound)
    }

    fn has_replacement(&self, at: usize) -> bool {
        self.replacement(at).is_some_and(|text| text.len() <= LONGEST_REPLACEMENT)
    }

    fn replacement(&self, at: usize) -> Option<&str> {
        let text = self.replacements.get(at..)?;
        Some(text.split_once('\0').map_or(text, |(first, _)| first))
    }

    /// The longest key that `text` begins with: its length in bytes, and what replaces it.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut at = self.units.first()?.offset();
        let mut longest = None;
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            at ^= usize::from(byte);
            let unit = *self.units.get(at)?;
            if !unit.is_reached_by(byte) {
                break;
            }
            at ^= unit.offset();
            if unit.ends_a_key() && text.is_char_boundary(i + 1) {
                longest = Some((i + 1, self.units.get(at)?.value()));
            }
        }
        let (length, value) = longest?;
        Some((length, self.replacement(value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trie of the key "a" alone, whose replacement is `text`.
    fn of_a(text: &str) -> Vec<u8> {
        let mut units = vec![0u32; 512];
        // The root's children lie at 256, and the value of "a" where this has its own offset: 256 | 'a' ^ 1.
        units[0] = 256 << 10;
        units[256 | 0x61] = 1 << 10 | 1 << 8 | 0x61;
        units[256 | 0x60] = 1 << 31;
        let trie = units.iter().flat_map(|unit| unit.to_le_bytes());
        2048u32.to_le_bytes().into_iter().chain(trie).chain(text.bytes()).collect()
    }

    #[test]
    fn the_longest_key_is_replaced() {
        let map = Charsmap::read(&of_a("bcd\0e\0")).unwrap().unwrap();
        assert_eq!(map.longest("aa"), Some((1, "bcd")));
        assert_eq!((map.longest("b"), map.longest(""), map.longest("\0")), (None, None, None));
        assert!(Charsmap::read(&[]).unwrap().is_none());
    }

    #[test]
    fn damage_is_named() {
        let sound = of_a("b\0");
        let error = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sound.clone();
            change(&mut bytes);
            Charsmap::read(&bytes).unwrap_err()
        };
        assert!(error(&|b| b.truncate(3)).contains("at once"));
        assert!(error(&|b| b.truncate(100)).contains("cut off"));
        assert!(error(&|b| b[0] = 1).contains("whole number"));
        assert!(error(&|b| b.push(0xFF)).contains("UTF-8"));
        assert!(error(&|b| *b = b"\0\0\0\0b\0".into()).contains("leads out"));
        // The root's children; the value of "a".
        assert!(error(&|b| b[4 + 2] = 0x80).contains("leads out"));
        assert!(error(&|b| b[4 + 4 * (256 | 0x60)] = 9).contains("leads out"));
        let long = of_a(&"b".repeat(LONGEST_REPLACEMENT + 1));
        assert!(Charsmap::read(&long).unwrap_err().contains("leads out"));
    }
}

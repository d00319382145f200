//! The alphabet of byte-level vocabularies: one printable character for each byte.
//!
//! # Source
//! The released code of GPT-2, `bytes_to_unicode`.

/// The byte that `c` stands for.
pub(crate) fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes that a token stands for; a token with a character outside of the alphabet stands for
/// its own UTF-8.
pub(crate) fn bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut found: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte).collect();
        found.sort_unstable();
        assert_eq!(found, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte('Ġ'), Some(b' '));
        assert_eq!(byte('Ċ'), Some(b'\n'));
    }

    #[test]
    fn a_token_outside_of_the_alphabet_is_its_own_text() {
        assert_eq!(bytes("<｜User｜>"), "<｜User｜>".as_bytes());
        assert_eq!(bytes("Ġhi"), b" hi");
    }
}

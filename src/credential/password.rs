//! Passwords. Pure.
#![forbid(unsafe_code)]

use zeroize::Zeroizing;

pub const LENGTH: usize = 24;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness;

/// 24 characters of [A-Za-z0-9] from the system's CSPRNG: about 142 bits.
pub fn generate() -> Result<Zeroizing<String>, NoRandomness> {
    let mut password = Zeroizing::new(String::with_capacity(LENGTH));
    let mut bytes = Zeroizing::new([0u8; 2 * LENGTH]);
    while password.len() < LENGTH {
        fill(bytes.as_mut_slice())?;
        // Bytes from 248 on would favour the first letters.
        let letters = bytes.iter().filter(|&&byte| byte < 248);
        for byte in letters.take(LENGTH - password.len()) {
            if let Some(&letter) = ALPHABET.get(usize::from(byte % 62)) {
                password.push(char::from(letter));
            }
        }
    }
    Ok(password)
}

/// Random bytes for salts and names.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(|_| NoRandomness)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn password_has_its_length_and_alphabet_and_never_repeats() {
        let passwords: HashSet<String> = (0..1_000)
            .filter_map(|_| generate().ok())
            .map(|text| text.to_string())
            .collect();
        assert_eq!(passwords.len(), 1_000);
        for password in &passwords {
            assert_eq!(password.len(), LENGTH);
            assert!(
                password.bytes().all(|byte| ALPHABET.contains(&byte)),
                "{password}"
            );
        }
    }

    #[test]
    fn password_uses_every_letter_about_as_often() {
        let mut counts = [0u32; 128];
        for _ in 0..2_000 {
            for byte in generate()
                .map(|text| text.as_bytes().to_vec())
                .unwrap_or_default()
            {
                counts[usize::from(byte)] += 1;
            }
        }
        // 48,000 letters, 774 each; 9 standard deviations either way.
        for &letter in ALPHABET {
            let count = counts[usize::from(letter)];
            assert!(
                (530..1_020).contains(&count),
                "{}: {count}",
                char::from(letter)
            );
        }
    }
}

//! The rules for an RSA public key (RFC 7518 section 3.3, RFC 8017 section 3.1).

use jsonwebtoken::DecodingKey;

use super::KeyError;

const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;

/// A key from its big-endian numbers.
pub(super) fn key(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, KeyError> {
    let modulus = without_leading_zeros(modulus);
    let exponent = without_leading_zeros(exponent);
    let bits = bit_length(modulus);
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    // AWS-LC takes exponents of up to 33 bits.
    if !odd || exponent == [1] || bit_length(exponent) > 33 {
        return Err(KeyError::RsaExponent);
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(KeyError::Invalid);
    }
    if is_of_roca(modulus) {
        return Err(KeyError::Roca);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// The odd primes whose product divides the number that made the primes of such keys, of any length.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Was the key made by the chips of CVE-2017-15361 (ROCA), so that its primes can be found? Each of the two is a power of 65537 by
/// each of [`PRIMES`], and so is their product. Of other keys one in a hundred million is.
fn is_of_roca(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, &byte| (rest << 8 | u32::from(byte)) % prime);
        let next = |power: &u32| Some(power * 65_537 % prime);
        std::iter::successors(Some(1), next)
            .take(prime as usize)
            .any(|power| power == rest)
    })
}

fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let Some(rest) = number.strip_prefix(&[0]) {
        number = rest;
    }
    number
}

fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| {
        (8 * number.len()).saturating_sub(first.leading_zeros() as usize)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(hex: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    /// Both are among the test data that those who found the fault have published.
    #[test]
    fn keys_of_the_chips_of_cve_2017_15361_are_told_from_others() {
        let made_by_such = number(
            "9dcd7420e420c270a68060eb8b5aa7457a9f6648f86fafed2775cc1f79ae962f1e63f1b9e51c55f9ea6fdc7332e9b0058c9ff2eb1fc89855029cf6aafe21e689feb38ac9ffb12f1ce371bb5d0e9aae64161abce74b4244bf68f1edb4411f756a097c8929c14740245ea355f8332d1aa36bb50c7dcb4505da8de02e4e53d38f8df06097da7524df0df93db48eac8cc4af2d3a16257eb2b2adca6ba464e5974fa92550d31b1babf161e7692d00b86e3dd886ecab4abfbe1a8f8cc263ff4af55cdb45f4249a5193925f5e983d762f0b6800943eb0267b08f42ed311ce1f5c86eacbc8ce4d3cb7a2fee1ef5641423a1cf4114e5ecf50034a60a412523af9e6f4aa11",
        );
        let other = number(
            "ba68fc5fbb606c4d428ab98b355d66214db4f7e475b5f7ffddc349c73f7d659965121ab16a4014e6c465c111d850205853d113f712127e4a230aa97f481eed6410f6c345f48e25fb81c42ec6815dc35cdd839e0de91fb2bec848d0910fa77e2c31f99ec9bcc7ed167812bd724318b0adf492d6b47c5ce050184e877ea64045f9501bf70569cffd102db7299f49e9c00222af9115d0aada967dfe759b7e4576e85c3a4ff594039231b90b448b90c3236083bcf819bc318d53a2018ec9b401f102ba9ee13dde592a42b032df136689d9c5619db55d519853a422d3100624d2d9e478218375f460c26930eda8cd0d947e58ffe9b7be2445356deaed988223e3ed1d",
        );
        let exponent = [1, 0, 1];
        assert_eq!(key(&made_by_such, &exponent).err(), Some(KeyError::Roca));
        assert_eq!(
            key(&[&[0], &*made_by_such].concat(), &exponent).err(),
            Some(KeyError::Roca)
        );
        assert!(key(&other, &exponent).is_ok());
    }
}

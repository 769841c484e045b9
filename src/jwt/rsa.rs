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
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
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

//! Decimal text to whole parts: how numbers of JSON become integers without floating point.
//!
//! What is finer than the parts is rounded to the nearest, because clients compute with floats and send
//! `0.30000000000000004`.

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmountError {
    /// Not a decimal number.
    NotANumber,
    /// Less than zero.
    Negative,
    /// More than can be counted.
    TooLarge,
}

/// Digits that are looked at; no sensible amount has more.
const DIGITS_MAX: usize = 64;

/// Reads `1.25`, `3` or `1e-3` as a count of parts of which `10^places` make one, rounded half up.
pub fn parse_parts(text: &str, places: u32) -> Result<u64, AmountError> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent
        .trim_start_matches('+')
        .parse()
        .map_err(|_| AmountError::NotANumber)?;
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) {
        return Err(AmountError::NotANumber);
    }
    if whole.len() + decimals.len() > DIGITS_MAX {
        return Err(AmountError::TooLarge);
    }
    let digits: Vec<u8> = whole
        .bytes()
        .chain(decimals.bytes())
        .map(|b| b - b'0')
        .collect();
    if digits.iter().all(|digit| *digit == 0) {
        return Ok(0);
    }
    if negative {
        return Err(AmountError::Negative);
    }
    let point = i64::try_from(whole.len())
        .unwrap_or(i64::MAX)
        .saturating_add(exponent);
    let kept = point.saturating_add(i64::from(places));
    if kept < 0 {
        return Ok(0);
    }
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    if kept > DIGITS_MAX * 2 {
        return Err(AmountError::TooLarge);
    }
    let mut parts: u64 = 0;
    for digit in digits
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .take(kept)
    {
        parts = parts
            .checked_mul(10)
            .and_then(|n| n.checked_add(u64::from(digit)))
            .ok_or(AmountError::TooLarge)?;
    }
    let rounds_up = digits.get(kept).is_some_and(|digit| *digit >= 5);
    parts
        .checked_add(u64::from(rounds_up))
        .ok_or(AmountError::TooLarge)
}

/// Writes parts of which `10^places` make one, as the shortest decimal text.
pub fn format_parts(parts: u64, places: u32) -> String {
    let unit = 10u64.saturating_pow(places).max(1);
    let width = usize::try_from(places).unwrap_or(0);
    let text = format!("{}.{:0width$}", parts / unit, parts % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_parts() {
        for (text, places, parts) in [
            ("1", 3, Ok(1000)),
            ("0.25", 3, Ok(250)),
            ("0.30000000000000004", 3, Ok(300)),
            ("0.0005", 3, Ok(1)),
            ("0.0004", 3, Ok(0)),
            ("1e-3", 3, Ok(1)),
            ("1e-300", 3, Ok(0)),
            ("1.5e3", 3, Ok(1_500_000)),
            ("1.15", 6, Ok(1_150_000)),
            ("-0.0", 3, Ok(0)),
            ("0", 3, Ok(0)),
            ("-1", 3, Err(AmountError::Negative)),
            ("1e300", 3, Err(AmountError::TooLarge)),
            ("99999999999999999999", 3, Err(AmountError::TooLarge)),
            ("NaN", 3, Err(AmountError::NotANumber)),
            ("", 3, Err(AmountError::NotANumber)),
            ("1.", 0, Ok(1)),
            (".5", 3, Err(AmountError::NotANumber)),
        ] {
            assert_eq!(parse_parts(text, places), parts, "{text}");
        }
    }

    #[test]
    fn parts_become_decimals() {
        for (parts, text) in [
            (1500, "1.5"),
            (1000, "1"),
            (1, "0.001"),
            (0, "0"),
            (128_000, "128"),
        ] {
            assert_eq!(format_parts(parts, 3), text);
        }
    }
}

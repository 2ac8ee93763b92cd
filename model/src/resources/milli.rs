//! Amounts of scalars as text: whole thousandths, never floats.

use crate::code;
use crate::limits::SCALAR_MILLI_MAX;
use crate::problem::Problem;

/// Reads an amount such as `4`, `0.5` or `0.001` into thousandths; no sign, no exponent, at most three decimals.
pub fn parse_milli(text: &str) -> Result<u64, Problem> {
    let wrong = |message: String| {
        Err(Problem::new(code::RESOURCES_INVALID, message)
            .hint("write a number such as 4 or 0.25, at most three decimals"))
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return wrong(format!("{:?} is not an amount", clipped(text)));
    }
    if decimals.trim_end_matches('0').len() > 3 {
        return wrong(format!("{} is finer than a thousandth", clipped(text)));
    }
    let padded: String = decimals.chars().chain("000".chars()).take(3).collect();
    let milli = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(1000));
    let milli = milli
        .zip(padded.parse::<u64>().ok())
        .and_then(|(a, b)| a.checked_add(b));
    match milli {
        Some(milli) if milli <= SCALAR_MILLI_MAX => Ok(milli),
        _ => wrong(format!(
            "{} is larger than {}",
            clipped(text),
            SCALAR_MILLI_MAX / 1000
        )),
    }
}

/// Writes thousandths as [`parse_milli`] reads them.
pub fn format_milli(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The beginning of a text that a message quotes: what is wrong with it shows there.
pub(crate) fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(80)).unwrap_or_default()
}

//! Lists in pages: how large one is, where the next one begins. Pure.
//!
//! A page token is the key of the row that was looked at last, its ids joined with `/`, which no id holds. So it is good for
//! ever, and says nothing that the page did not.

use std::sync::Arc;

use proffer_model::limits::ENTRIES_MAX;
use proffer_model::{Problem, code};
use prost::Message;

use super::super::decode_id;
use crate::limits::{PAGE_LEN_DEFAULT, PAGE_LEN_MAX, PAGE_LOOKS_MAX, PAGE_ROWS_BYTES_MAX};

/// Rows on the wire, and the token of the next page, which is empty when there is none.
pub(super) type Page<T> = (Vec<T>, String);

/// How many rows a page may hold that is to hold so many.
pub(super) fn page_len(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(PAGE_LEN_MAX) {
        0 => PAGE_LEN_DEFAULT,
        len => len.min(PAGE_LEN_MAX),
    }
}

/// The first page of these rows.
pub(super) fn page<'a, R: 'a, T: Message>(
    rows: impl Iterator<Item = &'a Arc<R>>,
    len: usize,
    is_wanted: impl Fn(&R) -> bool,
    encode: impl Fn(&R) -> T,
    token: impl Fn(&R) -> String,
) -> Page<T> {
    let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
    for (looks, row) in rows.enumerate() {
        let is_full = page.len() == len || bytes >= PAGE_ROWS_BYTES_MAX || looks == PAGE_LOOKS_MAX;
        if let Some(last) = last.filter(|_| is_full) {
            return (page, token(last));
        }
        last = Some(row);
        if is_wanted(row) {
            let row = encode(row);
            bytes += row.encoded_len();
            page.push(row);
        }
    }
    (page, String::new())
}

/// The parts of a token; none on the first page.
pub(super) fn decode_token<const N: usize>(token: &str) -> Result<Option<[&str; N]>, Problem> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts: Vec<&str> = token.split('/').collect();
    let parts = parts.try_into().map_err(|_| malformed())?;
    Ok(Some(parts))
}

/// An id in a token.
pub(super) fn decode_part<I>(part: &str) -> Result<I, Problem>
where
    I: std::str::FromStr<Err = Problem>,
{
    decode_id(part, "page_token").map_err(|_| malformed())
}

/// The ids in a token of a list whose rows have so many; for `parsers.rs`.
pub(crate) fn ids_of_token<const N: usize>(token: &str) -> Result<Vec<String>, Problem> {
    let parts = decode_token::<N>(token)?;
    let ids = parts.iter().flatten();
    let ids = ids.map(|part| decode_part::<proffer_model::TaskId>(part).map(|id| id.to_string()));
    ids.collect()
}

/// An id that rows are filtered by; none when it is empty.
pub(super) fn decode_filter<I>(text: &str, field: &str) -> Result<Option<I>, Problem>
where
    I: std::str::FromStr<Err = Problem>,
{
    if text.is_empty() {
        Ok(None)
    } else {
        decode_id(text, field).map(Some)
    }
}

/// A filter of so many entries, each of which is looked at for each row, is not too long.
pub(super) fn check_entries(count: usize, field: &str) -> Result<(), Problem> {
    if count <= ENTRIES_MAX {
        return Ok(());
    }
    let message = format!("{count} entries are given; the limit is {ENTRIES_MAX}");
    Err(Problem::new(code::FIELD_TOO_LONG, message)
        .field(field)
        .hint("filter by fewer, or ask several times"))
}

/// Whether a row passes a filter.
pub(super) fn passes<I: PartialEq>(filter: Option<&I>, of_row: &I) -> bool {
    filter.is_none_or(|filter| filter == of_row)
}

/// The problem of a token that is none.
pub(super) fn malformed() -> Problem {
    Problem::new(
        code::FIELD_INVALID,
        "this is no token of a page of this list",
    )
    .field("page_token")
    .hint("give next_page_token as it came, or nothing to begin anew")
}

#[cfg(test)]
mod tests {
    use proffer_proto::v1;

    use super::*;

    fn rows(count: u32) -> Vec<Arc<u32>> {
        (0..count).map(Arc::new).collect()
    }

    fn take(rows: &[Arc<u32>], len: usize, is_wanted: impl Fn(&u32) -> bool) -> (Vec<u32>, String) {
        let encode = |row: &u32| v1::Scalar {
            name: String::new(),
            milli: u64::from(*row),
        };
        let (page, next) = page(rows.iter(), len, is_wanted, encode, ToString::to_string);
        let numbers = page
            .iter()
            .map(|row| u32::try_from(row.milli).expect("small"));
        (numbers.collect(), next)
    }

    #[test]
    fn a_page_ends_where_it_is_full_and_the_last_one_has_no_token() {
        let rows = rows(5);
        assert_eq!(take(&rows, 2, |_| true), (vec![0, 1], "1".to_owned()));
        assert_eq!(
            take(&rows, 5, |_| true),
            (vec![0, 1, 2, 3, 4], String::new())
        );
        assert_eq!(
            take(&rows, 9, |_| true),
            (vec![0, 1, 2, 3, 4], String::new())
        );
        assert_eq!(take(&rows, 1, |row| *row > 2), (vec![3], "3".to_owned()));
        assert_eq!(take(&rows, 1, |row| *row > 8), (vec![], String::new()));
        assert_eq!(take(&[], 1, |_| true), (vec![], String::new()));
    }

    #[test]
    fn a_page_of_few_among_many_is_short_and_says_where_to_go_on() {
        let looks = u32::try_from(PAGE_LOOKS_MAX).expect("small");
        let rows = rows(looks + 1);
        let (page, next) = take(&rows, 1, |row| *row == looks);
        assert_eq!((page, next), (vec![], (looks - 1).to_string()));
    }

    #[test]
    fn sizes_have_a_limit_and_tokens_a_form() {
        assert_eq!(page_len(0), PAGE_LEN_DEFAULT);
        assert_eq!(page_len(7), 7);
        assert_eq!(page_len(u32::MAX), PAGE_LEN_MAX);
        assert_eq!(decode_token::<2>("").expect("the first page"), None);
        assert_eq!(decode_token::<2>("f/t").expect("a token"), Some(["f", "t"]));
        for wrong in ["f", "f/t/x"] {
            let problem = decode_token::<2>(wrong).expect_err("no token");
            assert!(problem.is(code::FIELD_INVALID), "{problem}");
            assert_eq!(problem.field, "page_token");
        }
        let problem = decode_part::<proffer_model::TaskId>("").expect_err("no id");
        assert_eq!(problem.field, "page_token");
    }
}

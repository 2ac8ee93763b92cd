//! A table whose copy costs next to nothing: rows in the order of their keys, in pages that are shared until one of them is
//! changed.
//!
//! Copying a map of 500,000 tasks takes a quarter of a second; copying the list of its pages takes microseconds, and
//! each change after that copies one page of pointers, once. The order makes it possible to list page by page, from a name
//! on, in copies of different moments: what lived all the time is in its place in each of them.

use std::cmp::Ordering;
use std::sync::Arc;

/// Rows of one page at most. Larger makes copies of the table cheaper and changes after a copy dearer.
const PAGE_LEN: usize = 256;

/// A row that knows its key.
pub(crate) trait Keyed {
    /// What it is found by.
    type Key: Ord;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// Where its key stands to this one.
    fn compare(&self, key: &Self::Key) -> Ordering;
}

type Page<R> = Vec<Arc<R>>;

/// Rows by key. No page is empty.
#[derive(Debug)]
pub(crate) struct Table<R> {
    pages: Vec<Arc<Page<R>>>,
    len: usize,
}

/// A copy of a table's rows, in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Rows<R> {
    pages: Vec<Arc<Page<R>>>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }
}

impl<R: Keyed> Table<R> {
    /// Puts a row in place of the one with the same key, and answers that.
    pub(crate) fn put(&mut self, row: impl Into<Arc<R>>) -> Option<Arc<R>> {
        let row = row.into();
        let key = row.key();
        let place = self.page_of(&key);
        let is_last = place + 1 >= self.pages.len();
        let Some(page) = self.pages.get_mut(place) else {
            self.pages.push(Arc::new(vec![row]));
            self.len += 1;
            return None;
        };
        match page.binary_search_by(|row| row.compare(&key)) {
            Ok(at) => {
                let old = Arc::make_mut(page).get_mut(at)?;
                return Some(std::mem::replace(old, row));
            }
            Err(at) if page.len() < PAGE_LEN => Arc::make_mut(page).insert(at, row),
            // What comes in order fills its pages.
            Err(at) if is_last && at == page.len() => self.pages.push(Arc::new(vec![row])),
            Err(at) => {
                let page = Arc::make_mut(page);
                let mut rest = page.split_off(PAGE_LEN / 2);
                match at.checked_sub(page.len()) {
                    Some(at) => rest.insert(at, row),
                    None => page.insert(at, row),
                }
                self.pages.insert(place + 1, Arc::new(rest));
            }
        }
        self.len += 1;
        None
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<Arc<R>> {
        let place = self.page_of(key);
        let page = self.pages.get_mut(place)?;
        let at = page.binary_search_by(|row| row.compare(key)).ok()?;
        let row = Arc::make_mut(page).remove(at);
        self.len -= 1;
        self.tidy(place);
        if let Some(before) = place.checked_sub(1) {
            self.tidy(before);
        }
        Some(row)
    }

    /// A row.
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        let page = self.pages.get(self.page_of(key))?;
        let at = page.binary_search_by(|row| row.compare(key)).ok()?;
        page.get(at)
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The rows from the first one of which this does not hold; it must hold of none after that.
    pub(crate) fn from(&self, is_before: impl Fn(&R) -> bool) -> impl Iterator<Item = &Arc<R>> {
        from(&self.pages, is_before)
    }

    /// A copy of the rows as they are now.
    pub(crate) fn rows(&self) -> Rows<R> {
        Rows {
            pages: self.pages.clone(),
        }
    }

    /// The page that holds this key, if any does.
    fn page_of(&self, key: &R::Key) -> usize {
        let is_not_after = |page: &Arc<Page<R>>| {
            let first = page.first();
            first.is_some_and(|row| row.compare(key) != Ordering::Greater)
        };
        self.pages.partition_point(is_not_after).saturating_sub(1)
    }

    /// Takes an empty page away, and makes one of two that are nearly so.
    fn tidy(&mut self, place: usize) {
        let len_of = |place: usize| self.pages.get(place).map(|page| page.len());
        match (len_of(place), len_of(place + 1)) {
            (Some(0), _) => {
                self.pages.remove(place);
            }
            (Some(len), Some(next)) if len + next <= PAGE_LEN / 4 => {
                let next = self.pages.remove(place + 1);
                if let Some(page) = self.pages.get_mut(place) {
                    Arc::make_mut(page).extend(next.iter().cloned());
                }
            }
            _ => {}
        }
    }
}

impl<R> Rows<R> {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.iter().map(|page| page.len()).sum()
    }

    /// Every row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    /// The rows from the first one of which this does not hold; it must hold of none after that.
    pub(crate) fn from(&self, is_before: impl Fn(&R) -> bool) -> impl Iterator<Item = &Arc<R>> {
        from(&self.pages, is_before)
    }
}

impl<R: Keyed> Rows<R> {
    /// Tells of each row that differs in a later copy, in the order of their keys, how it was and how it is. Pages that both
    /// share are passed over.
    pub(crate) fn changes(&self, later: &Self, mut tell: impl FnMut(Option<&R>, Option<&R>)) {
        let (mut old, mut new) = (Cursor::new(&self.pages), Cursor::new(&later.pages));
        loop {
            if old.shares_page_with(&new) {
                old.skip_page();
                new.skip_page();
                continue;
            }
            let order = match (old.row(), new.row()) {
                (None, None) => return,
                // The same row, though in another page.
                (Some(same), Some(new_row)) if std::ptr::eq(same, new_row) => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.compare(&new.key()),
            };
            match order {
                Ordering::Less => tell(old.next(), None),
                Ordering::Greater => tell(None, new.next()),
                Ordering::Equal => tell(old.next(), new.next()),
            }
        }
    }

    /// A row.
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        let row = self.from(|row| row.compare(key) == Ordering::Less).next()?;
        (row.compare(key) == Ordering::Equal).then_some(row)
    }
}

/// A place in a copy.
struct Cursor<'r, R> {
    pages: &'r [Arc<Page<R>>],
    at: usize,
}

impl<'r, R> Cursor<'r, R> {
    fn new(pages: &'r [Arc<Page<R>>]) -> Self {
        Self { pages, at: 0 }
    }

    fn row(&self) -> Option<&'r R> {
        self.pages.first()?.get(self.at).map(Arc::as_ref)
    }

    fn next(&mut self) -> Option<&'r R> {
        let row = self.row();
        self.at += 1;
        if self.pages.first().is_some_and(|page| self.at >= page.len()) {
            self.skip_page();
        }
        row
    }

    fn skip_page(&mut self) {
        self.pages = self.pages.get(1..).unwrap_or_default();
        self.at = 0;
    }

    /// Whether both are at the beginning of the same page.
    fn shares_page_with(&self, other: &Self) -> bool {
        let (Some(page), Some(others)) = (self.pages.first(), other.pages.first()) else {
            return false;
        };
        self.at == 0 && other.at == 0 && Arc::ptr_eq(page, others)
    }
}

fn from<R>(
    pages: &[Arc<Page<R>>],
    is_before: impl Fn(&R) -> bool,
) -> impl Iterator<Item = &Arc<R>> {
    let is_passed = |page: &Arc<Page<R>>| page.last().is_some_and(|row| is_before(row));
    let first = pages.partition_point(is_passed);
    let page = pages.get(first);
    let skipped = page.map_or(0, |page| page.partition_point(|row| is_before(row)));
    let pages = pages.get(first..).unwrap_or_default();
    pages.iter().flat_map(|page| page.iter()).skip(skipped)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for (u16, u32) {
        type Key = u16;

        fn key(&self) -> u16 {
            self.0
        }

        fn compare(&self, key: &u16) -> Ordering {
            self.0.cmp(key)
        }
    }

    fn all(rows: &Rows<(u16, u32)>) -> Vec<(u16, u32)> {
        rows.iter().map(|row| **row).collect()
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut table = Table::default();
        for key in 0..1_000_u16 {
            assert_eq!(table.put((key, 1)), None);
        }
        let copy = table.rows();
        assert_eq!(table.put((500, 2)).as_deref(), Some(&(500, 1)));
        assert_eq!(table.remove(&1).as_deref(), Some(&(1, 1)));
        let before: Vec<_> = (0..1_000).map(|key| (key, 1)).collect();
        assert_eq!(all(&copy), before);
        assert_eq!(table.len(), 999);
        assert_eq!(table.get(&500).map(|row| **row), Some((500, 2)));
    }

    #[test]
    fn what_comes_in_order_fills_its_pages_and_what_goes_leaves_none_behind() {
        let mut table = Table::default();
        for key in 0..10_000_u16 {
            table.put((key, 0));
        }
        assert_eq!(table.pages.len(), 10_000_usize.div_ceil(PAGE_LEN));
        for key in (0..10_000).filter(|key| key % 100 != 0) {
            table.remove(&key);
        }
        assert!(table.pages.len() <= 10, "{}", table.pages.len());
        for key in 0..10_000 {
            table.remove(&key);
        }
        assert_eq!((table.pages.len(), table.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(
            changes in prop::collection::vec((0..900_u16, any::<Option<u32>>()), 0..3_000),
            start in 0..1_000_u16,
        ) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (key, row) in changes {
                match row {
                    Some(row) => prop_assert_eq!(table.put((key, row)).map(|row| row.1), map.insert(key, row)),
                    None => prop_assert_eq!(table.remove(&key).map(|row| row.1), map.remove(&key)),
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let rows = table.rows();
            let expected: Vec<(u16, u32)> = map.iter().map(|(key, row)| (*key, *row)).collect();
            prop_assert_eq!(all(&rows), expected);
            let later: Vec<u16> = rows.from(|row| row.0 < start).map(|row| row.0).collect();
            let expected: Vec<u16> = map.range(start..).map(|(key, _)| *key).collect();
            prop_assert_eq!(later, expected);
            prop_assert_eq!(rows.get(&start).map(|row| row.1), map.get(&start).copied());
        }

        #[test]
        fn changes_between_two_copies_are_all_told_once_in_order(
            before in prop::collection::vec((0..2_000_u16, any::<Option<u32>>()), 0..3_000),
            after in prop::collection::vec((0..2_000_u16, any::<Option<u32>>()), 0..300),
        ) {
            let mut table = Table::default();
            let mut change = |changes: Vec<(u16, Option<u32>)>| {
                for (key, row) in changes {
                    match row {
                        Some(row) => drop(table.put((key, row))),
                        None => drop(table.remove(&key)),
                    }
                }
                table.rows()
            };
            let (before, after) = (change(before), change(after));
            let mut rows: BTreeMap<u16, u32> = all(&before).into_iter().collect();
            let mut last = None;
            before.changes(&after, |old, new| {
                let key = old.or(new).expect("one of them").0;
                assert!(last.replace(key).is_none_or(|last| last < key));
                assert_eq!(old.map(|row| row.1), rows.get(&key).copied());
                match new {
                    Some(new) => drop(rows.insert(key, new.1)),
                    None => drop(rows.remove(&key)),
                }
            });
            prop_assert_eq!(rows.into_iter().collect::<Vec<_>>(), all(&after));
        }
    }
}

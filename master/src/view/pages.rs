//! A table whose copy costs next to nothing: rows in pages that are shared until one of them is changed.
//!
//! Copying a map of 500,000 tasks takes a quarter of a second; copying the list of its pages takes microseconds, and
//! each change after that copies one page of pointers, once.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of one page. Larger makes copies of the table cheaper and changes after a copy dearer.
const PAGE_LEN: usize = 256;

type Page<R> = Vec<Option<Arc<R>>>;

/// Rows by key.
#[derive(Debug)]
pub(crate) struct Table<K, R> {
    places: BTreeMap<K, usize>,
    vacant: Vec<usize>,
    pages: Vec<Arc<Page<R>>>,
}

/// A copy of a table's rows, in no order.
#[derive(Clone, Debug)]
pub(crate) struct Rows<R> {
    pages: Vec<Arc<Page<R>>>,
}

impl<K, R> Default for Table<K, R> {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            vacant: Vec::new(),
            pages: Vec::new(),
        }
    }
}

impl<K: Ord, R> Table<K, R> {
    /// Puts a row in place of the one with the same key, and answers that.
    pub(crate) fn put(&mut self, key: K, row: impl Into<Arc<R>>) -> Option<Arc<R>> {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => {
                let place = self.vacant.pop().unwrap_or_else(|| self.grow());
                self.places.insert(key, place);
                place
            }
        };
        self.slot(place)?.replace(row.into())
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<Arc<R>> {
        let place = self.places.remove(key)?;
        self.vacant.push(place);
        self.slot(place)?.take()
    }

    /// A row.
    pub(crate) fn get(&self, key: &K) -> Option<&Arc<R>> {
        let place = self.places.get(key)?;
        self.pages
            .get(place / PAGE_LEN)?
            .get(place % PAGE_LEN)?
            .as_ref()
    }

    /// The keys of all rows, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.keys()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A copy of the rows as they are now.
    pub(crate) fn rows(&self) -> Rows<R> {
        Rows {
            pages: self.pages.clone(),
        }
    }

    /// A place after all others.
    fn grow(&mut self) -> usize {
        let place = self.places.len() + self.vacant.len();
        if place.is_multiple_of(PAGE_LEN) {
            self.pages.push(Arc::new(vec![None; PAGE_LEN]));
        }
        place
    }

    fn slot(&mut self, place: usize) -> Option<&mut Option<Arc<R>>> {
        let page = self.pages.get_mut(place / PAGE_LEN)?;
        Arc::make_mut(page).get_mut(place % PAGE_LEN)
    }
}

impl<R> Rows<R> {
    /// All rows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn sorted(rows: &Rows<u32>) -> Vec<u32> {
        let mut values: Vec<u32> = rows.iter().map(|row| **row).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut table = Table::default();
        for key in 0..1_000_u32 {
            assert_eq!(table.put(key, key), None);
        }
        let copy = table.rows();
        assert_eq!(table.put(500, 5_000).as_deref(), Some(&500));
        assert_eq!(table.remove(&1).as_deref(), Some(&1));
        assert_eq!(sorted(&copy), (0..1_000).collect::<Vec<_>>());
        assert_eq!(table.len(), 999);
        assert_eq!(table.get(&500).map(|row| **row), Some(5_000));
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(changes in prop::collection::vec((0..600_u16, any::<Option<u32>>()), 0..2_000)) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (key, row) in changes {
                match row {
                    Some(row) => prop_assert_eq!(table.put(key, row).map(|row| *row), map.insert(key, row)),
                    None => prop_assert_eq!(table.remove(&key).map(|row| *row), map.remove(&key)),
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let mut values: Vec<u32> = map.values().copied().collect();
            values.sort_unstable();
            prop_assert_eq!(sorted(&table.rows()), values);
        }
    }
}

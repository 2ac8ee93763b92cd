//! What a bundle holds beside its vector, kept once for all who hold the same. An agent's ports go from its total to what is
//! free of it, to whom it is granted and back without being copied, and agents that have the same numbers share them.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use proffer_model::Resources;

/// Resources that are copied when they change and not before. None: nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra(Option<Arc<Resources>>);

static NOTHING: LazyLock<Resources> = LazyLock::new(Resources::new);

impl Deref for Extra {
    type Target = Resources;

    fn deref(&self) -> &Resources {
        match &self.0 {
            Some(resources) => resources,
            None => &NOTHING,
        }
    }
}

impl From<Resources> for Extra {
    fn from(resources: Resources) -> Self {
        Self((!resources.is_empty()).then(|| Arc::new(resources)))
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
            _ => false,
        }
    }
}

impl Eq for Extra {}

impl Extra {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine.contains(theirs),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (Some(mine), Some(theirs)) => Arc::make_mut(mine).add(theirs),
            (None, Some(_)) => self.clone_from(other),
        }
    }

    /// Takes away; of shared volumes, copies.
    pub(super) fn subtract(&mut self, other: &Self) {
        let (Some(mine), Some(theirs)) = (&mut self.0, &other.0) else {
            return;
        };
        if Arc::ptr_eq(mine, theirs) {
            self.0 = None;
            return;
        }
        let left = Arc::make_mut(mine);
        left.subtract(theirs);
        if left.is_empty() {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(text: &str) -> Extra {
        text.parse::<Resources>().expect(text).into()
    }

    #[test]
    fn what_is_shared_is_copied_when_it_changes() {
        let all = extra("ports:[1-10]");
        let mut free = all.clone();
        free.subtract(&extra("ports:[1-3]"));
        assert_eq!(
            (&*free, &*all),
            (&*extra("ports:[4-10]"), &*extra("ports:[1-10]"))
        );
        assert!(all.contains(&free) && !free.contains(&all) && free != all);
        free.add(&extra("ports:[1-3]"));
        assert_eq!(free, all);
        free.subtract(&all.clone());
        assert!(free.is_empty() && free == Extra::default() && !free.contains(&all));
        free.add(&all);
        free.subtract(&extra("ports:[1-10]"));
        assert!(free.is_empty() && free.contains(&Extra::default()));
    }
}

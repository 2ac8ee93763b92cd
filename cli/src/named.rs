//! Finds the one thing that a name given on the command line stands for.

use proffer_model::Problem;
use proffer_model::problem::Code;

use crate::task::is_part;

pub(crate) mod task;

/// How many ids a message about a name that stands for several of them gives.
const IDS_NAMED: usize = 5;

/// What people name: how it says who it is, and what a message about several of them needs.
pub(crate) struct Kind<T> {
    /// Several of them, in a sentence: `agents`.
    pub(crate) plural: &'static str,
    /// The code of the problem, when a name stands for several.
    pub(crate) code: Code,
    pub(crate) id: fn(&T) -> &str,
    /// What people call it besides.
    pub(crate) called: fn(&T) -> &str,
}

/// By its id; else by what people call it; else by a part of its id. None when nothing is named so; a problem when several are.
pub(crate) fn the_one_named<T>(
    mut all: Vec<T>,
    name: &str,
    kind: &Kind<T>,
) -> Result<Option<T>, Problem> {
    let is_it: [&dyn Fn(&T) -> bool; 3] = [
        &|one| (kind.id)(one) == name,
        &|one| (kind.called)(one) == name,
        &|one| is_part(name, (kind.id)(one)),
    ];
    for is_it in is_it {
        let places = (0..all.len()).filter(|at| all.get(*at).is_some_and(is_it));
        match places.collect::<Vec<_>>().as_slice() {
            [] => {}
            [at] => return Ok(Some(all.swap_remove(*at))),
            several => {
                let ids = several.iter().filter_map(|at| all.get(*at)).map(kind.id);
                let (count, ids) = (several.len(), ids.take(IDS_NAMED).collect::<Vec<_>>());
                return Err(stands_for_several(name, kind, count, &ids));
            }
        }
    }
    Ok(None)
}

fn stands_for_several<T>(name: &str, kind: &Kind<T>, count: usize, ids: &[&str]) -> Problem {
    let (plural, more) = (kind.plural, if count > ids.len() { ", …" } else { "" });
    let ids = ids.join(", ");
    let message = format!("{name:?} stands for {count} {plural}: {ids}{more}");
    let hint = format!("name one by its id; `proffer {plural}` lists them");
    Problem::new(kind.code, message).hint(hint)
}

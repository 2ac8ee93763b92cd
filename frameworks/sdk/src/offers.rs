//! What fits an offer, and how it is cut up for several tasks. Pure: nothing is sent.
//!
//! What is reserved to the framework is taken before what everybody may use. Volumes, revocable resources and whole disks are
//! left alone: an author who wants them names them as they are offered.
//!
//! ```
//! use proffer_sdk::model::Resources;
//! use proffer_sdk::offers::{Remainder, ports};
//!
//! # fn main() -> Result<(), proffer_sdk::model::Problem> {
//! let offered: Resources = "cpus(eng):1;cpus:3;mem:4096;ports:[31000-31003]".parse()?;
//! let needs: Resources = "cpus:2;mem:512".parse()?;
//! let mut left = Remainder::of(&offered);
//! assert_eq!(left.fits(&needs, 1), 2);
//! let task = left.take(&needs, 2).expect("it fits");
//! assert_eq!(task.to_string(), "cpus:1;mem:512;ports:[31000-31001];cpus(eng):1");
//! assert_eq!(ports(&task), [31000, 31001]);
//! assert_eq!(left.take(&needs, 3), None, "two ports are left");
//! # Ok(())
//! # }
//! ```

use proffer_model::ranges::RangeSet;
use proffer_model::resources::Amount;
use proffer_model::{Offer, OfferId, ResourceKind, Resources, TaskSpec};

/// What is left of an offer, while its author decides about tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remainder(Resources);

impl Remainder {
    /// All that an offer holds.
    pub fn new(offer: &Offer) -> Self {
        Self::of(&offer.resources)
    }

    /// All of these.
    pub fn of(resources: &Resources) -> Self {
        Self(resources.clone())
    }

    /// What is left.
    pub fn resources(&self) -> &Resources {
        &self.0
    }

    /// How many times this, with so many ports each, can be taken.
    pub fn fits(&self, needs: &Resources, ports: u64) -> u64 {
        let (mut left, mut count) = (self.clone(), 0);
        while left.take(needs, ports).is_some() {
            count += 1;
            if needs.is_empty() && ports == 0 {
                break;
            }
        }
        count
    }

    /// Cuts off what one task needs, with so many ports, the lowest that are free; nothing when it does not fit. Plain scalars
    /// are taken of whatever is there of them, everything else as it is named. What is taken says of which reservation it
    /// is, as the task's resources must.
    pub fn take(&mut self, needs: &Resources, ports: u64) -> Option<Resources> {
        let (mut left, mut taken) = (self.0.clone(), Resources::new());
        for (kind, amount) in needs.iter() {
            let is_plain = *kind == ResourceKind::plain(kind.name.clone());
            match amount {
                Amount::Scalar(milli) if is_plain => {
                    take_scalar(&mut left, &mut taken, &kind, *milli)?;
                }
                amount => {
                    let mut named = Resources::new();
                    named.insert(kind.into_owned(), amount.clone()).ok()?;
                    if !left.contains(&named) {
                        return None;
                    }
                    left.subtract(&named);
                    taken.add(&named);
                }
            }
        }
        take_ports(&mut left, &mut taken, ports)?;
        self.0 = left;
        Some(taken)
    }
}

/// The tasks that fit which offer, first come, first served: each task in the first offer with room for what its spec asks
/// for, its resources then being what it takes of that offer. And the tasks that fit none.
///
/// The room that a task's executor needs is not counted.
pub fn first_fit(
    offers: &[Offer],
    tasks: impl IntoIterator<Item = TaskSpec>,
) -> (Vec<(OfferId, Vec<TaskSpec>)>, Vec<TaskSpec>) {
    let mut left: Vec<(&Offer, Remainder, Vec<TaskSpec>)> = offers
        .iter()
        .map(|offer| (offer, Remainder::new(offer), Vec::new()))
        .collect();
    let mut rest = Vec::new();
    for mut task in tasks {
        let found = left.iter_mut().find_map(|(_, remainder, tasks)| {
            let taken = remainder.take(&task.resources, 0)?;
            Some((taken, tasks))
        });
        match found {
            Some((taken, tasks)) => {
                task.resources = taken;
                tasks.push(task);
            }
            None => rest.push(task),
        }
    }
    let used = left.into_iter().filter(|(_, _, tasks)| !tasks.is_empty());
    let used = used.map(|(offer, _, tasks)| (offer.id.clone(), tasks));
    (used.collect(), rest)
}

/// The numbers of the ports among resources, in order.
pub fn ports(resources: &Resources) -> Vec<u64> {
    resources.range_set("ports").numbers().collect()
}

fn take_scalar(
    left: &mut Resources,
    taken: &mut Resources,
    wanted: &ResourceKind,
    mut milli: u64,
) -> Option<()> {
    for kind in usable(left, wanted.name.as_str()) {
        let Some(Amount::Scalar(there)) = left.amount(&kind) else {
            continue;
        };
        let part = milli.min(*there);
        move_over(left, taken, kind, Amount::Scalar(part))?;
        milli -= part;
    }
    (milli == 0).then_some(())
}

fn take_ports(left: &mut Resources, taken: &mut Resources, mut count: u64) -> Option<()> {
    for kind in usable(left, "ports") {
        let Some(Amount::Ranges(there)) = left.amount(&kind) else {
            continue;
        };
        let part: RangeSet = there.first(count);
        count -= part.count();
        move_over(left, taken, kind, Amount::Ranges(part))?;
    }
    (count == 0).then_some(())
}

fn move_over(
    left: &mut Resources,
    taken: &mut Resources,
    kind: ResourceKind,
    amount: Amount,
) -> Option<()> {
    let mut part = Resources::new();
    if !amount.is_empty() {
        part.insert(kind, amount).ok()?;
    }
    left.subtract(&part);
    taken.add(&part);
    Some(())
}

/// The kinds of this name that tasks may take without naming them, those that are reserved first.
fn usable(resources: &Resources, name: &str) -> Vec<ResourceKind> {
    let is_usable =
        |kind: &ResourceKind| kind.disk.is_none() && !kind.is_revocable && !kind.is_shared;
    let kinds = resources.iter().map(|(kind, _)| kind);
    let kinds = kinds.filter(|kind| kind.name.as_str() == name && is_usable(kind));
    let mut kinds: Vec<ResourceKind> = kinds.map(std::borrow::Cow::into_owned).collect();
    kinds.sort_by_key(|kind| kind.reservations.is_empty());
    kinds
}

#[cfg(test)]
mod tests {
    use proffer_model::{AgentId, Attributes, Command, Role, TaskId};

    use super::*;

    fn resources(text: &str) -> Resources {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn offer(id: &str, held: &str) -> Offer {
        Offer {
            id: OfferId::new(id).unwrap(),
            role: Role::new("eng").unwrap(),
            agent: AgentId::new("a").unwrap(),
            host: "h".into(),
            address: "h:1".into(),
            attributes: Attributes::default(),
            domain: None,
            resources: resources(held),
            fits: vec![],
            expires_after: std::time::Duration::from_secs(5),
        }
    }

    #[test]
    fn what_is_reserved_is_taken_first_and_what_is_special_is_left_alone() {
        for (held, needs, ports, taken) in [
            ("cpus:4", "cpus:1", 0, Some("cpus:1")),
            ("cpus:1", "cpus:2", 0, None),
            (
                "cpus:1;cpus(eng):1",
                "cpus:1.5",
                0,
                Some("cpus:0.5;cpus(eng):1"),
            ),
            ("cpus:1;cpus(eng):9", "cpus:3", 0, Some("cpus(eng):3")),
            ("disk:10;disk(eng)[v]:90", "disk:50", 0, None),
            (
                "disk(eng)[v]:90",
                "disk(eng)[v]:90",
                0,
                Some("disk(eng)[v]:90"),
            ),
            ("ports:[5-9]", "", 2, Some("ports:[5-6]")),
            (
                "ports:[5-6];ports(eng):[8-8]",
                "",
                2,
                Some("ports:[5-5];ports(eng):[8-8]"),
            ),
            ("ports:[5-6]", "", 3, None),
            ("ports:[5-6]", "ports:[6-6]", 1, Some("ports:[5-6]")),
        ] {
            let mut left = Remainder::of(&resources(held));
            let found = left.take(&resources(needs), ports);
            assert_eq!(found, taken.map(resources), "{needs} of {held}");
            let rest = resources(held).minus(&found.unwrap_or_default());
            assert_eq!(*left.resources(), rest, "{needs} of {held}");
        }
    }

    #[test]
    fn tasks_go_where_they_fit_first() {
        let offers = [
            offer("o1", "cpus:2"),
            offer("o2", "cpus(eng):3"),
            offer("o3", "mem:9"),
        ];
        let task = |id: &str, needs: &str| {
            let command = Command::Shell("true".to_owned());
            TaskSpec::new(TaskId::new(id).unwrap(), command, resources(needs))
        };
        let tasks = [
            ("a", "cpus:1"),
            ("b", "cpus:2"),
            ("c", "cpus:1"),
            ("d", "cpus:2"),
            ("e", "cpus:1"),
        ];
        let (placed, rest) = first_fit(&offers, tasks.map(|(id, needs)| task(id, needs)));
        let names = |tasks: &[TaskSpec]| -> Vec<String> {
            let named = tasks.iter();
            named
                .map(|task| format!("{} {}", task.id, task.resources))
                .collect()
        };
        let placed: Vec<_> = placed
            .iter()
            .map(|(id, of)| (id.as_str(), names(of)))
            .collect();
        let expected = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(
            placed,
            [
                ("o1", expected(&["a cpus:1", "c cpus:1"])),
                ("o2", expected(&["b cpus(eng):2", "e cpus(eng):1"])),
            ]
        );
        assert_eq!(names(&rest), ["d cpus:2"]);
    }
}

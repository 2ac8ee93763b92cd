//! What ACCEPTs have left over: a framework does not want it again for as long as the ACCEPT's filter says, unless there is
//! more of it by then.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{AgentId, Offer, Resources, Role, Time};

/// So many are kept before those whose time has passed are looked for.
const PRUNE_FIRST: usize = 1_000;

#[derive(Debug)]
struct Rest {
    resources: Resources,
    /// By the monotonic clock.
    until: u64,
}

/// By agent and role; so there are never more than agents times roles.
#[derive(Debug)]
pub(super) struct Rests {
    by_place: BTreeMap<(AgentId, Role), Rest>,
    prune_at: usize,
}

impl Default for Rests {
    fn default() -> Self {
        Self {
            by_place: BTreeMap::new(),
            prune_at: PRUNE_FIRST,
        }
    }
}

impl Rests {
    /// This is not wanted from now on for so long.
    pub(super) fn keep(
        &mut self,
        now: Time,
        place: (AgentId, Role),
        resources: Resources,
        refused_for: Duration,
    ) {
        if refused_for.is_zero() || resources.is_empty() {
            self.by_place.remove(&place);
            return;
        }
        if self.by_place.len() >= self.prune_at {
            self.by_place.retain(|_, rest| rest.until > now.mono_ns);
            self.prune_at = PRUNE_FIRST.max(self.by_place.len() * 2);
        }
        let until = now.after(refused_for).mono_ns;
        self.by_place.insert(place, Rest { resources, until });
    }

    /// For how long an offer is not wanted still, if it is not. Who keeps the offer from now on knows it.
    pub(super) fn take(&mut self, now: Time, offer: &Offer) -> Option<Duration> {
        let place = (offer.agent.clone(), offer.role.clone());
        let rest = self.by_place.remove(&place)?;
        let left = rest
            .until
            .checked_sub(now.mono_ns)
            .filter(|left| *left > 0)?;
        let is_refused = rest.resources.contains(&offer.resources);
        is_refused.then(|| Duration::from_nanos(left))
    }

    /// All in these roles is wanted.
    pub(super) fn forget(&mut self, roles: &[Role]) {
        self.by_place.retain(|(_, role), _| !roles.contains(role));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn offer(resources: &str) -> Offer {
        Offer {
            id: "o".parse().expect("an id"),
            role: "r".parse().expect("a role"),
            agent: "a".parse().expect("an id"),
            host: String::new(),
            address: String::new(),
            attributes: proffer_model::Attributes::default(),
            domain: None,
            resources: resources.parse().expect("good"),
            fits: Vec::new(),
            expires_after: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_left_over_is_refused_for_its_time_unless_there_is_more() {
        let place = || ("a".parse().expect("an id"), "r".parse().expect("a role"));
        let left = "cpus:3;mem:10";
        let kept = |refused_for| {
            let mut rests = Rests::default();
            let resources = left.parse().expect("good");
            rests.keep(at(0), place(), resources, Duration::from_secs(refused_for));
            rests
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(kept(10).take(at(4), &offer(left)), seconds(6));
        assert_eq!(kept(10).take(at(4), &offer("cpus:1")), seconds(6));
        assert_eq!(kept(10).take(at(4), &offer("cpus:4")), None);
        assert_eq!(kept(10).take(at(10), &offer(left)), None);
        assert_eq!(kept(0).take(at(0), &offer(left)), None);
        let mut revived = kept(10);
        revived.forget(&[place().1]);
        assert_eq!(revived.take(at(0), &offer(left)), None);
    }

    #[test]
    fn those_whose_time_has_passed_go() {
        let mut rests = Rests::default();
        for number in 0..10 * PRUNE_FIRST {
            let agent = format!("a{number}").parse().expect("an id");
            let place = (agent, "r".parse().expect("a role"));
            let now = at(u64::try_from(number).expect("small"));
            let cpu = "cpus:1".parse().expect("good");
            rests.keep(now, place, cpu, Duration::from_secs(5));
        }
        assert!(rests.by_place.len() <= PRUNE_FIRST);
    }
}

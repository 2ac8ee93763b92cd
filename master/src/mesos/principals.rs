//! A framework's name for itself in reservations and volumes: it says the principal of its FrameworkInfo, the core knows it by
//! who it is.

use proffer_model::Principal;
use proffer_proto::mesos::v1::{FrameworkInfo, Resource};

/// Under which names one framework goes.
#[derive(Clone, Debug)]
pub(super) struct Names<'a> {
    said: Option<&'a str>,
    known: &'a Principal,
}

impl<'a> Names<'a> {
    pub(super) fn of(info: &'a FrameworkInfo, known: &'a Principal) -> Self {
        let said = info.principal.as_deref();
        Self { said, known }
    }

    /// What the framework says, as the core knows it.
    pub(super) fn known(&self, resources: &mut [Resource]) {
        if let Some(said) = self.said {
            rename(resources, said, self.known.as_str());
        }
    }

    /// What the core says, as the framework knows it.
    pub(super) fn said(&self, resources: &mut [Resource]) {
        if let Some(said) = self.said {
            rename(resources, self.known.as_str(), said);
        }
    }
}

/// Gives a principal of reservations and volumes another name.
pub(super) fn rename(resources: &mut [Resource], from: &str, to: &str) {
    let change = |name: &mut Option<String>| {
        if name.as_deref() == Some(from) {
            *name = Some(to.to_owned());
        }
    };
    for resource in resources {
        let one = resource.reservation.iter_mut();
        for reservation in one.chain(&mut resource.reservations) {
            change(&mut reservation.principal);
        }
        let disk = resource.disk.as_mut();
        if let Some(volume) = disk.and_then(|disk| disk.persistence.as_mut()) {
            change(&mut volume.principal);
        }
    }
}

#[cfg(test)]
mod tests {
    use proffer_proto::mesos::read_json;

    use super::*;

    #[test]
    fn a_framework_is_itself_under_both_names_and_nobody_else() {
        let text = br#"{"name":"disk","type":"SCALAR","scalar":{"value":1},
            "reservations":[{"role":"a","principal":"me"},{"role":"a/b","principal":"other"}],
            "disk":{"persistence":{"id":"v","principal":"me"}}}"#;
        let mut resources = [read_json::<Resource>(text).expect("reads")];
        let before = resources.clone();
        let info = FrameworkInfo {
            principal: Some("me".to_owned()),
            ..FrameworkInfo::default()
        };
        let known = Principal::new("local").expect("a principal");
        let names = Names::of(&info, &known);
        names.known(&mut resources);
        let all = resources[0].reservations.iter();
        let all: Vec<_> = all.map(|one| one.principal.as_deref()).collect();
        assert_eq!(all, [Some("local"), Some("other")]);
        names.said(&mut resources);
        assert_eq!(resources, before);
        let nobody = FrameworkInfo::default();
        Names::of(&nobody, &known).known(&mut resources);
        assert_eq!(resources, before);
    }
}

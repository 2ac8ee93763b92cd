//! A caller's name for itself in reservations and volumes: a framework says the principal of its FrameworkInfo, an operator the
//! user of Basic; the core knows both by who they are.

use proffer_model::Principal;
use proffer_proto::mesos::v1::{FrameworkInfo, Resource};
use proffer_server::auth::{ANONYMOUS, LOCAL, SaidName};

/// Under which names one caller goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    said: Option<&'a str>,
    known: &'a Principal,
    /// Nobody is authenticated: as in Mesos any name is taken, and all are the caller's but that of who has the token.
    is_open: bool,
}

impl<'a> Names<'a> {
    pub(super) fn of(info: &'a FrameworkInfo, known: &'a Principal) -> Self {
        let said = info.principal.as_deref();
        let is_open = false;
        Self {
            said,
            known,
            is_open,
        }
    }

    pub(super) fn of_operator(said: Option<&'a SaidName>, known: &'a Principal) -> Self {
        Self {
            said: said.map(|SaidName(said)| said.as_str()),
            known,
            is_open: known.as_str() == ANONYMOUS,
        }
    }

    /// What the caller says, as the core knows it.
    pub(super) fn known(&self, resources: &mut [Resource]) {
        let is_own = |name: &str| {
            Some(name) == self.said || self.is_open && !name.is_empty() && name != LOCAL
        };
        rename(resources, is_own, self.known.as_str());
    }

    /// What the core says, as the framework knows it.
    pub(super) fn said(&self, resources: &mut [Resource]) {
        if let Some(said) = self.said {
            rename(resources, |name| name == self.known.as_str(), said);
        }
    }

    /// Nobody reserves in the name of another; of resources as the core knows them. The error is Mesos's text, and what mends
    /// it.
    pub(super) fn check_reserve(&self, resources: &[Resource]) -> Result<(), String> {
        let newest = |resource: &'_ Resource| {
            let last = resource.reservations.last();
            last.or(resource.reservation.as_ref())?.principal.clone()
        };
        self.check(resources, newest, |caller, other| {
            format!(
                "A reserve operation was attempted by authenticated principal '{caller}', which does not match a \
                 reserved resource in the request with principal '{other}'"
            )
        })
    }

    /// Nor makes a volume.
    pub(super) fn check_create(&self, volumes: &[Resource]) -> Result<(), String> {
        let maker = |volume: &Resource| {
            let disk = volume.disk.as_ref()?;
            disk.persistence.as_ref()?.principal.clone()
        };
        self.check(volumes, maker, |caller, other| {
            format!(
                "Create volume operation attempted by authenticated principal '{caller}', which does not match a \
                 volume in the operation with principal '{other}' set in 'disk.persistence'"
            )
        })
    }

    fn check(
        &self,
        resources: &[Resource],
        named: impl Fn(&Resource) -> Option<String>,
        words: impl Fn(&str, &str) -> String,
    ) -> Result<(), String> {
        let mut others = resources.iter().filter_map(named);
        let Some(other) = others.find(|name| name != self.known.as_str()) else {
            return Ok(());
        };
        let words = words(self.said.unwrap_or(self.known.as_str()), &other);
        Err(format!(
            "{words}. Leave the principal out, or name the caller's"
        ))
    }
}

/// Gives principals of reservations and volumes another name.
fn rename(resources: &mut [Resource], is_meant: impl Fn(&str) -> bool, to: &str) {
    let change = |name: &mut Option<String>| {
        if name.as_deref().is_some_and(&is_meant) {
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

    #[test]
    fn an_operator_is_itself_and_nobody_else_unless_nobody_is_authenticated() {
        let resource = |name: &str| -> Resource {
            let text = r#"{"name":"disk","type":"SCALAR","scalar":{"value":1},
                "reservations":[{"role":"a","principal":"WHO"}],"disk":{"persistence":{"id":"v","principal":"WHO"}}}"#;
            read_json(text.replace("WHO", name).as_bytes()).expect("reads")
        };
        let op = SaidName("op".to_owned());
        let (reserve, volume) = (
            "A reserve operation was attempted by authenticated principal 'CALLER', which does not match a reserved resource in \
             the request with principal 'OTHER'. Leave the principal out, or name the caller's",
            "Create volume operation attempted by authenticated principal 'CALLER', which does not match a volume in the \
             operation with principal 'OTHER' set in 'disk.persistence'. Leave the principal out, or name the caller's",
        );
        for (said, known, named, caller) in [
            (Some(&op), LOCAL, "op", None),
            (Some(&op), LOCAL, LOCAL, None),
            (Some(&op), LOCAL, "other", Some("op")),
            (None, LOCAL, "op", Some(LOCAL)),
            (None, ANONYMOUS, "op", None),
            (None, ANONYMOUS, ANONYMOUS, None),
            (None, ANONYMOUS, LOCAL, Some(ANONYMOUS)),
        ] {
            let known = Principal::new(known).expect("a principal");
            let names = Names::of_operator(said, &known);
            let mut all = [resource(named)];
            names.known(&mut all);
            let words = |text: &str| {
                caller.map_or(Ok(()), |caller| {
                    Err(text.replace("CALLER", caller).replace("OTHER", named))
                })
            };
            assert_eq!(names.check_reserve(&all), words(reserve), "{named}");
            assert_eq!(names.check_create(&all), words(volume), "{named}");
        }
        let known = Principal::new(LOCAL).expect("a principal");
        let mut none = [Resource::default()];
        Names::of_operator(None, &known).known(&mut none);
        assert_eq!(
            Names::of_operator(None, &known).check_reserve(&none),
            Ok(())
        );
    }
}

//! One form for each executor: who names an executor again may say the same in another order, or say what is so by default, and
//! means the same one. What Mesos compares it by stays, and what the executor may look at.

use proffer_model::Principal;
use prost::Message;

use super::resources::{ResourceForm, decode_resources, encode_resources};
use super::v1::executor::event::Subscribed;
use super::v1::{
    CommandInfo, DiscoveryInfo, Environment, ExecutorInfo, Labels, Resource, environment,
};

/// The same executor in the form that all who mean it come to. The time that it has to end, and which of its files are kept for
/// others, are not of it: they may be other ones each time.
/// `principal` is whose dynamic reservations are that do not say so.
pub(super) fn canonical(info: &ExecutorInfo, principal: &Principal) -> ExecutorInfo {
    let mut info = ExecutorInfo {
        shutdown_grace_period: None,
        data: info.data.clone().filter(|data| !data.is_empty()),
        name: said(&info.name),
        source: said(&info.source),
        ..info.clone()
    };
    settle_resources(&mut info.resources, principal);
    info.command.iter_mut().for_each(settle_command);
    info.labels.take_if(|labels| labels.labels.is_empty());
    info.labels.iter_mut().for_each(settle_labels);
    info.discovery.iter_mut().for_each(settle_discovery);
    info
}

/// What an executor is told when it subscribes, in that form, where an earlier version has kept it in another one. What cannot be
/// read stays as it is.
pub(crate) fn settled(kept: &[u8]) -> Option<Vec<u8>> {
    let told = Subscribed::decode(kept).ok()?;
    let principal = Principal::new(told.framework_info.principal.as_deref()?).ok()?;
    let executor_info = canonical(&told.executor_info, &principal);
    let told = Subscribed {
        executor_info,
        ..told
    };
    Some(told.encode_to_vec()).filter(|told| told != kept)
}

/// They are compared by what they come to, as in Mesos, and told in the form in which its agents tell them.
fn settle_resources(given: &mut Vec<Resource>, principal: &Principal) {
    let form = ResourceForm {
        allocated_to: None,
        is_refined: true,
    };
    if let Ok(resources) = decode_resources(given, principal) {
        *given = encode_resources(&resources, &form);
    }
}

fn said(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn settle_command(command: &mut CommandInfo) {
    command.shell = Some(command.shell());
    command.value = said(&command.value);
    command.user = said(&command.user);
    for uri in &mut command.uris {
        uri.cache = None;
        uri.executable = Some(uri.executable());
        uri.extract = Some(uri.extract());
        uri.output_file = said(&uri.output_file);
    }
    command.uris.sort_by_cached_key(Message::encode_to_vec);
    let given = &mut command.environment;
    given.take_if(|environment| environment.variables.is_empty());
    given.iter_mut().for_each(settle_environment);
}

/// Of one that is given twice the later one counts, so they stay in their order.
fn settle_environment(environment: &mut Environment) {
    for variable in &mut environment.variables {
        if variable.r#type() == environment::variable::Type::Value {
            variable.r#type = None;
        }
    }
    environment.variables.sort_by(|a, b| a.name.cmp(&b.name));
}

fn settle_labels(labels: &mut Labels) {
    labels.labels.sort_by_cached_key(Message::encode_to_vec);
}

fn settle_discovery(info: &mut DiscoveryInfo) {
    if let Some(ports) = &mut info.ports {
        ports.ports.sort_by_cached_key(Message::encode_to_vec);
    }
    info.labels.iter_mut().for_each(settle_labels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesos::read_json;

    const GIVEN: &str = r#"{"type":"CUSTOM","executor_id":{"value":"e"},"data":"AAE=",
        "command":{"value":"run","uris":[{"value":"http://a"},{"value":"http://b","executable":true}],
            "environment":{"variables":[{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"A","value":"3"}]}},
        "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}],
        "labels":{"labels":[{"key":"k"},{"key":"l"}]},"container":{"type":"MESOS"},
        "discovery":{"visibility":"CLUSTER","ports":{"ports":[{"number":1},{"number":2}]}}}"#;

    fn read(text: &str) -> ExecutorInfo {
        let info = read_json(text.as_bytes()).expect("an executor");
        canonical(&info, &principal())
    }

    fn principal() -> Principal {
        Principal::new("ops").expect("a principal")
    }

    #[test]
    fn resources_mean_what_they_come_to() {
        let of = |resources: &str| {
            read(&format!(
                r#"{{"executor_id":{{"value":"e"}},"resources":[{resources}]}}"#
            ))
        };
        let scalar = |name: &str, value: &str, rest: &str| {
            format!(r#"{{"name":"{name}","type":"SCALAR","scalar":{{"value":{value}}}{rest}}}"#)
        };
        let ports = |ranges: &str| {
            format!(r#"{{"name":"ports","type":"RANGES","ranges":{{"range":[{ranges}]}}}}"#)
        };
        let set =
            |items: &str| format!(r#"{{"name":"z","type":"SET","set":{{"item":[{items}]}}}}"#);
        let (cpus, mem) = (scalar("cpus", "0.1", ""), scalar("mem", "32", ""));
        let reserved = scalar(
            "cpus",
            "1",
            r#","role":"eng","reservation":{"principal":"ops"}"#,
        );
        for (one, other) in [
            (format!("{cpus},{mem}"), format!("{mem},{cpus}")),
            (cpus.clone(), scalar("cpus", "0.10", "")),
            (cpus.clone(), scalar("cpus", "0.10004", r#","role":"*""#)),
            (cpus.clone(), format!("{0},{0}", scalar("cpus", "0.05", ""))),
            (
                cpus.clone(),
                scalar("cpus", "0.1", r#","allocation_info":{"role":"eng"}"#),
            ),
            (
                ports(r#"{"begin":1,"end":4}"#),
                ports(r#"{"begin":3,"end":4},{"begin":1,"end":2}"#),
            ),
            (set(r#""a","b""#), set(r#""b","a""#)),
            (
                reserved.clone(),
                scalar(
                    "cpus",
                    "1",
                    r#","reservations":[{"type":"DYNAMIC","role":"eng"}]"#,
                ),
            ),
        ] {
            assert_eq!(of(&one), of(&other), "{one} {other}");
            assert_eq!(canonical(&of(&one), &principal()), of(&one));
        }
        for (one, other) in [
            (cpus.clone(), scalar("cpus", "0.101", "")),
            (cpus.clone(), scalar("mem", "0.1", "")),
            (cpus.clone(), format!("{cpus},{cpus}")),
            (cpus.clone(), scalar("cpus", "0.1", r#","revocable":{}"#)),
            (reserved.clone(), scalar("cpus", "1", r#","role":"eng""#)),
            (
                ports(r#"{"begin":1,"end":4}"#),
                ports(r#"{"begin":1,"end":5}"#),
            ),
        ] {
            assert_ne!(of(&one), of(&other), "{one} {other}");
        }
    }

    #[test]
    fn what_an_earlier_version_has_kept_is_compared_in_the_form_of_this_one() {
        let told = |info: &str| Subscribed {
            executor_info: read_json(info.as_bytes()).expect("an executor"),
            framework_info: super::super::v1::FrameworkInfo {
                principal: Some("ops".to_owned()),
                ..Default::default()
            },
            ..Subscribed::default()
        };
        let earlier = GIVEN.replacen(
            r#""type":"CUSTOM","#,
            r#""type":"CUSTOM","shutdown_grace_period":{"nanoseconds":1},"#,
            1,
        );
        let kept = crate::encode_executor(&proffer_model::ExecutorSpec {
            id: "e".parse().expect("an id"),
            resources: proffer_model::Resources::new(),
            command: proffer_model::Command::Shell("run".to_owned()),
            environment: Default::default(),
            user: None,
            shutdown_grace: std::time::Duration::ZERO,
            api: proffer_model::ExecutorApi::MesosV1,
            info: told(&earlier).encode_to_vec(),
            info_compared: None,
            fetch: Vec::new(),
        });
        let read = crate::decode_executor(kept.clone()).expect("what was kept");
        let now = Subscribed {
            executor_info: self::read(GIVEN),
            ..told(GIVEN)
        };
        let compared = read.info_compared.as_deref().unwrap_or_default();
        assert_eq!(Subscribed::decode(compared), Ok(now.clone()));
        // Who knows it in the earlier form is told that.
        assert_eq!(crate::encode_executor(&read).info, kept.info);
        let named = proffer_model::ExecutorSpec {
            info: now.encode_to_vec(),
            info_compared: None,
            ..read.clone()
        };
        assert!(named.means(&read) && read.means(&named));
        // What is none stays, and so does what is said of an executor of another kind.
        for (api, info) in [
            (kept.api, b"none".to_vec()),
            (crate::v1::ExecutorApi::Proffer.into(), kept.info.clone()),
        ] {
            let other = crate::v1::ExecutorSpec {
                api,
                info: info.clone(),
                ..kept.clone()
            };
            let read = crate::decode_executor(other).expect("an executor");
            assert_eq!((read.info, read.info_compared), (info, None));
        }
    }

    #[test]
    fn who_names_an_executor_again_in_another_order_means_the_same() {
        let given = read(GIVEN);
        assert_eq!(canonical(&given, &principal()), given);
        for (part, other) in [
            (
                r#"{"value":"http://a"},{"value":"http://b","executable":true}"#,
                r#"{"value":"http://b","executable":true,"cache":true},{"value":"http://a","extract":true}"#,
            ),
            (
                r#"{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"A","value":"3"}"#,
                r#"{"name":"B","value":"2","type":"VALUE"},{"name":"A","value":"1"},{"name":"A","value":"3"}"#,
            ),
            (
                r#""value":"run""#,
                r#""value":"run","shell":true,"user":"""#,
            ),
            (r#"{"key":"k"},{"key":"l"}"#, r#"{"key":"l"},{"key":"k"}"#),
            (
                r#"{"number":1},{"number":2}"#,
                r#"{"number":2},{"number":1}"#,
            ),
            (
                r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}"#,
                r#"{"name":"mem","type":"SCALAR","scalar":{"value":32}},{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}"#,
            ),
            (
                r#""type":"CUSTOM","#,
                r#""type":"CUSTOM","name":"","shutdown_grace_period":{"nanoseconds":1},"#,
            ),
        ] {
            let same = GIVEN.replacen(part, other, 1);
            assert_ne!(same, GIVEN, "{part}");
            assert_eq!(read(&same), given, "{other}");
        }
        for (part, other) in [
            (r#""value":"3""#, r#""value":"4""#),
            // Of what is given twice the later one counts.
            (
                r#"{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"A","value":"3"}"#,
                r#"{"name":"A","value":"3"},{"name":"B","value":"2"},{"name":"A","value":"1"}"#,
            ),
            (r#""value":"run""#, r#""value":"run","arguments":["a"]"#),
            ("http://a", "http://c"),
            ("AAE=", "AAI="),
        ] {
            let another = GIVEN.replacen(part, other, 1);
            assert_ne!(read(&another), given, "{other}");
        }
    }
}

//! One form for each executor: who names an executor again may say the same in another order, or say what is so by default, and
//! means the same one. What Mesos compares it by stays, and what the executor may look at.

use prost::Message;

use super::v1::{CommandInfo, DiscoveryInfo, Environment, ExecutorInfo, Labels, environment};

/// The same executor in the form that all who mean it come to. The time that it has to end, and which of its files are kept for
/// others, are not of it: they may be other ones each time.
pub(super) fn canonical(info: &ExecutorInfo) -> ExecutorInfo {
    let mut info = ExecutorInfo {
        shutdown_grace_period: None,
        data: info.data.clone().filter(|data| !data.is_empty()),
        name: said(&info.name),
        source: said(&info.source),
        ..info.clone()
    };
    info.resources.sort_by_cached_key(Message::encode_to_vec);
    info.command.iter_mut().for_each(settle_command);
    info.labels.take_if(|labels| labels.labels.is_empty());
    info.labels.iter_mut().for_each(settle_labels);
    info.discovery.iter_mut().for_each(settle_discovery);
    info
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
        canonical(&read_json(text.as_bytes()).expect("an executor"))
    }

    #[test]
    fn who_names_an_executor_again_in_another_order_means_the_same() {
        let given = read(GIVEN);
        assert_eq!(canonical(&given), given);
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

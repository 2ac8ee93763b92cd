//! The environment of a task: Marathon's variables, and the app's own, which win.

use std::collections::BTreeMap;

use proffer_model::Secret;

use crate::amount::format_parts;
use crate::app::App;
use crate::instance::Instance;
use crate::limits::LABEL_IN_ENVIRONMENT_LEN_MAX;

/// All variables of an instance's task.
pub(crate) fn environment_of(app: &App, instance: &Instance) -> BTreeMap<String, Secret> {
    let spec = &app.spec;
    let mut all = BTreeMap::new();
    let mut set = |name: String, value: String| {
        all.insert(name, Secret::new(value));
    };
    set("MESOS_TASK_ID".into(), instance.task.to_string());
    set("MARATHON_APP_ID".into(), spec.id.to_string());
    set("MARATHON_APP_VERSION".into(), app.version.to_string());
    if let Some(container) = &spec.container {
        let image = container.image().to_owned();
        set("MARATHON_APP_DOCKER_IMAGE".into(), image);
    }
    set(
        "MARATHON_APP_RESOURCE_CPUS".into(),
        decimal(spec.cpus_milli),
    );
    set("MARATHON_APP_RESOURCE_MEM".into(), decimal(spec.mem_milli));
    set(
        "MARATHON_APP_RESOURCE_DISK".into(),
        decimal(spec.disk_milli),
    );
    set("MARATHON_APP_RESOURCE_GPUS".into(), "0".into());
    set("MARATHON_APP_ENFORCE_GROUP_ROLE".into(), "false".into());
    set_labels(app, &mut set);
    set("HOST".into(), instance.host.clone());
    let numbers: Vec<String> = instance.ports.iter().map(u16::to_string).collect();
    for (i, (port, number)) in spec.ports.iter().zip(&numbers).enumerate() {
        set(format!("PORT{i}"), number.clone());
        set(format!("PORT_{}", port.number), number.clone());
        if !port.name.is_empty() {
            set(
                format!("PORT_{}", variable_part(&port.name)),
                number.clone(),
            );
        }
    }
    if let Some(first) = numbers.first() {
        set("PORT".into(), first.clone());
        set("PORTS".into(), numbers.join(","));
    }
    all.extend(
        spec.env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}

fn set_labels(app: &App, set: &mut impl FnMut(String, String)) {
    let shown: Vec<(String, &String)> = app
        .spec
        .labels
        .iter()
        .filter(|(_, value)| value.len() <= LABEL_IN_ENVIRONMENT_LEN_MAX && !value.contains('\0'))
        .map(|(name, value)| (variable_part(name), value))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
    set("MARATHON_APP_LABELS".into(), names.join(" "));
    for (name, value) in &shown {
        set(format!("MARATHON_APP_LABEL_{name}"), (*value).clone());
    }
}

/// Upper case, and each run of other characters than letters and digits as one `_`.
fn variable_part(name: &str) -> String {
    let mut part = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            part.push(c.to_ascii_uppercase());
        } else if !part.ends_with('_') {
            part.push('_');
        }
    }
    part
}

/// Thousandths as Marathon writes them: `0.5`, `128.0`.
fn decimal(milli: u64) -> String {
    let text = format_parts(milli, 3);
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

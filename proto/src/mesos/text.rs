//! What Mesos's messages say of resources, and of how a process ended.

use proffer_model::{Exit, Resources, Role};

use super::resources::{ResourceForm, encode_resources};
use super::v1::resource::disk_info::{Source, source};
use super::v1::resource::{DiskInfo, ReservationInfo};
use super::v1::{Labels, Resource, Volume, value, volume};

/// Resources as Mesos's messages name them: `ports(allocated: *):[31000-31009]; cpus(allocated: *):1`.
pub fn resources_text(resources: &Resources, role: &Role) -> String {
    let form = ResourceForm {
        allocated_to: Some(role.clone()),
        is_refined: true,
    };
    let all = encode_resources(resources, &form);
    match all.is_empty() {
        true => "{}".to_owned(),
        false => joined(&all, "; ", resource_text),
    }
}

fn joined<T>(all: &[T], between: &str, text: impl Fn(&T) -> String) -> String {
    all.iter().map(text).collect::<Vec<_>>().join(between)
}

fn resource_text(one: &Resource) -> String {
    let mut text = one.name.clone();
    let role = one.allocation_info.as_ref().and_then(|to| to.role.as_ref());
    text.extend(role.map(|role| format!("(allocated: {role})")));
    if !one.reservations.is_empty() {
        let all = joined(&one.reservations, ",", reservation_text);
        text.push_str(&format!("(reservations: [{all}])"));
    }
    text.extend(one.disk.as_deref().map(disk_text));
    text.extend(one.revocable.map(|_| "{REV}"));
    text.extend(one.shared.map(|_| "<SHARED>"));
    text.push(':');
    text.push_str(&amount_text(one));
    // Of a shared volume an offer and a task have one.
    text.extend(one.shared.map(|_| "<1>"));
    text
}

fn amount_text(one: &Resource) -> String {
    if let Some(scalar) = &one.scalar {
        return scalar.value.to_string();
    }
    if let Some(ranges) = &one.ranges {
        let range = |range: &value::Range| format!("{}-{}", range.begin, range.end);
        return format!("[{}]", joined(&ranges.range, ", ", range));
    }
    let items = one.set.as_ref().map(|set| set.item.join(", "));
    format!("{{{}}}", items.unwrap_or_default())
}

fn reservation_text(one: &ReservationInfo) -> String {
    let kind = one.r#type().as_str_name();
    let mut text = format!("({kind},{}", one.role());
    let principal = one.principal.as_ref();
    text.extend(principal.map(|principal| format!(",{principal}")));
    text.extend(one.labels.as_ref().map(labels_text));
    text.push(')');
    text
}

fn labels_text(all: &Labels) -> String {
    let label = |label: &super::v1::Label| match &label.value {
        Some(value) => format!("{}: {value}", label.key),
        None => label.key.clone(),
    };
    format!(",{{{}}}", joined(&all.labels, ", ", label))
}

fn disk_text(disk: &DiskInfo) -> String {
    let source = disk.source.as_ref().map(source_text);
    let id = disk.persistence.as_ref().map(|volume| volume.id.clone());
    let parts: Vec<String> = source.into_iter().chain(id).collect();
    let path = disk.volume.as_ref().map(volume_text);
    format!("[{}{}]", parts.join(","), path.unwrap_or_default())
}

fn source_text(one: &Source) -> String {
    let kind = one.r#type().as_str_name();
    if one.id.is_some() || one.profile.is_some() {
        let (vendor, id, profile) = (one.vendor(), one.id(), one.profile());
        return format!("{kind}({vendor},{id},{profile})");
    }
    let root = match one.r#type() {
        source::Type::Path => one.path.as_ref().and_then(|path| path.root.as_ref()),
        source::Type::Mount => one.mount.as_ref().and_then(|mount| mount.root.as_ref()),
        source::Type::Unknown | source::Type::Block | source::Type::Raw => None,
    };
    root.map_or_else(|| kind.to_owned(), |root| format!("{kind}:{root}"))
}

fn volume_text(one: &Volume) -> String {
    let path = &one.container_path;
    match (&one.host_path, one.mode()) {
        (None, _) => format!(":{path}"),
        (Some(host), volume::Mode::Rw) => format!(":{host}:{path}:rw"),
        (Some(host), volume::Mode::Ro) => format!(":{host}:{path}:ro"),
    }
}

/// How a task's process ended: `Command exited with status 1`.
pub(super) fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("Command exited with status {code}"),
        Exit::Signal(signal) => format!("Command terminated with signal {}", signal_text(signal)),
    }
}

/// What Linux calls its signals, from the first.
const SIGNALS: [&str; 31] = [
    "Hangup",
    "Interrupt",
    "Quit",
    "Illegal instruction",
    "Trace/breakpoint trap",
    "Aborted",
    "Bus error",
    "Floating point exception",
    "Killed",
    "User defined signal 1",
    "Segmentation fault",
    "User defined signal 2",
    "Broken pipe",
    "Alarm clock",
    "Terminated",
    "Stack fault",
    "Child exited",
    "Continued",
    "Stopped (signal)",
    "Stopped",
    "Stopped (tty input)",
    "Stopped (tty output)",
    "Urgent I/O condition",
    "CPU time limit exceeded",
    "File size limit exceeded",
    "Virtual timer expired",
    "Profiling timer expired",
    "Window changed",
    "I/O possible",
    "Power failure",
    "Bad system call",
];

/// The first and the last of those that have no names.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

fn signal_text(number: i32) -> String {
    let index = usize::try_from(number)
        .ok()
        .and_then(|it| it.checked_sub(1));
    match index.and_then(|index| SIGNALS.get(index)) {
        Some(name) => (*name).to_owned(),
        None if REAL_TIME.contains(&number) => {
            format!("Real-time signal {}", number - REAL_TIME.start())
        }
        None => format!("Unknown signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_mesos_does_and_in_its_order() {
        let role = Role::new("web").expect("a role");
        for (resources, text) in [
            ("", "{}"),
            (
                "mem:32.5;disk:10;cpus:4;ports:[31000-31001,31005-31005];things:{a,b}",
                "ports(allocated: web):[31000-31001, 31005-31005]; cpus(allocated: web):4; \
                 mem(allocated: web):32.5; disk(allocated: web):10; things(allocated: web):{a, b}",
            ),
            (
                "cpus(web):1;cpus{REV}:2",
                "cpus(allocated: web){REV}:2; cpus(allocated: web)(reservations: [(STATIC,web)]):1",
            ),
        ] {
            let all: Resources = resources.parse().expect("good");
            assert_eq!(resources_text(&all, &role), text);
        }
    }

    #[test]
    fn reservations_and_volumes_are_named_with_all_that_makes_them() {
        let text = concat!(
            r#"{"name":"disk","type":"SCALAR","scalar":{"value":64.0},"shared":{},"allocation_info":{"role":"a"},"#,
            r#""reservations":[{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"a/b","principal":"p","#,
            r#""labels":{"labels":[{"key":"k","value":"v"},{"key":"l"}]}}],"#,
            r#""disk":{"source":{"type":"MOUNT","mount":{"root":"/m"}},"persistence":{"id":"v1"},"#,
            r#""volume":{"mode":"RW","container_path":"data"}}}"#
        );
        let one: Resource = super::super::read_json(text.as_bytes()).expect("reads");
        assert_eq!(
            resource_text(&one),
            "disk(allocated: a)(reservations: [(STATIC,a),(DYNAMIC,a/b,p,{k: v, l})])\
             [MOUNT:/m,v1:data]<SHARED>:64<1>"
        );
    }

    #[test]
    fn signals_have_names() {
        for (exit, text) in [
            (Exit::Code(0), "Command exited with status 0"),
            (Exit::Code(1), "Command exited with status 1"),
            (Exit::Signal(9), "Command terminated with signal Killed"),
            (
                Exit::Signal(15),
                "Command terminated with signal Terminated",
            ),
            (
                Exit::Signal(11),
                "Command terminated with signal Segmentation fault",
            ),
            (
                Exit::Signal(31),
                "Command terminated with signal Bad system call",
            ),
            (
                Exit::Signal(34),
                "Command terminated with signal Real-time signal 0",
            ),
            (
                Exit::Signal(32),
                "Command terminated with signal Unknown signal 32",
            ),
            (
                Exit::Signal(-1),
                "Command terminated with signal Unknown signal -1",
            ),
        ] {
            assert_eq!(exit_text(exit), text);
        }
    }
}

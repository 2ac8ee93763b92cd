//! Flags of Mesos's, given to `proffer master` or `proffer agent`: which of ours is meant.
//!
//! The tables are those of `docs/coming-from-mesos.md`, word for word, which a test compares.

/// Flags of Mesos's master, and what is here instead.
#[rustfmt::skip]
const MASTER: [(&str, &str); 21] = [
    ("`--ip`, `--port`", "`listen`; agents have an address of their own, `cluster_listen`"),
    ("`--advertise_ip`, `--advertise_port`, `--hostname`", "`advertise`, `cluster_advertise`, `host_names`"),
    ("`--zk`, `--zk_session_timeout`", r#"`store = "zk://…"`, `session_timeout`"#),
    ("`--quorum`, `--work_dir`, `--registry`", "`store`: what masters know is in ZooKeeper itself, or in a directory for one master"),
    ("`--authenticate_*`, `--credentials`, `--authenticators`", "`token_file`; without it nobody calls, but for `insecure_allow_unauthenticated`"),
    ("`--acls`, `--authorizers`", "none: who has the token may do everything"),
    ("`--cluster`", "none: the store has an id of its own"),
    ("`--agent_ping_timeout`, `--max_agent_ping_timeouts`", "`suspect_after`, `unreachable_after`"),
    ("`--agent_reregister_timeout`, `--recovery_agent_removal_limit`, `--agent_removal_rate_limit`", "none: no more agents than usual are declared unreachable when many fall silent together, and their tasks go on"),
    ("`--rate_limits`", "`calls_per_second`, `operations_per_second` (what calls name: tasks, operations, offers): of each framework; what is above waits"),
    ("`--offer_timeout`", "none: 30 s always"),
    ("`--allocation_interval`", "none: what is free is offered at once"),
    ("`--min_allocatable_resources`", "`offer_least`, written the same; a framework may say so itself (`offer_filters`)"),
    ("`--fair_sharing_excluded_resource_names`", "`share_excluded`"),
    ("`--roles`, `--weights`", "none: roles are made by use, weights and quotas by calls"),
    ("`--max_completed_frameworks`, `--max_completed_tasks_per_framework`", "none: fixed, see `/flags`"),
    ("`--role_sorter`, `--framework_sorter`", "none: dominant shares always (`drf`)"),
    ("`--max_operator_event_stream_subscribers`", "none: 1,000; for one more the oldest is ended, as in Mesos"),
    ("`--filter_gpu_resources`, `--require_agent_domain`, `--domain`", "none: GPUs are shown to GPU_RESOURCES alone, and masters have no domain"),
    ("`--log_dir`, `--logging_level`, `--quiet`", "`log_format`, `log_level`; the log goes to stderr"),
    ("`--modules`, `--hooks`", "none: nothing is loaded into the master"),
];

/// Flags of Mesos's agent, and what is here instead.
#[rustfmt::skip]
const AGENT: [(&str, &str); 21] = [
    ("`--master`", "`master`"),
    ("`--ip`, `--port`, `--hostname`, `--advertise_ip`, `--advertise_port`", "`listen`, `host`, `advertise`"),
    ("`--work_dir`, `--runtime_dir`, `--launcher_dir`", "`work_dir`, `supervisor_program`"),
    ("`--resources`, `--attributes`", "the same, as text or as Mesos's JSON"),
    ("`--domain`", "`region`, `zone`"),
    ("`--docker_registry`", "`image_archives`, of a directory with archives (`/some/dir`); nothing is pulled from a registry"),
    ("`--containerizers`, `--isolation`, `--launcher`, `--docker*`, `--image_providers`", "none: tasks are processes, or containers of an image's archive, in control groups of their own"),
    ("`--cgroups_root`, `--cgroups_enable_cfs`", "`cgroup_root`, `cpu_hard_limit`"),
    ("`--gc_delay`", "`keep_ended`"),
    ("`--executor_registration_timeout`, `--executor_reregistration_timeout`", "`executor_wait`"),
    ("`--executor_environment_variables`", "none: what an executor is given is Mesos's variables, and its framework's"),
    ("`--systemd_enable_support`, `--systemd_runtime_directory`", "none: tasks are no services, and outlive the agent's"),
    ("`--executor_shutdown_grace_period`", "none: 5 s, unless the executor says otherwise"),
    ("`--recover`, `--strict`, `--recovery_timeout`, `--reconfiguration_policy`", "none: an agent always takes up what runs, and may change its resources and attributes"),
    ("`--switch_user`", "`switch_user`; with `false` tasks run as the agent's own user, or as `task_user`"),
    ("`--default_container_info`", "none"),
    ("`--credential`, `--authenticate_http_*`, `--executor_secret_key`, `--acls`", "`token_file`; executors have tokens of their own"),
    ("`--fetcher_cache_size`", "`fetch_cache_mib`; what is on its way or kept is in `work_dir`"),
    ("`--hadoop_home`, `--frameworks_home`, `--fetcher_stall_timeout`", "none: hdfs and relative paths are not fetched, and how slow a server may be is fixed"),
    ("`--oversubscribed_resources_interval`, `--qos_controller`, `--resource_estimator`", "none: what is revocable stands among the agent's `resources`, `cpus:2;cpus{REV}:4`, and is changed by starting it again; it is offered to frameworks with REVOCABLE_RESOURCES, and ended by whoever estimates ([resources.md](resources.md))"),
    ("`--modules`, `--hooks`", "none: nothing is loaded into the agent"),
];

/// What to say of an unknown argument of `command`, if Mesos has a flag of this name. Its backquoted keys are flags here.
pub(crate) fn tip(command: &clap::Command, argument: &str) -> Option<String> {
    let rows: &[(&str, &str)] = match command.get_name() {
        "master" => &MASTER,
        "agent" => &AGENT,
        _ => return None,
    };
    // A flag that is set to false.
    let positive = argument.strip_prefix("--no-");
    let positive = positive.map(|name| format!("--{name}"));
    let is_meant = |flag: &str| flag == argument || positive.as_deref() == Some(flag);
    let is_of_row = |flags: &str| {
        flags.split('`').any(|flag| match flag.strip_suffix('*') {
            Some(start) => {
                let is_positive = |name: &String| name.starts_with(start);
                argument.starts_with(start) || positive.as_ref().is_some_and(is_positive)
            }
            None => is_meant(flag),
        })
    };
    let (_, here) = rows.iter().find(|(flags, _)| is_of_row(flags))?;
    let here = match here.strip_prefix("none") {
        Some(why) => format!("there is none here{why}"),
        None => format!("here it is {}", with_flags(command, argument, here)),
    };
    let here = without_links(&here.replace('`', ""));
    Some(format!(
        "{argument} is Mesos's; {here} (docs/coming-from-mesos.md, \"Flags side by side\")"
    ))
}

/// The text with the words of links alone.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().replace('[', "");
    for part in parts {
        let (_, after) = part.split_once(')').unwrap_or(("", part));
        plain.push_str(&after.replace('[', ""));
    }
    plain
}

/// The text with each key as the flag that it is.
fn with_flags(command: &clap::Command, argument: &str, here: &str) -> String {
    let flag_of = |text: &str| {
        let name = text.split([' ', '=']).next().unwrap_or_default();
        let long = name.trim_start_matches('-').replace('_', "-");
        let mut known = command.get_arguments();
        let is_known = known.any(|known| known.get_long() == Some(&long));
        is_known.then(|| format!("--{long}{}", &text[name.len()..].replace(" = ", " ")))
    };
    if here.starts_with("the same") {
        let same = flag_of(argument).unwrap_or_else(|| argument.to_owned());
        return here.replacen("the same", &same, 1);
    }
    let parts = here.split('`').enumerate();
    let parts = parts.map(|(number, part)| match number % 2 {
        0 => part.to_owned(),
        _ => flag_of(part).unwrap_or_else(|| part.to_owned()),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn of(role: &str) -> clap::Command {
        let mut tree = command::tree();
        tree.build();
        tree.find_subcommand(role).expect("a role").clone()
    }

    /// The rows below a line of the document.
    fn rows(head: &str) -> Vec<(String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/coming-from-mesos.md");
        let text = std::fs::read_to_string(path).expect("the document");
        let (_, after) = text.split_once(head).expect("the table");
        let lines = after.lines().skip(2);
        let lines = lines.map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let row = |line: &str| {
            let (flags, here) = line.split_once(" | ").expect("two columns");
            (flags.to_owned(), here.to_owned())
        };
        lines.map(row).collect()
    }

    #[test]
    fn the_tables_are_those_of_the_document() {
        let own = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
            let row = |(flags, here): &(&str, &str)| ((*flags).to_owned(), (*here).to_owned());
            rows.iter().map(row).collect()
        };
        assert_eq!(own(&MASTER), rows("| Mesos's master | here |"));
        assert_eq!(own(&AGENT), rows("| Mesos's agent | here |"));
    }

    #[test]
    fn a_flag_of_mesos_is_answered_with_the_flag_that_is_here() {
        for (role, argument, says) in [
            (
                "master",
                "--ip",
                "--ip is Mesos's; here it is --listen; agents",
            ),
            (
                "master",
                "--zk",
                "here it is --store \"zk://…\", --session-timeout",
            ),
            ("master", "--authenticate_frameworks", "--token-file"),
            ("master", "--quorum", "here it is --store: what"),
            ("master", "--acls", "there is none here: who"),
            ("agent", "--work_dir", "here it is --work-dir, "),
            ("agent", "--docker_socket", "there is none here: tasks"),
            (
                "agent",
                "--no-systemd_enable_support",
                "there is none here: tasks are",
            ),
            ("agent", "--switch_user", "here it is --switch-user; with"),
            (
                "agent",
                "--no-docker_kill_orphans",
                "there is none here: tasks",
            ),
            (
                "agent",
                "--oversubscribed_resources_interval",
                "(resources.md)",
            ),
        ] {
            let tip = tip(&of(role), argument).unwrap_or_default();
            assert!(tip.contains(says), "{role} {argument}: {tip}");
            assert!(!tip.contains('`'), "{tip}");
        }
        for (role, argument) in [
            ("master", "--frob"),
            ("agent", "--zk"),
            ("services", "--ip"),
        ] {
            assert_eq!(tip(&of(role), argument), None, "{role} {argument}");
        }
    }
}

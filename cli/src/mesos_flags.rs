//! Flags of Mesos's, given to `proffer master` or `proffer agent`, or left in their environment: which of ours is meant.
//!
//! The tables are those of `docs/coming-from-mesos.md`, word for word, which a test compares.

/// Flags of Mesos's master, and what is here instead.
#[rustfmt::skip]
const MASTER: [(&str, &str); 31] = [
    ("`--ip`, `--port`", "`listen`; agents have an address of their own, `cluster_listen`"),
    ("`--advertise_ip`, `--advertise_port`, `--hostname`", "`advertise`, `cluster_advertise`, `host_names`"),
    ("`--zk`, `--zk_session_timeout`", r#"`store = "zk://…"`, `session_timeout`"#),
    ("`--quorum`, `--work_dir`, `--registry`, `--registry_strict`, `--registry_fetch_timeout`, `--registry_store_timeout`, `--log_auto_initialize`", "`store`: what masters know is in ZooKeeper itself, or in a directory for one master"),
    ("`--authenticate_*`, `--credentials`, `--authenticators`, `--authenticate`, `--authentication_v0_timeout`, `--http_authenticators`, `--http_framework_authenticators`", "`token_file`; without it nobody calls, but for `insecure_allow_unauthenticated`"),
    ("`--acls`, `--authorizers`", "none: who has the token may do everything"),
    ("`--cluster`", "none: the store has an id of its own"),
    ("`--agent_ping_timeout`, `--max_agent_ping_timeouts`, `--slave_ping_timeout`, `--max_slave_ping_timeouts`", "`suspect_after`, `unreachable_after`"),
    ("`--agent_reregister_timeout`, `--recovery_agent_removal_limit`, `--agent_removal_rate_limit`, `--slave_reregister_timeout`, `--recovery_slave_removal_limit`, `--slave_removal_rate_limit`", "none: no more agents than usual are declared unreachable when many fall silent together, and their tasks go on"),
    ("`--rate_limits`", "`calls_per_second`, `operations_per_second` (what calls name: tasks, operations, offers): of each framework; what is above waits"),
    ("`--offer_timeout`", "none: 30 s always"),
    ("`--allocation_interval`", "none: what is free is offered at once"),
    ("`--min_allocatable_resources`", "`offer_least`, written the same; a framework may say so itself (`offer_filters`)"),
    ("`--fair_sharing_excluded_resource_names`", "`share_excluded`"),
    ("`--roles`, `--weights`", "none: roles are made by use, weights and quotas by calls"),
    ("`--max_completed_frameworks`, `--max_completed_tasks_per_framework`", "none: fixed, see `/flags`"),
    ("`--role_sorter`, `--framework_sorter`, `--user_sorter`, `--allocator`, `--allocator_agent_recovery_factor`, `--allocator_recovery_timeout`", "none: dominant shares always (`drf`)"),
    ("`--max_operator_event_stream_subscribers`", "none: 1,000; for one more the oldest is ended, as in Mesos"),
    ("`--filter_gpu_resources`, `--require_agent_domain`, `--domain`", "none: GPUs are shown to GPU_RESOURCES alone, and masters have no domain"),
    ("`--log_dir`, `--logging_level`, `--quiet`, `--logbufsecs`, `--initialize_driver_logging`, `--external_log_file`", "`log_format`, `log_level`; the log goes to stderr"),
    ("`--hostname_lookup`, `--ip_discovery_command`", "none: addresses and names are written down"),
    ("`--whitelist`", "none: who has the token may be an agent; one that is to get no tasks is deactivated (`proffer agent deactivate`)"),
    ("`--root_submissions`", "none: agents say as whom tasks may run, `task_user` and `switch_user`"),
    ("`--firewall_rules`", "none for a single path; without `mesos_api` there is no endpoint of Mesos"),
    ("`--webui_dir`", "none: there are no pages for browsers, and `/` is a short text"),
    ("`--publish_per_framework_metrics`", "none: there are no figures of single frameworks"),
    ("`--registry_gc_interval`, `--registry_max_agent_age`, `--registry_max_agent_count`", "none: the id of an agent that is gone is refused for two weeks"),
    ("`--max_executors_per_agent`, `--max_executors_per_slave`, `--max_unreachable_tasks_per_framework`, `--memory_profiling`", "none"),
    ("`--offer_constraints_re2_max_mem`, `--offer_constraints_re2_max_program_size`", "none: fixed, see [Limits](#limits)"),
    ("`--version`", "`proffer --version`"),
    ("`--modules`, `--hooks`, `--modules_dir`, `--master_contender`, `--master_detector`", "none: nothing is loaded into the master"),
];

/// Flags of Mesos's agent, and what is here instead.
#[rustfmt::skip]
const AGENT: [(&str, &str); 38] = [
    ("`--master`", "`master`"),
    ("`--ip`, `--port`, `--hostname`, `--advertise_ip`, `--advertise_port`", "`listen`, `host`, `advertise`"),
    ("`--work_dir`, `--runtime_dir`, `--launcher_dir`", "`work_dir`, `supervisor_program`"),
    ("`--resources`, `--attributes`", "the same, as text or as Mesos's JSON"),
    ("`--domain`", "`region`, `zone`"),
    ("`--docker_registry`", "`image_archives`, of a directory with archives (`/some/dir`); nothing is pulled from a registry"),
    ("`--containerizers`, `--isolation`, `--launcher`, `--docker*`, `--image_providers`", "none: tasks are processes, or containers of an image's archive, in control groups of their own"),
    ("`--cgroups_root`, `--cgroups_enable_cfs`", "`cgroup_root`, `cpu_hard_limit`"),
    ("`--gc_delay`", "`keep_ended`"),
    ("`--executor_registration_timeout`, `--executor_reregistration_timeout`, `--executor_reregistration_retry_interval`", "`executor_wait`"),
    ("`--executor_environment_variables`", "none: what an executor is given is Mesos's variables, and its framework's"),
    ("`--systemd_enable_support`, `--systemd_runtime_directory`", "none: tasks are no services, and outlive the agent's"),
    ("`--executor_shutdown_grace_period`", "none: 5 s, unless the executor says otherwise"),
    ("`--recover`, `--strict`, `--recovery_timeout`, `--reconfiguration_policy`", "none: an agent always takes up what runs, and may change its resources and attributes"),
    ("`--switch_user`", "`switch_user`; with `false` tasks run as the agent's own user, or as `task_user`"),
    ("`--default_container_info`, `--default_container_dns`, `--default_container_shm_size`", "none"),
    ("`--credential`, `--authenticate_http_*`, `--executor_secret_key`, `--acls`, `--authenticatee`, `--authorizer`, `--authentication_backoff_factor`, `--authentication_timeout_min`, `--authentication_timeout_max`, `--http_authenticators`, `--http_credentials`, `--jwt_secret_key`, `--secret_resolver`", "`token_file`; executors have tokens of their own"),
    ("`--fetcher_cache_size`, `--fetcher_cache_dir`", "`fetch_cache_mib`; what is on its way or kept is in `work_dir`"),
    ("`--hadoop_home`, `--frameworks_home`, `--fetcher_stall_timeout`", "none: hdfs and relative paths are not fetched, and how slow a server may be is fixed"),
    ("`--oversubscribed_resources_interval`, `--qos_controller`, `--resource_estimator`, `--qos_correction_interval_min`", "none: what is revocable stands among the agent's `resources`, `cpus:2;cpus{REV}:4`, and is changed by starting it again; it is offered to frameworks with REVOCABLE_RESOURCES, and ended by whoever estimates ([resources.md](resources.md))"),
    ("`--zk_session_timeout`", "none: fixed"),
    ("`--hostname_lookup`, `--ip6`, `--ip_discovery_command`, `--ip6_discovery_command`", "none: addresses and names are written down"),
    ("`--default_role`", "none: `resources` name the role themselves, `cpus(web):4`"),
    ("`--resource_provider_config_dir`, `--csi_plugin_config_dir`, `--disk_profile_adaptor`", "none: disks stand among `resources` ([resources.md](resources.md))"),
    ("`--image_provisioner_backend`, `--image_gc_config`, `--appc_*`, `--sandbox_directory`, `--container_logger`, `--http_command_executor`", "none: the agent itself runs tasks and images, and keeps what they print"),
    ("`--cgroups_*`, `--agent_subsystems`, `--slave_subsystems`, `--revocable_cpu_low_priority`, `--perf_events`, `--perf_interval`, `--perf_duration`", "none"),
    ("`--allowed_devices`, `--nvidia_gpu_devices`", "none: how many GPUs there are stands in `resources`"),
    ("`--gc_disk_headroom`, `--disk_watch_interval`, `--gc_non_executor_container_sandboxes`, `--max_completed_executors_per_framework`", "none: what has ended goes when `keep_ended` is over"),
    ("`--container_disk_watch_interval`, `--enforce_container_disk_quota`, `--xfs_*`", "none"),
    ("`--network_*`, `--egress_*`, `--ingress_*`, `--minimum_egress_rate_limit`, `--maximum_egress_rate_limit`, `--minimum_ingress_rate_limit`, `--maximum_ingress_rate_limit`, `--ephemeral_ports_per_container`, `--eth0_name`, `--lo_name`, `--container_ports_*`, `--check_agent_port_range_only`, `--enforce_container_ports`", "none: tasks are in their host's network"),
    ("`--effective_capabilities`, `--bounding_capabilities`, `--allowed_capabilities`, `--seccomp_*`, `--disallow_sharing_agent_ipc_namespace`, `--disallow_sharing_agent_pid_namespace`, `--host_path_volume_force_creation`, `--volume_gid_range`", "none: what a container may do is fixed ([containers.md](containers.md))"),
    ("`--registration_backoff_factor`, `--http_heartbeat_interval`", "none: fixed"),
    ("`--domain_socket_location`, `--http_executor_domain_sockets`", "none: executors call the agent's port"),
    ("`--firewall_rules`", "none for a single path; without `mesos_api` there is no endpoint of Mesos for executors and tools"),
    ("`--agent_features`, `--memory_profiling`", "none"),
    ("`--log_dir`, `--logging_level`, `--quiet`, `--logbufsecs`, `--initialize_driver_logging`, `--external_log_file`", "`log_format`, `log_level`; the log goes to stderr"),
    ("`--version`", "`proffer --version`"),
    ("`--modules`, `--hooks`, `--modules_dir`, `--master_detector`", "none: nothing is loaded into the agent"),
];

/// What Mesos's agents have flags for, and tell their executors in variables of the same names.
const OF_EXECUTORS: [&str; 3] = [
    "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
    "MESOS_HTTP_COMMAND_EXECUTOR",
    "MESOS_RECOVERY_TIMEOUT",
];

/// What to say of an unknown argument of `command`, if Mesos has a flag of this name. Its backquoted keys are flags here.
pub(crate) fn tip(command: &clap::Command, argument: &str) -> Option<String> {
    let here = here_of(command, argument)?;
    let here = match here.strip_prefix("none") {
        Some(why) => format!("there is none here{why}"),
        None => format!("here it is {}", with_flags(command, argument, here)),
    };
    let here = without_links(&here.replace('`', ""));
    Some(format!(
        "{argument} is Mesos's; {here} (docs/coming-from-mesos.md, \"Flags side by side\")"
    ))
}

/// Which of these variables are how flags are given to Mesos's programs (`MESOS_ZK`), each with the flags of `command` in its
/// place; nothing if none is.
pub(crate) fn variables(
    command: &clap::Command,
    names: impl Iterator<Item = String>,
) -> Option<String> {
    let told = |variable: String| {
        let name = variable.strip_prefix("MESOS_")?;
        let argument = format!("--{}", name.to_ascii_lowercase());
        let here = here_of(command, &argument)?;
        if OF_EXECUTORS.contains(&variable.as_str()) {
            return None;
        }
        let keys = here.split('`').skip(1).step_by(2);
        let flags: Vec<String> = match here.starts_with("the same") {
            true => flag_of(command, &argument).into_iter().collect(),
            false => keys.filter_map(|key| flag_of(command, key)).collect(),
        };
        match flags.is_empty() || here.starts_with("none") {
            true => Some(format!("{variable} (none here)")),
            false => Some(format!("{variable} (here {})", flags.join(", "))),
        }
    };
    let mut all: Vec<String> = names.filter_map(told).collect();
    all.sort();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What is here instead of a flag of Mesos's, as the table has it.
fn here_of(command: &clap::Command, argument: &str) -> Option<&'static str> {
    let rows: &[(&str, &'static str)] = match command.get_name() {
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
    Some(here)
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

/// A key, or a key with its value, as the flag that it is.
fn flag_of(command: &clap::Command, text: &str) -> Option<String> {
    let name = text.split([' ', '=']).next().unwrap_or_default();
    let long = name.trim_start_matches('-').replace('_', "-");
    let mut known = command.get_arguments();
    let is_known = known.any(|known| known.get_long() == Some(&long));
    let rest = text.strip_prefix(name).unwrap_or_default();
    is_known.then(|| format!("--{long}{}", rest.replace(" = ", " ")))
}

/// The text with each key as the flag that it is.
fn with_flags(command: &clap::Command, argument: &str, here: &str) -> String {
    if here.starts_with("the same") {
        let same = flag_of(command, argument).unwrap_or_else(|| argument.to_owned());
        return here.replacen("the same", &same, 1);
    }
    let parts = here.split('`').enumerate();
    let parts = parts.map(|(number, part)| match number % 2 {
        0 => part.to_owned(),
        _ => flag_of(command, part).unwrap_or_else(|| part.to_owned()),
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
            ("master", "--whitelist", "there is none here: who"),
            ("master", "--registry_fetch_timeout", "here it is --store"),
            ("agent", "--default_role", "there is none here: resources"),
            (
                "agent",
                "--network_cni_config_dir",
                "there is none here: tasks are in",
            ),
            ("agent", "--volume_gid_range", "(containers.md)"),
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

    #[test]
    fn variables_of_mesos_are_named_with_the_flags_that_are_here() {
        let said = |role: &str, names: &[&str]| {
            variables(&of(role), names.iter().map(|name| (*name).to_owned()))
        };
        let of_executors = [
            "MESOS_TASK_ID",
            "MESOS_SANDBOX",
            "MESOS_DIRECTORY",
            "MESOS_SLAVE_ID",
            "MESOS_EXECUTOR_ID",
            "MESOS_FRAMEWORK_ID",
            "MESOS_AGENT_ENDPOINT",
            "MESOS_CHECKPOINT",
            "MESOS_RECOVERY_TIMEOUT",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
            "MESOS_HTTP_COMMAND_EXECUTOR",
            "PATH",
        ];
        for role in ["master", "agent"] {
            assert_eq!(said(role, &of_executors), None, "{role}");
        }
        let named = ["MESOS_ZK", "MESOS_MASTER", "MESOS_RESOURCES", "MESOS_ACLS"];
        assert_eq!(
            said("master", &named).as_deref(),
            Some("MESOS_ACLS (none here), MESOS_ZK (here --store \"zk://…\", --session-timeout)")
        );
        let found = said("agent", &named);
        assert_eq!(
            found.as_deref(),
            Some(
                "MESOS_ACLS (here --token-file), MESOS_MASTER (here --master), MESOS_RESOURCES (here --resources)"
            )
        );
        assert_eq!(said("services", &named), None);
    }
}

//! What an app is: the definition that users write, checked, and what the framework adds to it.
//!
//! A definition is only ever made by [`AppPatch::onto`], so it is valid. Amounts are in thousandths or millionths.
//! [`AppSpec::runs_like`] decides which edits restart instances: a label or a limit of a rolling update does not, what the
//! task itself sees does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::fetch::check_fetches;
use proffer_model::limits::{CHECKS_MAX, SCALAR_MILLI_MAX};
use proffer_model::{Command, Fetch, Problem, Secret, code};

use crate::backoff::BackoffPolicy;
use crate::container::AppContainer;
use crate::deployment::Deployment;
use crate::health::HealthCheck;
use crate::id::{AppId, Version};
use crate::limits::{
    APP_TEXT_LEN_MAX, ENV_ENTRIES_MAX, INSTANCES_MAX, LABELS_MAX, PORT_NAME_LEN_MAX, PORTS_MAX,
};
use crate::port::PortDefinition;

/// A part of one, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(pub u32);

impl Fraction {
    /// All.
    pub const ONE: Self = Self(1_000_000);

    /// This part of `n`, rounded up.
    pub fn ceil_of(self, n: u32) -> u32 {
        u32::try_from((u64::from(n) * u64::from(self.0)).div_ceil(1_000_000)).unwrap_or(u32::MAX)
    }

    /// This part of `n`, rounded down.
    pub fn floor_of(self, n: u32) -> u32 {
        u32::try_from(u64::from(n) * u64::from(self.0) / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// How instances are replaced when the app changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The part of the instances that stays healthy.
    pub minimum_health: Fraction,
    /// The part of the instances that may run beside them.
    pub maximum_over: Fraction,
}

/// Which instances go first when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSelection {
    /// Those that started last.
    YoungestFirst,
    /// Those that started first.
    OldestFirst,
}

/// What is done about an instance whose agent is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Wait for ever.
    Wait,
    /// Replace it.
    Replace {
        /// It is replaced after this.
        inactive_after: Duration,
        /// It is forgotten after this, once the app has all the instances it wants. Should it return, it is killed.
        expunge_after: Duration,
    },
}

/// An app as its users define it. Valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppSpec {
    /// Its id.
    pub id: AppId,
    /// What each instance runs.
    pub command: Command,
    /// The image that it runs in; absent: none, it is a process of the host.
    pub container: Option<AppContainer>,
    /// What is put into the sandbox of each instance before it starts.
    pub fetch: Vec<Fetch>,
    /// Processors, in thousandths.
    pub cpus_milli: u64,
    /// Memory in MiB, in thousandths.
    pub mem_milli: u64,
    /// Disk in MiB, in thousandths.
    pub disk_milli: u64,
    /// How many are to run.
    pub instances: u32,
    /// Its own environment; wins over what the framework sets.
    pub env: BTreeMap<String, Secret>,
    /// For discovery and people.
    pub labels: BTreeMap<String, String>,
    /// The user to run as; the agent's default when absent.
    pub user: Option<String>,
    /// Its ports; numbers are assigned.
    pub ports: Vec<PortDefinition>,
    /// Whether host ports are the service ports.
    pub require_ports: bool,
    /// How it is found healthy; all must pass.
    pub health_checks: Vec<HealthCheck>,
    /// How it is replaced.
    pub upgrade: Upgrade,
    /// How launches wait after failures.
    pub backoff: BackoffPolicy,
    /// SIGTERM to SIGKILL; the cluster's default when absent.
    pub kill_grace: Option<Duration>,
    /// Who goes first.
    pub kill_selection: KillSelection,
    /// What unreachable agents mean for it.
    pub unreachable: Unreachable,
}

impl AppSpec {
    /// An app that says nothing but what it runs, with Marathon's defaults.
    fn usual(id: AppId, command: Command) -> Self {
        Self {
            id,
            command,
            container: None,
            fetch: Vec::new(),
            cpus_milli: 1_000,
            mem_milli: 128_000,
            disk_milli: 0,
            instances: 1,
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            user: None,
            ports: vec![PortDefinition::default_one()],
            require_ports: false,
            health_checks: Vec::new(),
            upgrade: Upgrade {
                minimum_health: Fraction::ONE,
                maximum_over: Fraction::ONE,
            },
            backoff: BackoffPolicy::default(),
            kill_grace: None,
            kill_selection: KillSelection::YoungestFirst,
            unreachable: Unreachable::Replace {
                inactive_after: Duration::ZERO,
                expunge_after: Duration::ZERO,
            },
        }
    }

    /// Whether an instance of `other` is as good as one of this: nothing that a task sees or that places it differs.
    /// Labels are for discovery; tasks see those of their start.
    pub fn runs_like(&self, other: &Self) -> bool {
        let is_same_container = match (&self.container, &other.container) {
            (Some(container), Some(other)) => container.runs_like(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same_container
            && self.command == other.command
            && self.fetch == other.fetch
            && self.cpus_milli == other.cpus_milli
            && self.mem_milli == other.mem_milli
            && self.disk_milli == other.disk_milli
            && self.env == other.env
            && self.user == other.user
            && self.ports == other.ports
            && self.require_ports == other.require_ports
            && self.health_checks == other.health_checks
    }
}

/// An app as the framework keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its definition.
    pub spec: AppSpec,
    /// The version of the last change.
    pub version: Version,
    /// The version that last changed `instances`.
    pub last_scaling: Version,
    /// The version that instances must have been started at or after; older ones are replaced.
    pub last_config: Version,
    /// The deployment that is under way.
    pub deployment: Option<Deployment>,
    /// How the last instance that ended badly did so.
    pub last_failure: Option<Failure>,
}

/// How an instance ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The task's id.
    pub task: String,
    /// Its host.
    pub host: String,
    /// Its agent.
    pub agent: String,
    /// The state that it ended in.
    pub state: proffer_model::TaskState,
    /// In words.
    pub message: String,
    /// The app's version that it ran.
    pub version: Version,
    /// When, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
}

/// Changes to a definition: what is absent stays, or is the default for a new app. Each value is checked on its own
/// already; [`Self::onto`] checks the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of AppSpec")]
pub struct AppPatch {
    pub id: Option<AppId>,
    /// Arguments are `Exec`, whether there is a container or not.
    pub command: Option<Command>,
    /// `Some(None)`: without an image.
    pub container: Option<Option<AppContainer>>,
    pub fetch: Option<Vec<Fetch>>,
    pub cpus_milli: Option<u64>,
    pub mem_milli: Option<u64>,
    pub disk_milli: Option<u64>,
    pub instances: Option<u32>,
    pub env: Option<BTreeMap<String, Secret>>,
    pub labels: Option<BTreeMap<String, String>>,
    pub user: Option<String>,
    pub ports: Option<Vec<PortDefinition>>,
    pub require_ports: Option<bool>,
    pub health_checks: Option<Vec<HealthCheck>>,
    pub minimum_health: Option<Fraction>,
    pub maximum_over: Option<Fraction>,
    pub backoff_initial: Option<Duration>,
    pub backoff_factor_micro: Option<u64>,
    pub backoff_max: Option<Duration>,
    pub kill_grace: Option<Duration>,
    pub kill_selection: Option<KillSelection>,
    pub unreachable: Option<Unreachable>,
}

impl AppPatch {
    /// The definition that results from these changes to `base`, or all that is wrong with it.
    pub fn onto(self, id: AppId, base: Option<&AppSpec>) -> Result<AppSpec, Vec<Problem>> {
        let container = match self.container {
            Some(container) => container,
            None => base.and_then(|spec| spec.container.clone()),
        };
        let kept = base.map(|spec| spec.command.clone());
        let Some(command) = command_in(self.command, kept, container.is_some()) else {
            let message =
                "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'";
            return Err(vec![
                Problem::new(code::APP_INVALID, message)
                    .field("cmd")
                    .hint("give cmd, the line to run, or a container whose image says what to run"),
            ]);
        };
        let mut spec = base
            .cloned()
            .unwrap_or_else(|| AppSpec::usual(id, command.clone()));
        spec.command = command;
        spec.container = container;
        set(&mut spec.fetch, self.fetch);
        set(&mut spec.cpus_milli, self.cpus_milli);
        set(&mut spec.mem_milli, self.mem_milli);
        set(&mut spec.disk_milli, self.disk_milli);
        set(&mut spec.instances, self.instances);
        set(&mut spec.env, self.env);
        set(&mut spec.labels, self.labels);
        set(&mut spec.ports, self.ports);
        set(&mut spec.require_ports, self.require_ports);
        set(&mut spec.health_checks, self.health_checks);
        set(&mut spec.upgrade.minimum_health, self.minimum_health);
        set(&mut spec.upgrade.maximum_over, self.maximum_over);
        set(&mut spec.backoff.initial, self.backoff_initial);
        set(&mut spec.backoff.factor_micro, self.backoff_factor_micro);
        set(&mut spec.backoff.max, self.backoff_max);
        set(&mut spec.kill_selection, self.kill_selection);
        set(&mut spec.unreachable, self.unreachable);
        spec.user = self.user.or(spec.user);
        spec.kill_grace = self.kill_grace.or(spec.kill_grace);
        let problems = validate(&spec);
        if problems.is_empty() {
            Ok(spec)
        } else {
            Err(problems)
        }
    }
}

/// What is run: arguments are those of the image's entrypoint where there is an image, and a program with its arguments
/// otherwise.
fn command_in(
    given: Option<Command>,
    kept: Option<Command>,
    has_container: bool,
) -> Option<Command> {
    match (given.or(kept), has_container) {
        (Some(Command::Shell(line)), _) => Some(Command::Shell(line)),
        // No app can say so.
        (Some(Command::Data(_) | Command::Named { .. }), _) => None,
        (Some(Command::Exec(arguments) | Command::Image(arguments)), true) => {
            Some(Command::Image(arguments))
        }
        (None, true) => Some(Command::Image(Vec::new())),
        // It ran what the image says, and has no image any more.
        (Some(Command::Image(arguments)), false) if arguments.is_empty() => None,
        (Some(Command::Exec(arguments) | Command::Image(arguments)), false) => {
            Some(Command::Exec(arguments))
        }
        (None, false) => None,
    }
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

/// All that is wrong with a definition as a whole.
fn validate(spec: &AppSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    validate_command(spec, &mut problems);
    validate_amounts(spec, &mut problems);
    validate_texts(spec, &mut problems);
    validate_ports(spec, &mut problems);
    if let Err(problem) = check_fetches(&spec.fetch) {
        let field = problem.field.clone();
        problems.push(wrong(&field, problem.message, &problem.hint));
    }
    if spec.health_checks.len() > CHECKS_MAX {
        problems.push(wrong(
            "healthChecks",
            format!("more than {CHECKS_MAX} health checks"),
            "give fewer",
        ));
    }
    for (i, check) in spec.health_checks.iter().enumerate() {
        if let Err(problem) = check.validate(spec.ports.len()) {
            problems.push(problem.within(format!("healthChecks[{i}]")));
        }
    }
    problems
}

fn wrong(field: &str, message: impl Into<String>, hint: &str) -> Problem {
    Problem::new(code::APP_INVALID, message)
        .field(field)
        .hint(hint)
}

fn validate_command(spec: &AppSpec, problems: &mut Vec<Problem>) {
    let (field, texts): (_, Vec<&str>) = match &spec.command {
        Command::Shell(line) => ("cmd", vec![line]),
        Command::Exec(arguments) | Command::Image(arguments) => {
            ("args", arguments.iter().map(String::as_str).collect())
        }
        Command::Data(_) | Command::Named { .. } => ("cmd", Vec::new()),
    };
    let is_of_image = matches!(spec.command, Command::Image(_));
    if !is_of_image && texts.first().is_none_or(|text| text.trim().is_empty()) {
        problems.push(wrong(
            field,
            "the command is empty",
            "give the command that each instance runs",
        ));
    }
    if texts.iter().any(|text| text.contains('\0')) {
        problems.push(wrong(
            field,
            "the command contains a NUL character",
            "remove it",
        ));
    }
}

fn validate_amounts(spec: &AppSpec, problems: &mut Vec<Problem>) {
    for (field, amount, least) in [
        ("cpus", spec.cpus_milli, 1),
        ("mem", spec.mem_milli, 0),
        ("disk", spec.disk_milli, 0),
    ] {
        if amount < least {
            problems.push(wrong(
                field,
                "the amount is less than 0.001",
                "give at least 0.001",
            ));
        }
        if amount > SCALAR_MILLI_MAX {
            problems.push(wrong(
                field,
                format!("the amount is larger than {}", SCALAR_MILLI_MAX / 1000),
                "ask for less",
            ));
        }
    }
    if spec.instances > INSTANCES_MAX {
        problems.push(wrong(
            "instances",
            format!("more than {INSTANCES_MAX} instances"),
            "ask for fewer",
        ));
    }
    let is_single = spec
        .labels
        .get("MARATHON_SINGLE_INSTANCE_APP")
        .is_some_and(|value| value == "true");
    let stays_single =
        spec.upgrade.minimum_health == Fraction(0) && spec.upgrade.maximum_over == Fraction(0);
    if is_single && (spec.instances > 1 || !stays_single) {
        problems.push(wrong(
            "instances",
            "the label MARATHON_SINGLE_INSTANCE_APP asks for one instance and an upgradeStrategy of 0 and 0",
            "set instances to 1 and both values of upgradeStrategy to 0, or remove the label",
        ));
    }
    if let Unreachable::Replace {
        inactive_after,
        expunge_after,
    } = spec.unreachable
        && inactive_after > expunge_after
    {
        problems.push(wrong(
            "unreachableStrategy",
            "inactiveAfterSeconds is larger than expungeAfterSeconds",
            "give expungeAfterSeconds at least the value of inactiveAfterSeconds",
        ));
    }
}

fn validate_texts(spec: &AppSpec, problems: &mut Vec<Problem>) {
    let counts = [
        ("env", spec.env.len(), ENV_ENTRIES_MAX),
        ("labels", spec.labels.len(), LABELS_MAX),
    ];
    for (field, count, most) in counts {
        if count > most {
            problems.push(wrong(
                field,
                format!("{count} entries; the limit is {most}"),
                "give fewer",
            ));
        }
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.expose().contains('\0') {
            problems.push(wrong(
                "env",
                format!("{name:?} is not a variable: a name is not empty, has no '=', and neither part has a NUL character"),
                "rename it",
            ));
        }
    }
    if let Some(user) = &spec.user
        && (user.is_empty() || user.contains(['\0', ':', '/']))
    {
        problems.push(wrong(
            "user",
            "this is not a user's name",
            "leave it out for the agent's default",
        ));
    }
    let total = texts_len(spec);
    if total > APP_TEXT_LEN_MAX {
        problems.push(wrong(
            "",
            format!("the texts of the app have {total} bytes; the limit is {APP_TEXT_LEN_MAX}"),
            "make it shorter",
        ));
    }
}

/// Bytes of all texts of an app together.
fn texts_len(spec: &AppSpec) -> usize {
    let command = match &spec.command {
        Command::Shell(line) => written_len(line),
        Command::Exec(arguments) | Command::Image(arguments) => {
            arguments.iter().map(|text| written_len(text)).sum()
        }
        Command::Data(data) => data.len(),
        Command::Named { program, arguments } => {
            let arguments = arguments.iter().map(|text| written_len(text));
            written_len(program) + arguments.sum::<usize>()
        }
    };
    let fetch = spec.fetch.iter().map(|fetch| {
        let others = [&fetch.output, &fetch.sha256].into_iter().flatten();
        written_len(&fetch.uri) + others.map(|text| written_len(text)).sum::<usize>()
    });
    let command = command + fetch.sum::<usize>();
    let env: usize = spec
        .env
        .iter()
        .map(|(name, value)| written_len(name) + written_len(value.expose()))
        .sum();
    let sum_of = |labels: &BTreeMap<String, String>| {
        labels
            .iter()
            .map(|(name, value)| written_len(name) + written_len(value))
            .sum::<usize>()
    };
    let ports: usize = spec.ports.iter().map(|port| sum_of(&port.labels)).sum();
    let checks: usize = spec
        .health_checks
        .iter()
        .map(|check| written_len(&check.path) + written_len(&check.command))
        .sum();
    let image = spec
        .container
        .as_ref()
        .map_or(0, |container| written_len(container.image()));
    command + env + sum_of(&spec.labels) + ports + checks + image
}

/// The length of a text in JSON, which is how it is kept.
fn written_len(text: &str) -> usize {
    let len_of = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(len_of).sum()
}

fn validate_ports(spec: &AppSpec, problems: &mut Vec<Problem>) {
    if spec.ports.len() > PORTS_MAX {
        problems.push(wrong(
            "portDefinitions",
            format!("more than {PORTS_MAX} ports"),
            "give fewer",
        ));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in spec.ports.iter().enumerate() {
        let field = |name: &str| format!("portDefinitions[{i}].{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if port.name.len() > PORT_NAME_LEN_MAX || !port.name.chars().all(plain) {
            problems.push(wrong(
                &field("name"),
                format!("a port's name has letters, digits, '-', '_' and '.', at most {PORT_NAME_LEN_MAX}"),
                "rename it",
            ));
        }
        if port.labels.len() > LABELS_MAX {
            problems.push(wrong(
                &field("labels"),
                format!("more than {LABELS_MAX} labels"),
                "give fewer",
            ));
        }
        if !port.name.is_empty() && !names.insert(&port.name) {
            problems.push(wrong(
                &field("name"),
                "port names must be unique",
                "rename it",
            ));
        }
        if port.number != 0 && !numbers.insert(port.number) {
            problems.push(wrong(
                &field("port"),
                "ports must be unique",
                "give another number, or 0",
            ));
        }
    }
}

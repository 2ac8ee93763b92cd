//! Runs one role as a process of its own: flags over environment over file, checked, then until SIGTERM.
//!
//! What is wrong is told with its place: `FILE:LINE: key: …` for a value from the file, the flag otherwise. The roles'
//! own crates know their options; here they are only put together.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use proffer_model::{Problem, code};
use proffer_server::config::{ConfigFile, Layered};
use proffer_server::log;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::command;
use crate::connection::with_token_hint;
use crate::exit::{Failure, Outcome};
use crate::mesos_flags;
use crate::output::{self, Progress};

/// A role of the cluster.
pub(crate) trait Role {
    /// Its name: the subcommand, and the file in `/etc/proffer`.
    const NAME: &'static str;
    /// Its flags, which are the keys of its file.
    type Options: clap::Args + DeserializeOwned + Default + Layered;
    /// What they come to.
    type Config;

    /// Checks the options.
    fn config(options: Self::Options) -> Result<Self::Config, Problem>;
    /// Starts logging as the configuration says.
    fn start_log(config: &Self::Config) -> Result<(), Problem>;
    /// Runs until `shutdown`, then ends in order.
    fn run(
        config: Self::Config,
        shutdown: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>>;
}

macro_rules! role {
    ($(#[doc = $doc:literal])+ $role:ident, $name:literal, $krate:ident, $log:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(crate) enum $role {}

        impl Role for $role {
            const NAME: &'static str = $name;
            type Options = $krate::Options;
            type Config = $krate::Config;

            fn config(options: Self::Options) -> Result<Self::Config, Problem> {
                $krate::Config::from_options(options)
            }

            fn start_log(config: &Self::Config) -> Result<(), Problem> {
                let said: fn(&$krate::Config) -> (log::Format, Option<String>) = $log;
                let (format, level) = said(config);
                log::init(format, level.as_deref())
            }

            async fn run(config: Self::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
                $krate::run(config, shutdown).await
            }
        }
    };
}

role!(
    /// Offers the agents' resources to frameworks.
    Master, "master", proffer_master,
    |config| (config.log_format, config.log_level.clone())
);
role!(
    /// Runs tasks on its host.
    Agent, "agent", proffer_agent,
    |config| (config.log_format, config.log_level.clone())
);
role!(
    /// Keeps apps alive.
    Services, "services", proffer_services,
    |config| (config.log_format, config.log_level.clone())
);
role!(
    /// Keeps HAProxy's configuration true.
    Discovery, "discovery", proffer_discovery,
    |config| (config.log_format, config.log_level.clone())
);

/// What every role takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RoleArgs<R: Role> {
    #[command(flatten)]
    options: R::Options,
    /// File with values of these flags, as keys; flags and environment win.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the file and the flags: say what is wrong by file, line and key, or ok.
    #[arg(long)]
    check_config: bool,
}

/// What discovery takes besides.
#[derive(Debug, clap::Args)]
pub(crate) struct DiscoveryArgs {
    #[command(flatten)]
    role: RoleArgs<Discovery>,
    /// Only print the configuration for what services says now; change nothing.
    #[arg(long, conflicts_with = "check_config")]
    dry_run: bool,
}

/// Runs the sidecar, or only shows what it would write.
pub(crate) async fn run_discovery(
    args: DiscoveryArgs,
    matches: &ArgMatches,
    shutdown: CancellationToken,
) -> Outcome {
    if !args.dry_run {
        return run(args.role, matches, shutdown).await;
    }
    let RoleArgs {
        options, config, ..
    } = args.role;
    let config = configure::<Discovery>(options, config, |key| is_from_outside(matches, key))?;
    let text = tokio::select! {
        text = proffer_discovery::dry_run(&config) => text.map_err(with_token_hint)?,
        () = shutdown.cancelled() => return Err(Failure::Interrupted("")),
    };
    output::print(&text)
}

/// Runs the role, or only checks its configuration.
pub(crate) async fn run<R: Role>(
    args: RoleArgs<R>,
    matches: &ArgMatches,
    shutdown: CancellationToken,
) -> Outcome {
    let config = configure::<R>(args.options, args.config, |key| {
        is_from_outside(matches, key)
    })?;
    let ignored = variables_of_mesos(R::NAME);
    if args.check_config {
        if let Some(ignored) = ignored {
            Progress::new().say(&format!("warning: {MESOS_IGNORED}: {ignored}"));
        }
        return output::print("ok\n");
    }
    R::start_log(&config)?;
    if let Some(variables) = ignored {
        tracing::warn!(variables, "{MESOS_IGNORED}");
    }
    R::run(config, shutdown)
        .await
        .map_err(|error| problem_of(error).into())
}

/// What is said of variables that configure Mesos's programs.
const MESOS_IGNORED: &str = "variables of Mesos's flags are set, and not heard";

/// Those that are set, with what there is here in their place.
fn variables_of_mesos(role: &str) -> Option<String> {
    let mut tree = command::tree();
    tree.build();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    mesos_flags::variables(tree.find_subcommand(role)?, names)
}

fn configure<R: Role>(
    flags: R::Options,
    path: Option<PathBuf>,
    is_from_outside: impl Fn(&str) -> bool,
) -> Result<R::Config, Problem> {
    let file = ConfigFile::open(R::NAME, path.as_deref())?;
    let below = match &file {
        Some(file) => file.parse::<R::Options>()?,
        None => R::Options::default(),
    };
    R::config(flags.over(below)).map_err(|problem| {
        let key = problem.field.split(['.', '[']).next().unwrap_or_default();
        if is_from_outside(key) {
            return problem;
        }
        match file.and_then(|file| file.locate(&problem)) {
            Some(located) => Problem {
                code: problem.code,
                ..Problem::from(located)
            },
            None => problem,
        }
    })
}

/// Whether a flag or the environment gave this key its value, so that the file is not at fault.
fn is_from_outside(matches: &ArgMatches, key: &str) -> bool {
    let Some((_, role)) = matches.subcommand() else {
        return false;
    };
    // Asking for a flag that does not exist is an error of clap's own.
    if !role.ids().any(|id| id.as_str() == key) {
        return false;
    }
    matches!(
        role.value_source(key),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// What a role ended with: its problem, or the chain of causes in one line.
fn problem_of(error: anyhow::Error) -> Problem {
    match error.downcast::<Problem>() {
        Ok(problem) => problem,
        Err(error) => Problem::new(code::INTERNAL, format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Args;

    use super::*;

    /// The sample file of a role, and the same with its examples switched on.
    fn sample<R: Role>() -> (ConfigFile, ConfigFile, String) {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../config/{}.toml", R::NAME));
        let text = std::fs::read_to_string(&path).unwrap();
        let is_key = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        let switched_on: Vec<&str> = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| is_key(rest))
                    .unwrap_or(line)
            })
            .collect();
        let switched_on = switched_on.join("\n");
        let as_is = ConfigFile::new(&path, text);
        (
            as_is,
            ConfigFile::new(&path, switched_on.clone()),
            switched_on,
        )
    }

    fn check<R: Role>() {
        let (as_is, switched_on, text) = sample::<R>();
        R::config(as_is.parse().unwrap_or_else(|error| panic!("{error}")))
            .map(drop)
            .unwrap();
        switched_on
            .parse::<R::Options>()
            .unwrap_or_else(|error| panic!("{error}"));
        let flags = R::Options::augment_args(clap::Command::new(R::NAME));
        for flag in flags.get_arguments() {
            let line = format!("\n{} = ", flag.get_id());
            assert!(
                text.contains(&line),
                "config/{}.toml does not mention {}",
                R::NAME,
                flag.get_id()
            );
        }
    }

    #[test]
    fn the_sample_files_are_right_and_mention_every_key() {
        check::<Master>();
        check::<Agent>();
        check::<Services>();
        check::<Discovery>();
    }

    #[test]
    fn a_wrong_value_in_a_file_is_told_by_line_and_one_of_a_flag_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.toml");
        std::fs::write(&path, "\nadvertise = \"nowhere\"\n").unwrap();
        let problem =
            configure::<Master>(Default::default(), Some(path.clone()), |_| false).unwrap_err();
        assert!(
            problem.message.contains("master.toml:2: advertise"),
            "{problem}"
        );
        assert_eq!(problem.field, "advertise");
        let flags = proffer_master::Options {
            advertise: Some("here".to_owned()),
            ..Default::default()
        };
        let problem = configure::<Master>(flags, Some(path), |key| key == "advertise").unwrap_err();
        assert!(!problem.message.contains("master.toml"), "{problem}");
        let none = dir.path().join("none.toml");
        configure::<Master>(Default::default(), Some(none), |_| false)
            .map(drop)
            .unwrap_err();
    }
}

//! How services is set up: flags, environment and file; checked once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proffer_leader::Masters;
use proffer_model::limits::{FAILOVER_TIMEOUT_DEFAULT, FAILOVER_TIMEOUT_MAX, ID_LEN_MAX};
use proffer_model::{Problem, Role, Secret, code};
use proffer_server::auth::default_token_path;
use proffer_server::config::{DurationText, Text};
use proffer_server::log::Format;
use proffer_services_core::port::ServicePortRange;
use serde::Deserialize;

/// The masters unless `master` says otherwise.
const MASTER: &str = "127.0.0.1:5050";

/// The framework's name unless `name` says otherwise.
const NAME: &str = "services";

/// What may be given, by flag, environment variable or in the file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The masters: host:port of each, separated by commas, any of which may lead, or where ZooKeeper says that they
    /// stand, as in zk://zk1:2181,zk2:2181/proffer [default: 127.0.0.1:5050]
    #[arg(long, env = "PROFFER_SERVICES_MASTER", value_name = "MASTERS")]
    pub master: Option<Vec<String>>,
    /// Where the REST API listens [default: 127.0.0.1:8080]
    #[arg(long, env = "PROFFER_SERVICES_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where the framework's id is kept [default: /var/lib/proffer/services]
    #[arg(long, env = "PROFFER_SERVICES_WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// The file with the local token
    #[arg(long, env = "PROFFER_SERVICES_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What people call this framework, to tell it from others of its kind [default: services]
    #[arg(long, env = "PROFFER_SERVICES_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The role that pays for all apps [default: *]
    #[arg(long, env = "PROFFER_SERVICES_ROLE", value_name = "ROLE")]
    pub role: Option<String>,
    /// How long apps outlive this program before the cluster ends them [default: 7d]
    #[arg(
        long,
        env = "PROFFER_SERVICES_FAILOVER_TIMEOUT",
        value_name = "DURATION"
    )]
    pub failover_timeout: Option<DurationText>,
    /// The first service port that is assigned [default: 10000]
    #[arg(long, env = "PROFFER_SERVICES_LOCAL_PORT_MIN", value_name = "PORT")]
    pub local_port_min: Option<u16>,
    /// The last service port that is assigned [default: 20000]
    #[arg(long, env = "PROFFER_SERVICES_LOCAL_PORT_MAX", value_name = "PORT")]
    pub local_port_max: Option<u16>,
    /// Lets any program on this host call without a token
    #[arg(
        long,
        env = "PROFFER_INSECURE_ALLOW_UNAUTHENTICATED",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_allow_unauthenticated: Option<bool>,
    /// Allows addresses beyond this host, although nothing is encrypted
    #[arg(
        long,
        env = "PROFFER_SERVICES_INSECURE_ALLOW_PLAINTEXT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_allow_plaintext: Option<bool>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "PROFFER_SERVICES_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<Text<Format>>,
    /// What is logged: error, warn, info, debug, or directives [default: as PROFFER_LOG says, or info]
    #[arg(long, env = "PROFFER_SERVICES_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

proffer_server::layered!(Options {
    master,
    listen,
    work_dir,
    token_file,
    name,
    role,
    failover_timeout,
    local_port_min,
    local_port_max,
    insecure_allow_unauthenticated,
    insecure_allow_plaintext,
    log_format,
    log_level,
});

/// How services runs. Valid.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the option of that name")]
pub struct Config {
    pub masters: Vec<Secret>,
    /// The same as it may be shown, without any password.
    pub masters_shown: String,
    pub listen: SocketAddr,
    pub work_dir: PathBuf,
    pub token_file: PathBuf,
    pub name: String,
    pub role: Role,
    pub failover_timeout: Duration,
    pub service_ports: ServicePortRange,
    pub insecure_allow_unauthenticated: bool,
    pub insecure_allow_plaintext: bool,
    pub log_format: Format,
    pub log_level: Option<String>,
}

impl Config {
    /// Checks the options and fills in what is not given; the error names the key.
    pub fn from_options(options: Options) -> Result<Self, Problem> {
        let plaintext = options.insecure_allow_plaintext.unwrap_or_default();
        let masters = options.master.unwrap_or_else(|| vec![MASTER.to_owned()]);
        let shown = Masters::parse(&masters)
            .and_then(|parsed| {
                parsed
                    .check_plaintext(plaintext)
                    .map(|()| parsed.to_string())
            })
            .map_err(|problem| problem.within("master"))?;
        let name = options.name.unwrap_or_else(|| NAME.to_owned());
        if name.is_empty() || name.len() > ID_LEN_MAX || name.contains(char::is_control) {
            let message = format!(
                "{name:?} is empty, has more than {ID_LEN_MAX} bytes, or control characters"
            );
            return Err(wrong("name", message, "give a short name such as shop"));
        }
        let role = options.role.as_deref().unwrap_or("*");
        let role = Role::new(role).map_err(|problem| {
            wrong("role", problem.message, "give * or a path such as eng/web")
        })?;
        let failover_timeout = options
            .failover_timeout
            .map_or(FAILOVER_TIMEOUT_DEFAULT, |given| given.0);
        if failover_timeout > FAILOVER_TIMEOUT_MAX {
            let message = format!(
                "longer than {} days",
                FAILOVER_TIMEOUT_MAX.as_secs() / 86_400
            );
            return Err(wrong("failover_timeout", message, "give a shorter time"));
        }
        let service_ports = ServicePortRange {
            begin: options.local_port_min.unwrap_or(10_000),
            end: options.local_port_max.unwrap_or(20_000),
        };
        if service_ports.begin == 0 || service_ports.begin > service_ports.end {
            let message = format!(
                "{} to {} is no range of ports",
                service_ports.begin, service_ports.end
            );
            return Err(wrong(
                "local_port_min",
                message,
                "give local_port_min from 1 up to local_port_max",
            ));
        }
        let token_file = match options.token_file {
            Some(path) => path,
            None => default_token_path().map_err(|problem| problem.field("token_file"))?,
        };
        Ok(Self {
            masters: masters.into_iter().map(Secret::new).collect(),
            masters_shown: shown,
            listen: options
                .listen
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            work_dir: options
                .work_dir
                .unwrap_or_else(|| PathBuf::from("/var/lib/proffer/services")),
            token_file,
            name,
            role,
            failover_timeout,
            service_ports,
            insecure_allow_unauthenticated: options.insecure_allow_unauthenticated.unwrap_or(false),
            insecure_allow_plaintext: plaintext,
            log_format: options.log_format.map(|text| text.0).unwrap_or_default(),
            log_level: options.log_level,
        })
    }
}

fn wrong(key: &str, message: String, hint: &str) -> Problem {
    Problem::new(code::CONFIG_INVALID, message)
        .field(key)
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_has_its_default() {
        let options = Options {
            token_file: Some("/t".into()),
            ..Options::default()
        };
        let config = Config::from_options(options).expect("good");
        assert_eq!(config.masters_shown, "127.0.0.1:5050");
        assert_eq!(config.name, "services");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(
            (config.service_ports.begin, config.service_ports.end),
            (10_000, 20_000)
        );
        assert_eq!(config.failover_timeout, FAILOVER_TIMEOUT_DEFAULT);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        let token = || Options {
            token_file: Some("/t".into()),
            ..Options::default()
        };
        let too_long = DurationText(FAILOVER_TIMEOUT_MAX + Duration::from_secs(1));
        for (options, key) in [
            (
                Options {
                    master: Some(vec![" ".into()]),
                    ..token()
                },
                "master",
            ),
            (
                Options {
                    master: Some(vec!["127.0.0.1:5050,10.0.0.1:5050".into()]),
                    ..token()
                },
                "master[1]",
            ),
            (
                Options {
                    name: Some(String::new()),
                    ..token()
                },
                "name",
            ),
            (
                Options {
                    role: Some("a//b".into()),
                    ..token()
                },
                "role",
            ),
            (
                Options {
                    failover_timeout: Some(too_long),
                    ..token()
                },
                "failover_timeout",
            ),
            (
                Options {
                    local_port_min: Some(0),
                    ..token()
                },
                "local_port_min",
            ),
            (
                Options {
                    local_port_min: Some(10),
                    local_port_max: Some(9),
                    ..token()
                },
                "local_port_min",
            ),
        ] {
            let problem = Config::from_options(options).expect_err(key);
            assert_eq!(
                (problem.code.as_ref(), problem.field.as_str()),
                ("config.invalid", key)
            );
        }
    }
}

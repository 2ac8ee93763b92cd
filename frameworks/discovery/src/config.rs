//! The sidecar's options, as flags, environment and file give them, and what they mean together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use proffer_model::{Problem, code};
use proffer_server::auth::default_token_path;
use proffer_server::config::Text;
use proffer_server::listen;
use proffer_server::log::{self, Format};
use serde::Deserialize;

use crate::digest::Digest;
use crate::haproxy::{Control, Haproxy};
use crate::limits::{SOCKET_PATH_BYTES_MAX, TEMPLATE_BYTES_MAX};
use crate::model::GroupFilter;
use crate::render::{Renderer, Settings, TEMPLATE};

/// What can be said on the command line, in the environment and in `/etc/proffer/discovery.toml`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Addresses of services (or Marathon); the first that answers is asked [default: http://127.0.0.1:8080]
    #[arg(
        long,
        env = "PROFFER_DISCOVERY_SERVICES",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub services: Option<Vec<String>>,
    /// Where the sidecar's own API listens [default: 127.0.0.1:9090]
    #[arg(long, env = "PROFFER_DISCOVERY_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where files are kept [default: /var/lib/proffer/discovery]
    #[arg(long, env = "PROFFER_DISCOVERY_WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Run HAProxy; it outlives the sidecar
    #[arg(long, env = "PROFFER_DISCOVERY_RUN_HAPROXY", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub run_haproxy: Option<bool>,
    /// HAProxy's program [default: haproxy, in PATH or /usr/sbin]
    #[arg(long, env = "PROFFER_DISCOVERY_HAPROXY", value_name = "FILE")]
    pub haproxy: Option<PathBuf>,
    /// Whom HAProxy's workers run as when the sidecar is root; "" for root [default: haproxy, if there is such a user]
    #[arg(long, env = "PROFFER_DISCOVERY_HAPROXY_USER", value_name = "USER")]
    pub haproxy_user: Option<String>,
    /// The configuration file written [default: haproxy.cfg in the work directory]
    #[arg(long, env = "PROFFER_DISCOVERY_HAPROXY_CONFIG", value_name = "FILE")]
    pub haproxy_config: Option<PathBuf>,
    /// The master socket of a HAProxy that runs already, to reload it
    #[arg(
        long,
        env = "PROFFER_DISCOVERY_HAPROXY_MASTER_SOCKET",
        value_name = "FILE"
    )]
    pub haproxy_master_socket: Option<PathBuf>,
    /// A shell command that reloads a HAProxy that runs already
    #[arg(long, env = "PROFFER_DISCOVERY_RELOAD_COMMAND", value_name = "COMMAND")]
    pub reload_command: Option<String>,
    /// A template of your own [default: the one shipped, config/haproxy/haproxy.cfg.tera]
    #[arg(long, env = "PROFFER_DISCOVERY_TEMPLATE", value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Groups of apps to serve, as in HAPROXY_GROUP; "*" for all [default: *]
    #[arg(
        long,
        env = "PROFFER_DISCOVERY_GROUP",
        value_delimiter = ',',
        value_name = "GROUP"
    )]
    pub group: Option<Vec<String>>,
    /// The address that service ports listen on; 0.0.0.0 for all [default: 127.0.0.1]
    #[arg(long, env = "PROFFER_DISCOVERY_BIND", value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// An address and port shared by apps with HAPROXY_n_VHOST, by host name [default: none]
    #[arg(long, env = "PROFFER_DISCOVERY_HTTP_BIND", value_name = "ADDRESS")]
    pub http_bind: Option<SocketAddr>,
    /// An address and port for HAProxy's own /metrics and /haproxy?stats [default: none]
    #[arg(long, env = "PROFFER_DISCOVERY_STATS_BIND", value_name = "ADDRESS")]
    pub stats_bind: Option<SocketAddr>,
    /// The file with the local token [default: that of this user]
    #[arg(long, env = "PROFFER_DISCOVERY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Let callers on this host in without a token
    #[arg(long, env = "PROFFER_INSECURE_ALLOW_UNAUTHENTICATED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_allow_unauthenticated: Option<bool>,
    /// Listen and connect beyond loopback without encryption
    #[arg(long, env = "PROFFER_INSECURE_ALLOW_PLAINTEXT", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_allow_plaintext: Option<bool>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "PROFFER_DISCOVERY_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<Text<Format>>,
    /// What is logged: error, warn, info, debug, or directives [default: as PROFFER_LOG says, or info]
    #[arg(long, env = "PROFFER_DISCOVERY_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

proffer_server::layered!(Options {
    services,
    listen,
    work_dir,
    run_haproxy,
    haproxy,
    haproxy_user,
    haproxy_config,
    haproxy_master_socket,
    reload_command,
    template,
    group,
    bind,
    http_bind,
    stats_bind,
    token_file,
    insecure_allow_unauthenticated,
    insecure_allow_plaintext,
    log_format,
    log_level,
});

/// Options that fit together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URLs of services, without a slash at the end.
    pub services: Vec<String>,
    /// Where the sidecar listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where files are kept.
    pub work_dir: PathBuf,
    /// Who loads the configuration.
    pub control: Control,
    /// HAProxy's program, if not the usual one.
    pub haproxy: Option<PathBuf>,
    /// Whom HAProxy's workers run as: user and group.
    pub haproxy_user: Option<(String, String)>,
    /// The configuration file.
    pub haproxy_config: PathBuf,
    /// The master socket of a HAProxy that is given.
    pub haproxy_master_socket: Option<PathBuf>,
    /// The template's text.
    pub template: String,
    /// Groups served.
    pub group: GroupFilter,
    /// The address of service ports.
    pub bind: IpAddr,
    /// The port shared by host name.
    pub http_bind: Option<SocketAddr>,
    /// HAProxy's own statistics.
    pub stats_bind: Option<SocketAddr>,
    /// The local token.
    pub token_file: PathBuf,
    /// Whether callers on this host need no token.
    pub insecure_allow_unauthenticated: bool,
    /// Whether plain text goes beyond loopback.
    pub insecure_allow_plaintext: bool,
    /// Whether HAProxy ends with the sidecar's orderly end. Set by `proffer dev` only: HAProxy is to outlive the sidecar.
    pub stop_haproxy_on_exit: bool,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged, if not as the environment says.
    pub log_level: Option<String>,
}

impl Config {
    /// Checks the options; the problem's field is the key at fault.
    pub fn from_options(options: Options) -> Result<Self, Problem> {
        let services = options
            .services
            .clone()
            .unwrap_or_else(|| vec!["http://127.0.0.1:8080".to_owned()]);
        let listen = options
            .listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9_090)));
        let work_dir = options
            .work_dir
            .clone()
            .unwrap_or_else(|| "/var/lib/proffer/discovery".into());
        let work_dir = std::path::absolute(&work_dir).map_err(|error| {
            invalid(
                "work_dir",
                format!("{}: {error}", work_dir.display()),
                "give a directory",
            )
        })?;
        let insecure_allow_plaintext = options.insecure_allow_plaintext.unwrap_or(false);
        listen::check(listen, "listen", insecure_allow_plaintext)?;
        if let Some(stats_bind) = options.stats_bind {
            listen::check(stats_bind, "stats_bind", insecure_allow_plaintext)?;
        }
        let template = read_template(options.template.as_deref())?;
        if let Some(level) = &options.log_level {
            log::check_level(level)?;
        }
        Ok(Self {
            services: check_services(&services)?,
            listen,
            control: control_of(&options)?,
            haproxy: options.haproxy,
            haproxy_user: check_user(options.haproxy_user)?,
            haproxy_config: options
                .haproxy_config
                .unwrap_or_else(|| work_dir.join("haproxy.cfg")),
            haproxy_master_socket: options.haproxy_master_socket,
            template,
            group: check_groups(options.group)?,
            bind: options.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            http_bind: options.http_bind,
            stats_bind: options.stats_bind,
            token_file: options.token_file.map_or_else(default_token_path, Ok)?,
            insecure_allow_unauthenticated: options.insecure_allow_unauthenticated.unwrap_or(false),
            insecure_allow_plaintext,
            stop_haproxy_on_exit: false,
            log_format: options
                .log_format
                .map(|Text(format)| format)
                .unwrap_or_default(),
            log_level: options.log_level,
            work_dir,
        })
    }

    /// The HAProxy of this sidecar.
    pub fn haproxy_of(&self, socket_dir: &Path) -> Haproxy {
        let own_socket = || socket_dir.join("haproxy-master.sock");
        Haproxy {
            program: self.haproxy.clone(),
            control: self.control.clone(),
            config_file: self.haproxy_config.clone(),
            master_socket: self
                .haproxy_master_socket
                .clone()
                .unwrap_or_else(own_socket),
            work_dir: self.work_dir.clone(),
        }
    }

    /// What goes into the configuration besides the services.
    pub fn settings(&self, socket_dir: &Path) -> Settings {
        Settings {
            bind: self.bind,
            http_bind: self.http_bind,
            stats_bind: self.stats_bind,
            stats_socket: socket_dir.join("haproxy.sock").display().to_string(),
            descriptors_max: descriptors_max(),
            user: self.haproxy_user.clone(),
        }
    }

    /// Where HAProxy's sockets go: the work directory, or a short one of this work directory's own where its path is too
    /// long for a socket or holds what HAProxy would read as syntax.
    pub fn socket_dir(&self) -> PathBuf {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
        let bytes = self.work_dir.as_os_str().as_encoded_bytes();
        if bytes.len() + "/haproxy-master.sock".len() <= SOCKET_PATH_BYTES_MAX
            && bytes.iter().all(|b| is_plain(*b))
        {
            return self.work_dir.clone();
        }
        let uid = rustix::process::geteuid();
        let base = if uid.is_root() {
            PathBuf::from("/run")
        } else {
            PathBuf::from("/tmp")
        };
        base.join(format!("proffer-{}-{}", uid.as_raw(), Digest::of(bytes)))
    }
}

fn invalid(field: &str, message: String, hint: &str) -> Problem {
    Problem::new(code::CONFIG_INVALID, message)
        .field(field)
        .hint(hint)
}

fn check_services(urls: &[String]) -> Result<Vec<String>, Problem> {
    let hint = "write http://HOST:PORT, several between commas";
    if urls.is_empty() {
        return Err(invalid(
            "services",
            "no address of services is given".to_owned(),
            hint,
        ));
    }
    let check = |url: &String| {
        let base = url.trim_end_matches('/');
        let is_good = base.strip_prefix("http://").is_some_and(|host| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
        });
        if is_good {
            return Ok(base.to_owned());
        }
        // The text is not repeated: it may hold a password.
        Err(invalid(
            "services",
            "an address of services is not of the form http://HOST:PORT".to_owned(),
            hint,
        ))
    };
    urls.iter().map(check).collect()
}

fn control_of(options: &Options) -> Result<Control, Problem> {
    let run = options.run_haproxy.unwrap_or(false);
    match (run, &options.haproxy_master_socket, &options.reload_command) {
        (true, None, None) => Ok(Control::Run),
        (false, Some(_), None) => Ok(Control::MasterSocket),
        (false, None, Some(line)) => Ok(Control::Command(line.clone())),
        (false, None, None) => Ok(Control::FileOnly),
        _ => Err(invalid(
            "run_haproxy",
            "more than one way to reload HAProxy is given".to_owned(),
            "give one of run_haproxy, haproxy_master_socket, reload_command",
        )),
    }
}

/// The user named, which must exist; else `haproxy` when we are root and there is one. With its group.
fn check_user(user: Option<String>) -> Result<Option<(String, String)>, Problem> {
    let is_plain = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let find = |name: &str| {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        let group = nix::unistd::Group::from_gid(user.gid).ok().flatten()?;
        Some((user.name, group.name)).filter(|(user, group)| is_plain(user) && is_plain(group))
    };
    match user {
        Some(name) if name.is_empty() => Ok(None),
        Some(name) => find(&name).map(Some).ok_or_else(|| {
            invalid(
                "haproxy_user",
                format!("there is no user {name:?} with a group"),
                "name a user of this host, or \"\"",
            )
        }),
        None if rustix::process::geteuid().is_root() => Ok(find("haproxy")),
        None => Ok(None),
    }
}

fn check_groups(groups: Option<Vec<String>>) -> Result<GroupFilter, Problem> {
    let groups = groups.unwrap_or_else(|| vec!["*".to_owned()]);
    let groups: Vec<String> = groups.iter().map(|group| group.trim().to_owned()).collect();
    if groups.is_empty() || groups.iter().any(String::is_empty) {
        return Err(invalid(
            "group",
            "a group has no name".to_owned(),
            "name groups as in HAPROXY_GROUP, or * for all",
        ));
    }
    Ok(GroupFilter::new(groups))
}

/// Reads and compiles the template, so that a fault in it is found at start.
fn read_template(path: Option<&Path>) -> Result<String, Problem> {
    let Some(path) = path else {
        return Ok(TEMPLATE.to_owned());
    };
    let failed = |why: String| {
        invalid(
            "template",
            format!("{}: {why}", path.display()),
            "start from config/haproxy/haproxy.cfg.tera",
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if size > TEMPLATE_BYTES_MAX {
        return Err(failed(format!(
            "{size} bytes are more than {TEMPLATE_BYTES_MAX}"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Renderer::new(&text).map_err(|problem| failed(problem.message))?;
    Ok(text)
}

/// The descriptors that a process of ours may have.
fn descriptors_max() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(edit: impl Fn(&mut Options)) -> Result<Config, Problem> {
        let mut options = Options {
            token_file: Some("/tmp/token".into()),
            ..Options::default()
        };
        edit(&mut options);
        Config::from_options(options)
    }

    #[test]
    fn defaults_are_loopback_and_change_nobody_elses_haproxy() {
        let config = config(|_| {}).expect("defaults");
        assert!(config.bind.is_loopback() && config.listen.ip().is_loopback());
        assert_eq!(config.listen.port(), 9_090);
        assert_eq!(config.control, Control::FileOnly);
        assert!(!config.stop_haproxy_on_exit);
        assert_eq!(
            config.haproxy_config,
            Path::new("/var/lib/proffer/discovery/haproxy.cfg")
        );
    }

    #[test]
    fn bad_options_name_their_key() {
        type Edit = fn(&mut Options);
        let table: &[(&str, Edit)] = &[
            ("services", |o| o.services = Some(vec![])),
            ("services", |o| {
                o.services = Some(vec!["127.0.0.1:8080".to_owned()])
            }),
            ("services", |o| {
                o.services = Some(vec!["http://u:p@h:1".to_owned()])
            }),
            ("services", |o| {
                o.services = Some(vec!["http://a/path\n".to_owned()])
            }),
            ("listen", |o| o.listen = "0.0.0.0:9090".parse().ok()),
            ("stats_bind", |o| o.stats_bind = "0.0.0.0:9091".parse().ok()),
            ("template", |o| o.template = Some("/nonexistent".into())),
            ("template", |o| o.template = Some("/proc/self/exe".into())),
            ("group", |o| o.group = Some(vec![String::new()])),
            ("log_level", |o| o.log_level = Some("a=b=c".to_owned())),
            ("haproxy_user", |o| {
                o.haproxy_user = Some("no such user".to_owned())
            }),
            ("run_haproxy", |o| {
                o.run_haproxy = Some(true);
                o.reload_command = Some("true".to_owned());
            }),
        ];
        for (field, edit) in table {
            let problem = config(edit).expect_err(field);
            assert_eq!(problem.field, *field);
            assert!(
                problem.is(code::CONFIG_INVALID) && !problem.hint.is_empty(),
                "{problem}"
            );
        }
    }

    #[test]
    fn sockets_lie_where_their_paths_fit() {
        let long = config(|o| o.work_dir = Some(format!("/var/lib/{}", "x".repeat(100)).into()))
            .expect("good");
        let odd = config(|o| o.work_dir = Some("/var/lib/my folder".into())).expect("good");
        let short = config(|o| o.work_dir = Some("/var/lib/p".into())).expect("good");
        assert_eq!(short.socket_dir(), short.work_dir);
        for config in [&long, &odd] {
            assert_ne!(config.socket_dir(), config.work_dir);
            assert!(config.socket_dir().as_os_str().len() < 60);
        }
        assert_ne!(long.socket_dir(), odd.socket_dir());
    }
}

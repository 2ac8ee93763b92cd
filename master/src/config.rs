//! What an operator may set, where it comes from, and what is refused.
//!
//! [`Options`] are what was said (flags over environment over file), [`Config`] is what holds. Nothing here opens or
//! binds anything, so that `--check-config` can be trusted to change nothing.

mod allocation;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use proffer_leader::{SESSION_TIMEOUT_MAX, SESSION_TIMEOUT_MIN};
use proffer_master_core::allocation::Placement;
use proffer_model::{Leader, Problem, code};
use proffer_server::auth::default_token_path;
use proffer_server::config::{DurationText, Text};
use proffer_server::log::{self, Format};
use proffer_server::{layered, listen};
use serde::Deserialize;

use crate::store::StoreUrl;
use allocation::Least;

/// The port of the API unless `listen` says otherwise.
pub const API_PORT: u16 = 5050;
/// The port for agents unless `cluster_listen` says otherwise.
pub const CLUSTER_PORT: u16 = 5060;
/// The store unless `store` says otherwise.
pub const STORE: &str = "/var/lib/proffer/master";

/// What was said, as flags, environment or file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Address of the API for frameworks, operators and metrics [default: 127.0.0.1:5050]
    #[arg(long, env = "PROFFER_MASTER_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address for agents [default: 127.0.0.1:5060]
    #[arg(long, env = "PROFFER_MASTER_CLUSTER_LISTEN", value_name = "ADDRESS")]
    pub cluster_listen: Option<SocketAddr>,
    /// The API's address as others reach it, host:port [default: the address it listens on]
    #[arg(long, env = "PROFFER_MASTER_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The address for agents as others reach it, host:port [default: the host of --advertise, the port of
    /// --cluster-listen]
    #[arg(
        long,
        env = "PROFFER_MASTER_CLUSTER_ADVERTISE",
        value_name = "HOST:PORT"
    )]
    pub cluster_advertise: Option<String>,
    /// Further names and addresses by which this master is called, such as one that all masters share; several with commas
    /// between them [default: none]
    #[arg(
        long,
        env = "PROFFER_MASTER_HOST_NAMES",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub host_names: Option<Vec<String>>,
    /// Where the durable state is kept: memory, file:DIR, or zk://[USER:PASSWORD@]HOST:PORT,…/PATH for several masters
    /// [default: file:/var/lib/proffer/master]
    #[arg(long, env = "PROFFER_MASTER_STORE", value_name = "STORE")]
    pub store: Option<Text<StoreUrl>>,
    /// How long ZooKeeper waits for a silent master before another may lead [default: 4s]
    #[arg(long, env = "PROFFER_MASTER_SESSION_TIMEOUT", value_name = "DURATION")]
    pub session_timeout: Option<DurationText>,
    /// How long an agent may be silent before nothing is offered from it [default: 5s]
    #[arg(long, env = "PROFFER_MASTER_SUSPECT_AFTER", value_name = "DURATION")]
    pub suspect_after: Option<DurationText>,
    /// How long an agent may be silent before its tasks are reported unreachable [default: 75s]
    #[arg(
        long,
        env = "PROFFER_MASTER_UNREACHABLE_AFTER",
        value_name = "DURATION"
    )]
    pub unreachable_after: Option<DurationText>,
    /// Calls that one framework may make in a second; those above it are refused for now [default: 10000]
    #[arg(long, env = "PROFFER_MASTER_CALLS_PER_SECOND", value_name = "COUNT")]
    pub calls_per_second: Option<u64>,
    /// How much the calls of one framework may name in a second (tasks, operations, offers, entries of demand); what is above it is refused for now [default: 100000]
    #[arg(
        long,
        env = "PROFFER_MASTER_OPERATIONS_PER_SECOND",
        value_name = "COUNT"
    )]
    pub operations_per_second: Option<u64>,
    /// Resources that do not count for fair shares, such as gpus; several with commas between them [default: none]
    #[arg(
        long,
        env = "PROFFER_MASTER_SHARE_EXCLUDED",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub share_excluded: Option<Vec<String>>,
    /// Which agents are offered first to who says what it needs: spread (the emptiest) or bin-pack (the fullest on which it
    /// fits) [default: spread]
    #[arg(long, env = "PROFFER_MASTER_PLACEMENT", value_name = "PLACEMENT")]
    pub placement: Option<Text<Placement>>,
    /// What an offer of whatever is free holds at least, unless its framework says so itself: one of these; empty: anything
    /// [default: cpus:0.01|mem:32]
    #[arg(long, env = "PROFFER_MASTER_OFFER_LEAST", value_name = "AMOUNTS")]
    pub offer_least: Option<Text<Least>>,
    /// How long a framework waits for something large before an agent is kept free for it [default: 30s]
    #[arg(long, env = "PROFFER_MASTER_EARMARK_AFTER", value_name = "DURATION")]
    pub earmark_after: Option<DurationText>,
    /// Serve Mesos's v1 scheduler API on the API's address too [default: true]
    #[arg(
        long,
        env = "PROFFER_MASTER_MESOS_API",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub mesos_api: Option<bool>,
    /// File with the token of this host, made when it is not there [default: as PROFFER_TOKEN_FILE says, or this
    /// user's]
    #[arg(long, env = "PROFFER_MASTER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Let programs on this host call without a token
    #[arg(
        long,
        env = "PROFFER_INSECURE_ALLOW_UNAUTHENTICATED",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_allow_unauthenticated: Option<bool>,
    /// Let addresses beyond loopback be listened on, where everything, the token included, travels unencrypted
    #[arg(
        long,
        env = "PROFFER_MASTER_INSECURE_ALLOW_PLAINTEXT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_allow_plaintext: Option<bool>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "PROFFER_MASTER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<Text<Format>>,
    /// What is logged: error, warn, info, debug, or directives [default: as PROFFER_LOG says, or info]
    #[arg(long, env = "PROFFER_MASTER_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

layered!(Options {
    listen,
    cluster_listen,
    advertise,
    cluster_advertise,
    host_names,
    store,
    session_timeout,
    suspect_after,
    unreachable_after,
    calls_per_second,
    operations_per_second,
    share_excluded,
    placement,
    offer_least,
    earmark_after,
    mesos_api,
    token_file,
    insecure_allow_unauthenticated,
    insecure_allow_plaintext,
    log_format,
    log_level,
});

/// What holds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the API; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Address for agents; port 0 lets the kernel choose.
    pub cluster_listen: SocketAddr,
    /// The API's address as others reach it; that of the listener when absent.
    pub advertise: Option<String>,
    /// The address for agents as others reach it; by default made of `advertise` and the listener's.
    pub cluster_advertise: Option<String>,
    /// Further names by which this master is called.
    pub host_names: Vec<String>,
    /// Where the durable state is kept.
    pub store: StoreUrl,
    /// How long ZooKeeper waits for a silent master before another may lead.
    pub session_timeout: Duration,
    /// What the core decides by.
    pub core: proffer_master_core::Config,
    /// Whether Mesos's v1 scheduler API is served.
    pub mesos_api: bool,
    /// The file with the token of this host.
    pub token_file: PathBuf,
    /// Whether programs on this host may call without a token.
    pub insecure_allow_unauthenticated: bool,
    /// Whether addresses beyond loopback may be listened on.
    pub insecure_allow_plaintext: bool,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged.
    pub log_level: Option<String>,
}

impl Config {
    /// Checks what was said and fills in the rest. The problem's field is the key at fault.
    pub fn from_options(options: Options) -> Result<Self, Problem> {
        let allocation = allocation::options(&options)?;
        let plaintext = options.insecure_allow_plaintext.unwrap_or_default();
        let on_loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let api = options.listen.unwrap_or_else(|| on_loopback(API_PORT));
        let cluster = options
            .cluster_listen
            .unwrap_or_else(|| on_loopback(CLUSTER_PORT));
        listen::check(api, "listen", plaintext)?;
        listen::check(cluster, "cluster_listen", plaintext)?;
        check_distinct(api, cluster)?;
        for (key, advertised) in [
            ("advertise", &options.advertise),
            ("cluster_advertise", &options.cluster_advertise),
        ] {
            if let Some(advertised) = advertised {
                check_host_port(advertised).map_err(|problem| problem.field(key))?;
            }
        }
        let host_names = options.host_names.unwrap_or_default();
        host_names.iter().try_for_each(|name| check_host(name))?;
        let store = options
            .store
            .map_or_else(|| StoreUrl::File(STORE.into()), |Text(store)| store);
        let session_timeout = options
            .session_timeout
            .map_or(SESSION_TIMEOUT_MIN, |DurationText(timeout)| timeout);
        check_session_timeout(session_timeout)?;
        let mut core = proffer_master_core::Config::default();
        if let Some(DurationText(suspect_after)) = options.suspect_after {
            core.suspect_after = suspect_after;
        }
        if let Some(DurationText(unreachable_after)) = options.unreachable_after {
            core.unreachable_after = unreachable_after;
        }
        core.calls_per_second = options.calls_per_second.unwrap_or(core.calls_per_second);
        core.operations_per_second = options
            .operations_per_second
            .unwrap_or(core.operations_per_second);
        core.allocation = allocation;
        core.validate()?;
        if let Some(level) = &options.log_level {
            log::check_level(level)?;
        }
        let token_file = options.token_file.map_or_else(default_token_path, Ok);
        let config = Self {
            listen: api,
            cluster_listen: cluster,
            advertise: options.advertise,
            cluster_advertise: options.cluster_advertise,
            host_names,
            store,
            session_timeout,
            core,
            mesos_api: options.mesos_api.unwrap_or(true),
            token_file: token_file.map_err(|problem| problem.field("token_file"))?,
            insecure_allow_unauthenticated: options
                .insecure_allow_unauthenticated
                .unwrap_or_default(),
            insecure_allow_plaintext: plaintext,
            log_format: options
                .log_format
                .map(|Text(format)| format)
                .unwrap_or_default(),
            log_level: options.log_level,
        };
        config.check_election()?;
        Ok(config)
    }

    /// This master as others reach it, when it listens on these addresses; its id is new.
    pub fn leader(&self, api: SocketAddr, cluster: SocketAddr) -> Result<Leader, Problem> {
        let id = getrandom::u64()
            .map_err(|error| Problem::new(code::INTERNAL, format!("no random bytes: {error}")))?;
        let advertised = self.advertise.as_ref();
        let host = advertised.and_then(|address| Some(address.rsplit_once(':')?.0));
        let cluster_address = match (&self.cluster_advertise, host) {
            (Some(address), _) => address.clone(),
            (None, Some(host)) => format!("{host}:{}", cluster.port()),
            (None, None) => cluster.to_string(),
        };
        Ok(Leader {
            id: format!("{id:016x}"),
            address: advertised.map_or_else(|| api.to_string(), Clone::clone),
            cluster_address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// What must be so where other masters and agents find this one through the store.
    fn check_election(&self) -> Result<(), Problem> {
        let StoreUrl::ZooKeeper(url) = &self.store else {
            return Ok(());
        };
        if !self.insecure_allow_plaintext && !url.is_loopback() {
            let message = format!("{url} is not on this host, and connections are not encrypted");
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("store")
                .hint("set insecure_allow_plaintext = true on a network you trust"));
        }
        let is_known = self.advertise.is_some();
        for (key, listen, is_known) in [
            ("advertise", self.listen, is_known),
            (
                "cluster_advertise",
                self.cluster_listen,
                is_known || self.cluster_advertise.is_some(),
            ),
        ] {
            if listen.ip().to_canonical().is_unspecified() && !is_known {
                let message = format!("others cannot reach this master at {listen}");
                return Err(Problem::new(code::CONFIG_INVALID, message)
                    .field(key)
                    .hint(format!("set {key} to the HOST:PORT at which they can")));
            }
        }
        Ok(())
    }
}

fn check_session_timeout(timeout: Duration) -> Result<(), Problem> {
    if (SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX).contains(&timeout) {
        return Ok(());
    }
    let message = format!(
        "a session of {} ms is not between {} and {} seconds",
        timeout.as_millis(),
        SESSION_TIMEOUT_MIN.as_secs(),
        SESSION_TIMEOUT_MAX.as_secs()
    );
    Err(Problem::new(code::CONFIG_INVALID, message)
        .field("session_timeout")
        .hint("shorter ones end at short pauses; with longer ones nobody leads for as long"))
}

fn check_distinct(api: SocketAddr, cluster: SocketAddr) -> Result<(), Problem> {
    if api != cluster || api.port() == 0 {
        return Ok(());
    }
    Err(Problem::new(
        code::CONFIG_INVALID,
        format!("{cluster} is the API's address too"),
    )
    .field("cluster_listen")
    .hint("give agents a port of their own, such as 127.0.0.1:5060"))
}

fn check_host(text: &str) -> Result<(), Problem> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !text.is_empty() && text.chars().all(is_part);
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let message = format!("{text:?} is not the name of a host");
    Err(Problem::new(code::CONFIG_INVALID, message)
        .field("host_names")
        .hint("write the name alone, without a port, such as leader.example.org"))
}

fn check_host_port(text: &str) -> Result<(), Problem> {
    let is_right = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_right {
        return Ok(());
    }
    Err(Problem::new(
        code::CONFIG_INVALID,
        format!("{text:?} is not a host and a port"),
    )
    .hint("write HOST:PORT, such as master-1.example.org:5050"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proffer_server::config::{ConfigFile, Layered};

    use super::*;

    fn parse(text: &str) -> Result<Config, Problem> {
        let options: Options = ConfigFile::new("master.toml", text).parse()?;
        Config::from_options(options)
    }

    #[test]
    fn what_is_not_said_has_the_documented_default() {
        let config = parse("token_file = '/t'").expect("defaults");
        assert_eq!(config.listen.to_string(), "127.0.0.1:5050");
        assert_eq!(config.cluster_listen.to_string(), "127.0.0.1:5060");
        assert_eq!(config.store.to_string(), "file:/var/lib/proffer/master");
        assert_eq!(config.core.suspect_after, Duration::from_secs(5));
        assert_eq!(config.core.unreachable_after, Duration::from_secs(75));
        assert!(!config.insecure_allow_unauthenticated && !config.insecure_allow_plaintext);
    }

    #[test]
    fn flags_win_over_the_file() {
        let said = Options {
            suspect_after: Some(DurationText(Duration::from_secs(2))),
            ..Options::default()
        };
        let text =
            "suspect_after = '3s'\nunreachable_after = '9s'\nstore = 'memory'\ntoken_file = '/t'";
        let file = ConfigFile::new("master.toml", text)
            .parse()
            .expect("a file");
        let config = Config::from_options(said.over(file)).expect("good");
        assert_eq!(config.core.suspect_after, Duration::from_secs(2));
        assert_eq!(config.core.unreachable_after, Duration::from_secs(9));
        assert_eq!(config.store, StoreUrl::Memory);
    }

    #[test]
    fn every_wrong_value_is_refused_with_its_key() {
        let table = [
            ("listen", "listen = '0.0.0.0:5050'"),
            ("cluster_listen", "cluster_listen = '192.0.2.1:1'"),
            (
                "cluster_listen",
                "listen = '127.0.0.1:7'\ncluster_listen = '127.0.0.1:7'",
            ),
            ("listen", "listen = 'here'"),
            ("store", "store = 'zk://127.0.0.1:2181'"),
            ("store", "store = 'zk://192.0.2.1:2181/proffer'"),
            ("store", "store = 'zk://localhost,zk2.example/proffer'"),
            (
                "advertise",
                "store = 'zk://localhost/p'\nlisten = '0.0.0.0:1'\ninsecure_allow_plaintext = true",
            ),
            (
                "cluster_advertise",
                "store = 'zk://localhost/p'\ncluster_listen = '[::]:1'\ninsecure_allow_plaintext = true",
            ),
            ("session_timeout", "session_timeout = '3999ms'"),
            ("session_timeout", "session_timeout = '121s'"),
            ("cluster_advertise", "cluster_advertise = 'host'"),
            ("suspect_after", "suspect_after = '5'"),
            ("suspect_after", "suspect_after = '1s'"),
            ("unreachable_after", "unreachable_after = '4s'"),
            ("host_names", "host_names = ['host:5050']"),
            ("host_names", "host_names = ['']"),
            ("host_names", "host_names = 'host'"),
            ("advertise", "advertise = 'host'"),
            ("advertise", "advertise = 'host:0'"),
            ("advertise", "advertise = 'http://host:5050'"),
            ("log_format", "log_format = 'xml'"),
            ("log_level", "log_level = 'info,proffer_master=loud'"),
            (
                "insecure_allow_plaintext",
                "insecure_allow_plaintext = 'yes'",
            ),
            ("suspekt_after", "suspekt_after = '5s'"),
        ];
        for (key, text) in table {
            let problem = parse(text).expect_err(text);
            assert_eq!(problem.field, key, "{text}: {problem}");
            assert!(!problem.message.is_empty());
        }
    }

    #[test]
    fn plaintext_beyond_loopback_takes_its_word() {
        let text = "token_file = '/t'\nlisten = '0.0.0.0:5050'\ninsecure_allow_plaintext = true";
        assert!(parse(text).expect("allowed").insecure_allow_plaintext);
    }

    #[test]
    fn with_zookeeper_others_are_told_where_this_master_is() {
        let table = [
            ("", "127.0.0.1:50", "127.0.0.1:60"),
            ("advertise = 'm:7'", "m:7", "m:60"),
            ("advertise = '[::1]:7'", "[::1]:7", "[::1]:60"),
            ("cluster_advertise = 'm:8'", "127.0.0.1:50", "m:8"),
            (
                "advertise = 'm:7'\nlisten = '0.0.0.0:5050'\ncluster_listen = '0.0.0.0:5060'",
                "m:7",
                "m:60",
            ),
            (
                "cluster_advertise = 'm:8'\ncluster_listen = '0.0.0.0:5060'",
                "127.0.0.1:50",
                "m:8",
            ),
        ];
        let common = "token_file = '/t'\nstore = 'zk://user:canary@zk1.example,zk2.example/proffer'\n\
                      session_timeout = '10s'\ninsecure_allow_plaintext = true\n";
        for (text, address, cluster_address) in table {
            let config = parse(&format!("{common}{text}")).expect(text);
            let bound = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let leader = config.leader(bound(50), bound(60)).expect("a master");
            assert_eq!(
                (leader.address.as_str(), leader.cluster_address.as_str()),
                (address, cluster_address),
                "{text}"
            );
            assert!(
                !format!("{config:?}").contains("canary"),
                "no password is shown"
            );
            let again = config.leader(bound(50), bound(60)).expect("a master");
            assert_ne!(leader.id, again.id, "each start has an id of its own");
        }
        let problem = parse("store = 'zk://user:canary@192.0.2.1/proffer'").expect_err("plain");
        let text = format!("{problem:?}");
        assert!(
            text.contains("insecure_allow_plaintext") && !text.contains("canary"),
            "{text}"
        );
    }
}

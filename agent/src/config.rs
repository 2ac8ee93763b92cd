//! What an operator may set, where it comes from, and what is refused.
//!
//! [`Options`] are what was said (flags over environment over file), [`Config`] is what holds. Nothing here is opened,
//! made or bound; the host is looked at for what was not said.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proffer_agent_core::limits::{EXECUTOR_WAIT_DEFAULT, GARBAGE_DELAY_DEFAULT};
use proffer_leader::Masters;
use proffer_model::resources::Amount;
use proffer_model::{
    Attributes, DiskSource, FaultDomain, Problem, Reservation, ResourceKind, Resources, code,
};
use proffer_server::auth::default_token_path;
use proffer_server::config::{AttributesText, DurationText, ResourcesText, Text};
use proffer_server::log::{self, Format};
use proffer_server::{layered, listen};
use serde::Deserialize;

use crate::limits::FETCH_CACHE_MIB_DEFAULT;
use crate::oci::CGROUP_ROOT;

/// The port of the API unless `listen` says otherwise.
pub const API_PORT: u16 = 5051;
/// The masters unless `master` says otherwise.
pub const MASTER: &str = "127.0.0.1:5060";
/// The certificates that servers must have been issued by unless `fetch_roots` says otherwise: the host's own, which are in the
/// first of these that there is (of Debian, Arch and Alpine; Fedora and Red Hat; SUSE).
pub const FETCH_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];
/// Where the agent keeps its files unless `work_dir` says otherwise.
pub const WORK_DIR: &str = "/var/lib/proffer/agent";

/// What was said, as flags, environment or file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The masters: their addresses for agents, separated by commas, any of which may lead, or where ZooKeeper says that
    /// they stand, as in zk://zk1:2181,zk2:2181/proffer [default: 127.0.0.1:5060]
    #[arg(long, env = "PROFFER_AGENT_MASTER", value_name = "MASTERS")]
    pub master: Option<Vec<String>>,
    /// Address of the API for logs and metrics [default: 127.0.0.1:5051]
    #[arg(long, env = "PROFFER_AGENT_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// What the agent offers, as in cpus:4;mem:8192;ports:[31000-32000], mem and disk in MiB, or as Mesos's JSON [default:
    /// what the host has, less a reserve for itself]
    #[arg(long, env = "PROFFER_AGENT_RESOURCES", value_name = "RESOURCES")]
    pub resources: Option<ResourcesText>,
    /// What the agent says of itself, as in rack:a;zone:eu-1
    #[arg(long, env = "PROFFER_AGENT_ATTRIBUTES", value_name = "ATTRIBUTES")]
    pub attributes: Option<AttributesText>,
    /// The region that the agent stands in, such as a data centre; with zone
    #[arg(long, env = "PROFFER_AGENT_REGION", value_name = "NAME")]
    pub region: Option<String>,
    /// The zone of the region that the agent stands in, such as a rack: what fails together; with region
    #[arg(long, env = "PROFFER_AGENT_ZONE", value_name = "NAME")]
    pub zone: Option<String>,
    /// Where the agent keeps its files and tasks have their directories [default: /var/lib/proffer/agent]
    #[arg(long, env = "PROFFER_AGENT_WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// The host's name or address, under which others reach its tasks [default: the address it listens on if that is
    /// loopback, else the host's name]
    #[arg(long, env = "PROFFER_AGENT_HOST", value_name = "HOST")]
    pub host: Option<String>,
    /// The API's address as others reach it, host:port [default: the address it listens on]
    #[arg(long, env = "PROFFER_AGENT_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The program that supervises a task, called with `supervise --run-dir DIR` [default:
    /// proffer-supervise beside this program if it is there, else this program]
    #[arg(long, env = "PROFFER_AGENT_SUPERVISOR_PROGRAM", value_name = "FILE")]
    pub supervisor_program: Option<PathBuf>,
    /// The user that tasks run as when they name none and have no image; needs root [default: the agent's own]
    #[arg(long, env = "PROFFER_AGENT_TASK_USER", value_name = "USER")]
    pub task_user: Option<String>,
    /// Run a task as the user that it names; otherwise all that have no image run as task_user, or as the agent's own user,
    /// whatever they name [default: true]
    #[arg(long, env = "PROFFER_AGENT_SWITCH_USER", value_name = "BOOL")]
    pub switch_user: Option<bool>,
    /// The control group above those of containers, in each hierarchy [default: /proffer]
    #[arg(long, env = "PROFFER_AGENT_CGROUP_ROOT", value_name = "PATH")]
    pub cgroup_root: Option<String>,
    /// Hold containers to the processors that they hold; otherwise they may use what is free [default: true]
    #[arg(long, env = "PROFFER_AGENT_CPU_HARD_LIMIT", value_name = "BOOL")]
    pub cpu_hard_limit: Option<bool>,
    /// Absolute path of the directory with the archives of images that tasks name, NAME.tar of `docker save` for the image NAME,
    /// for all who run tasks here [default: none, and images are given as files]
    #[arg(long, env = "PROFFER_AGENT_IMAGE_ARCHIVES", value_name = "DIR")]
    pub image_archives: Option<PathBuf>,
    /// How long the directory of an ended task is kept for its logs [default: 1h]
    #[arg(long, env = "PROFFER_AGENT_KEEP_ENDED", value_name = "DURATION")]
    pub keep_ended: Option<DurationText>,
    /// How long an executor of a framework may be without a session before it is ended [default: 60s]
    #[arg(long, env = "PROFFER_AGENT_EXECUTOR_WAIT", value_name = "DURATION")]
    pub executor_wait: Option<DurationText>,
    /// MiB of what tasks have fetched that are kept for others of the same user, when they say so [default: 2048]
    #[arg(long, env = "PROFFER_AGENT_FETCH_CACHE_MIB", value_name = "MIB")]
    pub fetch_cache_mib: Option<u64>,
    /// File with the certificates of those who may issue the certificates of servers from which tasks fetch over https, in PEM
    /// and to be read by everybody [default: those of the host, mostly in /etc/ssl/certs/ca-certificates.crt]
    #[arg(long, env = "PROFFER_AGENT_FETCH_ROOTS", value_name = "FILE")]
    pub fetch_roots: Option<PathBuf>,
    /// Let tasks fetch from loopback and link-local addresses too, where the host's own services and its cloud's metadata are
    #[arg(
        long,
        env = "PROFFER_AGENT_INSECURE_FETCH_LOCAL",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_fetch_local: Option<bool>,
    /// Let executors that were written for Mesos call as they would call Mesos's agent [default: true]
    #[arg(long, env = "PROFFER_AGENT_MESOS_API", value_name = "BOOL")]
    pub mesos_api: Option<bool>,
    /// File with the token of this host, made when it is not there [default: as PROFFER_TOKEN_FILE says, or this
    /// user's]
    #[arg(long, env = "PROFFER_AGENT_TOKEN_FILE", value_name = "FILE")]
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
    /// Let addresses beyond loopback be used, where everything, the token included, travels unencrypted
    #[arg(
        long,
        env = "PROFFER_AGENT_INSECURE_ALLOW_PLAINTEXT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub insecure_allow_plaintext: Option<bool>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "PROFFER_AGENT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<Text<Format>>,
    /// What is logged: error, warn, info, debug, or directives [default: as PROFFER_LOG says, or info]
    #[arg(long, env = "PROFFER_AGENT_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

layered!(Options {
    master,
    listen,
    resources,
    attributes,
    region,
    zone,
    work_dir,
    host,
    advertise,
    supervisor_program,
    task_user,
    switch_user,
    cgroup_root,
    cpu_hard_limit,
    image_archives,
    keep_ended,
    executor_wait,
    fetch_cache_mib,
    fetch_roots,
    insecure_fetch_local,
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
    /// Where the masters are; their listeners for agents.
    pub masters: Masters,
    /// Address of the API; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// What the agent offers; what the host has when absent.
    pub resources: Option<Resources>,
    /// What the agent says of itself.
    pub attributes: Attributes,
    /// Where it stands, when it says so.
    pub domain: Option<FaultDomain>,
    /// Where the agent keeps its files.
    pub work_dir: PathBuf,
    /// Under which others reach its tasks; see [`Options::host`] when absent.
    pub host: Option<String>,
    /// The API's address as others reach it; that of the listener when absent.
    pub advertise: Option<String>,
    /// The program that supervises a task; see [`Options::supervisor_program`] when absent.
    pub supervisor_program: Option<PathBuf>,
    /// The user that tasks run as when they name none and have no image; the agent's own when absent.
    pub task_user: Option<String>,
    /// Whether tasks run as the users that they name.
    pub switch_user: bool,
    /// The control group above those of containers; absolute.
    pub cgroup_root: String,
    /// Whether containers are held to the processors that they hold.
    pub cpu_hard_limit: bool,
    /// Where the archives of images that tasks name are; absolute.
    pub image_archives: Option<PathBuf>,
    /// How long the directory of an ended task is kept.
    pub keep_ended: Duration,
    /// How long an executor of a framework may be without a session.
    pub executor_wait: Duration,
    /// Bytes of what tasks have fetched that are kept for others.
    pub fetch_cache_len_max: u64,
    /// The file with the certificates of those who may issue certificates of servers.
    pub fetch_roots: PathBuf,
    /// Whether tasks may fetch from loopback and link-local addresses.
    pub insecure_fetch_local: bool,
    /// Whether executors that were written for Mesos may call.
    pub mesos_api: bool,
    /// The file with the token of this host.
    pub token_file: PathBuf,
    /// Whether programs on this host may call without a token.
    pub insecure_allow_unauthenticated: bool,
    /// Whether addresses beyond loopback may be used.
    pub insecure_allow_plaintext: bool,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged.
    pub log_level: Option<String>,
}

impl Config {
    /// Checks what was said and fills in the rest. The problem's field is the key at fault.
    pub fn from_options(options: Options) -> Result<Self, Problem> {
        let plaintext = options.insecure_allow_plaintext.unwrap_or_default();
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), API_PORT);
        let address = options.listen.unwrap_or(loopback);
        listen::check(address, "listen", plaintext)?;
        let masters = options.master.unwrap_or_else(|| vec![MASTER.to_owned()]);
        let masters = Masters::parse(&masters)
            .and_then(|masters| masters.check_plaintext(plaintext).map(|()| masters))
            .map_err(|problem| problem.within("master"))?;
        if let Some(advertise) = &options.advertise {
            check_host_port(advertise).map_err(|problem| problem.field("advertise"))?;
        }
        if let Some(host) = &options.host {
            check_host(host)?;
        }
        if let Some(ResourcesText(resources)) = &options.resources {
            check_resources(resources)?;
        }
        if let Some(level) = &options.log_level {
            log::check_level(level)?;
        }
        let cgroup_root = options
            .cgroup_root
            .unwrap_or_else(|| CGROUP_ROOT.to_owned());
        check_cgroup_root(&cgroup_root)?;
        check_image_archives(options.image_archives.as_deref())?;
        let token_file = options.token_file.map_or_else(default_token_path, Ok);
        let keep_ended = options.keep_ended.map(|DurationText(keep)| keep);
        let executor_wait = options.executor_wait.map(|DurationText(wait)| wait);
        Ok(Self {
            masters,
            listen: address,
            resources: options.resources.map(|ResourcesText(resources)| resources),
            attributes: options
                .attributes
                .map(|Text(text)| text)
                .unwrap_or_default(),
            domain: domain(options.region.as_ref(), options.zone.as_ref())?,
            work_dir: options.work_dir.unwrap_or_else(|| WORK_DIR.into()),
            host: options.host,
            advertise: options.advertise,
            supervisor_program: options.supervisor_program,
            task_user: options.task_user,
            switch_user: options.switch_user.unwrap_or(true),
            cgroup_root,
            cpu_hard_limit: options.cpu_hard_limit.unwrap_or(true),
            image_archives: options.image_archives,
            keep_ended: keep_ended.unwrap_or(GARBAGE_DELAY_DEFAULT),
            executor_wait: executor_wait.unwrap_or(EXECUTOR_WAIT_DEFAULT),
            fetch_cache_len_max: options
                .fetch_cache_mib
                .unwrap_or(FETCH_CACHE_MIB_DEFAULT)
                .saturating_mul(1024 * 1024),
            fetch_roots: options.fetch_roots.unwrap_or_else(host_roots),
            insecure_fetch_local: options.insecure_fetch_local.unwrap_or_default(),
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
        })
    }
}

/// Where this host's certificates are; where they would be on most, if there are none.
fn host_roots() -> PathBuf {
    let [usual, ..] = FETCH_ROOTS;
    let found = FETCH_ROOTS
        .into_iter()
        .find(|path| Path::new(path).is_file());
    found.unwrap_or(usual).into()
}

fn check_host_port(text: &str) -> Result<(), Problem> {
    let is_right = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        is_host(host)
            && (is_bracketed || !host.contains(':'))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_right {
        return Ok(());
    }
    let message = format!("{text:?} is not a host and a port");
    Err(Problem::new(code::CONFIG_INVALID, message)
        .hint("write HOST:PORT, such as master-1.example.org:5060"))
}

fn check_host(text: &str) -> Result<(), Problem> {
    if is_host(text) && text.len() <= 255 {
        return Ok(());
    }
    let message = format!("{text:?} is not a host's name or address");
    Err(Problem::new(code::CONFIG_INVALID, message)
        .field("host")
        .hint("give the name or address under which others reach this host"))
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
}

fn check_cgroup_root(text: &str) -> Result<(), Problem> {
    let mut parts = text.split('/');
    let is_right = parts.next() == Some("")
        && text.len() <= 255
        && parts.all(|part| {
            !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control())
        });
    if is_right {
        return Ok(());
    }
    let message = format!("{text:?} is not the path of a control group");
    Err(Problem::new(code::CONFIG_INVALID, message)
        .field("cgroup_root")
        .hint("give a path from the root of a hierarchy, such as /proffer"))
}

fn check_image_archives(dir: Option<&Path>) -> Result<(), Problem> {
    match dir {
        Some(dir) if !dir.is_absolute() => {
            let message = format!("{:?} is not an absolute path", dir.display().to_string());
            Err(Problem::new(code::CONFIG_INVALID, message)
                .field("image_archives")
                .hint("give the directory with the archives, such as /var/lib/proffer/images"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn domain(
    region: Option<&String>,
    zone: Option<&String>,
) -> Result<Option<FaultDomain>, Problem> {
    if region.is_none() && zone.is_none() {
        return Ok(None);
    }
    let text = |name: Option<&String>| name.cloned().unwrap_or_default();
    FaultDomain::new(&text(region), &text(zone)).map(Some)
}

/// What operations make at run time, no configuration makes: a start would make it again.
fn check_kind(kind: &ResourceKind, amount: &Amount) -> Result<(), Problem> {
    let has_maker = |reservation: &Reservation| reservation.principal.is_some();
    let is_made = kind.reservations.iter().any(has_maker)
        || kind.reservations.len() > 1
        || kind.volume().is_some();
    let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
    let (what, hint) = match source {
        _ if is_made => (
            "is made while the cluster runs",
            "give reservations to one role at most, such as disk(eng):64, and make the rest with operations",
        ),
        _ if kind.is_revocable
            && !(kind.is_unreserved()
                && kind.disk.is_none()
                && matches!(amount, Amount::Scalar(_))) =>
        {
            (
                "cannot be revocable",
                "what may be taken back is an amount that is reserved for nobody, such as cpus{REV}:4",
            )
        }
        Some(DiskSource::Path { root } | DiskSource::Mount { root }) if !root.starts_with('/') => (
            "has no directory",
            "give an absolute path, such as disk@MOUNT:/mnt/a:1000",
        ),
        Some(DiskSource::Block { .. } | DiskSource::Raw { .. }) => (
            "is a disk without a file system, which tasks here cannot use",
            "give disks with a file system, such as disk@MOUNT:/mnt/a:1000",
        ),
        _ => return Ok(()),
    };
    Err(
        Problem::new(code::RESOURCES_INVALID, format!("{kind} {what}"))
            .field("resources")
            .hint(hint),
    )
}

pub(crate) fn check_resources(resources: &Resources) -> Result<(), Problem> {
    if let Some(port) = resources.range_set("ports").ranges().last()
        && port.end > u64::from(u16::MAX)
    {
        let message = format!("there is no port {}", port.end);
        return Err(Problem::new(code::RESOURCES_INVALID, message)
            .field("resources")
            .hint("give ports up to 65535, such as ports:[31000-32000]"));
    }
    for (kind, amount) in resources.special() {
        check_kind(kind, amount)?;
    }
    if resources.is_empty() {
        return Err(
            Problem::new(code::RESOURCES_INVALID, "the agent would offer nothing")
                .field("resources")
                .hint("give what tasks may use, such as cpus:4;mem:8192;ports:[31000-32000]"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proffer_server::config::{ConfigFile, Layered};

    use super::*;

    fn parse(text: &str) -> Result<Config, Problem> {
        let options: Options = ConfigFile::new("agent.toml", text).parse()?;
        Config::from_options(options)
    }

    #[test]
    fn what_is_not_said_has_the_documented_default() {
        let config = parse("token_file = '/t'").expect("defaults");
        assert_eq!(config.listen.to_string(), "127.0.0.1:5051");
        assert_eq!(config.masters.to_string(), "127.0.0.1:5060");
        assert_eq!(config.work_dir, PathBuf::from("/var/lib/proffer/agent"));
        assert_eq!(config.keep_ended, Duration::from_secs(3600));
        assert!(config.resources.is_none() && config.task_user.is_none());
    }

    #[test]
    fn flags_win_over_the_file() {
        let said = Options {
            host: Some("a".to_owned()),
            ..Options::default()
        };
        let text = "host = 'b'\nattributes = 'rack:x'\ntoken_file = '/t'\nmaster = ['localhost:1']";
        let file = ConfigFile::new("agent.toml", text).parse().expect("a file");
        let config = Config::from_options(said.over(file)).expect("good");
        assert_eq!(config.host.as_deref(), Some("a"));
        assert_eq!(config.attributes.to_string(), "rack:x");
        assert_eq!(config.masters.to_string(), "localhost:1");
    }

    #[test]
    fn resources_may_be_text_or_json_and_reserved_to_one_role() {
        let same = [
            "resources = 'cpus:2;cpus(eng):2.5;disk@MOUNT:/mnt/a:100;zones:{a,b}'",
            r#"resources = '''[
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}},
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.5}, "role": "eng"},
                {"name": "disk", "type": "SCALAR", "scalar": {"value": 100},
                 "disk": {"source": {"type": "MOUNT", "mount": {"root": "/mnt/a"}}}},
                {"name": "zones", "type": "SET", "set": {"item": ["b", "a"]}}
            ]'''"#,
        ]
        .map(|text| parse(&format!("token_file = '/t'\n{text}")).expect(text));
        let [text, json] = same.map(|config| config.resources.expect("given"));
        assert_eq!(text.scalar("cpus"), 4_500);
        assert_eq!(text, json);
    }

    #[test]
    fn so_much_may_be_taken_back() {
        let config = parse("token_file = '/t'\nresources = 'cpus:2;cpus{REV}:4;mem{REV}:64'");
        let resources = config.expect("revocable").resources.expect("given");
        assert_eq!(resources.revocable().scalar("cpus"), 4_000);
        assert_eq!(resources.non_revocable().scalar("cpus"), 2_000);
    }

    #[test]
    fn an_agent_stands_in_a_zone_of_a_region() {
        let config = parse("token_file = '/t'\nregion = 'eu-1'\nzone = 'b'").expect("both");
        let domain = config.domain.expect("given");
        assert_eq!((&*domain.region, &*domain.zone), ("eu-1", "b"));
    }

    #[test]
    fn every_wrong_value_is_refused_with_its_key_and_a_remedy() {
        let table = [
            ("listen", "listen = '0.0.0.0:5051'"),
            ("master", "master = []"),
            ("master", "master = ['127.0.0.1']"),
            ("master", "master = ['192.0.2.1:5060']"),
            (
                "master",
                "master = ['localhost:5060', 'https://127.0.0.1:5060']",
            ),
            ("resources", "resources = ''"),
            ("resources", "resources = 'cpus:-1'"),
            ("resources", "resources = 'ports:[1-5,4-9]'"),
            ("resources", "resources = 'ports:[31000-70000]'"),
            ("resources", "resources = 'cpus:1;cpus(eng)(eng/web):1'"),
            ("resources", "resources = 'cpus(eng,ops):1'"),
            ("resources", "resources = 'disk(eng)[logs]:1'"),
            ("resources", "resources = 'cpus:1;cpus(eng){REV}:1'"),
            ("resources", "resources = 'cpus:1;ports{REV}:[1-2]'"),
            ("resources", "resources = 'cpus:1;disk@PATH:/a{REV}:1'"),
            ("resources", "resources = 'disk@MOUNT:100'"),
            ("resources", "resources = 'disk@RAW(a):100'"),
            ("resources", "resources = '[{\"name\": \"cpus\"}]'"),
            ("zone", "region = 'eu-1'"),
            ("region", "zone = 'b'"),
            ("zone", "region = 'eu-1'\nzone = 'a b'"),
            ("attributes", "attributes = 'rack'"),
            ("host", "host = 'a b'"),
            ("host", "host = ''"),
            ("advertise", "advertise = 'host'"),
            ("advertise", "advertise = 'a:b:1'"),
            ("cgroup_root", "cgroup_root = 'proffer'"),
            ("cgroup_root", "cgroup_root = '/'"),
            ("cgroup_root", "cgroup_root = '/a/../b'"),
            ("image_archives", "image_archives = 'images'"),
            ("keep_ended", "keep_ended = '1'"),
            ("executor_wait", "executor_wait = 'soon'"),
            ("log_level", "log_level = 'agent=loud'"),
            ("nonsense", "nonsense = 1"),
        ];
        for (key, line) in table {
            let problem = parse(&format!("token_file = '/t'\n{line}")).expect_err(line);
            let place = format!("{} {}", problem.field, problem.message);
            assert!(place.contains(key), "{line}: {problem}");
            let has_remedy = !problem.hint.is_empty()
                || problem.message.contains('(')
                || problem.message.contains("keys are");
            assert!(has_remedy, "{line}: {problem}");
        }
    }
}

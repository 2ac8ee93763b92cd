//! `proffer dev`: a whole cluster in one process on loopback, for the first five minutes and for every day's work.
//!
//! Starts what the roles' own programs start, deploys the given apps, says where they answer, and stays. Ctrl-C and
//! SIGTERM end everything it started, and nothing else; SIGKILL ends only this process: tasks and HAProxy go on, and the
//! next `dev` with the same data directory adopts them.

mod cluster;
mod data_dir;
mod leftover;
mod ports;
mod ready;
mod suspended;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use proffer_model::{Problem, code};
use proffer_server::auth::{LocalToken, default_token_path};
use tokio_util::sync::CancellationToken;

use crate::app_file::{self, AppDefinition};
use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::limits::{DEV_LOG_LEN_MAX, DEV_STOP_TIMEOUT};
use crate::output::{self, Progress};
use crate::services_client::ServicesClient;
use cluster::{AGENT_DIR, Cluster, Setting};
use data_dir::DataDir;
use ports::Ports;
use suspended::Suspended;

/// `proffer dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Files of apps to deploy, in JSON, TOML or YAML. What ran the last time comes back too.
    #[arg(value_name = "APP_FILE")]
    files: Vec<PathBuf>,
    /// Where everything is kept [default: $XDG_STATE_HOME/proffer/dev, or ~/.local/state/proffer/dev].
    #[arg(long, value_name = "DIR", env = "PROFFER_DEV_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// End what an earlier dev left in the data directory, remove its content and start anew.
    #[arg(long)]
    fresh: bool,
    /// Use the 200 ports from N on instead of the usual ones, so that a second dev runs beside the first: N master, N+3
    /// services, N+50 to N+99 service ports (10000 to 10049 in app files move there), N+100 to N+199 tasks. From 1024 to
    /// 65335, best below 32568.
    #[arg(long, value_name = "N", env = "PROFFER_DEV_PORT_BASE")]
    port_base: Option<u16>,
    /// Do not run HAProxy, even when it is installed; print the instances' own addresses.
    #[arg(long)]
    no_haproxy: bool,
    /// Let every program on this host call without a token; for tools that know none.
    #[arg(long, env = "PROFFER_INSECURE_ALLOW_UNAUTHENTICATED")]
    insecure_allow_unauthenticated: bool,
    /// Let tasks fetch from this host and its link too, as from a framework's own server.
    #[arg(long, env = "PROFFER_AGENT_INSECURE_FETCH_LOCAL")]
    insecure_fetch_local: bool,
    /// The directory with the archives of images that tasks name: NAME.tar of `docker save` for the image NAME.
    #[arg(long, value_name = "DIR", env = "PROFFER_AGENT_IMAGE_ARCHIVES")]
    image_archives: Option<PathBuf>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(args: DevArgs, shutdown: CancellationToken) -> Outcome {
    let mut apps = app_file::read_all(&args.files)?;
    let ports = Ports::new(args.port_base)?;
    apps.iter_mut().for_each(|app| ports.move_app(app));
    let path = args
        .data_dir
        .clone()
        .map_or_else(data_dir::default_path, Ok)?;
    let data = DataDir::open(&path)?;
    let log = open_log(&data)?;
    proffer_server::log::init_beside(log, None)?;
    let mut progress = Progress::new();
    if args.fresh {
        clear(&data, &ports, &mut progress).await?;
    }
    let has_haproxy = !args.no_haproxy && cluster::is_haproxy_installed();
    if has_haproxy && !cluster::is_haproxy_left(&data, &ports).await? {
        Ports::check_free(&apps)?;
    }
    let setting = Setting {
        data: &data,
        ports: &ports,
        has_haproxy,
        insecure_allow_unauthenticated: args.insecure_allow_unauthenticated,
        insecure_fetch_local: args.insecure_fetch_local,
        image_archives: args.image_archives.as_deref(),
    };
    // Otherwise the master makes it, which is too late for the client.
    LocalToken::load_or_create(&default_token_path()?)?;
    let services = ServicesClient::new(&client_of(&ports))?;
    progress.update("starting");
    let started = Cluster::start(&setting, &services, &shutdown).await;
    let mut cluster = started.map_err(Ports::explain_taken)?;
    let outcome = tokio::select! {
        outcome = serve(&setting, &services, &apps, &args, &mut progress) => outcome,
        problem = cluster.ended() => Err(problem.into()),
        () = shutdown.cancelled() => Ok(()),
    };
    progress.say(if outcome.is_ok() {
        "stopping"
    } else {
        "stopping, since this failed"
    });
    let stopped = stop(&setting, &services, cluster, &mut progress).await;
    outcome.and(stopped)
}

/// The log, and the one before where it has grown too long.
fn open_log(data: &DataDir) -> Result<File, Problem> {
    let path = data.join("log");
    let is_long = std::fs::metadata(&path).is_ok_and(|found| found.len() > DEV_LOG_LEN_MAX);
    let open = || {
        if is_long {
            std::fs::rename(&path, data.join("log.1"))?;
        }
        File::options().create(true).append(true).open(&path)
    };
    open().map_err(|error| {
        let message = format!("{} cannot be written: {error}", path.display());
        Problem::new(code::FILE_FAILED, message)
    })
}

/// Ends what an earlier `dev` left and removes its state.
async fn clear(data: &DataDir, ports: &Ports, progress: &mut Progress) -> Result<(), Problem> {
    progress.update("ending what an earlier dev left");
    cluster::stop_haproxy(data, ports).await?;
    let left = leftover::end(
        &data.join(AGENT_DIR),
        DEV_STOP_TIMEOUT / 2,
        DEV_STOP_TIMEOUT / 2,
    )
    .await;
    progress.clear();
    if !left.is_empty() {
        let message = format!("{} tasks of an earlier dev do not end", left.len());
        return Err(Problem::new(code::DIRECTORY_LOCKED, message)
            .field("data_dir")
            .hint("choose another with --data-dir"));
    }
    data.clear()
}

/// Deploys, says where the apps answer, and stays for ever.
async fn serve(
    setting: &Setting<'_>,
    services: &ServicesClient,
    apps: &[AppDefinition],
    args: &DevArgs,
    progress: &mut Progress,
) -> Outcome {
    bring_back(setting.data, services, apps).await?;
    let ids = ready::deploy(services, apps, progress).await?;
    if !setting.has_haproxy {
        progress.say(match args.no_haproxy {
            true => {
                "without HAProxy: these are the instances' own addresses; a replacement gets another, `proffer tasks` \
                 shows them"
            }
            false => {
                "HAProxy is not installed (`apt-get install haproxy` gives every app one address); these are the \
                 instances' own addresses; a replacement gets another, `proffer tasks` shows them"
            }
        });
    }
    let addresses = ready::addresses(services, &ids, setting.has_haproxy, progress).await?;
    output::print(&addresses)?;
    output::print(&guidance(setting.ports, ids.is_empty()))?;
    std::future::pending().await
}

/// Gives suspended apps the instances that they had, except those of which a file says how many.
async fn bring_back(
    data: &DataDir,
    services: &ServicesClient,
    apps: &[AppDefinition],
) -> Result<(), Problem> {
    let suspended = suspended::read(data)?;
    for (id, instances) in suspended {
        if apps.iter().any(|app| app.id == id) {
            continue;
        }
        match ready::once_ready(|| services.scale(&id, instances)).await {
            Err(problem) if !problem.is(code::APP_UNKNOWN) => return Err(problem),
            _ => {}
        }
    }
    suspended::remove(data)
}

/// What to do next.
fn guidance(ports: &Ports, is_empty: bool) -> String {
    let mut text = "look around with `proffer apps`, `proffer tasks`, `proffer logs APP`; Ctrl-C ends everything\n".to_owned();
    if is_empty {
        text.insert_str(
            0,
            "nothing runs yet: `proffer run web` starts a small web server\n",
        );
    }
    if ports.services != 8080 {
        let (services, master) = (
            Ports::on_loopback(ports.services),
            Ports::on_loopback(ports.master),
        );
        let place = format!("export PROFFER_SERVICES=http://{services} PROFFER_MASTER={master}\n");
        text.insert_str(0, &place);
    }
    text
}

/// Ends every instance and HAProxy, then the roles, then what other frameworks ran here; a line for each step.
async fn stop(
    setting: &Setting<'_>,
    services: &ServicesClient,
    mut cluster: Cluster,
    progress: &mut Progress,
) -> Outcome {
    let start = tokio::time::Instant::now();
    let instances = suspend(setting.data, services, progress);
    // Most of the time is for tasks that want to end well; the rest for ending those that do not.
    let suspended = tokio::time::timeout(DEV_STOP_TIMEOUT * 7 / 10, instances).await;
    if let Ok(Err(problem)) = &suspended {
        progress.say(&format!("the instances cannot be scaled down: {problem}"));
    }
    if setting.has_haproxy {
        // It ends HAProxy with itself; asked again in case it could not.
        cluster.end_discovery().await;
        cluster::stop_haproxy(setting.data, setting.ports).await?;
        progress.say("HAProxy has ended");
    }
    cluster.end().await;
    let left = DEV_STOP_TIMEOUT.saturating_sub(start.elapsed());
    let grace = if suspended.is_err() {
        Duration::ZERO
    } else {
        left / 2
    };
    let left = leftover::end(
        &setting.data.join(AGENT_DIR),
        grace,
        left.max(Duration::from_secs(1)),
    )
    .await;
    if left.is_empty() {
        progress.say("everything has ended");
        return Ok(());
    }
    let message = format!("tasks that do not end, and go on: {}", left.len());
    Err(Problem::new(code::INTERNAL, message)
        .hint(format!(
            "`proffer dev --fresh` ends them and starts anew, `proffer dev` takes them up again; their supervisors are in {}",
            setting.data.join(AGENT_DIR).display()
        ))
        .into())
}

/// Scales every app to nothing and waits until that is so; remembers how many there were.
async fn suspend(
    data: &DataDir,
    services: &ServicesClient,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let apps = services.apps().await?;
    let mut counts: Suspended = suspended::read(data)?;
    counts.extend(
        apps.iter()
            .filter(|app| app.instances > 0)
            .map(|app| (app.id.clone(), app.instances)),
    );
    if counts.is_empty() {
        return Ok(());
    }
    suspended::write(data, &counts)?;
    for app in apps.iter().filter(|app| app.instances > 0) {
        services.scale(&app.id, 0).await?;
    }
    ready::until_empty(services, progress).await?;
    progress.say("all instances have ended");
    Ok(())
}

/// How this process reaches its own services: the same way as everybody.
fn client_of(ports: &Ports) -> ClientArgs {
    ClientArgs {
        services: format!("http://{}", Ports::on_loopback(ports.services)),
        master: Ports::on_loopback(ports.master).to_string(),
        token_file: None,
        insecure_allow_plaintext: false,
    }
}

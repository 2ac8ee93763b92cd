//! `proffer apply FILE…`: makes apps be as their files say, and waits until they are.
//!
//! Every file is read and checked before anything is sent. An app that is already as its file says is left alone by the
//! services: nothing restarts.

use std::path::PathBuf;

use proffer_model::code;

use crate::app_file;
use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::output::{OutputArgs, Progress};
use crate::services_client::ServicesClient;
use crate::verbs::app::show_apps;
use crate::wait::{WaitArgs, until_settled};

/// `proffer apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// Files of one or several apps, in JSON, TOML or YAML; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change an app even while an earlier change of it is under way.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Applies.
pub(crate) async fn run(args: ApplyArgs) -> Outcome {
    let apps = app_file::read_all(&args.files)?;
    let services = ServicesClient::new(&args.client)?;
    let mut applied: Vec<&str> = Vec::new();
    for app in &apps {
        let sent = services.replace(&app.id, &app.body, args.force).await;
        sent.map_err(|mut problem| {
            problem.message = format!("{}: {}", app.id, problem.message);
            if !applied.is_empty() {
                problem.message += &format!(" ({} before it: done)", applied.join(", "));
            }
            if problem.is(code::APP_LOCKED) {
                return problem
                    .hint("wait until the earlier change is done, or override it with --force");
            }
            problem
        })?;
        applied.push(&app.id);
    }
    let ids: Vec<String> = apps.into_iter().map(|app| app.id).collect();
    let mut progress = Progress::new();
    let settled = match args.wait.patience() {
        Some(patience) => until_settled(&services, &ids, patience, &mut progress).await?,
        None => {
            let mut apps = Vec::with_capacity(ids.len());
            for id in &ids {
                apps.push(services.app(id).await?);
            }
            apps
        }
    };
    show_apps(&settled, args.output)
}

//! Waits until apps are as asked, says how far they are, and after a few seconds why it takes so long.
//!
//! Ctrl-C ends the waiting, never the deployment. The services are asked again and again, at first often: most apps are
//! healthy within a second or two.

use std::time::{Duration, Instant};

use proffer_model::time::{format_duration, parse_duration};
use proffer_model::{Kind, Problem, code};

use crate::exit::{Failure, Outcome};
use crate::limits::{
    FAILURES_MAX, POLL_INTERVAL_MAX, POLL_INTERVAL_MIN, STEADY, WAIT_TIMEOUT_DEFAULT, WHY_INTERVAL,
};
use crate::output::Progress;
use crate::services_client::{App, ServicesClient, Task};
use crate::units::{count_of, parse_utc_ms, wall_ms};
use crate::verbs::why;

/// The flags of every verb that changes an app.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Wait until all instances are healthy (the default).
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the change is accepted.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// How long to wait, such as 90s or 10m; then the exit code is 6. Without it also no longer than it takes for five
    /// instances to end one after the other; then the exit code is 1 [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl WaitArgs {
    /// How long to wait; absent: not at all.
    pub(crate) fn patience(&self) -> Option<Patience> {
        (!self.no_wait).then(|| Patience {
            timeout: self.timeout.unwrap_or(WAIT_TIMEOUT_DEFAULT),
            gives_up: self.timeout.is_none(),
        })
    }
}

/// How long something is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) timeout: Duration,
    /// Whether an app whose instances end one after the other is given up earlier.
    pub(crate) gives_up: bool,
}

/// Waits until each of these apps has all its instances and nothing else, and returns them.
pub(crate) async fn until_settled(
    services: &ServicesClient,
    ids: &[String],
    patience: Patience,
    progress: &mut Progress,
) -> Outcome<Vec<App>> {
    let start = Instant::now();
    let mut apps = Vec::with_capacity(ids.len());
    for id in ids {
        apps.push(until_one_settled(services, id, start, patience, progress).await?);
    }
    Ok(apps)
}

/// Waits until an app is gone.
pub(crate) async fn until_gone(
    services: &ServicesClient,
    id: &str,
    timeout: Duration,
    progress: &mut Progress,
) -> Outcome {
    let start = Instant::now();
    let mut pause = Pause::new();
    loop {
        let left = match services.app(id).await {
            Ok(app) => app.tasks.len(),
            Err(problem) if problem.kind == Kind::NotFound => return Ok(()),
            Err(problem) => return Err(problem.into()),
        };
        progress.update(&format!(
            "{id}: ending, {} left",
            count_of(left, "instance")
        ));
        if start.elapsed() >= timeout {
            let message = format!(
                "{id}: {} left, after {}",
                count_of(left, "instance"),
                format_duration(timeout)
            );
            return Err(Problem::new(code::WAIT_TIMED_OUT, message)
                .hint("it goes on in the background; wait longer with --timeout")
                .into());
        }
        pause.next().await;
    }
}

async fn until_one_settled(
    services: &ServicesClient,
    id: &str,
    start: Instant,
    patience: Patience,
    progress: &mut Progress,
) -> Outcome<App> {
    let (mut pause, mut reason) = (Pause::new(), Reason::new());
    let (mut failures, mut steady) = (Failures::default(), Steady::default());
    loop {
        let app = services.app(id).await?;
        failures.look(&app);
        if steady.holds(&app) {
            progress.clear();
            return Ok(app);
        }
        reason.refresh(services, &app).await;
        let state = describe(&app);
        let ended = || {
            failures
                .last
                .as_ref()
                .map(|last| format!("the last one ended: {last}"))
        };
        let why = reason.text.clone().or_else(ended);
        match &why {
            Some(why) => progress.update(&format!("{state}; {why}")),
            None => progress.update(&state),
        }
        if patience.gives_up && failures.count >= FAILURES_MAX {
            return Err(failing(&state, &failures, id));
        }
        if start.elapsed() >= patience.timeout {
            return Err(timed_out(&state, patience.timeout, &app, why));
        }
        pause.next().await;
    }
}

fn timed_out(state: &str, timeout: Duration, app: &App, why: Option<String>) -> Failure {
    let id = &app.id;
    let look = match app.tasks_running > 0 || app.last_task_failure.is_some() {
        true => format!("look at `proffer logs {id}` and `proffer why {id}`"),
        false => format!("ask `proffer why {id}`"),
    };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("{state}, after {}{why}", format_duration(timeout));
    Problem::new(code::WAIT_TIMED_OUT, message)
        .hint(format!(
            "it goes on in the background; {look}, or wait longer with --timeout"
        ))
        .into()
}

fn failing(state: &str, failures: &Failures, id: &str) -> Failure {
    let last = failures.last.as_deref().unwrap_or_default();
    let message = format!(
        "{state}; {} instances ended one after the other, the last one: {last}",
        failures.count
    );
    Problem::new(code::APP_FAILING, message)
        .hint(format!(
            "it is started again and again; look at `proffer logs {id}`, then mend it with `proffer apply` or remove it \
             with `proffer app rm {id}`"
        ))
        .into()
}

/// How far an app is, in one line.
fn describe(app: &App) -> String {
    let word = if app.health_checks.is_empty() {
        "running"
    } else {
        "healthy"
    };
    let mut text = format!("{}: {} of {} {word}", app.id, app.ready(), app.instances);
    if app.tasks_staged > 0 {
        text += &format!(", {} starting", app.tasks_staged);
    }
    let surplus = app.tasks_running.saturating_sub(app.instances);
    if surplus > 0 {
        text += &format!(", {surplus} to be replaced");
    }
    text
}

/// Whether an app is as asked and stays so. Where nothing is checked, an instance that ends at once is running for a
/// moment too, so it must be seen running for [`STEADY`].
#[derive(Default)]
struct Steady {
    /// The instances that are as asked, and since when.
    since: Option<(Vec<String>, Instant)>,
}

impl Steady {
    fn holds(&mut self, app: &App) -> bool {
        if !app.is_settled() {
            self.since = None;
            return false;
        }
        let started = |task: &Task| task.started_at.as_deref().and_then(parse_utc_ms);
        let steady_ms = u64::try_from(STEADY.as_millis()).unwrap_or(u64::MAX);
        let old_ms = wall_ms().saturating_sub(steady_ms);
        let is_old = |task: &Task| started(task).is_some_and(|at| at < old_ms);
        if !app.health_checks.is_empty() || app.tasks.iter().all(is_old) {
            return true;
        }
        let ids: Vec<String> = app.tasks.iter().map(|task| task.id.clone()).collect();
        match &self.since {
            Some((seen, since)) if *seen == ids => since.elapsed() >= STEADY,
            _ => {
                self.since = Some((ids, Instant::now()));
                false
            }
        }
    }
}

/// The instances that ended by themselves while we looked, since the last time that one became ready.
#[derive(Default)]
struct Failures {
    count: usize,
    /// How the last one did.
    last: Option<String>,
    ready_max: u64,
    /// When the last one did, as the services write it; the outer absence: nothing was looked at yet.
    seen: Option<Option<String>>,
}

impl Failures {
    fn look(&mut self, app: &App) {
        let ended = app.last_task_failure.as_ref();
        let at = ended.map(|ended| ended.timestamp.clone());
        // A new maximum: what ends at once and was seen running again and again is no progress.
        if app.ready() > self.ready_max {
            (self.count, self.last) = (0, None);
            self.ready_max = app.ready();
        }
        // What had ended before we looked belongs to an earlier version of the app.
        let is_new = self.seen.as_ref().is_some_and(|seen| *seen != at);
        self.seen = Some(at);
        if let Some(ended) = ended.filter(|_| is_new) {
            self.count += 1;
            let said = if ended.message.is_empty() {
                &ended.state
            } else {
                &ended.message
            };
            self.last = Some(said.clone());
        }
    }
}

/// Why it takes so long, asked for now and then while nothing moves.
struct Reason {
    text: Option<String>,
    /// How many were ready, and since when.
    ready: Option<u64>,
    asked: Instant,
}

impl Reason {
    fn new() -> Self {
        Self {
            text: None,
            ready: None,
            asked: Instant::now(),
        }
    }

    async fn refresh(&mut self, services: &ServicesClient, app: &App) {
        if self.ready != Some(app.ready()) {
            *self = Self {
                text: None,
                ready: Some(app.ready()),
                asked: Instant::now(),
            };
        }
        if self.asked.elapsed() < WHY_INTERVAL {
            return;
        }
        self.asked = Instant::now();
        // Not to know why is no reason to stop waiting.
        if let Ok(answer) = services.why(&app.id).await {
            self.text = why::in_one_line(&answer);
        }
    }
}

/// The pauses between two looks; each longer than the one before.
pub(crate) struct Pause(Duration);

impl Pause {
    /// Short at first.
    pub(crate) fn new() -> Self {
        Self(POLL_INTERVAL_MIN)
    }

    /// Waits.
    pub(crate) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 5 / 4).min(POLL_INTERVAL_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_an_instance_is_ready() {
        let app = |running: u64, at: &str| App {
            instances: 2,
            tasks_running: running,
            last_task_failure: Some(crate::services_client::TaskFailure {
                message: "exited with code 3".to_owned(),
                timestamp: at.to_owned(),
                ..Default::default()
            }),
            ..App::default()
        };
        let mut failures = Failures::default();
        for (running, at, count) in [
            (0, "1", 0),
            (0, "1", 0),
            (0, "2", 1),
            (0, "2", 1),
            (0, "3", 2),
            (1, "3", 0),
            (0, "4", 1),
            (1, "4", 1),
            (0, "5", 2),
        ] {
            failures.look(&app(running, at));
            assert_eq!(failures.count, count, "{running} {at}");
        }
        let said = failures.last.unwrap();
        assert!(said.contains("exited with code 3"), "{said}");
    }

    #[test]
    fn what_is_not_checked_must_be_seen_to_stay() {
        let started = |at: &str| {
            let app = serde_json::json!({"id": "/a", "instances": 1, "tasksRunning": 1,
                "tasks": [{"id": "t", "startedAt": at}]});
            serde_json::from_value::<App>(app).unwrap()
        };
        let now = started("9999-01-01T00:00:00Z");
        let mut steady = Steady::default();
        assert!(!steady.holds(&now) && !steady.holds(&now));
        if let Some((_, since)) = &mut steady.since {
            *since = since.checked_sub(STEADY).unwrap();
        }
        assert!(steady.holds(&now));
        assert!(Steady::default().holds(&started("2020-01-01T00:00:00Z")));
        let checked = App {
            health_checks: vec![serde_json::Value::Null],
            tasks_healthy: 1,
            ..now
        };
        assert!(Steady::default().holds(&checked));
    }

    #[test]
    fn progress_says_how_far_an_app_is() {
        let app = |json: &str| serde_json::from_str::<App>(json).unwrap();
        for (json, text) in [
            (r#"{"id":"/a","instances":3}"#, "/a: 0 of 3 running"),
            (
                r#"{"id":"/a","instances":3,"tasksRunning":2,"tasksStaged":1,"tasksHealthy":1,"healthChecks":[{}]}"#,
                "/a: 1 of 3 healthy, 1 starting",
            ),
            (
                r#"{"id":"/a","instances":1,"tasksRunning":3}"#,
                "/a: 3 of 1 running, 2 to be replaced",
            ),
        ] {
            assert_eq!(describe(&app(json)), text);
        }
    }
}

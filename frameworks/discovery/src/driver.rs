//! Carries events to the core and its effects out: the only file that knows both sides. No decision is made here.

use std::sync::Arc;

use proffer_model::{Problem, code};
use proffer_server::clock;
use proffer_server::notify::Pulse;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::core::{Core, Effect, Event, Fact, Failure, Plan, View};
use crate::feed::Feed;
use crate::limits::FETCH_TIMEOUT;
use crate::metrics::Metrics;

/// What the driver carries between.
pub struct Driver {
    /// Every decision.
    pub core: Core,
    /// Where the apps come from.
    pub feed: Arc<Feed>,
    /// What changes HAProxy.
    pub applier: Arc<Applier>,
    /// Where others read what is known.
    pub view: watch::Sender<Arc<View>>,
    /// What is counted.
    pub metrics: Metrics,
    /// For the waits of the event stream.
    pub seed: u64,
    /// Whether it turns.
    pub pulse: Pulse,
}

/// What goes on beside the driver.
struct Work {
    events: JoinSet<Event>,
    timer: Option<Instant>,
    watched_pid: Option<u32>,
}

impl Driver {
    /// Runs until `shutdown`. An apply under way is finished, so that HAProxy and its file agree.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        let watch = Arc::clone(&self.feed).watch(changed, self.seed);
        let mut streams = JoinSet::new();
        streams.spawn(watch);
        let mut work = Work {
            events: JoinSet::new(),
            timer: None,
            watched_pid: None,
        };
        let mut event = Event::Started;
        loop {
            self.step(event, &mut work);
            let timer = work.timer;
            let alarm = async move {
                match timer {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            event = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(()) = changes.recv() => Event::SourceChanged,
                Some(Ok(event)) = work.events.join_next() => event,
                () = alarm => Event::TimerFired,
                never = self.pulse.answering() => never,
            };
        }
        streams.abort_all();
        self.finish(work).await;
    }

    fn step(&mut self, event: Event, work: &mut Work) {
        self.count(&event);
        if matches!(event, Event::HaproxyExited) {
            work.watched_pid = None;
        }
        let mut effects = Vec::new();
        let now = clock::now();
        work.timer = None;
        self.core.step(now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Fetch => self.fetch(work),
                Effect::Apply(plan) => self.apply(plan, work),
                Effect::SetTimer(at) => work.timer = Some(Instant::now() + at.since(now)),
                Effect::Record(fact) => log(&fact),
            }
        }
        let view = Arc::new(self.core.view());
        self.metrics.show(&view);
        self.watch_haproxy(view.pid, work);
        self.view.send_replace(view);
    }

    fn fetch(&self, work: &mut Work) {
        let fetch = tokio::spawn(timeout(FETCH_TIMEOUT, Arc::clone(&self.feed).fetch()));
        work.events.spawn(async move {
            let fetched = fetch.await.map_err(|_| defect("fetch"));
            Event::Fetched(fetched.and_then(|fetched| fetched.unwrap_or_else(|_| Err(slow()))))
        });
    }

    fn apply(&self, plan: Plan, work: &mut Work) {
        let apply = tokio::spawn(Arc::clone(&self.applier).apply(plan));
        work.events.spawn(async move {
            let applied = apply.await.map_err(|_| Failure::Failed(defect("apply")));
            Event::Applied(applied.flatten())
        });
    }

    /// Sees to it that the end of this HAProxy is an event, once.
    fn watch_haproxy(&self, pid: Option<u32>, work: &mut Work) {
        if pid.is_none() || pid == work.watched_pid || !self.applier.owns_haproxy() {
            return;
        }
        work.watched_pid = pid;
        let applier = Arc::clone(&self.applier);
        work.events.spawn(async move {
            applier.haproxy.wait_for_exit().await;
            Event::HaproxyExited
        });
    }

    async fn finish(&mut self, mut work: Work) {
        while self.core.is_applying() {
            match work.events.join_next().await {
                Some(Ok(Event::Applied(result))) => {
                    let mut effects = Vec::new();
                    self.core
                        .step(clock::now(), Event::Applied(result), &mut effects);
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
        work.events.abort_all();
    }

    fn count(&self, event: &Event) {
        match event {
            Event::Fetched(result) => self.metrics.count_fetch(result.is_ok()),
            Event::Applied(Ok(outcome)) => {
                self.metrics
                    .count_apply(&format!("{:?}", outcome.how).to_lowercase());
            }
            Event::Applied(Err(Failure::Refused(_))) => self.metrics.count_apply("refused"),
            Event::Applied(Err(_)) => self.metrics.count_apply("failed"),
            Event::Started | Event::SourceChanged | Event::HaproxyExited | Event::TimerFired => {}
        }
    }
}

/// A task that panicked: told like any other failure, so that it is tried again.
fn defect(what: &str) -> Problem {
    Problem::new(code::INTERNAL, format!("the {what} broke off"))
}

fn slow() -> Problem {
    let message = format!(
        "services did not answer within {} s",
        FETCH_TIMEOUT.as_secs()
    );
    Problem::new(code::PEER_UNREACHABLE, message)
}

fn log(fact: &Fact) {
    match fact {
        Fact::SourceLost(problem) => {
            tracing::warn!(%problem, "services does not answer; what is routed stays");
        }
        Fact::SourceFound => tracing::info!("services answers again"),
        Fact::EmptyDoubted => {
            tracing::info!(
                "services says that nothing runs any more; asking again before it is believed"
            );
        }
        Fact::LeftOut(left_out) => {
            let what = format!("{:?}", left_out.what).to_lowercase();
            tracing::info!(app_id = %left_out.app, what, problem = %left_out.problem, "not served");
        }
        Fact::Applied(how, digest) => {
            let how = format!("{how:?}").to_lowercase();
            tracing::info!(how, %digest, "configuration in force");
        }
        Fact::ApplyFailed(problem) => {
            tracing::warn!(%problem, "configuration not applied; the last one stays");
        }
        Fact::HaproxyLost => tracing::warn!("HAProxy has ended; starting it again"),
    }
}

//! What updates say of a task that its status does not: where its agent is, in which executor it is if an earlier subscription
//! has launched it, and what it had of what it used too much of. And what offers say of an agent: which executors of the
//! framework live there.
//!
//! One book for all streams, made of the view when it lacks an agent or is old, by one of them; the others read the old one
//! meanwhile. What is not found soon is left out of the update, so that no stream stands still for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Instant;

use proffer_master_core::effect::TaskRow;
use proffer_model::{AgentId, FrameworkId, Status};
use proffer_proto::mesos::v1::scheduler::Event;
use proffer_proto::mesos::v1::task_status::Reason;
use proffer_proto::mesos::v1::{Offer, TaskResourceLimitation, TaskStatus};
use proffer_proto::mesos::{MesosExecutor, ResourceForm, encode_resources, place_mesos_status};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::operator::{executor_of, executors_on, ip_of};
use crate::limits::{MESOS_ADDRESSES_INTERVAL, MESOS_ADDRESSES_RETRY, MESOS_ADDRESSES_WAIT};
use crate::view::{Snapshot, View};

/// The addresses of a term's agents.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    view: View,
    known: Arc<RwLock<Known>>,
    /// Held by who looks.
    looking: Arc<Mutex<()>>,
    seen: Arc<std::sync::Mutex<Seen>>,
    /// Held by who looks at all that is there.
    looking_at_all: Arc<Mutex<()>>,
}

/// What was seen of tasks, so that many which end at once ask the view but now and then. All of it holds for
/// [`MESOS_ADDRESSES_RETRY`].
#[derive(Debug, Default)]
struct Seen {
    last: Option<(Instant, Arc<Snapshot>)>,
    /// The view was behind.
    failed_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    /// None of an agent that is not there, or says a name.
    by_agent: BTreeMap<AgentId, Option<IpAddr>>,
    looked_at: Option<Instant>,
    /// The view was behind: it is left alone for a while.
    failed_at: Option<Instant>,
}

impl Addresses {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            known: Arc::default(),
            looking: Arc::default(),
            seen: Arc::default(),
            looking_at_all: Arc::default(),
        }
    }

    /// Says in an update where its task is, and which limit ended it; in offers, which executors there are.
    pub(super) async fn place(&self, framework: Option<&FrameworkId>, event: &mut Event) {
        if let (Some(offers), Some(framework)) = (&mut event.offers, framework) {
            self.name_executors(framework, &mut offers.offers).await;
        }
        let status = event.update.as_mut().map(|update| &mut update.status);
        if let Some(status) =
            status.filter(|status| status.reason() == Reason::ContainerLimitationMemory)
            && let Some(framework) = framework
        {
            status.limitation = self.limitation(framework, &status.task_id.value).await;
        }
        if let (Some(update), Some(framework)) = (&mut event.update, framework)
            && update.status.uuid.is_some()
            && update.status.executor_id.is_none()
        {
            self.name_executor(framework, &mut update.status).await;
        }
        if let Some(update) = &mut event.update
            && let Some(agent) = agent_of(&update.status)
            && let Some(ip) = self.of(&agent).await
        {
            place_mesos_status(&mut update.status, ip);
        }
    }

    /// In which executor a task is, and the number of the latest status of its agent; nothing while the view is behind.
    pub(super) async fn executor(
        &self,
        framework: &FrameworkId,
        status: &Status,
    ) -> Option<(MesosExecutor, u64)> {
        let row = self.row_of(framework, status.task.as_str()).await?;
        let is_same = row.told.incarnation == status.incarnation;
        is_same.then(|| (executor_of(&row), row.told.number))
    }

    /// What a task had that used too much memory; nothing while the view is behind.
    async fn limitation(
        &self,
        framework: &FrameworkId,
        task: &str,
    ) -> Option<TaskResourceLimitation> {
        let row = self.row_of(framework, task).await?;
        let mut all = encode_resources(&row.outline.resources, &ResourceForm::default());
        all.retain(|one| one.name == "mem");
        (!all.is_empty()).then_some(TaskResourceLimitation { resources: all })
    }

    /// Of a task that an earlier subscription has launched.
    async fn name_executor(&self, framework: &FrameworkId, status: &mut TaskStatus) {
        let row = self.row_of(framework, &status.task_id.value).await;
        if let Some(row) = row {
            executor_of(&row).name(status, true);
        }
    }

    /// How a task stood a moment ago.
    async fn row_of(&self, framework: &FrameworkId, task: &str) -> Option<Arc<TaskRow>> {
        let key = (framework.clone(), task.parse().ok()?);
        let last = self.seen().last.clone();
        let last = last.filter(|(at, _)| is_recent(*at));
        let found = last.and_then(|(_, snapshot)| snapshot.tasks.get(&key).cloned());
        match found {
            Some(row) => Some(row),
            None => self.look_at_all().await?.tasks.get(&key).cloned(),
        }
    }

    /// As they were a moment ago; none while the view is behind. Where a framework had none there when it was last looked, its
    /// offers do not wait for another look.
    async fn name_executors(&self, framework: &FrameworkId, offers: &mut [Offer]) {
        let last = self.seen().last.clone();
        let is_old = last.as_ref().is_none_or(|(at, _)| !is_recent(*at));
        let had_any = last.is_none_or(|(_, last)| name_in(&last, framework, offers));
        if is_old && had_any {
            if let Some(snapshot) = self.look_at_all().await {
                name_in(&snapshot, framework, offers);
            }
        } else if is_old {
            let it = self.clone();
            tokio::spawn(async move { it.look_at_all().await });
        }
    }

    /// One looks for all who ask meanwhile.
    async fn look_at_all(&self) -> Option<Arc<Snapshot>> {
        let look = async {
            let asked_at = Instant::now();
            let _held = self.looking_at_all.lock().await;
            let at = Instant::now();
            let last = self.seen().last.clone();
            if let Some((_, last)) = last.filter(|(at, _)| *at >= asked_at) {
                return Some(last);
            }
            if self.seen().failed_at.is_some_and(is_recent) {
                return None;
            }
            let looked = timeout(MESOS_ADDRESSES_WAIT, self.view.snapshot()).await;
            let snapshot = looked.ok().and_then(Result::ok);
            let mut seen = self.seen();
            seen.last = snapshot.clone().map(|snapshot| (at, snapshot));
            seen.failed_at = snapshot.is_none().then(Instant::now);
            snapshot
        };
        timeout(MESOS_ADDRESSES_WAIT, look).await.ok().flatten()
    }

    async fn of(&self, agent: &AgentId) -> Option<IpAddr> {
        let (found, is_old) = self.read(agent);
        if found.is_none() || is_old {
            let looked = timeout(MESOS_ADDRESSES_WAIT, self.look(agent, found.is_some())).await;
            if looked != Ok(Some(())) {
                return found.flatten();
            }
        }
        self.read(agent).0.flatten()
    }

    /// Makes the book anew, unless another stream does; who has an old one does not wait for that. None: nothing new.
    async fn look(&self, agent: &AgentId, has_old: bool) -> Option<()> {
        let _held = match has_old {
            true => self.looking.try_lock().ok()?,
            false => self.looking.lock().await,
        };
        let (found, is_old) = self.read(agent);
        if found.is_some() && !is_old {
            return Some(());
        }
        if self.write().failed_at.is_some_and(is_recent) {
            return None;
        }
        // Until it is known better, and also if nobody waits any more.
        self.write().failed_at = Some(Instant::now());
        let looked_at = Instant::now();
        let snapshot = self.view.snapshot().await.ok()?;
        let rows = snapshot.agents.iter();
        let mut by_agent: BTreeMap<AgentId, Option<IpAddr>> =
            rows.map(|row| (row.agent.clone(), ip_of(row))).collect();
        by_agent.entry(agent.clone()).or_default();
        *self.write() = Known {
            by_agent,
            looked_at: Some(looked_at),
            failed_at: None,
        };
        Some(())
    }

    /// What is known, and whether that is old.
    fn read(&self, agent: &AgentId) -> (Option<Option<IpAddr>>, bool) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_new = known
            .looked_at
            .is_some_and(|at| at.elapsed() < MESOS_ADDRESSES_INTERVAL);
        (known.by_agent.get(agent).copied(), !is_new)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the executors that a framework has on the agents of offers; whether there are any.
fn name_in(snapshot: &Snapshot, framework: &FrameworkId, offers: &mut [Offer]) -> bool {
    let mut is_any = false;
    for offer in offers {
        if let Ok(agent) = offer.agent_id.value.parse() {
            offer.executor_ids = executors_on(snapshot, &agent, framework);
            is_any |= !offer.executor_ids.is_empty();
        }
    }
    is_any
}

fn is_recent(at: Instant) -> bool {
    at.elapsed() < MESOS_ADDRESSES_RETRY
}

/// On which agent a task runs that has a container there.
fn agent_of(status: &TaskStatus) -> Option<AgentId> {
    status.container_status.as_ref()?;
    status.agent_id.as_ref()?.value.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use proffer_master_core::effect::{ExecutorRow, Fact, TaskOutline, TaskRow};
    use proffer_master_core::event::Seq;
    use proffer_model::{Resources, TaskState};
    use proffer_proto::mesos::v1::scheduler::event;

    use super::*;
    use crate::metrics::ClusterMetrics;
    use crate::view::{facts, start};

    #[tokio::test]
    async fn an_offer_names_the_executors_that_its_framework_has_there() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a view");
        let addresses = Addresses::new(view);
        let executor = |agent: &str, framework: &str, executor: &str| {
            Fact::Executor(Arc::new(ExecutorRow {
                agent: agent.parse().expect("an id"),
                framework: framework.parse().expect("an id"),
                executor: executor.parse().expect("an id"),
                role: "r".parse().expect("a role"),
                resources: Resources::new(),
                is_ending: false,
            }))
        };
        let mut facts = vec![
            executor("a", "f", "e1"),
            executor("a", "f", "e2"),
            executor("a", "g", "e3"),
            executor("b", "f", "e4"),
        ];
        feed.tell(&mut facts, Seq::default()).expect("told");
        let offer = |agent: &str| Offer {
            agent_id: proffer_proto::mesos::v1::AgentId {
                value: agent.to_owned(),
            },
            ..Offer::default()
        };
        let mut told = Event {
            offers: Some(event::Offers {
                offers: ["a", "b", "c"].map(offer).into(),
            }),
            ..Event::default()
        };
        let framework = FrameworkId::new("f").expect("an id");
        let named = async |event: &mut Event| {
            addresses.place(Some(&framework), event).await;
            let offers = &event.offers.as_ref().expect("offers").offers;
            let ids = |offer: &Offer| -> Vec<String> {
                let ids = offer.executor_ids.iter();
                ids.map(|id| id.value.clone()).collect()
            };
            offers.iter().map(ids).collect::<Vec<_>>()
        };
        let mut all = named(&mut told).await;
        while all.iter().all(Vec::is_empty) {
            // The view's thread had no time so far.
            addresses.seen().failed_at = None;
            tokio::task::yield_now().await;
            all = named(&mut told).await;
        }
        assert_eq!(all, [vec!["e1", "e2"], vec!["e4"], vec![]]);
        feed.finish();
    }

    #[tokio::test]
    async fn of_many_tasks_that_end_at_once_the_view_is_asked_now_and_then() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a view");
        let addresses = Addresses::new(view);
        let framework = FrameworkId::new("f").expect("an id");
        let limitation = |task| addresses.limitation(&framework, task);
        // Nothing was told to the view yet: it answers nobody.
        assert_eq!(limitation("t1").await, None);
        // For a while nobody waits for it again, however long that is here.
        addresses.seen().failed_at = Instant::now().checked_add(Duration::from_secs(60));
        assert_eq!(limitation("t1").now_or_never(), Some(None));
        addresses.seen().failed_at = None;
        let mut all = vec![facts::framework_row("f", 0)];
        for number in 1..=2 {
            let Fact::Task(row) = facts::task_on("a", "f", number, 1, TaskState::Failed) else {
                panic!("a task")
            };
            let outline = TaskOutline {
                resources: Arc::new("cpus:1;mem:10".parse().expect("good")),
                ..(*row.outline).clone()
            };
            let outline = Arc::new(outline);
            let row = TaskRow {
                outline,
                ..(*row).clone()
            };
            all.push(Fact::Task(Arc::new(row)));
        }
        feed.tell(&mut all, Seq::default()).expect("told");
        let mut found = None;
        for _ in 0..100 {
            found = limitation("t1").await;
            if found.is_some() {
                break;
            }
            // The view's thread had no time so far.
            addresses.seen().failed_at = None;
        }
        let found = found.expect("the view answers").resources;
        assert_eq!(found[0].name, "mem");
        assert_eq!(addresses.seen().failed_at, None);
        // Of what was seen just now the next are told, without the view.
        if let Some((at, _)) = &mut addresses.seen().last {
            *at = Instant::now() + Duration::from_secs(60);
        }
        feed.finish();
        let other = limitation("t2").now_or_never().expect("at once");
        assert_eq!(other.expect("it was seen").resources, found);
    }
}

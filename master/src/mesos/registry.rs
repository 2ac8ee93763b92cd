//! Which framework speaks on which stream: for the calls that come on other connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use proffer_model::{AgentId, Generation, Principal};
use proffer_proto::mesos::AgentStanding;
use proffer_proto::mesos::v1::FrameworkInfo;
use proffer_proto::mesos::v1::scheduler::{Call, OfferConstraints};
use proffer_server::auth::SaidName;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::constraints::Limits;
use crate::limits::MESOS_REMEMBERED_MAX;
use crate::waiting::{Load, Waiting};

/// A call on its way to its stream.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: Box<Call>,
    /// Those of the agents that it names that there are.
    pub(super) agents: BTreeMap<AgentId, AgentStanding>,
    /// Where the caller waits for what became of it, if it does; a refusal is Mesos's text.
    pub(super) answer: Option<oneshot::Sender<Result<(), String>>>,
    /// Its bytes, while it waits.
    pub(super) load: Option<Load>,
    /// Its offer constraints, judged; a refusal is Mesos's text.
    pub(super) limits: Result<Limits, String>,
}

impl Asked {
    pub(super) fn new(call: Call, answer: Option<oneshot::Sender<Result<(), String>>>) -> Self {
        Self {
            call: Box::new(call),
            agents: BTreeMap::new(),
            answer,
            load: None,
            limits: Ok(Limits::default()),
        }
    }
}

/// Who calls: who it is, and by which name.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) said: Option<SaidName>,
}

/// Whose a framework is: who has subscribed as it, and which principal it says it has.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    principal: Principal,
    said: Option<String>,
}

impl Owner {
    pub(super) fn of(principal: &Principal, info: &FrameworkInfo) -> Self {
        Self {
            principal: principal.clone(),
            said: info.principal.clone(),
        }
    }

    /// Whether a call is its owner's; the error is Mesos's text.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), String> {
        check_said(caller.said.as_ref(), self.said.as_deref())?;
        match caller.principal == self.principal {
            true => Ok(()),
            false => Err(mismatch(&caller.principal, &self.principal)),
        }
    }
}

/// The name that a framework calls with is the principal that it says it has; the error is Mesos's text.
pub(super) fn check_said(said: Option<&SaidName>, principal: Option<&str>) -> Result<(), String> {
    match (said, principal) {
        (Some(SaidName(said)), Some(principal)) if said != principal => {
            Err(mismatch(said, principal))
        }
        _ => Ok(()),
    }
}

fn mismatch(caller: impl fmt::Display, owner: impl fmt::Display) -> String {
    format!(
        "Authenticated principal '{caller}' does not match principal '{owner}' set in `FrameworkInfo`"
    )
}

/// Where the calls of a stream go.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) calls: mpsc::Sender<Asked>,
    /// Their bytes.
    pub(super) waiting: Waiting,
    /// Who may make them.
    pub(super) owner: Owner,
}

impl Line {
    pub(super) fn new(calls: mpsc::Sender<Asked>, waiting: Waiting, owner: Owner) -> Self {
        Self {
            calls,
            waiting,
            owner,
        }
    }
}

/// All streams of a term.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<Mutex<BTreeMap<String, Entry>>>);

/// On which agents a framework wants to be offered something, as it has said it: the bytes, which are a fraction of what they
/// are as a message or as JSON, and are read when somebody looks.
#[derive(Debug, Default)]
pub(super) struct SaidConstraints(Vec<u8>);

impl SaidConstraints {
    pub(super) fn new(message: &OfferConstraints) -> Self {
        Self(message.encode_to_vec())
    }

    pub(super) fn message(&self) -> OfferConstraints {
        // They were written from one.
        OfferConstraints::decode(self.0.as_slice()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Entry {
    stream: String,
    /// Of its session: of two streams that enter at the same time the later one counts.
    generation: Generation,
    line: Line,
    /// The stream's, and gone with it.
    constraints: Weak<SaidConstraints>,
}

/// What is known of a framework that calls.
#[derive(Debug)]
pub(super) enum Found {
    /// Nobody has subscribed as this one in this term.
    Unknown,
    /// It was subscribed, and is this one's.
    Disconnected(Owner),
    /// It is subscribed, on this stream.
    Subscribed(String, Line),
}

impl Registry {
    /// A framework speaks on this stream from now on.
    pub(super) fn enter(&self, framework: &str, stream: &str, generation: Generation, line: Line) {
        let mut all = self.lock();
        let known = all.get(framework);
        if known.is_some_and(|known| known.generation > generation) {
            return;
        }
        let entry = Entry {
            stream: stream.to_owned(),
            generation,
            line,
            constraints: Weak::new(),
        };
        all.insert(framework.to_owned(), entry);
        if all.len() > MESOS_REMEMBERED_MAX {
            let gone = all.iter().find(|(_, entry)| entry.line.calls.is_closed());
            let gone = gone.map(|(framework, _)| framework.clone());
            gone.and_then(|framework| all.remove(&framework));
        }
    }

    /// What the framework of a stream has said of where it wants to be offered something. It is the stream that keeps it.
    pub(super) fn constrain(&self, framework: &str, stream: &str, said: &Arc<SaidConstraints>) {
        let mut all = self.lock();
        if let Some(entry) = all.get_mut(framework)
            && entry.stream == stream
        {
            entry.constraints = Arc::downgrade(said);
        }
    }

    /// What a framework has said of it last; none: it has no stream.
    pub(super) fn constraints(&self, framework: &str) -> Option<Arc<SaidConstraints>> {
        self.lock().get(framework)?.constraints.upgrade()
    }

    /// A framework is over.
    pub(super) fn forget(&self, framework: &str, stream: &str) {
        let mut all = self.lock();
        if all
            .get(framework)
            .is_some_and(|entry| entry.stream == stream)
        {
            all.remove(framework);
        }
    }

    /// Whether a framework speaks on this stream and on no later one.
    pub(super) fn holds(&self, framework: &str, stream: &str) -> bool {
        let all = self.lock();
        all.get(framework)
            .is_some_and(|entry| entry.stream == stream)
    }

    pub(super) fn find(&self, framework: &str) -> Found {
        match self.lock().get(framework) {
            None => Found::Unknown,
            Some(entry) if entry.line.calls.is_closed() => {
                Found::Disconnected(entry.line.owner.clone())
            }
            Some(entry) => Found::Subscribed(entry.stream.clone(), entry.line.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str) -> Principal {
        Principal::new(name).expect("a name")
    }

    #[test]
    fn the_name_that_a_framework_calls_with_is_its_principal() {
        let named = |name: &str| Some(SaidName(name.to_owned()));
        for (said, info, is_good) in [
            (named("me"), Some("me"), true),
            (named("me"), None, true),
            (None, Some("other"), true),
            (named("me"), Some("other"), false),
        ] {
            let info = FrameworkInfo {
                principal: info.map(str::to_owned),
                ..FrameworkInfo::default()
            };
            let owner = Owner::of(&principal("local"), &info);
            let caller = Caller {
                principal: principal("local"),
                said,
            };
            assert_eq!(owner.check(&caller).is_ok(), is_good, "{owner:?}");
            let stranger = Caller {
                principal: principal("stranger"),
                ..caller
            };
            owner.check(&stranger).expect_err("it is another's");
        }
    }

    #[test]
    fn of_two_streams_that_enter_in_any_order_the_later_one_counts() {
        for order in [[1, 2], [2, 1]] {
            let registry = Registry::default();
            let (calls, _asked) = mpsc::channel(1);
            let owner = Owner::of(&principal("local"), &FrameworkInfo::default());
            let line = Line::new(calls, Waiting::default(), owner);
            for generation in order {
                let stream = format!("s{generation}");
                registry.enter("f", &stream, Generation(generation), line.clone());
            }
            let Found::Subscribed(stream, _) = registry.find("f") else {
                panic!("it is subscribed")
            };
            assert_eq!(stream, "s2", "{order:?}");
            assert!(registry.holds("f", "s2") && !registry.holds("f", "s1"));
            registry.forget("f", "s1");
            assert!(registry.holds("f", "s2"), "an older one ends alone");
        }
    }
}

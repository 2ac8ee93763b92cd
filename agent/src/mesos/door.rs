//! One executor of Mesos's API: what it is, its token, what was said so far, and its stream, if it has one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proffer_agent_core::{RunId, SessionId};
use proffer_model::executor::ExecutorEvent;
use proffer_model::{AgentDescription, AgentId, Command, ExecutorSpec, FrameworkId};
use proffer_proto::mesos::v1::executor::{Event, call, event};
use proffer_proto::mesos::{ResourceForm, encode_attributes, encode_domain, encode_resources, v1};
use proffer_server::auth::LocalToken;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::peer::Callers;
use super::translator::{Record, Subscribing, Translator, Unfit, Update, of_type};
use crate::executors::Executors;

/// An executor that may call.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) run: RunId,
    pub(super) dir: PathBuf,
    pub(super) framework: FrameworkId,
    pub(super) spec: Arc<ExecutorSpec>,
    pub(super) token: LocalToken,
    pub(super) ended: CancellationToken,
    /// Its processes that have called without a token.
    pub(super) callers: Callers,
    /// Held from reading a call until the core has it: numbers are to arrive in their order.
    pub(super) order: Arc<tokio::sync::Mutex<()>>,
    memory: Mutex<Memory>,
    stream: Mutex<Option<Live>>,
}

/// What outlives the agent.
#[derive(Debug)]
struct Memory {
    translator: Translator,
    ledger: Ledger,
}

/// The stream that counts.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) session: SessionId,
    /// For what is answered without the core.
    pub(super) answers: mpsc::Sender<Event>,
}

/// Why something was not translated.
#[derive(Debug)]
pub(super) enum Failure {
    /// The executor has said something that it must not; Mesos's text.
    Refused(String),
    /// It says more than can be kept at this moment; the text is for people.
    Early(String),
    /// What has to be kept cannot be written.
    Ledger(io::Error),
}

impl Door {
    /// Takes up what an earlier agent has kept of it.
    pub(super) fn open(
        run: RunId,
        dir: PathBuf,
        (framework, spec): (FrameworkId, Arc<ExecutorSpec>),
        ended: CancellationToken,
    ) -> io::Result<Self> {
        let token = Executors::token(&dir)?;
        let mut translator = Translator::default();
        let ledger = Ledger::open(&dir, &mut translator)?;
        Ok(Self {
            run,
            dir,
            framework,
            spec,
            token,
            ended,
            callers: Callers::default(),
            order: Arc::default(),
            memory: Mutex::new(Memory { translator, ledger }),
            stream: Mutex::new(None),
        })
    }

    /// How it begins. Blocks.
    pub(super) fn subscribe(&self, mut call: call::Subscribe) -> Result<Subscribing, Failure> {
        for update in &mut call.unacknowledged_updates {
            self.complete(&mut update.status);
        }
        let mut memory = self.memory();
        let beginning = memory.translator.subscribe(&call);
        for why in &beginning.left_out {
            tracing::warn!(run = %self.run, why, "a status of a Mesos executor is left out");
        }
        memory.keep(&beginning.records)?;
        Ok(beginning)
    }

    /// Of all its tasks.
    fn container_id(&self) -> v1::ContainerId {
        v1::ContainerId {
            value: self.run.to_string(),
            parent: None,
        }
    }

    /// What it leaves out of its statuses is said for it.
    fn complete(&self, status: &mut v1::TaskStatus) {
        let id = self.spec.id.to_string();
        status
            .executor_id
            .get_or_insert(v1::ExecutorId { value: id });
        let container = status.container_status.get_or_insert_default();
        let own = container.container_id.take();
        container.container_id = own.or_else(|| Some(self.container_id()));
    }

    /// A status of it. Blocks.
    pub(super) fn update(&self, mut status: v1::TaskStatus) -> Result<Update, Failure> {
        self.complete(&mut status);
        let mut memory = self.memory();
        let update = memory.translator.update(&status);
        let update = update.map_err(|unfit| match unfit {
            Unfit::Wrong(text) => Failure::Refused(text),
            Unfit::Early(text) => Failure::Early(text),
        })?;
        if let Update::Known(_, Some(record)) = &update {
            memory.keep(std::slice::from_ref(record))?;
        }
        Ok(update)
    }

    /// What it is told of what the core says. Blocks.
    pub(super) fn tell(
        &self,
        event: &ExecutorEvent,
        description: &AgentDescription,
    ) -> Result<Vec<Event>, Failure> {
        if let ExecutorEvent::Subscribed { agent, .. } = event {
            return Ok(vec![self.subscribed(agent.as_ref(), description)]);
        }
        let mut memory = self.memory();
        let translated = memory.translator.event(event);
        let (events, records) = translated.map_err(Failure::Refused)?;
        memory.keep(&records)?;
        Ok(events)
    }

    /// The first event of a stream.
    fn subscribed(&self, agent: Option<&AgentId>, description: &AgentDescription) -> Event {
        let kept = event::Subscribed::decode(&*self.spec.info).unwrap_or_default();
        let framework_id = v1::FrameworkId {
            value: self.framework.to_string(),
        };
        let executor_info = match kept.executor_info.executor_id.value.is_empty() {
            true => described(&self.spec),
            false => kept.executor_info,
        };
        let grace = self.spec.shutdown_grace.as_nanos();
        let nanoseconds = i64::try_from(grace).unwrap_or(i64::MAX);
        let port = description.address.rsplit_once(':');
        let subscribed = event::Subscribed {
            executor_info: v1::ExecutorInfo {
                framework_id: Some(framework_id.clone()),
                shutdown_grace_period: Some(v1::DurationInfo { nanoseconds }),
                ..executor_info
            },
            framework_info: v1::FrameworkInfo {
                id: Some(framework_id),
                ..kept.framework_info
            },
            agent_info: v1::AgentInfo {
                hostname: description.host.clone(),
                port: port.and_then(|(_, port)| port.parse().ok()),
                id: agent.map(|agent| v1::AgentId {
                    value: agent.to_string(),
                }),
                resources: encode_resources(&description.resources, &ResourceForm::default()),
                attributes: encode_attributes(&description.attributes),
                domain: description.domain.as_ref().map(encode_domain),
            },
            container_id: Some(self.container_id()),
        };
        Event {
            subscribed: Some(subscribed),
            ..of_type(event::Type::Subscribed)
        }
    }

    /// The stream that counts, if there is one.
    pub(super) fn stream(&self) -> Option<Live> {
        self.live().clone()
    }

    /// Another stream counts from now on.
    pub(super) fn begin(&self, live: Live) {
        *self.live() = Some(live);
    }

    /// A stream has ended.
    pub(super) fn end(&self, session: SessionId) {
        self.live().take_if(|live| live.session == session);
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn keep(&mut self, records: &[Record]) -> Result<(), Failure> {
        let kept = self.ledger.append(records, &self.translator);
        kept.map_err(|error| {
            self.translator.take_back(records);
            Failure::Ledger(error)
        })
    }
}

/// What can be said of an executor of which nobody has kept its own description.
fn described(spec: &ExecutorSpec) -> v1::ExecutorInfo {
    let command = match &spec.command {
        Command::Shell(line) => v1::CommandInfo {
            value: Some(line.clone()),
            ..v1::CommandInfo::default()
        },
        Command::Exec(arguments) => v1::CommandInfo {
            shell: Some(false),
            value: arguments.first().cloned(),
            arguments: arguments.clone(),
            ..v1::CommandInfo::default()
        },
        Command::Named { program, arguments } => v1::CommandInfo {
            shell: Some(false),
            value: Some(program.clone()),
            arguments: arguments.clone(),
            ..v1::CommandInfo::default()
        },
        Command::Image(_) | Command::Data(_) => v1::CommandInfo::default(),
    };
    v1::ExecutorInfo {
        r#type: Some(v1::executor_info::Type::Custom.into()),
        executor_id: v1::ExecutorId {
            value: spec.id.to_string(),
        },
        command: Some(command),
        ..v1::ExecutorInfo::default()
    }
}

//! The agent's files: who it is, what it was told to run, what became of it.
//!
//! Only the content: framing, checksums and safe writing are the agent's, as is what happens when a file is damaged.

use proffer_model::checkpoint::{AgentIdentity, ExecutorRun, Run, StatusEntry};
use proffer_model::limits::KILL_GRACE_MAX;
use proffer_model::{Epoch, Incarnation, Problem, TaskId};

use crate::agent_link::{decode_incarnation, decode_payer, encode_payer};
use crate::checkpoint::v1;
use crate::checkpoint::v1::status_entry::Entry;
use crate::executor::{decode_executor, encode_executor};
use crate::fields::{
    decode_duration, decode_id, decode_optional_id, decode_text, encode_duration, required,
};
use crate::task::{
    decode_labels, decode_reason, decode_status, decode_task_spec, encode_reason, encode_status,
    encode_task_spec,
};
use crate::v1::Labels;

/// The content of the file `agent`.
pub fn encode_agent_identity(identity: &AgentIdentity) -> v1::AgentIdentity {
    let (agent, cluster) = (identity.agent.as_ref(), identity.cluster.as_ref());
    v1::AgentIdentity {
        agent_id: agent.map(ToString::to_string).unwrap_or_default(),
        cluster_id: cluster.map(ToString::to_string).unwrap_or_default(),
        epoch: identity.epoch.0,
        boot_id: identity.boot_id.clone(),
        links: identity.links,
    }
}

/// The content of the file `agent`, checked.
pub fn decode_agent_identity(identity: v1::AgentIdentity) -> Result<AgentIdentity, Problem> {
    Ok(AgentIdentity {
        agent: decode_optional_id(&identity.agent_id, "agent_id")?,
        cluster: decode_optional_id(&identity.cluster_id, "cluster_id")?,
        epoch: Epoch(identity.epoch),
        boot_id: decode_text(identity.boot_id, "boot_id")?,
        links: identity.links,
    })
}

/// The content of the file `task` of a run. Holds secrets.
pub fn encode_run(run: &Run) -> v1::Run {
    v1::Run {
        framework_id: run.framework.to_string(),
        incarnation: run.incarnation.0,
        spec: Some(encode_task_spec(&run.spec)),
        payer: run.payer.as_ref().map(encode_payer),
        group: run.group.as_ref().map(|(task, incarnation)| v1::Group {
            task_id: task.to_string(),
            incarnation: incarnation.0,
        }),
        executor: run.executor.unwrap_or_default(),
    }
}

/// The content of the file `task` of a run, checked.
pub fn decode_run(run: v1::Run) -> Result<Run, Problem> {
    let spec = required(run.spec, "spec")?;
    Ok(Run {
        framework: decode_id(&run.framework_id, "framework_id")?,
        incarnation: decode_incarnation(run.incarnation)?,
        spec: decode_task_spec(spec).map_err(|problem| problem.within("spec"))?,
        payer: decode_payer(run.payer)?,
        group: run.group.map(decode_group).transpose()?,
        executor: (run.executor > 0).then_some(run.executor),
    })
}

fn decode_group(group: v1::Group) -> Result<(TaskId, Incarnation), Problem> {
    let task = decode_id(&group.task_id, "group.task_id")?;
    let incarnation = decode_incarnation(group.incarnation);
    Ok((
        task,
        incarnation.map_err(|problem| problem.within("group"))?,
    ))
}

/// The content of the file `executor` of a run. Holds secrets.
pub fn encode_executor_run(run: &ExecutorRun) -> v1::ExecutorRun {
    v1::ExecutorRun {
        framework_id: run.framework.to_string(),
        spec: Some(encode_executor(&run.spec)),
        payer: run.payer.as_ref().map(encode_payer),
    }
}

/// The content of the file `executor` of a run, checked.
pub fn decode_executor_run(run: v1::ExecutorRun) -> Result<ExecutorRun, Problem> {
    let spec = required(run.spec, "spec")?;
    Ok(ExecutorRun {
        framework: decode_id(&run.framework_id, "framework_id")?,
        spec: decode_executor(spec).map_err(|problem| problem.within("spec"))?,
        payer: decode_payer(run.payer)?,
    })
}

/// One entry of the file `statuses` of a run.
pub fn encode_status_entry(entry: &StatusEntry) -> v1::StatusEntry {
    let (mut executor_number, mut made_boot_ns) = (0, 0);
    let entry = match entry {
        StatusEntry::Made {
            status,
            said,
            boot_ns,
        } => {
            (executor_number, made_boot_ns) = (*said, *boot_ns);
            Entry::Made(encode_status(status))
        }
        StatusEntry::Acknowledged(number) => Entry::Acknowledged(*number),
        StatusEntry::Kill { grace, reason } => Entry::Kill(v1::KillIntent {
            grace_ms: encode_duration(*grace),
            reason: encode_reason(*reason).into(),
        }),
        StatusEntry::Changed { labels, grace } => Entry::Change(v1::TaskChange {
            labels: labels.clone().map(|labels| Labels { labels }),
            kill_grace_ms: grace.map(encode_duration),
        }),
    };
    v1::StatusEntry {
        entry: Some(entry),
        executor_number,
        made_boot_ns,
    }
}

/// One entry of the file `statuses` of a run, checked.
pub fn decode_status_entry(entry: v1::StatusEntry) -> Result<StatusEntry, Problem> {
    Ok(match required(entry.entry, "entry")? {
        Entry::Made(status) => StatusEntry::Made {
            status: decode_status(status).map_err(|problem| problem.within("made"))?,
            said: entry.executor_number,
            boot_ns: entry.made_boot_ns,
        },
        Entry::Acknowledged(number) => StatusEntry::Acknowledged(number),
        Entry::Kill(kill) => StatusEntry::Kill {
            grace: decode_duration(kill.grace_ms, "kill.grace_ms", KILL_GRACE_MAX)?,
            reason: decode_reason(kill.reason, "kill.reason")?,
        },
        Entry::Change(change) => decode_change(change).map_err(|it| it.within("change"))?,
    })
}

fn decode_change(change: v1::TaskChange) -> Result<StatusEntry, Problem> {
    let labels = change.labels.map(|labels| decode_labels(labels.labels));
    let grace = change.kill_grace_ms;
    Ok(StatusEntry::Changed {
        labels: labels.transpose()?,
        grace: grace
            .map(|ms| decode_duration(ms, "kill_grace_ms", KILL_GRACE_MAX))
            .transpose()?,
    })
}

//! A framework's own executors: what they are, and where tasks find their volumes.

use std::sync::Arc;

use proffer_model::limits::{
    EXECUTOR_INFO_LEN_MAX, EXECUTOR_MESSAGE_LEN_MAX, KILL_GRACE_MAX, SHUTDOWN_GRACE_DEFAULT,
    VOLUMES_MAX,
};
use proffer_model::{Command, ExecutorApi, ExecutorSpec, Problem, VolumeMount, code};

use crate::fields::{
    check_distinct, decode_duration, decode_id, decode_list, decode_system_text, encode_duration,
    invalid, missing, required,
};
use crate::found::{decode_fetches, encode_fetch};
use crate::mesos;
use crate::resources::{decode_resources, encode_resources};
use crate::task::{decode_environment, decode_exec, decode_shell, encode_environment, encode_exec};
use crate::v1;

/// An executor, for the wire. Carries secrets: only for agents and their files.
pub fn encode_executor(spec: &ExecutorSpec) -> v1::ExecutorSpec {
    let command = match &spec.command {
        Command::Shell(line) => Some(v1::executor_spec::Command::Shell(line.clone())),
        Command::Exec(arguments) => {
            Some(v1::executor_spec::Command::Exec(encode_exec(arguments, "")))
        }
        Command::Named { program, arguments } => {
            let exec = encode_exec(arguments, program);
            Some(v1::executor_spec::Command::Exec(exec))
        }
        // Never decoded into an executor.
        Command::Image(_) | Command::Data(_) => None,
    };
    v1::ExecutorSpec {
        id: spec.id.to_string(),
        resources: Some(encode_resources(&spec.resources)),
        command,
        environment: encode_environment(&spec.environment),
        user: spec.user.clone().unwrap_or_default(),
        shutdown_grace_ms: Some(encode_duration(spec.shutdown_grace)),
        api: match spec.api {
            ExecutorApi::Proffer => v1::ExecutorApi::Proffer.into(),
            ExecutorApi::MesosV1 => v1::ExecutorApi::MesosV1.into(),
        },
        info: spec.info.clone(),
        fetch: spec.fetch.iter().map(encode_fetch).collect(),
    }
}

/// An executor, from the wire; without resources it holds none.
pub fn decode_executor(spec: v1::ExecutorSpec) -> Result<ExecutorSpec, Problem> {
    let command = match required(spec.command, "command")? {
        v1::executor_spec::Command::Shell(line) => Command::Shell(decode_shell(line)?),
        v1::executor_spec::Command::Exec(exec) => decode_exec(exec)?,
    };
    let resources = decode_resources(spec.resources.unwrap_or_default());
    let api = decode_api(spec.api)?;
    let info = decode_bytes(spec.info, EXECUTOR_INFO_LEN_MAX);
    let info = info.map_err(|problem| problem.field("info"))?;
    Ok(ExecutorSpec {
        id: decode_id(&spec.id, "id")?,
        resources: resources.map_err(|problem| problem.within("resources"))?,
        command,
        environment: decode_environment(spec.environment)?,
        user: Some(decode_system_text(spec.user, "user")?).filter(|user| !user.is_empty()),
        shutdown_grace: match spec.shutdown_grace_ms {
            Some(ms) => decode_duration(ms, "shutdown_grace_ms", KILL_GRACE_MAX)?,
            None => SHUTDOWN_GRACE_DEFAULT,
        },
        api,
        info_compared: match api {
            ExecutorApi::Proffer => None,
            // It may have been kept by an earlier version.
            ExecutorApi::MesosV1 => mesos::settled(&info),
        },
        info,
        fetch: decode_fetches(spec.fetch)?,
    })
}

fn decode_api(api: i32) -> Result<ExecutorApi, Problem> {
    match v1::ExecutorApi::try_from(api) {
        Ok(v1::ExecutorApi::Unspecified | v1::ExecutorApi::Proffer) => Ok(ExecutorApi::Proffer),
        Ok(v1::ExecutorApi::MesosV1) => Ok(ExecutorApi::MesosV1),
        Err(_) => Err(invalid("api", format!("{api} is no API of executors"))
            .hint("give EXECUTOR_API_PROFFER or EXECUTOR_API_MESOS_V1")),
    }
}

/// The executor of a task, which goes with data as its command, and only with it.
pub(crate) fn decode_task_executor(
    spec: Option<v1::ExecutorSpec>,
    command: &Command,
) -> Result<Option<Arc<ExecutorSpec>>, Problem> {
    match (spec, command) {
        (None, Command::Data(_)) => {
            Err(missing("executor").hint("give the executor that understands the data"))
        }
        (None, _) => Ok(None),
        (Some(spec), Command::Data(_)) => {
            let spec = decode_executor(spec).map_err(|problem| problem.within("executor"))?;
            Ok(Some(Arc::new(spec)))
        }
        (Some(_), _) => Err(
            invalid("data", "a task with an executor has another command")
                .hint("give what the executor is to do as data"),
        ),
    }
}

/// Where a task finds a volume, for the wire.
pub(crate) fn encode_mount(mount: &VolumeMount) -> v1::VolumeMount {
    v1::VolumeMount {
        volume_id: mount.volume.to_string(),
        path: mount.path.clone(),
        read_only: mount.is_read_only,
    }
}

/// Where a task finds its volumes, from the wire: no volume and no path twice. Whether they are among its resources is
/// looked at when the task is launched.
pub(crate) fn decode_mounts(mounts: Vec<v1::VolumeMount>) -> Result<Vec<VolumeMount>, Problem> {
    let mounts = decode_list(mounts, "volumes", VOLUMES_MAX, decode_mount)?;
    check_distinct(mounts.iter().map(|mount| &mount.volume), |i| {
        format!("volumes[{i}].volume_id")
    })?;
    check_distinct(mounts.iter().map(|mount| &mount.path), |i| {
        format!("volumes[{i}].path")
    })?;
    Ok(mounts)
}

fn decode_mount(mount: v1::VolumeMount) -> Result<VolumeMount, Problem> {
    let path = decode_system_text(mount.path, "path")?;
    let is_whole = path.split('/').skip(usize::from(path.starts_with('/')));
    if path.is_empty()
        || is_whole
            .into_iter()
            .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(
            invalid("path", format!("{path:?} is not a path to mount at"))
                .hint("give a path such as data, without . and .. and empty parts"),
        );
    }
    Ok(VolumeMount {
        volume: decode_id(&mount.volume_id, "volume_id")?,
        path,
        is_read_only: mount.read_only,
    })
}

/// Bytes between a framework and an executor, as a message of their own.
pub(crate) fn decode_data(data: Vec<u8>) -> Result<Vec<u8>, Problem> {
    decode_bytes(data, EXECUTOR_MESSAGE_LEN_MAX)
}

/// Bytes between a framework and an executor.
pub(crate) fn decode_bytes(data: Vec<u8>, max: usize) -> Result<Vec<u8>, Problem> {
    let len = data.len();
    if len > max {
        let message = format!("the data has {len} bytes; the limit is {max}");
        return Err(Problem::new(code::FIELD_TOO_LONG, message)
            .field("data")
            .hint("give what is large to the tasks as files, and send its name"));
    }
    Ok(data)
}

//! Operations on offered resources, and what became of them.
//!
//! Only the form is checked here; whether the resources are offered, reserved or in use is the master's to judge.

use proffer_model::limits::{ITEMS_PER_CALL_MAX, SCALAR_MILLI_MAX};
use proffer_model::operation::{LaunchResult, Operation, OperationResult};
use proffer_model::{Incarnation, Problem, Resources, code};

use crate::fields::{check_count, decode_id, decode_list, invalid, missing, required};
use crate::problem::{decode_problem, encode_problem};
use crate::resources::{decode_resources, encode_resources};
use crate::task::{decode_task_spec, encode_task_spec};
use crate::v1;
use crate::v1::operation::Operation as WireOperation;
use crate::v1::operation_result::Result as WireResult;

/// An operation, for the wire.
pub(crate) fn encode_operation(operation: &Operation) -> v1::Operation {
    let operation = match operation {
        Operation::Launch(spec) => WireOperation::Launch(encode_task_spec(spec)),
        Operation::LaunchGroup(specs) => WireOperation::LaunchGroup(v1::LaunchGroup {
            tasks: specs.iter().map(encode_task_spec).collect(),
        }),
        Operation::Reserve(resources) => WireOperation::Reserve(encode_resources(resources)),
        Operation::Unreserve(resources) => WireOperation::Unreserve(encode_resources(resources)),
        Operation::Create(volumes) => WireOperation::Create(encode_resources(volumes)),
        Operation::Destroy(volumes) => WireOperation::Destroy(encode_resources(volumes)),
        Operation::Grow { volume, milli } => WireOperation::Grow(v1::GrowVolume {
            volume_id: volume.to_string(),
            milli: *milli,
        }),
        Operation::Shrink { volume, milli } => WireOperation::Shrink(v1::ShrinkVolume {
            volume_id: volume.to_string(),
            milli: *milli,
        }),
    };
    v1::Operation {
        operation: Some(operation),
    }
}

/// An operation, from the wire.
pub(crate) fn decode_operation(operation: v1::Operation) -> Result<Operation, Problem> {
    let (field, decoded) = match required(operation.operation, "operation")? {
        WireOperation::Launch(spec) => ("launch", decode_task_spec(spec).map(Operation::launch)),
        WireOperation::LaunchGroup(group) => ("launch_group", decode_group(group)),
        WireOperation::Reserve(resources) => {
            ("reserve", decode_some(resources).map(Operation::Reserve))
        }
        WireOperation::Unreserve(resources) => {
            let resources = decode_some(resources);
            ("unreserve", resources.map(Operation::Unreserve))
        }
        WireOperation::Create(volumes) => ("create", decode_some(volumes).map(Operation::Create)),
        WireOperation::Destroy(volumes) => {
            ("destroy", decode_some(volumes).map(Operation::Destroy))
        }
        WireOperation::Grow(grow) => ("grow", decode_grow(&grow)),
        WireOperation::Shrink(shrink) => ("shrink", decode_shrink(&shrink)),
    };
    decoded.map_err(|problem| problem.within(field))
}

/// All operations of an accept together: so many tasks at most, and none of them twice.
pub(crate) fn check_tasks(operations: &[Operation]) -> Result<(), Problem> {
    let mut seen = std::collections::BTreeSet::new();
    for (i, operation) in operations.iter().enumerate() {
        for (j, spec) in operation.tasks().iter().enumerate() {
            if seen.insert(&spec.id) {
                continue;
            }
            let field = match operation {
                Operation::LaunchGroup(_) => format!("operations[{i}].launch_group.tasks[{j}].id"),
                _ => format!("operations[{i}].launch.id"),
            };
            let message = format!("{} is given twice", spec.id);
            return Err(invalid(field, message).hint("give each of them once"));
        }
    }
    check_count(seen.len(), "operations", ITEMS_PER_CALL_MAX)
}

/// What became of an operation, for the wire.
pub(crate) fn encode_operation_result(result: &OperationResult) -> v1::OperationResult {
    let result = match result {
        OperationResult::Launched(result) => WireResult::Launched(encode_launch_result(result)),
        OperationResult::LaunchedGroup(results) => {
            let results = results.iter().map(encode_launch_result).collect();
            WireResult::LaunchedGroup(v1::LaunchedGroup { results })
        }
        OperationResult::Done => WireResult::Done(v1::Done {}),
        OperationResult::Refused(problem) => WireResult::Refused(encode_problem(problem)),
    };
    v1::OperationResult {
        result: Some(result),
    }
}

/// What became of an operation, from the wire.
pub(crate) fn decode_operation_result(
    result: v1::OperationResult,
) -> Result<OperationResult, Problem> {
    Ok(match required(result.result, "result")? {
        WireResult::Launched(result) => OperationResult::Launched(
            decode_launch_result(result).map_err(|problem| problem.within("launched"))?,
        ),
        WireResult::LaunchedGroup(group) => {
            let decode = decode_launch_result;
            let results = decode_list(group.results, "results", ITEMS_PER_CALL_MAX, decode)
                .map_err(|problem| problem.within("launched_group"))?;
            OperationResult::LaunchedGroup(results)
        }
        WireResult::Done(v1::Done {}) => OperationResult::Done,
        WireResult::Refused(problem) => OperationResult::Refused(decode_problem(problem)),
    })
}

fn decode_group(group: v1::LaunchGroup) -> Result<Operation, Problem> {
    if group.tasks.is_empty() {
        return Err(missing("tasks").hint("give at least one task"));
    }
    let tasks = decode_list(group.tasks, "tasks", ITEMS_PER_CALL_MAX, decode_task_spec)?;
    Ok(Operation::LaunchGroup(tasks))
}

/// Resources, and not none of them.
fn decode_some(resources: v1::Resources) -> Result<Resources, Problem> {
    let resources = decode_resources(resources)?;
    if resources.is_empty() {
        return Err(
            Problem::new(code::FIELD_MISSING, "no resources are given").hint("give at least one")
        );
    }
    Ok(resources)
}

fn decode_grow(grow: &v1::GrowVolume) -> Result<Operation, Problem> {
    Ok(Operation::Grow {
        volume: decode_id(&grow.volume_id, "volume_id")?,
        milli: decode_volume_change(grow.milli)?,
    })
}

fn decode_shrink(shrink: &v1::ShrinkVolume) -> Result<Operation, Problem> {
    Ok(Operation::Shrink {
        volume: decode_id(&shrink.volume_id, "volume_id")?,
        milli: decode_volume_change(shrink.milli)?,
    })
}

/// By how much a volume is to change, in thousandths of MB; something at least.
pub fn decode_volume_change(milli: u64) -> Result<u64, Problem> {
    match milli {
        0 => Err(missing("milli").hint("say by how many thousandths of MB")),
        1..=SCALAR_MILLI_MAX => Ok(milli),
        _ => {
            let most = SCALAR_MILLI_MAX;
            let message = format!("{milli} is larger than {most}");
            Err(invalid("milli", message).hint(format!("give at most {most}")))
        }
    }
}

fn encode_launch_result(result: &LaunchResult) -> v1::LaunchResult {
    let outcome = match &result.outcome {
        Ok(incarnation) => v1::launch_result::Outcome::Incarnation(incarnation.0),
        Err(problem) => v1::launch_result::Outcome::Refused(encode_problem(problem)),
    };
    v1::LaunchResult {
        task_id: result.task.to_string(),
        outcome: Some(outcome),
    }
}

fn decode_launch_result(result: v1::LaunchResult) -> Result<LaunchResult, Problem> {
    let outcome = match required(result.outcome, "outcome")? {
        v1::launch_result::Outcome::Incarnation(number) => Ok(Incarnation(number)),
        v1::launch_result::Outcome::Refused(problem) => Err(decode_problem(problem)),
    };
    Ok(LaunchResult {
        task: decode_id(&result.task_id, "task_id")?,
        outcome,
    })
}

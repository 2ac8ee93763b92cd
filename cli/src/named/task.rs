//! Finds the one task that a name given on the command line stands for: of its exact id, else of a part of it.
//!
//! Ids are the frameworks' own: where several have a task of one id, none is chosen, and `--framework` says whose is meant.

use std::collections::BTreeSet;

use proffer_model::{Problem, TaskId, code};
use proffer_proto::v1;

use super::IDS_NAMED;
use crate::master_client::MasterClient;
use crate::task::is_part;

/// The task with exactly this id; of the framework with that id, or of whichever has one when that is empty.
pub(crate) async fn with_id(
    master: &mut MasterClient,
    name: &str,
    framework_id: &str,
) -> Result<Option<v1::Task>, Problem> {
    // What cannot be an id, such as an app's path or a name with spaces, is no task's.
    if TaskId::new(name).is_err() {
        return Ok(None);
    }
    let asked = v1::ListTasksRequest {
        framework_id: framework_id.to_owned(),
        task_id: name.to_owned(),
        ..v1::ListTasksRequest::default()
    };
    the_only(master.tasks_like(asked).await?)
}

/// The task with this id, or of which this is a part of the id; `…` stands for what a table has left out. None when there is
/// none, a problem when there are several.
pub(crate) fn one_like(mut tasks: Vec<v1::Task>, name: &str) -> Result<Option<v1::Task>, Problem> {
    match tasks.iter().any(|task| task.id == name) {
        true => tasks.retain(|task| task.id == name),
        false => tasks.retain(|task| is_part(name, &task.id)),
    }
    let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    if ids.len() > 1 {
        let message = format!("{name} stands in several tasks' ids");
        let hint = "give more of the id; `proffer tasks --all` lists the tasks";
        return Err(Problem::new(code::TASK_UNKNOWN, message).hint(hint));
    }
    the_only(tasks)
}

/// Which launch of its id it is.
pub(crate) fn incarnation_of(task: &v1::Task) -> u64 {
    task.status.as_ref().map_or(0, |status| status.incarnation)
}

/// Of tasks with one id the last incarnation; a problem when they are of several frameworks.
fn the_only(tasks: Vec<v1::Task>) -> Result<Option<v1::Task>, Problem> {
    let frameworks = tasks.iter().map(|task| task.framework_id.as_str());
    let frameworks: BTreeSet<&str> = frameworks.collect();
    match tasks.first() {
        Some(task) if frameworks.len() > 1 => Err(of_several(&task.id, &frameworks)),
        _ => Ok(tasks.into_iter().max_by_key(incarnation_of)),
    }
}

/// That several frameworks have a task of this id.
pub(crate) fn of_several(task_id: &str, frameworks: &BTreeSet<&str>) -> Problem {
    let count = frameworks.len();
    let more = if count > IDS_NAMED { ", …" } else { "" };
    let ids: Vec<&str> = frameworks.iter().copied().take(IDS_NAMED).collect();
    let ids = ids.join(", ");
    let message = format!("{count} frameworks have a task {task_id}: {ids}{more}");
    Problem::new(code::TASK_UNKNOWN, message)
        .field("framework")
        .hint("say with --framework whose is meant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, framework: &str, incarnation: u64) -> v1::Task {
        v1::Task {
            id: id.to_owned(),
            framework_id: framework.to_owned(),
            status: Some(v1::Status {
                incarnation,
                ..v1::Status::default()
            }),
            ..v1::Task::default()
        }
    }

    #[test]
    fn a_part_of_an_id_names_a_task_when_no_other_has_it() {
        let ids = [
            "web.instance-aaaa1111._app.1",
            "web.instance-aaaa2222._app.1",
            "job-1",
            "job-10",
            "u-1",
            "x",
        ];
        for (part, found) in [
            ("aaaa1111", Ok(Some(0))),
            ("web.i…2222._app.1", Ok(Some(1))),
            ("…1111._app.1", Ok(Some(0))),
            ("aaaa", Err(())),
            ("111", Ok(None)),
            ("other", Ok(None)),
            ("job-1", Ok(Some(2))),
            ("job-", Err(())),
            // Too short for a part, and yet a whole id.
            ("u-1", Ok(Some(4))),
            ("x", Ok(Some(5))),
        ] {
            let tasks = ids.map(|id| task(id, "f", 1)).to_vec();
            let told = one_like(tasks, part).map(|task| task.map(|task| task.id));
            let expected = found.map(|place: Option<usize>| place.map(|at| ids[at].to_owned()));
            assert_eq!(told.map_err(drop), expected, "{part}");
        }
    }

    #[test]
    fn of_one_id_in_several_frameworks_none_is_chosen() {
        let twins = [task("long-1", "f-1", 3), task("long-1", "f-2", 1)];
        for name in ["long-1", "ong-"] {
            let problem = one_like(twins.to_vec(), name).unwrap_err();
            let words = "2 frameworks have a task long-1: f-1, f-2";
            assert_eq!((&*problem.message, &*problem.field), (words, "framework"));
        }
        let launches = [task("long-1", "f-1", 3), task("long-1", "f-1", 4)];
        let last = one_like(launches.to_vec(), "long-1").unwrap().unwrap();
        assert_eq!(incarnation_of(&last), 4);
    }
}

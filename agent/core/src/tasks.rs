//! The task state machine as one table: phase × what happened → what to do. It decides nothing about when or how a thing
//! is said; `core.rs` carries its steps out. The same table serves normal running and recovery.
//!
//! The subtle thing: a task told to end while its container is being made must not be signalled yet (there is nothing to
//! signal) and must not be forgotten either; it is `Killing` and is stopped the moment that it has started.

/// Where a run stands on this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its checkpoint is being written; nothing has been started.
    Recording,
    /// Its container is being made.
    Starting,
    /// Its process runs.
    Running,
    /// It was told to end.
    Killing,
    /// It is no more.
    Ended,
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Its checkpoint is durable.
    Recorded,
    /// Its process runs, or was found running.
    Started,
    /// Its container could not be made.
    StartFailed,
    /// Its process ended with 0.
    Finished,
    /// Its process ended otherwise.
    Failed,
    /// Its supervisor is gone without a word.
    SupervisorLost,
    /// The host was restarted.
    HostRestarted,
    /// It was accepted, but never started and cannot start any more by itself.
    NeverStarted,
    /// Its framework, or a check, wants it ended.
    KillAsked,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing: it is not news.
    Ignore,
    /// Make the container.
    Start,
    /// Say that it runs, and begin its checks.
    Run,
    /// It runs, as was known: begin its checks.
    Resume,
    /// Say that it is being killed; there is nothing to signal yet.
    Mark,
    /// Say that it is being killed, signal it, and begin its grace.
    Stop,
    /// It was to end already: signal it, and begin its grace.
    StopNow,
    /// It was to end already: shorten its grace if the new one is shorter.
    Hasten,
    /// It should not be there: SIGKILL.
    Destroy,
    /// Say that it has finished.
    Finish,
    /// Say that it has failed.
    Fail,
    /// It ran and ended before that was seen: say that it runs, and that it has finished.
    RunThenFinish,
    /// The same of one that has failed.
    RunThenFail,
    /// Say that it was killed.
    Killed,
    /// Say that it could not be started.
    FailLaunch,
    /// Say that it is lost with its supervisor.
    LoseSupervisor,
    /// Say that it is lost with its host.
    LoseHost,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 5] = [
        Self::Recording,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Ended,
    ];
}

impl Input {
    /// All inputs, in order.
    pub const ALL: [Self; 9] = [
        Self::Recorded,
        Self::Started,
        Self::StartFailed,
        Self::Finished,
        Self::Failed,
        Self::SupervisorLost,
        Self::HostRestarted,
        Self::NeverStarted,
        Self::KillAsked,
    ];
}

/// The table.
pub fn step(phase: Phase, input: Input) -> Step {
    match phase {
        Phase::Recording => recording(input),
        Phase::Starting => starting(input),
        Phase::Running => running(input),
        Phase::Killing => killing(input),
        Phase::Ended => ended(input),
    }
}

fn recording(input: Input) -> Step {
    match input {
        Input::Recorded => Step::Start,
        Input::KillAsked => Step::Killed,
        Input::HostRestarted => Step::LoseHost,
        // Nothing was started, so nothing can be heard of it.
        Input::Started
        | Input::StartFailed
        | Input::Finished
        | Input::Failed
        | Input::SupervisorLost
        | Input::NeverStarted => Step::Ignore,
    }
}

fn starting(input: Input) -> Step {
    match input {
        Input::Recorded => Step::Ignore,
        Input::Started => Step::Run,
        Input::StartFailed => Step::FailLaunch,
        Input::Finished => Step::RunThenFinish,
        Input::Failed => Step::RunThenFail,
        Input::SupervisorLost => Step::LoseSupervisor,
        Input::HostRestarted => Step::LoseHost,
        Input::NeverStarted => Step::Start,
        Input::KillAsked => Step::Mark,
    }
}

fn running(input: Input) -> Step {
    match input {
        Input::Recorded => Step::Ignore,
        Input::Started => Step::Resume,
        Input::StartFailed | Input::Failed => Step::Fail,
        Input::Finished => Step::Finish,
        // It did run, so a directory that says otherwise has lost its word.
        Input::SupervisorLost | Input::NeverStarted => Step::LoseSupervisor,
        Input::HostRestarted => Step::LoseHost,
        Input::KillAsked => Step::Stop,
    }
}

fn killing(input: Input) -> Step {
    match input {
        Input::Recorded => Step::Ignore,
        Input::Started => Step::StopNow,
        Input::StartFailed | Input::Finished | Input::Failed | Input::NeverStarted => Step::Killed,
        Input::SupervisorLost => Step::LoseSupervisor,
        Input::HostRestarted => Step::LoseHost,
        Input::KillAsked => Step::Hasten,
    }
}

fn ended(input: Input) -> Step {
    match input {
        Input::Started => Step::Destroy,
        Input::Recorded
        | Input::StartFailed
        | Input::Finished
        | Input::Failed
        | Input::SupervisorLost
        | Input::HostRestarted
        | Input::NeverStarted
        | Input::KillAsked => Step::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are inputs, columns phases: Recording, Starting, Running, Killing, Ended.
    const TABLE: &str = "
        Recorded        Start     Ignore          Ignore          Ignore          Ignore
        Started         Ignore    Run             Resume          StopNow         Destroy
        StartFailed     Ignore    FailLaunch      Fail            Killed          Ignore
        Finished        Ignore    RunThenFinish   Finish          Killed          Ignore
        Failed          Ignore    RunThenFail     Fail            Killed          Ignore
        SupervisorLost  Ignore    LoseSupervisor  LoseSupervisor  LoseSupervisor  Ignore
        HostRestarted   LoseHost  LoseHost        LoseHost        LoseHost        Ignore
        NeverStarted    Ignore    Start           LoseSupervisor  Killed          Ignore
        KillAsked       Killed    Mark            Stop            Hasten          Ignore
    ";

    #[test]
    fn every_phase_meets_every_input_as_the_table_says() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| !row.is_empty())
            .collect();
        assert_eq!(rows.len(), Input::ALL.len());
        for (row, input) in rows.iter().zip(Input::ALL) {
            assert_eq!(row[0], format!("{input:?}"));
            assert_eq!(row.len(), Phase::ALL.len() + 1);
            for (expected, phase) in row[1..].iter().zip(Phase::ALL) {
                let actual = format!("{:?}", step(phase, input));
                assert_eq!(&actual, expected, "{phase:?} × {input:?}");
            }
        }
    }

    #[test]
    fn a_task_starts_only_before_it_ran_and_never_once_it_is_to_end() {
        for input in Input::ALL {
            for phase in [Phase::Running, Phase::Killing, Phase::Ended] {
                assert_ne!(step(phase, input), Step::Start, "{phase:?} × {input:?}");
            }
        }
    }
}

//! How a command ends: what went wrong, and the exit code that scripts branch on.
//!
//! The codes are documented in `proffer --help` ([`crate::examples`]) and `docs/errors.md`; they never change their meaning.

use std::process::ExitCode;

use proffer_model::{Kind, Problem, code};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell the user.
    Problem(Problem),
    /// Ctrl-C or SIGTERM came while waiting. Says what becomes of what was asked for; may be empty.
    Interrupted(&'static str),
    /// Whoever read our output has gone; nobody is left to tell.
    OutputClosed,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Problem(problem) => number_of(problem),
            Self::Interrupted(_) => 130,
            // As if the reader had taken everything: `proffer tasks | head -1` has succeeded.
            Self::OutputClosed => 0,
        })
    }
}

fn number_of(problem: &Problem) -> u8 {
    if problem.is(code::WAIT_TIMED_OUT) {
        return 6;
    }
    // Nothing is missing but an app that works.
    if problem.is(code::APP_FAILING) {
        return 1;
    }
    match problem.kind {
        Kind::Internal => 1,
        Kind::Invalid => 2,
        Kind::Unavailable => 3,
        Kind::NotFound => 4,
        Kind::Conflict | Kind::Unauthenticated | Kind::Forbidden | Kind::Exhausted => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_problem_has_its_exit_code() {
        for (code, number) in [
            (code::INTERNAL, 1),
            (code::CONFIG_INVALID, 2),
            (code::APP_INVALID, 2),
            (code::PEER_UNREACHABLE, 3),
            (code::MASTER_NOT_LEADING, 3),
            (code::APP_UNKNOWN, 4),
            (code::PORT_TAKEN, 5),
            (code::AUTH_MISSING, 5),
            (code::WAIT_TIMED_OUT, 6),
            (code::APP_FAILING, 1),
        ] {
            assert_eq!(number_of(&Problem::new(code, "x")), number, "{}", code.name);
        }
    }
}

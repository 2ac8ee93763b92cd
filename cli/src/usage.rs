//! A wrong command line: said in clap's words, or as a problem where a flag's value was refused by the model.
//!
//! Help and version are no errors and go to standard output.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use proffer_model::{Problem, code};

use crate::exit::Failure;
use crate::output::{self, Format};

/// Tells what is wrong; the exit code is 2, and 0 for help and version.
pub(crate) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match output::print(&error.render().to_string()) {
            Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
            Err(failure) => failure.exit_code(),
        };
    }
    match (refused_value(error), format_of(arguments)) {
        (Some(problem), format) => format.report(&problem.into()),
        (None, Format::Json) => Format::Json.report(&in_general(error).into()),
        (None, Format::Table) => output::print_usage(error),
    }
    ExitCode::from(2)
}

/// The problem with which the model refused a flag's value.
fn refused_value(error: &clap::Error) -> Option<Problem> {
    let problem = error.source()?.downcast_ref::<Problem>()?.clone();
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return Some(problem);
    };
    // `--resources <RESOURCES>` is the flag `--resources`.
    let flag = argument.split(' ').next().unwrap_or(argument);
    Some(problem.within(flag))
}

fn in_general(error: &clap::Error) -> Problem {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    Problem::new(
        code::CONFIG_INVALID,
        first.trim_start_matches("error: ").to_owned(),
    )
    .hint("try --help")
}

/// The format asked for, found without having parsed the whole.
fn format_of(arguments: &[OsString]) -> Format {
    let words: Vec<&str> = arguments
        .iter()
        .filter_map(|word| word.to_str())
        .take_while(|word| *word != "--")
        .collect();
    let is_json = words
        .iter()
        .any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words
            .windows(2)
            .any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    if is_json { Format::Json } else { Format::Table }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::Cli;

    #[test]
    fn a_refused_value_keeps_its_code_and_names_the_flag() {
        let error = Cli::try_parse_from(["proffer", "run", "web", "--cpus", "-1"]).unwrap_err();
        assert!(refused_value(&error).is_none(), "clap takes -1 for a flag");
        let error = Cli::try_parse_from(["proffer", "run", "web", "--cpus=0.0001"]).unwrap_err();
        let problem = refused_value(&error).unwrap();
        assert!(problem.is(code::RESOURCES_INVALID), "{problem}");
        assert_eq!(problem.field, "--cpus");
        assert!(!problem.hint.is_empty());
    }

    #[test]
    fn json_is_asked_for_in_several_ways() {
        for (line, format) in [
            ("proffer apps -o json", Format::Json),
            ("proffer apps --output=json", Format::Json),
            ("proffer apps -ojson", Format::Json),
            ("proffer apps -o table", Format::Table),
            ("proffer run x -- -o json", Format::Table),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(format_of(&words), format, "{line}");
        }
    }
}

//! A wrong command line: said in clap's words, or as a problem where a flag's value was refused by the model.
//!
//! Help and version are no errors and go to standard output.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use proffer_model::{Problem, code};

use crate::command;
use crate::output::{self, Format};

/// Tells what is wrong; the exit code is 2, and 0 for help and version.
pub(crate) fn report(mut error: clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match output::print(&error.render().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                Format::Table.report(&failure);
                failure.exit_code()
            }
        };
    }
    let command = command_of(arguments);
    let variable = variable_at_fault(&error, &command, arguments);
    match (
        refused_value(&error, variable.as_deref()),
        format_of(arguments),
    ) {
        (Some(problem), format) => format.report(&problem.into()),
        (None, Format::Json) => Format::Json.report(&in_general(&error).into()),
        (None, Format::Table) => {
            explain(&mut error, command, variable);
            output::print_usage(&error);
        }
    }
    ExitCode::from(2)
}

/// The command that was meant, as far as its name can be found.
fn command_of(arguments: &[OsString]) -> clap::Command {
    let mut command = command::tree();
    command.build();
    for word in arguments.iter().skip(1) {
        match command.find_subcommand(word) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command
}

/// The environment variable that gave the value which was refused, if none of the words did.
fn variable_at_fault(
    error: &clap::Error,
    command: &clap::Command,
    arguments: &[OsString],
) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = flag_of(argument);
    let is_given = |word: &OsString| {
        word.to_str()
            .is_some_and(|word| word == flag || word.starts_with(&format!("{flag}=")))
    };
    if arguments.iter().any(is_given) {
        return None;
    }
    let name = flag.strip_prefix("--")?;
    let found = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name))?;
    let variable = found.get_env()?;
    std::env::var_os(variable)?;
    Some(variable.to_string_lossy().into_owned())
}

/// Clap shows how the command was used with all that came from the environment; what helps is how to use it.
fn explain(error: &mut clap::Error, mut command: clap::Command, variable: Option<String>) {
    if error.get(ContextKind::Usage).is_some() {
        let usage = command.render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    if let Some(variable) = variable {
        let tip = format!("the value is that of the environment variable {variable}");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
}

/// `--resources <RESOURCES>` and `--insecure[=<BOOL>]` are flags with their values, `<INSTANCES>` has none.
fn flag_of(argument: &str) -> &str {
    argument.split([' ', '[', '=']).next().unwrap_or(argument)
}

/// The problem with which the model refused a value.
fn refused_value(error: &clap::Error, variable: Option<&str>) -> Option<Problem> {
    let problem = error.source()?.downcast_ref::<Problem>()?.clone();
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return Some(problem);
    };
    let flag = flag_of(argument);
    let place = match variable {
        Some(variable) => variable.to_owned(),
        None => flag.trim_matches(['<', '>']).to_owned(),
    };
    if problem.field == flag.trim_start_matches('-').replace('-', "_") {
        return Some(problem.field(place));
    }
    Some(problem.within(&place))
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
        assert!(refused_value(&error, None).unwrap().message.contains("-1"));
        let error = Cli::try_parse_from(["proffer", "run", "web", "--cpus=0.0001"]).unwrap_err();
        let problem = refused_value(&error, None).unwrap();
        assert!(problem.is(code::RESOURCES_INVALID), "{problem}");
        assert_eq!(problem.field, "--cpus");
        let error = Cli::try_parse_from(["proffer", "app", "scale", "web", "-1"]).unwrap_err();
        assert_eq!(refused_value(&error, None).unwrap().field, "INSTANCES");
        let error = Cli::try_parse_from(["proffer", "master", "--store=zk"]).unwrap_err();
        assert_eq!(refused_value(&error, None).unwrap().field, "--store");
        assert_eq!(
            refused_value(&error, Some("PROFFER_MASTER_STORE"))
                .unwrap()
                .field,
            "PROFFER_MASTER_STORE"
        );
        assert!(!problem.hint.is_empty());
    }

    #[test]
    fn usage_is_that_of_the_command_without_what_the_environment_says() {
        let words = ["proffer", "app", "show"].map(OsString::from);
        let mut error = Cli::try_parse_from(&words).unwrap_err();
        explain(&mut error, command_of(&words), Some("X_Y".to_owned()));
        let text = error.render().to_string();
        assert!(
            text.contains("Usage: proffer app show [OPTIONS] <APP>"),
            "{text}"
        );
        assert!(text.contains("variable X_Y"), "{text}");
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

//! A wrong command line: said in clap's words, or as a problem where a flag's value was refused by the model. Programs are
//! told a problem in any case, with the argument at fault.
//!
//! Help and version are no errors and go to standard output.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use proffer_model::{Problem, code};

use crate::command;
use crate::mesos_flags;
use crate::output::{self, Format};

/// Tells what is wrong; the exit code is 2, and 0 for help and version.
pub(crate) fn report(error: clap::Error, arguments: &[OsString]) -> ExitCode {
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
    let mut error = judged_as_value(&error, arguments).unwrap_or(error);
    let command = command_of(arguments);
    explain_of_mesos(&mut error, &command);
    let variable = variable_at_fault(&error, &command, arguments);
    match (
        refused_value(&error, variable.as_deref()),
        format_of(arguments),
    ) {
        (Some(problem), format) => format.report(&problem.into()),
        (None, Format::Json) => {
            Format::Json.report(&in_general(&error, variable.as_deref()).into());
        }
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

/// Clap takes `-5s` after a flag for another flag, and says nothing of the first. With `=` between the two it is judged by what
/// the first one holds.
fn judged_as_value(error: &clap::Error, arguments: &[OsString]) -> Option<clap::Error> {
    let unexpected = text_of(error, ContextKind::InvalidArg)?;
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if error.kind() != ErrorKind::UnknownArgument
        || !unexpected.strip_prefix('-').is_some_and(is_number)
    {
        return None;
    }
    let texts = || {
        arguments
            .iter()
            .map(|word| word.to_str().unwrap_or_default())
    };
    let (before, (flag, value)) = texts()
        .zip(texts().skip(1))
        .enumerate()
        .find(|(_, (_, value))| value.starts_with(unexpected))?;
    if !flag.starts_with("--") {
        return None;
    }
    let mut joined = arguments.to_vec();
    let both = OsString::from(format!("{flag}={value}"));
    joined.splice(before..before.saturating_add(2), [both]);
    let again = command::tree().try_get_matches_from(joined).err()?;
    let is_of_flag = text_of(&again, ContextKind::InvalidArg).map(name_of) == Some(flag);
    is_of_flag.then_some(again)
}

/// What clap says of an error under this heading, if it is one text.
fn text_of(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

/// The environment variable that gave the value which was refused, if none of the words did.
fn variable_at_fault(
    error: &clap::Error,
    command: &clap::Command,
    arguments: &[OsString],
) -> Option<String> {
    let flag = name_of(text_of(error, ContextKind::InvalidArg)?);
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

/// A flag of Mesos's is answered with ours, and not with one that is spelled alike.
fn explain_of_mesos(error: &mut clap::Error, command: &clap::Command) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let argument = text_of(error, ContextKind::InvalidArg).map(name_of);
    if let Some(tip) = argument.and_then(|argument| mesos_flags::tip(command, argument)) {
        error.remove(ContextKind::SuggestedArg);
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
}

/// `--resources <RESOURCES>` and `--insecure[=<BOOL>]` are flags with their values, `<INSTANCES>` and `[AGENTS]...` are not, and
/// of `<--guarantee <AMOUNTS>|--limit <AMOUNTS>>`, of which one must be given, this is the first.
fn name_of(argument: &str) -> &str {
    let name = argument.trim_start_matches(['<', '[']);
    name.split([' ', '[', ']', '=', '>']).next().unwrap_or(name)
}

/// The problem with which the model refused a value.
fn refused_value(error: &clap::Error, variable: Option<&str>) -> Option<Problem> {
    let problem = error.source()?.downcast_ref::<Problem>()?.clone();
    let Some(flag) = text_of(error, ContextKind::InvalidArg).map(name_of) else {
        return Some(problem);
    };
    let place = variable.unwrap_or(flag);
    if problem.field == flag.trim_start_matches('-').replace('-', "_") {
        return Some(problem.field(place));
    }
    Some(problem.within(place))
}

/// What clap says, as a problem: its first paragraph, which has a line for each argument that is missing.
fn in_general(error: &clap::Error, variable: Option<&str>) -> Problem {
    let text = error.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    let mut lines = said.trim_start_matches("error: ").lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    let message = format!("{first} {}", rest.join(", "));
    let tip = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "));
    let code = match error.kind() {
        ErrorKind::MissingRequiredArgument => code::FIELD_MISSING,
        ErrorKind::InvalidValue if text_of(error, ContextKind::InvalidValue) == Some("") => {
            code::FIELD_MISSING
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => code::FIELD_INVALID,
        ErrorKind::UnknownArgument => code::FIELD_UNKNOWN,
        _ => code::CONFIG_INVALID,
    };
    Problem::new(code, message.trim_end())
        .field(
            variable
                .map(str::to_owned)
                .or_else(|| at_fault(error))
                .unwrap_or_default(),
        )
        .hint(tip.unwrap_or("try --help"))
}

/// The argument that an error is about: the first of several, or all of which one must be given.
fn at_fault(error: &clap::Error) -> Option<String> {
    match (error.get(ContextKind::InvalidArg), error.kind()) {
        (Some(ContextValue::String(argument)), _) => Some(name_of(argument).to_owned()),
        (Some(ContextValue::Strings(arguments)), _) => {
            let names = arguments.first()?.split("|--").map(name_of);
            Some(names.collect::<Vec<_>>().join("|--"))
        }
        (_, ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand) => {
            Some("COMMAND".to_owned())
        }
        _ => None,
    }
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

    /// Lines that are wrong: the code, the field, and a part of the message.
    const WRONG: [(&str, &str, &str, &str); 13] = [
        ("weight set a", "field.missing", "WEIGHT", "<WEIGHT>"),
        ("reserve", "field.missing", "--role", "<AGENT>, <RESOURCES>"),
        (
            "quota set a",
            "field.missing",
            "--guarantee|--limit",
            "--limit <AMOUNTS>",
        ),
        (
            "volume create",
            "field.missing",
            "--role",
            "--size <MIB>, <AGENT>",
        ),
        (
            "why",
            "field.missing",
            "APP|FRAMEWORK|TASK",
            "<APP|FRAMEWORK|TASK>",
        ),
        (
            "agent drain a --timeout 1s",
            "field.missing",
            "--wait",
            "--wait",
        ),
        (
            "run web --cpus",
            "field.missing",
            "--cpus",
            "none was supplied",
        ),
        (
            "simulate agents --count x",
            "field.invalid",
            "--count",
            "invalid digit",
        ),
        ("bench launch x", "field.invalid", "AGENTS", "invalid digit"),
        (
            "bench register --store x",
            "field.invalid",
            "--store",
            "file, memory",
        ),
        ("agents --frob", "field.unknown", "--frob", "'--frob'"),
        (
            "agents -o json -o json",
            "config.invalid",
            "--output",
            "multiple times",
        ),
        ("frob", "config.invalid", "COMMAND", "'frob'"),
    ];

    #[test]
    fn whatever_is_wrong_a_problem_names_the_argument_and_says_what_to_do() {
        for (line, code, field, says) in WRONG {
            let words = std::iter::once("proffer").chain(line.split(' '));
            let error = command::tree().try_get_matches_from(words).expect_err(line);
            let problem = in_general(&error, None);
            assert_eq!(problem.code, code, "{line}: {problem}");
            assert_eq!(problem.field, field, "{line}: {problem}");
            assert!(problem.message.contains(says), "{line}: {problem}");
            assert!(!problem.message.contains('\n') && !problem.hint.is_empty());
        }
        let error = Cli::try_parse_from(["proffer", "agents", "--outptu"]).unwrap_err();
        let problem = in_general(&error, None);
        assert!(problem.hint.contains("'--output'"), "{problem}");
        assert_eq!(in_general(&error, Some("X_Y")).field, "X_Y");
    }

    #[test]
    fn a_flag_of_mesos_is_answered_with_ours_in_words_and_to_programs() {
        let words = ["proffer", "master", "--hostname=a", "--quorum=1"].map(OsString::from);
        let mut error = command::tree().try_get_matches_from(&words).unwrap_err();
        explain_of_mesos(&mut error, &command_of(&words));
        let text = error.render().to_string();
        let says = "--hostname is Mesos's; here it is --advertise";
        assert!(text.contains(says) && !text.contains("similar"), "{text}");
        assert_eq!(text.matches("tip:").count(), 1, "{text}");
        let problem = in_general(&error, None);
        assert_eq!(problem.field, "--hostname");
        assert!(problem.hint.starts_with(says), "{problem}");
    }

    #[test]
    fn a_negative_value_with_a_unit_is_judged_as_a_value() {
        let judged = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = Cli::try_parse_from(&words).expect_err(line);
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}");
            judged_as_value(&error, &words)
        };
        let error = judged("proffer agent drain a --deadline -5s --wait").expect("a duration");
        let problem = refused_value(&error, None).expect("a problem");
        assert!(problem.is(code::FIELD_INVALID), "{problem}");
        assert_eq!(problem.field, "--deadline");
        assert!(problem.message.contains("\"-5s\""), "{problem}");
        for other in [
            "proffer agents -5s",
            "proffer agents --frob -5s",
            "proffer agents -x",
        ] {
            assert!(judged(other).is_none(), "{other}");
        }
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

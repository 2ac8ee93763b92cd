//! The program that makes containers and enters them: one short-lived process for each, with one thread, because what runs
//! between clone and exec there is not fit for a process with threads.
//!
//! - `contain start --run-dir DIR` makes the container of the file `launch`, as a child of whoever called, and ends. The
//!   task's output is this process's. On standard input, which must be the writing end of a pipe, it says `started PID`,
//!   or, with an exit code other than 0, why not.
//! - `contain exec --run-dir DIR [--timeout-ms N] -- PROGRAM [ARGUMENT]...` runs a program in the container as the task
//!   runs: its user, environment, directory, limits and rights. Ends as the program does, with 128 and the number of its
//!   signal, 124 when it took too long or this was told to end (SIGTERM), or 125 when it could not be run, with the reason on standard error. What the
//!   program has left in its session is ended with it.
//! - `contain check --dir DIR` makes an overlay in the directory and says on standard input what is in the way, if so.
//!
//! The program's own file is made read-only for the container first: an image can have its `#!` name `/proc/self/exe`.

use std::ffi::{CString, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::execv;

use crate::oci::{create, enter, overlay, system};
use crate::supervisor::protocol::{self, Launch};

/// Exit code: the arguments are wrong.
const USAGE: u8 = 2;
/// Exit code: the container, or the program in it, could not be run.
const FAILED: u8 = 125;
/// Stands before the arguments when the program's file is read-only.
const SEALED: &str = "sealed";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Start(PathBuf),
    Exec(PathBuf, Option<Duration>, Vec<OsString>),
    Check(PathBuf),
}

/// Runs the program; see above.
///
/// Call it before anything else in `main`: it must have no other thread, and closes every descriptor but the first three.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    system::close_inherited();
    let args: Vec<OsString> = args.skip_while(|arg| arg == "contain").collect();
    let is_sealed = args.first().is_some_and(|arg| arg == SEALED);
    let rest = args.get(usize::from(is_sealed)..).unwrap_or_default();
    let Some(verb) = parse(rest) else {
        return ExitCode::from(USAGE);
    };
    if !is_sealed {
        let error = seal(rest);
        return answer(
            &verb,
            Err(format!("its own program cannot be sealed: {error}")),
        );
    }
    match &verb {
        Verb::Start(dir) => answer(&verb, start(dir)),
        Verb::Check(dir) => answer(&verb, overlay::check(dir).map(|()| String::new())),
        Verb::Exec(dir, timeout, program) => {
            let code =
                read_launch(dir).and_then(|launch| enter::run(dir, &launch, *timeout, program));
            match code {
                Ok(code) => ExitCode::from(code),
                Err(message) => answer(&verb, Err(message)),
            }
        }
    }
}

fn parse(args: &[OsString]) -> Option<Verb> {
    let (verb, rest) = args.split_first()?;
    let (flag, rest) = rest.split_first()?;
    let (dir, rest) = rest.split_first()?;
    let dir = PathBuf::from(dir);
    match (verb.to_str()?, flag.to_str()?, rest) {
        ("start", "--run-dir", []) => Some(Verb::Start(dir)),
        ("check", "--dir", []) => Some(Verb::Check(dir)),
        ("exec", "--run-dir", [flag, timeout, rest @ ..]) if flag == "--timeout-ms" => {
            let timeout = Duration::from_millis(timeout.to_str()?.parse().ok()?);
            Some(Verb::Exec(dir, Some(timeout), program(rest)?))
        }
        ("exec", "--run-dir", rest) => Some(Verb::Exec(dir, None, program(rest)?)),
        _ => None,
    }
}

fn program(args: &[OsString]) -> Option<Vec<OsString>> {
    let (dashes, program) = args.split_first()?;
    (dashes == "--" && !program.is_empty()).then(|| program.to_vec())
}

/// Goes on as the same program from a read-only mount of its file that nobody else has. Answers only an error.
fn seal(args: &[OsString]) -> io::Error {
    let sealed = || -> io::Result<std::convert::Infallible> {
        let own = std::env::current_exe()?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some(&own), &own, none, MsFlags::MS_BIND, none)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &own, none, flags, none)?;
        let program = CString::new(own.into_os_string().into_vec())?;
        let words = ["proffer", "contain", SEALED].map(OsString::from);
        let words = words.into_iter().chain(args.iter().cloned());
        let words: Vec<CString> = words
            .map(|word| CString::new(word.into_vec()))
            .collect::<Result<_, _>>()?;
        Ok(execv(&program, &words)?)
    };
    match sealed() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn read_launch(dir: &Path) -> Result<Launch, String> {
    let bytes = std::fs::read(dir.join(protocol::LAUNCH))
        .map_err(|error| format!("its launch file: {error}"))?;
    Launch::decode(&bytes).ok_or_else(|| "its launch file cannot be read".to_owned())
}

fn start(dir: &Path) -> Result<String, String> {
    let dir = dir.canonicalize().map_err(|error| error.to_string())?;
    let launch = read_launch(&dir)?;
    let pid = create::run(&dir, &launch)?;
    Ok(format!("started {pid}\n"))
}

/// Says how it went: to the pipe at standard input, or on standard error to whoever ran `exec`.
fn answer(verb: &Verb, said: Result<String, String>) -> ExitCode {
    let (text, code) = match said {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(text) => (text, ExitCode::from(FAILED)),
    };
    let written = match verb {
        Verb::Exec(..) => writeln!(io::stderr(), "{text}"),
        Verb::Start(_) | Verb::Check(_) => nix::unistd::write(io::stdin(), text.as_bytes())
            .map(drop)
            .map_err(io::Error::from),
    };
    // Whoever asked may be gone.
    drop(written);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_one_thing_or_nothing() {
        let dir = || PathBuf::from("d");
        let run = || vec![OsString::from("a"), OsString::from("--")];
        for (line, verb) in [
            ("start --run-dir d", Some(Verb::Start(dir()))),
            ("check --dir d", Some(Verb::Check(dir()))),
            (
                "exec --run-dir d -- a --",
                Some(Verb::Exec(dir(), None, run())),
            ),
            (
                "exec --run-dir d --timeout-ms 5 -- a --",
                Some(Verb::Exec(dir(), Some(Duration::from_millis(5)), run())),
            ),
            ("", None),
            ("start", None),
            ("start --run-dir", None),
            ("start --run-dir d e", None),
            ("exec --run-dir d", None),
            ("exec --run-dir d --", None),
            ("exec --run-dir d a", None),
            ("exec --run-dir d --timeout-ms x -- a", None),
            ("stop --run-dir d", None),
        ] {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&args), verb, "{line:?}");
        }
    }
}

//! What an image's configuration says about running it.

use std::str::FromStr as _;

use nix::sys::signal::Signal;
use oci_spec::image::ImageConfiguration;

use super::ImageConfig;
use super::error::{Fault, shown};

/// The first real-time signal that programs may use, and the last.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// Reads the configuration; what cannot be handed to a process is refused.
pub(super) fn config(parsed: &ImageConfiguration) -> Result<ImageConfig, Fault> {
    let Some(config) = parsed.config() else {
        return Ok(ImageConfig::default());
    };
    let stop_signal = config.stop_signal().as_deref().unwrap_or_default();
    let read = ImageConfig {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        // A name without a value unsets it, and nothing is set yet.
        env: config
            .env()
            .iter()
            .flatten()
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        user: config.user().clone().unwrap_or_default(),
        working_dir: config
            .working_dir()
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(working_dir),
        stop_signal: match stop_signal {
            "" => None,
            text => Some(signal(text).ok_or_else(|| {
                let text = shown(text.as_bytes());
                Fault::NotAnImage(format!("its stop signal `{text}` is not known"))
            })?),
        },
    };
    let texts = read.entrypoint.iter().chain(&read.cmd);
    let texts = texts.chain(read.env.iter().flat_map(|(name, value)| [name, value]));
    let texts = texts.chain([&read.user]);
    let mut texts = texts.chain(&read.working_dir);
    let has_zero = texts.any(|text| text.contains('\0'));
    drop(texts);
    if has_zero {
        let why = "its configuration has a zero byte where no process can have one";
        return Err(Fault::NotAnImage(why.to_owned()));
    }
    Ok(read)
}

/// Absolute, without `.` and `..`.
fn working_dir(text: &str) -> String {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal(text: &str) -> Option<i32> {
    let text = text.to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(above) = name.strip_prefix("RTMIN") {
        let above: i32 = match above {
            "" => 0,
            above => above.strip_prefix('+')?.parse().ok()?,
        };
        let number = SIGRTMIN.checked_add(above)?;
        return (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number);
    }
    if let Some(below) = name.strip_prefix("RTMAX") {
        let below: i32 = match below {
            "" => 0,
            below => below.strip_prefix('-')?.parse().ok()?,
        };
        let number = SIGRTMAX.checked_sub(below)?;
        return (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number);
    }
    Signal::from_str(&format!("SIG{name}"))
        .ok()
        .map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<ImageConfig, String> {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"config":{json}}}"#
        );
        let parsed: ImageConfiguration = serde_json::from_str(&text).unwrap();
        config(&parsed).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_configuration_is_read() {
        let read = check(
            r#"{"Entrypoint":["/bin/sh","-c"],"Cmd":["true"],"Env":["A=1=2","B=","C","=x"],"User":"www:80",
                "WorkingDir":"srv/../a/./b/","StopSignal":"SIGRTMIN+3","Volumes":null,"Labels":null}"#,
        );
        let expected = ImageConfig {
            entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            cmd: vec!["true".to_owned()],
            env: vec![
                ("A".to_owned(), "1=2".to_owned()),
                ("B".to_owned(), String::new()),
            ],
            user: "www:80".to_owned(),
            working_dir: Some("/a/b".to_owned()),
            stop_signal: Some(37),
        };
        assert_eq!(read, Ok(expected));
        for nothing in ["{}", "null", r#"{"WorkingDir":""}"#] {
            let read = check(nothing).unwrap();
            assert_eq!(read.working_dir, None);
            assert_eq!((read.entrypoint.len(), read.stop_signal), (0, None));
        }
    }

    #[test]
    fn what_no_process_can_have_is_refused() {
        for json in [
            r#"{"Cmd":["a\u0000b"]}"#,
            r#"{"Env":["A=\u0000"]}"#,
            r#"{"User":"\u0000"}"#,
            r#"{"WorkingDir":"/\u0000"}"#,
            r#"{"StopSignal":"SIGNOTHING"}"#,
        ] {
            assert!(check(json).is_err(), "{json}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("RTMIN", Some(34)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGRTMAX", Some(64)),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("RTMIN+31", None),
            ("RTMIN+-1", None),
            ("RTMAX-99999999999", None),
            ("SIG", None),
            ("SIGSIGTERM", None),
        ];
        for (text, expected) in cases {
            assert_eq!(signal(text), expected, "{text}");
        }
    }
}

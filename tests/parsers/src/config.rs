//! Configuration files of all roles. The first byte says whose it is.

use proffer_server::config::{ConfigError, ConfigFile};

use crate::expect::{accepted, text};

/// A file in TOML: values or faults with their place; and the values make a configuration or a problem with its key.
pub(crate) fn config_files(data: &[u8]) {
    let Some((role, rest)) = data.split_first() else {
        return;
    };
    let Some(text) = text(rest) else { return };
    let file = ConfigFile::new("/f.toml", text);
    macro_rules! role {
        ($options:ty, $config:ty, $prepare:expr) => {
            if let Some(options) = values(&file, file.parse::<$options>()) {
                #[allow(clippy::redundant_closure_call, reason = "a macro cannot know")]
                let options = $prepare(options);
                if let Err(problem) = <$config>::from_options(options) {
                    crate::expect::refused(&problem);
                    file.locate(&problem);
                }
            }
        };
    }
    match role % 4 {
        0 => role!(proffer_master::Options, proffer_master::Config, |options| {
            options
        }),
        1 => role!(proffer_agent::Options, proffer_agent::Config, |options| {
            options
        }),
        2 => role!(
            proffer_services::Options,
            proffer_services::Config,
            |options| options
        ),
        _ => role!(
            proffer_discovery::Options,
            proffer_discovery::Config,
            |options| {
                // The file that it names would be read.
                proffer_discovery::Options {
                    template: None,
                    ..options
                }
            }
        ),
    }
}

fn values<T>(file: &ConfigFile, parsed: Result<T, ConfigError>) -> Option<T> {
    let error = match parsed {
        Ok(values) => return Some(values),
        Err(error) => error,
    };
    let told = error.to_string();
    assert!(
        told.lines().all(|line| line.starts_with("/f.toml")),
        "{told}"
    );
    let problem = proffer_model::Problem::from(error);
    assert!(!problem.message.is_empty());
    file.locate(&problem);
    accepted(Err(problem))
}

//! Configuration: a TOML file under the environment under flags. A role reads its file with [`read_file`], lays its flags
//! over it with [`layered!`](crate::layered), and validates the result itself.
//!
//! Everything wrong is told as `FILE:LINE: key: message`. Unknown keys are refused even where the role forgot
//! `deny_unknown_fields`; [`ConfigFile::locate`] finds the line of a value that only the role's validation refuses.

mod file;
mod keys;
mod text;

pub use file::{ConfigError, ConfigFile, Fault};
pub use text::{AttributesText, DurationText, ResourcesText, Text};

use std::path::Path;

use serde::de::DeserializeOwned;

/// Options of which some are given: what flags, environment and file each yield.
pub trait Layered: Sized {
    /// These, and where they are not given, those `below`.
    #[must_use]
    fn over(self, below: Self) -> Self;
}

/// Implements [`Layered`] for a struct of `Option` fields. A field that is not listed breaks the build.
///
/// ```
/// #[derive(Default)]
/// pub struct Options {
///     pub listen: Option<std::net::SocketAddr>,
///     pub work_dir: Option<std::path::PathBuf>,
/// }
/// proffer_server::layered!(Options { listen, work_dir });
/// ```
#[macro_export]
macro_rules! layered {
    ($options:ident { $($field:ident),* $(,)? }) => {
        impl $crate::config::Layered for $options {
            fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),* }
            }
        }
    };
}

/// Reads the file of `role` (`master`, `agent`, …): `explicit`, which must exist, or `/etc/proffer/ROLE.toml`, which may
/// be absent and then gives the defaults.
pub fn read_file<T: DeserializeOwned + Default>(
    role: &str,
    explicit: Option<&Path>,
) -> Result<T, ConfigError> {
    match ConfigFile::open(role, explicit)? {
        Some(file) => file.parse(),
        None => Ok(T::default()),
    }
}

/// `flags` (with the environment, as clap reads it) over the file of `role`.
pub fn load<T: DeserializeOwned + Default + Layered>(
    role: &str,
    explicit: Option<&Path>,
    flags: T,
) -> Result<T, ConfigError> {
    Ok(flags.over(read_file(role, explicit)?))
}

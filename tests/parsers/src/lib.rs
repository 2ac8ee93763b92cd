//! What must hold of every parser of outside input, for any bytes: one function each, in [`TARGETS`].
//!
//! A function asserts, beyond that nothing panics, that what is accepted keeps to its limits, that it is written and read
//! back as the same, and that a refusal says what is wrong. `tests/everyday.rs` runs each over its corpus and over
//! mutations of it, in every test run; `tests/fuzz/run` gives them to libFuzzer. A new parser gets its function here.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "whatever is not as expected is to be told by a panic"
)]

mod cases;
mod command_line;
mod config;
mod discovery;
mod expect;
mod fetch;
mod files;
mod host;
mod http;
mod image;
mod input;
mod lists;
mod mesos;
mod message;
pub mod mutate;
mod services;
mod values;
mod wire;

// The command line is a program and no library; these are its parsers.
macro_rules! of_the_command_line {
    ($($path:literal $name:ident),+) => {$(
        #[path = $path]
        #[allow(dead_code, reason = "the program uses the rest")]
        mod $name;
    )+};
}
of_the_command_line! {
    "../../../cli/src/app_file/mod.rs" app_file,
    "../../../cli/src/bench/size.rs" size,
    "../../../cli/src/escape.rs" escape,
    "../../../cli/src/limits.rs" limits,
    "../../../cli/src/quantities.rs" quantities,
    "../../../cli/src/units.rs" units
}

/// A parser's name, which its corpus has too, and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($module:ident: $($name:ident)+;)+) => {
        &[$($((stringify!($name), $module::$name)),+),+]
    };
}

/// All of them.
pub const TARGETS: &[Target] = targets! {
    values: resources_text resources_json attributes ids amounts durations tokens urls patterns;
    wire: session_call session_event to_master to_agent checkpoint_identity checkpoint_run
        checkpoint_statuses checkpoint_executor checkpoint_volume checkpoint_volumes
        executor_call executor_event store_batch store_snapshot operator_requests problems;
    files: store_frame store_directory backup_file checkpoint_frame supervisor_protocol output_tail;
    image: image_archive image_layer image_store image_paths image_users decompression;
    fetch: fetch_archive fetch_uri;
    http: http_intake json_intake event_stream ballots;
    services: app_json kept_records app_ids label_selectors;
    discovery: app_feed labels proxy_names proxy_answers proxy_template;
    config: config_files;
    command_line: app_files terminal spans rates bench_sizes;
    mesos: mesos_scheduler mesos_executor mesos_master mesos_ledger;
    lists: page_tokens watch_positions;
    cases: case_language;
    host: process_stat check_answers;
};

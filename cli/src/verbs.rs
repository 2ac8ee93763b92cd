//! What people ask a running cluster: one file a verb, or a family of them.

pub(crate) mod agent;
pub(crate) mod app;
pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod masters;
pub(crate) mod offers;
pub(crate) mod operate;
pub(crate) mod reserve;
pub(crate) mod roles;
pub(crate) mod run;
pub(crate) mod watch;
pub(crate) mod why;

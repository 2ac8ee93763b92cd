//! JSON in and out: Marathon's form of apps, tasks and deployments, and the form in which the state is kept, which holds
//! apps in the same form.

pub(crate) mod body;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod write;

#[cfg(test)]
mod tests;

//! Whole clusters of real processes, real HAProxy, real tasks.

mod backup;
mod bad_input;
mod broken;
mod containers;
mod dev;
mod drains;
mod failover;
mod frameworks;
mod gone;
mod groups;
mod guide;
mod mesos;
mod mesos_images;
mod mesos_tasks;
mod naming;
mod operators;
mod python;
mod revocable;
mod roles;
mod rolling;
mod scheduler;
mod simulate;
mod systemd;
mod volumes;
mod watching;

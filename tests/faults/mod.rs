//! Stores and the election against real ZooKeepers that fail in every way that was thought of.

mod election;
mod ensemble;
mod frozen;
mod hostile;
mod referee;
mod stores;
mod writers;

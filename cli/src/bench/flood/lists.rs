//! A flood of lists of a framework's state: calls of their own, not of its session.

use std::time::Instant;

use proffer_model::{Problem, code};
use proffer_proto::v1::framework_state_client::FrameworkStateClient;
use proffer_proto::{problem_of, v1};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::Channel;

use super::{BURST_INTERVAL, FloodArgs, Flooded};
use crate::bench::sessions::{Door, Session};

/// Bytes of each value: ten thousand of them with their keys make one list.
const VALUE_LEN: usize = 256;
/// Values that are put at a time.
const PUTS_AT_ONCE: usize = 64;
/// Lists that are asked for and not answered; so many are as many streams as the master lets one connection have.
const LISTS_AT_ONCE: usize = 200;

/// Whose state is listed.
pub(super) struct Lister {
    door: Door,
    session: Session,
    client: FrameworkStateClient<Channel>,
}

impl Lister {
    /// A framework with so many keys.
    pub(super) async fn fill(door: Door, session: Session, keys: usize) -> Result<Self, Problem> {
        let client = FrameworkStateClient::new(door.channel());
        let lister = Self {
            door,
            session,
            client,
        };
        let mut puts = JoinSet::new();
        for key in 0..keys {
            if puts.len() >= PUTS_AT_ONCE {
                joined(puts.join_next().await)?;
            }
            let (framework_id, generation) = lister.session.whose()?;
            let put = lister.door.request(v1::PutStateRequest {
                framework_id,
                generation,
                key: format!("keys/{key}"),
                value: vec![b'x'; VALUE_LEN].into(),
                expected_version: None,
            });
            let mut client = lister.client.clone();
            puts.spawn(async move {
                let done = client.put(put).await;
                done.map(drop).map_err(|status| problem_of(&status))
            });
        }
        while let Some(put) = puts.join_next().await {
            joined(Some(put))?;
        }
        Ok(lister)
    }

    /// Lists all of it so often in a second, as far as the connection takes it.
    pub(super) async fn flood(
        mut self,
        calls_per_second: u64,
        args: &FloodArgs,
    ) -> Result<Flooded, Problem> {
        let (begun, mut sent, mut flooded) = (Instant::now(), 0_u64, Flooded::default());
        let mut bursts = interval(BURST_INTERVAL);
        bursts.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut lists = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(listed) = lists.join_next() => match joined(Some(listed)) {
                    Ok(keys) => {
                        flooded.done += 1;
                        flooded.statuses += keys;
                    }
                    Err(problem) if problem.is(code::SESSION_RATE_LIMITED) => flooded.refused += 1,
                    Err(problem) => return Err(problem),
                },
                // Its offers and heartbeats.
                event = self.session.event() => drop(event?),
                _ = bursts.tick() => {
                    if begun.elapsed() >= args.measure_for.0 {
                        return Ok(flooded);
                    }
                    let since = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let due = since.saturating_mul(calls_per_second) / 1_000;
                    while sent < due && lists.len() < LISTS_AT_ONCE {
                        sent += 1;
                        lists.spawn(self.list()?);
                    }
                }
            }
        }
    }

    /// One list: how many keys are in it.
    fn list(&self) -> Result<impl Future<Output = Result<u64, Problem>> + use<>, Problem> {
        let (framework_id, generation) = self.session.whose()?;
        let list = self.door.request(v1::ListStateRequest {
            framework_id,
            generation,
            prefix: String::new(),
            after: None,
        });
        let mut client = self.client.clone();
        Ok(async move {
            let listed = client.list(list).await;
            let listed = listed.map_err(|status| problem_of(&status))?;
            let keys = listed.into_inner().entries.len();
            Ok(u64::try_from(keys).unwrap_or(u64::MAX))
        })
    }
}

/// What a call came to.
fn joined<T: Default>(
    joined: Option<Result<Result<T, Problem>, tokio::task::JoinError>>,
) -> Result<T, Problem> {
    match joined {
        None => Ok(T::default()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Problem::new(code::INTERNAL, error.to_string())),
    }
}

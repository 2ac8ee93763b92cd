//! The durable state of frameworks: compare-and-set on small values.
//!
//! A write is answered when it is durable, and so is a read of what is not durable yet: nobody may act on what a new
//! leader might not know.
//!
//! A call is worth as much as it reads and writes, so that nobody keeps the master busy with few long ones. What is read is
//! shared with what is kept, and not copied.

use std::ops::Bound;
use std::sync::Arc;

use proffer_model::registry::{FrameworkEntry, Operation};
use proffer_model::state::judge_state_value;
use proffer_model::{FrameworkId, Generation, Principal, Problem, StateKey, code, limits};

use crate::core::Core;
use crate::effect::{Effect, Fact, Reply, StateChange};
use crate::event::{RequestId, StateCall};
use crate::frameworks::unknown;
use crate::limits::{STATE_KEYS_MAX, STATE_LEN_PER_OPERATION, STATE_LIST_LEN_MAX};

impl Core {
    pub(crate) fn on_state_requested(
        &mut self,
        request: RequestId,
        principal: &Principal,
        framework: &FrameworkId,
        generation: Generation,
        call: StateCall,
    ) {
        let reply = self
            .judge_caller(principal, framework, generation)
            .and_then(|()| self.admit_call(framework))
            .and_then(|()| self.admit_state(framework, &call))
            .and_then(|()| match call {
                StateCall::Get { key } => self.read(framework, &key),
                StateCall::List { prefix } => {
                    let listed = self.list(framework, &prefix, None)?;
                    self.charge_operations(framework, listed.worth);
                    listed.whole()
                }
                StateCall::ListPage { prefix, after } => {
                    let listed = self.list(framework, &prefix, after.as_ref())?;
                    self.charge_operations(framework, listed.worth);
                    let (states, has_more) = (listed.states, listed.has_more);
                    Ok(Reply::StatePage { states, has_more })
                }
                StateCall::Put {
                    key,
                    value,
                    expected,
                } => self.put(framework, key, value, expected),
                StateCall::Delete { key, expected } => self.delete(framework, key, expected),
            });
        if let Err(problem) = &reply {
            let (framework, problem) = (Some(framework.clone()), problem.clone());
            self.turn.record(Fact::CallRefused { framework, problem });
        }
        let after = match self.frameworks.get(framework) {
            Some(known) => self.turn.after(known.state_in),
            None => self.turn.after_everything(),
        };
        self.turn.push(Effect::Reply {
            request,
            reply,
            after,
        });
    }

    /// Only the holder of the active session may touch the state.
    pub(crate) fn judge_caller(
        &self,
        principal: &Principal,
        framework: &FrameworkId,
        generation: Generation,
    ) -> Result<(), Problem> {
        self.judge_owner(principal, framework)?;
        let session = self
            .frameworks
            .get(framework)
            .and_then(|known| known.session);
        let active = session.and_then(|session| self.sessions.open.get(&session));
        if active.is_none_or(|active| active.generation != generation) {
            let message =
                format!("generation {generation} is not the framework's active session's");
            let hint = "use the generation that the session was told when it subscribed";
            return Err(Problem::new(code::SESSION_FENCED, message)
                .field("generation")
                .hint(hint));
        }
        Ok(())
    }

    fn entry(&self, framework: &FrameworkId) -> Result<&FrameworkEntry, Problem> {
        self.registry
            .frameworks
            .get(framework)
            .ok_or_else(|| unknown(framework).field("framework_id"))
    }

    fn read(&self, framework: &FrameworkId, key: &StateKey) -> Result<Reply, Problem> {
        match self.entry(framework)?.state.get(key) {
            Some(stored) => Ok(Reply::State {
                value: Arc::clone(&stored.value),
                version: stored.version,
            }),
            None => {
                let message = format!("there is no key {key}");
                Err(Problem::new(code::STATE_KEY_UNKNOWN, message)
                    .field("key")
                    .hint("list the keys; put it, if it is to be there"))
            }
        }
    }

    /// Counts what a call names and what it reads or writes; what a list finds is counted when it has been found.
    fn admit_state(&mut self, framework: &FrameworkId, call: &StateCall) -> Result<(), Problem> {
        let len = match call {
            StateCall::Get { key } => {
                let entry = self.registry.frameworks.get(framework);
                let stored = entry.and_then(|entry| entry.state.get(key));
                stored.map_or(0, |stored| stored.value.len())
            }
            StateCall::Put { value, .. } => value.len(),
            StateCall::Delete { .. } | StateCall::List { .. } | StateCall::ListPage { .. } => 0,
        };
        self.admit_count(framework, 1 + worth_of(len))
    }

    /// The keys that begin with this, after the one that is given, as many as one answer holds.
    fn list(
        &self,
        framework: &FrameworkId,
        prefix: &str,
        after: Option<&StateKey>,
    ) -> Result<Listed, Problem> {
        let entry = self.entry(framework)?;
        let (mut states, mut len, mut has_more) = (Vec::new(), 0, false);
        let from = match after.map(StateKey::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rest = entry.state.range::<str, _>((from, Bound::Unbounded));
        for (key, stored) in rest.take_while(|(key, _)| key.as_str().starts_with(prefix)) {
            len += key.as_str().len() + stored.value.len();
            if len > STATE_LIST_LEN_MAX {
                has_more = true;
                break;
            }
            states.push((key.clone(), Arc::clone(&stored.value), stored.version));
        }
        let looks = u64::try_from(states.len()).unwrap_or(u64::MAX);
        Ok(Listed {
            states,
            has_more,
            worth: looks.saturating_add(worth_of(len.min(STATE_LIST_LEN_MAX))),
        })
    }

    fn put(
        &mut self,
        framework: &FrameworkId,
        key: StateKey,
        value: Vec<u8>,
        expected: Option<u64>,
    ) -> Result<Reply, Problem> {
        self.check_store_keeps_up()?;
        let entry = self.entry(framework)?;
        check_version(entry, &key, expected)?;
        judge_state_value(value.len())?;
        let old_len = stored_len(entry, &key);
        if old_len == 0 && entry.state.len() >= STATE_KEYS_MAX {
            let message = format!("there are {STATE_KEYS_MAX} keys; the limit is reached");
            return Err(Problem::new(code::STATE_TOO_LARGE, message)
                .field("key")
                .hint("delete keys that are not needed, or put several values into one"));
        }
        let now_len = self
            .frameworks
            .get(framework)
            .map_or(0, |known| known.state_len);
        let new_len = now_len - old_len + key.as_str().len() + value.len();
        if new_len > limits::STATE_TOTAL_LEN_MAX {
            let most = limits::STATE_TOTAL_LEN_MAX;
            let message = format!("the state would have {new_len} bytes; the limit is {most}");
            return Err(Problem::new(code::STATE_TOO_LARGE, message)
                .field("value")
                .hint("delete keys that are not needed"));
        }
        let value: Arc<[u8]> = value.into();
        let change = |version| StateChange::Put {
            key: key.clone(),
            value: Arc::clone(&value),
            version,
        };
        let change = self
            .is_watched(framework)
            .then(|| change(entry.revision + 1));
        self.change_state(
            framework,
            new_len,
            Operation::PutState {
                framework: framework.clone(),
                key,
                value,
            },
        );
        if let Some(change) = change {
            self.tell_watches(framework, &change);
        }
        let version = self.entry(framework)?.revision;
        Ok(Reply::Written { version })
    }

    /// Deleting what is not there is done already, unless a version was expected.
    fn delete(
        &mut self,
        framework: &FrameworkId,
        key: StateKey,
        expected: Option<u64>,
    ) -> Result<Reply, Problem> {
        self.check_store_keeps_up()?;
        let entry = self.entry(framework)?;
        check_version(entry, &key, expected)?;
        let old_len = stored_len(entry, &key);
        if old_len > 0 {
            let now_len = self
                .frameworks
                .get(framework)
                .map_or(0, |known| known.state_len);
            self.change_state(
                framework,
                now_len - old_len,
                Operation::DeleteState {
                    framework: framework.clone(),
                    key: key.clone(),
                },
            );
            self.tell_watches(framework, &StateChange::Deleted { key });
        }
        Ok(Reply::Deleted)
    }

    fn change_state(&mut self, framework: &FrameworkId, new_len: usize, operation: Operation) {
        let seq = self.persist(operation);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.state_len = new_len;
            known.state_in = seq;
        }
    }
}

/// What a list finds.
struct Listed {
    states: Vec<(StateKey, Arc<[u8]>, u64)>,
    has_more: bool,
    /// What it is worth to have looked at them, whether they are too many or not.
    worth: u64,
}

impl Listed {
    /// All of it in one answer.
    fn whole(self) -> Result<Reply, Problem> {
        if !self.has_more {
            return Ok(Reply::States(self.states));
        }
        let message = format!("the list has more than {STATE_LIST_LEN_MAX} bytes");
        Err(Problem::new(code::STATE_TOO_LARGE, message)
            .field("prefix")
            .hint("ask for pages (`after`), or list by longer prefixes"))
    }
}

/// What so many bytes that are read or written are worth, in operations.
pub(crate) fn worth_of(len: usize) -> u64 {
    u64::try_from(len / STATE_LEN_PER_OPERATION).unwrap_or(u64::MAX)
}

/// Bytes of a key and its value; 0 when there is none.
fn stored_len(entry: &FrameworkEntry, key: &StateKey) -> usize {
    let stored = entry.state.get(key);
    stored.map_or(0, |stored| key.as_str().len() + stored.value.len())
}

fn check_version(
    entry: &FrameworkEntry,
    key: &StateKey,
    expected: Option<u64>,
) -> Result<(), Problem> {
    let version = entry.state.get(key).map_or(0, |stored| stored.version);
    match expected {
        Some(expected) if expected != version => {
            let message = format!("key {key} has version {version}, not {expected}");
            Err(Problem::new(code::STATE_VERSION, message)
                .field("expected_version")
                .hint("read it again, and decide anew"))
        }
        _ => Ok(()),
    }
}

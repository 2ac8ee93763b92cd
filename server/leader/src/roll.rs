//! Who stands, in which order: what was read of the nodes under the election's path, and what follows from it.
//!
//! Their order is that of the transactions which created them. The numbers in their names would do until they overflow;
//! these never do. Nodes of others are never touched, and do not count; what cannot be read counts for a while, since
//! it may be a leader's node that somebody has written over: a leader would write it again within a heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{Leader, Problem, Time, code};

use crate::ballot::{self, Ballot};
use crate::clock;
use crate::limits::NAMES_MAX;
use crate::session::{Node, Session, SessionError};

/// The masters' nodes under one path.
#[derive(Debug)]
pub(crate) struct Roll {
    path: String,
    /// How long what cannot be read is waited for.
    patience: Duration,
    nodes: BTreeMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    created: i64,
    is_of_session: bool,
    ballot: Ballot,
    first: Time,
    is_logged: bool,
}

impl Seen {
    /// Whether it may be a master of ours that lives.
    fn counts(&self, now: Time, patience: Duration) -> bool {
        self.is_of_session
            && match self.ballot {
                Ballot::Ours(_) | Ballot::Newer => true,
                Ballot::Foreign => false,
                Ballot::Unreadable => now.since(self.first) < patience,
            }
    }
}

impl Roll {
    pub(crate) fn new(path: &str, patience: Duration) -> Self {
        Self {
            path: path.to_owned(),
            patience,
            nodes: BTreeMap::new(),
        }
    }

    /// Reads what is new; answers whether the path is there at all.
    pub(crate) async fn look(&mut self, session: &Session) -> Result<bool, Problem> {
        let names = session.list(&self.path).answer().await?;
        let is_there = names.is_some();
        let mut names = names.unwrap_or_default();
        names.retain(|name| name.starts_with(ballot::PREFIX));
        if names.len() > NAMES_MAX {
            let message = format!("there are {} nodes under {}", names.len(), self.path);
            return Err(Problem::new(code::STORE_FAILED, message)
                .field("store")
                .hint("choose a path for this cluster alone"));
        }
        names.sort_unstable();
        self.nodes
            .retain(|name, _| names.binary_search(name).is_ok());
        names.retain(|name| self.is_unknown(name));
        let paths = names.iter().map(|name| self.path_of(name)).collect();
        let nodes = session.read(paths).answer().await?;
        let now = clock::now();
        for (name, node) in names.into_iter().zip(nodes) {
            match node {
                Some(node) => self.note(name, &node, now),
                // Gone since it was listed.
                None => drop(self.nodes.remove(&name)),
            }
        }
        Ok(is_there)
    }

    /// The masters that stand, the first of them leading.
    pub(crate) fn standing(&self) -> Vec<Leader> {
        let ours = |seen: &Seen| match &seen.ballot {
            Ballot::Ours(leader) if seen.is_of_session => Some((seen.created, leader.clone())),
            _ => None,
        };
        let mut ordered: Vec<_> = self.nodes.values().filter_map(ours).collect();
        ordered.sort_unstable_by_key(|(created, _)| *created);
        ordered.into_iter().map(|(_, leader)| leader).collect()
    }

    /// Whether the node is there, and no other that may be a master's is older. `None` when it is not there.
    pub(crate) fn is_first(&self, name: &str, now: Time) -> Option<bool> {
        let created = self.nodes.get(name)?.created;
        let precedes = |seen: &Seen| seen.created < created && seen.counts(now, self.patience);
        Some(!self.nodes.values().any(precedes))
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Nodes do not change once they can be read, but for what nobody should do.
    fn is_unknown(&self, name: &str) -> bool {
        self.nodes
            .get(name)
            .is_none_or(|seen| seen.ballot == Ballot::Unreadable)
    }

    fn note(&mut self, name: String, node: &Node, now: Time) {
        let ballot = ballot::decode(&node.bytes);
        let path = self.path_of(&name);
        let seen = self.nodes.entry(name).or_insert(Seen {
            created: node.created,
            is_of_session: node.is_of_session,
            ballot: Ballot::Unreadable,
            first: now,
            is_logged: false,
        });
        let is_strange = matches!(ballot, Ballot::Newer | Ballot::Unreadable)
            || (ballot != Ballot::Foreign && !node.is_of_session);
        if is_strange && !seen.is_logged {
            seen.is_logged = true;
            tracing::warn!(path, kind = ?ballot, "a node among the masters' is not one that this version writes");
        }
        seen.ballot = ballot;
    }
}

impl From<SessionError> for Box<Problem> {
    fn from(error: SessionError) -> Self {
        Self::new(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn ours(id: &str) -> Vec<u8> {
        let me = Leader {
            id: id.into(),
            address: "127.0.0.1:5050".into(),
            cluster_address: "127.0.0.1:5060".into(),
            version: "1".into(),
        };
        ballot::encode(&me, None)
    }

    fn roll(nodes: &[(&str, i64, &[u8], bool)]) -> Roll {
        let mut roll = Roll::new("/p", PATIENCE);
        for (name, created, bytes, is_of_session) in nodes {
            let node = Node {
                bytes: bytes.to_vec(),
                version: 0,
                created: *created,
                is_of_session: *is_of_session,
            };
            roll.note((*name).to_owned(), &node, at(0));
        }
        roll
    }

    #[test]
    fn the_oldest_leads_whatever_its_number() {
        let (a, b, c) = (ours("a"), ours("b"), ours("c"));
        let roll = roll(&[
            ("json.info_-2147483648", 30, &c, true),
            ("json.info_2147483646", 10, &a, true),
            ("json.info_2147483647", 20, &b, true),
        ]);
        let ids: Vec<_> = roll
            .standing()
            .into_iter()
            .map(|leader| leader.id)
            .collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(roll.is_first("json.info_2147483646", at(0)), Some(true));
        assert_eq!(roll.is_first("json.info_-2147483648", at(0)), Some(false));
        assert_eq!(roll.is_first("json.info_0000000001", at(0)), None);
    }

    #[test]
    fn others_do_not_count_and_what_cannot_be_read_counts_for_a_while() {
        let me = ours("me");
        type Case<'a> = (&'a [u8], bool, Option<bool>, Option<bool>);
        let cases: [Case<'_>; 6] = [
            (
                br#"{"pid":"master@127.0.0.1:5050"}"#,
                true,
                Some(true),
                Some(true),
            ),
            (
                br#"{"proffer":{"later":1}}"#,
                true,
                Some(false),
                Some(false),
            ),
            (b"garbage", true, Some(false), Some(true)),
            (b"garbage", false, Some(true), Some(true)),
            (&ours("a lasting copy"), false, Some(true), Some(true)),
            (&ours("another"), true, Some(false), Some(false)),
        ];
        for (bytes, is_of_session, early, late) in cases {
            let roll = roll(&[
                ("json.info_0000000001", 1, bytes, is_of_session),
                ("json.info_0000000002", 2, &me, true),
            ]);
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(
                roll.is_first("json.info_0000000002", at(1)),
                early,
                "{text}"
            );
            assert_eq!(roll.is_first("json.info_0000000002", at(9)), late, "{text}");
        }
    }
}

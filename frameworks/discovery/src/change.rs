//! The smallest change from what HAProxy has to what it shall have.
//!
//! Where only servers come and go, HAProxy is told on its socket, in milliseconds and without a reload; everything else
//! (ports, modes, balancing, checks, sticky sessions) is a reload. Pure. The subtle thing: a server that is taken out while it
//! still has connections stays in HAProxy, out of rotation, until they are done; when it comes back before that, it is put
//! back instead of added.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Server, Service};

/// A server of a backend, by their names.
pub type ServerKey = (String, String);

/// How to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write, check and load a whole configuration.
    Whole,
    /// Only these servers, in this order.
    Servers(Vec<ServerChange>),
}

/// One change of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerChange {
    /// A new server of this backend.
    Add {
        /// The backend's name.
        backend: String,
        /// The server.
        server: Server,
    },
    /// One that was on its way out is wanted again.
    Restore(ServerKey),
    /// No new connections to it.
    TakeOut(ServerKey),
    /// Forget it, if its connections are done.
    Remove(ServerKey),
}

/// The change from `have` to `want`; `leaving` are the servers taken out that HAProxy still has.
pub fn plan(have: &[Service], want: &[Service], leaving: &BTreeSet<ServerKey>) -> Change {
    if have.len() != want.len() {
        return Change::Whole;
    }
    let mut changes = Vec::new();
    for (old, new) in have.iter().zip(want) {
        if old.servers == new.servers && old == new {
            continue;
        }
        let can_change = new.balance.is_dynamic() && !new.is_sticky;
        if !can_change || !has_same_shape(old, new) {
            return Change::Whole;
        }
        if !plan_servers(old, new, leaving, &mut changes) {
            return Change::Whole;
        }
    }
    Change::Servers(changes)
}

fn has_same_shape(old: &Service, new: &Service) -> bool {
    let shape = |service: &Service| Service {
        servers: Vec::new(),
        ..service.clone()
    };
    shape(old) == shape(new)
}

/// Plans one backend; `false` when the servers' ids or addresses would clash with what HAProxy has.
fn plan_servers(
    old: &Service,
    new: &Service,
    leaving: &BTreeSet<ServerKey>,
    changes: &mut Vec<ServerChange>,
) -> bool {
    let old_servers: BTreeMap<&str, &Server> = by_name(old);
    let new_servers: BTreeMap<&str, &Server> = by_name(new);
    let key = |name: &str| (new.name.clone(), name.to_owned());
    // First in, then out: at no moment is nobody there.
    for (name, server) in &new_servers {
        match old_servers.get(name) {
            Some(before) if before == server => {}
            Some(_) => return false,
            None if leaving.contains(&key(name)) => changes.push(ServerChange::Restore(key(name))),
            None => changes.push(ServerChange::Add {
                backend: new.name.clone(),
                server: (*server).clone(),
            }),
        }
    }
    for name in old_servers
        .keys()
        .filter(|name| !new_servers.contains_key(*name))
    {
        changes.push(ServerChange::TakeOut(key(name)));
        changes.push(ServerChange::Remove(key(name)));
    }
    true
}

fn by_name(service: &Service) -> BTreeMap<&str, &Server> {
    service
        .servers
        .iter()
        .map(|server| (server.name.as_str(), server))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Balance, Mode};
    use crate::name::AppId;

    fn service(servers: &[u16]) -> Service {
        let server = |port: &u16| Server {
            name: format!("s_{port}"),
            address: "127.0.0.1".parse().expect("address"),
            port: *port,
            id: *port,
        };
        Service {
            app: AppId::parse("/a").expect("id"),
            port: 10_000,
            name: "a_10000".to_owned(),
            mode: Mode::Tcp,
            balance: Balance::RoundRobin,
            is_sticky: false,
            vhosts: Vec::new(),
            check_path: None,
            servers: servers.iter().map(server).collect(),
        }
    }

    fn words(change: Change) -> String {
        let Change::Servers(changes) = change else {
            return "whole".to_owned();
        };
        let word = |change: ServerChange| match change {
            ServerChange::Add { server, .. } => format!("add {}", server.name),
            ServerChange::Restore((_, name)) => format!("restore {name}"),
            ServerChange::TakeOut((_, name)) => format!("out {name}"),
            ServerChange::Remove((_, name)) => format!("remove {name}"),
        };
        changes.into_iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn servers_come_before_others_go() {
        let leaving = BTreeSet::from([("a_10000".to_owned(), "s_9".to_owned())]);
        for (have, want, expected) in [
            (&[1, 2][..], &[1, 2][..], ""),
            (&[], &[1], "add s_1"),
            (&[1, 2], &[2, 3], "add s_3, out s_1, remove s_1"),
            (&[1], &[], "out s_1, remove s_1"),
            (&[1], &[1, 9], "restore s_9"),
        ] {
            assert_eq!(
                words(plan(&[service(have)], &[service(want)], &leaving)),
                expected
            );
        }
    }

    #[test]
    fn every_other_difference_is_a_reload() {
        let none = BTreeSet::new();
        let have = service(&[1]);
        type Edit = fn(&mut Service);
        let edits: &[Edit] = &[
            |s| s.port = 10_001,
            |s| s.mode = Mode::Http,
            |s| s.balance = Balance::Source,
            |s| s.is_sticky = true,
            |s| s.name = "b_10000".to_owned(),
            |s| s.servers[0].port = 7,
        ];
        for edit in edits {
            let mut want = have.clone();
            edit(&mut want);
            assert_eq!(
                plan(std::slice::from_ref(&have), &[want], &none),
                Change::Whole
            );
        }
        assert_eq!(plan(std::slice::from_ref(&have), &[], &none), Change::Whole);
        assert_eq!(plan(&[], &[have], &none), Change::Whole);
    }

    #[test]
    fn what_cannot_change_by_itself_is_reloaded() {
        let none = BTreeSet::new();
        for balance in [Balance::Source, Balance::StaticRoundRobin] {
            let with = |servers: &[u16]| Service {
                balance,
                ..service(servers)
            };
            assert_eq!(plan(&[with(&[1])], &[with(&[2])], &none), Change::Whole);
        }
        let sticky = |servers: &[u16]| Service {
            is_sticky: true,
            ..service(servers)
        };
        assert_eq!(plan(&[sticky(&[1])], &[sticky(&[2])], &none), Change::Whole);
    }
}

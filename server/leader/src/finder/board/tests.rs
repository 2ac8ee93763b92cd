//! Tables: what each master has said, and what follows.

use super::*;

const A: &str = "127.0.0.1:1";
const B: &str = "127.0.0.1:2";
const C: &str = "127.0.0.1:3";

fn leader(id: &str, address: &str) -> Leader {
    Leader {
        id: id.to_owned(),
        address: address.to_owned(),
        cluster_address: address.replace(":", ":100"),
        version: "7".to_owned(),
    }
}

fn term(cluster: &str, epoch: u64) -> Term {
    Term {
        cluster: ClusterId::new(cluster).unwrap(),
        epoch: Epoch(epoch),
    }
}

/// What a master at an address does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Leads(&'static str, u64),
    StandsBy,
    Names(&'static str),
    Evades,
    Breaks,
    Fails,
    Works,
}
use Does::{Breaks, Evades, Fails, Leads, Names, StandsBy, Works};

fn board(given: &[&str]) -> (Board, Instant) {
    let now = Instant::now();
    let mut board = Board::new(Side::Api, false);
    let given = given.iter().map(|address| Given {
        address: (*address).to_owned(),
        version: String::new(),
    });
    board.on_given(now, given.collect());
    (board, now)
}

fn happen(board: &mut Board, now: Instant, address: &str, does: Does) {
    let answer = |term, leader| Answer { term, leader };
    match does {
        Leads(cluster, epoch) => {
            let own = Some(leader(address, address));
            board.on_answer(now, address, answer(Some(term(cluster, epoch)), own));
        }
        StandsBy => board.on_answer(now, address, answer(None, None)),
        Names(other) => {
            board.on_answer(now, address, answer(None, Some(leader(other, other))));
        }
        Evades => board.on_evasive(now, address, "it knows no such call"),
        Breaks => board.on_broken(now, address, "connection refused", 0),
        Fails => board.on_failed(now, address, "too many sessions", 0),
        Works => board.on_worked(now, address),
    }
}

fn called(board: &Board, now: Instant) -> Option<String> {
    match board.verdict(now) {
        Verdict::Call(choice) => Some(choice.address),
        Verdict::Wait(_) => None,
    }
}

#[test]
fn who_leads_follows_from_what_each_has_said() {
    type Row = (
        &'static [(&'static str, Does)],
        Option<&'static str>,
        &'static str,
    );
    let table: &[Row] = &[
        (
            &[],
            None,
            "no leader: 127.0.0.1:1 has not answered yet; 127.0.0.1:2 has not answered yet; \
             127.0.0.1:3 has not answered yet",
        ),
        (&[(B, Leads("c", 1))], Some(B), ""),
        (
            &[(A, StandsBy), (B, Breaks), (C, Leads("c", 4))],
            Some(C),
            "",
        ),
        (
            &[(A, StandsBy), (B, Breaks), (C, StandsBy)],
            None,
            "no leader: 127.0.0.1:1 stands by; 127.0.0.1:2 cannot be reached: connection refused; \
             127.0.0.1:3 stands by",
        ),
        // Two say so: the later term, whoever spoke last.
        (&[(A, Leads("c", 4)), (B, Leads("c", 5))], Some(B), ""),
        (&[(B, Leads("c", 5)), (A, Leads("c", 4))], Some(B), ""),
        // Once a later term was heard of, an earlier one is over.
        (
            &[
                (A, Leads("c", 4)),
                (B, Leads("c", 5)),
                (B, Breaks),
                (C, StandsBy),
            ],
            None,
            "no leader: 127.0.0.1:1 leads in term 4, which is over; 127.0.0.1:2 cannot be \
             reached: connection refused; 127.0.0.1:3 stands by",
        ),
        (
            &[
                (A, Leads("c", 4)),
                (B, Leads("c", 5)),
                (B, StandsBy),
                (A, Leads("c", 6)),
            ],
            Some(A),
            "",
        ),
        // Of another cluster: the one that is named first, and after it has failed the other.
        (&[(B, Leads("d", 9)), (A, Leads("c", 1))], Some(A), ""),
        (
            &[(B, Leads("d", 9)), (A, Leads("c", 1)), (A, Fails)],
            Some(B),
            "",
        ),
        // Who does not say may lead, but who says so is asked first.
        (&[(A, Evades)], Some(A), ""),
        (&[(A, Evades), (B, Leads("c", 1))], Some(B), ""),
        (&[(A, Evades), (B, Leads("c", 1)), (B, Fails)], Some(A), ""),
        (&[(A, Evades), (B, Evades), (A, Fails)], Some(B), ""),
        (
            &[(A, Evades), (B, Evades), (A, Fails), (B, Fails), (B, Works)],
            Some(B),
            "",
        ),
        // Who has failed rests; nobody takes their place in the same cluster.
        (
            &[
                (A, Leads("c", 4)),
                (B, Leads("c", 5)),
                (B, Fails),
                (C, Breaks),
            ],
            None,
            "no leader: 127.0.0.1:1 leads in term 4, which is over; 127.0.0.1:2 leads, but: too \
             many sessions; 127.0.0.1:3 cannot be reached: connection refused",
        ),
        // A new term is a new beginning.
        (
            &[(A, Leads("c", 4)), (A, Fails), (A, Leads("c", 5))],
            Some(A),
            "",
        ),
        (&[(A, Leads("c", 4)), (A, Fails), (A, Works)], Some(A), ""),
    ];
    for (events, expected, trouble) in table {
        let (mut board, now) = board(&[A, B, C]);
        for (address, does) in *events {
            happen(&mut board, now, address, *does);
        }
        assert_eq!(called(&board, now).as_deref(), *expected, "{events:?}");
        let said = board.trouble(now, None).unwrap_or_default();
        assert_eq!(said, *trouble, "{events:?}");
    }
}

#[test]
fn who_failed_is_found_again_after_a_rest_that_grows() {
    let (mut board, mut now) = board(&[A]);
    happen(&mut board, now, A, Leads("c", 1));
    for ms in [50, 100, 200, 400, 800, 1_000, 1_000] {
        happen(&mut board, now, A, Fails);
        let wake = now + Duration::from_millis(ms);
        assert_eq!(board.verdict(now), Verdict::Wait(Some(wake)));
        now = wake;
        assert_eq!(called(&board, now).as_deref(), Some(A));
    }
    happen(&mut board, now, A, Works);
    happen(&mut board, now, A, Fails);
    let wake = now + Duration::from_millis(50);
    assert_eq!(board.verdict(now), Verdict::Wait(Some(wake)));
}

#[test]
fn tries_are_spaced_out_until_a_connection_has_lasted() {
    let (mut board, mut now) = board(&[A]);
    assert_eq!(board.retry_at(A), Some(now));
    for ms in [50, 100, 200, 400, 800, 1_000, 1_000] {
        // One that answers and breaks at once does not count as a success.
        happen(&mut board, now, A, StandsBy);
        happen(&mut board, now, A, Breaks);
        assert_eq!(board.retry_at(A), Some(now + Duration::from_millis(ms)));
    }
    happen(&mut board, now, A, StandsBy);
    now += RETRY_MAX / 2;
    happen(&mut board, now, A, Leads("c", 1));
    now += RETRY_MAX / 2;
    happen(&mut board, now, A, Breaks);
    assert_eq!(board.retry_at(A), Some(now + Duration::from_millis(50)));
    assert_eq!(board.retry_at(B), None);
    let longest = wait(40, u64::MAX);
    assert!(longest >= RETRY_MAX / 2 && longest < RETRY_MAX);
}

fn wanted(board: &Board) -> Vec<&str> {
    board.wanted().collect()
}

#[test]
fn a_leader_that_a_standby_names_is_followed_while_it_is_named() {
    let (mut board, now) = board(&[A]);
    happen(&mut board, now, A, Names(B));
    assert_eq!(wanted(&board), [A, B]);
    happen(&mut board, now, B, Leads("c", 3));
    assert_eq!(called(&board, now).as_deref(), Some(B));
    // It stays while it answers, and while it is named.
    happen(&mut board, now, A, StandsBy);
    assert_eq!(wanted(&board), [A, B]);
    happen(&mut board, now, A, Names(B));
    happen(&mut board, now, B, Breaks);
    assert_eq!(wanted(&board), [A, B]);
    happen(&mut board, now, A, Names(C));
    assert_eq!(wanted(&board), [A, C]);
    happen(&mut board, now, C, Names(A));
    happen(&mut board, now, A, Leads("c", 4));
    assert_eq!(called(&board, now).as_deref(), Some(A));
}

#[test]
fn the_leader_is_not_followed_twice_under_two_names() {
    let (mut board, now) = board(&["localhost:1", "localhost:2"]);
    happen(&mut board, now, "localhost:2", Names(A));
    assert_eq!(wanted(&board), ["localhost:1", "localhost:2", A]);
    happen(&mut board, now, A, Leads("c", 1));
    let own = Answer {
        term: Some(term("c", 1)),
        leader: Some(leader(A, A)),
    };
    board.on_answer(now, "localhost:1", own);
    assert_eq!(wanted(&board), ["localhost:1", "localhost:2"]);
    assert_eq!(called(&board, now).as_deref(), Some("localhost:1"));
}

#[test]
fn that_somebody_leads_is_worth_a_try_at_once_but_only_once() {
    let (mut board, now) = board(&[A, B]);
    for _ in 0..10 {
        happen(&mut board, now, B, Breaks);
    }
    assert!(board.retry_at(B) > Some(now));
    happen(&mut board, now, A, Names(B));
    assert_eq!(board.retry_at(B), Some(now));
    happen(&mut board, now, B, Breaks);
    happen(&mut board, now, A, Names(B));
    assert!(board.retry_at(B) > Some(now));
}

#[test]
fn masters_beyond_this_host_or_beyond_the_limit_are_left_alone() {
    let (mut board, now) = board(&[A]);
    happen(&mut board, now, A, Names("10.0.0.1:1"));
    assert_eq!(wanted(&board), [A]);
    let trouble = board.trouble(now, Some("ZooKeeper is away"));
    assert_eq!(
        trouble.as_deref(),
        Some(
            "no leader: ZooKeeper is away; 127.0.0.1:1 stands by; 10.0.0.1:1 is not used: it is \
             not on this host, and insecure_allow_plaintext is not set"
        )
    );
    happen(&mut board, now, A, Names("no address"));
    assert_eq!(wanted(&board), [A]);
    let many: Vec<Leader> = (1..100)
        .map(|n| leader("x", &format!("[::1]:{n}")))
        .collect();
    board.on_standing(now, &many);
    // The one that answers stays, although nobody names it any more.
    assert_eq!(wanted(&board).len(), MASTERS_MAX);
    board.on_standing(now, &[leader("x", C)]);
    assert_eq!(wanted(&board), [A, C]);
    happen(&mut board, now, A, Breaks);
    assert_eq!(wanted(&board), [C]);
    let mut other = Board::new(Side::Cluster, false);
    other.on_standing(now, &[leader("x", C)]);
    assert_eq!(wanted(&other), ["127.0.0.1:1003"]);
}

#[test]
fn a_term_is_superseded_by_a_later_one_of_its_cluster_only() {
    let (mut board, now) = board(&[A, B]);
    let own = term("c", 4);
    assert!(!board.is_superseded(&own));
    happen(&mut board, now, A, Leads("c", 4));
    happen(&mut board, now, B, Leads("d", 9));
    assert!(!board.is_superseded(&own));
    happen(&mut board, now, B, Leads("c", 5));
    assert!(board.is_superseded(&own));
}

#[test]
fn who_may_read_from_anyone_takes_the_best_that_answers() {
    type Row = (&'static [(&'static str, Does)], &'static str);
    let table: &[Row] = &[
        (&[], "unknown"),
        (&[(A, Breaks)], "unknown"),
        (&[(A, Breaks), (B, Breaks)], "nobody"),
        (&[(A, StandsBy)], "perhaps 127.0.0.1:1"),
        (&[(A, StandsBy), (B, Breaks)], "127.0.0.1:1"),
        (&[(A, StandsBy), (B, StandsBy)], "127.0.0.1:1"),
        (&[(A, StandsBy), (B, Leads("c", 1))], "127.0.0.1:2"),
        (&[(A, StandsBy), (B, Evades)], "127.0.0.1:2"),
        (&[(A, Breaks), (B, Names(C))], "perhaps 127.0.0.1:2"),
        (&[(A, Breaks), (B, Names(C)), (C, Breaks)], "127.0.0.1:2"),
    ];
    for (events, expected) in table {
        let (mut board, now) = board(&[A, B]);
        for (address, does) in *events {
            happen(&mut board, now, address, *does);
        }
        let found = match board.anyone(now) {
            Anyone::Best(choice) => choice.address,
            Anyone::StandsBy {
                choice,
                is_all_known: true,
            } => choice.address,
            Anyone::StandsBy { choice, .. } => format!("perhaps {}", choice.address),
            Anyone::Unknown => "unknown".to_owned(),
            Anyone::Nobody => "nobody".to_owned(),
        };
        assert_eq!(found, *expected, "{events:?}");
    }
}

#[test]
fn every_master_is_seen_with_how_it_stands() {
    let (mut board, now) = board(&[A, B, C]);
    happen(&mut board, now, A, Leads("c", 4));
    happen(&mut board, now, B, Breaks);
    let seen: Vec<_> = board.seen().into_iter().map(|seen| seen.standing).collect();
    assert_eq!(seen[0], Standing::Leading(term("c", 4)));
    assert_eq!(seen[1], Standing::Unreachable("connection refused".into()));
    assert!(matches!(seen[2], Standing::Unknown(_)), "{seen:?}");
    assert_eq!(board.seen()[0].version, "7");
    happen(&mut board, now, C, Names("[::1]:9"));
    assert_eq!(board.seen()[3].address, "[::1]:9");
}

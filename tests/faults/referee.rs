//! Who led when: masters that stand for election in this process, and a referee that looks at all their leases every
//! millisecond. There must never be two that hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proffer_leader::{Contender, Elected, Lease};
use proffer_model::{Leader, Problem};
use proffer_server::clock;
use tokio::sync::{mpsc, watch};

use crate::harness::eventually;

/// The shortest session timeout that masters may have; what every test here runs with.
pub(super) const SESSION: Duration = Duration::from_secs(4);

/// Looks at all leases, and keeps what it saw.
pub(super) struct Referee {
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    terms: Vec<Term>,
    looks: u64,
    /// Pairs of names that led at once.
    overlaps: Vec<(String, String)>,
}

struct Term {
    name: String,
    lease: Lease,
    is_held: bool,
    begun: Instant,
    /// When it was first seen not to hold.
    ended: Option<Instant>,
}

impl Referee {
    pub(super) fn new() -> Self {
        let (seen, is_over) = (
            Arc::new(Mutex::new(Seen::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let (theirs, end) = (Arc::clone(&seen), Arc::clone(&is_over));
        let looking = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                theirs.lock().expect("no panic").look();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self {
            seen,
            is_over,
            looking: Some(looking),
        }
    }

    /// Stands for election as a master of this name.
    pub(super) fn stand(&self, name: &str, url: &str) -> Standing {
        Standing::start(name, url, Arc::clone(&self.seen))
    }

    /// Who leads now.
    pub(super) fn leader(&self) -> Option<String> {
        let seen = self.seen();
        let term = seen.terms.iter().find(|term| term.is_held);
        term.map(|term| term.name.clone())
    }

    /// Waits until somebody leads, other than these.
    pub(super) fn await_leader_other_than(&self, names: &[&str]) -> String {
        eventually("a leader", || {
            self.leader().filter(|name| !names.contains(&name.as_str()))
        })
    }

    /// Waits until nobody leads.
    pub(super) fn await_none(&self) {
        eventually("no leader", || self.leader().is_none().then_some(()));
    }

    /// How many terms were begun.
    pub(super) fn terms(&self) -> usize {
        self.seen().terms.len()
    }

    /// How long nobody led before the last term.
    pub(super) fn last_gap(&self) -> Duration {
        let seen = self.seen();
        let (last, before) = seen.terms.split_last().expect("a term");
        let ended = before.iter().filter_map(|term| term.ended).max();
        last.begun.duration_since(ended.expect("a term before"))
    }

    /// Never were there two at once; and it has looked often enough to say so.
    pub(super) fn check(mut self) {
        self.end();
        let seen = self.seen();
        assert!(seen.overlaps.is_empty(), "two led: {:?}", seen.overlaps);
        assert!(seen.looks > 100 && !seen.terms.is_empty(), "nothing seen");
        let names: Vec<_> = seen.terms.iter().map(|term| term.name.as_str()).collect();
        println!(
            "{} looks, terms of {names:?}, two leaders for 0 ns",
            seen.looks
        );
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(looking) = self.looking.take() {
            looking.join().expect("the referee looks");
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }
}

impl Drop for Referee {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl Seen {
    fn look(&mut self) {
        self.looks += 1;
        for term in &mut self.terms {
            term.is_held = term.lease.holds(clock::now());
            if !term.is_held && term.ended.is_none() {
                term.ended = Some(Instant::now());
            }
        }
        let held: Vec<&Term> = self.terms.iter().filter(|term| term.is_held).collect();
        let first_still = |first: &Term| first.lease.holds(clock::now());
        // Looks are one after the other: only a lease that holds before and after another has overlapped with it.
        for (index, first) in held.iter().enumerate() {
            for second in &held[index + 1..] {
                if second.lease.holds(clock::now()) && first_still(first) {
                    self.overlaps
                        .push((first.name.clone(), second.name.clone()));
                }
            }
        }
    }
}

/// A master that stands.
pub(super) struct Standing {
    pub(super) standing: watch::Receiver<Vec<Leader>>,
    pub(super) trouble: watch::Receiver<Option<Problem>>,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    GiveUp,
    Withdraw,
}

impl Standing {
    fn start(name: &str, url: &str, seen: Arc<Mutex<Seen>>) -> Self {
        let contender = contender(name, url);
        let (standing, trouble) = (contender.standing(), contender.trouble());
        let (orders, order) = mpsc::channel(1);
        let name = name.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(lead_again_and_again(&name, contender, &seen, order));
        });
        Self {
            standing,
            trouble,
            orders,
            thread: Some(thread),
        }
    }

    /// Gives leadership up, and stands again.
    pub(super) fn give_up(&self) {
        self.orders.blocking_send(Order::GiveUp).expect("it stands");
    }

    /// Stands no more.
    pub(super) fn withdraw(mut self) {
        self.orders
            .blocking_send(Order::Withdraw)
            .expect("it stands");
        let thread = self.thread.take().expect("it stands");
        thread.join().expect("it withdraws");
    }

    /// The ids of those that stand, as this one sees them.
    pub(super) fn ids(&self) -> Vec<String> {
        let standing = self.standing.borrow();
        standing.iter().map(|leader| leader.id.clone()).collect()
    }

    /// Waits for a trouble that says this.
    pub(super) fn await_trouble(&self, text: &str) -> Problem {
        eventually(text, || {
            let trouble = self.trouble.borrow();
            trouble
                .clone()
                .filter(|problem| problem.to_string().contains(text))
        })
    }
}

/// A master of this name that stands.
pub(super) fn contender(name: &str, url: &str) -> Contender {
    let me = Leader {
        id: name.to_owned(),
        address: "127.0.0.1:5050".into(),
        cluster_address: "127.0.0.1:5060".into(),
        version: "0.1.0".into(),
    };
    Contender::start(url.parse().expect(url), me, SESSION).expect("it stands")
}

async fn lead_again_and_again(
    name: &str,
    mut contender: Contender,
    seen: &Mutex<Seen>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut office: Option<Elected> = None;
    loop {
        let order = match &office {
            None => tokio::select! {
                elected = contender.elected() => {
                    seen.lock().expect("no panic").terms.push(Term {
                        name: name.to_owned(),
                        lease: elected.lease.clone(),
                        is_held: false,
                        begun: Instant::now(),
                        ended: None,
                    });
                    office = Some(elected);
                    continue;
                }
                order = orders.recv() => order,
            },
            Some(elected) => tokio::select! {
                () = elected.lease.lost() => Some(Order::GiveUp),
                order = orders.recv() => order,
            },
        };
        match order {
            Some(Order::GiveUp) => office = None,
            Some(Order::Withdraw) => {
                drop(office);
                return contender.withdraw().await;
            }
            // The test is over.
            None => return,
        }
    }
}

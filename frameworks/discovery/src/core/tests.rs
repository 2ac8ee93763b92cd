//! What the core decides, event by event.

use std::time::Duration;

use proffer_model::code;

use super::*;
use crate::apps::decode;
use crate::model::GroupFilter;

/// A core, its clock, and what it asked for last.
struct Rig {
    core: Core,
    now: Time,
    effects: Vec<Effect>,
}

impl Rig {
    fn new(had_routes: bool) -> Self {
        let filter = GroupFilter::new(["*".to_owned()]);
        let rules = Rules {
            filter,
            reserved: BTreeSet::new(),
        };
        let core = Core::new(Setup {
            rules,
            had_routes,
            can_change_servers: true,
            seed: 1,
        });
        let mut rig = Self {
            core,
            now: Time::default().after(Duration::from_secs(100)),
            effects: Vec::new(),
        };
        rig.step(Event::Started);
        rig
    }

    fn step(&mut self, event: Event) -> &[Effect] {
        self.effects.clear();
        self.core.step(self.now, event, &mut self.effects);
        &self.effects
    }

    fn wait(&mut self, ms: u64) -> &[Effect] {
        self.now = self.now.after(Duration::from_millis(ms));
        self.step(Event::TimerFired)
    }

    /// Waits for the timer that was set, and says how long.
    fn wait_for_timer(&mut self) -> Duration {
        let at = self.effects.iter().find_map(|effect| match effect {
            Effect::SetTimer(at) => Some(*at),
            _ => None,
        });
        let at = at.expect("a timer is set");
        let waited = at.since(self.now);
        self.now = at;
        self.step(Event::TimerFired);
        waited
    }

    fn fetched(&mut self, apps: &str) -> &[Effect] {
        let apps = decode(format!("{{\"apps\":[{apps}]}}").as_bytes()).expect("a list");
        self.step(Event::Fetched(Ok(Snapshot {
            apps,
            addresses: BTreeMap::new(),
        })))
    }

    fn failed(&mut self) -> &[Effect] {
        self.step(Event::Fetched(Err(Problem::new(
            code::PEER_UNREACHABLE,
            "gone",
        ))))
    }

    fn applied(&mut self, how: How) -> &[Effect] {
        let outcome = Outcome {
            how,
            digest: Digest::of(format!("{:?}", self.core.apply.under_way).as_bytes()),
            pid: Some(7),
            leaving: BTreeSet::new(),
        };
        self.step(Event::Applied(Ok(outcome)))
    }

    fn plan(&self) -> Option<&Plan> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Apply(plan) => Some(plan),
            _ => None,
        })
    }

    fn fetches(&self) -> bool {
        self.effects.contains(&Effect::Fetch)
    }

    fn facts<'a>(&'a self) -> Vec<&'a Fact> {
        let fact = |effect: &'a Effect| match effect {
            Effect::Record(fact) => Some(fact),
            _ => None,
        };
        self.effects.iter().filter_map(fact).collect()
    }

    fn served(&self) -> Vec<String> {
        let name = |service: &Service| format!("{}:{}", service.name, service.servers.len());
        self.core.view().services.iter().map(name).collect()
    }
}

fn app(id: &str, port: u16, tasks: &[u16]) -> String {
    let task = |p: &u16| {
        format!(r#"{{"id":"t","host":"127.0.0.1","ports":[{p}],"state":"TASK_RUNNING"}}"#)
    };
    let tasks: Vec<String> = tasks.iter().map(task).collect();
    format!(
        r#"{{"id":"{id}","ports":[{port}],"tasks":[{}]}}"#,
        tasks.join(",")
    )
}

#[test]
fn the_first_answer_is_applied_at_once_and_the_next_in_its_time() {
    let mut rig = Rig::new(false);
    assert!(rig.fetches());
    rig.fetched(&app("/a", 10_000, &[1]));
    assert_eq!(rig.plan().expect("a plan").change, Change::Whole);
    rig.applied(How::Started);
    assert_eq!(rig.served(), ["a_10000:1"]);
    assert!(rig.core.view().is_settled);
    assert!(rig.plan().is_none());
    // A full fetch comes by itself.
    assert_eq!(rig.wait_for_timer(), FETCH_INTERVAL);
    assert!(rig.fetches());
    // And the same answer changes nothing.
    rig.fetched(&app("/a", 10_000, &[1]));
    assert!(rig.plan().is_none());
}

#[test]
fn events_are_coalesced_into_one_fetch_more() {
    let mut rig = Rig::new(false);
    for _ in 0..100 {
        rig.step(Event::SourceChanged);
        assert!(!rig.fetches(), "one is under way");
    }
    rig.fetched("");
    assert!(!rig.fetches());
    rig.applied(How::Started);
    assert!(rig.wait_for_timer() <= FETCH_SPACING_MIN);
    assert!(rig.fetches());
    rig.fetched("");
    rig.now = rig.now.after(Duration::from_secs(1));
    rig.step(Event::SourceChanged);
    assert!(rig.fetches(), "the first event after a pause acts at once");
}

#[test]
fn reloads_are_spaced_and_changes_in_between_are_one() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    // While one is applied, two more changes come.
    for id in ["/b", "/c"] {
        rig.step(Event::SourceChanged);
        rig.wait(100);
        rig.fetched(&app(id, 10_000, &[1]));
        assert!(rig.plan().is_none(), "one is under way");
    }
    rig.applied(How::Started);
    assert!(rig.plan().is_none(), "too soon");
    assert_eq!(rig.wait_for_timer(), RELOAD_SPACING);
    assert_eq!(rig.plan().expect("a plan").services[0].name, "c_10000");
}

#[test]
fn one_fetch_more_finds_what_an_event_told_too_early() {
    let mut rig = Rig::new(false);
    rig.fetched("");
    rig.applied(How::Started);
    rig.wait(10_000);
    rig.step(Event::SourceChanged);
    assert!(rig.fetches());
    rig.fetched("");
    assert_eq!(rig.wait_for_timer(), FETCH_AFTERMATH);
    assert!(rig.fetches());
    rig.fetched("");
    assert_eq!(rig.wait_for_timer(), FETCH_INTERVAL);
}

#[test]
fn a_services_with_a_long_list_is_asked_at_most_half_of_the_time() {
    let mut rig = Rig::new(false);
    rig.now = rig.now.after(Duration::from_millis(700));
    rig.step(Event::SourceChanged);
    rig.fetched("");
    rig.applied(How::Started);
    while !rig.fetches() {
        rig.wait_for_timer();
    }
    assert_eq!(rig.now.mono_ns, 101_400_000_000);
}

#[test]
fn a_template_of_ones_own_is_always_reloaded() {
    let mut rig = Rig::new(false);
    rig.core.can_change_servers = false;
    rig.fetched(&app("/a", 10_000, &[1]));
    rig.applied(How::Started);
    rig.wait_for_timer();
    rig.fetched(&app("/a", 10_000, &[2]));
    assert_eq!(rig.plan().expect("a plan").change, Change::Whole);
}

#[test]
fn services_away_leaves_the_routes_and_is_told_once() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    rig.applied(How::Started);
    rig.wait_for_timer();
    let mut told = 0;
    for _ in 0..20 {
        rig.failed();
        told += rig.facts().len();
        assert!(rig.plan().is_none());
        assert_eq!(rig.served(), ["a_10000:1"]);
        let waited = rig.wait_for_timer();
        assert!(waited <= crate::limits::RETRY_MAX && rig.fetches());
    }
    assert_eq!(told, 1);
    assert!(rig.core.view().source_problem.is_some());
    rig.fetched(&app("/a", 10_000, &[1]));
    assert_eq!(rig.facts(), [&Fact::SourceFound]);
    assert!(rig.core.view().source_problem.is_none());
}

#[test]
fn an_answer_that_takes_everything_away_must_hold() {
    for empty in [String::new(), app("/a", 10_000, &[])] {
        let mut rig = Rig::new(false);
        rig.fetched(&app("/a", 10_000, &[1]));
        rig.applied(How::Started);
        rig.wait_for_timer();

        rig.fetched(&empty);
        assert_eq!(rig.facts(), [&Fact::EmptyDoubted]);
        assert!(rig.plan().is_none());
        // Asked again early by an event: still not believed.
        rig.now = rig.now.after(Duration::from_millis(500));
        rig.step(Event::SourceChanged);
        rig.fetched(&empty);
        assert!(rig.plan().is_none() && rig.facts().is_empty());
        // Back before it was confirmed: nothing has happened.
        rig.wait(500);
        rig.step(Event::SourceChanged);
        rig.fetched(&app("/a", 10_000, &[1]));
        assert!(rig.plan().is_none());
        // Now it holds.
        rig.wait(60_000);
        rig.fetched(&empty);
        assert_eq!(rig.wait_for_timer(), EMPTY_CONFIRMATION);
        assert!(rig.fetches());
        rig.fetched(&empty);
        assert!(rig.plan().is_some());
    }
}

#[test]
fn what_an_earlier_life_routed_is_not_taken_away_by_a_first_empty_answer() {
    let mut rig = Rig::new(true);
    rig.fetched("");
    assert!(rig.plan().is_none());
    rig.wait_for_timer();
    rig.fetched(&app("/a", 10_000, &[1]));
    assert!(rig.plan().is_some());

    let mut fresh = Rig::new(false);
    fresh.fetched("");
    assert!(
        fresh.plan().is_some(),
        "nothing was routed: nothing to lose"
    );
}

#[test]
fn only_servers_change_without_a_reload() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1, 2]));
    rig.applied(How::Started);
    rig.wait_for_timer();
    rig.fetched(&app("/a", 10_000, &[2, 3]));
    let Change::Servers(changes) = &rig.plan().expect("a plan").change else {
        panic!("not a reload");
    };
    assert_eq!(changes.len(), 3);
    // One that still has connections is asked for again until it can go.
    let key = ("a_10000".to_owned(), "127_0_0_1_1".to_owned());
    let outcome = |leaving: &[&ServerKey]| Outcome {
        how: How::Changed,
        digest: Digest::of(b"2"),
        pid: Some(7),
        leaving: leaving.iter().map(|key| (*key).clone()).collect(),
    };
    rig.step(Event::Applied(Ok(outcome(&[&key]))));
    assert_eq!(rig.wait_for_timer(), DRAIN_POLL);
    let remove = Change::Servers(vec![ServerChange::Remove(key.clone())]);
    assert_eq!(rig.plan().expect("a plan").change, remove);
    rig.step(Event::Applied(Ok(outcome(&[]))));
    assert!(rig.facts().is_empty(), "nothing new");
    assert!(rig.wait_for_timer() > DRAIN_POLL, "only the next fetch");
}

#[test]
fn what_the_socket_does_not_take_is_reloaded() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    rig.applied(How::Started);
    rig.wait_for_timer();
    rig.fetched(&app("/a", 10_000, &[2]));
    assert!(rig.plan().is_some());
    let problem = Problem::new(code::HAPROXY_FAILED, "no");
    rig.step(Event::Applied(Err(Failure::NeedsReload(problem))));
    rig.wait_for_timer();
    assert_eq!(rig.plan().expect("a plan").change, Change::Whole);
    rig.applied(How::Reloaded);
    assert!(rig.core.view().is_settled);
}

#[test]
fn a_refused_service_is_left_out_and_the_rest_goes_on() {
    for may_pass in [false, true] {
        let mut rig = Rig::new(false);
        let apps = [app("/a", 10_000, &[1]), app("/b", 10_001, &[2])].join(",");
        rig.fetched(&apps);
        let refused = Refused {
            name: "a_10000".to_owned(),
            problem: Problem::new(code::APP_PORT_TAKEN, "taken"),
            may_pass,
        };
        rig.step(Event::Applied(Err(Failure::Refused(vec![refused]))));
        assert_eq!(rig.facts().len(), 1);
        assert_eq!(rig.plan().expect("a plan").services.len(), 1);
        rig.applied(How::Started);
        assert_eq!(rig.served(), ["b_10001:1"]);
        assert_eq!(rig.core.view().left_out[0].app, "/a");
        assert!(rig.core.view().is_settled);
        // A port may become free, a bad configuration may not.
        rig.wait(5_000);
        assert_eq!(rig.plan().is_some(), may_pass);
    }
}

#[test]
fn a_refusal_is_forgotten_when_the_app_changes() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    let refused = Refused {
        name: "a_10000".to_owned(),
        problem: Problem::new(code::HAPROXY_FAILED, "bad"),
        may_pass: false,
    };
    rig.step(Event::Applied(Err(Failure::Refused(vec![refused]))));
    rig.applied(How::Started);
    assert!(rig.served().is_empty());
    rig.wait(60_000);
    rig.fetched(&app("/a", 10_000, &[2]));
    assert_eq!(rig.plan().expect("a plan").services.len(), 1);
}

#[test]
fn failures_are_tried_again_and_told_once() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    let problem = Problem::new(code::HAPROXY_FAILED, "the program haproxy is not there");
    let mut told = 0;
    for _ in 0..10 {
        assert!(rig.plan().is_some());
        rig.step(Event::Applied(Err(Failure::Failed(problem.clone()))));
        told += rig.facts().len();
        assert!(rig.plan().is_none());
        assert_eq!(rig.core.view().apply_problem.as_ref(), Some(&problem));
        // Fetches go on meanwhile.
        while rig.plan().is_none() {
            rig.wait_for_timer();
            if rig.fetches() {
                rig.fetched(&app("/a", 10_000, &[1]));
            }
        }
    }
    assert_eq!(told, 1);
    rig.applied(How::Started);
    assert_eq!(rig.core.view().apply_problem, None);
}

#[test]
fn a_failed_apply_is_tried_again_soon_and_until_it_holds() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    rig.applied(How::Started);
    rig.wait_for_timer();
    rig.fetched(&app("/a", 10_000, &[2]));
    let problem = Problem::new(code::HAPROXY_FAILED, "it has ended");
    let mut longest = APPLY_RETRY_MIN;
    for _ in 0..20 {
        assert!(rig.plan().is_some());
        let failed_at = rig.now;
        rig.step(Event::Applied(Err(Failure::Failed(problem.clone()))));
        while rig.plan().is_none() {
            rig.wait_for_timer();
            if rig.fetches() {
                rig.fetched(&app("/a", 10_000, &[2]));
            }
        }
        let waited = rig.now.since(failed_at);
        assert!(
            waited >= longest / 2 && waited <= longest,
            "{waited:?} of {longest:?}"
        );
        assert_eq!(rig.plan().expect("a plan").change, Change::Whole);
        longest = (longest * 2).min(APPLY_RETRY_MAX);
    }
    // Even when what was in force before is wanted again: the one that failed may have come about.
    rig.step(Event::Applied(Err(Failure::Failed(problem))));
    rig.step(Event::SourceChanged);
    while rig.plan().is_none() {
        if rig.fetches() {
            rig.fetched(&app("/a", 10_000, &[1]));
        }
        assert!(!rig.core.view().is_settled);
        rig.wait_for_timer();
    }
    rig.applied(How::Reloaded);
    assert!(rig.core.view().is_settled);
}

#[test]
fn a_haproxy_that_ends_is_started_again() {
    let mut rig = Rig::new(false);
    rig.fetched(&app("/a", 10_000, &[1]));
    rig.applied(How::Started);
    rig.now = rig.now.after(Duration::from_secs(1));
    rig.step(Event::HaproxyExited);
    assert_eq!(rig.facts(), [&Fact::HaproxyLost]);
    assert_eq!(rig.plan().expect("a plan").change, Change::Whole);
}

#[test]
fn what_is_left_out_is_told_once() {
    let mut rig = Rig::new(false);
    let bad = r#"{"id":"/bad","ports":[10000],"labels":{"HAPROXY_0_MODE":"x"}}"#;
    rig.fetched(bad);
    assert_eq!(rig.facts().len(), 1);
    rig.applied(How::Started);
    rig.wait_for_timer();
    rig.fetched(bad);
    assert_eq!(rig.facts().len(), 0);
    assert_eq!(rig.core.view().left_out.len(), 1);
}

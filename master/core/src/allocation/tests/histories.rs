//! Properties of random histories: every call of the interface in any order, in many worlds. After each run all sums are
//! counted from scratch, nothing is offered twice, limits are not passed by grants, and nothing that could be granted is
//! left. And where fairness converges, it does.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{
    AgentDescription, AtMost, DemandEntry, DemandId, FrameworkId, Key, Predicate, ResourceName,
    Resources, Role, Shape, Takes, Weight,
};

use super::world::*;
use crate::allocation::claims::COMING;
use crate::allocation::random::Random;
use crate::allocation::{GrantedOffer, Obstacle, Options, Placement, Scope};

const ROLES: [&str; 7] = ["*", "a", "a/x", "a/x/1", "a/y", "b", "c/z"];
const TOTALS: [&str; 10] = [
    "cpus:4;mem:4096;ports:[1-20]",
    "cpus:4;mem:4096;ports:[1-2,4-20]",
    "cpus:2;mem:1024",
    "cpus:8;mem:2048;gpus:2;disk:100;zones:{p,q}",
    "cpus(a):2;mem(a):512;cpus:2;mem:2048;ports(b):[30-40]",
    "cpus{REV}:6;cpus:1;mem:512",
    "cpus:1;mem:64;widgets:5;gadgets:7;things:9;disk(a)[v1]:10",
    // Disks that divide, and disks that go whole, with names and without.
    "cpus:2;mem:1024;disk:50;disk@PATH:/ssd:200;disk@MOUNT:/mnt/a:100;disk(b)@MOUNT:/mnt/b:100;disk@MOUNT:70<2>",
    // Volumes that several have at once.
    "cpus:3;mem:900;disk:90;disk(a):30;disk(a)[data]<SHARED>:20;disk(b)@PATH:/ssd[logs]<SHARED>:5",
    "cpus:6;mem:3000;disk(a/x)[data]<SHARED>:20;disk(c):40;disk(c)@MOUNT:/mnt/a[whole]:100",
];

/// Where agents stand; nowhere, too.
const PLACES: [&str; 4] = ["", "eu/a", "eu/b", "us/a"];

/// An offer that has not come to its end, or what a task of it holds.
#[derive(Clone, Debug)]
struct Lease {
    offer: GrantedOffer,
    is_task: bool,
}

struct History {
    world: World,
    random: Random,
    leases: Vec<Lease>,
    /// What each says of itself.
    agents: BTreeMap<String, AgentDescription>,
    windows: BTreeMap<String, u32>,
    /// Roles whose limits were set while they held more.
    log: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let placement = if seed.is_multiple_of(3) {
            Placement::BinPack
        } else {
            Placement::Spread
        };
        let options = Options {
            seed,
            placement,
            ..Options::default()
        };
        Self {
            world: World::with(options),
            random: Random::new(seed ^ 0xabcd),
            leases: Vec::new(),
            agents: BTreeMap::new(),
            windows: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.random.below(list.len())]
    }

    fn a_framework(&mut self) -> (String, &'static str) {
        (format!("f{}", self.random.below(6)), self.one_of(&ROLES))
    }

    fn an_agent(&mut self) -> Option<String> {
        let place = self.random.below(self.agents.len());
        self.agents.keys().nth(place).cloned()
    }

    fn an_entry(&mut self, id: usize) -> DemandEntry {
        let mut wanted = DemandEntry::new(entry(&format!("e{id}")), 1, Resources::new());
        wanted.count = u32::try_from(1 + self.random.below(6)).unwrap();
        wanted.priority = u32::try_from(self.random.below(3)).unwrap();
        wanted.takes = Takes {
            revocable: self.random.below(2) == 0,
            shared: self.random.below(4) > 0,
            ..Takes::default()
        };
        if self.random.below(3) == 0 {
            let least = ["cpus:0.5", "mem:1"][self.random.below(2)];
            let least = if self.random.below(2) == 0 {
                vec![quantities(least)]
            } else {
                Vec::new()
            };
            wanted.shape = Shape::Any { least };
        } else {
            let text = self.one_of(&[
                "cpus:1;mem:64",
                "cpus:2",
                "mem:700",
                "cpus:1;gpus:1",
                "widgets:2",
                "unheard:1",
                "ports:[3-3]",
                "cpus:1;disk:15",
                "disk:60",
                "cpus:0.5;disk@PATH:/ssd:80",
                "disk@MOUNT:/mnt/a:100",
            ]);
            let mut counts = BTreeMap::new();
            if self.random.below(4) == 0 {
                counts.insert(ResourceName::new("ports").unwrap(), 2);
            }
            wanted.shape = Shape::Of {
                resources: r(text),
                counts,
            };
            wanted.gang = u32::try_from(self.random.below(3)).unwrap();
        }
        let rack = ResourceName::new("rack").unwrap();
        if self.random.below(4) == 0 {
            wanted.predicates.push(Predicate::Has(rack.clone()));
        }
        if self.random.below(6) == 0 {
            wanted.predicates.push(Predicate::Region("eu".to_owned()));
        }
        if self.random.below(6) == 0 {
            let other = Predicate::Zone("b".to_owned());
            wanted.predicates.push(Predicate::Not(Box::new(other)));
        }
        if self.random.below(3) == 0 {
            let keys = [Key::Agent, Key::Attribute(rack), Key::Zone, Key::Region];
            let per = keys[self.random.below(4)].clone();
            wanted.at_most.push(AtMost { count: 1, per });
        }
        wanted
    }

    fn set_agent(&mut self) {
        let id = format!("A{}", self.random.below(8));
        let (total, attributes) = (self.one_of(&TOTALS), self.one_of(&["", "rack:p", "rack:q"]));
        let place = self.one_of(&PLACES);
        self.log.push(format!("agent {id} {place} {total}"));
        let mut description = AgentDescription {
            domain: domain(place),
            ..described(&id, attributes)
        };
        let before = self.agents.get(&id).cloned();
        if let Some(before) = before.filter(|_| self.random.below(2) == 0) {
            // It says the same of itself, and has something else.
            description = before;
        }
        let allocator = &mut self.world.allocator;
        if self
            .agents
            .insert(id.clone(), description.clone())
            .is_none()
        {
            allocator.add_agent(&agent(&id), &description, &r(total));
        } else {
            allocator.set_agent(&agent(&id), &description, &r(total));
        }
    }

    fn set_demand(&mut self) {
        let (id, path) = self.a_framework();
        let entries: Vec<DemandEntry> = (0..self.random.below(4))
            .map(|i| self.an_entry(i))
            .collect();
        if self.random.below(3) == 0 {
            return self.replace_demand(&id, path, &entries);
        }
        self.log.push(format!("demand {id} {path} {entries:?}"));
        self.world.demand(&id, path, &entries);
    }

    /// The same in pieces; now and then it ends before all of them are done.
    fn replace_demand(&mut self, id: &str, path: &str, entries: &[DemandEntry]) {
        let (of, role) = (framework(id), role(path));
        let mut left = if self.random.below(3) == 0 {
            self.random.below(4)
        } else {
            usize::MAX
        };
        self.log
            .push(format!("{left} pieces of demand {id} {path} {entries:?}"));
        self.world.allocator.begin_replacement(&of, &role);
        let before = self.world.allocator.entries_after(&of, &role, None);
        let before: Vec<_> = before.map(|(id, _)| id.clone()).collect();
        let is_gone = |id: &&DemandId| !entries.iter().any(|entry| entry.id == **id);
        for gone in before.iter().filter(is_gone) {
            self.world.allocator.drop_entry(&of, &role, gone);
            if !self.end_piece(&of, &role, &mut left) {
                return;
            }
        }
        for (place, entry) in entries.iter().enumerate() {
            let allocator = &mut self.world.allocator;
            allocator.put_coming(&of, &role, place, entry, 0);
            if !self.end_piece(&of, &role, &mut left) {
                return;
            }
        }
        self.world.allocator.conclude_replacement(&of, &role);
        self.world.allocator.check().unwrap();
    }

    /// Whether there is to be another one.
    fn end_piece(&mut self, of: &FrameworkId, role: &Role, left: &mut usize) -> bool {
        self.world.allocator.end_piece(of, role);
        self.world.allocator.check().unwrap();
        if self.random.below(4) == 0 {
            self.run_once(Scope::Changed, 5);
        }
        *left = left.saturating_sub(1);
        *left > 0
    }

    /// Something becomes of an offer, or a task of it ends.
    fn end_lease(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.random.below(self.leases.len());
        let Lease { offer, is_task } = self.leases.swap_remove(at);
        let choice = self.random.below(4);
        self.log.push(format!("end {offer:?} {is_task} {choice}"));
        let allocator = &mut self.world.allocator;
        let (id, path, of) = (&offer.framework, &offer.role, &offer.agent);
        if is_task {
            allocator.release(id, path, of, &offer.resources);
            for fit in offer.fits.iter().filter(|_| !offer.is_any) {
                allocator.unplace(id, path, &fit.demand, of, fit.count);
            }
            return;
        }
        let is_accepted = choice == 0;
        allocator.end_offer(id);
        if !is_accepted {
            allocator.release(id, path, of, &offer.resources);
        }
        for fit in &offer.fits {
            let (launched, returned) = if is_accepted {
                (fit.count, 0)
            } else {
                (0, fit.count)
            };
            allocator.count_down(id, path, &fit.demand, of, launched, returned);
            if choice == 1 {
                let until = self.world.now.mono_ns + 3_000_000_000;
                allocator.exclude(id, path, &fit.demand, of, &offer.resources, until);
            }
        }
        if is_accepted {
            self.leases.push(Lease {
                offer,
                is_task: true,
            });
        }
    }

    fn decide(&mut self) {
        let path = role(self.one_of(&ROLES));
        match self.random.below(3) {
            0 => self.world.allocator.set_weight(
                &path,
                Weight(u32::try_from(self.random.below(4)).unwrap() * 500),
            ),
            1 => self.world.allocator.set_quota(&path, None),
            _ => {
                let guarantees = self.one_of(&["", "cpus:1;mem:100", "cpus:3", "gadgets:3"]);
                let limits = self.one_of(&["", "cpus:4;mem:4096", "cpus:5;novel:1", "disk:90"]);
                self.log.push(format!("quota {path} {guarantees} {limits}"));
                self.world.quota(path.as_str(), guarantees, limits);
            }
        }
    }

    fn operate(&mut self) {
        let Some(of) = self.an_agent() else { return };
        let (from, to) = match self.random.below(7) {
            0 => ("cpus:1", "cpus(b):1"),
            1 => ("cpus(b):1", "cpus:1"),
            2 => ("disk@PATH:/ssd:10", "disk(a)@PATH:/ssd:10"),
            3 => ("disk@MOUNT:/mnt/a:100", "disk(b)@MOUNT:/mnt/a:100"),
            4 => ("disk(a):10", "disk(a)[made]:10"),
            5 => ("disk(a)@PATH:/ssd:10", "disk@PATH:/ssd:10"),
            _ => ("mem:10", "mem(a/x):10"),
        };
        self.log.push(format!("operate {of} {from} {to}"));
        let place = self.leases.iter().position(|lease| {
            lease.offer.agent.as_str() == of && lease.offer.resources.contains(&r(from))
        });
        let Some(place) = place.filter(|_| self.random.below(2) == 0) else {
            let _ = self
                .world
                .allocator
                .convert_free(&agent(&of), &r(from), &r(to));
            return;
        };
        let offer = &mut self.leases[place].offer;
        self.world.allocator.convert(
            &offer.framework,
            &offer.role,
            &offer.agent,
            &r(from),
            &r(to),
        );
        offer.resources = offer.resources.minus(&r(from)).plus(&r(to));
    }

    fn step(&mut self) {
        let (id, path) = self.a_framework();
        match self.random.below(27) {
            0..5 => self.set_agent(),
            5..10 => self.set_demand(),
            10..16 => self.end_lease(),
            16 => self.decide(),
            17 => self.operate(),
            18 => {
                let is_active = self.random.below(3) > 0;
                self.log.push(format!("active {id} {is_active}"));
                self.world
                    .allocator
                    .set_framework_active(&framework(&id), is_active);
            }
            19 => self
                .world
                .allocator
                .clear_exclusions(&framework(&id), &role(path)),
            20 => self.set_active(),
            21 => self.remove_something(),
            22 => {
                self.world.pass(1 + self.random.below(40) as u64);
            }
            23 => {
                let excluded: BTreeSet<_> = [ResourceName::new("gpus").unwrap()]
                    .into_iter()
                    .take(self.random.below(2))
                    .collect();
                self.world.allocator.set_share_excluded(&excluded);
            }
            24 => self.find_running(&id, path),
            25 => self.set_window(&id),
            _ => self
                .world
                .allocator
                .leave_role(&framework(&id), &role(path)),
        }
    }

    fn set_window(&mut self, id: &str) {
        let most = [None, Some(1), Some(2), Some(4)][self.random.below(4)];
        self.log.push(format!("window {id} {most:?}"));
        let of = framework(id);
        self.world.allocator.set_window(&of, most);
        self.windows.insert(id.to_owned(), most.unwrap_or(u32::MAX));
    }

    /// How many offers are out of each framework, as the leases say.
    fn out(&self) -> BTreeMap<String, u32> {
        let mut out = BTreeMap::new();
        for lease in self.leases.iter().filter(|lease| !lease.is_task) {
            *out.entry(lease.offer.framework.to_string()).or_default() += 1;
        }
        out
    }

    /// Nobody who had as many out as the window says was offered anything while others waited all the time.
    fn windows_hold(&self, before: &BTreeMap<String, u32>, waiting_before: &BTreeSet<String>) {
        let waiting = self.waiting();
        for (id, out) in self.out() {
            let of = framework(&id);
            assert_eq!(
                self.world.allocator.offers_out(&of),
                out,
                "{id} counts its offers"
            );
            let most = self.windows.get(&id).copied().unwrap_or(u32::MAX);
            let had = before.get(&id).copied().unwrap_or(0);
            let mut others = waiting
                .intersection(waiting_before)
                .filter(|other| **other != id);
            if others.next().is_some() && out > had {
                assert!(
                    had < most,
                    "{id} had {had} out, {most} at most, and has {out}"
                );
            }
        }
    }

    /// Frameworks that want something.
    fn waiting(&self) -> BTreeSet<String> {
        let all = (0..6).map(|i| format!("f{i}"));
        let allocator = &self.world.allocator;
        all.filter(|id| {
            allocator.is_active(&framework(id)) && allocator.wanted_in_all(&framework(id)) > 0
        })
        .collect()
    }

    fn set_active(&mut self) {
        if let Some(of) = self.an_agent() {
            let is_active = self.random.below(3) > 0;
            self.log.push(format!("agent active {of} {is_active}"));
            self.world
                .allocator
                .set_agent_active(&agent(&of), is_active);
        }
    }

    fn remove_something(&mut self) {
        if self.random.below(3) == 0 {
            let (id, _) = self.a_framework();
            self.log.push(format!("remove {id}"));
            self.world.allocator.remove_framework(&framework(&id));
            self.windows.remove(&id);
            self.leases
                .retain(|lease| lease.offer.framework.as_str() != id);
        } else if let Some(of) = self.an_agent() {
            self.log.push(format!("remove {of}"));
            self.world.allocator.remove_agent(&agent(&of));
            self.agents.remove(&of);
            let lost = self.leases.iter().filter(|lease| !lease.is_task);
            for lease in lost.filter(|lease| lease.offer.agent.as_str() == of) {
                self.world.allocator.end_offer(&lease.offer.framework);
            }
            self.leases.retain(|lease| lease.offer.agent.as_str() != of);
        }
    }

    fn find_running(&mut self, id: &str, path: &str) {
        let Some(of) = self.an_agent() else { return };
        let resources = r("cpus:0.5;mem:32");
        self.log.push(format!("running {id} {path} {of}"));
        self.world
            .allocator
            .allocate(&framework(id), &role(path), &agent(&of), &resources);
        self.world
            .allocator
            .place(&framework(id), &role(path), &entry("e0"), &agent(&of), 1);
        let offer = GrantedOffer {
            framework: framework(id),
            role: role(path),
            agent: agent(&of),
            resources,
            fits: Vec::new(),
            is_any: true,
        };
        self.leases.push(Lease {
            offer,
            is_task: true,
        });
    }

    /// One call of `run`, with what it grants; whether it is done.
    fn run_once(&mut self, scope: Scope<'_>, steps_max: u32) -> (bool, Vec<GrantedOffer>) {
        let allocator = &mut self.world.allocator;
        let run = allocator.run(self.world.now, scope, steps_max);
        let offers = run.grants.iter();
        let offers = offers.map(|grant| allocator.offer_of(grant).expect("granted just now"));
        let offers: Vec<GrantedOffer> = offers.collect();
        allocator.check().unwrap();
        for offer in &offers {
            assert!(!offer.resources.is_empty());
            self.log.push(format!("granted {offer:?}"));
            self.leases.push(Lease {
                offer: offer.clone(),
                is_task: false,
            });
        }
        (run.is_done, offers)
    }

    /// Runs, and looks at what was granted.
    fn run(&mut self) {
        let before = self.consumed();
        let (out, waiting) = (self.out(), self.waiting());
        let scope_all = self.random.below(4) == 0;
        let scope = if scope_all {
            Scope::All
        } else {
            Scope::Changed
        };
        let steps_max = [1, 5, u32::MAX][self.random.below(3)];
        let is_interrupted = self.random.below(3) == 0;
        for call in 0.. {
            assert!(call < 100_000, "a run never ends");
            if self.run_once(scope, steps_max).0 {
                break;
            }
            if is_interrupted && call < 5 {
                self.step();
            }
        }
        if !is_interrupted {
            self.limits_hold(&before);
            self.windows_hold(&out, &waiting);
        }
        let again = self.run_once(Scope::Changed, u32::MAX).1;
        // A look at everything is one look: what an earmark that ended in it had kept is left to the next, as is what
        // happened meanwhile.
        assert!(
            scope_all || is_interrupted || again.is_empty(),
            "nothing has changed since"
        );
        // Nothing useful is left: a look at everything finds nothing more.
        let rest = self.run_once(Scope::All, u32::MAX).1;
        let last = self.log.len().saturating_sub(25);
        assert!(
            rest.is_empty(),
            "left: {rest:?} after {:#?}",
            &self.log[last..]
        );
        self.nobody_is_said_to_be_next();
    }

    fn free(&self) -> Vec<String> {
        let agents = &self.world.allocator.agents;
        let free = |of: u32| format!("{:?}", agents.get(of).free);
        agents
            .iter()
            .map(|(of, _, known)| format!("{} {}", known.id, free(of)))
            .collect()
    }

    /// Nothing has been left, so nobody is told to wait for a turn.
    fn nobody_is_said_to_be_next(&self) {
        let allocator = &self.world.allocator;
        for id in self.waiting() {
            for path in ROLES {
                let (of, role) = (framework(&id), role(path));
                for (entry, wanted) in allocator.entries_after(&of, &role, None) {
                    let number = allocator.find_entry(&of, &role, entry);
                    // What is being put in has no turn before all of it is.
                    let is_coming =
                        number.is_some_and(|number| allocator.entry(number).rank == COMING);
                    let why = allocator.explain(&of, &role, entry).expect("it is there");
                    assert!(
                        wanted == 0 || is_coming || !why.agents.contains_key(&Obstacle::Turn),
                        "{id} {path} {why:?} of {:?} with {:#?} after {:#?}",
                        number.map(|number| allocator.entry(number)),
                        self.free(),
                        &self.log[self.log.len().saturating_sub(40)..]
                    );
                }
            }
        }
    }

    fn consumed(&self) -> BTreeMap<String, proffer_model::Quantities> {
        let rows = self.world.allocator.role_rows().into_iter();
        rows.map(|row| (row.role.to_string(), row.consumed))
            .collect()
    }

    /// No role passes a limit that it had not passed before.
    fn limits_hold(&self, before: &BTreeMap<String, proffer_model::Quantities>) {
        for row in self.world.allocator.role_rows() {
            let Some(quota) = &row.quota else { continue };
            for (name, most) in quota.limits.iter() {
                let was = before.get(row.role.as_str()).map_or(0, |was| was.get(name));
                assert!(
                    row.consumed.get(name) <= most.max(was),
                    "{} passes its limit of {name}",
                    row.role
                );
            }
        }
    }
}

fn play(seed: u64, steps: u32) {
    let mut history = History::new(seed);
    for _ in 0..steps {
        for _ in 0..1 + history.random.below(3) {
            history.step();
        }
        history.run();
    }
}

#[test]
fn random_histories_keep_all_promises() {
    for seed in 0..250 {
        let result = std::panic::catch_unwind(|| play(seed, 60));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_same_calls_give_the_same_grants() {
    let logs = [0, 1].map(|_| {
        let mut history = History::new(42);
        for _ in 0..100 {
            history.step();
            history.run();
        }
        history.log
    });
    assert_eq!(logs[0], logs[1]);
}

/// Tasks of one unit come and go on agents whose resources divide; guarantees are met, and the rest is shared by weight.
#[test]
fn shares_converge_to_weighted_max_min() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let mut random = Random::new(seed);
        for i in 0..10 {
            world.agent(&format!("A{i}"), "cpus:12;mem:12288");
        }
        world.quota("g", "cpus:60;mem:61440", "");
        world.weight("b", 2_000);
        // `c` wants 10 of 120 and no more; `g` is guaranteed half; `a` and `b` share the rest, 50, as 1 to 2.
        let wanted = [
            ("fa", "a", 1_000),
            ("fb", "b", 1_000),
            ("fc", "c", 10),
            ("fg", "g", 60),
        ];
        for (id, path, count) in wanted {
            world.demand(id, path, &[shaped("t", count, "cpus:1;mem:1024")]);
        }
        let mut running: Vec<(String, String, String)> = Vec::new();
        for _ in 0..600 {
            for offer in world.changed() {
                for _ in 0..offer.fits.iter().map(|fit| fit.count).sum::<u32>() {
                    running.push((
                        offer.framework.to_string(),
                        offer.role.to_string(),
                        offer.agent.to_string(),
                    ));
                }
            }
            if running.len() == 120 {
                let (id, path, of) = running.swap_remove(random.below(running.len()));
                world.release(&id, &path, &of, "cpus:1;mem:1024");
                world.allocator.count_down(
                    &framework(&id),
                    &role(&path),
                    &entry("t"),
                    &agent(&of),
                    0,
                    1,
                );
            }
        }
        for offer in world.changed() {
            running.push((
                offer.framework.to_string(),
                offer.role.to_string(),
                offer.agent.to_string(),
            ));
        }
        let held = |id: &str| running.iter().filter(|(of, ..)| of == id).count();
        assert_eq!((held("fc"), held("fg")), (10, 60), "{seed}");
        assert!((16..=18).contains(&held("fa")), "{seed}: {}", held("fa"));
        assert!((32..=34).contains(&held("fb")), "{seed}: {}", held("fb"));
    }
}

//! A cluster for the allocator alone: agents, frameworks in a tree of roles, quota, exclusions, and what is on offer.

use std::time::{Duration, Instant};

use proffer_master_core::allocation::{Allocator, GrantedOffer, Options, Scope};
use proffer_model::{
    AgentDescription, AgentId, Attributes, DemandEntry, DemandId, FrameworkId, Limits, Problem,
    Quantities, Quota, ResourceName, Resources, Role, Shape, Time, Weight,
};

use super::child::own_thread_time;
use super::size::Size;

/// What frameworks want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Whatever is free: Mesos's frameworks.
    Any,
    /// This, as often as the whole cluster holds it, by all frameworks together.
    Shaped(&'static str),
}

/// What is in the world besides agents and frameworks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) size: Size,
    pub(super) want: Want,
    /// Frameworks of one role; roles are leaves of a tree, ten beneath each top.
    pub(super) frameworks_per_role: u32,
    /// Of so many top roles, one has a guarantee and a limit. 0: none.
    pub(super) quota_every: u32,
    /// Agents that each framework excludes.
    pub(super) exclusions: usize,
    /// What agents have besides.
    pub(super) special: Special,
}

/// What is reserved on every agent, for the role of the first frameworks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Nothing,
    /// So many persistent volumes, and so many that tasks share.
    Volumes {
        own: u32,
        shared: u32,
    },
    /// So many reservations, each with a label that no other has.
    Labels(u32),
}

impl Special {
    fn text(self, agent: u32) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Volumes { own, shared } => {
                let own = (0..own).map(|n| format!(";disk({FIRST_ROLE})[v{n}]:64"));
                let shared = (0..shared).map(|n| format!(";disk({FIRST_ROLE})[s{n}]<SHARED>:64"));
                own.chain(shared).collect()
            }
            Self::Labels(count) => {
                let of = |n| format!(";cpus({FIRST_ROLE},ops,{{key:a{agent}-{n}}}):1");
                (0..count).map(of).collect()
            }
        }
    }
}

/// What every agent has.
const AGENT: &str = "cpus:16;mem:65536;disk:100000;ports:[31000-32000]";
/// The role of the first frameworks.
const FIRST_ROLE: &str = "top-0/leaf-0";
/// The name of every entry.
const ENTRY: &str = "bench";
/// Bytes for which the C library looks beyond its lists of small pieces.
const LARGE: usize = 8_192;
/// Offers that come back of which the C library puts all pieces in order when it is asked for something once.
const OFFERS_IN_ORDER: usize = 500;
/// Exclusions last longer than any benchmark.
const FOR_EVER_NS: u64 = u64::MAX / 2;

/// The world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) allocator: Allocator,
    pub(super) agents: Vec<(AgentId, AgentDescription)>,
    /// Frameworks and their roles.
    pub(super) claims: Vec<(FrameworkId, Role)>,
    pub(super) entry: DemandId,
    /// What is on offer.
    pub(super) held: Vec<GrantedOffer>,
    special: Special,
    now: Time,
}

/// What a cycle took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cycle {
    /// To decide.
    pub(super) run: Duration,
    /// To say the offers in full.
    pub(super) say: Duration,
    /// How many offers came of it.
    pub(super) offers: u64,
    /// The longest of its steps, to say its offers included.
    pub(super) longest: Duration,
    /// The most processor time that one of them took.
    pub(super) dearest: Duration,
}

impl World {
    /// Everything is there and free, nothing was allocated yet.
    pub(super) fn new(setting: Setting) -> Result<Self, Problem> {
        let mut world = Self::empty()?;
        world.special = setting.special;
        world.add_frameworks(setting)?;
        for number in 0..setting.size.agents {
            world.add_agent(number)?;
        }
        for claim in 0..world.claims.len() {
            world.exclude_some(claim, setting.exclusions);
        }
        Ok(world)
    }

    /// Nothing is there.
    pub(super) fn empty() -> Result<Self, Problem> {
        Ok(Self {
            allocator: Allocator::new(Options::default()),
            agents: Vec::new(),
            claims: Vec::new(),
            entry: DemandId::new(ENTRY)?,
            held: Vec::new(),
            special: Special::Nothing,
            now: Time {
                mono_ns: 1_000_000_000,
                wall_ms: 1_000,
            },
        })
    }

    pub(super) fn add_frameworks(&mut self, setting: Setting) -> Result<(), Problem> {
        let per_role = setting.frameworks_per_role.max(1);
        let roles = setting.size.frameworks.div_ceil(per_role);
        for top in 0..roles.div_ceil(10) {
            let role = Role::new(&format!("top-{top}"))?;
            self.allocator
                .set_weight(&role, Weight(1_000 + 500 * (top % 3)));
            if setting.quota_every > 0 && top % setting.quota_every == 0 {
                self.set_quota(&role, setting)?;
            }
        }
        let entries = self.entries(setting)?;
        for number in 0..setting.size.frameworks {
            let leaf = number / per_role;
            let role = Role::new(&format!("top-{}/leaf-{leaf}", leaf / 10))?;
            let framework = FrameworkId::new(&format!("framework-{number}"))?;
            self.allocator.set_framework_active(&framework, true);
            self.allocator.set_demand(&framework, &role, &entries);
            self.claims.push((framework, role));
        }
        Ok(())
    }

    /// A guarantee of a hundredth of the cluster, and a limit of half of it.
    fn set_quota(&mut self, role: &Role, setting: Setting) -> Result<(), Problem> {
        let (cpus, mem) = (ResourceName::new("cpus")?, ResourceName::new("mem")?);
        let each: Resources = AGENT.parse()?;
        let agents = u64::from(setting.size.agents);
        let of = |name: &ResourceName, divisor: u64| each.scalar(name.as_str()) * agents / divisor;
        let mut limits = Limits::new();
        limits.set(cpus.clone(), of(&cpus, 2));
        let guarantees = [(cpus.clone(), of(&cpus, 100)), (mem.clone(), of(&mem, 100))];
        let quota = Quota {
            guarantees: Quantities::from_iter(guarantees),
            limits,
        };
        self.allocator.set_quota(role, Some(&quota));
        Ok(())
    }

    pub(super) fn entries(&self, setting: Setting) -> Result<Vec<DemandEntry>, Problem> {
        let (count, shape) = match setting.want {
            Want::Any => (u32::MAX, None),
            Want::Shaped(shape) => {
                let shape: Resources = shape.parse()?;
                let whole: Resources = AGENT.parse()?;
                let fits = whole.scalar("cpus") / shape.scalar("cpus").max(1);
                let all = fits * u64::from(setting.size.agents);
                let each = all.div_ceil(u64::from(setting.size.frameworks));
                (u32::try_from(each).unwrap_or(u32::MAX), Some(shape))
            }
        };
        let mut entry = DemandEntry::new(
            self.entry.clone(),
            count,
            shape.clone().unwrap_or_else(Resources::new),
        );
        if shape.is_none() {
            entry.shape = Shape::Any { least: Vec::new() };
        }
        Ok(vec![entry])
    }

    /// A framework that takes whatever there is.
    pub(super) fn add_framework_of_any(
        &mut self,
        name: &str,
        role: &Role,
    ) -> Result<FrameworkId, Problem> {
        let framework = FrameworkId::new(name)?;
        let mut entry = DemandEntry::new(self.entry.clone(), u32::MAX, Resources::new());
        entry.shape = Shape::Any { least: Vec::new() };
        self.allocator.set_framework_active(&framework, true);
        self.allocator.set_demand(&framework, role, &[entry]);
        self.claims.push((framework.clone(), role.clone()));
        Ok(framework)
    }

    pub(super) fn add_agent(&mut self, number: u32) -> Result<(), Problem> {
        let resources = format!("{AGENT}{}", self.special.text(number));
        self.add_agent_of(number, &resources)
    }

    /// An agent that has these.
    pub(super) fn add_agent_of(&mut self, number: u32, resources: &str) -> Result<(), Problem> {
        let id = AgentId::new(&format!("agent-{number}"))?;
        let attributes: Attributes = format!("rack:r{};emulated:true", number % 40).parse()?;
        let description = AgentDescription {
            host: format!("host-{number}"),
            address: format!("host-{number}:5051"),
            resources: resources.parse()?,
            attributes,
            domain: None,
            version: String::new(),
        };
        self.allocator
            .add_agent(&id, &description, &description.resources);
        self.agents.push((id, description));
        Ok(())
    }

    /// This claim excludes so many agents, each claim others.
    pub(super) fn exclude_some(&mut self, claim: usize, count: usize) {
        let Some((framework, role)) = self.claims.get(claim) else {
            return;
        };
        for number in 0..count {
            let agent = (claim * 7_919 + number * 104_729) % self.agents.len().max(1);
            if let Some((id, description)) = self.agents.get(agent) {
                let (entry, all) = (&self.entry, &description.resources);
                self.allocator
                    .exclude(framework, role, entry, id, all, FOR_EVER_NS);
            }
        }
    }

    /// This claim excludes the first agents.
    pub(super) fn exclude_first(&mut self, claim: usize, count: usize) {
        let Some((framework, role)) = self.claims.get(claim) else {
            return;
        };
        for (id, description) in self.agents.iter().take(count) {
            let (entry, all) = (&self.entry, &description.resources);
            self.allocator
                .exclude(framework, role, entry, id, all, FOR_EVER_NS);
        }
    }

    /// Allocates all that can be, in one step; what comes of it is held.
    pub(super) fn cycle(&mut self, scope: Scope<'_>) -> Cycle {
        self.cycle_in_steps(scope, u32::MAX)
    }

    /// Allocates all that can be, in steps as a master does it; what comes of it is held.
    pub(super) fn cycle_in_steps(&mut self, scope: Scope<'_>, steps_max: u32) -> Cycle {
        let mut cycle = Cycle::default();
        loop {
            // Time passes, as it would.
            self.now.mono_ns += 1_000_000;
            let (begun, spent) = (Instant::now(), own_thread_time());
            let run = self.allocator.run(self.now, scope, steps_max);
            let ran = begun.elapsed();
            let begun = Instant::now();
            let before = self.held.len();
            let offers = run
                .grants
                .iter()
                .filter_map(|grant| self.allocator.offer_of(grant));
            self.held.extend(offers);
            let said = begun.elapsed();
            cycle.run += ran;
            cycle.say += said;
            cycle.longest = cycle.longest.max(ran + said);
            cycle.dearest = cycle.dearest.max(own_thread_time().saturating_sub(spent));
            cycle.offers += u64::try_from(self.held.len() - before).unwrap_or_default();
            if run.is_done {
                return cycle;
            }
        }
    }

    /// Everything on offer ends unused.
    pub(super) fn give_all_back(&mut self) {
        let freed = self.held.len();
        while let Some(offer) = self.held.pop() {
            self.give_back(&offer);
        }
        // The C library puts the hundreds of thousands of pieces that this has freed in order when others are asked for next,
        // ten thousand each time, which takes it a millisecond or more. It is asked for here, and not in a step that is
        // measured.
        for _ in 0..=freed / OFFERS_IN_ORDER {
            drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    }

    /// An offer ends unused.
    pub(super) fn give_back(&mut self, offer: &GrantedOffer) {
        let (framework, role) = (&offer.framework, &offer.role);
        self.allocator
            .release(framework, role, &offer.agent, &offer.resources);
        for fit in &offer.fits {
            self.allocator
                .count_down(framework, role, &fit.demand, &offer.agent, 0, fit.count);
        }
    }

    /// Everything on offer ends, and its agents are not wanted any more.
    pub(super) fn decline_all(&mut self) {
        while let Some(offer) = self.held.pop() {
            self.decline(&offer);
        }
    }

    /// An offer ends, and its agent is not wanted any more.
    pub(super) fn decline(&mut self, offer: &GrantedOffer) {
        self.give_back(offer);
        let (framework, role) = (&offer.framework, &offer.role);
        self.allocator.exclude(
            framework,
            role,
            &self.entry,
            &offer.agent,
            &offer.resources,
            FOR_EVER_NS,
        );
    }
}

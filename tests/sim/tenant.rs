//! A framework that does not stay. It has several roles, others in each session; it goes away for shorter or longer than its
//! failover timeout, tears itself down, or is torn down by an operator. When it is over it is another one, under another id;
//! the spent ones it tries now and then, and must be refused.

use std::time::Duration;

use proffer_model::session::Call;
use proffer_model::{FrameworkDescription, FrameworkId, Generation, Role};

use super::coverage::Seen;
use super::process::Who;
use super::story::tell;
use super::world::{Outcome, SECOND, World};

/// How long it may be away.
pub(super) const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);
/// The same of those that stay.
const FOR_EVER: Duration = Duration::from_secs(100_000);
/// What was on its way when it left for good is with a master by then.
const ON_ITS_WAY_MAX: u64 = 60 * SECOND;
/// All roles that it ever has.
const ROLES: [&str; 3] = ["tenant", "tenant/day", "night"];

#[derive(Default)]
pub(super) struct Tenant {
    /// How often it was over.
    life: u64,
    /// Whom the session that was opened last speaks for.
    asking: Option<FrameworkId>,
    roles: Vec<Role>,
    /// Ids of those that it was.
    spent: Vec<FrameworkId>,
    away_until: u64,
    /// Since when it does not come back.
    left_at: Option<u64>,
    /// It was over when no more was wanted.
    pub(super) is_done: bool,
}

impl Tenant {
    pub(super) fn id(&self) -> FrameworkId {
        FrameworkId::new(&format!("tenant-{}", self.life)).expect("a good name")
    }

    /// Whether it does not want to be connected.
    fn is_away(&self, now: u64) -> bool {
        self.is_done || self.left_at.is_some() || now < self.away_until
    }
}

pub(super) fn all_roles() -> Vec<Role> {
    let roles = ROLES.iter().map(|role| Role::new(role));
    roles.map(|role| role.expect("a good name")).collect()
}

impl World {
    /// The first call of a session, of one that stands by or not.
    pub(super) fn subscription(&mut self, n: usize, stand_by: bool) -> Call {
        let is_tenant = self.frameworks[n].tenant.is_some();
        if is_tenant && !stand_by {
            self.draw_subscription(n);
        }
        let resume = self.draw_resume(n);
        let it = &self.frameworks[n];
        let (framework, roles, failover_timeout) = match &it.tenant {
            Some(tenant) if stand_by => (it.id.clone(), tenant.roles.clone(), FAILOVER_TIMEOUT),
            Some(tenant) => (
                tenant.asking.clone(),
                tenant.roles.clone(),
                FAILOVER_TIMEOUT,
            ),
            None => (it.id.clone(), vec![it.wants.role()], FOR_EVER),
        };
        Call::Subscribe {
            framework,
            description: FrameworkDescription {
                name: it.wants.name().into(),
                roles,
                failover_timeout,
                mesos: None,
            },
            resume,
            stand_by,
            create: is_tenant,
        }
    }

    /// Whom the next session speaks for, and in which roles.
    fn draw_subscription(&mut self, n: usize) {
        let mut roles = all_roles();
        roles.retain(|_| !self.random.one_in(3));
        if roles.is_empty() {
            roles = all_roles();
        }
        let tries_spent = self.random.one_in(4);
        let Some(tenant) = &mut self.frameworks[n].tenant else {
            return;
        };
        let spent = self.random.index(tenant.spent.len());
        let spent = tenant.spent.get(spent).filter(|_| tries_spent).cloned();
        tenant.asking = Some(spent.unwrap_or_else(|| tenant.id()));
        tenant.roles = roles;
    }

    /// Whether a framework does not look for a master now.
    pub(super) fn is_away(&self, n: usize) -> bool {
        let tenant = self.frameworks[n].tenant.as_ref();
        tenant.is_some_and(|tenant| tenant.is_away(self.now))
    }

    /// Says how much it wants in each of its roles; now and then also in one that it does not have.
    pub(super) fn tenant_calls_demand(&mut self, n: usize, connection: u64) {
        let is_bold = self.random.one_in(6);
        let it = &mut self.frameworks[n];
        let Some(tenant) = &it.tenant else {
            return;
        };
        let mut roles = tenant.roles.clone();
        if is_bold {
            let others = all_roles().into_iter();
            roles.extend(others.filter(|role| !tenant.roles.contains(role)));
        }
        let missing = it.wants.missing();
        let count = u64::try_from(roles.len()).expect("small");
        for (place, role) in (0..).zip(roles) {
            let share = missing / count + u64::from(place < missing % count);
            let it = &mut self.frameworks[n];
            it.demand_generation += 1;
            let generation = Generation(it.demand_generation);
            let demand = it.wants.demand_in(role, share, generation);
            self.call(n, connection, Call::SetDemand(demand));
        }
    }

    /// It goes, comes back, or wants to be over.
    pub(super) fn tenant_ticks(&mut self, n: usize) {
        let (now, is_over) = (self.now, self.is_over());
        let it = &self.frameworks[n];
        let Some(tenant) = &it.tenant else {
            return;
        };
        let (left_at, life) = (tenant.left_at, tenant.life);
        if tenant.is_done {
            return;
        }
        if let Some(left_at) = left_at {
            let id = tenant.id();
            let registry = &self.ensemble.registry;
            let is_registered = registry.frameworks.contains_key(&id);
            let is_late = left_at + ON_ITS_WAY_MAX < now;
            if self.checks.completions.is_over(&id) || (is_late && !is_registered) {
                self.end_life(n);
            }
            return;
        }
        if !it.is_active() {
            if !self.is_away(n) {
                self.framework_looks(n, 0);
            }
            return;
        }
        if is_over && life.is_multiple_of(2) {
            return self.tenant_leaves(n, None);
        }
        if is_over || self.random.one_in(40) {
            return self.tenant_tears_down(n);
        }
        if self.random.one_in(25) {
            let most = 3 * u64::try_from(FAILOVER_TIMEOUT.as_nanos()).expect("small");
            let wait = self.random.below(most);
            self.tenant_leaves(n, Some(now + wait));
        }
    }

    fn tenant_tears_down(&mut self, n: usize) {
        let it = &self.frameworks[n];
        let (Some(connection), Some(id)) = (it.connection(), it.id.clone()) else {
            return;
        };
        tell!(self, "{}tears down {id}", Who::Framework(n));
        let request = self.call(n, connection, Call::Teardown);
        self.checks.completions.on_asked(&id, Some(request));
    }

    /// It goes away until then, or for good, with all its sessions.
    fn tenant_leaves(&mut self, n: usize, until: Option<u64>) {
        self.seen.count(Seen::TenantLeft);
        tell!(self, "{}goes away until {until:?}", Who::Framework(n));
        let now = self.now;
        if let Some(tenant) = &mut self.frameworks[n].tenant {
            match until {
                Some(until) => tenant.away_until = until,
                None => tenant.left_at = Some(now),
            }
        }
        self.standby_lost(n);
        for connection in self.frameworks[n].take_connections() {
            let is_silent = self.random.one_in(4);
            self.close(Who::Framework(n), connection, is_silent);
        }
    }

    /// A session was told that its framework is over.
    pub(super) fn tenant_is_refused(&mut self, n: usize, connection: u64) -> Outcome {
        self.framework_leaves(n, connection);
        let Some(tenant) = &self.frameworks[n].tenant else {
            return Ok(());
        };
        let asked = tenant.asking.clone().unwrap_or_else(|| tenant.id());
        let is_own = asked == tenant.id();
        if !self.checks.completions.is_over(&asked) {
            return Err(format!("framework {asked} is said to be over, and is not"));
        }
        if is_own {
            self.end_life(n);
        } else {
            self.seen.count(Seen::SpentIdRefused);
        }
        Ok(())
    }

    /// It is another one from now on, which has nothing; or none, when no more is wanted.
    fn end_life(&mut self, n: usize) {
        let is_over = self.is_over();
        self.seen.count(Seen::TenantBeganAnew);
        let it = &mut self.frameworks[n];
        it.forgets_all();
        let Some(tenant) = &mut it.tenant else {
            return;
        };
        tenant.spent.push(tenant.id());
        tenant.life += 1;
        (tenant.is_done, tenant.left_at, tenant.asking) = (is_over, None, None);
        it.id = Some(tenant.id());
        tell!(self, "{}is another one", Who::Framework(n));
    }

    /// A framework that an operator may tear down.
    pub(super) fn framework_to_tear_down(&mut self) -> Option<FrameworkId> {
        let tenants = self.frameworks.iter().filter_map(|it| it.tenant.as_ref());
        let id = tenants.map(Tenant::id).next()?;
        let is_known = self.ensemble.registry.frameworks.contains_key(&id);
        (is_known && self.random.one_in(20)).then_some(id)
    }
}

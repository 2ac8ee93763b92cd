//! The simulated framework: wants so many tasks run to a good end, keeps what it is told, and acknowledges it.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::session::{Answer, Call, Event, Operation, OperationResult};
use proffer_model::{
    Command, Demand, DemandEntry, DemandId, FrameworkDescription, FrameworkId, Generation,
    Incarnation, Offer, RangeSet, ResourceName, Resources, Role, Shape, Status, TaskId, TaskSpec,
    TaskState,
};

use super::world::{Happening, MS, World};

pub(super) struct Framework {
    id: Option<FrameworkId>,
    wanted: u64,
    done: u64,
    named: u64,
    generation: u64,
    request: u64,
    /// Tasks that are not known to have ended.
    open: BTreeMap<TaskId, TaskState>,
    /// Accepts whose answer has not come, and their tasks.
    asked: BTreeMap<u64, Vec<TaskId>>,
    session: Option<u64>,
    /// It has lost its memory once: what it runs it learns from what it is told.
    is_forgetful: bool,
}

impl Framework {
    pub(super) fn new(wanted: u64) -> Self {
        Self {
            id: None,
            wanted,
            done: 0,
            named: 0,
            generation: 0,
            request: 0,
            open: BTreeMap::new(),
            asked: BTreeMap::new(),
            session: None,
            is_forgetful: false,
        }
    }

    /// It is started anew and has kept its id and its counts, but not what it runs.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.asked.clear();
        self.is_forgetful = true;
    }

    /// Asks how its tasks stand: those that it knows of, and whatever there is if there may be more.
    fn reconcile(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        if self.is_forgetful {
            calls.push(Call::Reconcile { tasks: Vec::new() });
        }
        if !self.open.is_empty() {
            let tasks = self.open.keys().cloned().collect();
            calls.push(Call::Reconcile { tasks });
        }
        calls
    }

    pub(super) fn is_done(&self) -> bool {
        self.done >= self.wanted && self.open.is_empty()
    }

    pub(super) fn pending(&self) -> String {
        let some: Vec<String> = self
            .open
            .iter()
            .take(5)
            .map(|(task, state)| format!("{task} {state}"))
            .collect();
        format!(
            "{} of {} done, {} open: {}",
            self.done,
            self.wanted,
            self.open.len(),
            some.join(", ")
        )
    }

    pub(super) fn at_end(&self) -> Result<(), String> {
        match self.is_done() {
            true => Ok(()),
            false => Err(self.pending()),
        }
    }

    /// What is missing, as the whole demand; generations grow across sessions.
    fn demand(&mut self) -> Call {
        self.generation += 1;
        let missing = self
            .wanted
            .saturating_sub(self.done + self.open.len() as u64);
        let counts = [(ResourceName::new("ports").expect("a good name"), 1)].into();
        let resources = "cpus:1;mem:100".parse().expect("good resources");
        let entry = DemandEntry {
            id: DemandId::new("work").expect("a good name"),
            shape: Shape::Of { resources, counts },
            count: u32::try_from(missing).expect("small"),
            predicates: Vec::new(),
            at_most: Vec::new(),
            gang: 0,
            priority: 0,
            takes: proffer_model::Takes::default(),
            excluded: Vec::new(),
        };
        let entries = if missing == 0 {
            Vec::new()
        } else {
            vec![entry]
        };
        Call::SetDemand(Demand {
            role: role(),
            generation: Generation(self.generation),
            entries,
        })
    }

    /// Takes an offer for as many tasks as it fits.
    fn accept(&mut self, offer: &Offer) -> Call {
        let missing = self
            .wanted
            .saturating_sub(self.done + self.open.len() as u64);
        let fits: u64 = offer.fits.iter().map(|fit| u64::from(fit.count)).sum();
        let ports: Vec<u64> = offer.resources.range_set("ports").numbers().collect();
        let mut operations = Vec::new();
        for port in ports
            .into_iter()
            .take(usize::try_from(fits.min(missing)).expect("small"))
        {
            self.named += 1;
            let task = TaskId::new(&format!("t{:04}", self.named)).expect("a good name");
            self.open.insert(task.clone(), TaskState::Staging);
            operations.push(Operation::launch(spec(task, port)));
        }
        Call::Accept {
            offers: vec![offer.id.clone()],
            operations,
        }
    }

    fn on_answer(&mut self, request: u64, answer: &Answer) {
        let Some(tasks) = self.asked.remove(&request) else {
            return;
        };
        match answer {
            Answer::Accepted(results) => {
                let launches = results.iter().flat_map(OperationResult::launches);
                for result in launches.filter(|result| result.outcome.is_err()) {
                    self.open.remove(&result.task);
                }
            }
            Answer::Refused(_) => tasks.iter().for_each(|task| {
                self.open.remove(task);
            }),
            Answer::Done => {}
        }
    }

    fn on_status(&mut self, status: &Status) {
        if !status.state.is_terminal() {
            let is_found = self.is_forgetful && status.incarnation != Incarnation(0);
            if is_found || self.open.contains_key(&status.task) {
                self.open.insert(status.task.clone(), status.state);
            }
        } else if self.open.remove(&status.task).is_some() && status.state == TaskState::Finished {
            self.done += 1;
        }
    }
}

fn role() -> Role {
    Role::new("*").expect("a good name")
}

fn spec(id: TaskId, port: u64) -> TaskSpec {
    let mut resources: Resources = "cpus:1;mem:100".parse().expect("good resources");
    resources
        .insert_ranges(
            ResourceName::new("ports").expect("a good name"),
            RangeSet::from_numbers([port]),
        )
        .expect("new");
    TaskSpec {
        name: id.to_string(),
        id,
        resources,
        command: Command::Shell("work".into()),
        environment: BTreeMap::new(),
        user: None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        checks: Vec::new(),
        kill_grace: Duration::from_secs(3),
        container: None,
        executor: None,
        volumes: Vec::new(),
        completion: None,
    }
}

impl World {
    pub(super) fn session_connects(&mut self) -> Result<(), String> {
        if !self.sessions.is_empty() {
            return Ok(());
        }
        if !self.master.is_up() {
            self.after(150 * MS, Happening::SessionConnects);
            return Ok(());
        }
        self.connections += 1;
        let session = self.connections;
        let connection = self.connection(0);
        self.sessions.insert(session, connection);
        self.framework.session = Some(session);
        let description = FrameworkDescription {
            name: "sim".into(),
            roles: vec![role()],
            failover_timeout: Duration::from_secs(100_000),
        };
        let framework = self.framework.id.clone();
        self.call(Call::Subscribe {
            framework,
            description,
        });
        Ok(())
    }

    fn call(&mut self, call: Call) -> u64 {
        self.framework.request += 1;
        let request = self.framework.request;
        if let Some(session) = self.framework.session {
            self.send_call(session, request, call);
        }
        request
    }

    pub(super) fn framework_event(
        &mut self,
        session: u64,
        sequence: u64,
        event: Event,
    ) -> Result<(), String> {
        if !self.sessions.contains_key(&session) {
            return Ok(());
        }
        match event {
            Event::Subscribed { framework, .. } => {
                if self
                    .framework
                    .id
                    .as_ref()
                    .is_some_and(|id| *id != framework)
                {
                    return Err(format!("the framework is {framework} now"));
                }
                self.framework.id = Some(framework);
                // Answers that did not come never will: reconciliation tells what became of those tasks.
                self.framework.asked.clear();
                for call in self.framework.reconcile() {
                    self.call(call);
                }
                self.call_demand();
            }
            Event::Answered { request, answer } => {
                self.framework.on_answer(request, &answer);
                if matches!(answer, Answer::Accepted(_) | Answer::Refused(_)) {
                    self.call_demand();
                }
            }
            Event::Offered(offers) => self.on_offers(&offers),
            Event::Updated(status) => self.on_status(&status)?,
            Event::AgentSettled(_) => {
                for call in self.framework.reconcile() {
                    self.call(call);
                }
            }
            Event::Rescinded(_) | Event::Heartbeat => {}
            Event::Closed(problem) => self.note(format!("framework: closed: {problem}")),
        }
        self.call(Call::Acknowledge { sequence });
        Ok(())
    }

    fn call_demand(&mut self) {
        let demand = self.framework.demand();
        self.call(demand);
    }

    fn on_offers(&mut self, offers: &[Offer]) {
        for offer in offers {
            if self.random.one_in(8) {
                let exclude_for = Duration::from_millis(self.random.below(3_000));
                self.call(Call::Decline {
                    offers: vec![offer.id.clone()],
                    exclude_for,
                });
                continue;
            }
            let accept = self.framework.accept(offer);
            let Call::Accept { operations, .. } = &accept else {
                continue;
            };
            let tasks = operations.iter().flat_map(Operation::tasks);
            let tasks = tasks.map(|spec| spec.id.clone()).collect();
            let request = self.call(accept);
            self.framework.asked.insert(request, tasks);
        }
    }

    fn on_status(&mut self, status: &Status) -> Result<(), String> {
        self.note(format!(
            "framework: {} {} ({})",
            status.task, status.state, status.reason
        ));
        if !self.checks.on_status(status)? {
            return Ok(());
        }
        if status.state.is_terminal() {
            self.tally(4);
        }
        if status.state == TaskState::Unreachable {
            self.tally(5);
        }
        self.framework.on_status(status);
        if status.state == TaskState::Running && self.random.one_in(12) {
            self.checks.on_kill_wanted(&status.task);
            self.call(Call::Kill {
                task: status.task.clone(),
                grace: None,
            });
        }
        if status.state.is_terminal() {
            self.call_demand();
        }
        Ok(())
    }
}

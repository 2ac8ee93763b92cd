//! One session from `Subscribed` to its end: moves calls and acknowledgements out, events in, and matches answers to calls.
//!
//! Nothing here waits for the author: events that they have not taken stand in a backlog. At a bound the session stops
//! reading, so that the master sees a slow reader, unless the author waits for answers: one who awaits an answer before they
//! take the next event would otherwise wait for themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use proffer_leader::Term;
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::session::{Answer, Call, Event, OperationResult};
use proffer_model::time::format_duration;
use proffer_model::{Demand, Epoch, Kind, OfferId, Problem, code};
use proffer_proto::{decode_event, decode_offer, encode_call, problem_of, v1};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use v1::session_event::Event as Said;

use crate::events::Received;
use crate::handle::{Reply, Request};
use crate::later::{bare, known};
use crate::limits::{
    ASK_DELAY, ASK_INTERVAL, BACKLOG_MAX, BACKLOG_PAUSE, CALLS_OUTGOING_MAX, CALLS_PENDING_MAX,
    DEMAND_RETRY_INTERVAL, EVENTS_QUEUED_MAX, HEARTBEATS_MISSED_MAX, MESSAGES_TOGETHER_MAX,
    SETTLE_WARNING_INTERVAL, TASKS_PER_QUESTION_MAX, UNREADABLE_EXCLUDE_FOR,
};
use crate::link::{Ended, Held, Link, closed, out_of_order};
use crate::memory::Memory;
use crate::unanswered::{
    Launches, Unanswered, Waiting, is_to_be_done, launched_by, may_hit, may_repeat,
};

/// The author's ends of the channels.
pub(crate) struct Author<'a> {
    pub(crate) requests: &'a mut mpsc::Receiver<Request>,
    pub(crate) acknowledged: &'a mut watch::Receiver<u64>,
    pub(crate) events: &'a mpsc::Sender<Received>,
}

/// A session that runs.
pub(crate) struct Pump<'a> {
    memory: &'a mut Memory,
    calls: mpsc::Sender<v1::SessionCall>,
    events: Streaming<v1::SessionEvent>,
    silence_max: Duration,
    /// Of the session: calls are meant for this term alone.
    term: Term,
    heard: Instant,
    waiting: BTreeMap<u64, Waiting>,
    /// Calls that were refused for the moment, by when they are called again.
    delayed: BTreeSet<(Instant, u64)>,
    /// When to ask about tasks whose fate is open, and when that was done last.
    ask_at: Option<Instant>,
    asked_at: Instant,
    /// What was asked and has no answer yet.
    questions: BTreeSet<u64>,
    /// What was asked about tasks whose statuses the author could not take before the last session ended.
    retellings: BTreeSet<u64>,
    /// What the accepts that wait launch; while calls are delayed that ask for it.
    launches: Option<Launches>,
    outgoing: VecDeque<v1::SessionCall>,
    backlog: VecDeque<Received>,
}

impl<'a> Pump<'a> {
    /// Begins with the latest demands, and with what the last session has left unanswered. Of tasks that the master knows it
    /// tells by itself. The author has been told `Subscribed`.
    pub(crate) fn new(memory: &'a mut Memory, link: Link, unanswered: &mut Unanswered) -> Self {
        let demands = demands_of(memory, unanswered);
        let is_resumed = link.is_resumed();
        let mut pump = Self {
            memory,
            calls: link.calls,
            events: link.events,
            silence_max: link
                .heartbeat_interval
                .saturating_mul(HEARTBEATS_MISSED_MAX),
            term: link.active.session.term(),
            heard: Instant::now(),
            waiting: BTreeMap::new(),
            delayed: BTreeSet::new(),
            ask_at: None,
            asked_at: Instant::now(),
            questions: BTreeSet::new(),
            retellings: BTreeSet::new(),
            launches: None,
            outgoing: VecDeque::new(),
            backlog: VecDeque::new(),
        };
        for (demand, reply) in demands {
            pump.enqueue(Call::SetDemand(demand), reply);
        }
        for (request, waiting) in unanswered.take() {
            pump.enqueue_as(request, waiting);
        }
        pump.ask_of_untold(is_resumed);
        if pump.memory.ledger.has_open() {
            // Unless it is resumed, there is a snapshot first.
            let delay = if is_resumed { ASK_DELAY } else { ASK_INTERVAL };
            pump.ask_at = Some(Instant::now() + delay);
        }
        pump
    }

    /// Runs until the session ends; every call that waits then fails, unless the next session is to begin with it.
    /// `overtaken` says why it is to end before the master says so. What is held is to be kept until the next session has
    /// begun.
    pub(crate) async fn run(
        mut self,
        author: Author<'_>,
        overtaken: impl Future<Output = Ended> + Unpin,
    ) -> (Ended, Unanswered, Option<Held>) {
        let events = author.events;
        let ended = tokio::select! {
            // What has come over the session is taken first.
            biased;
            ended = self.run_until_it_ends(author) => ended,
            ended = overtaken => ended,
        };
        let (Ended::Broken(problem) | Ended::Refused(problem) | Ended::Anew(problem)) = &ended;
        let calls = self.waiting.values().map(|waiting| &waiting.call);
        self.memory.ledger.session_ended(calls);
        // The rest of the room is for what follows.
        while events.capacity() > EVENTS_QUEUED_MAX / 2
            && let Some(received) = self.backlog.pop_front()
        {
            // It fails only when nobody listens any more.
            let _ = events.try_send(received);
        }
        self.memory.leaves_untold(&self.backlog);
        let unanswered = Unanswered::of_session(self.waiting, problem);
        let held = matches!(ended, Ended::Anew(_))
            .then(|| Held::new(self.term, self.calls, self.events, self.silence_max));
        (ended, unanswered, held)
    }

    async fn run_until_it_ends(&mut self, author: Author<'_>) -> Ended {
        let calls = self.calls.clone();
        let ledger = Arc::clone(&self.memory.ledger);
        loop {
            let may_read = self.backlog.len() < BACKLOG_PAUSE
                || self.waiting.values().any(Waiting::is_awaited);
            let may_send = self.outgoing.len() < CALLS_OUTGOING_MAX;
            if !may_read {
                self.heard = Instant::now();
            }
            let silent_at = self.heard + self.silence_max;
            let delayed = self.delayed.first().copied();
            if delayed.is_none() {
                self.launches = None;
            }
            let due_at = delayed.map_or(silent_at, |(due_at, _)| due_at);
            tokio::select! {
                message = self.events.message(), if may_read => {
                    if let Err(ended) = self.on_message(message).and_then(|()| self.hear_more()) {
                        return ended;
                    }
                }
                Some(request) = author.requests.recv(), if may_send => {
                    // What was acknowledged before may be what the call rests on, such as the end of a task's last launch.
                    if author.acknowledged.has_changed().unwrap_or(false) {
                        let sequence = *author.acknowledged.borrow_and_update();
                        self.on_acknowledged(sequence);
                    }
                    self.on_request(request);
                }
                Ok(()) = author.acknowledged.changed(), if may_send => {
                    let sequence = *author.acknowledged.borrow_and_update();
                    self.on_acknowledged(sequence);
                }
                () = ledger.woken() => self.on_woken(),
                () = sleep_until(self.ask_at.unwrap_or(silent_at)), if self.ask_at.is_some() => self.ask(),
                Ok(permit) = calls.reserve(), if !self.outgoing.is_empty() => {
                    if let Some(call) = self.outgoing.pop_front() {
                        permit.send(call);
                    }
                }
                Ok(permit) = author.events.reserve(), if !self.backlog.is_empty() => {
                    if let Some(received) = self.backlog.pop_front() {
                        permit.send(received);
                    }
                    while !self.backlog.is_empty() && let Ok(permit) = author.events.try_reserve() {
                        if let Some(received) = self.backlog.pop_front() {
                            permit.send(received);
                        }
                    }
                }
                () = sleep_until(due_at), if delayed.is_some() => self.call_again(delayed),
                () = sleep_until(silent_at) => return Ended::Broken(silent(self.silence_max)),
            }
        }
    }

    /// Takes what has come together with the last message.
    fn hear_more(&mut self) -> Result<(), Ended> {
        for _ in 0..MESSAGES_TOGETHER_MAX {
            match self.events.message().now_or_never() {
                Some(message) => self.on_message(message)?,
                None => break,
            }
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        message: Result<Option<v1::SessionEvent>, Status>,
    ) -> Result<(), Ended> {
        self.heard = Instant::now();
        let message = message
            .map_err(|status| Ended::Broken(problem_of(&status)))?
            .ok_or_else(|| Ended::Broken(closed()))?;
        if message.event.is_none() {
            tracing::debug!(
                sequence = message.sequence,
                "skipped an event of a kind not known"
            );
            return Ok(());
        }
        let epoch = Epoch(message.epoch);
        self.memory.check_epoch(epoch).map_err(Ended::Broken)?;
        let message = match message.event {
            Some(Said::Offered(offered)) => {
                self.on_offered(message.sequence, offered);
                return self.check_backlog();
            }
            event => v1::SessionEvent { event, ..message },
        };
        let answered = match &message.event {
            Some(Said::Answered(answered)) => Some(answered.request_id),
            _ => None,
        };
        let bare = bare(&message);
        let decoded = decode_event(known(message));
        let decoded = decoded.or_else(|problem| decode_event(bare.ok_or(problem)?));
        let (number, _, event) = match decoded {
            Ok(decoded) => decoded,
            Err(problem) => {
                return match answered {
                    Some(request) => self.on_unreadable_answer(request, problem),
                    None => {
                        skip(&problem);
                        Ok(())
                    }
                };
            }
        };
        match event {
            Event::Heartbeat => {}
            Event::Answered { request, answer } => self.on_answered(request, answer),
            Event::Closed(problem) => return Err(Ended::Refused(problem)),
            Event::Subscribed { .. } | Event::StandingBy { .. } => {
                return Err(Ended::Broken(out_of_order()));
            }
            Event::Offered(_)
            | Event::Updated(_)
            | Event::Rescinded(_)
            | Event::AgentSettled(_)
            | Event::SnapshotEnded
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::Reclaim { .. } => {
                let sequence = self.memory.sequence_of(number);
                self.backlog.push_back(Received { sequence, event });
            }
        }
        self.check_backlog()
    }

    fn check_backlog(&self) -> Result<(), Ended> {
        match self.backlog.len() > BACKLOG_MAX {
            true => Err(Ended::Broken(overrun())),
            false => Ok(()),
        }
    }

    /// Hands on the offers that can be read, and gives the others back: nobody would.
    fn on_offered(&mut self, number: u64, offered: v1::Offered) {
        let count = offered.offers.len();
        let mut offers = Vec::with_capacity(count);
        let mut unreadable = Vec::new();
        for offer in offered.offers {
            let id = OfferId::new(&offer.id);
            match decode_offer(offer) {
                Ok(offer) => offers.push(offer),
                Err(problem) => {
                    skip(&problem.within("offered"));
                    unreadable.extend(id);
                }
            }
        }
        let sequence = self.memory.sequence_of(number);
        if !offers.is_empty() || count == 0 {
            let event = Event::Offered(offers);
            self.backlog.push_back(Received { sequence, event });
        }
        if !unreadable.is_empty() {
            let decline = Call::Decline {
                offers: unreadable,
                exclude_for: UNREADABLE_EXCLUDE_FOR,
            };
            self.enqueue(decline, None);
        }
    }

    /// What became of the call is not known. One that the next session would begin with would be answered the same there:
    /// whoever waits is told. What became of a launch is asked in another session.
    fn on_unreadable_answer(&mut self, request: u64, problem: Problem) -> Result<(), Ended> {
        let waiting = self.waiting.get(&request);
        if waiting.is_some_and(|waiting| !may_repeat(&waiting.call)) {
            return Err(Ended::Broken(problem));
        }
        let message = format!("the answer cannot be read: {problem}");
        let problem = Problem::new(code::PEER_UNREACHABLE, message)
            .hint("whether the call was carried out is told by statuses");
        self.on_answered(request, Answer::Refused(problem));
        Ok(())
    }

    /// The author's side has something for the session to do by itself.
    fn on_woken(&mut self) {
        let wishes = self.memory.ledger.take_wishes();
        for task in wishes.kills {
            self.enqueue(Call::Kill { task, grace: None }, None);
        }
        if wishes.is_to_ask {
            // However often something promises an answer, it is asked now and then.
            let latest = self.asked_at + ASK_INTERVAL;
            self.ask_at = Some(latest.min(Instant::now() + ASK_DELAY));
        }
    }

    fn on_answered(&mut self, request: u64, answer: Answer) {
        let Some(waiting) = self.waiting.remove(&request) else {
            self.questions.remove(&request);
            return;
        };
        let wait = rate_wait(&waiting, &answer).or_else(|| renewal_wait(&waiting, &answer));
        if let Some(wait) = wait {
            // Nothing of it was done.
            if waiting.is_overtaken {
                return waiting.overtaken();
            }
            self.delayed.insert((Instant::now() + wait, request));
            self.waiting.insert(request, waiting);
            return;
        }
        if let Some(launches) = &mut self.launches {
            launches.remove(request, launched_by(&waiting.call));
        }
        let answer = match answer {
            Answer::Refused(problem) => Err(problem),
            Answer::Done | Answer::Accepted(_) => Ok(answer),
        };
        self.questions.remove(&request);
        if self.retellings.remove(&request)
            && answer.is_ok()
            && let Call::Reconcile { tasks } = &waiting.call
        {
            self.memory.told_anew(tasks);
        }
        self.memory.ledger.answered(&waiting.call, &answer);
        if let Ok(Answer::Accepted(results)) = &answer {
            self.overtake(request, &waiting.call, results);
        }
        if let Call::SetDemand(demand) = &waiting.call {
            self.on_demand_answered(demand, answer.as_ref().err());
        }
        match (waiting.reply, answer) {
            (Some(reply), answer) => reply.send(answer),
            (None, Err(problem)) => {
                tracing::warn!(%problem, "the master refused what the SDK called by itself");
            }
            (None, Ok(_)) => {}
        }
    }

    /// These were launched: what was called before them and is yet to be made is not meant for them.
    fn overtake(&mut self, request: u64, call: &Call, results: &[OperationResult]) {
        let launched = results.iter().flat_map(OperationResult::launches);
        let launched = launched.filter(|launch| launch.outcome.is_ok());
        let launched: BTreeSet<_> = launched.map(|launch| &launch.task).collect();
        let mut launches = Launches::default();
        let specs = launched_by(call).filter(|spec| launched.contains(&spec.id));
        launches.add(request, specs);
        for (earlier, waiting) in self.waiting.range_mut(..request) {
            waiting.is_overtaken |= launches.are_hit_by(*earlier, &waiting.call);
        }
    }

    /// Whether what a call would hit is in a later accept that has no answer yet.
    fn is_being_launched(&mut self, request: u64, call: &Call) -> bool {
        let of_waiting = || {
            let mut launches = Launches::default();
            for (request, waiting) in &self.waiting {
                launches.add(*request, launched_by(&waiting.call));
            }
            launches
        };
        may_hit(call)
            && self
                .launches
                .get_or_insert_with(of_waiting)
                .are_hit_by(request, call)
    }

    fn on_demand_answered(&mut self, demand: &Demand, refused: Option<&Problem>) {
        let Some(problem) = refused else {
            return self.memory.demand_granted(demand);
        };
        // What became of it is not known; the next session begins with it.
        if problem.kind == Kind::Unavailable {
            return;
        }
        if let Some(former) = self.memory.demand_refused(demand) {
            self.enqueue(Call::SetDemand(former), None);
        }
    }

    /// The time for a call that was refused for the moment has come.
    fn call_again(&mut self, delayed: Option<(Instant, u64)>) {
        let Some(due @ (_, request)) = delayed else {
            return;
        };
        self.delayed.remove(&due);
        let Some(waiting) = self.waiting.remove(&request) else {
            return;
        };
        match &waiting.call {
            // A later one has said more.
            Call::SetDemand(demand) if !self.memory.is_latest(demand) => waiting.done(),
            // As another call: a refusal may be remembered under the number that it had.
            Call::SetDemand(demand) if !waiting.is_awaited() => {
                if let Some(renewed) = self.memory.renewed_demand(&demand.role) {
                    self.enqueue(Call::SetDemand(renewed), None);
                }
            }
            _ if waiting.is_overtaken => waiting.overtaken(),
            call if self.is_being_launched(request, call) => {
                self.delayed.insert((Instant::now() + ASK_DELAY, request));
                self.waiting.insert(request, waiting);
            }
            call => {
                let call = in_term(self.term.epoch, encode_call(request, call));
                self.outgoing.push_back(call);
                self.waiting.insert(request, waiting);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        if self.waiting.len() >= CALLS_PENDING_MAX {
            self.waiting.retain(|_, waiting| {
                // What became of a launch matters in any case.
                waiting.is_awaited()
                    || matches!(waiting.call, Call::Accept { .. })
                    || is_to_be_done(&waiting.call)
            });
        }
        if self.waiting.len() >= CALLS_PENDING_MAX {
            let message = format!("{CALLS_PENDING_MAX} calls wait for their answers");
            let problem = Problem::new(code::OVERLOADED, message)
                .hint("wait for answers before calling again");
            request.refuse(&self.memory.ledger, problem);
            return;
        }
        let Request { call, reply } = request;
        let call = match call {
            Call::SetDemand(demand) => self.memory.keep_demand(demand).map(Call::SetDemand),
            other => Ok(other),
        };
        match call {
            Ok(call) => drop(self.enqueue(call, Some(reply))),
            Err(problem) => reply.send(Err(problem)),
        }
    }

    fn on_acknowledged(&mut self, sequence: u64) {
        if let Some(sequence) = self.memory.acknowledgeable(sequence) {
            self.memory.acknowledges(sequence);
            let acknowledge = encode_call(0, &Call::Acknowledge { sequence });
            self.outgoing.push_back(acknowledge);
        }
    }

    /// Asks about tasks whose fate is open and which the master will not speak of unasked.
    fn ask(&mut self) {
        let now = Instant::now();
        if !self.questions.is_empty() {
            self.ask_at = Some(now + ASK_DELAY);
            return;
        }
        for tasks in self.memory.ledger.unheard().chunks(TASKS_PER_QUESTION_MAX) {
            let tasks = tasks.to_vec();
            let request = self.enqueue(Call::Reconcile { tasks }, None);
            self.questions.insert(request);
        }
        self.warn_of_unreachable(now);
        let has_open = self.memory.ledger.has_open();
        self.asked_at = now;
        self.ask_at = has_open.then(|| now + ASK_INTERVAL);
    }

    /// Says now and then why tasks are not settled: nothing else tells who wonders what their program waits for.
    fn warn_of_unreachable(&mut self, now: Instant) {
        let count = self.memory.ledger.unreachable();
        let is_time = |at: Instant| now.duration_since(at) >= SETTLE_WARNING_INTERVAL;
        if count > 0 && self.memory.warned_at.is_none_or(is_time) {
            tracing::warn!(
                count,
                "ids wait to be settled: an agent that may run them is unreachable"
            );
            self.memory.warned_at = Some(now);
        }
    }

    /// Asks about tasks whose statuses ended with the last session before the author could take them: where a session is
    /// resumed, the answers to earlier questions are not told again.
    fn ask_of_untold(&mut self, is_resumed: bool) {
        let untold = self.memory.untold(is_resumed);
        for tasks in untold.chunks(TASKS_PER_QUESTION_MAX) {
            let tasks = tasks.to_vec();
            let request = self.enqueue(Call::Reconcile { tasks }, None);
            self.retellings.insert(request);
        }
    }

    fn enqueue(&mut self, call: Call, reply: Option<Reply>) -> u64 {
        let request = self.memory.next_request();
        self.enqueue_as(request, Waiting::new(call, reply));
        request
    }

    fn enqueue_as(&mut self, request: u64, waiting: Waiting) {
        let message = in_term(self.term.epoch, encode_call(request, &waiting.call));
        if let Some(launches) = &mut self.launches {
            launches.add(request, launched_by(&waiting.call));
        }
        self.waiting.insert(request, waiting);
        match message.encoded_len() {
            // It would end the stream.
            len if len > MESSAGE_LEN_MAX => {
                self.on_answered(request, Answer::Refused(too_long(len)));
            }
            _ => self.outgoing.push_back(message),
        }
    }
}

/// The latest demand of each role, renewed, with who waits for it.
fn demands_of(memory: &mut Memory, unanswered: &mut Unanswered) -> Vec<(Demand, Option<Reply>)> {
    let roles = memory.roles_demanded();
    let replies = roles.map(|role| unanswered.take_demand(role, |demand| memory.is_latest(demand)));
    let replies: Vec<_> = replies.collect();
    memory.renewed_demands().into_iter().zip(replies).collect()
}

/// Says in which term a call is to be done.
fn in_term(epoch: Epoch, mut call: v1::SessionCall) -> v1::SessionCall {
    call.epoch = Some(epoch.0);
    call
}

/// How long to wait before a call that was above the rate is called again; none: the author is told, who would not wait so long.
fn rate_wait(waiting: &Waiting, answer: &Answer) -> Option<Duration> {
    let problem = match answer {
        Answer::Refused(problem) if problem.is(code::SESSION_RATE_LIMITED) => problem,
        _ => return None,
    };
    let is_in_time = |wait: &Duration| match &waiting.reply {
        Some(reply) if reply.is_closed() && is_to_be_done(&waiting.call) => true,
        Some(reply) => Instant::now() + *wait <= reply.until,
        None => true,
    };
    problem.retry_after.filter(is_in_time)
}

/// How long to wait before what is wanted is said again, if nobody waits for the answer who could do so: it is given up only
/// when it is wrong.
fn renewal_wait(waiting: &Waiting, answer: &Answer) -> Option<Duration> {
    let (Answer::Refused(problem), Call::SetDemand(_)) = (answer, &waiting.call) else {
        return None;
    };
    let is_wrong = matches!(problem.kind, Kind::Invalid | Kind::Forbidden);
    // The answer could not be read: the next one could not be either.
    let is_unreadable = problem.is(code::PEER_UNREACHABLE);
    if is_wrong || is_unreadable || waiting.is_awaited() {
        return None;
    }
    tracing::warn!(%problem, "what is wanted is refused for the moment; it is said again");
    Some(problem.retry_after.unwrap_or(DEMAND_RETRY_INTERVAL))
}

fn skip(problem: &Problem) {
    tracing::warn!(%problem, "skipped what cannot be read: a later version may have said it");
}

fn silent(silence: Duration) -> Problem {
    let message = format!("the master was silent for {}", format_duration(silence));
    Problem::new(code::PEER_UNREACHABLE, message)
}

fn overrun() -> Problem {
    let message = format!("{BACKLOG_MAX} events wait to be taken");
    Problem::new(code::SESSION_OVERLOADED, message).hint("take events while calls wait for answers")
}

fn too_long(len: usize) -> Problem {
    let message = format!("the call has {len} bytes; the limit is {MESSAGE_LEN_MAX}");
    Problem::new(code::FIELD_TOO_LONG, message).hint("launch fewer tasks in one call")
}

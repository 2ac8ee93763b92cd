//! A cluster with somebody in every part: a framework that runs a task of its own executor, another that is to end, and the test
//! as all of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc;
use proffer_proto::v1;
use prost_reflect::prost::Message as _;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use tonic::codec::Streaming;
use v1::session_call::Call;
use v1::session_event::Event;

use super::wire::{Caller, next, say};
use crate::harness::{Cluster, PATIENCE};

const SESSION: &str = "/proffer.v1.Scheduler/Session";
const EXECUTOR: &str = "/proffer.v1.Executor/Session";
/// Offers that are older are given back, before they expire.
const OFFER_OLD: Duration = Duration::from_secs(2);

/// A framework's session.
pub(super) struct Session {
    calls: mpsc::Sender<Bytes>,
    events: Streaming<Bytes>,
    request_id: u64,
    generation: u64,
    offer: Option<(v1::Offer, Instant)>,
    /// Statuses, by task.
    pub(super) told: BTreeMap<String, v1::Status>,
}

impl Session {
    pub(super) async fn open(caller: &mut Caller) -> Self {
        let (calls, events) = caller.open(SESSION).await;
        Self {
            calls,
            events,
            request_id: 0,
            generation: 0,
            offer: None,
            told: BTreeMap::new(),
        }
    }

    /// Subscribes as the framework of this id; answers what it is told.
    pub(super) async fn subscribe(caller: &mut Caller, id: &str) -> (Self, v1::Subscribed) {
        let mut session = Self::open(caller).await;
        let subscribe = v1::Subscribe {
            framework_id: id.to_owned(),
            create: true,
            roles: ["*", "eng", "ops"].map(str::to_owned).to_vec(),
            ..v1::Subscribe::default()
        };
        session.send(1, Call::Subscribe(subscribe)).await;
        loop {
            if let Event::Subscribed(subscribed) = session.event().await.expect("subscribed") {
                return (session, subscribed);
            }
        }
    }

    /// A number that no call has had.
    pub(super) fn next_number(&mut self) -> u64 {
        self.request_id += 1;
        1_000_000 + self.request_id
    }

    async fn send(&mut self, request_id: u64, call: Call) {
        let call = v1::SessionCall {
            request_id,
            epoch: None,
            call: Some(call),
        };
        say(&mut self.calls, call.encode_to_vec().into()).await;
    }

    /// The next event; statuses are kept and acknowledged. The error is how the session ended.
    async fn event(&mut self) -> Result<Event, tonic::Status> {
        loop {
            let bytes = next(&mut self.events).await?;
            let bytes = bytes.ok_or_else(|| tonic::Status::ok("the session ended"))?;
            let event = v1::SessionEvent::decode(bytes).expect("an event");
            match event.event.expect("an event that is known") {
                Event::Heartbeat(_) => {}
                Event::Updated(status) => {
                    self.told.insert(status.task_id.clone(), status);
                    let (sequence, one) = (event.sequence, true);
                    let acknowledge = Call::Acknowledge(v1::Acknowledge { sequence, one });
                    self.send(0, acknowledge).await;
                }
                event => return Ok(event),
            }
        }
    }

    /// What these bytes are answered with, or how they end the session.
    pub(super) async fn ask(
        &mut self,
        bytes: Bytes,
    ) -> Result<v1::answered::Answer, tonic::Status> {
        say(&mut self.calls, bytes).await;
        loop {
            match self.event().await? {
                Event::Answered(answered) => return Ok(answered.answer.expect("an answer")),
                Event::Offered(offered) => self.note(offered),
                Event::Rescinded(rescinded) => {
                    let is_it =
                        |(offer, _): &(v1::Offer, _)| rescinded.offer_ids.contains(&offer.id);
                    self.offer = self.offer.take().filter(|offer| !is_it(offer));
                }
                _ => {}
            }
        }
    }

    /// Acknowledges; what is answered, if that is, or else what the next call is answered with.
    pub(super) async fn acknowledge(
        &mut self,
        bytes: Bytes,
    ) -> Result<v1::answered::Answer, tonic::Status> {
        say(&mut self.calls, bytes).await;
        let (request_id, task_id) = (self.next_number(), "none".to_owned());
        let call = Some(Call::Kill(v1::Kill {
            task_id,
            grace_ms: None,
        }));
        let call = v1::SessionCall {
            request_id,
            epoch: None,
            call,
        };
        self.ask(call.encode_to_vec().into()).await
    }

    async fn call(&mut self, call: Call) {
        let request_id = self.next_number();
        let epoch = None;
        let call = Some(call);
        let call = v1::SessionCall {
            request_id,
            epoch,
            call,
        };
        let answer = self
            .ask(call.encode_to_vec().into())
            .await
            .expect("it goes on");
        let is_done = !matches!(answer, v1::answered::Answer::Refused(_));
        assert!(is_done, "{answer:?}");
    }

    fn note(&mut self, offered: v1::Offered) {
        let offer = offered.offers.into_iter().next();
        self.offer = offer.map(|offer| (offer, Instant::now()));
    }

    /// An offer that stands.
    pub(super) async fn offer(&mut self) -> v1::Offer {
        if let Some((offer, since)) = &self.offer {
            if since.elapsed() < OFFER_OLD {
                return offer.clone();
            }
            let decline = v1::Decline {
                offer_ids: vec![offer.id.clone()],
                exclude_for_ms: 1,
            };
            self.offer = None;
            self.call(Call::Decline(decline)).await;
        }
        self.generation += 1;
        // By another name each time: what launched nothing is not offered again at once.
        let entry = json!({"id": format!("e{}", self.generation), "count": 1, "shape": {"resources":
            {"scalars": [{"name": "cpus", "milli": 100}, {"name": "mem", "milli": 32_000}]}}});
        let demand = json!({"role": "*", "generation": self.generation, "entries": [entry]});
        self.call(Call::SetDemand(read("SetDemand", &demand))).await;
        while self.offer.is_none() {
            if let Event::Offered(offered) = self.event().await.expect("it goes on") {
                self.note(offered);
            }
        }
        self.offer.clone().expect("it was just made").0
    }

    /// The offer was taken, or given back.
    pub(super) fn spent(&mut self) {
        self.offer = None;
    }

    /// Launches a task that the framework's own executor runs, and which says in `file` where its executor is to be found.
    pub(super) async fn launch_held(&mut self, file: &str) -> v1::Offer {
        let offer = self.offer().await;
        let line =
            format!("env > {file}.new; mv {file}.new {file}; while :; do sleep 1000 & wait; done");
        let cpus = json!({"scalars": [{"name": "cpus", "milli": 10}]});
        let task = json!({"id": "held", "resources": cpus, "data": "AA==", "executor": {"id": "e", "shell": line}});
        let accept = json!({"offer_ids": [offer.id], "operations": [{"launch": task}]});
        self.call(Call::Accept(read("Accept", &accept))).await;
        self.spent();
        offer
    }

    /// Waits for a status of this task.
    pub(super) async fn hear_of(&mut self, task: &str) -> v1::Status {
        let hearing = async {
            while !self.told.contains_key(task) {
                let number = self.next_number();
                let reconcile = Call::Reconcile(v1::Reconcile::default());
                self.send(number, reconcile).await;
                let _ = self.event().await;
            }
            self.told[task].clone()
        };
        timeout(PATIENCE, hearing).await.expect("a status in time")
    }
}

/// A message of the generated kind.
fn read<M: prost_reflect::prost::Message + Default>(name: &str, json: &Json) -> M {
    let of = super::good::pool().get_message_by_name(&format!("proffer.v1.{name}"));
    let message = super::good::message(&of.expect("a message"), json);
    message.transcode_to().expect("the same kind")
}

/// Where an executor is, by what it was given.
pub(super) struct Place {
    caller: Caller,
    incarnation: u64,
}

impl Place {
    /// Reads what the executor's process wrote.
    pub(super) async fn find(cluster: &Cluster, file: &str, incarnation: u64) -> Self {
        let environment = crate::harness::eventually("the executor runs", || {
            fs::read_to_string(cluster.path(file)).ok()
        });
        let value = |name: &str| {
            let mut lines = environment.lines().filter_map(|line| line.split_once('='));
            let found = lines.find_map(|(key, value)| (key == name).then(|| value.to_owned()));
            found.unwrap_or_else(|| panic!("no {name} in {environment}"))
        };
        let (socket, token) = (
            value("PROFFER_EXECUTOR_SOCKET"),
            value("PROFFER_EXECUTOR_TOKEN"),
        );
        Self {
            caller: Caller::connect(&socket, &token).await,
            incarnation,
        }
    }

    /// A session, in which it has subscribed if it is to.
    pub(super) async fn open(
        &mut self,
        subscribes: bool,
    ) -> (mpsc::Sender<Bytes>, Streaming<Bytes>) {
        let (mut calls, events) = self.caller.open(EXECUTOR).await;
        if subscribes {
            let tasks = json!([{"task_id": "held", "incarnation": self.incarnation}]);
            let call: v1::ExecutorCall =
                read("ExecutorCall", &json!({"subscribe": {"tasks": tasks}}));
            say(&mut calls, call.encode_to_vec().into()).await;
        }
        (calls, events)
    }
}

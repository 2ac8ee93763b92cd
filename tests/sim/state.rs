//! How a simulated framework uses its durable state: one key, that it reads, and writes if it is as it was read. Answers are
//! lost with connections and leaders; what was not answered is asked again, as often as it takes, and a write that comes too
//! late is refused, so it reads what is there. A session that another has overtaken writes too, and strangers ask.

use proffer_master_core::effect::Reply;
use proffer_master_core::event::StateCall;
use proffer_model::registry::Operation;
use proffer_model::{Generation, Problem, StateKey, code};

use super::coverage::Seen;
use super::framework::STRANGER;
use super::network::{Asked, Parcel};
use super::process::Who;
use super::world::{Outcome, World};

#[derive(Default)]
pub(super) struct StateUse {
    wish: Option<Wish>,
    writes: u64,
    /// As it was read or written last.
    version: u64,
    /// What an overtaken session had, of another one than this.
    pub(super) overtaken: Option<Generation>,
}

/// What has no answer yet.
#[derive(Clone)]
struct Wish {
    /// The call that was made for it last; 0: none.
    request: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Write {
        value: Vec<u8>,
        expected: u64,
    },
    /// What is there, which is no older than this.
    Read {
        at_least: u64,
    },
}

impl StateUse {
    /// It does not know what it has written.
    pub(super) fn forget(&mut self) {
        (self.wish, self.version) = (None, 0);
    }
}

fn key() -> StateKey {
    StateKey::new("progress").expect("a good name")
}

impl World {
    /// Writes or reads, or asks again, and asks as somebody else for it.
    pub(super) fn use_state(&mut self, n: usize) {
        let reads = self.random.one_in(4);
        let at_least = self.checks.state_version(n);
        let it = &mut self.frameworks[n].state;
        if it.wish.is_none() {
            it.writes += u64::from(!reads);
            let value = format!("{n}-{}", it.writes).into_bytes();
            let expected = it.version;
            let what = match reads {
                true => What::Read { at_least },
                false => What::Write { value, expected },
            };
            it.wish = Some(Wish { request: 0, what });
        }
        match self.frameworks[n].unary {
            Some(unary) => self.ask_state(n, unary),
            None => {
                let (master, is_stranger) = (self.frameworks[n].leader.1, self.random.one_in(4));
                let principal = if is_stranger {
                    STRANGER
                } else {
                    self.frameworks[n].wants.principal()
                };
                let unary = self.connect(Who::Framework(n), master, principal);
                self.frameworks[n].unary = Some(unary);
            }
        }
    }

    pub(super) fn ask_state(&mut self, n: usize, unary: u64) {
        self.overtaken_writes(n, unary);
        self.requests += 1;
        let request = self.requests;
        let it = &mut self.frameworks[n];
        let (Some(framework), Some(wish)) = (it.id.clone(), it.state.wish.as_mut()) else {
            return;
        };
        if wish.request > 0 {
            self.seen.count(Seen::RequestRepeated);
        }
        wish.request = request;
        let call = match wish.what.clone() {
            What::Write { value, expected } => {
                let operation = Operation::PutState {
                    framework: framework.clone(),
                    key: key(),
                    value: value.as_slice().into(),
                };
                self.checks.on_asked(request, format!("{operation:?}"));
                self.checks.on_state_write(n, &value);
                StateCall::Put {
                    key: key(),
                    value,
                    expected: Some(expected),
                }
            }
            What::Read { .. } => StateCall::Get { key: key() },
        };
        let asked = Asked::State {
            framework,
            generation: it.generation,
            call,
        };
        self.send(Who::Framework(n), unary, Parcel::Ask { request, asked });
    }

    /// A session that was overtaken does not know it, and writes.
    fn overtaken_writes(&mut self, n: usize, unary: u64) {
        let it = &self.frameworks[n];
        let older = it.state.overtaken.filter(|older| *older < it.generation);
        let (Some(framework), Some(generation)) = (it.id.clone(), older) else {
            return;
        };
        if !self.random.one_in(3) {
            return;
        }
        self.seen.count(Seen::OvertakenWrite);
        self.requests += 1;
        let request = self.requests;
        self.checks.on_overtaken_write(request);
        let call = StateCall::Put {
            key: key(),
            value: b"overtaken".to_vec(),
            expected: None,
        };
        let asked = Asked::State {
            framework,
            generation,
            call,
        };
        self.send(Who::Framework(n), unary, Parcel::Ask { request, asked });
    }

    pub(super) fn state_reply(
        &mut self,
        n: usize,
        request: u64,
        reply: Result<Reply, Problem>,
    ) -> Outcome {
        let is_asked = |wish: &mut Wish| wish.request == request;
        let Some(wish) = self.frameworks[n].state.wish.take_if(is_asked) else {
            return Ok(());
        };
        if let Some(unary) = self.frameworks[n].unary.take() {
            self.close(Who::Framework(n), unary, false);
        }
        let again = Wish {
            request: 0,
            what: What::Read {
                at_least: self.checks.state_version(n),
            },
        };
        let it = &mut self.frameworks[n].state;
        match (reply, wish.what) {
            (Ok(Reply::Written { version }), What::Write { value, expected }) => {
                self.seen.count(Seen::StateWritten);
                it.version = version;
                self.checks.on_state_written(n, expected, version, &value)
            }
            (Ok(Reply::State { value, version }), What::Read { at_least }) => {
                self.seen.count(Seen::StateRead);
                it.version = version;
                self.checks.on_state_read(n, at_least, version, &value)
            }
            (Ok(reply), _) => Err(format!("{reply:?} is no answer to that")),
            (Err(problem), What::Read { at_least }) if problem.is(code::STATE_KEY_UNKNOWN) => {
                it.version = 0;
                match at_least {
                    0 => Ok(()),
                    _ => Err(format!("the state of framework {n} is no more")),
                }
            }
            (Err(problem), what) => {
                self.seen.count(Seen::StateRefused);
                // Perhaps it was done when it was asked before.
                let is_late = problem.is(code::STATE_VERSION);
                let same = Wish { request: 0, what };
                it.wish = Some(if is_late { again } else { same });
                Ok(())
            }
        }
    }
}

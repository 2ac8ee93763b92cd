//! The beginning: checks the options, makes the channels and starts the driver.
//!
//! Everything that lives is owned by [`Events`]: dropping it ends the session and the background task.

use std::sync::Arc;

use proffer_leader::{Finder, FinderOptions, Masters, Side};
use proffer_model::{Problem, code};
use proffer_proto::{decode_call, encode_call};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::AsciiMetadataValue;

use crate::driver::{Driver, Token};
use crate::events::Events;
use crate::handle::Handle;
use crate::limits::{CALLS_QUEUED_MAX, EVENTS_QUEUED_MAX};
use crate::memory::Memory;
use crate::options::ConnectOptions;
use crate::unanswered::Unanswered;

/// A framework's connection to its cluster.
#[derive(Debug)]
pub struct Framework;

impl Framework {
    /// Checks the options and starts to connect, in the background; must be called within a Tokio runtime. The first event
    /// is `Subscribed`. Masters that cannot be reached or do not lead are tried again for as long as the [`Events`] live;
    /// a refusal that would come again (another session took over, the framework is completed, the description is wrong)
    /// is told as a last `Closed`.
    ///
    /// The error is about an option: `config.invalid`, or what is wrong with the description, with the field.
    pub fn connect(options: ConnectOptions) -> Result<(Handle, Events), Problem> {
        let masters = Masters::parse(&options.masters)
            .and_then(|masters| {
                masters.check_plaintext(options.insecure_allow_plaintext)?;
                Ok(masters)
            })
            .map_err(|problem| problem.within("masters"))?;
        let token = match &options.token {
            Some(token) => Token::Given(bearer(token.expose())?),
            None => Token::OfThisHost,
        };
        if (options.create || options.stand_by) && options.framework_id.is_none() {
            let message = "which framework it is must be known to choose its id or to stand by";
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("framework_id")
                .hint("give an id, of your own choice with create"));
        }
        let description = Arc::new(watch::Sender::new(options.description.clone()));
        let memory = Memory::new(options.framework_id, options.description)
            .choosing(options.create, options.stand_by);
        decode_call(encode_call(0, &memory.subscribe(false)))?;
        let finder = Finder::start(FinderOptions {
            masters,
            side: Side::Api,
            bearer: token.clone().into(),
            insecure_allow_plaintext: options.insecure_allow_plaintext,
        })
        .map_err(|problem| problem.within("masters"))?;

        let (requests, requests_received) = mpsc::channel(CALLS_QUEUED_MAX);
        let (events, events_received) = mpsc::channel(EVENTS_QUEUED_MAX);
        let (active, active_received) = watch::channel(None);
        let (left, left_received) = watch::channel(None);
        let ledger = Arc::clone(&memory.ledger);
        let driver = Driver {
            finder,
            token,
            memory,
            unanswered: Unanswered::default(),
            held: None,
            requests: requests_received,
            events,
            acknowledged: ledger.acknowledged(),
            left: left_received,
            described: description.subscribe(),
            description: Arc::clone(&description),
            active,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        let handle = Handle {
            requests,
            ledger: Arc::clone(&ledger),
            left: Arc::new(left),
            active: active_received,
            description,
            call_timeout: options.call_timeout,
        };
        let acknowledger = options.acknowledge_automatically.then(|| handle.clone());
        Ok((
            handle,
            Events::new(events_received, ledger, acknowledger, task),
        ))
    }
}

/// The value of the header; kept out of every log.
pub(crate) fn bearer(token: &str) -> Result<AsciiMetadataValue, Problem> {
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
        Problem::new(
            code::CONFIG_INVALID,
            "the token contains what a header may not hold",
        )
        .field("token")
        .hint("give the token as it stands in its file, without line breaks")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

//! The body of a call of Mesos's APIs on its way in.
//!
//! It arrives within a time, however steadily. A large one needs a place among the large ones, so that all together stay
//! within bounds, and has to come fast enough to be worth it: whoever sends little by little would keep the places from
//! others. How long it waits for its place is not its sender's fault, and does not count for that; after a while it is sent
//! away, to come again.

use std::error::Error as StdError;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures::{StreamExt, future};
use proffer_model::{Problem, code};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{
    BODY_DISCARD_TIMEOUT, MESOS_BODY_TIMEOUT, MESOS_LARGE_BODIES_MAX, MESOS_LARGE_BODY_GRACE,
    MESOS_LARGE_BODY_LEN, MESOS_LARGE_BODY_RATE, MESOS_LARGE_BODY_WAIT,
};

/// Large bodies that are read or decoded at this moment, of all callers together.
static LARGE: Semaphore = Semaphore::const_new(MESOS_LARGE_BODIES_MAX);

/// Why a body was not read: the status, and what is said.
pub type Unread = (StatusCode, String);

/// A body that is there, with its place if it is large.
pub(super) type Arrived = (Bytes, Option<SemaphorePermit<'static>>);

/// How fast a body has to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// All of it.
    pub(super) within: Duration,
    /// A large one has this much time more than its rate needs.
    pub(super) grace: Duration,
    /// Bytes of a large one in a second.
    pub(super) rate: usize,
    /// How long a large one waits for its place.
    pub(super) patience: Duration,
}

impl Pace {
    /// Of calls.
    pub(super) const CALLS: Self = Self {
        within: MESOS_BODY_TIMEOUT,
        grace: MESOS_LARGE_BODY_GRACE,
        rate: MESOS_LARGE_BODY_RATE,
        patience: MESOS_LARGE_BODY_WAIT,
    };

    /// How long after its beginning more must have come of a body, or its end, when so much has.
    fn due(self, len: usize) -> Duration {
        if len <= MESOS_LARGE_BODY_LEN {
            return self.within;
        }
        let ms = len.saturating_mul(1_000) / self.rate.max(1);
        let earned = Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
        self.within.min(self.grace.saturating_add(earned))
    }

    fn late(self, len: usize) -> Unread {
        let seconds = self.within.as_secs();
        let text = match self.due(len) < self.within {
            false => format!("The body did not arrive in {seconds} seconds"),
            true => format!("The body arrives at less than {} bytes a second", self.rate),
        };
        (StatusCode::REQUEST_TIMEOUT, text)
    }
}

/// Since when a body arrives.
#[derive(Clone, Copy, Debug)]
struct Age(Instant);

impl Age {
    /// When more must have come of it, when so much has.
    fn due(self, pace: Pace, len: usize) -> Instant {
        self.0 + pace.due(len)
    }

    /// It waited for its place meanwhile.
    fn waited(&mut self, from: Instant, to: Instant) {
        self.0 += to.saturating_duration_since(from);
    }
}

/// All of a body.
pub(super) async fn collect(body: Body, pace: Pace) -> Result<Arrived, Unread> {
    let mut age = Age(Instant::now());
    let mut place = None;
    let mut all = Vec::new();
    let mut frames = body.into_data_stream();
    loop {
        let frame = timeout_at(age.due(pace, all.len()), frames.next()).await;
        let frame = match frame.map_err(|_| pace.late(all.len()))? {
            None => return Ok((all.into(), place)),
            Some(frame) => frame.map_err(|error| broken(&error))?,
        };
        all.extend_from_slice(&frame);
        if all.len() > MESOS_LARGE_BODY_LEN && place.is_none() {
            let asked = Instant::now();
            place = Some(find_place(pace.patience).await?);
            age.waited(asked, Instant::now());
        }
    }
}

/// A place among the large ones.
async fn find_place(patience: Duration) -> Result<SemaphorePermit<'static>, Unread> {
    let place = timeout(patience, LARGE.acquire()).await;
    place.ok().and_then(Result::ok).ok_or_else(|| {
        let seconds = patience.as_secs();
        let text = format!(
            "{MESOS_LARGE_BODIES_MAX} other large bodies were read and decoded for {seconds} seconds"
        );
        (StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

/// A body that is not to be large: 413 if it is, after its end if that comes soon.
pub async fn read_small(body: Body) -> Result<Bytes, Unread> {
    let mut all = Vec::new();
    let mut frames = body.into_data_stream();
    let due = Instant::now() + MESOS_BODY_TIMEOUT;
    loop {
        let frame = timeout_at(due, frames.next()).await;
        let frame = match frame.map_err(|_| Pace::CALLS.late(0))? {
            None => return Ok(all.into()),
            Some(frame) => frame.map_err(|error| broken(&error))?,
        };
        all.extend_from_slice(&frame);
        if all.len() > MESOS_LARGE_BODY_LEN {
            // Who writes all of it before reading would not see why it is refused.
            let rest = frames.take_while(|frame| future::ready(frame.is_ok()));
            let rest = rest.for_each(|_| future::ready(()));
            let _ = timeout(BODY_DISCARD_TIMEOUT, rest).await;
            let text = format!("the body is larger than {MESOS_LARGE_BODY_LEN} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, text));
        }
    }
}

/// Why a body broke off: the listener's own limits are problems.
fn broken(error: &axum::Error) -> Unread {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            let status = match problem.is(code::BODY_TOO_LARGE) {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            return (status, problem.message.clone());
        }
        cause = error.source();
    }
    (StatusCode::BAD_REQUEST, "The body broke off".to_owned())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    #[test]
    fn a_large_body_has_to_come_at_its_rate_and_a_small_one_in_time() {
        let kib = 1024;
        let seconds = Duration::from_secs;
        for (len, due) in [
            (0, seconds(30)),
            (64 * kib, seconds(30)),
            (64 * kib + 1, seconds(3)),
            (128 * kib, seconds(4)),
            (640 * kib, seconds(12)),
            (8 * 1024 * kib, seconds(30)),
        ] {
            assert_eq!(Pace::CALLS.due(len), due, "{len}");
        }
        let (status, text) = Pace::CALLS.late(64 * kib + 1);
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(text, "The body arrives at less than 65536 bytes a second");
        let (_, text) = Pace::CALLS.late(64 * kib);
        assert_eq!(text, "The body did not arrive in 30 seconds");
    }

    fn large() -> Bytes {
        vec![b' '; MESOS_LARGE_BODY_LEN + 1].into()
    }

    /// A body of which no more comes.
    fn stuck() -> Body {
        let first = stream::once(async { Ok::<_, Infallible>(large()) });
        Body::from_stream(first.chain(stream::pending()))
    }

    const AT_ONCE: Pace = Pace {
        within: MESOS_BODY_TIMEOUT,
        grace: Duration::ZERO,
        rate: usize::MAX,
        patience: MESOS_LARGE_BODY_WAIT,
    };

    #[tokio::test]
    async fn a_large_body_that_finds_no_place_is_sent_away() {
        let count = u32::try_from(MESOS_LARGE_BODIES_MAX).expect("few");
        let all = LARGE.acquire_many(count).await.expect("open");
        let pace = Pace {
            patience: Duration::from_millis(1),
            ..AT_ONCE
        };
        let refused = collect(Body::from(large()), pace).await;
        let (status, text) = refused.expect_err("there is no place");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let said = "16 other large bodies were read and decoded for 0 seconds";
        assert_eq!(text, said);
        drop(all);
        collect(Body::from(large()), AT_ONCE).await.expect("read");
    }

    #[tokio::test]
    async fn large_bodies_of_which_little_comes_keep_no_place_from_others() {
        let all = (0..3 * MESOS_LARGE_BODIES_MAX).map(|_| collect(stuck(), AT_ONCE));
        for refused in future::join_all(all).await {
            let (status, _) = refused.expect_err("no more came");
            assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        }
        let (bytes, place) = collect(Body::from(large()), AT_ONCE).await.expect("read");
        assert_eq!((bytes, place.is_some()), (large(), true));
    }

    #[test]
    fn how_long_a_body_waits_for_its_place_does_not_count() {
        let (begun, seconds) = (Instant::now(), Duration::from_secs);
        let large = 128 * 1024;
        let mut age = Age(begun);
        assert_eq!(age.due(Pace::CALLS, large), begun + seconds(4));
        age.waited(begun + seconds(1), begun + seconds(21));
        assert_eq!(age.due(Pace::CALLS, large), begun + seconds(24));
    }

    #[tokio::test]
    async fn what_is_to_be_small_is_refused_when_it_is_not() {
        let read = read_small(Body::from("frameworkId=f")).await;
        assert_eq!(read, Ok(Bytes::from_static(b"frameworkId=f")));
        let (status, text) = read_small(stuck()).await.expect_err("too large");
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text, "the body is larger than 65536 bytes");
    }
}

//! Which connections end for others, without sockets.

use futures::poll;
use http_body_util::BodyExt as _;

use super::*;

const AFTER: Duration = Duration::from_secs(5);

const FEW: usize = limits::PEER_FEW_LEN;

/// An address that ends so.
fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// All that are silent have been for so much longer.
fn pass(silence: &Silence, time: Duration) {
    let table = &mut *lock(&silence.table);
    table.strangers.pass(time);
    for waiting in table.recognized.values_mut() {
        waiting.since = waiting.since.checked_sub(time).expect("a time");
    }
}

async fn is_told(place: &Place) -> bool {
    let gives_way = std::pin::pin!(place.gives_way());
    poll!(gives_way).is_ready()
}

/// The places of those that are told to end.
async fn told(places: &[Place]) -> Vec<usize> {
    let mut all = Vec::new();
    for (number, place) in places.iter().enumerate() {
        if is_told(place).await {
            all.push(number);
        }
    }
    all
}

fn recognized(silence: &Arc<Silence>) -> Place {
    let place = silence.connection(address(1));
    place.call().connection().recognize();
    place
}

/// Of strangers.
fn several(silence: &Arc<Silence>, last: u8, len: usize) -> Vec<Place> {
    (0..len)
        .map(|_| silence.connection(address(last)))
        .collect()
}

#[tokio::test]
async fn strangers_who_are_young_or_busy_end_nobody_who_may_call() {
    let silence = Silence::new(2, AFTER);
    let known: Vec<_> = (0..9).map(|_| recognized(&silence)).collect();
    pass(&silence, 2 * AFTER);
    let mut young = several(&silence, 2, 2);
    assert!(silence.give_way(Some(address(2))), "they are not too many");
    assert!(is_told(&known[0]).await, "the one that was silent longest");
    young.push(silence.connection(address(2)));
    assert!(!silence.give_way(Some(address(2))), "too many are young");
    assert!(!silence.give_way(None));
    let calls: Vec<_> = young.iter().map(Place::call).collect();
    pass(&silence, 2 * AFTER);
    assert!(!silence.give_way(Some(address(2))), "too many are busy");
    drop(calls);
    drop(young.pop());
    assert!(silence.give_way(Some(address(2))));
    assert!(is_told(&known[1]).await);
    assert!(!is_told(&known[2]).await);
}

#[tokio::test]
async fn strangers_who_are_the_most_end_nobody_who_may_call() {
    let silence = Silence::new(100, AFTER);
    let known = [recognized(&silence), recognized(&silence)];
    pass(&silence, 2 * AFTER);
    let young = several(&silence, 2, 3);
    assert!(!silence.give_way(None));
    drop(young);
    assert!(silence.give_way(None));
    assert!(is_told(&known[0]).await && !is_told(&known[1]).await);
}

#[tokio::test]
async fn a_peer_that_has_more_than_a_few_ends_nobody_who_may_call() {
    let silence = Silence::new(1_000, AFTER);
    let known: Vec<_> = (0..5 * FEW).map(|_| recognized(&silence)).collect();
    pass(&silence, 2 * AFTER);
    let mut young = several(&silence, 2, FEW);
    assert!(silence.give_way(Some(address(2))), "they are a few");
    young.extend(several(&silence, 2, FEW));
    assert!(!silence.give_way(Some(address(2))), "they are many");
    // For others one of them ends, young as it is, rather than one by which somebody calls who may.
    assert!(silence.give_way(Some(address(3))));
    assert_eq!(told(&young).await, [2 * FEW - 1], "the newest");
    assert_eq!(told(&known).await, [0]);
}

#[tokio::test]
async fn of_strangers_those_of_the_peer_that_has_the_most_end_first() {
    let silence = Silence::new(FEW + 2, AFTER);
    let waits = silence.connection(address(1));
    pass(&silence, AFTER);
    let mut many = several(&silence, 2, FEW + 1);
    // One more than may be silent, but they are too young.
    many.extend(several(&silence, 2, 1));
    assert!(!is_told(&waits).await, "though it was silent longest");
    assert!(!silence.give_way(Some(address(2))), "its own are young");
    pass(&silence, AFTER);
    let last = silence.connection(address(2));
    assert_eq!(told(&many).await, [FEW, FEW + 1], "the newest");
    assert!(!is_told(&waits).await && !is_told(&last).await);
    drop((waits, many, last));
    assert!(lock(&silence.table).strangers.is_empty());
}

#[tokio::test]
async fn of_a_peers_own_the_newest_ends_that_has_been_silent_for_long_enough() {
    let silence = Silence::new(100, AFTER);
    let own = several(&silence, 1, 3);
    // Somebody calls by the first now and then: it is there for longer all the same.
    pass(&silence, AFTER);
    drop(own[0].call());
    pass(&silence, AFTER);
    let young = silence.connection(address(1));
    for expected in [2, 1, 0] {
        assert!(silence.give_way(Some(address(1))));
        assert_eq!(told(&own).await, [expected]);
    }
    assert!(!silence.give_way(Some(address(1))) && !is_told(&young).await);
}

#[tokio::test]
async fn of_peers_that_have_the_same_the_newest_ends() {
    let silence = Silence::new(1_000, AFTER);
    let places: Vec<_> = [7, 9, 3, 8]
        .into_iter()
        .map(|last| silence.connection(address(last)))
        .collect();
    pass(&silence, AFTER);
    let _young: Vec<_> = (100..=255)
        .map(|last| silence.connection(address(last)))
        .collect();
    for expected in [3, 2, 1, 0] {
        assert!(silence.give_way(Some(address(1))));
        assert_eq!(told(&places).await, [expected]);
    }
    assert!(!silence.give_way(Some(address(1))));
}

#[tokio::test]
async fn who_calls_now_and_then_by_many_connections_keeps_nobody_out() {
    let silence = Silence::new(100, AFTER);
    let many = several(&silence, 2, 4 * FEW);
    let calls: Vec<_> = many.iter().skip(FEW).map(Place::call).collect();
    assert!(!silence.give_way(Some(address(2))), "it is their own");
    let mut others = several(&silence, 3, 2 * FEW);
    assert!(
        !silence.give_way(Some(address(3))),
        "they have half as many"
    );
    others.truncate(2 * FEW - 1);
    assert!(silence.give_way(Some(address(3))));
    assert_eq!(told(&many).await, [4 * FEW - 1], "somebody calls by it");
    // Somebody who may call by it has called before it has ended.
    assert!(silence.give_way(None));
    calls[3 * FEW - 2].connection().recognize();
    assert!(told(&many).await.is_empty());
    // Of a few none ends that is young.
    drop((calls, many, others));
    let _few = several(&silence, 2, FEW);
    assert!(!silence.give_way(Some(address(3))) && !silence.give_way(None));
}

#[tokio::test]
async fn where_it_is_not_known_who_comes_any_silent_stranger_ends_before_others() {
    let silence = Silence::new(1_000, AFTER);
    let known: Vec<_> = (0..10 * FEW).map(|_| recognized(&silence)).collect();
    let single: Vec<_> = (100..105)
        .map(|last| silence.connection(address(last)))
        .collect();
    pass(&silence, AFTER);
    let busy = several(&silence, 2, FEW + 1);
    let _calls: Vec<_> = busy.iter().map(Place::call).collect();
    // One of those who have many is refused rather.
    assert!(!silence.give_way(Some(address(2))));
    for expected in [4, 3] {
        assert!(silence.give_way(None));
        assert_eq!(told(&single).await, [expected]);
    }
    assert!(told(&known).await.is_empty() && told(&busy).await.is_empty());
}

/// A call that is answered with so many bytes.
fn answered(place: &Place, len: usize) -> Response {
    place.call().answer(Response::new(Body::from(vec![0; len])))
}

async fn pieces(response: Response) -> Bytes {
    let mut body = response.into_body();
    let frame = body.frame().await.expect("a frame").expect("sent");
    frame.into_data().expect("data")
}

#[tokio::test]
async fn a_stranger_who_does_not_take_an_answer_in_time_ends() {
    let silence = Silence::new(100, AFTER);
    let minute = Duration::from_secs(60);
    let places = [
        silence.connection(address(1)),
        silence.connection(address(2)),
        recognized(&silence),
        silence.connection(address(3)),
    ];
    let untouched = answered(&places[0], 10);
    // HTTP/2 keeps it until there is room for it.
    let kept = pieces(answered(&places[1], 10)).await;
    let _of_known = answered(&places[2], 10);
    drop(pieces(answered(&places[3], 10)).await);
    silence.end_unread(Instant::now(), minute);
    assert!(told(&places).await.is_empty());
    silence.end_unread(Instant::now() + minute, minute);
    assert_eq!(told(&places).await, [0, 1]);
    drop((untouched, kept));
    assert_eq!(lock(&silence.table).unread.len(), 0);
}

#[tokio::test]
async fn of_too_much_that_strangers_do_not_take_who_has_the_most_ends() {
    let mut silence = Silence::new(100, AFTER);
    let room = limits::UNREAD_OVERHEAD_LEN + 10;
    Arc::get_mut(&mut silence)
        .expect("nobody's yet")
        .unread_len_max = 4 * room;
    let places = several(&silence, 1, 4);
    let becomes_known = answered(&places[0], 10);
    places[0].call().connection().recognize();
    let mut answers: Vec<_> = [2, 1, 1, 2]
        .map(|place| answered(&places[place], 10))
        .into();
    assert!(told(&places).await.is_empty());
    answers.push(answered(&places[3], 10));
    assert_eq!(told(&places).await, [2], "of two it waits longest");
    drop((answers, becomes_known));
    assert_eq!(lock(&silence.table).unread.len(), 0);
}

#[tokio::test]
async fn of_too_much_who_has_the_most_over_many_connections_ends_and_not_who_has_it_on_one() {
    let mut silence = Silence::new(100, AFTER);
    let room = limits::UNREAD_OVERHEAD_LEN + 10;
    Arc::get_mut(&mut silence)
        .expect("nobody's yet")
        .unread_len_max = 5 * room;
    let places = several(&silence, 1, 4);
    let other = silence.connection(address(2));
    let large = [answered(&other, 10), answered(&other, 10)];
    let small: Vec<_> = places.iter().map(|place| answered(place, 10)).collect();
    assert_eq!(told(&places).await, [0]);
    assert!(!is_told(&other).await);
    drop((large, small));
    assert_eq!(lock(&silence.table).unread.len(), 0);
}

#[tokio::test]
async fn a_stranger_who_calls_when_it_is_to_end_counts_on() {
    let silence = Silence::new(100, AFTER);
    let place = silence.connection(address(1));
    pass(&silence, 2 * AFTER);
    assert!(silence.give_way(None));
    let call = place.call();
    assert!(!is_told(&place).await, "it is answered first");
    assert_eq!(lock(&silence.table).strangers.open_len(), 1);
    drop(call);
    pass(&silence, 2 * AFTER);
    assert!(silence.give_way(None) && is_told(&place).await);
    drop(place);
    assert!(lock(&silence.table).strangers.is_empty());
}

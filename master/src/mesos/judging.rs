//! Where offer constraints are judged: in the background, since patterns take a while to be compiled, and one call at a time.

use proffer_model::Principal;
use proffer_proto::mesos::v1::scheduler::OfferConstraints;

use super::constraints::Limits;
use crate::background::Background;

/// On which agents a framework wants to be offered something, as far as it says; the error is Mesos's text.
pub(super) async fn judged(
    given: Option<OfferConstraints>,
    principal: &Principal,
    background: &Background,
) -> Result<Limits, String> {
    let Some(given) = given else {
        return Ok(Limits::default());
    };
    let limits = background
        .compile(principal, move || Limits::of(&given))
        .await;
    limits.map_err(|problem| problem.message).flatten()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use proffer_proto::mesos::read_json;

    use super::*;

    #[tokio::test]
    async fn offer_constraints_are_judged_where_no_other_call_waits_for_them() {
        let background = Background::start().expect("threads");
        let principal = "p".parse().expect("a name");
        let of = |regex: &str| {
            let given = format!(
                r#"{{"role_constraints":{{"r":{{"groups":[{{"attribute_constraints":[{{"selector":
                {{"attribute_name":"a"}},"predicate":{{"text_matches":{{"regex":"{regex}"}}}}}}]}}]}}}}}}"#
            );
            read_json::<OfferConstraints>(given.as_bytes()).expect("reads")
        };
        for (regex, is_one) in [("a.*", true), ("a(", false)] {
            // The one before it of the same principal is not done yet.
            let (done, waits) = std::sync::mpsc::channel::<()>();
            let mut before = pin!(background.compile(&principal, move || waits.recv()));
            assert!(poll!(&mut before).is_pending());
            let mut limits = pin!(judged(Some(of(regex)), &principal, &background));
            assert!(poll!(&mut limits).is_pending(), "elsewhere");
            done.send(()).expect("it waits");
            assert!(before.await.is_ok());
            assert_eq!(limits.await.is_ok(), is_one);
        }
        let none = judged(None, &principal, &background).await.expect("none");
        assert!(none.predicates.is_empty());
    }
}

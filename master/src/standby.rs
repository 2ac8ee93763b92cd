//! What a master that stands by answers: where the leader is, and for reads the leader's own answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::any;
use proffer_server::http::{is_grpc, unknown_method, unknown_route};

use crate::pass_on::{Passer, refuse_by};
use crate::standing::{Side, Standing};

/// Calls that change nothing, and so may be passed on. Every other call of `Operator` is the leader's alone to take;
/// `GetMaster` is about the master that was asked, and answered by it.
const READS: [&str; 8] = [
    "/proffer.v1.Operator/ListAgents",
    "/proffer.v1.Operator/ListFrameworks",
    "/proffer.v1.Operator/ListTasks",
    "/proffer.v1.Operator/ListOffers",
    "/proffer.v1.Operator/ListExecutors",
    "/proffer.v1.Operator/Watch",
    "/proffer.v1.Operator/ExplainDemand",
    "/proffer.v1.Operator/ListRoles",
];

/// On the API listener.
pub(crate) fn api(passer: Passer, standing: Arc<Standing>, mesos_api: bool) -> Router {
    let calls = Router::new()
        .route("/proffer.v1.Scheduler/{call}", any(refuse))
        .route("/proffer.v1.FrameworkState/{call}", any(refuse))
        .route("/proffer.v1.Operator/{call}", any(refuse))
        .with_state((Side::Api, Arc::clone(&standing)));
    let mut reads = match mesos_api {
        true => crate::mesos::standby(Arc::clone(&standing))
            .merge(crate::mesos::operators_standby(Arc::clone(&standing))),
        false => Router::new(),
    };
    let mut operator = Router::new();
    for path in READS {
        operator = operator.route(path, any(pass_on));
    }
    reads = reads.merge(operator.with_state(passer.clone()));
    reads
        .merge(calls)
        .fallback(move |request| page(passer, standing, request))
        .method_not_allowed_fallback(unknown_method)
}

/// On the cluster listener.
pub(crate) fn cluster(standing: Arc<Standing>) -> Router {
    Router::new()
        .route("/proffer.v1.AgentLink/{call}", any(refuse))
        .with_state((Side::Cluster, standing))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
}

async fn refuse(
    State((side, standing)): State<(Side, Arc<Standing>)>,
    request: Request,
) -> Response {
    let problem = standing.not_leading(side);
    refuse_by(&standing, side, problem, is_grpc(request.headers()))
}

async fn pass_on(State(passer): State<Passer>, request: Request) -> Response {
    passer.pass_on(request).await
}

/// What is no call: a page is the leader's, and to change something is the leader's too.
async fn page(passer: Passer, standing: Arc<Standing>, request: Request) -> Response {
    if is_grpc(request.headers()) {
        return unknown_route(request).await;
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return passer.pass_on(request).await;
    }
    refuse(State((Side::Api, standing)), request).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;

    use super::*;

    /// The part of a descriptor that names methods.
    #[derive(Clone, PartialEq, Message)]
    struct Files {
        #[prost(message, repeated, tag = "1")]
        files: Vec<File>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct File {
        #[prost(message, repeated, tag = "6")]
        services: Vec<Named>,
    }

    /// A service with its methods, or a method.
    #[derive(Clone, PartialEq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bytes = "vec", repeated, tag = "2")]
        methods: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
    }

    /// Whoever adds a call decides whether it may be passed on.
    #[test]
    fn every_call_of_operators_is_known_to_be_a_read_or_not() {
        let changes = [
            "SetQuota",
            "RemoveQuota",
            "SetWeight",
            "RemoveWeight",
            "Reserve",
            "Unreserve",
            "CreateVolumes",
            "DestroyVolumes",
            "GrowVolume",
            "ShrinkVolume",
            "DeactivateAgent",
            "ReactivateAgent",
            "DrainAgent",
            "MarkAgentGone",
            "KillTask",
            "TeardownFramework",
        ];
        let not_passed_on = changes.into_iter().chain(["GetMaster", "Backup"]);
        let decided: BTreeSet<String> = READS
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .chain(not_passed_on)
            .map(str::to_owned)
            .collect();
        let files = Files::decode(proffer_proto::DESCRIPTORS).expect("descriptors");
        let services = files.files.into_iter().flat_map(|file| file.services);
        let mut operator = services.filter(|service| service.name == "Operator");
        let methods = operator.next().expect("the service").methods;
        let name = |method: Vec<u8>| Method::decode(method.as_slice()).expect("a method").name;
        assert_eq!(
            methods.into_iter().map(name).collect::<BTreeSet<_>>(),
            decided
        );
    }
}

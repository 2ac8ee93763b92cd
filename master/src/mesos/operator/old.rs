//! The calls that are older than `/api/v1`: `/teardown`, `/quota`, `/weights`, `/reserve` and its like, as forms or in JSON.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_proto::mesos::read_json;
use proffer_proto::mesos::v1::master::Call;
use proffer_proto::mesos::v1::master::call::{
    CreateVolumes, DestroyVolumes, ReserveResources, Type, UnreserveResources,
};
use proffer_proto::mesos::v1::quota::QuotaRequest;
use proffer_proto::mesos::v1::{AgentId, Resource, WeightInfo};
use proffer_server::auth::{Action, SaidName};
use proffer_server::mesos_http::{read_small, refusal};

use super::super::principals::Names;
use super::calls::name_caller;
use super::changes::{Change, Refusal, change, old_quota, remove_quota, teardown, weights};
use super::pages::{quota_page, weights_page};
use super::{Desk, caller};

/// Their paths, each also under `/master`.
pub(super) const PATHS: [&str; 10] = [
    "teardown",
    "quota",
    "quota/{*role}",
    "weights",
    "reserve",
    "unreserve",
    "create-volumes",
    "destroy-volumes",
    "machine/down",
    "machine/up",
];

impl Desk {
    /// Answers one.
    pub(super) async fn old_call(&self, path: &'static str, request: Request) -> Response {
        let method = request.method().clone();
        let answered = match (path, method.as_str()) {
            ("teardown", "POST") => self.teardown(request).await,
            ("quota" | "weights", "GET") => self.show(path, request).await,
            ("quota", "POST") => self.set_quota(request).await,
            ("quota/{*role}", "DELETE") => self.remove_quota(request).await,
            ("weights", "PUT") => self.set_weights(request).await,
            ("reserve" | "unreserve" | "create-volumes" | "destroy-volumes", "POST") => {
                self.convert(path, request).await
            }
            ("machine/down", "POST") => self.maintain(Type::StartMaintenance, request),
            ("machine/up", "POST") => self.maintain(Type::StopMaintenance, request),
            _ => Ok(not_allowed(path, &method)),
        };
        answered.unwrap_or_else(Refusal::into_response)
    }

    async fn show(&self, path: &str, request: Request) -> Result<Response, Refusal> {
        caller(&request, Action::Read)?;
        drop(request);
        let rows = self.roles().await?;
        let page = if path == "quota" {
            quota_page(&rows)
        } else {
            weights_page(&rows)
        };
        Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response())
    }

    async fn teardown(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let form = Form::read(&text(request).await?);
        let id = form.get("frameworkId")?;
        Ok(self
            .make(&principal, teardown(id.trim())?)
            .await?
            .into_response())
    }

    /// Reservations and volumes of an agent: `slaveId=…&resources=[…]`.
    async fn convert(&self, path: &str, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let said = request.extensions().get::<SaidName>().cloned();
        let form = Form::read(&text(request).await?);
        let mut call = conversion(path, &form)?;
        name_caller(&mut call, Names::of_operator(said.as_ref(), &principal))?;
        let change = change(call.r#type(), &call, &principal);
        let change = change.ok_or_else(|| Refusal::not_here(path))?;
        Ok(self.make(&principal, change?).await?.into_response())
    }

    fn maintain(&self, kind: Type, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let call = Call::default();
        match change(kind, &call, &principal) {
            Some(Err(refused)) => Err(refused),
            _ => Err(Refusal::not_here("There is no maintenance of machines")),
        }
    }

    async fn set_quota(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let body = text(request).await?;
        let asked: QuotaRequest = read_json(body.as_bytes()).map_err(|why| {
            Refusal::bad(format!(
                "Failed to parse set quota request JSON '{body}': {why}"
            ))
        })?;
        let change = old_quota(&asked)?;
        self.check_has_no_quota(asked.role()).await?;
        Ok(self.make(&principal, change).await?.into_response())
    }

    async fn remove_quota(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        // The same for the path without `/master`, which Mesos puts in front of it.
        let path = request.uri().path();
        let path = format!("/master{}", path.strip_prefix("/master").unwrap_or(path));
        let role = role_of(&path);
        let change = remove_quota(&role)?;
        drop(request);
        self.check_has_quota(&role, &path).await?;
        Ok(self.make(&principal, change).await?.into_response())
    }

    async fn set_weights(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let body = text(request).await?;
        let wrong = |why: String| {
            Refusal::bad(format!(
                "Failed to parse update weights request JSON '{body}': {why}"
            ))
        };
        let all: Vec<serde_json::Value> =
            serde_json::from_str(&body).map_err(|error| wrong(error.to_string()))?;
        let infos: Result<Vec<WeightInfo>, String> = all
            .iter()
            .map(|one| read_json(one.to_string().as_bytes()))
            .collect();
        let change: Change = weights(&infos.map_err(wrong)?)?;
        Ok(self.make(&principal, change).await?.into_response())
    }
}

/// The call of `/api/v1` that a form comes to.
fn conversion(path: &str, form: &Form) -> Result<Call, Refusal> {
    let agent_id = AgentId {
        value: form.get("slaveId")?.trim().to_owned(),
    };
    let is_of_volumes = path.ends_with("volumes");
    let name = if is_of_volumes {
        "volumes"
    } else {
        "resources"
    };
    let given = form.get(name)?;
    let wrong = |why: &dyn std::fmt::Display| {
        Refusal::bad(format!(
            "Error in parsing '{name}' query parameter in the request body: {why}"
        ))
    };
    let all: Vec<serde_json::Value> = serde_json::from_str(given).map_err(|error| wrong(&error))?;
    let all: Result<Vec<Resource>, String> = all
        .iter()
        .map(|one| read_json(one.to_string().as_bytes()))
        .collect();
    let all = all.map_err(|why| wrong(&why))?;
    let of = |kind: Type| Call {
        r#type: Some(kind.into()),
        ..Call::default()
    };
    Ok(match path {
        "reserve" => Call {
            reserve_resources: Some(ReserveResources {
                agent_id,
                resources: all,
                source: Vec::new(),
            }),
            ..of(Type::ReserveResources)
        },
        "unreserve" => Call {
            unreserve_resources: Some(UnreserveResources {
                agent_id,
                resources: all,
            }),
            ..of(Type::UnreserveResources)
        },
        "create-volumes" => Call {
            create_volumes: Some(CreateVolumes {
                agent_id,
                volumes: all,
            }),
            ..of(Type::CreateVolumes)
        },
        _ => Call {
            destroy_volumes: Some(DestroyVolumes {
                agent_id,
                volumes: all,
            }),
            ..of(Type::DestroyVolumes)
        },
    })
}

/// The fields of a form, decoded; many scripts send JSON in it as it is.
struct Form(BTreeMap<String, String>);

impl Form {
    fn read(body: &str) -> Self {
        let fields = body.split('&').filter_map(|field| field.split_once('='));
        let decoded = fields.map(|(name, value)| (plain(name), plain(value)));
        Self(decoded.collect())
    }

    fn get(&self, name: &str) -> Result<&str, Refusal> {
        let value = self.0.get(name).map(String::as_str);
        value.ok_or_else(|| {
            Refusal::bad(format!(
                "Missing '{name}' query parameter in the request body"
            ))
        })
    }
}

/// The role that a path beneath `/quota` names, which may have slashes.
fn role_of(path: &str) -> String {
    let role = path.split_once("/quota/").map(|(_, role)| role);
    // Of forms alone it is a space.
    plain(&role.unwrap_or_default().replace('+', "%2B"))
}

/// A text of a form without its escapes; what is no escape stays.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match first {
            b'%' => after.get(..2),
            _ => None,
        };
        let escaped = escaped.filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let escaped = escaped.and_then(|two| std::str::from_utf8(two).ok());
        let escaped = escaped.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (None, b'+') => {
                bytes.push(b' ');
                rest = after;
            }
            (None, first) => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A small body of text.
async fn text(request: Request) -> Result<String, Refusal> {
    let bytes = read_small(request.into_body()).await;
    let bytes = bytes.map_err(|(status, text)| Refusal { status, text })?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::bad("The body is no text"))
}

fn not_allowed(path: &str, method: &Method) -> Response {
    let allowed = match path {
        "quota/{*role}" => "DELETE",
        "quota" => "GET, POST",
        "weights" => "GET, PUT",
        _ => "POST",
    };
    let names = allowed.replace(", ", "', '");
    let text = format!(
        "405 Method Not Allowed. Expecting one of {{ '{names}' }}, but received '{method}'."
    );
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &text);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_role_that_is_nested_too() {
        for (path, role) in [
            ("/quota/a", "a"),
            ("/master/quota/a/b", "a/b"),
            ("/quota/a%2Fb", "a/b"),
            ("/quota/a+b", "a+b"),
            ("/quota/quota/x", "quota/x"),
        ] {
            assert_eq!(role_of(path), role);
        }
    }

    #[test]
    fn forms_are_read_with_their_escapes_and_with_json_as_it_is() {
        let raw = r#"slaveId=a-S0&resources=[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"ads"}]"#;
        let escaped = "slaveId=a%2DS0&resources=%5B%7B%22name%22%3A+%22cpus%22%2C%22type%22%3A%22SCALAR%22%2C%22scalar%22%3A%7B%22value%22%3A1%7D%2C%22role%22%3A%22ads%22%7D%5D";
        for body in [raw, escaped] {
            let call = conversion("reserve", &Form::read(body)).expect("a call");
            let asked = call.reserve_resources.expect("its part");
            assert_eq!(asked.agent_id.value, "a-S0");
            assert_eq!(asked.resources[0].role(), "ads");
        }
        assert_eq!(plain("100%+%zz%2"), "100% %zz%2");
        assert_eq!(plain("%+5%-1"), "% 5%-1");
        for (body, says) in [
            ("resources=[]", "Missing 'slaveId'"),
            ("slaveId=a", "Missing 'resources'"),
            ("slaveId=a&resources={}", "Error in parsing 'resources'"),
            ("slaveId=a&resources=[{}]", "Missing required fields"),
        ] {
            let refused = conversion("unreserve", &Form::read(body)).expect_err(says);
            assert!(refused.text.contains(says), "{}", refused.text);
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
    }
}

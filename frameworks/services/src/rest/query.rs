//! Query parameters as Marathon's clients send them: repeated, and booleans in any case.

use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use proffer_model::{Problem, code};
use proffer_server::log::Untrusted;

use super::refusal::Refused;

/// The part of the address's path that its route leaves open.
pub(crate) struct OpenPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for OpenPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(path)),
            Err(_) => {
                let problem =
                    Problem::new(code::FIELD_INVALID, "the path of the address is not UTF-8");
                Err(problem
                    .field("path")
                    .hint("write it in UTF-8, with other characters as %XX")
                    .into())
            }
        }
    }
}

/// All parameters, in order.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads them out of a request.
    pub(crate) async fn of(request: Request) -> Result<(Self, Request), Refused> {
        let (mut parts, body) = request.into_parts();
        let Ok(Query(pairs)) =
            Query::<Vec<(String, String)>>::from_request_parts(&mut parts, &()).await
        else {
            let problem = Problem::new(
                code::FIELD_INVALID,
                "the query of the address cannot be read",
            );
            return Err(problem.hint("write name=value&name=value").into());
        };
        Ok((Self(pairs), Request::from_parts(parts, body)))
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// A boolean: `true`, `True`, `1` and nothing after the name are true. A word that could be meant either way is
    /// refused, for what it decides may not be undone.
    pub(crate) fn is(&self, name: &str, default: bool) -> Result<bool, Refused> {
        let Some(value) = self.first(name) else {
            return Ok(default);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Problem::new(
                code::FIELD_INVALID,
                format!("'{}' is neither true nor false", Untrusted(value)),
            )
            .field(name)
            .hint("give true or false")
            .into()),
        }
    }
}

//! Query parameters as Marathon's clients send them: repeated, and booleans in any case.

use axum::extract::{FromRequestParts, Query, Request};
use proffer_model::{Problem, code};

use super::refusal::Refused;

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

    /// A boolean: `true`, `True` and `1` are true.
    pub(crate) fn is(&self, name: &str, default: bool) -> bool {
        match self.first(name) {
            None => default,
            Some(value) => value.eq_ignore_ascii_case("true") || value == "1",
        }
    }
}

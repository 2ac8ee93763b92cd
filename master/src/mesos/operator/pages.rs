//! The pages: which there are, what they may be asked with, and how they are answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::OfferRow;
use proffer_model::{Quantities, Quota, Role};
use proffer_proto::mesos::seconds_of;
use proffer_server::auth::Action;
use proffer_server::clock;
use proffer_server::mesos_http::refusal;

use super::changes::Refusal;
use super::figures::{self, figures_page};
use super::json::{Object, page};
use super::master::Master;
use super::messages::weight_of;
use super::resources::{quantities, quantity_sums};
use super::state::{self, TASKS_LIMIT, TasksAsked};
use super::{Common, Desk, caller, joined};
use crate::standing::Standing;
use crate::view::Snapshot;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Page {
    /// Everything.
    State,
    /// Everything but single tasks.
    Summary,
    /// Agents.
    Slaves,
    /// Frameworks.
    Frameworks,
    /// Tasks.
    Tasks,
    /// Roles.
    Roles,
    /// Windows of maintenance, of which there are none.
    Schedule,
    /// Machines in maintenance, of which there are none.
    Maintenance,
    /// What a master was told.
    Flags,
    /// Its figures.
    Figures,
}

impl Page {
    /// All of them, each by its path; under `/master` is the same.
    pub(super) const ALL: [(&'static str, Self); 14] = [
        ("state", Self::State),
        ("state.json", Self::State),
        ("state-summary", Self::Summary),
        ("slaves", Self::Slaves),
        ("frameworks", Self::Frameworks),
        ("tasks", Self::Tasks),
        ("tasks.json", Self::Tasks),
        ("roles", Self::Roles),
        ("roles.json", Self::Roles),
        ("maintenance/schedule", Self::Schedule),
        ("maintenance/status", Self::Maintenance),
        ("slaves.json", Self::Slaves),
        ("flags", Self::Flags),
        ("metrics/snapshot", Self::Figures),
    ];

    /// Whether a master that stands by answers it too.
    pub(super) fn is_of_every_master(self) -> bool {
        matches!(self, Self::Flags | Self::Figures)
    }
}

/// What a page is asked with.
type Asked = BTreeMap<String, String>;

impl Desk {
    /// Answers a page.
    pub(super) async fn page(self: &Arc<Self>, page: Page, request: Request) -> Response {
        match self.try_page(page, request).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        }
    }

    async fn try_page(self: &Arc<Self>, page: Page, request: Request) -> Result<Response, Refusal> {
        if let Some(refused) = not_read(page, &request) {
            return Ok(refused);
        }
        caller(&request, Action::Read)?;
        let asked = asked(&request)?;
        drop(request);
        let only = |name: &str| asked.get(name).cloned();
        let of_tasks = tasks_asked(&asked);
        let written = match page {
            Page::Slaves if asked.contains_key("slave_id") => {
                let agent = only("slave_id");
                self.write_own(move |it, master| state::slaves(it, master, agent.as_deref()))
                    .await?
            }
            Page::Frameworks if asked.contains_key("framework_id") => {
                let of = only("framework_id");
                self.write_own(move |it, master| state::frameworks(it, master, of.as_deref()))
                    .await?
            }
            Page::Tasks if of_tasks != TasksAsked::default() => {
                self.write_own(move |it, _| state::tasks_page(it, &of_tasks))
                    .await?
            }
            Page::Schedule | Page::Maintenance => Bytes::from_static(b"{}"),
            _ => {
                let write = move |it: &Snapshot, master: &Master, roles: &[RoleRow]| {
                    whole(page, it, master, roles)
                };
                let needs_roles = page == Page::Roles;
                self.write_shared(Common::Page(page), needs_roles, write)
                    .await?
            }
        };
        let (name, parts) = in_form(written, &asked)?;
        Ok(self.answer(name, parts))
    }
}

/// A page of all that there is.
fn whole(page: Page, snapshot: &Snapshot, master: &Master, rows: &[RoleRow]) -> Vec<u8> {
    match page {
        Page::State => state::state(snapshot, master),
        Page::Summary => state::summary(snapshot, master),
        Page::Slaves => state::slaves(snapshot, master, None),
        Page::Frameworks => state::frameworks(snapshot, master, None),
        Page::Tasks => state::tasks_page(snapshot, &TasksAsked::default()),
        Page::Roles => roles(rows, snapshot),
        Page::Flags => flags(&master.flags()),
        Page::Figures => figures_of(snapshot, master),
        Page::Schedule | Page::Maintenance => Vec::new(),
    }
}

/// A page of a master that stands by.
pub(super) fn standing_by(
    page: Page,
    standing: &Standing,
    request: &Request,
) -> Result<Response, Refusal> {
    if let Some(refused) = not_read(page, request) {
        return Ok(refused);
    }
    caller(request, Action::Read)?;
    let written = match page {
        Page::Flags => flags(&[]),
        _ => {
            let uptime = clock::now()
                .wall_ms
                .saturating_sub(standing.started_wall_ms());
            figures_page(&figures::of_standby(seconds_of(uptime)))
        }
    };
    let (name, parts) = in_form(written.into(), &asked(request)?)?;
    Ok(([(header::CONTENT_TYPE, name)], joined(parts)).into_response())
}

/// `/flags`.
fn flags(flags: &[(&'static str, String)]) -> Vec<u8> {
    page(1_024, |page| {
        page.object("flags", |object| state::flags(object, flags));
    })
}

/// `/metrics/snapshot` of a leader.
fn figures_of(snapshot: &Snapshot, master: &Master) -> Vec<u8> {
    let now = seconds_of(clock::now().wall_ms);
    figures_page(&figures::of_leader(snapshot, master, now))
}

/// 405 for what is no GET where Mesos looks at the method; its other pages are read by any.
fn not_read(page: Page, request: &Request) -> Option<Response> {
    let is_strict = matches!(page, Page::Flags | Page::Schedule | Page::Maintenance);
    if !is_strict || matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let method = request.method();
    let text =
        format!("405 Method Not Allowed. Expecting one of {{ 'GET' }}, but received '{method}'.");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &text);
    let allowed = HeaderValue::from_static("GET");
    response.headers_mut().insert(header::ALLOW, allowed);
    Some(response)
}

fn asked(request: &Request) -> Result<Asked, Refusal> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let query = query.map_err(|_| Refusal::bad("Unable to decode query string"))?;
    Ok(query.0.into_iter().collect())
}

/// What makes no sense is as if it was not asked. Mesos makes sizes of numbers below zero: a limit of -1 is none, and beyond
/// such an offset there is nothing.
fn tasks_asked(asked: &Asked) -> TasksAsked {
    let number = |name: &str| {
        let number: i32 = asked.get(name)?.parse().ok()?;
        Some(usize::try_from(number).unwrap_or(usize::MAX))
    };
    TasksAsked {
        limit: number("limit").unwrap_or(TASKS_LIMIT),
        offset: number("offset").unwrap_or_default(),
        is_ascending: asked.get("order").is_some_and(|order| order == "asc"),
        framework: asked.get("framework_id").cloned(),
        task: asked.get("task_id").cloned(),
    }
}

/// As JSON, or as a script that calls a function with it, for whoever asks so; what was written is shared.
fn in_form(written: Bytes, asked: &Asked) -> Result<(&'static str, Vec<Bytes>), Refusal> {
    let Some(function) = asked.get("jsonp") else {
        return Ok(("application/json", vec![written]));
    };
    // Nothing but a name, so that nobody can have a script of their own sent from here.
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_$.[]".contains(c);
    if function.is_empty() || !function.chars().all(is_part) {
        return Err(Refusal::bad("'jsonp' is not the name of a function"));
    }
    let (before, after) = (format!("{function}("), Bytes::from_static(b");"));
    Ok(("text/javascript", vec![before.into(), written, after]))
}

fn roles(rows: &[RoleRow], snapshot: &Snapshot) -> Vec<u8> {
    page(512 * rows.len(), |page| {
        page.array("roles", |array| {
            for row in rows {
                array.object(|object| role(object, row, snapshot));
            }
        });
    })
}

fn role(object: &mut Object<'_>, row: &RoleRow, snapshot: &Snapshot) {
    object.text("name", row.role.as_str());
    object.number("weight", weight_of(row.weight));
    object.object("quota", |object| {
        let none = Quota::default();
        let quota = row.quota.as_ref().unwrap_or(&none);
        object.text("role", row.role.as_str());
        object.object("guarantee", |it| quantities(it, quota.guarantees.iter()));
        object.object("limit", |it| quantities(it, quota.limits.iter()));
        object.object("consumed", |it| quantities(it, row.consumed.iter()));
    });
    let offered = offered_to(&row.role, snapshot);
    let mut allocated = row.held.clone();
    allocated.subtract(&offered);
    for (name, amounts) in [
        ("resources", &row.held),
        ("allocated", &allocated),
        ("offered", &offered),
        ("reserved", &row.reserved),
    ] {
        object.object(name, |object| quantity_sums(object, amounts));
    }
    object.array("frameworks", |array| {
        row.frameworks.iter().for_each(|id| array.text(id.as_str()));
    });
}

/// In offers to a role and those beneath it.
fn offered_to(role: &Role, snapshot: &Snapshot) -> Quantities {
    let mut all = Quantities::new();
    let is_of = |row: &&Arc<OfferRow>| role.holds(&row.role);
    for row in snapshot.offers.iter().filter(is_of) {
        all.add(&row.resources.quantities());
    }
    all
}

/// `/quota`, in the old form.
pub(super) fn quota_page(rows: &[RoleRow]) -> Vec<u8> {
    proffer_proto::mesos::write_json(&super::messages::get_quota(rows).status)
}

/// `/weights`.
pub(super) fn weights_page(rows: &[RoleRow]) -> Vec<u8> {
    let infos = super::messages::get_weights(rows).weight_infos;
    let all: Vec<Vec<u8>> = infos.iter().map(proffer_proto::mesos::write_json).collect();
    [b"[".as_slice(), &all.join(&b','), b"]"].concat()
}

//! Which ports `dev` uses, so that two can run side by side.
//!
//! Without `--port-base` every program has its usual port. With `--port-base N` everything is in the 200 ports from N on:
//! N master API, N+1 agents' link, N+2 agent, N+3 services, N+4 discovery, N+50 to N+99 service ports, N+100 to N+199 the
//! tasks' own. Then a file's explicit service ports 10000 to 10049 move to N+50 to N+99 too, so that the same file works in
//! both; other explicit ports stay, and are refused when they are taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use proffer_model::{Problem, code};
use serde_json::{Value, json};

use crate::app_file::AppDefinition;

/// The first of the usual service ports.
const SERVICE_PORT_MIN: u16 = 10_000;
/// How many service ports there are with `--port-base`.
const SERVICE_PORTS: u16 = 50;
/// The port block's size with `--port-base`.
const BLOCK: u16 = 200;

/// The ports of one `dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) master: u16,
    pub(crate) cluster: u16,
    pub(crate) agent: u16,
    pub(crate) services: u16,
    pub(crate) discovery: u16,
    /// Given to apps that name no service port.
    pub(crate) service: RangeInclusive<u16>,
    /// Offered to tasks.
    pub(crate) host: RangeInclusive<u16>,
    base: Option<u16>,
}

impl Ports {
    /// The usual ones, or those of the block from `base` on.
    pub(crate) fn new(base: Option<u16>) -> Result<Self, Problem> {
        let Some(base) = base else {
            return Ok(Self {
                master: 5050,
                cluster: 5060,
                agent: 5051,
                services: 8080,
                discovery: 9090,
                service: SERVICE_PORT_MIN..=20_000,
                host: 31_000..=32_000,
                base,
            });
        };
        if !(1024..=u16::MAX - BLOCK).contains(&base) {
            let message = format!("{base} does not leave room for {BLOCK} ports");
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("port_base")
                .hint("choose one from 1024 to 65335, such as 20000"));
        }
        Ok(Self {
            master: base,
            cluster: base + 1,
            agent: base + 2,
            services: base + 3,
            discovery: base + 4,
            service: base + 50..=base + 50 + SERVICE_PORTS - 1,
            host: base + 100..=base + BLOCK - 1,
            base: Some(base),
        })
    }

    /// A port on loopback.
    pub(crate) fn on_loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Moves the explicit service ports of an app as the head of this file says.
    pub(crate) fn move_app(&self, app: &mut AppDefinition) {
        let Some(base) = self.base else {
            return;
        };
        for definition in port_definitions_mut(app) {
            let moved = definition
                .get("port")
                .and_then(Value::as_u64)
                .and_then(|port| u16::try_from(port).ok()?.checked_sub(SERVICE_PORT_MIN))
                .filter(|place| *place < SERVICE_PORTS)
                .map(|place| base + 50 + place);
            if let (Some(moved), Value::Object(definition)) = (moved, definition) {
                definition.insert("port".to_owned(), json!(moved));
            }
        }
    }

    /// Whether anything else answers on one of our own ports' addresses is for the listeners to find; this is about the
    /// apps' service ports, on which HAProxy would otherwise fail, or share with another, without a word.
    pub(crate) fn check_free(apps: &[AppDefinition]) -> Result<(), Problem> {
        for app in apps {
            for (i, port) in service_ports(app).into_iter().enumerate() {
                if port == 0 || TcpListener::bind(Self::on_loopback(port)).is_ok() {
                    continue;
                }
                let message = format!(
                    "{}: another program listens on the service port {port}",
                    app.id
                );
                return Err(Problem::new(code::PORT_TAKEN, message)
                    .field(format!("portDefinitions[{i}].port"))
                    .hint(
                        "stop it, give another port or 0 for any that is free, or run this dev beside the other with \
                         --port-base, which moves ports 10000 to 10049 too",
                    ));
            }
        }
        Ok(())
    }

    /// How a port of ours that is taken is told.
    pub(crate) fn explain_taken(problem: Problem) -> Problem {
        if !problem.is(code::PORT_TAKEN) {
            return problem;
        }
        problem.hint(
            "stop the program that has it (another `proffer dev`?), or move all ports of this one with --port-base, such \
             as --port-base 20000, and give it its own --data-dir",
        )
    }
}

/// The service ports that an app names, in order; 0 for any.
fn service_ports(app: &AppDefinition) -> Vec<u16> {
    let definitions = app.body.get("portDefinitions").and_then(Value::as_array);
    let ports = definitions.into_iter().flatten().map(|definition| {
        let port = definition.get("port").and_then(Value::as_u64);
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
    });
    ports.collect()
}

fn port_definitions_mut(app: &mut AppDefinition) -> impl Iterator<Item = &mut Value> {
    app.body
        .get_mut("portDefinitions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(ports: &[u16]) -> AppDefinition {
        let definitions: Vec<Value> = ports.iter().map(|port| json!({ "port": port })).collect();
        AppDefinition {
            id: "/a".to_owned(),
            body: json!({ "id": "/a", "portDefinitions": definitions }),
        }
    }

    #[test]
    fn a_base_moves_everything_into_its_block() {
        let ports = Ports::new(Some(20_000)).unwrap();
        assert_eq!((ports.master, ports.discovery), (20_000, 20_004));
        assert_eq!(
            (ports.service.clone(), ports.host.clone()),
            (20_050..=20_099, 20_100..=20_199)
        );
        for (given, moved) in [
            (10_000, 20_050),
            (10_049, 20_099),
            (10_050, 10_050),
            (80, 80),
            (0, 0),
        ] {
            let mut app = app(&[given]);
            ports.move_app(&mut app);
            assert_eq!(service_ports(&app), [moved]);
        }
        let mut same = app(&[10_000]);
        Ports::new(None).unwrap().move_app(&mut same);
        assert_eq!(service_ports(&same), [10_000]);
        for bad in [0, 80, 65_400] {
            assert_eq!(Ports::new(Some(bad)).unwrap_err().field, "port_base");
        }
    }

    #[test]
    fn a_service_port_that_is_taken_is_told_with_app_and_field() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let problem = Ports::check_free(&[app(&[0, port])]).unwrap_err();
        assert!(problem.is(code::PORT_TAKEN), "{problem}");
        assert_eq!(problem.field, "portDefinitions[1].port");
        assert!(
            problem.message.starts_with("/a:") && problem.hint.contains("--port-base"),
            "{problem}"
        );
        drop(holder);
        Ports::check_free(&[app(&[0, port])]).unwrap();
    }
}

//! Carries out a plan: renders, checks off to the side, writes, loads, and looks whether it is so.
//!
//! Keeps no state: what runs is asked of HAProxy each time, so a sidecar that was killed at any moment goes on from what is
//! really there. A service that HAProxy refuses, or whose port another process has, is found by itself and reported; the
//! core then leaves it out. When a reload fails, the file of the last good configuration is put back.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use proffer_model::{Problem, code};
use proffer_server::listen;
use tokio::time::{Instant, sleep};

use crate::admin;
use crate::change::{Change, ServerChange, ServerKey};
use crate::core::{Failure, How, Outcome, Plan, Refused};
use crate::haproxy::{Control, Haproxy, Running};
use crate::limits::{POLL_PAUSE, PORT_PATIENCE};
use crate::model::{Server, Service};
use crate::render::{Rendered, Renderer, Settings, ports_in};

/// How a server is checked when it comes over the socket: `default-server` of the template does not hold there.
const SERVER_CHECK: &str = "check inter 2s fastinter 500ms downinter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error fail-check";

/// What is needed to carry out plans.
#[derive(Debug)]
pub struct Applier {
    /// The template.
    pub renderer: Renderer,
    /// What goes in besides the services.
    pub settings: Settings,
    /// HAProxy.
    pub haproxy: Haproxy,
}

impl Applier {
    /// Carries out `plan`.
    pub async fn apply(self: Arc<Self>, plan: Plan) -> Result<Outcome, Failure> {
        match plan.change {
            Change::Whole => self.apply_whole(&plan.services).await,
            Change::Servers(changes) => self.change_servers(&plan.services, changes).await,
        }
    }

    /// Whether HAProxy is ours to start, watch and stop.
    pub fn owns_haproxy(&self) -> bool {
        self.haproxy.control == Control::Run
    }

    /// The HAProxy of an earlier life, and whether it routes to anything.
    pub async fn had_routes(&self) -> bool {
        let is_server = |line: &str| line.trim_start().starts_with("server ");
        self.haproxy.running().await.is_some() && self.haproxy.written().lines().any(is_server)
    }

    async fn apply_whole(&self, services: &[Service]) -> Result<Outcome, Failure> {
        let all: Vec<&Service> = services.iter().collect();
        let rendered = self.render(&all)?;
        let running = self.observe().await;
        let is_in_force = |running: &Running| running.digest == Some(rendered.digest);
        let written = self.haproxy.written();
        if let Some(running) = running
            .as_ref()
            .filter(|r| is_in_force(r) && written == rendered.text)
        {
            return Ok(outcome(How::Adopted, &rendered, Some(running)));
        }
        self.check(&all, &rendered).await?;
        if self.haproxy.control == Control::Run {
            self.probe_ports(services, running.is_some(), &written)
                .await?;
        }
        self.haproxy
            .write(&rendered.text)
            .await
            .map_err(Failure::Failed)?;
        match self.load(&rendered, running.as_ref()).await {
            Ok(outcome) => Ok(outcome),
            Err(problem) => {
                // What HAProxy still has must be what it finds when somebody else reloads it.
                if running.is_some() && !written.is_empty() {
                    self.haproxy
                        .write(&written)
                        .await
                        .map_err(Failure::Failed)?;
                }
                Err(Failure::Failed(problem))
            }
        }
    }

    fn render(&self, services: &[&Service]) -> Result<Rendered, Failure> {
        self.renderer
            .render(&self.settings, services)
            .map_err(Failure::Failed)
    }

    async fn observe(&self) -> Option<Running> {
        match self.haproxy.control {
            Control::Run => match self.haproxy.running().await {
                Some(running) => Some(running),
                None => self.haproxy.revive().await,
            },
            Control::MasterSocket => self.haproxy.running().await,
            Control::Command(_) | Control::FileOnly => None,
        }
    }

    async fn load(
        &self,
        rendered: &Rendered,
        running: Option<&Running>,
    ) -> Result<Outcome, Problem> {
        let (how, running) = match (&self.haproxy.control, running) {
            (Control::Run, None) => (How::Started, Some(self.haproxy.start().await?)),
            (Control::Run | Control::MasterSocket, Some(before)) => (
                How::Reloaded,
                Some(self.haproxy.reload(&before.processes).await?),
            ),
            (Control::MasterSocket, None) => {
                // Asked again for its words.
                admin::processes(&self.haproxy.master_socket).await.map_err(|problem| {
                    problem
                        .field("haproxy_master_socket")
                        .hint("start haproxy with -W -S SOCKET, or let the sidecar run it with --run-haproxy")
                })?;
                return Err(Problem::new(
                    code::HAPROXY_FAILED,
                    "HAProxy's socket came and went",
                ));
            }
            (Control::Command(line), _) => {
                self.haproxy.run_reload_command(line).await?;
                (How::Reloaded, None)
            }
            (Control::FileOnly, _) => (How::Written, None),
        };
        let told = running.as_ref().and_then(|running| running.digest);
        if told.is_some_and(|told| told != rendered.digest) {
            return Err(Problem::new(
                code::HAPROXY_FAILED,
                "HAProxy has loaded another configuration",
            )
            .hint("does its command line name the file of --haproxy-config?"));
        }
        Ok(outcome(how, rendered, running.as_ref()))
    }

    /// Asks HAProxy about the whole; if it refuses, finds the services at fault, the first ones by order being preferred.
    async fn check(&self, all: &[&Service], rendered: &Rendered) -> Result<(), Failure> {
        let Err(problem) = self.haproxy.check(&rendered.text).await else {
            return Ok(());
        };
        // Without any service: then it is the template, or HAProxy itself.
        if all.is_empty() || self.haproxy.check(&self.render(&[])?.text).await.is_err() {
            return Err(Failure::Failed(problem));
        }
        let mut good: Vec<&Service> = Vec::new();
        let mut refused = Vec::new();
        let mut parts = vec![all];
        while let Some(part) = parts.pop() {
            let together = [&good[..], part].concat();
            let problem = match self.haproxy.check(&self.render(&together)?.text).await {
                Ok(()) => {
                    good = together;
                    continue;
                }
                Err(problem) => problem,
            };
            match part {
                [alone] => refused.push(Refused {
                    name: alone.name.clone(),
                    problem,
                    may_pass: false,
                }),
                _ => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
            }
        }
        Err(if refused.is_empty() {
            Failure::Failed(problem)
        } else {
            Failure::Refused(refused)
        })
    }

    /// Looks whether the ports that HAProxy does not have yet can be had: one that cannot would fail the whole reload.
    async fn probe_ports(
        &self,
        services: &[Service],
        is_running: bool,
        written: &str,
    ) -> Result<(), Failure> {
        let mut held = BTreeSet::new();
        let mut frontends = BTreeSet::new();
        if is_running {
            // The file alone does not tell: it is ahead when a sidecar was killed between writing and loading, and behind
            // when a reload that was given up came to an end after all.
            frontends = admin::frontends(&self.haproxy.master_socket)
                .await
                .map_err(Failure::Failed)?;
            held = ports_in(written).collect();
        }
        for (key, bind) in [
            ("http_bind", self.settings.http_bind),
            ("stats_bind", self.settings.stats_bind),
        ] {
            if let Some(bind) = bind.filter(|bind| !held.contains(&bind.port())) {
                listen::bind_plaintext(bind, key, true).map_err(Failure::Failed)?;
            }
        }
        // A service's name holds its port.
        let is_new = |service: &&Service| !frontends.contains(&service.name);
        let patience = if is_running {
            Duration::ZERO
        } else {
            PORT_PATIENCE
        };
        let deadline = Instant::now() + patience;
        let mut refused = Vec::new();
        for service in services.iter().filter(is_new) {
            let bind = SocketAddr::new(self.settings.bind, service.port);
            while let Err(error) = TcpListener::bind(bind) {
                if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline {
                    sleep(POLL_PAUSE).await;
                    continue;
                }
                let problem = port_problem(bind, &error)?;
                refused.push(Refused {
                    name: service.name.clone(),
                    problem,
                    may_pass: true,
                });
                break;
            }
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(Failure::Refused(refused))
        }
    }

    /// Changes servers over the socket, then writes the file, so that a later reload lands in the same state.
    async fn change_servers(
        &self,
        services: &[Service],
        changes: Vec<ServerChange>,
    ) -> Result<Outcome, Failure> {
        let all: Vec<&Service> = services.iter().collect();
        let rendered = self.render(&all)?;
        let running = match self.haproxy.control {
            Control::Run | Control::MasterSocket => self.haproxy.running().await,
            Control::Command(_) | Control::FileOnly => None,
        };
        let Some(running) = running else {
            return self.apply_whole(services).await;
        };
        let mut leaving = BTreeSet::new();
        for change in changes {
            self.change_server(change, &mut leaving)
                .await
                .map_err(Failure::NeedsReload)?;
        }
        if self.haproxy.written() != rendered.text {
            self.haproxy
                .write(&rendered.text)
                .await
                .map_err(Failure::Failed)?;
        }
        Ok(Outcome {
            leaving,
            ..outcome(How::Changed, &rendered, Some(&running))
        })
    }

    async fn change_server(
        &self,
        change: ServerChange,
        leaving: &mut BTreeSet<ServerKey>,
    ) -> Result<(), Problem> {
        match change {
            ServerChange::Add { backend, server } => {
                let line = add_line(&backend, &server);
                self.tell(&line, |answer| answer.contains("New server registered"))
                    .await?;
                self.put_in(&backend, &server.name).await
            }
            ServerChange::Restore((backend, name)) => {
                self.tell(
                    &format!("set server {backend}/{name} state ready"),
                    is_silent,
                )
                .await?;
                self.put_in(&backend, &name).await
            }
            ServerChange::TakeOut((backend, name)) => {
                self.tell(
                    &format!("set server {backend}/{name} state maint"),
                    is_silent,
                )
                .await
            }
            ServerChange::Remove((backend, name)) => {
                let answer = self.ask(&format!("del server {backend}/{name}")).await?;
                // "Server deleted.", "No such server.", or that it still has connections.
                if !answer.contains("deleted") && !answer.contains("No such") {
                    leaving.insert((backend, name));
                }
                Ok(())
            }
        }
    }

    /// In rotation, and thought healthy until its checks say otherwise: services has said so.
    async fn put_in(&self, backend: &str, name: &str) -> Result<(), Problem> {
        self.tell(&format!("enable health {backend}/{name}"), is_silent)
            .await?;
        self.tell(&format!("enable server {backend}/{name}"), is_silent)
            .await
    }

    async fn ask(&self, line: &str) -> Result<String, Problem> {
        admin::command(&self.haproxy.master_socket, &format!("@1 {line}")).await
    }

    async fn tell(&self, line: &str, is_good: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let answer = self.ask(line).await?;
        if is_good(answer.trim()) {
            return Ok(());
        }
        let said: String = answer.trim().chars().take(200).collect();
        Err(Problem::new(
            code::HAPROXY_FAILED,
            format!("HAProxy does not take `{line}`: {said}"),
        ))
    }
}

fn add_line(backend: &str, server: &Server) -> String {
    let endpoint = SocketAddr::new(server.address, server.port);
    format!(
        "add server {backend}/{} {endpoint} id {} {SERVER_CHECK}",
        server.name, server.id
    )
}

fn is_silent(answer: &str) -> bool {
    answer.is_empty()
}

fn outcome(how: How, rendered: &Rendered, running: Option<&Running>) -> Outcome {
    Outcome {
        how,
        digest: rendered.digest,
        pid: running.map(|running| running.processes.master),
        leaving: BTreeSet::new(),
    }
}

/// Why a service port cannot be had; a failure of the whole when it is about the address.
fn port_problem(bind: SocketAddr, error: &io::Error) -> Result<Problem, Failure> {
    match error.kind() {
        io::ErrorKind::AddrInUse => Ok(Problem::new(
            code::APP_PORT_TAKEN,
            format!("service port {bind} is in use by another process"),
        )
        .field("portDefinitions")
        .hint(format!(
            "stop that process (ss -ltnp 'sport = :{}' names it), or choose another service port",
            bind.port()
        ))),
        io::ErrorKind::PermissionDenied => Ok(Problem::new(
            code::APP_PORT_TAKEN,
            format!("this user may not listen on service port {bind}"),
        )
        .field("portDefinitions")
        .hint("choose a service port above 1023")),
        _ => Err(Failure::Failed(
            Problem::new(
                code::CONFIG_INVALID,
                format!("service ports cannot be had at {}: {error}", bind.ip()),
            )
            .field("bind")
            .hint("give an address of this host with --bind"),
        )),
    }
}

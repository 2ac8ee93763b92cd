//! What the REST API asks: checked here, done or refused as a whole, answered when it is durable.
//!
//! A change needs a session, because only the master can keep it. An app that is being deployed is locked; `force` lets the
//! new deployment take over from the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::{Problem, Time, code};

use crate::app::{App, AppPatch, AppSpec};
use crate::backoff::Backoff;
use crate::core::{AppEntry, Core, Key};
use crate::deployment::{Deployment, DeploymentKind, Previous};
use crate::effect::{ApiAnswer, Effect, Notice, Refusal};
use crate::event::{ApiCall, ChangeMode, InstanceSet, Origin, RequestId};
use crate::id::{AppId, DeploymentId, InstanceId, Version};
use crate::instance::Instance;
use crate::limits::APPS_MAX;
use crate::port;

type Reply = Result<ApiAnswer, Refusal>;

impl Core {
    pub(crate) fn on_api_called(
        &mut self,
        now: Time,
        request: RequestId,
        origin: Origin,
        call: ApiCall,
    ) {
        let reply = self.call_api(now, origin, call);
        self.out.push(Effect::Reply { request, reply });
    }

    fn call_api(&mut self, now: Time, origin: Origin, call: ApiCall) -> Reply {
        if !self.is_loaded {
            return Err(Problem::new(
                code::PEER_UNREACHABLE,
                "the apps have not been read from the master yet",
            )
            .hint("try again in a moment; check that the master runs")
            .into());
        }
        match call {
            ApiCall::ExplainApp { app } => {
                return self
                    .explain(now, &app)
                    .map(ApiAnswer::Explained)
                    .ok_or_else(|| unknown_app(&app));
            }
            ApiCall::ListQueue => return Ok(ApiAnswer::Queue(self.queue(now))),
            ApiCall::CreateApp { .. }
            | ApiCall::ChangeApp { .. }
            | ApiCall::RestartApp { .. }
            | ApiCall::DeleteApp { .. }
            | ApiCall::KillInstances { .. }
            | ApiCall::CancelDeployment { .. }
            | ApiCall::ResetDelay { .. } => {}
        }
        if self.session.is_none() {
            return Err(Problem::new(
                code::PEER_UNREACHABLE,
                "the master cannot be reached, so the change cannot be kept",
            )
            .hint(
                "nothing was changed; what runs goes on running; try again when the master is back",
            )
            .into());
        }
        match call {
            ApiCall::CreateApp { patch } => self.create_app(now, origin, *patch),
            ApiCall::ChangeApp {
                app,
                patch,
                mode,
                force,
            } => self.change_app(now, origin, &app, *patch, mode, force),
            ApiCall::RestartApp { app, force } => self.restart_app(now, &app, force),
            ApiCall::DeleteApp { app, force } => self.delete_app(now, &app, force),
            ApiCall::KillInstances {
                instances,
                scale,
                force,
            } => self.kill_instances(now, &instances, scale, force),
            ApiCall::CancelDeployment { deployment, leave } => {
                self.cancel_deployment(now, deployment, leave)
            }
            ApiCall::ResetDelay { app } => self.reset_delay(&app),
            ApiCall::ExplainApp { .. } | ApiCall::ListQueue => Ok(ApiAnswer::DelayReset),
        }
    }

    fn create_app(&mut self, now: Time, origin: Origin, patch: AppPatch) -> Reply {
        let Some(id) = patch.id.clone() else {
            return Err(Problem::new(code::FIELD_MISSING, "the app has no id")
                .field("id")
                .hint("give an id such as /web")
                .into());
        };
        if self.apps.contains_key(&id) {
            return Err(Problem::new(
                code::APP_EXISTS,
                format!("An app with id [{id}] already exists."),
            )
            .field("id")
            .hint("use PUT to change it, or give another id")
            .into());
        }
        if self.apps.len() >= APPS_MAX {
            return Err(Problem::new(
                code::OVERLOADED,
                format!("there are {APPS_MAX} apps already"),
            )
            .hint("remove apps first")
            .into());
        }
        let spec = patch.onto(id.clone(), None)?;
        let spec = self.with_service_ports(spec, &[])?;
        let version = Core::version_after(now, Version(0));
        let deployment = Deployment {
            id: self.draw_deployment(),
            kind: DeploymentKind::Start,
            version,
            previous: None,
        };
        let app = App {
            spec,
            version,
            last_scaling: version,
            last_config: version,
            deployment: Some(deployment.clone()),
            last_failure: None,
        };
        let app = Arc::new(app);
        self.apps
            .insert(id.clone(), AppEntry::new(now, app.clone()));
        self.mark(&id);
        self.out.push(Effect::Publish(Notice::AppPosted {
            origin,
            app: app.clone(),
        }));
        self.out.push(Effect::Publish(Notice::DeploymentStarted {
            app: id,
            deployment,
        }));
        Ok(ApiAnswer::Created(app))
    }

    fn change_app(
        &mut self,
        now: Time,
        origin: Origin,
        id: &AppId,
        patch: AppPatch,
        mode: ChangeMode,
        force: bool,
    ) -> Reply {
        if patch.id.as_ref().is_some_and(|other| other != id) {
            return Err(Problem::new(
                code::APP_INVALID,
                "the id in the body is not the one in the path",
            )
            .field("id")
            .hint("leave the id out of the body")
            .into());
        }
        let Some(entry) = self.apps.get(id) else {
            if mode == ChangeMode::MergeExisting {
                return Err(unknown_app(id));
            }
            let patch = AppPatch {
                id: Some(id.clone()),
                ..patch
            };
            return self
                .create_app(now, origin, patch)
                .map(|answer| match answer {
                    ApiAnswer::Created(app) => ApiAnswer::Deployed {
                        version: app.version,
                        deployment: app
                            .deployment
                            .as_ref()
                            .map_or(DeploymentId(0), |deployment| deployment.id),
                        is_new: true,
                    },
                    other => other,
                });
        };
        let app = entry.app.clone();
        self.check_unlocked(&[&app], force)?;
        let base = if mode == ChangeMode::Replace {
            None
        } else {
            Some(&app.spec)
        };
        let spec = self.with_service_ports(patch.onto(id.clone(), base)?, &app.spec.ports)?;
        if spec == app.spec && app.deployment.is_none() {
            return Ok(self.nothing_to_do(&app));
        }
        let last_config = if spec.runs_like(&app.spec) {
            None
        } else {
            Some(Self::config_for(&app, &spec))
        };
        let answer = self.deploy(now, &app, spec, last_config);
        if let Some(entry) = self.apps.get(id) {
            let app = entry.app.clone();
            self.out
                .push(Effect::Publish(Notice::AppPosted { origin, app }));
        }
        Ok(answer)
    }

    /// The configuration of a changed definition: the one before the present deployment when it is the same again, so that
    /// going back restarts nothing that is still there.
    fn config_for(app: &App, spec: &AppSpec) -> Option<Version> {
        let previous = app.deployment.as_ref()?.previous.as_ref()?;
        previous
            .spec
            .runs_like(spec)
            .then_some(previous.last_config)
    }

    /// An answer for a change that changes nothing: a deployment that is over.
    fn nothing_to_do(&mut self, app: &App) -> ApiAnswer {
        let deployment = Deployment {
            id: self.draw_deployment(),
            kind: DeploymentKind::Scale,
            version: app.version,
            previous: None,
        };
        let answer = ApiAnswer::Deployed {
            version: app.version,
            deployment: deployment.id,
            is_new: false,
        };
        self.out.push(Effect::Publish(Notice::DeploymentSucceeded {
            app: app.spec.id.clone(),
            deployment,
        }));
        answer
    }

    /// Begins a deployment of an app to another definition. `last_config`: none keeps the instances good; otherwise they are
    /// to be of that configuration, or of a new one.
    fn deploy(
        &mut self,
        now: Time,
        before: &App,
        spec: AppSpec,
        last_config: Option<Option<Version>>,
    ) -> ApiAnswer {
        let id = before.spec.id.clone();
        let version = Core::version_after(now, before.version);
        let is_replacing = last_config.is_some()
            || before
                .deployment
                .as_ref()
                .is_some_and(|deployment| deployment.kind == DeploymentKind::Replace);
        let deployment = Deployment {
            id: self.draw_deployment(),
            kind: if is_replacing {
                DeploymentKind::Replace
            } else {
                DeploymentKind::Scale
            },
            version,
            previous: Some(Box::new(Self::previous_of(before))),
        };
        let is_scaled = spec.instances != before.spec.instances || last_config.is_some();
        self.give_up_deployment(&id, "another deployment of the app was forced");
        if let Some(entry) = self.apps.get_mut(&id) {
            let app = Arc::make_mut(&mut entry.app);
            app.spec = spec;
            app.version = version;
            if is_scaled {
                app.last_scaling = version;
            }
            if let Some(config) = last_config {
                app.last_config = config.unwrap_or(version);
                entry.backoff = Backoff::default();
            }
            app.deployment = Some(deployment.clone());
        }
        self.mark(&id);
        let answer = ApiAnswer::Deployed {
            version,
            deployment: deployment.id,
            is_new: false,
        };
        self.out.push(Effect::Publish(Notice::DeploymentStarted {
            app: id,
            deployment,
        }));
        answer
    }

    fn previous_of(app: &App) -> Previous {
        Previous {
            spec: app.spec.clone(),
            version: app.version,
            last_scaling: app.last_scaling,
            last_config: app.last_config,
        }
    }

    fn restart_app(&mut self, now: Time, id: &AppId, force: bool) -> Reply {
        let app = self.app(id)?;
        self.check_unlocked(&[&app], force)?;
        Ok(self.deploy(now, &app, app.spec.clone(), Some(None)))
    }

    fn delete_app(&mut self, now: Time, id: &AppId, force: bool) -> Reply {
        let app = self.app(id)?;
        self.check_unlocked(&[&app], force)?;
        Ok(self.stop(now, &app))
    }

    /// Begins the deployment that removes an app.
    fn stop(&mut self, now: Time, before: &App) -> ApiAnswer {
        let id = before.spec.id.clone();
        let version = Core::version_after(now, before.version);
        let deployment = Deployment {
            id: self.draw_deployment(),
            kind: DeploymentKind::Stop,
            version,
            previous: Some(Box::new(Self::previous_of(before))),
        };
        self.give_up_deployment(&id, "the app is removed");
        if let Some(entry) = self.apps.get_mut(&id) {
            let app = Arc::make_mut(&mut entry.app);
            app.version = version;
            app.deployment = Some(deployment.clone());
        }
        self.mark(&id);
        let answer = ApiAnswer::Deployed {
            version,
            deployment: deployment.id,
            is_new: false,
        };
        self.out.push(Effect::Publish(Notice::DeploymentStarted {
            app: id,
            deployment,
        }));
        answer
    }

    fn kill_instances(&mut self, now: Time, set: &InstanceSet, scale: bool, force: bool) -> Reply {
        let instances = self.resolve(set)?;
        if scale {
            return self.scale_down(now, &instances, force);
        }
        for instance in &instances {
            self.condemn(now, instance.id);
        }
        Ok(ApiAnswer::Killed(instances))
    }

    /// Ends these instances and wants so many fewer of their apps.
    fn scale_down(&mut self, now: Time, instances: &[Arc<Instance>], force: bool) -> Reply {
        let mut fewer: BTreeMap<AppId, u32> = BTreeMap::new();
        for instance in instances.iter().filter(|instance| !instance.is_condemned) {
            *fewer.entry(instance.app.clone()).or_default() += 1;
        }
        let apps = fewer
            .keys()
            .map(|id| self.app(id))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_unlocked(&apps.iter().map(|app| &**app).collect::<Vec<_>>(), force)?;
        let mut answer = None;
        for app in &apps {
            let mut spec = app.spec.clone();
            spec.instances = spec
                .instances
                .saturating_sub(fewer.get(&spec.id).copied().unwrap_or(0));
            answer = Some(self.deploy(now, app, spec, None));
        }
        for instance in instances {
            self.condemn(now, instance.id);
        }
        Ok(answer.unwrap_or_else(|| ApiAnswer::Killed(Vec::new())))
    }

    fn resolve(&self, set: &InstanceSet) -> Result<Vec<Arc<Instance>>, Refusal> {
        match set {
            InstanceSet::OfApp { app, host } => {
                let entry = self.apps.get(app).ok_or_else(|| unknown_app(app))?;
                let on_host = |instance: &&Arc<Instance>| {
                    host.as_ref().is_none_or(|host| instance.host == *host)
                };
                Ok(self.instances_of(entry).filter(on_host).cloned().collect())
            }
            InstanceSet::Named {
                app: Some(app),
                ids,
            } => {
                let entry = self.apps.get(app).ok_or_else(|| unknown_app(app))?;
                let find = |id: &InstanceId| {
                    let instance = self
                        .instances
                        .get(id)
                        .filter(|_| entry.instances.contains(id))
                        .cloned();
                    instance.ok_or_else(|| unknown_task(*id, app))
                };
                ids.iter().map(find).collect()
            }
            InstanceSet::Named { app: None, ids } => {
                let ids: BTreeSet<_> = ids.iter().collect();
                Ok(ids
                    .into_iter()
                    .filter_map(|id| self.instances.get(id).cloned())
                    .collect())
            }
        }
    }

    fn cancel_deployment(&mut self, now: Time, deployment: DeploymentId, leave: bool) -> Reply {
        let is_it = |entry: &&AppEntry| {
            entry
                .app
                .deployment
                .as_ref()
                .is_some_and(|d| d.id == deployment)
        };
        let Some(app) = self
            .apps
            .values()
            .find(is_it)
            .map(|entry| entry.app.clone())
        else {
            let message = format!("DeploymentPlan {deployment} does not exist");
            return Err(Problem::new(code::DEPLOYMENT_UNKNOWN, message)
                .hint("it may have ended; see /v2/deployments")
                .into());
        };
        if leave {
            self.give_up_deployment(&app.spec.id, "cancelled");
            return Ok(ApiAnswer::GivenUp);
        }
        match app
            .deployment
            .as_ref()
            .and_then(|deployment| deployment.previous.as_deref())
        {
            None => Ok(self.stop(now, &app)),
            Some(previous) => {
                let spec = self.with_service_ports(previous.spec.clone(), &previous.spec.ports)?;
                let last_config =
                    (previous.last_config != app.last_config).then_some(Some(previous.last_config));
                Ok(self.deploy(now, &app, spec, last_config))
            }
        }
    }

    fn reset_delay(&mut self, id: &AppId) -> Reply {
        let entry = self.apps.get_mut(id).filter(|entry| entry.missing > 0);
        let Some(entry) = entry else {
            return Err(Problem::new(
                code::APP_UNKNOWN,
                format!("Application {id} not found in tasks queue."),
            )
            .hint("only apps with instances to launch have a delay")
            .into());
        };
        entry.backoff = Backoff::default();
        self.touched.insert(id.clone());
        Ok(ApiAnswer::DelayReset)
    }

    /// The definition with a number for each port.
    fn with_service_ports(
        &self,
        mut spec: AppSpec,
        before: &[port::PortDefinition],
    ) -> Result<AppSpec, Refusal> {
        let others = self
            .apps
            .values()
            .filter(|entry| entry.app.spec.id != spec.id);
        let taken = others.flat_map(|entry| {
            entry
                .app
                .spec
                .ports
                .iter()
                .map(|port| (port.number, entry.app.spec.id.clone()))
        });
        let taken: BTreeMap<_, _> = taken.collect();
        port::assign(&mut spec.ports, before, &taken, self.settings.service_ports)?;
        Ok(spec)
    }

    fn check_unlocked(&self, apps: &[&App], force: bool) -> Result<(), Refusal> {
        let deployments: Vec<DeploymentId> = apps
            .iter()
            .filter_map(|app| app.deployment.as_ref())
            .map(|deployment| deployment.id)
            .collect();
        if force || deployments.is_empty() {
            return Ok(());
        }
        let message = "App is locked by one or more deployments. Override with the option '?force=true'. \
                       View details at '/v2/deployments/<DEPLOYMENT_ID>'.";
        let problem = Problem::new(code::APP_LOCKED, message)
            .hint("wait until it ends, cancel it, or repeat with force=true");
        Err(Refusal {
            problems: vec![problem],
            deployments,
        })
    }

    fn give_up_deployment(&mut self, id: &AppId, reason: &'static str) {
        if let Some(deployment) = self.take_deployment(id) {
            self.out.push(Effect::Publish(Notice::DeploymentFailed {
                app: id.clone(),
                deployment,
                reason,
            }));
        }
    }

    fn app(&self, id: &AppId) -> Result<Arc<App>, Refusal> {
        self.apps
            .get(id)
            .map(|entry| entry.app.clone())
            .ok_or_else(|| unknown_app(id))
    }

    /// Marks an app to be kept and planned.
    fn mark(&mut self, id: &AppId) {
        self.to_keep.insert(Key::App(id.clone()));
        self.touched.insert(id.clone());
    }
}

fn unknown_app(id: &AppId) -> Refusal {
    Problem::new(code::APP_UNKNOWN, format!("App '{id}' does not exist"))
        .hint("GET /v2/apps lists the apps")
        .into()
}

fn unknown_task(id: InstanceId, app: &AppId) -> Refusal {
    Problem::new(
        code::TASK_UNKNOWN,
        format!("Task '{}' does not exist", id.full(app)),
    )
    .hint("it may have ended; GET /v2/tasks lists the tasks")
    .into()
}

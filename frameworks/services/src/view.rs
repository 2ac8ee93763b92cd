//! What readers see: tables of apps and instances, made of the core's facts. Readers never touch the core.
//!
//! Facts come after what they say is durable and before the reply to whoever caused them, so everyone reads what they wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use proffer_model::FrameworkId;
use proffer_services_core::app::App;
use proffer_services_core::effect::Fact;
use proffer_services_core::id::{AppId, InstanceId};
use proffer_services_core::instance::Instance;

#[derive(Default)]
struct Tables {
    apps: BTreeMap<AppId, AppRow>,
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    framework: Option<FrameworkId>,
    is_connected: bool,
    is_loaded: bool,
}

struct AppRow {
    app: Arc<App>,
    instances: BTreeSet<InstanceId>,
}

/// An app with its instances.
#[derive(Clone, Debug)]
pub(crate) struct AppView {
    pub(crate) app: Arc<App>,
    pub(crate) instances: Vec<Arc<Instance>>,
}

/// The tables. A lock is held for as long as it takes to copy pointers.
#[derive(Default)]
pub(crate) struct View(RwLock<Tables>);

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    /// Takes a fact in.
    pub(crate) fn apply(&self, fact: &Fact) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match fact {
            Fact::AppChanged(app) => match tables.apps.get_mut(&app.spec.id) {
                Some(row) => row.app = app.clone(),
                None => {
                    let row = AppRow {
                        app: app.clone(),
                        instances: BTreeSet::new(),
                    };
                    tables.apps.insert(app.spec.id.clone(), row);
                }
            },
            Fact::AppRemoved(id) => {
                tables.apps.remove(id);
            }
            Fact::InstanceChanged(instance) => {
                tables.instances.insert(instance.id, instance.clone());
                if let Some(row) = tables.apps.get_mut(&instance.app) {
                    row.instances.insert(instance.id);
                }
            }
            Fact::InstanceRemoved(id) => {
                if let Some(instance) = tables.instances.remove(id)
                    && let Some(row) = tables.apps.get_mut(&instance.app)
                {
                    row.instances.remove(id);
                }
            }
            Fact::InstanceFailed { .. }
            | Fact::LaunchRefused { .. }
            | Fact::UnknownTaskKilled(_)
            | Fact::CallRefused(_) => {}
        }
    }

    /// Notes whether there is a session, and as whom.
    pub(crate) fn set_session(&self, framework: Option<FrameworkId>) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.is_connected = framework.is_some();
        if framework.is_some() {
            tables.framework = framework;
        }
    }

    /// Who we are, once that is known, and whether there is a session.
    pub(crate) fn session(&self) -> (Option<FrameworkId>, bool) {
        self.read(|tables| (tables.framework.clone(), tables.is_connected))
    }

    /// Notes that the tables are what was kept. Before that they are empty, and nobody may take that for the truth.
    pub(crate) fn set_loaded(&self) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.is_loaded = true;
    }

    /// Whether the tables are what was kept.
    pub(crate) fn is_loaded(&self) -> bool {
        self.read(|tables| tables.is_loaded)
    }

    /// One app.
    pub(crate) fn app(&self, id: &AppId) -> Option<AppView> {
        self.read(|tables| tables.apps.get(id).map(|row| tables.view(row)))
    }

    /// All apps, by id.
    pub(crate) fn apps(&self) -> Vec<AppView> {
        self.read(|tables| tables.apps.values().map(|row| tables.view(row)).collect())
    }

    /// How many apps there are.
    pub(crate) fn app_count(&self) -> usize {
        self.read(|tables| tables.apps.len())
    }

    fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tables {
    fn view(&self, row: &AppRow) -> AppView {
        let instances = row
            .instances
            .iter()
            .filter_map(|id| self.instances.get(id).cloned())
            .collect();
        AppView {
            app: row.app.clone(),
            instances,
        }
    }
}

//! Marathon's `container` to the image of an app. What would change how instances run, and is not done here, is refused;
//! what asks for nothing is taken.

use proffer_services_core::container::{AppContainer, Engine};
use serde_json::{Map, Value};

use super::{Reader, given, is_empty};

/// Fields that ask for something that is not done, and what to do instead.
const OF_CONTAINER: [(&str, &str); 3] = [
    (
        "volumes",
        "leave it out; what an instance writes goes to its image's root and is gone with it",
    ),
    (
        "portMappings",
        "give portDefinitions; instances listen on the host's ports $PORT0, $PORT1, …",
    ),
    ("linuxInfo", "leave it out"),
];

/// The same for `container.docker`.
const OF_DOCKER: [(&str, &str); 6] = [
    (
        "portMappings",
        "give portDefinitions; instances listen on the host's ports $PORT0, $PORT1, …",
    ),
    (
        "parameters",
        "leave it out; no Docker runs here that would take them",
    ),
    ("privileged", "leave it out; no container is privileged"),
    (
        "forcePullImage",
        "leave it out; an archive on the host is not pulled",
    ),
    (
        "credential",
        "leave it out; an archive on the host needs none",
    ),
    (
        "pullConfig",
        "leave it out; an archive on the host is not pulled",
    ),
];

impl Reader {
    /// The image; `Some(None)` when there is a container that asks for none.
    pub(super) fn container(&mut self, map: &Map<String, Value>) -> Option<Option<AppContainer>> {
        let map = self.object(given(map, "container")?, "container")?;
        self.refuse_used(map, "container", &OF_CONTAINER);
        let word = self.text(map, "container", "type");
        let engine = Engine::parse(word.as_deref().unwrap_or("DOCKER"));
        if engine.is_none() {
            self.refuse(
                "container.type",
                "this is not a type of container",
                "give MESOS or DOCKER; here they are the same",
            );
        }
        let Some(docker) = given(map, "docker").filter(|docker| !is_empty(docker)) else {
            return Some(None);
        };
        let docker = self.object(docker, "container.docker")?;
        self.refuse_used(docker, "container.docker", &OF_DOCKER);
        let network = self.text(docker, "container.docker", "network");
        if network.is_some_and(|network| !network.is_empty() && network != "HOST") {
            self.refuse(
                "container.docker.network",
                "only the host network is supported yet",
                "give HOST or leave it out; instances listen on the host's ports $PORT0, $PORT1, …",
            );
        }
        // Without an image the container is refused for it.
        let image = self
            .text(docker, "container.docker", "image")
            .unwrap_or_default();
        let container = self.keep(AppContainer::new(engine?, &image))?;
        Some(Some(container))
    }

    fn refuse_used(&mut self, map: &Map<String, Value>, outer: &str, fields: &[(&str, &str)]) {
        for (name, hint) in fields {
            if given(map, name).is_some_and(|value| !is_empty(value)) {
                let field = super::path(outer, name);
                self.refuse(&field, "this field is not supported yet", hint);
            }
        }
    }
}

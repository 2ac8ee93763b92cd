//! The container of an app: the image that its instances run in, as Marathon spells it.
//!
//! An image is an archive on the agents' hosts today; a name in a registry is refused, with what to do instead. What was
//! written is kept, so that clients read back what they sent.

use proffer_model::{Container, Image, ImageRules, Problem, code};

/// The field that names the image.
const FIELD: &str = "container.docker.image";
/// What works today.
const HINT: &str = "give the absolute path of an archive that is on every agent's host, as `docker save` or `skopeo copy` write it, \
     such as /srv/images/web.tar";

/// Marathon's two ways to run a container; here both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `MESOS`.
    Mesos,
    /// `DOCKER`.
    Docker,
}

impl Engine {
    /// Reads Marathon's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "MESOS" => Self::Mesos,
            "DOCKER" => Self::Docker,
            _ => return None,
        })
    }

    /// Marathon's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mesos => "MESOS",
            Self::Docker => "DOCKER",
        }
    }
}

/// The container of an app. Valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppContainer {
    engine: Engine,
    image: String,
}

impl AppContainer {
    /// With this image: `/path/of/archive.tar` or `file:///path/of/archive.tar`. Error: `app.invalid`.
    pub fn new(engine: Engine, image: &str) -> Result<Self, Problem> {
        let wrong = |message: String, hint: &str| {
            Err(Problem::new(code::APP_INVALID, message)
                .field(FIELD)
                .hint(hint))
        };
        if image.is_empty() {
            return wrong("the image is empty".to_owned(), HINT);
        }
        if image.contains(char::is_control) {
            let message = "the image has a control character in its path".to_owned();
            return wrong(message, "remove it");
        }
        if path_in(image).ends_with('/') {
            let message = format!("{image:?} is a folder, not an archive");
            return wrong(message, HINT);
        }
        if image.starts_with("file:") && (!image.starts_with("file:///") || image.contains('%')) {
            let message = format!("{image:?} is not a path on the agents' hosts");
            return wrong(
                message,
                "write file:/// and the path as it is, without %, or the path alone",
            );
        }
        if !path_in(image).starts_with('/') {
            let message = format!(
                "{image:?} is not an archive on the agents' hosts; images from registries are not supported yet"
            );
            return wrong(message, HINT);
        }
        Ok(Self {
            engine,
            image: image.to_owned(),
        })
    }

    /// How it was asked to be run.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The image as it was written.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The container of a task.
    pub(crate) fn of_task(&self) -> Container {
        Container {
            image: Image::Archive(path_in(&self.image).to_owned()),
            rules: ImageRules::Docker,
        }
    }

    /// Whether a task in one is as good as a task in the other: both see the same image under the same name.
    pub(crate) fn runs_like(&self, other: &Self) -> bool {
        self.image == other.image
    }
}

/// The path in an image's name.
fn path_in(image: &str) -> &str {
    image.strip_prefix("file://").unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_on_the_hosts_is_taken_and_nothing_else() {
        for (image, path) in [
            ("/srv/web.tar", Ok("/srv/web.tar")),
            ("file:///srv/web.tar", Ok("/srv/web.tar")),
            ("/srv/a b:1%20.tar", Ok("/srv/a b:1%20.tar")),
            ("", Err("empty")),
            ("nginx", Err("registries")),
            ("nginx:1.27", Err("registries")),
            ("registry.local:5000/a/b@sha256:00", Err("registries")),
            ("docker://nginx", Err("registries")),
            ("web.tar", Err("registries")),
            ("file://host/web.tar", Err("not a path")),
            ("file:/srv/web.tar", Err("not a path")),
            ("file:///srv/a%20b.tar", Err("not a path")),
            ("/srv/images/", Err("folder")),
            ("/srv/a\n", Err("control")),
            ("/srv/a\0", Err("control")),
        ] {
            match (AppContainer::new(Engine::Docker, image), path) {
                (Ok(container), Ok(path)) => {
                    let of_task = container.of_task().image;
                    assert_eq!((of_task.as_str(), container.image()), (path, image));
                }
                (Err(problem), Err(says)) => {
                    assert_eq!(problem.field, FIELD, "{image}");
                    assert!(problem.message.contains(says), "{image}: {problem}");
                    assert!(!problem.hint.is_empty(), "{image}");
                }
                (result, _) => panic!("{image}: {result:?}"),
            }
        }
    }
}

//! Finding the image for this host among those in an archive, in the words of `docker save` or of an OCI layout.
//!
//! An archive that speaks both is read as an OCI layout, which has a digest for everything.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os, Platform,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::archive::{Archive, Part};
use super::digest::Digest;
use super::error::{Fault, shown};
use crate::limits::{IMAGE_INDEX_DEPTH_MAX, IMAGE_LAYERS_MAX, IMAGE_MANIFESTS_MAX};

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const DOCKER_MANIFEST: &str = "manifest.json";
/// Docker's word for an index of manifests.
const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image in an archive, whose layers are not yet read.
#[derive(Debug)]
pub(super) struct Found {
    /// The digest of the configuration.
    pub(super) id: Digest,
    /// The configuration as it is written.
    pub(super) config: Vec<u8>,
    /// From the bottom.
    pub(super) layers: Vec<Layer>,
}

/// A layer in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    /// Where it is.
    pub(super) part: Part,
    /// Of the file in the archive, when the archive says so.
    pub(super) digest: Option<Digest>,
    /// Of the layer, uncompressed.
    pub(super) diff_id: Digest,
}

/// One image of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image whose configuration is read: the file of each layer, and its digest if there is one.
struct Candidate {
    config: Vec<u8>,
    layers: Vec<(Part, Option<Digest>)>,
}

/// The one image for this host.
pub(super) fn find(archive: &Archive) -> Result<Found, Fault> {
    let mut images = BTreeMap::new();
    let mut others = BTreeSet::new();
    for candidate in candidates(archive, &mut others)? {
        let parsed: ImageConfiguration = json("its configuration", &candidate.config)?;
        if is_ours(parsed.os(), parsed.architecture()) {
            let id = Digest::of(&candidate.config);
            images.insert(id, (candidate, parsed));
        } else {
            others.insert(platform_text(parsed.os(), parsed.architecture()));
        }
    }
    let count = images.len();
    match images.pop_first() {
        Some((id, (candidate, parsed))) if count == 1 => found(id, candidate, &parsed),
        Some(_) => Err(Fault::SeveralImages(count)),
        None if others.is_empty() => Err(Fault::NotAnImage("no image is in it".to_owned())),
        None => Err(Fault::WrongPlatform {
            image: others.into_iter().collect::<Vec<_>>().join(", "),
            host: platform_text(&Os::Linux, &host_architecture()),
        }),
    }
}

fn found(id: Digest, candidate: Candidate, parsed: &ImageConfiguration) -> Result<Found, Fault> {
    let diff_ids = diff_ids(parsed)?;
    if diff_ids.len() != candidate.layers.len() {
        return Err(Fault::NotAnImage(format!(
            "it has {} layers, and its configuration names {}",
            candidate.layers.len(),
            diff_ids.len()
        )));
    }
    let layers = candidate.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|((part, digest), diff_id)| Layer {
        part,
        digest,
        diff_id,
    });
    Ok(Found {
        id,
        config: candidate.config,
        layers: layers.collect(),
    })
}

/// The digests of an image's layers, uncompressed, from the bottom.
pub(super) fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>, Fault> {
    let texts = config.rootfs().diff_ids();
    if texts.is_empty() {
        return Err(Fault::NotAnImage("it has no layers".to_owned()));
    }
    if texts.len() > IMAGE_LAYERS_MAX {
        return Err(Fault::TooLarge {
            what: format!("the image has {} layers", texts.len()),
            limit: IMAGE_LAYERS_MAX.to_string(),
        });
    }
    texts.iter().map(|text| digest(text)).collect()
}

fn candidates(archive: &Archive, others: &mut BTreeSet<String>) -> Result<Vec<Candidate>, Fault> {
    if archive.find(LAYOUT).is_some()
        && let Some(index) = archive.find(INDEX)
    {
        let index: ImageIndex = json(INDEX, &archive.read(INDEX, index, None)?)?;
        let mut manifests = Vec::new();
        choose(archive, &index, 1, &mut manifests, others)?;
        return manifests
            .iter()
            .map(|manifest| oci_candidate(archive, manifest))
            .collect();
    }
    let Some(manifest) = archive.find(DOCKER_MANIFEST) else {
        let what = "neither manifest.json nor an OCI layout is in it";
        return Err(Fault::NotAnImage(what.to_owned()));
    };
    let bytes = archive.read(DOCKER_MANIFEST, manifest, None)?;
    let images: Vec<DockerImage> = json(DOCKER_MANIFEST, &bytes)?;
    check_manifests(images.len())?;
    images
        .iter()
        .map(|image| docker_candidate(archive, image))
        .collect()
}

fn docker_candidate(archive: &Archive, image: &DockerImage) -> Result<Candidate, Fault> {
    let config = archive.get("the configuration", &image.config)?;
    let names = image.layers.iter().flatten();
    let layers = names.map(|name| Ok((archive.get("the layer", name)?, None)));
    Ok(Candidate {
        config: archive.read("the configuration", config, None)?,
        layers: layers.collect::<Result<_, Fault>>()?,
    })
}

fn oci_candidate(archive: &Archive, manifest: &Descriptor) -> Result<Candidate, Fault> {
    let manifest: ImageManifest = json("the manifest", &read(archive, "the manifest", manifest)?)?;
    let layers = manifest.layers().iter().map(|layer| {
        let digest = digest(layer.digest().as_ref())?;
        let part = archive.blob("the layer", digest)?;
        Ok((part, Some(digest)))
    });
    Ok(Candidate {
        config: read(archive, "the configuration", manifest.config())?,
        layers: layers.collect::<Result<_, Fault>>()?,
    })
}

/// Collects the manifests for this host. Within an index in an index all are one image, whose first fitting variant is
/// taken. A manifest of which the index does not say the platform may be for this host.
fn choose(
    archive: &Archive,
    index: &ImageIndex,
    depth: usize,
    chosen: &mut Vec<Descriptor>,
    others: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    check_manifests(index.manifests().len().saturating_add(chosen.len()))?;
    for descriptor in index.manifests() {
        match descriptor.platform() {
            Some(platform) if !is_platform_ours(platform) => {
                others.extend(is_platform(platform).then(|| {
                    let (os, architecture) = (platform.os(), platform.architecture());
                    platform_text(os, architecture)
                }));
                continue;
            }
            _ => {}
        }
        let before = chosen.len();
        match descriptor.media_type() {
            MediaType::ImageIndex => inner(archive, descriptor, depth, chosen, others)?,
            MediaType::Other(other) if other == DOCKER_INDEX_TYPE => {
                inner(archive, descriptor, depth, chosen, others)?;
            }
            _ => chosen.push(descriptor.clone()),
        }
        if depth > 1 && chosen.len() > before {
            break;
        }
    }
    Ok(())
}

fn inner(
    archive: &Archive,
    descriptor: &Descriptor,
    depth: usize,
    chosen: &mut Vec<Descriptor>,
    others: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    if depth >= IMAGE_INDEX_DEPTH_MAX {
        return Err(Fault::TooLarge {
            what: "the archive has too many indexes within indexes".to_owned(),
            limit: IMAGE_INDEX_DEPTH_MAX.to_string(),
        });
    }
    let index: ImageIndex = json("an index", &read(archive, "an index", descriptor)?)?;
    choose(archive, &index, depth + 1, chosen, others)
}

fn check_manifests(count: usize) -> Result<(), Fault> {
    if count > IMAGE_MANIFESTS_MAX {
        return Err(Fault::TooLarge {
            what: "the archive has too many images".to_owned(),
            limit: IMAGE_MANIFESTS_MAX.to_string(),
        });
    }
    Ok(())
}

fn read(archive: &Archive, what: &'static str, of: &Descriptor) -> Result<Vec<u8>, Fault> {
    let digest = digest(of.digest().as_ref())?;
    let part = archive.blob(what, digest)?;
    archive.read(what, part, Some(digest))
}

fn digest(text: &str) -> Result<Digest, Fault> {
    text.parse().map_err(|()| {
        let text = shown(text.as_bytes());
        Fault::NotAnImage(format!("`{text}` is not a SHA-256 digest"))
    })
}

/// Parses JSON. What is wrong is told by its place alone, without the content.
pub(super) fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = format!("{what} cannot be read, at line {line}, column {column}");
        Fault::NotAnImage(why)
    })
}

fn is_platform_ours(platform: &Platform) -> bool {
    is_ours(platform.os(), platform.architecture())
}

/// What builders attach to an image is listed as for the platform `unknown/unknown`.
fn is_platform(platform: &Platform) -> bool {
    platform.architecture().to_string() != "unknown"
}

fn is_ours(os: &Os, architecture: &Arch) -> bool {
    *os == Os::Linux && *architecture == host_architecture()
}

fn platform_text(os: &Os, architecture: &Arch) -> String {
    let text = format!("{os}/{architecture}");
    shown(text.as_bytes())
}

/// This host's architecture, in the words of images.
fn host_architecture() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "x86" => Arch::i386,
        "aarch64" => Arch::ARM64,
        "arm" => Arch::ARM,
        "powerpc64" if cfg!(target_endian = "little") => Arch::PowerPC64le,
        "riscv64" => Arch::RISCV64,
        "s390x" => Arch::s390x,
        other => Arch::Other(other.to_owned()),
    }
}

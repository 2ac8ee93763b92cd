//! Image archives for tests, as `docker save` and as OCI layouts, made from this host's busybox (package busybox-static).
//!
//! The agent's own tests include this file by its path. Everything is deterministic: the same image has the same id.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// Programs of busybox that the image has by their own names.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "cp", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "ip",
    "kill", "ls", "mkdir", "mknod", "mount", "nc", "ps", "pwd", "rm", "seq", "sleep", "stat",
    "tail", "test", "touch", "trap", "true", "umount", "wc", "wget", "yes",
];

/// An image to be put into an archive.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name and tag.
    pub name: String,
    /// `amd64`, …
    pub architecture: String,
    /// The object `config` of its configuration.
    pub config: Value,
    /// From the bottom.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The tar archive, of which the configuration has the digest.
    pub tar: Vec<u8>,
    /// The file in the archive: the same, compressed or not.
    pub blob: Vec<u8>,
}

/// A tar archive that is being made: no check keeps it from being a bad one.
pub struct Tar(tar::Builder<Vec<u8>>);

/// The image of busybox: `/bin/sh` and other programs, users `root` and `www` (33, group 34, also in group 50).
pub fn busybox() -> Image {
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut tar = Tar::new();
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("srv", 0o755),
        ("root", 0o700),
    ] {
        tar.dir(dir, mode);
    }
    tar.file("bin/busybox", 0o755, &program);
    for name in PROGRAMS {
        tar.symlink(&format!("bin/{name}"), "busybox");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:www:/srv:/bin/sh\n";
    tar.file("etc/passwd", 0o644, users.as_bytes());
    let groups = "root:x:0:\nwww:x:34:\nlog:x:50:www\n";
    tar.file("etc/group", 0o644, groups.as_bytes());
    Image {
        name: "busybox:test".to_owned(),
        architecture: host_architecture().to_owned(),
        config: json!({ "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"] }),
        layers: vec![Layer::gzip(tar.finish())],
    }
}

/// An image of these layers, for this host, that says nothing about running it.
pub fn image(layers: Vec<Layer>) -> Image {
    Image {
        name: "test:latest".to_owned(),
        architecture: host_architecture().to_owned(),
        config: json!({}),
        layers,
    }
}

/// This host's architecture in the words of images.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `sha256:` and the digest.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

impl Layer {
    /// Not compressed.
    pub fn plain(tar: Vec<u8>) -> Self {
        let blob = tar.clone();
        Self { tar, blob }
    }

    /// Compressed with gzip.
    pub fn gzip(tar: Vec<u8>) -> Self {
        let blob = gzip(&tar);
        Self { tar, blob }
    }
}

impl Image {
    /// Its configuration, of which the digest is its id.
    pub fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| digest(&layer.tar)).collect();
        let configuration = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [],
        });
        serde_json::to_vec(&configuration).expect("JSON can be written")
    }

    /// Its id: 64 hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&self.configuration())
    }

    /// As `docker save` has it.
    pub fn docker_save(&self) -> Vec<u8> {
        docker_save(std::slice::from_ref(self))
    }

    /// As a tar archive of an OCI layout.
    pub fn oci_layout(&self) -> Vec<u8> {
        oci_layout(std::slice::from_ref(self))
    }
}

/// An archive of several images as `docker save` has it.
pub fn docker_save(images: &[Image]) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut manifest = Vec::new();
    for image in images {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let name = format!("{}/layer.tar", hex(&layer.tar));
            tar.file(&name, 0o644, &layer.blob);
            layers.push(name);
        }
        let config = format!("{}.json", image.id());
        tar.file(&config, 0o644, &image.configuration());
        manifest.push(json!({ "Config": config, "RepoTags": [image.name], "Layers": layers }));
    }
    tar.file(
        "manifest.json",
        0o644,
        &serde_json::to_vec(&manifest).expect("JSON can be written"),
    );
    tar.finish()
}

/// An archive of several images as an OCI layout, each directly in its index.
pub fn oci_layout(images: &[Image]) -> Vec<u8> {
    let mut layout = Layout::new();
    let manifests: Vec<Value> = images.iter().map(|image| layout.image(image)).collect();
    layout.finish(&manifests)
}

/// An OCI layout that is being made.
pub struct Layout(Tar);

impl Layout {
    /// An empty one.
    pub fn new() -> Self {
        let mut tar = Tar::new();
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        Self(tar)
    }

    /// Puts in an image; its descriptor, without a platform.
    pub fn image(&mut self, image: &Image) -> Value {
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &image.configuration(),
        );
        let layers = image.layers.iter().map(|layer| {
            let is_plain = layer.blob == layer.tar;
            let kind = if is_plain { "tar" } else { "tar+gzip" };
            self.blob(
                &format!("application/vnd.oci.image.layer.v1.{kind}"),
                &layer.blob,
            )
        });
        let layers: Vec<Value> = layers.collect();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        let mut descriptor = self.json(kind, &manifest);
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
        descriptor
    }

    /// Puts in an index of these descriptors; its own.
    pub fn index(&mut self, manifests: &[Value]) -> Value {
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
        self.json(kind, &index)
    }

    /// Puts in JSON; its descriptor.
    pub fn json(&mut self, kind: &str, content: &Value) -> Value {
        let content = serde_json::to_vec(content).expect("JSON can be written");
        self.blob(kind, &content)
    }

    /// Puts in any content; its descriptor.
    pub fn blob(&mut self, kind: &str, content: &[u8]) -> Value {
        self.0
            .file(&format!("blobs/sha256/{}", hex(content)), 0o644, content);
        json!({ "mediaType": kind, "digest": digest(content), "size": content.len() })
    }

    /// The archive, with these descriptors in its index.
    pub fn finish(mut self, manifests: &[Value]) -> Vec<u8> {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        let index = serde_json::to_vec(&index).expect("JSON can be written");
        self.0.file("index.json", 0o644, &index);
        self.0.finish()
    }
}

impl Tar {
    /// An empty one.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// A directory.
    pub fn dir(&mut self, name: &str, mode: u32) {
        self.entry(&format!("{name}/"), EntryType::Directory, "", mode, &[]);
    }

    /// A file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, EntryType::Regular, "", mode, content);
    }

    /// A symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, EntryType::Symlink, target, 0o777, &[]);
    }

    /// A hard link.
    pub fn hard_link(&mut self, name: &str, target: &str) {
        self.entry(name, EntryType::Link, target, 0o644, &[]);
    }

    /// Anything, owned by root.
    pub fn entry(&mut self, name: &str, kind: EntryType, target: &str, mode: u32, content: &[u8]) {
        self.header(
            name.as_bytes(),
            kind,
            target.as_bytes(),
            content,
            |header| header.set_mode(mode),
        );
    }

    /// Anything whatsoever: `change` has the last word on its header, but for the checksum. Long names come before it.
    pub fn header(
        &mut self,
        name: &[u8],
        kind: EntryType,
        target: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) {
        for (kind, text) in [
            (EntryType::GNULongName, name),
            (EntryType::GNULongLink, target),
        ] {
            if text.len() > 100 {
                let content = [text, &[0]].concat();
                self.entry("././@LongLink", kind, "", 0o644, &content);
            }
        }
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, name), (&mut old.linkname, target)] {
            let len = text.len().min(field.len());
            field[..len].copy_from_slice(&text[..len]);
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        change(&mut header);
        header.set_cksum();
        self.0
            .append(&header, content)
            .expect("memory can be written");
    }

    /// What PAX says of the next entry.
    pub fn pax(&mut self, pairs: &[(&str, &[u8])]) {
        let pairs = pairs.iter().copied();
        self.0
            .append_pax_extensions(pairs)
            .expect("memory can be written");
    }

    /// The archive, with its end.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("memory can be written")
    }
}

#[test]
fn other_tools_read_the_images_of_these_tests() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let image = busybox();
    let archives = [
        ("docker-archive", image.docker_save()),
        ("oci-archive", image.oci_layout()),
    ];
    for (kind, archive) in archives {
        let path = dir.path().join(kind);
        std::fs::write(&path, archive).expect("the directory can be written");
        let output = std::process::Command::new("skopeo")
            .args(["inspect", "--config"])
            .arg(format!("{kind}:{}", path.display()))
            .output()
            .expect("skopeo is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}: {said}");
        let read: Value = serde_json::from_slice(&output.stdout).expect("skopeo writes JSON");
        assert_eq!(read["architecture"], host_architecture());
        let layer = digest(&image.layers[0].tar);
        assert_eq!(read["rootfs"]["diff_ids"], json!([layer]));
    }
}

//! The store of images: archives of every shape, users, removal. Bad archives are in `tests/hostile.rs`, crashes and
//! concurrency in `tests/faults.rs`, archives of other tools in `tests/tools.rs`.

mod faults;
mod hostile;
#[allow(
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a part of the tests of the whole, of which not everything is used here"
)]
#[path = "../../../tests/images.rs"]
mod images;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use images::{Image as Made, Layer, Tar};

/// A store, and a directory for archives.
struct Fixture {
    dir: TempDir,
    store: ImageStore,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Other users reach the archives in it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        Self { dir, store }
    }

    fn archive(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, content: &[u8]) -> Result<Image, ImageError> {
        self.store.load(&self.archive("archive.tar", content), None)
    }

    /// Loads an image of one layer; what the layer's directory has in it.
    fn tree(&self, layer: Tar) -> BTreeMap<String, String> {
        let made = images::image(vec![Layer::plain(layer.finish())]);
        tree(&self.load(&made.docker_save()).unwrap().layers[0])
    }

    /// What is being made or removed.
    fn scratch(&self) -> usize {
        fs::read_dir(self.dir.path().join("images/scratch"))
            .unwrap()
            .count()
    }

    fn layers(&self) -> usize {
        fs::read_dir(self.dir.path().join("images/layers"))
            .unwrap()
            .count()
    }
}

/// Everything beneath a directory: kind, permissions, owner, time, content.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let kind = metadata.file_type();
            let what = if kind.is_dir() {
                dirs.push(path.clone());
                let opaque = opaque(&path);
                format!("dir{}", if opaque { " opaque" } else { "" })
            } else if kind.is_symlink() {
                format!("link {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_char_device() {
                format!("device {}", metadata.rdev())
            } else {
                let content = fs::read(&path).unwrap();
                match String::from_utf8(content) {
                    Ok(text) if text.len() < 40 => format!("file {text}"),
                    other => format!(
                        "file of {}",
                        other.map_or_else(|e| e.as_bytes().len(), |t| t.len())
                    ),
                }
            };
            let mode = metadata.mode() & 0o7777;
            let (uid, gid, time) = (metadata.uid(), metadata.gid(), metadata.mtime());
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let is_made_here = kind.is_char_device() || time > 1_600_000_000;
            let time = if is_made_here {
                String::new()
            } else {
                format!(" {time}")
            };
            found.insert(name, format!("{what} {mode:o} {uid}:{gid}{time}"));
        }
    }
    found
}

fn opaque(dir: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::lgetxattr(dir, "trusted.overlay.opaque", &mut value) == Ok(1)
}

fn small(text: &str) -> Layer {
    let mut tar = Tar::new();
    tar.file(text, 0o644, text.as_bytes());
    Layer::plain(tar.finish())
}

#[test]
fn an_image_is_loaded_from_every_kind_of_archive() {
    let made = images::busybox();
    let zstd = |bytes: &[u8]| {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        compress_to_vec(bytes, CompressionLevel::Fastest)
    };
    let with_blob = |blob: Vec<u8>| {
        let mut made = made.clone();
        made.layers[0].blob = blob;
        made
    };
    let tar = &made.layers[0].tar;
    let (half, rest) = tar.split_at(tar.len() / 2);
    let skipped = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let archives = [
        ("docker, gzip", made.docker_save()),
        ("docker, plain", with_blob(tar.clone()).docker_save()),
        ("docker, zstd", with_blob(zstd(tar)).docker_save()),
        ("oci, gzip", made.oci_layout()),
        ("oci, plain", with_blob(tar.clone()).oci_layout()),
        ("oci, zstd", with_blob(zstd(tar)).oci_layout()),
        (
            "several gzip members",
            with_blob([images::gzip(half), images::gzip(rest)].concat()).oci_layout(),
        ),
        (
            "several zstd frames",
            with_blob([zstd(half), skipped.clone(), zstd(rest), skipped].concat()).oci_layout(),
        ),
        ("all of it gzip", images::gzip(&made.docker_save())),
        ("all of it zstd", zstd(&made.oci_layout())),
    ];
    let mut expected = None;
    for (name, archive) in archives {
        let fixture = Fixture::new();
        let image = fixture
            .load(&archive)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(image.id.to_string(), made.id(), "{name}");
        assert_eq!(image.layers.len(), 1);
        let tree = tree(&image.layers[0]);
        assert_eq!(tree["bin/sh"], "link busybox 777 0:0 1000000000");
        assert_eq!(tree["tmp"], "dir 1777 0:0 1000000000");
        assert!(tree["bin/busybox"].ends_with("755 0:0 1000000000"));
        assert_eq!(*expected.get_or_insert(tree.clone()), tree, "{name}");
        assert_eq!(fixture.scratch(), 0, "{name}");
    }
}

#[test]
fn what_an_image_says_about_running_it_is_handed_on() {
    let fixture = Fixture::new();
    let mut made = images::image(vec![small("a")]);
    made.config = json!({
        "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"], "Env": ["PATH=/bin", "EMPTY="],
        "User": "www", "WorkingDir": "/srv", "StopSignal": "SIGINT",
    });
    let config = fixture.load(&made.oci_layout()).unwrap().config;
    assert_eq!(config.entrypoint, ["/bin/sh"]);
    assert_eq!(config.cmd, ["-c", "true"]);
    let env = [("PATH", "/bin"), ("EMPTY", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(config.env, env);
    assert_eq!(
        (config.user.as_str(), config.working_dir.as_deref()),
        ("www", Some("/srv"))
    );
    assert_eq!(config.stop_signal, Some(2));
}

#[test]
fn a_second_start_reads_nothing() {
    let fixture = Fixture::new();
    let archive = fixture.archive("archive.tar", &images::busybox().docker_save());
    let settled = || {
        let changed = source::stamp(&File::open(&archive).unwrap()).unwrap();
        changed.is_settled(SystemTime::now())
    };
    let known = |store: &ImageStore| {
        let stamp = source::stamp(&File::open(&archive).unwrap()).unwrap();
        store.store.known(&stamp)
    };
    let first = fixture.store.load(&archive, None).unwrap();
    // Changed just before, it may change again without being noticed.
    assert_eq!(known(&fixture.store), None);
    while !settled() {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let started = std::time::Instant::now();
    fixture.store.load(&archive, None).unwrap();
    let read_again = started.elapsed();
    assert_eq!(known(&fixture.store), Some(first.id.0));
    let started = std::time::Instant::now();
    let again = fixture.store.load(&archive, None).unwrap();
    println!("read again {read_again:?}, known {:?}", started.elapsed());
    assert_eq!((again.id, &again.layers), (first.id, &first.layers));

    // Another life of the agent knows it too: the file's content may be whatever it is, as long as its state is the same.
    let reopened = ImageStore::open(&fixture.dir.path().join("images")).unwrap();
    assert_eq!(known(&reopened), Some(first.id.0));
    // A change of any kind is read.
    File::options()
        .append(true)
        .open(&archive)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(known(&reopened), None);
    fs::write(&archive, "something else").unwrap();
    assert!(reopened.load(&archive, None).is_err());
    // So is one of which a layer is gone.
    fs::write(&archive, images::busybox().docker_save()).unwrap();
    fs::remove_dir_all(&first.layers[0]).unwrap();
    fs::remove_dir_all(first.layers[0].parent().unwrap()).unwrap();
    let layers = reopened.load(&archive, None).unwrap().layers;
    assert!(layers[0].join("bin/busybox").is_file());
}

#[test]
fn an_archive_is_readable_to_whom_it_is_loaded_for() {
    let fixture = Fixture::new();
    let archive = fixture.archive(
        "archive.tar",
        &images::image(vec![small("a")]).docker_save(),
    );
    let closed = fixture.dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let inside = closed.join("archive.tar");
    fs::copy(&archive, &inside).unwrap();
    let own = |path: &Path, uid, gid, mode| {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let may = |path: &Path, user| match fixture.store.load(path, Some(user)) {
        Ok(_) => true,
        Err(error) => {
            assert!(
                matches!(
                    error,
                    ImageError::Archive {
                        fault: Fault::NotPermitted(_),
                        ..
                    }
                ),
                "{error}"
            );
            false
        }
    };
    // Owner, group and mode of the file; user and group that ask; whether they may.
    let cases = [
        ((0, 0, 0o600), (1000, 1000), false),
        ((0, 0, 0o640), (1000, 1000), false),
        ((0, 0, 0o644), (1000, 1000), true),
        ((0, 0, 0o604), (1000, 1000), true),
        ((0, 1000, 0o640), (1000, 1000), true),
        ((0, 1000, 0o604), (1000, 1000), false),
        ((1000, 1000, 0o400), (1000, 1000), true),
        ((1000, 1000, 0o044), (1000, 1000), false),
        ((1001, 1001, 0o600), (1000, 1000), false),
        ((1001, 1001, 0o600), (0, 0), true),
    ];
    for ((uid, gid, mode), user, expected) in cases {
        own(&archive, uid, gid, mode);
        assert_eq!(
            may(&archive, user),
            expected,
            "{uid}:{gid} {mode:o} for {user:?}"
        );
        // What was loaded for somebody else is not had by having its name.
        fixture.store.load(&archive, None).unwrap();
        assert_eq!(
            may(&archive, user),
            expected,
            "{uid}:{gid} {mode:o} for {user:?}, known"
        );
    }
    // The way to it counts too.
    own(&inside, 1000, 1000, 0o644);
    own(&closed, 0, 0, 0o700);
    assert!(!may(&inside, (1000, 1000)));
    own(&closed, 0, 0, 0o711);
    assert!(may(&inside, (1000, 1000)));
}

#[test]
fn entries_become_what_overlayfs_understands() {
    let fixture = Fixture::new();
    let mut tar = Tar::new();
    tar.entry("./", tar::EntryType::Directory, "", 0o755, &[]);
    tar.file("./a/b/c", 0o4755, b"setuid");
    tar.dir("d", 0o2775);
    tar.file("d/e", 0o2640, b"setgid");
    tar.file("d/.wh.gone", 0o000, b"");
    tar.file("d/.wh..wh..opq", 0o000, b"");
    tar.file("d/.wh..wh.plnk/1.2", 0o644, b"aufs");
    tar.hard_link("d/f", "/a/b/c");
    tar.symlink("d/g", "../../../etc/passwd");
    tar.hard_link("h", "d/g");
    tar.entry("dev/sda", tar::EntryType::Block, "", 0o666, &[]);
    tar.entry("dev/null", tar::EntryType::Char, "", 0o666, &[]);
    tar.entry("dev/pipe", tar::EntryType::Fifo, "", 0o666, &[]);
    tar.header(b"owned", tar::EntryType::Regular, b"", b"x", |header| {
        header.set_uid(1234);
        header.set_gid(4_294_967_294);
        header.set_mode(0o1600);
    });
    // A directory in place of what is hidden shows nothing of it; what this layer has is not hidden.
    tar.file(".wh.again", 0o000, b"");
    tar.dir("again", 0o700);
    tar.dir("before", 0o700);
    tar.file(".wh.before", 0o000, b"");
    tar.file("kept", 0o600, b"kept");
    tar.file(".wh.kept", 0o600, b"");
    tar.file("old/", 0o711, b"");
    let time = " 1000000000";
    let expected = [
        ("a", "dir 755 0:0".to_owned()),
        ("a/b", "dir 755 0:0".to_owned()),
        ("a/b/c", format!("file setuid 755 0:0{time}")),
        ("d", format!("dir opaque 2775 0:0{time}")),
        ("d/e", format!("file setgid 640 0:0{time}")),
        ("d/gone", "device 0 0 0:0".to_owned()),
        ("d/f", format!("file setuid 755 0:0{time}")),
        ("d/g", format!("link ../../../etc/passwd 777 0:0{time}")),
        ("h", format!("link ../../../etc/passwd 777 0:0{time}")),
        ("owned", format!("file x 1600 1234:4294967294{time}")),
        ("again", format!("dir opaque 700 0:0{time}")),
        ("before", format!("dir opaque 700 0:0{time}")),
        ("kept", format!("file kept 600 0:0{time}")),
        ("old", format!("dir 711 0:0{time}")),
    ];
    let expected: BTreeMap<String, String> = expected
        .into_iter()
        .map(|(name, what)| (name.to_owned(), what))
        .collect();
    assert_eq!(fixture.tree(tar), expected);
}

#[test]
fn of_several_entries_with_one_name_the_last_counts() {
    let fixture = Fixture::new();
    let mut tar = Tar::new();
    tar.file("a", 0o644, b"first");
    tar.hard_link("linked", "a");
    tar.file("a", 0o600, b"second");
    tar.symlink("b", "/etc");
    tar.dir("b", 0o755);
    tar.file("b/passwd", 0o644, b"ours");
    tar.dir("c", 0o755);
    tar.symlink("c", "b");
    tar.file("d", 0o644, b"file");
    tar.dir("d", 0o755);
    tar.dir("e", 0o700);
    tar.file("e/f", 0o644, b"stays");
    tar.dir("e", 0o711);
    let tree = fixture.tree(tar);
    let kinds: Vec<(&str, &str)> = tree
        .iter()
        .map(|(name, what)| (name.as_str(), what.strip_suffix(" 0:0 1000000000").unwrap()))
        .collect();
    let expected = [
        ("a", "file second 600"),
        ("b", "dir 755"),
        ("b/passwd", "file ours 644"),
        ("c", "link b 777"),
        ("d", "dir 755"),
        ("e", "dir 711"),
        ("e/f", "file stays 644"),
        ("linked", "file first 644"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn long_names_and_attributes_come_through() {
    let fixture = Fixture::new();
    let mut tar = Tar::new();
    let long = ["directory"; 30].join("/");
    tar.file(&long, 0o644, b"gnu");
    tar.symlink("to", &long);
    let pax = format!("{}/pax", ["other"; 40].join("/"));
    let large = 3_000_000_000_u32.to_string();
    tar.pax(&[
        ("path", pax.as_bytes()),
        ("uid", large.as_bytes()),
        ("SCHILY.xattr.user.kept", b"yes"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.capability", b"\x01\x00\x00\x02all"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.system.posix_acl_access", b""),
    ]);
    tar.file("short", 0o644, b"pax");
    let made = images::image(vec![Layer::gzip(tar.finish())]);
    let image = fixture.load(&made.docker_save()).unwrap();
    let tree = tree(&image.layers[0]);
    assert_eq!(tree[&long], "file gnu 644 0:0 1000000000");
    assert_eq!(tree["to"], format!("link {long} 777 0:0 1000000000"));
    assert_eq!(tree[&pax], "file pax 644 3000000000:0 1000000000");
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(image.layers[0].join(&pax), &mut names[..]).unwrap();
    assert_eq!(&names[..len], b"user.kept\0");
}

#[test]
fn a_layer_that_is_used_twice_is_mounted_once() {
    let fixture = Fixture::new();
    let made = images::image(vec![small("a"), small("b"), small("a"), small("c")]);
    let image = fixture.load(&made.oci_layout()).unwrap();
    let names: Vec<String> = image
        .layers
        .iter()
        .map(|layer| tree(layer).into_keys().collect())
        .collect();
    assert_eq!(names, ["b", "a", "c"]);
    assert_eq!(fixture.layers(), 3);
}

#[test]
fn the_image_for_this_host_is_chosen() {
    let host = images::host_architecture();
    let other = if host == "arm64" { "amd64" } else { "arm64" };
    let of = |architecture: &str, name: &str| Made {
        architecture: architecture.to_owned(),
        ..images::image(vec![small(name)])
    };
    let (ours, theirs) = (of(host, "ours"), of(other, "theirs"));
    let fixture = Fixture::new();
    let id = |archive: &[u8]| {
        let loaded = fixture.load(archive);
        loaded
            .map(|image| image.id.to_string())
            .map_err(|error| error.to_string())
    };
    let both = [theirs.clone(), ours.clone()];
    assert_eq!(id(&images::docker_save(&both)), Ok(ours.id()));
    assert_eq!(id(&images::oci_layout(&both)), Ok(ours.id()));
    // By the platforms that an index within the index gives: what is for others need not be in the archive.
    let mut layout = images::Layout::new();
    let mut mine = layout.image(&ours);
    mine["platform"] = json!({ "os": "linux", "architecture": host });
    let missing = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 10,
        "digest": images::digest(b"not there"), "platform": { "os": "linux", "architecture": other },
    });
    let mut attached = missing.clone();
    attached["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let index = layout.index(&[missing.clone(), mine, attached.clone()]);
    assert_eq!(id(&layout.finish(&[index])), Ok(ours.id()));

    let path = fixture.dir.path().join("archive.tar");
    let not_ours = Err(format!(
        "{}: the image is made for linux/{other}, and this host is linux/{host}",
        path.display()
    ));
    assert_eq!(id(&theirs.docker_save()), not_ours);
    assert_eq!(id(&theirs.oci_layout()), not_ours);
    let mut layout = images::Layout::new();
    let index = layout.index(&[missing, attached]);
    assert_eq!(id(&layout.finish(&[index])), not_ours);

    let two = [ours.clone(), of(host, "mine too")];
    let which = Err(format!(
        "{}: the archive holds 2 images for this host; save one alone",
        path.display()
    ));
    assert_eq!(id(&images::docker_save(&two)), which);
    assert_eq!(id(&images::oci_layout(&two)), which);
    // One image with two names is one.
    assert_eq!(
        id(&images::docker_save(&[ours.clone(), ours.clone()])),
        Ok(ours.id())
    );
}

#[test]
fn users_are_read_through_layers_links_and_whiteouts() {
    let fixture = Fixture::new();
    let passwd = |tar: &mut Tar, name: &str, uid: u32| {
        tar.file(
            name,
            0o600,
            format!("www:x:{uid}:{uid}::/:/bin/sh\n").as_bytes(),
        );
    };
    let layers = |change: fn(&mut Tar)| {
        let mut bottom = Tar::new();
        bottom.dir("etc", 0o755);
        passwd(&mut bottom, "etc/passwd", 1);
        passwd(&mut bottom, "usr/passwd", 2);
        bottom.file("etc/group", 0o644, b"log:x:9:www\n");
        let mut top = Tar::new();
        change(&mut top);
        let layers = vec![Layer::plain(bottom.finish()), Layer::plain(top.finish())];
        fixture.load(&images::image(layers).docker_save()).unwrap()
    };
    let uid = |image: &Image| resolve_user(&image.layers, "www").map(|user| user.uid).ok();
    assert_eq!(uid(&layers(|tar| tar.file("other", 0o644, b""))), Some(1));
    assert_eq!(
        uid(&layers(|tar| tar.file("etc/.wh.passwd", 0o644, b""))),
        None
    );
    assert_eq!(uid(&layers(|tar| tar.file(".wh.etc", 0o644, b""))), None);
    assert_eq!(
        uid(&layers(|tar| tar.file("etc/.wh..wh..opq", 0o644, b""))),
        None
    );
    assert_eq!(
        uid(&layers(|tar| tar.symlink("etc/passwd", "../usr/passwd"))),
        Some(2)
    );
    assert_eq!(
        uid(&layers(
            |tar| tar.symlink("etc/passwd", "../../../../usr/./passwd")
        )),
        Some(2)
    );
    assert_eq!(
        uid(&layers(|tar| tar.symlink("etc/passwd", "/usr/passwd"))),
        Some(2)
    );
    assert_eq!(uid(&layers(|tar| tar.symlink("etc", "usr"))), Some(2));
    assert_eq!(
        uid(&layers(|tar| tar.symlink("etc/passwd", "passwd"))),
        None
    );
    assert_eq!(uid(&layers(|tar| tar.dir("etc/passwd", 0o755))), None);
    assert_eq!(uid(&layers(|tar| tar.file("etc", 0o755, b""))), None);
    // The host has this file, and a user `root` in it.
    let image = layers(|tar| tar.symlink("etc/passwd", "/../../../../../../etc/hostname"));
    assert!(resolve_user(&image.layers, "root").is_err());
    let image = layers(|_| {});
    let user = resolve_user(&image.layers, "www").unwrap();
    assert_eq!((user.uid, user.gid, user.additional_gids), (1, 1, vec![9]));
    let large = layers(|tar| tar.file("etc/passwd", 0o644, &vec![b'a'; 2 * 1024 * 1024]));
    let error = resolve_user(&large.layers, "www").unwrap_err().to_string();
    assert_eq!(
        error,
        "user `www` of the image: /etc/passwd of the image cannot be used: it is too large"
    );
}

#[test]
fn images_go_when_room_is_wanted_and_not_while_they_are_used() {
    let fixture = Fixture::new();
    let load = |name: &str| {
        let made = images::image(vec![small("base"), small(name)]);
        let image = fixture.load(&made.docker_save()).unwrap();
        let config = fixture
            .dir
            .path()
            .join("images/configs")
            .join(image.id.to_string());
        (image, config)
    };
    let (a, a_config) = load("a");
    let (b, b_config) = load("b");
    let (c, c_config) = load("c");
    let age = |config: &Path, seconds| {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options()
            .append(true)
            .open(config)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    let collect = |in_use: &[ImageId], len_max| {
        let in_use = in_use.iter().map(|id| id.0).collect();
        let collected = fixture.store.store.collect(&in_use, len_max).unwrap();
        (collected.images, collected.layers)
    };
    age(&a_config, 300);
    age(&b_config, 200);
    age(&c_config, 100);
    assert_eq!(fixture.layers(), 4);
    assert_eq!(
        fixture.store.collect(&BTreeSet::new()).unwrap(),
        Collected::default()
    );
    // All of them are in hand.
    assert_eq!(collect(&[], 0), (0, 0));
    let (a_id, c_layers) = (a.id, c.layers.clone());
    drop((a, b, c));
    assert_eq!(collect(&[a_id], 3 * 8192), (1, 1));
    assert!(!b_config.exists() && a_config.exists() && c_config.exists());
    assert_eq!(collect(&[], 2 * 8192), (1, 1));
    assert!(!a_config.exists());
    assert!(c_layers.iter().all(|layer| layer.is_dir()));
    assert_eq!(collect(&[], 0), (1, 2));
    assert_eq!((fixture.layers(), fixture.scratch()), (0, 0));
    // And may come back.
    load("a");
    assert_eq!(fixture.layers(), 2);
}

#[test]
fn nobody_else_enters_the_store() {
    let fixture = Fixture::new();
    let mode = fs::metadata(fixture.dir.path().join("images"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

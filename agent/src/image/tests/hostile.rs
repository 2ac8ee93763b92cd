//! Bad archives: each is refused in words, nothing is made outside of its place, and nothing of it is left.

use proptest::prelude::*;
use serde_json::Value;
use tar::EntryType::{self, Directory, Regular, Symlink};

use super::*;

/// Beside the store: what an archive must neither change nor show.
const SECRET: &str = "the agent's own";

/// A bad entry, and how what is said of it ends.
type Case = (fn(&mut Tar), &'static str);

const LEAVES: &str = "leaves the image";
const THROUGH: &str = "goes through what is not a directory";
const NOT_THERE: &str = "is a hard link to what is not a file of this layer";

/// A fixture with things to break into.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), SECRET).unwrap();
    fixture
}

/// Loads it; the error, without the file's name. Nothing is left of it, and nothing else was touched.
fn refused(fixture: &Fixture, archive: &[u8]) -> String {
    let before = around(fixture);
    let error = fixture.load(archive).expect_err("it is loaded").to_string();
    assert_eq!(around(fixture), before, "{error}");
    assert_eq!((fixture.layers(), fixture.scratch()), (0, 0), "{error}");
    assert!(!error.contains(SECRET), "{error}");
    let path = fixture.dir.path().join("archive.tar");
    let said = error.strip_prefix(&format!("{}: ", path.display()));
    said.unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// What is beside the store and the archive.
fn around(fixture: &Fixture) -> BTreeMap<String, String> {
    let mut around = tree(fixture.dir.path());
    around.retain(|name, _| !name.starts_with("images") && name != "archive.tar");
    around
}

fn one_layer(layer: Vec<u8>) -> Vec<u8> {
    images::image(vec![Layer::plain(layer)]).docker_save()
}

fn check_entries(cases: &[Case]) {
    let fixture = fixture();
    for (build, expected) in cases {
        let mut tar = Tar::new();
        build(&mut tar);
        let said = refused(&fixture, &one_layer(tar.finish()));
        assert!(said.starts_with("layer 1: entry `"), "{said}");
        assert!(said.ends_with(expected), "{said}\nexpected: {expected}");
    }
}

#[test]
fn nothing_leaves_the_image() {
    check_entries(&[
        (
            |tar| tar.file("../x", 0o644, b"x"),
            "`../x` leaves the image",
        ),
        (|tar| tar.file("a/../../x", 0o644, b"x"), LEAVES),
        (|tar| tar.file("a/..", 0o644, b"x"), LEAVES),
        (|tar| tar.file("/../x", 0o644, b"x"), LEAVES),
        (|tar| tar.dir("..", 0o777), LEAVES),
        (|tar| tar.dir("a/../../outside", 0o777), LEAVES),
        (|tar| tar.symlink("../a", "x"), LEAVES),
        (|tar| tar.file("../.wh.outside", 0o644, b""), LEAVES),
        (|tar| tar.file("../.wh..wh..opq", 0o644, b""), LEAVES),
        (|tar| tar.pax_file("a/../../x"), LEAVES),
        (
            |tar| tar.file(&format!("{}../../x", "a/".repeat(60)), 0o644, b"x"),
            LEAVES,
        ),
        (
            |tar| tar.hard_link("a", "../../../../outside/secret"),
            LEAVES,
        ),
        (|tar| tar.hard_link("../../../a", "b"), LEAVES),
    ]);
}

#[test]
fn nothing_goes_through_a_link() {
    check_entries(&[
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.file("a/passwd", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "..");
                tar.file("a/x", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "../../../../outside");
                tar.file("a/secret", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "b");
                tar.dir("b", 0o755);
                tar.file("a/x", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("b", "/");
                tar.symlink("a", "b");
                tar.dir("a/x", 0o755);
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.dir("a", 0o755);
                tar.symlink("a", "/etc");
                tar.file("a/x", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/");
                tar.file("a/b/c/d", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "a");
                tar.file("a/x", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.file("a/.wh.passwd", 0o644, b"");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.file("a/b/.wh..wh..opq", 0o644, b"");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.hard_link("a/b", "a");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.symlink("a/b", "x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.file("a", 0o644, b"x");
                tar.file("a/b", 0o644, b"x");
            },
            THROUGH,
        ),
        (
            |tar| {
                tar.symlink("a", "/etc");
                tar.hard_link("b", "a/passwd");
            },
            NOT_THERE,
        ),
        (
            |tar| {
                tar.symlink("a", "../../../../outside");
                tar.hard_link("b", "a/secret");
            },
            NOT_THERE,
        ),
    ]);
    // A link that is replaced is none any more: what comes after it is in the image.
    let fixture = fixture();
    let before = around(&fixture);
    let mut tar = Tar::new();
    tar.symlink("a", "../../../../outside");
    tar.entry("a", Directory, "", 0o755, &[]);
    tar.file("a/secret", 0o644, b"ours");
    tar.symlink("b", "../../../../outside");
    tar.file("b/.wh..wh.plnk", 0o644, b"");
    tar.file("b", 0o644, b"a file");
    tar.symlink("c", "../../../../outside/secret");
    tar.hard_link("d", "c");
    tar.file("c", 0o644, b"written");
    tar.file("/etc/passwd", 0o644, b"absolute");
    tar.hard_link("e", "/etc/passwd");
    let found = fixture.tree(tar);
    assert_eq!(found["a/secret"], "file ours 644 0:0 1000000000");
    assert_eq!(found["c"], "file written 644 0:0 1000000000");
    assert_eq!(
        found["d"],
        "link ../../../../outside/secret 777 0:0 1000000000"
    );
    assert_eq!(found["e"], "file absolute 644 0:0 1000000000");
    assert_eq!(around(&fixture), before);
}

#[test]
fn entries_that_no_image_has_are_refused() {
    let long = "takes the place of a directory";
    check_entries(&[
        (|tar| tar.hard_link("a", "missing"), NOT_THERE),
        (
            |tar| {
                tar.dir("a", 0o755);
                tar.hard_link("b", "a");
            },
            NOT_THERE,
        ),
        (
            |tar| {
                tar.file(".wh.a", 0o644, b"");
                tar.hard_link("b", "a");
            },
            NOT_THERE,
        ),
        (|tar| tar.hard_link("a", ""), NOT_THERE),
        (
            |tar| {
                tar.file("a", 0o644, b"");
                tar.hard_link("a", "./a");
            },
            "is a hard link to itself",
        ),
        (
            |tar| {
                tar.file("a/b", 0o644, b"");
                tar.file("a", 0o644, b"");
            },
            long,
        ),
        (
            |tar| {
                tar.file("a/b", 0o644, b"");
                tar.symlink("a", "/etc");
            },
            long,
        ),
        (
            |tar| {
                tar.file("a/b", 0o644, b"");
                tar.hard_link("a", "a/b");
            },
            long,
        ),
        (
            |tar| tar.file(".wh.", 0o644, b""),
            "removes what has no name",
        ),
        (
            |tar| tar.file(".wh..", 0o644, b""),
            "removes what has no name",
        ),
        (
            |tar| tar.file("a/.wh...", 0o644, b""),
            "removes what has no name",
        ),
        (
            |tar| tar.file(".wh.a/b", 0o644, b""),
            "is inside of what is removed",
        ),
        (
            |tar| tar.file(".wh..wh..opq", 0o644, b""),
            "hides all layers below its own",
        ),
        (|tar| tar.file(".", 0o644, b"x"), "is not a directory"),
        (|tar| tar.symlink("./", "/etc"), "is not a directory"),
        (
            |tar| tar.entry("a", Symlink, "", 0o777, &[]),
            "has a target that no link can have",
        ),
        (
            |tar| tar.symlink("a", &"x".repeat(4096)),
            "has a target that no link can have",
        ),
        (|tar| tar.pax_file("a\0b"), "has a zero byte in its path"),
        (
            |tar| tar.file(&"x".repeat(256), 0o644, b""),
            "has a name that is too long",
        ),
        (
            |tar| tar.file(&"x/".repeat(2050), 0o644, b""),
            "has a path that is too long",
        ),
        (
            |tar| tar.file(&"x/".repeat(101), 0o644, b""),
            "goes through too many directories",
        ),
        (
            |tar| {
                tar.header(b"a", Regular, b"", b"", |head| {
                    head.set_uid(u64::from(u32::MAX))
                })
            },
            "has an owner that no file can have",
        ),
        (
            |tar| tar.header(b"a", Directory, b"", b"", |head| head.set_gid(1 << 40)),
            "has an owner that no file can have",
        ),
        (
            |tar| {
                tar.header(b"a", Regular, b"", b"", |head| {
                    head.as_old_mut().mode = *b"bad mode"
                })
            },
            "has unreadable permissions",
        ),
        (
            |tar| tar.entry("a", EntryType::new(b'Z'), "", 0o644, b""),
            "is of a kind that images do not have",
        ),
        (
            |tar| tar.header(b"a", EntryType::GNUSparse, b"", b"", sparse),
            "is a sparse file",
        ),
        (
            |tar| {
                tar.pax(&[("GNU.sparse.realsize", b"1000000000000000")]);
                tar.file("a", 0o644, b"");
            },
            "is a sparse file",
        ),
        (
            |tar| {
                tar.pax(&[("SCHILY.xattr.user.", b"x")]);
                tar.file("a", 0o644, b"");
            },
            "has an attribute that no file can have",
        ),
        (
            |tar| {
                tar.pax(&[(&format!("SCHILY.xattr.user.{}", "x".repeat(300)), b"x")]);
                tar.file("a", 0o644, b"");
            },
            "has an attribute that no file can have",
        ),
    ]);
}

/// A sparse file of 8 GiB without content.
fn sparse(head: &mut tar::Header) {
    let gnu = head.as_gnu_mut().unwrap();
    gnu.realsize = *b"77777777777\0";
    gnu.sparse[0].offset = *b"77777777777\0";
    gnu.sparse[0].numbytes = *b"00000000000\0";
}

impl Tar {
    /// A file whose name only PAX can say.
    fn pax_file(&mut self, name: &str) {
        self.pax(&[("path", name.as_bytes())]);
        self.file("short", 0o644, b"x");
    }
}

#[test]
fn layers_that_lie_are_refused() {
    let fixture = fixture();
    let check = |build: &dyn Fn(&mut Tar), expected: &str| {
        let mut tar = Tar::new();
        build(&mut tar);
        let said = refused(&fixture, &one_layer(tar.finish()));
        assert!(said.contains(expected), "{said}\nexpected: {expected}");
    };
    let size = |len: u64| {
        move |tar: &mut Tar| tar.header(b"a", Regular, b"", b"x", |head| head.set_size(len))
    };
    check(&size(4096), "layer 1: its archive is truncated");
    check(&size(1 << 40), "layer 1: its archive is truncated");
    check(&size(u64::MAX), "layer 1: its archive is damaged");
    check(
        &|tar| {
            tar.pax(&[("size", b"1000000000000000")]);
            tar.file("a", 0o644, b"x");
        },
        "its archive is truncated",
    );
    check(
        &|tar| {
            tar.header(b"a", Regular, b"", b"", |head| {
                head.as_old_mut().size = *b"not a number"
            })
        },
        "is damaged",
    );
    check(
        &|tar| tar.entry("a", EntryType::GNULongName, "", 0o644, &vec![b'a'; 2 << 20]),
        "names or attributes that are too long",
    );
    check(
        &|tar| {
            tar.pax(&[("comment", &vec![b'a'; 2 << 20])]);
            tar.file("a", 0o644, b"x");
        },
        "names or attributes that are too long",
    );
    check(
        &|tar| tar.header(b"a", EntryType::GNUSparse, b"", b"", |_| {}),
        "is damaged",
    );
    let text = b"not a tar archive ".repeat(100);
    let said = refused(&fixture, &one_layer(text));
    assert_eq!(said, "layer 1: its archive is damaged");
    // Sound compression of something else, and unsound compression.
    for blob in [
        images::gzip(b"x"),
        vec![0x1f, 0x8b, 8, 0],
        vec![0x28, 0xb5, 0x2f, 0xfd, 9, 9],
    ] {
        let mut made = images::image(vec![small("a")]);
        made.layers[0].blob = blob;
        refused(&fixture, &made.docker_save());
        refused(&fixture, &made.oci_layout());
    }
    // Truncated compression.
    let mut made = images::image(vec![Layer::gzip(one_layer(vec![7; 50_000]))]);
    let len = made.layers[0].blob.len();
    made.layers[0].blob.truncate(len - 9);
    assert_eq!(
        refused(&fixture, &made.oci_layout()),
        "layer 1: its archive is truncated"
    );
}

#[test]
fn what_is_too_large_is_refused_early() {
    let mut fixture = fixture();
    let bomb = images::gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let mut big = Tar::new();
    big.file("a", 0o644, &vec![0; 3 << 20]);
    let big = big.finish();
    let many = |name: &str| {
        let mut many = Tar::new();
        for number in 0..30 {
            many.file(&format!("{name}/{number}"), 0o644, b"");
        }
        many.finish()
    };
    let mut implied = Tar::new();
    implied.file(&"x/".repeat(90), 0o644, b"");
    let implied = implied.finish();
    fixture.store.limits = Limits {
        archive_len: 8 << 20,
        len: 4 << 20,
        entries: 50,
    };
    let image = |layers: &[&[u8]]| {
        let layers = layers.iter().map(|layer| Layer::gzip(layer.to_vec()));
        images::image(layers.collect()).oci_layout()
    };
    let mut bombed = images::image(vec![Layer::gzip(vec![0; 64 << 20])]);
    bombed.layers[0].blob.clone_from(&bomb);
    let too_large = |layer: usize| {
        format!("the image is too large, in layer {layer}; the limit is 34359738368 bytes")
    };
    let files = "the image has too many files; the limit is 50";
    let archive = "the unzipped archive is too large; the limit is 8388608 bytes";
    let cases = [
        (bombed.oci_layout(), too_large(1)),
        (image(&[&big, &big]), too_large(2)),
        (image(&[&many("a"), &many("b")]), files.to_owned()),
        (image(&[&implied]), files.to_owned()),
        (bomb, archive.to_owned()),
    ];
    for (content, expected) in cases {
        assert_eq!(refused(&fixture, &content), expected);
    }
    fixture.load(&image(&[&big])).unwrap();
}

#[test]
fn archives_that_are_no_images_are_refused() {
    let fixture = fixture();
    let says = |content: &[u8], expected: &str| {
        let said = refused(&fixture, content);
        assert!(said.contains(expected), "{said}\nexpected: {expected}");
    };
    let tar = |files: &[(&str, &[u8])]| {
        let mut tar = Tar::new();
        files
            .iter()
            .for_each(|(name, content)| tar.file(name, 0o644, content));
        tar.finish()
    };
    let deep = "[".repeat(100_000);
    let large = vec![b' '; 5 << 20];
    says(b"", "it is not a tar archive");
    says(&[b'x'; 5000], "it is not a tar archive");
    says(
        &[0; 1024],
        "neither manifest.json nor an OCI layout is in it",
    );
    says(&[0; 512], "it is not a tar archive");
    says(&images::gzip(b"x"), "it is not a tar archive");
    says(
        &tar(&[("a", b"x")]),
        "neither manifest.json nor an OCI layout is in it",
    );
    says(
        &tar(&[("oci-layout", b"{}")]),
        "neither manifest.json nor an OCI layout is in it",
    );
    says(
        &tar(&[("manifest.json", b"{}")]),
        "manifest.json cannot be read, at line 1",
    );
    says(&tar(&[("manifest.json", b"[]")]), "no image is in it");
    says(
        &tar(&[("manifest.json", deep.as_bytes())]),
        "manifest.json cannot be read",
    );
    says(
        &tar(&[("manifest.json", &large)]),
        "manifest.json has 5242880 bytes; the limit is 4194304 bytes",
    );
    says(
        &tar(&[("manifest.json", br#"[{"Config":"../../outside/secret"}]"#)]),
        "the configuration `../../outside/secret` is not in the archive",
    );
    says(
        &tar(&[("manifest.json", br#"[{"Config":"/etc/passwd"}]"#)]),
        "the configuration `/etc/passwd` is not in the archive",
    );
    says(
        &tar(&[("c", b"{}"), ("manifest.json", br#"[{"Config":"c"}]"#)]),
        "its configuration cannot be read",
    );
    says(
        &tar(&[
            ("c", b"{}"),
            (
                "manifest.json",
                br#"[{"Config":"c","Layers":["\u001b[31m`x"]}]"#,
            ),
        ]),
        "the layer `\\u{1b}[31m`x` is not in the archive",
    );
    let mut links = Tar::new();
    links.symlink("c", "d");
    links.symlink("d", "c");
    links.file("manifest.json", 0o644, br#"[{"Config":"c"}]"#);
    says(
        &links.finish(),
        "the configuration `c` is not in the archive",
    );
    let mut crowd = Tar::new();
    (0..10_001).for_each(|number| crowd.file(&number.to_string(), 0o644, b""));
    says(
        &crowd.finish(),
        "the archive has too many files; the limit is 10000",
    );
    let mut named = Tar::new();
    named.entry("a", EntryType::GNULongName, "", 0o644, &vec![b'a'; 2 << 20]);
    says(&named.finish(), "a name that is too long");

    says(&images::image(vec![]).docker_save(), "it has no layers");
    says(
        &images::image(vec![small("a"); 129]).docker_save(),
        "the image has 129 layers; the limit is 128",
    );
    let many: Vec<Made> = vec![images::image(vec![small("a")]); 65];
    says(
        &images::docker_save(&many),
        "the archive has too many images; the limit is 64",
    );
    says(
        &images::oci_layout(&many),
        "the archive has too many images; the limit is 64",
    );

    let path = fixture.dir.path();
    let at = |path: &Path| {
        fixture
            .store
            .load(path, None)
            .map(|image| image.id)
            .unwrap_err()
            .to_string()
    };
    assert!(at(path).ends_with("this is not a file"));
    assert!(at(&path.join("missing")).contains("No such file"));
    let fifo = path.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert!(at(&fifo).ends_with("this is not a file"));
    assert!(at(Path::new("/dev/zero")).ends_with("this is not a file"));
    assert!(at(Path::new("/proc/self/fd/0")).contains("the image cannot be read"));
    assert!(at(Path::new("/proc/self/status")).contains("it is not a tar archive"));
}

#[test]
fn digests_are_checked() {
    let fixture = fixture();
    let made = images::image(vec![small("a"), small("b")]);
    let digest = images::digest(&made.layers[1].tar);
    // The configuration names another second layer.
    let mut other = made.clone();
    other.layers[1].blob = small("c").tar;
    let expected = format!(
        "layer 2 has another digest than the image says (`{digest}`): the archive is damaged"
    );
    assert_eq!(refused(&fixture, &other.docker_save()), expected);
    assert_eq!(refused(&fixture, &other.oci_layout()), expected);
    // Bytes behind the end of the layer's archive count too.
    other.layers[1].blob = [&made.layers[1].tar[..], b"more"].concat();
    assert_eq!(refused(&fixture, &other.docker_save()), expected);
    // Naming a layer that is there already is not having it.
    let there = fixture.load(&made.docker_save()).unwrap();
    assert_eq!(there.layers.len(), 2);
    let said = fixture.load(&other.docker_save()).unwrap_err().to_string();
    assert!(said.ends_with(&expected), "{said}");
    drop(there);

    // Any byte of any part of an OCI layout.
    let fixture = super::hostile::fixture();
    let archive = made.oci_layout();
    for (name, offset) in offsets(&archive) {
        if !name.starts_with("blobs/") {
            continue;
        }
        let mut bad = archive.clone();
        bad[offset] ^= 1;
        let said = refused(&fixture, &bad);
        let is_said = ["another digest", "cannot be read", "damaged"]
            .iter()
            .any(|word| said.contains(word));
        assert!(is_said, "{name}: {said}");
    }
    for bad in [
        "sha256:../../../outside/secret",
        "sha512:00",
        "sha256:",
        "/etc/passwd",
    ] {
        let mut layout = images::Layout::new();
        let mut descriptor = layout.image(&made);
        descriptor["digest"] = Value::from(bad);
        let said = refused(&fixture, &layout.finish(&[descriptor]));
        assert!(
            said.contains("cannot be read") || said.contains("is not a SHA-256 digest"),
            "{said}"
        );
    }
    let mut layout = images::Layout::new();
    let mut descriptor = layout.image(&made);
    for _ in 0..5 {
        descriptor = layout.index(&[descriptor]);
    }
    let said = refused(&fixture, &layout.finish(&[descriptor]));
    assert_eq!(
        said,
        "the archive has too many indexes within indexes; the limit is 4"
    );
}

/// The files of an archive, and where their content begins.
fn offsets(archive: &[u8]) -> Vec<(String, usize)> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.path().unwrap().display().to_string();
            (name, usize::try_from(entry.raw_file_position()).unwrap())
        })
        .collect()
}

/// An entry of a random layer: few names, so that they meet one another.
fn any_entry() -> impl Strategy<Value = (String, u8, String, u32, u8)> {
    let part = prop_oneof![
        4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 1 => Just(".."), 1 => Just("."), 1 => Just(""),
        1 => Just(".wh.a"), 1 => Just(".wh..wh..opq"), 1 => Just(".wh..."),
    ];
    let path = || prop::collection::vec(part.clone(), 1..5).prop_map(|parts| parts.join("/"));
    let target = prop_oneof![
        3 => path(), 1 => Just("../../../../outside".to_owned()),
        1 => Just("../../../../outside/secret".to_owned()), 1 => Just("/".to_owned()),
    ];
    let kind = prop_oneof![
        4 => Just(b'0'), 4 => Just(b'5'), 3 => Just(b'2'), 2 => Just(b'1'), 1 => Just(b'3'), 1 => any::<u8>(),
    ];
    (path(), kind, target, any::<u32>(), any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_entries_touches_what_is_outside(entries in prop::collection::vec(any_entry(), 1..30)) {
        let fixture = fixture();
        let before = around(&fixture);
        let mut tar = Tar::new();
        for (name, kind, target, mode, len) in entries {
            let content = vec![b'x'; usize::from(if kind == b'0' { len } else { 0 })];
            tar.entry(&name, EntryType::new(kind), &target, mode & 0o7777, &content);
        }
        let loaded = fixture.load(&one_layer(tar.finish()));
        prop_assert_eq!(around(&fixture), before);
        prop_assert_eq!(fixture.scratch(), 0);
        prop_assert_eq!(fixture.layers(), usize::from(loaded.is_ok()));
        // Nothing of the image is a device but what hides, and nothing has privileges.
        for (name, what) in loaded.iter().flat_map(|image| tree(&image.layers[0])) {
            let is_plain = what.starts_with("device 0 ") || !what.starts_with("device");
            prop_assert!(is_plain, "{}: {}", name, what);
            let mode = what.split(' ').rev().find_map(|word| u32::from_str_radix(word, 8).ok());
            prop_assert!(!what.starts_with("file") || mode.is_some_and(|mode| mode & 0o6000 == 0), "{}: {}", name, what);
        }
    }

    #[test]
    fn random_bytes_are_an_error_and_nothing_else(
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let fixture = fixture();
        let before = around(&fixture);
        let mut tar = Tar::new();
        tar.dir("a", 0o755);
        tar.file(&"long/".repeat(30), 0o644, b"content");
        tar.pax(&[("path", b"a/pax"), ("size", b"4"), ("SCHILY.xattr.user.a", b"b")]);
        tar.file("b", 0o644, b"text");
        tar.symlink("c", "../../../../outside");
        tar.hard_link("d", "b");
        let mut layer = tar.finish();
        for (place, value) in places {
            let place = place.index(layer.len());
            layer[place] = value;
        }
        let compressed = |magic: &[u8]| [magic, &bytes].concat();
        let mut made = images::image(vec![Layer::plain(layer)]);
        let mut loads = vec![made.docker_save(), bytes.clone()];
        for magic in [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &[0x28, 0xb5, 0x2f, 0xfd]] {
            made.layers[0].blob = compressed(magic);
            loads.push(made.docker_save());
            loads.push(compressed(magic));
        }
        for (number, archive) in loads.iter().enumerate() {
            let loaded = fixture.load(archive);
            prop_assert!(number == 0 || loaded.is_err());
            prop_assert_eq!(&around(&fixture), &before);
            prop_assert_eq!(fixture.scratch(), 0);
        }
    }
}

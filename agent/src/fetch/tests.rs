//! Archives and redirects as hostile or hasty senders make them.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tar::{Builder, EntryType, Header};
use tokio::time::{Instant, timeout};

use super::archive::{self, Room};
use super::download::{Target, connect_to};
use super::finished;
use super::place::{Form, form_of};
use crate::image::tree::Tree;
use crate::limits::FETCH_TAR_REST_LEN_MAX;

/// A sandbox beside which there is something that nobody may touch.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("box")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        Self { dir }
    }

    fn sandbox(&self) -> std::path::PathBuf {
        self.dir.path().join("box")
    }

    fn unpack(&self, data: &[u8], room: &mut Room) -> Result<(), String> {
        let dir = std::fs::File::open(self.sandbox()).unwrap();
        let own = std::fs::metadata("/proc/self").unwrap();
        let owner = (own.uid(), own.gid());
        let mut tree = Tree::owned_by(OwnedFd::from(dir), owner);
        let result = match data.starts_with(b"PK") {
            false => archive::tar(data, &mut tree, room, owner),
            true => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(data).unwrap();
                archive::zip(file, &mut tree, room, owner)
            }
        };
        let beside: Vec<_> = std::fs::read_dir(self.dir.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "nothing is made beside the sandbox");
        let secret = std::fs::read(self.dir.path().join("secret")).unwrap();
        assert_eq!(secret, b"secret");
        result
    }
}

fn unpack(data: &[u8]) -> Result<(), String> {
    Stage::new().unpack(data, &mut Room::of(u64::MAX))
}

/// A tar archive of entries: kind, path, target or content, mode.
fn tar_of(entries: &[(EntryType, &str, &str, u32)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, rest, mode) in entries {
        let mut header = Header::new_ustar();
        // Not by the builder, which refuses some of these.
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let body = match kind {
            EntryType::Regular => rest.as_bytes(),
            _ => {
                header.as_old_mut().linkname[..rest.len()].copy_from_slice(rest.as_bytes());
                b""
            }
        };
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn an_archive_that_leaves_its_sandbox_is_refused_and_nothing_is_outside() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    for (entries, says) in [
        (
            vec![(Regular, "../secret", "x", 0o644)],
            "leaves the sandbox",
        ),
        (
            vec![(Regular, "a/../../secret", "x", 0o644)],
            "leaves the sandbox",
        ),
        (vec![(Regular, "/tmp/x", "x", 0o644)], "leaves the sandbox"),
        (vec![(Directory, "..", "", 0o755)], "leaves the sandbox"),
        (vec![(Symlink, "a", "/etc", 0o777)], "link that leaves"),
        (vec![(Symlink, "a", "..", 0o777)], "link that leaves"),
        (vec![(Symlink, "a/b", "../..", 0o777)], "link that leaves"),
        (vec![(Symlink, "a", "b/..", 0o777)], "link that may leave"),
        (vec![(Link, "a", "../secret", 0o644)], "link that leaves"),
        (vec![(Link, "a", "/etc/passwd", 0o644)], "link that leaves"),
        (
            vec![(Symlink, "d/l", "../x", 0o777), (Link, "l", "d/l", 0o644)],
            "hard link to what is not a file",
        ),
        (
            vec![(Symlink, "a", "b", 0o777), (Regular, "a/c", "x", 0o644)],
            "not a directory",
        ),
        (vec![(Regular, "su", "x", 0o4755)], "runs as its owner"),
        (vec![(Regular, "sg", "x", 0o2755)], "runs as its owner"),
        (vec![(Char, "null", "", 0o666)], "is a device"),
        (vec![(Block, "disk", "", 0o666)], "is a device"),
        (vec![(Fifo, "pipe", "", 0o666)], "is a pipe"),
    ] {
        let refused = unpack(&tar_of(&entries)).expect_err(says);
        assert!(refused.contains(says), "{entries:?}: {refused}");
    }
}

#[test]
fn an_archive_that_grows_too_much_or_has_too_many_files_is_refused() {
    let body = "0".repeat(1 << 20);
    let tar = tar_of(&[(EntryType::Regular, "a", &body, 0o644)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..1 {
        gzip.write_all(&tar).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 4_096);
    Stage::new().unpack(&bomb, &mut Room::of(1 << 20)).unwrap();
    let mut small = Room::limited(1 << 19, 10);
    let refused = Stage::new()
        .unpack(&bomb, &mut small)
        .expect_err("too large");
    assert!(refused.contains("becomes too large"), "{refused}");
    let many: Vec<_> = (0..11).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (EntryType::Regular, name.as_str(), "", 0o644))
        .collect();
    let mut few = Room::limited(1 << 20, 10);
    let refused = Stage::new()
        .unpack(&tar_of(&many), &mut few)
        .expect_err("too many");
    assert!(refused.contains("files"), "{refused}");
}

#[test]
fn what_is_cut_off_or_damaged_is_refused_at_every_byte() {
    let whole = tar_of(&[(EntryType::Regular, "a", &"x".repeat(2_000), 0o644)]);
    for len in (1..2_500).step_by(97) {
        let _ = unpack(&whole[..len]);
        let mut bent = whole.clone();
        bent[len] ^= 0x55;
        let _ = unpack(&bent);
    }
    for magic in [
        &b"BZh9"[..],
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        &[0x1f, 0x8b],
        b"PK",
    ] {
        let bytes = [magic, &[7; 100]].concat();
        unpack(&bytes).expect_err("damaged");
    }
}

#[test]
fn links_that_stay_inside_are_made() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let stage = Stage::new();
    let tar = tar_of(&[
        (Directory, "./", "", 0o755),
        (Directory, "d/e", "", 0o500),
        (Regular, "d/e/file", "one", 0o755),
        (Symlink, "d/up", "../top", 0o777),
        (Symlink, "in", "d/e/file", 0o777),
        (Link, "top", "d/e/file", 0o644),
    ]);
    stage.unpack(&tar, &mut Room::of(u64::MAX)).unwrap();
    for name in ["d/e/file", "d/up", "in", "top"] {
        let text = std::fs::read_to_string(stage.sandbox().join(name)).unwrap();
        assert_eq!(text, "one", "{name}");
    }
    // What is there is replaced, also by an attempt that comes again.
    stage.unpack(&tar, &mut Room::of(u64::MAX)).unwrap();
}

#[test]
fn a_name_says_what_kind_of_archive_it_is() {
    for (name, form) in [
        ("a.tar", Form::Tar),
        ("a.TGZ", Form::Tar),
        ("a.tar.zst", Form::Tar),
        ("a.zip", Form::Zip),
        ("a.gz", Form::Gzip),
        ("a.jar", Form::Plain),
        ("a", Form::Plain),
    ] {
        assert_eq!(form_of(name), Ok(form), "{name}");
    }
    for name in ["a.rar", "a.7z", "a.bz2", "a.xz"] {
        let ending = Path::new(name).extension().unwrap().to_str().unwrap();
        assert!(form_of(name).unwrap_err().contains(ending));
    }
}

#[test]
fn redirects_lead_where_they_say_and_never_out_of_http() {
    let from = |uri: &str, to: &str| Target::parse(uri).unwrap().follow(to);
    let same = |uri: &str, to: &str, there: &str| {
        assert_eq!(from(uri, to), Target::parse(there), "{to}");
    };
    same("http://h/a/b?c", "d", "http://h/a/d");
    same("http://h/a/b", "../d?e=http://x", "http://h/d?e=http://x");
    same("http://h:1/a/b", "/d", "http://h:1/d");
    same("https://h/a", "//i/d", "https://i/d");
    same("http://h/a", "https://i/d", "https://i/d");
    for to in [
        "file:///etc/passwd",
        "gopher://h/",
        "javascript:x",
        "ftp://h/a",
        "http://u:p@h/",
        "http://h:0/",
        "http://",
    ] {
        from("http://h/a", to).expect_err(to);
    }
    from("https://h/a", "http://h/a").expect_err("not encrypted");
    for uri in [
        "http://h:/",
        "http://:1/",
        "http://u@h/",
        "https://",
        "h/a",
        "http://h:99999/",
    ] {
        Target::parse(uri).expect_err(uri);
    }
}

/// Where nobody answers, whoever asks: the connections that it has taken are waited for by nobody.
async fn silent() -> (OwnedFd, Vec<tokio::net::TcpStream>, SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut taken = Vec::new();
    let patience = Duration::from_millis(200);
    while let Ok(stream) = timeout(patience, tokio::net::TcpStream::connect(address)).await {
        taken.push(stream.unwrap());
        assert!(taken.len() < 10, "it takes them all");
    }
    (listener, taken, address)
}

#[tokio::test]
async fn an_address_that_is_silent_leaves_time_for_the_others() {
    let (_listener, _taken, silent) = silent().await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = server.local_addr().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let end = || Instant::now() + Duration::from_secs(4);
    let connected = connect_to(&[closed, silent, there], true, end()).await;
    assert_eq!(connected.unwrap().peer_addr().unwrap(), there);
    let why = connect_to(&[closed, silent], true, end()).await;
    let why = why.unwrap_err().unwrap();
    assert!(why.contains("cannot be reached in time"), "{why}");
    let why = connect_to(&[there], false, end()).await.unwrap_err();
    assert!(why.unwrap().contains("is this host"));
    assert_eq!(connect_to(&[], true, end()).await.unwrap_err(), None);
}

#[test]
fn what_is_skipped_in_an_archive_is_not_for_nothing() {
    // Of a global header nothing is kept, however long it is.
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XGlobalHeader);
    header.set_size(FETCH_TAR_REST_LEN_MAX + (1 << 20));
    header.set_cksum();
    let skipped = std::io::repeat(b'0').take(FETCH_TAR_REST_LEN_MAX + (1 << 20));
    let archive = std::io::Cursor::new(header.as_bytes().to_vec()).chain(skipped);
    let stage = Stage::new();
    let dir = std::fs::File::open(stage.sandbox()).unwrap();
    let mut tree = Tree::owned_by(OwnedFd::from(dir), (0, 0));
    let mut room = Room::limited(1 << 10, 10);
    let refused = archive::tar(archive, &mut tree, &mut room, (0, 0)).unwrap_err();
    assert!(refused.contains("becomes too large"), "{refused}");
}

#[test]
fn a_zip_archive_with_too_many_files_is_refused_before_they_are_read() {
    let directory = b"PK\x01\x02".repeat(100);
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend([11, 0, 11, 0, 144, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let archive = [directory, end].concat();
    let unpack = |entries| Stage::new().unpack(&archive, &mut Room::limited(1 << 20, entries));
    let refused = unpack(10).unwrap_err();
    assert!(refused.contains("more than 10 files"), "{refused}");
    let damaged = unpack(11).unwrap_err();
    assert!(damaged.contains("damaged"), "{damaged}");
}

#[tokio::test]
async fn a_download_is_good_though_the_agent_starts_other_things_when_it_ends() {
    let is_over = Arc::new(AtomicBool::new(false));
    let starters: Vec<_> = (0..2)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    Command::new("/bin/true").status().unwrap();
                }
            })
        })
        .collect();
    let mut refused = Vec::new();
    for _ in 0..300 {
        let file = tempfile::tempfile().unwrap();
        refused.extend(finished(file).await.err());
    }
    is_over.store(true, Ordering::Relaxed);
    starters.into_iter().for_each(|one| one.join().unwrap());
    assert!(refused.is_empty(), "{} of 300", refused.len());

    // The same for certain: somebody has it when it is first looked at, and soon no more.
    let file = tempfile::tempfile().unwrap();
    let held = file.try_clone().unwrap();
    let finish = finished(file);
    tokio::pin!(finish);
    assert!(futures::poll!(finish.as_mut()).is_pending());
    drop(held);
    finish.await.unwrap();
    let file = tempfile::tempfile().unwrap();
    let _held = file.try_clone().unwrap();
    let why = finished(file).await.unwrap_err().why;
    assert!(why.contains("still writes it"), "{why}");
}

//! What tasks have fetched: URIs, where redirects lead, and archives that are unpacked into a sandbox.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proffer_agent::parsers::{follow_redirect, place_fetched, read_uri};
use proffer_model::fetch::check_fetches;
use proffer_model::{Fetch, FetchSource};

use crate::expect::text;
use crate::files::{files_beneath, scratch};
use crate::image::{gzip, layer_of};
use crate::input::Input;

/// Bytes and files that an archive may become here.
const BYTES_MAX: u64 = 64 * 1024;
const ENTRIES_MAX: usize = 20;
/// Characters of what is said about an archive: a path may have 4 KiB, of which a part is repeated.
const FAULT_LEN_MAX: usize = 2_000;

/// An archive, as it is or built of choices: what is made of it is in the sandbox, plain, and no more than it may be.
pub(crate) fn fetch_archive(data: &[u8]) {
    let (name, archive) = match data.split_first() {
        Some((0, raw)) => ("a.tar", raw.to_vec()),
        Some((1, raw)) => ("a.zip", raw.to_vec()),
        Some((2, raw)) => ("a.gz", raw.to_vec()),
        Some((3, raw)) => ("a.gz", gzip(raw)),
        Some((4, choices)) => ("a.tgz", gzip(&layer_of(&mut Input::new(choices)))),
        Some((5, choices)) => ("a.zip", zip_of(&mut Input::new(choices))),
        Some((_, choices)) => ("a.tar", layer_of(&mut Input::new(choices))),
        None => return,
    };
    let outer = scratch();
    fs::write(outer.path().join("kept"), "kept").expect("a file");
    let root = outer.path().join("root");
    fs::create_dir(&root).expect("a directory");
    let handle = File::open(&root).expect("a handle").into();
    let placed = place_fetched(&archive, name, handle, (BYTES_MAX, ENTRIES_MAX));
    if let Err(why) = placed {
        assert!((1..=FAULT_LEN_MAX).contains(&why.len()), "{why:.300}");
    }
    let beside = fs::read_dir(outer.path()).expect("readable").count();
    assert_eq!(beside, 2, "something was made beside the sandbox");
    let kept = fs::read_to_string(outer.path().join("kept")).expect("readable");
    assert_eq!(kept, "kept");
    let root = fs::canonicalize(&root).expect("there");
    let found = files_beneath(&root);
    // Directories on the way are not among the entries.
    assert!(found.len() <= ENTRIES_MAX * 8);
    let mut len = 0;
    for (path, metadata) in &found {
        let shown = path.display();
        let is_plain = metadata.is_file() || metadata.is_dir() || metadata.is_symlink();
        assert!(is_plain, "{shown} is of another kind");
        let is_privileged = !metadata.is_symlink() && metadata.mode() & 0o6000 != 0;
        assert!(!is_privileged, "{shown} runs as its owner");
        if metadata.is_file() && metadata.nlink() == 1 {
            len += metadata.len();
        }
        if metadata.is_symlink() {
            // It may lead to nothing, but to nothing outside.
            let path = root.join(path);
            let target = fs::canonicalize(&path);
            let is_inside = |target: &Path| target.starts_with(&root);
            assert!(target.is_ok_and(|target| is_inside(&target)) || leads_inside(&root, &path));
        }
    }
    assert!(len <= BYTES_MAX, "{len} bytes");
}

/// Whether a link that leads to nothing would stay beneath the root.
fn leads_inside(root: &Path, link: &Path) -> bool {
    let target = fs::read_link(link).expect("a link");
    let depth = link.strip_prefix(root).expect("beneath").components();
    let up = target.components().filter(|part| part.as_os_str() == "..");
    !target.is_absolute() && up.count() < depth.count()
}

/// A zip archive of stored files, and of what may be wrong with it.
fn zip_of(input: &mut Input<'_>) -> Vec<u8> {
    let names = [
        "a", "a/b", "a/", "../a", "/a", "", "a/../b", "l", "l/x", ".",
    ];
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let count = input.below(6);
    for _ in 0..count {
        let name = input.choice(&names).as_bytes();
        let body = input.some(12);
        let mode: u32 = input.choice(&[0o100_644, 0o120_777, 0o104_755, 0o020_644, 0o040_755, 0]);
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32(body).to_le_bytes());
        let len = u32::try_from(body.len()).expect("short").to_le_bytes();
        common.extend([len, len].concat());
        let name_len = u16::try_from(name.len()).expect("short");
        common.extend(name_len.to_le_bytes());
        common.extend([0, 0]);
        let at = u32::try_from(out.len()).expect("short");
        out.extend([b"PK\x03\x04", common.as_slice(), name, body].concat());
        directory.extend([b"PK\x01\x02\x14\x03", common.as_slice(), &[0; 6]].concat());
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend_from_slice(name);
    }
    let at = u32::try_from(out.len()).expect("short");
    let len = u32::try_from(directory.len()).expect("short");
    let said = if input.is_one_in(8) {
        input.byte()
    } else {
        u8::try_from(count).expect("few")
    };
    out.extend(directory);
    out.extend([b"PK\x05\x06".as_slice(), &[0, 0, 0, 0, said, 0, said, 0]].concat());
    out.extend([len.to_le_bytes(), at.to_le_bytes()].concat());
    out.extend([0, 0]);
    if input.is_one_in(4) {
        let at = input.below(out.len());
        out[at] ^= input.byte();
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A URI and where redirects lead from it: what is understood is understood the same again, and nothing leads out of HTTP, or
/// from an encrypted connection to one that is not.
pub(crate) fn fetch_uri(data: &[u8]) {
    let Some(all) = text(data) else { return };
    let mut lines = all.split('\n');
    let first = lines.next().unwrap_or_default();
    let fetch = Fetch::new(first);
    let is_good = check_fetches(std::slice::from_ref(&fetch)).is_ok();
    let shown = fetch.shown();
    assert!(!shown.contains(['?', '#']) && shown.chars().count() <= 300);
    if is_good {
        assert!(
            !fetch
                .name()
                .split('/')
                .any(|part| matches!(part, "" | "." | ".."))
        );
        let secret = first.split(['?', '#']).nth(1).unwrap_or_default();
        assert!(secret.len() < 8 || first.matches(secret).count() > 1 || !shown.contains(secret));
    }
    let Ok(FetchSource::Http { uri, is_encrypted }) = fetch.source() else {
        return;
    };
    let Ok(mut uri) = read_uri(uri) else { return };
    assert_eq!(uri.starts_with("https://"), is_encrypted, "{uri}");
    same(&uri);
    for location in lines.take(5) {
        let next = match follow_redirect(&uri, location) {
            Ok(next) => next,
            Err(why) => {
                assert!((1..=FAULT_LEN_MAX).contains(&why.len()), "{why:.300}");
                return;
            }
        };
        same(&next);
        let is_lost = uri.starts_with("https://") && !next.starts_with("https://");
        assert!(!is_lost, "{uri} leads to {next}");
        uri = next;
    }
}

fn same(uri: &str) {
    assert_eq!(read_uri(uri).as_deref(), Ok(uri));
    let rest = uri.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
    let authority = authority.expect("an authority");
    assert!(!authority.is_empty() && !authority.contains('@'), "{uri}");
}

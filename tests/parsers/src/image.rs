//! Images: archives, what they say about themselves, layers, compression, lists of users.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use flate2::{Compression, write::GzEncoder};
use proffer_agent::parsers::{
    decompressed_len, find_image, image_path, load_image, resolve_user, unpack_layer,
};
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::expect::text;
use crate::files::{files_beneath, scratch};
use crate::input::Input;

/// Entries of a layer that is unpacked here.
const ENTRIES_MAX: u64 = 200;
/// Bytes that are decompressed here.
const PLAIN_LEN_MAX: u64 = 1024 * 1024;
/// Characters of what is said about an image.
const FAULT_LEN_MAX: usize = 2_000;

const NAMES: [&str; 24] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "./a",
    "/a",
    "../a",
    "a/../b",
    "a/..",
    "..",
    ".",
    "",
    "a/",
    ".wh.a",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    ".wh.",
    ".wh...",
    ".wh..wh.plnk/1",
    ".wh.a/b",
    "etc/passwd",
    "/proc/self/root/x",
    "a\\b",
];

/// A whole archive: the image in it is found, or a short reason why not.
pub(crate) fn image_archive(data: &[u8]) {
    let archive = match data.split_first() {
        Some((0, raw)) => raw.to_vec(),
        Some((_, choices)) => archive_of(&mut Input::new(choices)).0,
        None => Vec::new(),
    };
    match find_image(in_memory(&archive)) {
        Err(why) => assert!((1..=FAULT_LEN_MAX).contains(&why.len()), "{why:.300}"),
        Ok(image) => {
            assert_eq!(image.id.len(), 64);
            let mut directory = image.working_dir.iter();
            assert!(directory.all(|path| path.starts_with('/') && !path.contains("/../")));
            assert!(
                image
                    .stop_signal
                    .is_none_or(|signal| (1..=64).contains(&signal))
            );
            let texts = image
                .command
                .iter()
                .chain([&image.user])
                .chain(&image.working_dir);
            let texts = texts.chain(image.environment.iter().flat_map(|(n, v)| [n, v]));
            assert!(texts.into_iter().all(|text| !text.contains('\0')));
            let whole = u64::try_from(archive.len()).expect("it fits");
            assert!(image.layer_lens.iter().all(|len| *len <= whole));
        }
    }
}

/// A layer is unpacked beneath its directory, whatever it says, and no more of it than is allowed.
pub(crate) fn image_layer(data: &[u8]) {
    let layer = match data.split_first() {
        Some((0, raw)) => raw.to_vec(),
        Some((_, choices)) => layer_of(&mut Input::new(choices)),
        None => Vec::new(),
    };
    let outer = scratch();
    fs::write(outer.path().join("kept"), "kept").expect("a file");
    let root = outer.path().join("root");
    fs::create_dir(&root).expect("a directory");
    let handle = File::open(&root).expect("a handle").into();
    let unpacked = unpack_layer(&layer, handle, ENTRIES_MAX);
    let beside = fs::read_dir(outer.path()).expect("readable").count();
    assert_eq!(beside, 2, "something was made beside the layer");
    assert_eq!(
        fs::read_to_string(outer.path().join("kept"))
            .ok()
            .as_deref(),
        Some("kept")
    );
    let found = files_beneath(&root);
    for (path, metadata) in &found {
        let is_whiteout = metadata.mode() & 0o170_000 == 0o020_000 && metadata.rdev() == 0;
        let is_plain = metadata.is_file() || metadata.is_dir() || metadata.is_symlink();
        assert!(
            is_plain || is_whiteout,
            "{} is of another kind",
            path.display()
        );
        let is_privileged = metadata.is_file() && metadata.mode() & 0o6000 != 0;
        assert!(!is_privileged, "{} runs as its owner", path.display());
    }
    if let Ok((entries, _)) = unpacked {
        assert!(entries <= ENTRIES_MAX);
        // Directories on the way to a file count with it only as far as they were made.
        assert!(u64::try_from(found.len()).expect("few") <= entries.max(1) * 8);
    }
}

/// A whole image into a store: what it says of itself is checked, and it is found there again.
pub(crate) fn image_store(data: &[u8]) {
    let (archive, is_right) = archive_of(&mut Input::new(data));
    let directory = scratch();
    let file = directory.path().join("image.tar");
    fs::write(&file, &archive).expect("a file");
    match load_image(&file, &directory.path().join("store")) {
        Ok((id, is_same)) => {
            assert!(is_right, "{id} is not what it says");
            assert!(is_same);
        }
        Err(why) => assert!((1..=FAULT_LEN_MAX).contains(&why.len()), "{why:.300}"),
    }
}

/// gzip, zstd and neither: an end or an error, within the limit.
pub(crate) fn decompression(data: &[u8]) {
    if let Ok(len) = decompressed_len(data, PLAIN_LEN_MAX) {
        assert!(len <= PLAIN_LEN_MAX);
    }
}

/// Paths of a layer: what is accepted stays beneath its root.
pub(crate) fn image_paths(data: &[u8]) {
    let Some(parts) = image_path(data) else {
        return;
    };
    for part in &parts {
        assert!((1..=255).contains(&part.len()) && !part.contains(&b'/') && !part.contains(&0));
        assert!(part != b"." && part != b"..");
    }
    assert_eq!(image_path(&parts.join(&b'/')).as_ref(), Some(&parts));
    if let Ok(path) = std::str::from_utf8(&parts.join(&b'/')) {
        let mut plain = Path::new(path).components();
        assert!(plain.all(|part| matches!(part, Component::Normal(_))));
    }
}

/// The user of an image by its own lists.
pub(crate) fn image_users(data: &[u8]) {
    let mut input = Input::new(data);
    let user = input.some(24);
    let passwd = input.some(400);
    let Some(user) = text(user) else { return };
    match resolve_user(user, passwd, input.rest()) {
        Err(why) => assert!(!why.is_empty() && why.len() <= FAULT_LEN_MAX),
        Ok((uid, gid, groups)) => {
            let max = u32::MAX / 2;
            assert!(uid <= max && gid <= max && groups.iter().all(|group| *group <= max));
            assert!(
                groups.windows(2).all(|pair| pair[0] < pair[1]),
                "in order, each once"
            );
            assert!(!user.contains(':') || groups.is_empty());
        }
    }
}

fn in_memory(bytes: &[u8]) -> File {
    let file = memfd_create("archive", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = File::from(file);
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    file
}

/// The tar archive of a layer.
pub(crate) fn layer_of(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..input.below(12) {
        entry(&mut out, input);
    }
    if !input.is_one_in(16) {
        out.resize(out.len() + 1_024, 0);
    }
    if !out.is_empty() && input.is_one_in(16) {
        let at = input.below(out.len());
        out[at] ^= input.byte();
    }
    out
}

fn entry(out: &mut Vec<u8>, input: &mut Input<'_>) {
    let mut header = Header::new_gnu();
    let name = match input.below(8) {
        0 => input.some(20).to_vec(),
        _ => input.choice(&NAMES).as_bytes().to_vec(),
    };
    if input.is_one_in(8) {
        extended(out, input);
    }
    let raw = header.as_mut_bytes();
    raw[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    let kinds = [
        EntryType::Regular,
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::Continuous,
        EntryType::XGlobalHeader,
        EntryType::new(b'Z'),
    ];
    header.set_entry_type(input.choice(&kinds));
    let target = input.choice(&NAMES).as_bytes();
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target);
    header.set_mode(input.choice(&[0o644, 0o755, 0o4755, 0o7777, 0, u32::MAX]));
    header.set_uid(input.choice(&[0, 1, 1_000, u64::from(u32::MAX), u64::MAX]));
    header.set_gid(input.choice(&[0, 5]));
    header.set_mtime(input.choice(&[0, 1, u64::from(u32::MAX), u64::MAX]));
    let content = input.some(40);
    let len = u64::try_from(content.len()).expect("short");
    header.set_size(if input.is_one_in(32) {
        input.number()
    } else {
        len
    });
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// What newer archives say about the next entry.
fn extended(out: &mut Vec<u8>, input: &mut Input<'_>) {
    let keys = [
        "path",
        "linkpath",
        "size",
        "uid",
        "gid",
        "mtime",
        "SCHILY.xattr.user.a",
        "SCHILY.xattr.user.overlay.opaque",
        "SCHILY.xattr.trusted.overlay.opaque",
        "SCHILY.xattr.security.capability",
        "GNU.sparse.major",
    ];
    let mut records = Vec::new();
    for _ in 0..=input.below(2) {
        let key = input.choice(&keys);
        let value: Vec<u8> = match input.below(3) {
            0 => input.some(30).to_vec(),
            1 => input.choice(&NAMES).as_bytes().to_vec(),
            _ => input.number().to_string().into_bytes(),
        };
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let len = rest + if rest + 2 > 99 { 3 } else { 2 };
        records.extend_from_slice(format!("{len} {key}=").as_bytes());
        records.extend_from_slice(&value);
        records.push(b'\n');
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(u64::try_from(records.len()).expect("short"));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&records);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An archive as `docker save` or OCI tools write it, mostly right; and whether all that it says of itself is true.
fn archive_of(input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let mut is_right = true;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut diff_ids = Vec::new();
    let mut layers = Vec::new();
    let mut plain_layers = BTreeSet::new();
    for _ in 0..=input.below(2) {
        let plain = layer_of(&mut Input::new(input.some(200)));
        let mut diff_id = hex(&plain);
        if input.is_one_in(16) {
            diff_id = hex(b"something else");
            is_right = false;
        }
        diff_ids.push(format!("sha256:{diff_id}"));
        let is_plain = !input.is_one_in(4);
        let file = if is_plain { plain } else { gzip(&plain) };
        if is_plain {
            plain_layers.insert(format!("blobs/sha256/{}", hex(&file)));
        }
        layers.push((hex(&file), file.len()));
        files.push((format!("blobs/sha256/{}", hex(&file)), file));
    }
    let config = config_of(&diff_ids, input);
    let config_name = format!("blobs/sha256/{}", hex(&config));
    let is_oci = input.below(2) == 1;
    if !is_oci {
        let paths: Vec<String> = layers
            .iter()
            .map(|(id, _)| format!("blobs/sha256/{id}"))
            .collect();
        let manifest =
            serde_json::json!([{"Config": config_name, "RepoTags": null, "Layers": paths}]);
        files.push((
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ));
    } else {
        oci(&mut files, &config, &layers, input);
    }
    files.push((config_name, config));
    // Of a name that is there twice the last counts.
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
    if input.is_one_in(8) {
        let at = input.below(files.len());
        if let Some((name, bytes)) = files.get_mut(at)
            && !bytes.is_empty()
        {
            let place = input.below(bytes.len());
            let byte = input.byte();
            bytes[place] ^= byte;
            // In the words of `docker save` only the content of layers has a digest: a gzip file may say otherwise the same.
            let is_checked = is_oci && name.starts_with("blobs/") || plain_layers.contains(name);
            is_right = is_right && (byte == 0 || !is_checked);
        }
    }
    (archive(&files), is_right)
}

/// What an image says about itself.
fn config_of(diff_ids: &[String], input: &mut Input<'_>) -> Vec<u8> {
    let (entry, value) = (
        input.choice(&["User", "StopSignal", "WorkingDir", "Cmd"]),
        input.below(5),
    );
    let value = match (entry, value) {
        ("Cmd", 0) => serde_json::json!(["/bin/true", "a\0b"]),
        ("Cmd", _) => serde_json::json!(["/bin/true"]),
        (_, 0) => serde_json::json!(String::from_utf8_lossy(input.some(12))),
        ("StopSignal", _) => serde_json::json!("SIGRTMIN+3"),
        _ => serde_json::json!("../a/./b"),
    };
    let config = serde_json::json!({
        "architecture": input.choice(&["amd64", "amd64", "amd64", "arm64"]),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "config": {entry: value},
    });
    config.to_string().into_bytes()
}

fn oci(
    files: &mut Vec<(String, Vec<u8>)>,
    config: &[u8],
    layers: &[(String, usize)],
    input: &mut Input<'_>,
) {
    let layers: Vec<_> = layers
        .iter()
        .map(|(id, len)| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{id}"), "size": len,
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", hex(config)), "size": config.len(),
        },
        "layers": layers,
    });
    let mut bytes = manifest.to_string().into_bytes();
    let mut media_type = "application/vnd.oci.image.manifest.v1+json";
    // Indexes within indexes, sometimes too many.
    for _ in 0..input.below(8) {
        let inner = index(&bytes, media_type);
        files.push((format!("blobs/sha256/{}", hex(&bytes)), bytes));
        bytes = inner;
        media_type = "application/vnd.oci.image.index.v1+json";
    }
    let whole = index(&bytes, media_type);
    files.push((format!("blobs/sha256/{}", hex(&bytes)), bytes));
    files.push(("index.json".to_owned(), whole));
    files.push((
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    ));
}

fn index(of: &[u8], media_type: &str) -> Vec<u8> {
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": media_type, "digest": format!("sha256:{}", hex(of)), "size": of.len()}],
    });
    index.to_string().into_bytes()
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).expect("short"));
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .expect("in memory");
    }
    tar.into_inner().expect("in memory")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

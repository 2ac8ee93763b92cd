//! Archives that are cut off, agents that are killed, threads that load at the same time, disks that are full.

use std::process::{Child, Command, Stdio};

use super::*;

/// Set for the process that is killed: the directory it works in.
const VICTIM: &str = "PROFFER_TEST_IMAGES_OF_A_VICTIM";
/// How many agents are killed.
const KILLS: usize = 12;
const FILES: usize = 200;

#[test]
fn an_archive_that_is_cut_off_anywhere_is_an_error() {
    let mut made = images::busybox();
    let second = images::gzip(&made.layers[0].tar[..100_000]);
    made.layers.push(small("top"));
    // Files behind the layers, so that whole layers are before the cut.
    let mut last = Tar::new();
    last.file("last", 0o644, &second);
    made.layers.push(Layer::plain(last.finish()));
    let archives = [
        made.docker_save(),
        made.oci_layout(),
        images::gzip(&made.docker_save()),
    ];
    for archive in archives {
        let fixture = Fixture::new();
        let path = fixture.archive("archive.tar", &archive);
        let file = File::options().write(true).open(&path).unwrap();
        let last = archive.len() - 1;
        // From the end, as a file becomes shorter and shorter.
        for len in (0..=last)
            .rev()
            .filter(|len| len % 4096 == 0 || *len == last)
        {
            file.set_len(len as u64).unwrap();
            let error = fixture.store.load(&path, None).unwrap_err();
            let is_archive = matches!(error, ImageError::Archive { .. });
            assert!(is_archive, "{len}: {error}");
            assert_eq!((fixture.layers(), fixture.scratch()), (0, 0), "{len}");
        }
        fs::write(&path, &archive).unwrap();
        assert_eq!(fixture.store.load(&path, None).unwrap().layers.len(), 3);
    }
}

fn many_files() -> Made {
    let layer = |name: &str| {
        let mut tar = Tar::new();
        for number in 0..FILES {
            tar.file(&format!("{name}/{number}"), 0o644, &vec![b'x'; 5_000]);
        }
        Layer::gzip(tar.finish())
    };
    images::image(vec![layer("a"), layer("b")])
}

/// The killed one and the killer are the same test in two processes.
#[test]
fn an_agent_that_is_killed_leaves_whole_layers_or_none() {
    if let Ok(dir) = std::env::var(VICTIM) {
        let dir = Path::new(&dir);
        let store = ImageStore::open(&dir.join("images")).unwrap();
        store.load(&dir.join("archive.tar"), None).unwrap();
        return;
    }
    let made = many_files();
    let whole = Fixture::new();
    let expected: Vec<_> = whole
        .load(&made.docker_save())
        .unwrap()
        .layers
        .iter()
        .map(|l| tree(l))
        .collect();

    let fixture = Fixture::new();
    let archive = fixture.archive("archive.tar", &made.docker_save());
    let images = fixture.dir.path().join("images");
    let mut in_the_middle = 0;
    for kill in 0..KILLS {
        // At the next place each time, told by what is there besides the store's own directories.
        let entries = 4 + kill * (2 * FILES) / KILLS;
        let mut victim = victim(fixture.dir.path());
        while victim.try_wait().unwrap().is_none() && entries_beneath(&images) <= entries {}
        victim.kill().unwrap();
        victim.wait().unwrap();
        let left = entries_beneath(&images.join("scratch"));
        in_the_middle += usize::from(left > 0);
        for layer in fs::read_dir(images.join("layers")).unwrap() {
            let root = layer.unwrap().path().join("root");
            assert!(
                expected.contains(&tree(&root)),
                "a half layer is in the store"
            );
        }
        let store = ImageStore::open(&images).unwrap();
        assert_eq!(fs::read_dir(images.join("scratch")).unwrap().count(), 0);
        if kill % 2 == 0 {
            let image = store.load(&archive, None).unwrap();
            let found: Vec<_> = image.layers.iter().map(|layer| tree(layer)).collect();
            assert_eq!(found, expected);
        }
        drop(store);
        fs::remove_dir_all(&images).unwrap();
        fs::create_dir(&images).unwrap();
        ImageStore::open(&images).unwrap();
    }
    assert!(
        in_the_middle > KILLS / 4,
        "{in_the_middle} of {KILLS} were killed in the middle"
    );
}

fn victim(dir: &Path) -> Child {
    let name = std::thread::current().name().unwrap().to_owned();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(VICTIM, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn entries_beneath(dir: &Path) -> usize {
    let mut count = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        // They come and go while they are counted.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            count += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    count
}

#[test]
fn one_image_is_loaded_by_many_at_once() {
    let fixture = Fixture::new();
    let made = many_files();
    let paths = [
        fixture.archive("docker.tar", &made.docker_save()),
        fixture.archive("oci.tar", &made.oci_layout()),
    ];
    let store = &fixture.store;
    let loaded: Vec<Image> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let path = &paths[number % 2];
                scope.spawn(move || store.load(path, None).unwrap())
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let first = tree(&loaded[0].layers[0]);
    assert_eq!(first.len(), FILES + 1);
    for image in &loaded {
        assert_eq!((image.id, &image.layers), (loaded[0].id, &loaded[0].layers));
    }
    assert_eq!((fixture.layers(), fixture.scratch()), (2, 0));
}

#[test]
fn what_is_loaded_while_room_is_made_stays() {
    let fixture = Fixture::new();
    let made = many_files();
    let path = fixture.archive("archive.tar", &made.docker_save());
    let store = &fixture.store;
    std::thread::scope(|scope| {
        let loads = scope.spawn(move || {
            for _ in 0..20 {
                let image = store.load(&path, None).unwrap();
                for layer in &image.layers {
                    assert_eq!(tree(layer).len(), FILES + 1);
                }
            }
        });
        while !loads.is_finished() {
            store.store.collect(&BTreeSet::new(), 0).unwrap();
        }
        loads.join().unwrap();
    });
    store.store.collect(&BTreeSet::new(), 0).unwrap();
    assert_eq!((fixture.layers(), fixture.scratch()), (0, 0));
}

#[test]
fn a_full_disk_is_not_the_archives_fault() {
    let fixture = Fixture::new();
    let archive = fixture.archive("archive.tar", &many_files().docker_save());
    let dir = fixture.dir.path().join("small");
    fs::create_dir(&dir).unwrap();
    let mount = |args: &[&str]| {
        let status = Command::new(args[0])
            .args(&args[1..])
            .arg(&dir)
            .status()
            .unwrap();
        assert!(status.success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "none"]);
    let store = ImageStore::open(&dir).unwrap();
    let loaded = store.load(&archive, None).map(|image| image.id);
    let left = entries_beneath(&dir);
    drop(store);
    mount(&["umount"]);
    let error = loaded.unwrap_err();
    assert!(matches!(error, ImageError::Store { .. }), "{error}");
    assert!(
        error.to_string().contains("No space left on device"),
        "{error}"
    );
    assert_eq!(left, 4, "only the store's own directories");
}

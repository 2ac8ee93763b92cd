//! What real tools make and read, and what the kernel makes of the layers.

use std::process::Command;

use super::*;

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn archives_that_skopeo_makes_are_read() {
    let fixture = Fixture::new();
    let mut made = images::busybox();
    made.layers.push(small("top"));
    let expected: Vec<_> = {
        let image = fixture.load(&made.docker_save()).unwrap();
        image.layers.iter().map(|layer| tree(layer)).collect()
    };
    let docker = fixture.archive("docker.tar", &made.docker_save());
    let oci = fixture.archive("oci.tar", &made.oci_layout());
    let sources = [
        format!("docker-archive:{}", docker.display()),
        format!("oci-archive:{}", oci.display()),
    ];
    let kinds = ["docker-archive", "oci-archive"];
    let formats: [&[&str]; 3] = [
        &[],
        &["--dest-compress-format", "zstd"],
        &["--format", "oci"],
    ];
    let mut count = 0;
    for (source, kind, format) in sources
        .iter()
        .flat_map(|source| kinds.map(|kind| (source, kind)))
        .flat_map(|(source, kind)| formats.map(|format| (source, kind, format)))
    {
        // Of these, a docker archive has neither.
        if kind == "docker-archive" && !format.is_empty() {
            continue;
        }
        count += 1;
        let made_by_it = fixture.dir.path().join(format!("{count}.tar"));
        let target = format!("{kind}:{}:busybox:copy", made_by_it.display());
        let args = [
            &["--insecure-policy", "copy", "--quiet"],
            format,
            &[source, &target],
        ]
        .concat();
        run("skopeo", &args);
        let image = fixture
            .store
            .load(&made_by_it, None)
            .unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let found: Vec<_> = image.layers.iter().map(|layer| tree(layer)).collect();
        assert_eq!(found, expected, "{args:?}");
        assert_eq!(image.config.cmd, ["/bin/sh"]);
    }
    assert_eq!(count, 8);
}

#[test]
fn the_kernel_shows_the_layers_as_the_image_means_them() {
    let fixture = Fixture::new();
    let mut bottom = Tar::new();
    bottom.dir("etc", 0o755);
    for name in [
        "etc/kept",
        "etc/gone",
        "opaque/below",
        "replaced/below",
        "dir/below",
    ] {
        bottom.file(name, 0o644, b"bottom");
    }
    let mut top = Tar::new();
    top.file("etc/.wh.gone", 0o644, b"");
    top.file("opaque/.wh..wh..opq", 0o644, b"");
    top.file("opaque/above", 0o644, b"top");
    top.file(".wh.replaced", 0o644, b"");
    top.dir("replaced", 0o700);
    top.file("replaced/above", 0o644, b"top");
    top.file(".wh.dir", 0o644, b"");
    let layers = vec![Layer::plain(bottom.finish()), Layer::gzip(top.finish())];
    let image = fixture.load(&images::image(layers).oci_layout()).unwrap();
    let merged = fixture.dir.path().join("merged");
    fs::create_dir(&merged).unwrap();
    let lower: Vec<String> = image
        .layers
        .iter()
        .rev()
        .map(|layer| layer.display().to_string())
        .collect();
    let options = format!("ro,lowerdir={}", lower.join(":"));
    let at = merged.display().to_string();
    run("mount", &["-t", "overlay", "-o", &options, "none", &at]);
    let found = tree(&merged);
    run("umount", &[&at]);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected = [
        "etc",
        "etc/kept",
        "opaque",
        "opaque/above",
        "replaced",
        "replaced/above",
    ];
    assert_eq!(names, expected);
}

//! The image of a task's container, in all its forms, and what is none.

use proffer_model::{Image, ImageRules, code};

use super::refusals::{assert_refused, good_task};
use crate::{decode_task_spec, encode_task_spec, v1};

fn task(image: Option<v1::container::Image>, rules: i32) -> v1::TaskSpec {
    v1::TaskSpec {
        container: Some(v1::Container { image, rules }),
        ..good_task()
    }
}

#[test]
fn an_image_is_an_archive_or_a_name() {
    let archive = |path: &str| v1::container::Image::Archive(path.to_owned());
    let name = |name: &str| v1::container::Image::Name(name.to_owned());
    for (image, rules, expected) in [
        (archive("/a.tar"), 0, ImageRules::Docker),
        (name("busybox"), 0, ImageRules::Docker),
        (name("r.example:5000/a/b:1@sha256:0a"), 1, ImageRules::Mesos),
    ] {
        let spec = decode_task_spec(task(Some(image.clone()), rules)).expect("good");
        let container = spec.container.as_ref().expect("one");
        let is_name = matches!(image, v1::container::Image::Name(_));
        assert_eq!(matches!(container.image, Image::Name(_)), is_name);
        assert_eq!(container.rules, expected);
        let again = encode_task_spec(&spec).container.expect("one");
        assert_eq!((again.image, again.rules), (Some(image), rules));
    }
    let long = "x".repeat(251);
    for (image, rules, code, field) in [
        (None, 0, code::FIELD_MISSING, "container.image"),
        (
            Some(archive("a.tar")),
            0,
            code::FIELD_INVALID,
            "container.archive",
        ),
        (
            Some(archive("/a")),
            9,
            code::FIELD_INVALID,
            "container.rules",
        ),
        (Some(name("../a")), 0, code::FIELD_INVALID, "container.name"),
        (Some(name("")), 0, code::FIELD_INVALID, "container.name"),
        (Some(name(&long)), 0, code::FIELD_TOO_LONG, "container.name"),
    ] {
        assert_refused(decode_task_spec(task(image, rules)), code.name, field);
    }
}

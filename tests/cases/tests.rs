//! The runner itself: what it understands, and that a case that must fail does, on its line.

use super::{On, play_files};

fn play(text: &str, on: On) -> Vec<String> {
    play_files(&[("x.md".to_owned(), text.to_owned())], on).1
}

#[test]
fn the_cases_say_what_the_plain_model_of_mesos_does() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let files = super::blocks::read_folder(&folder).expect("the folder is read");
    let (blocks, failures) = play_files(&files, On::Model);
    println!("{blocks} blocks");
    assert!(
        failures.is_empty(),
        "{} of {blocks}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn nothing_is_passed_over() {
    let _ = play("", On::Model);
}

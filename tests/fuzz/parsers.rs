//! libFuzzer's entry: gives its inputs to the function that `PROFFER_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proffer_parsers::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("PROFFER_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    let names: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
    let names = names.join("\n  ");
    found
        .unwrap_or_else(|| panic!("PROFFER_FUZZ_TARGET is {name:?} and none of\n  {names}"))
        .1
});

fuzz_target!(|data: &[u8]| {
    (*TARGET)(data);
});

//! Compiles the .proto files in pure Rust, so that building needs no `protoc`.
use std::path::PathBuf;

use prost_types::{DescriptorProto, FieldDescriptorProto};

const FILES: [&str; 10] = [
    "proffer/v1/common.proto",
    "proffer/v1/scheduler.proto",
    "proffer/v1/state.proto",
    "proffer/v1/agent_link.proto",
    "proffer/v1/operator.proto",
    "proffer/v1/tasks.proto",
    "proffer/v1/executor.proto",
    "proffer/v1/leadership.proto",
    "proffer/store/v1/store.proto",
    "proffer/checkpoint/v1/checkpoint.proto",
];

/// Mesos's own messages, for what was written for it.
const MESOS_FILES: [&str; 4] = [
    "mesos/v1/scheduler/scheduler.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/master/master.proto",
    "mesos/v1/agent/agent.proto",
];

mod mesos_large;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proffer");
    println!("cargo:rerun-if-changed=mesos");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut mesos = protox::compile(MESOS_FILES, ["."])?;
    std::fs::write(out.join("mesos.bin"), prost::Message::encode_to_vec(&mesos))?;
    for file in &mut mesos.file {
        // It knows nothing of what stands for a map.
        file.source_code_info = None;
        file.message_type.iter_mut().for_each(spell_out_amounts);
    }
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    for large in mesos_large::MESOS_LARGE {
        config.boxed(format!(".mesos.v1.{large}"));
    }
    config.compile_fds(mesos)?;
    std::fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    let mut config = tonic_prost_build::Config::new();
    config.btree_map(["."]);
    config.bytes([
        ".proffer.v1.StateEntry",
        ".proffer.v1.PutStateRequest",
        ".proffer.v1.LogsChunk",
        ".proffer.v1.BackupResponse",
    ]);
    tonic_prost_build::configure()
        .codec_path("crate::codec::SmallCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// Makes lists of entries of the maps to amounts, which look the same on the wire: an entry of a map whose value is 0 would
/// be written without it, and Mesos requires it.
fn spell_out_amounts(message: &mut DescriptorProto) {
    for nested in &mut message.nested_type {
        let is_amount =
            |field: &FieldDescriptorProto| field.type_name() == ".mesos.v1.Value.Scalar";
        if nested.field.iter().any(is_amount) && nested.options.is_some() {
            nested.options = None;
        }
        spell_out_amounts(nested);
    }
}

//! Compiles the .proto files in pure Rust, so that building needs no `protoc`.
use std::path::PathBuf;

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
const MESOS_FILES: [&str; 3] = [
    "mesos/v1/scheduler/scheduler.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/master/master.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proffer");
    println!("cargo:rerun-if-changed=mesos");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mesos = protox::compile(MESOS_FILES, ["."])?;
    std::fs::write(out.join("mesos.bin"), prost::Message::encode_to_vec(&mesos))?;
    tonic_prost_build::Config::new()
        .enable_type_names()
        .compile_fds(mesos)?;
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
    ]);
    tonic_prost_build::configure()
        .codec_path("crate::codec::SmallCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

//! Compiles the protos, without protoc, and keeps their descriptor set for reflection.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

/// The contract, and what proxies need beside it to answer errors as JSON.
const ROOTS: [&str; 6] = [
    "countersign/v1/session.proto",
    "countersign/v1/challenge.proto",
    "countersign/v1/token.proto",
    "countersign/v1/client.proto",
    "countersign/v1/account.proto",
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(ROOTS)?;

    // Only this encoding keeps options such as `google.api.http`.
    let encoded = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("countersign.binpb"), &encoded)?;

    let descriptors = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

//! `countersign wallet`: a throw-away wallet for people with grpcurl, which cannot sign.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::Outcome;
use crate::{
    token::random,
    wallet::{
        Payload,
        evm::{EvmPrivateKey, eip712::AuthMessage},
    },
};

#[derive(Subcommand)]
pub(super) enum Wallet {
    /// Make a key and print its address. For trying things only: keep no value on it.
    New(New),
    /// Sign a challenge (EIP-191 personal_sign, or EIP-712 typed data) and print the signature.
    Sign(Sign),
}

#[derive(Args)]
pub(super) struct New {
    /// Where to keep the private key; must not exist yet.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

#[derive(Args)]
pub(super) struct Sign {
    /// The private key, as `wallet new` wrote it: 32 bytes in hex.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    #[command(flatten)]
    source: Source,
}

/// What to sign.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The answer of StartChallenge as JSON, as grpcurl prints it; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,
    /// The exact bytes to sign, UTF-8; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    message_file: Option<PathBuf>,
}

impl Wallet {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::New(new) => new.run(),
            Self::Sign(sign) => sign.run(),
        }
    }
}

impl New {
    fn run(self) -> Outcome {
        let signer = EvmPrivateKey::generate(random::bytes);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written =
            options.open(&self.key_file).and_then(|mut file| writeln!(file, "{}", signer.to_hex().expose()));
        written.map_err(|error| format!("key-file: {}: {error}", self.key_file.display()))?;
        say!("{}", signer.address());
        Ok(())
    }
}

impl Sign {
    fn run(self) -> Outcome {
        let key = read(&self.key_file).map_err(|error| format!("key-file: {error}"))?;
        let signer = EvmPrivateKey::from_hex(key.trim())
            .ok_or("key-file: must hold 32 bytes in hex that are a key")?;
        say!("{}", signer.sign(&self.source.payload()?));
        Ok(())
    }
}

impl Source {
    fn payload(&self) -> Result<Payload, String> {
        if let Some(path) = &self.message_file {
            return read(path).map(Payload::Text).map_err(|error| format!("message-file: {error}"));
        }
        let path = self.challenge.as_deref().unwrap_or(Path::new("-"));
        let text = read(path).map_err(|error| format!("challenge: {error}"))?;
        let answer: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("challenge: not JSON: {error}"))?;
        let member =
            |path| answer.pointer(path).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
        if let Some(json) = member("/challenge/typedDataJson") {
            let message = AuthMessage::from_json(json).ok_or("challenge: has typed data of another kind")?;
            return Ok(Payload::TypedData(Box::new(message)));
        }
        let message = member("/challenge/message").map(|text| Payload::Text(text.to_owned()));
        message.ok_or_else(|| {
            "challenge: has no `challenge.message`; compose one, and give --message-file".to_owned()
        })
    }
}

/// A file's text, every byte of it.
fn read(path: &Path) -> Result<String, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(named)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(named)
}

//! Clients as the command line prints them: for people, or as JSON.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    domain::{Client, ClientId, LiveSecret},
    grpc::policy_file,
    token::ClientSecret,
};

/// How to print.
#[derive(Args)]
pub(in crate::cli) struct Output {
    /// How to print.
    #[arg(long = "output", value_enum, default_value_t = Form::Text, value_name = "FORM")]
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

impl Output {
    /// Prints what was asked for, in the one form or the other.
    pub(in crate::cli) fn say(
        &self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        match self.form {
            Form::Text => say!("{}", text()),
            Form::Json => say!("{}", json()),
        }
        Ok(())
    }
}

/// The metadata value that a client's calls carry (RFC 7617).
pub(in crate::cli) fn authorization(id: ClientId, secret: &ClientSecret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose())))
}

/// Id and secret for a person.
pub(in crate::cli) fn credentials_text(id: ClientId, secret: &ClientSecret) -> String {
    let authorization = authorization(id, secret);
    format!(
        "client_id:      {id}\nclient_secret:  {}  (shown this once)\nauthorization:  {authorization}",
        secret.expose()
    )
}

/// The same for a program.
pub(super) fn credentials_json(id: ClientId, secret: &ClientSecret) -> Value {
    json!({
        "client_id": id.to_string(),
        "client_secret": secret.expose(),
        "authorization": authorization(id, secret),
    })
}

/// A client with its whole policy; it never holds a secret.
pub(super) fn client_json(client: &Client) -> Result<Value, String> {
    Ok(json!({
        "client_id": client.id.to_string(),
        "create_time": time_text(client.create_time),
        "update_time": time_text(client.update_time),
        "policy": policy_file::write(&client.clone().into())?,
    }))
}

/// What is known of a secret, apart from itself.
pub(super) fn secret_json(secret: &LiveSecret) -> Value {
    json!({
        "secret_id": secret.id.to_string(),
        "create_time": time_text(secret.create_time),
        "last_used_time": secret.last_used_time.map(time_text),
    })
}

pub(in crate::cli) fn time_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

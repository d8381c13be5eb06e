//! A policy file: the JSON form of `ClientPolicy` (ProtoJSON).

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::v1;

/// Reads a policy file. Unknown fields are refused: a mistyped rule must not be dropped silently.
///
/// # Errors
/// What is wrong with the JSON, and where.
pub fn read(json: &str) -> Result<v1::ClientPolicy, String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor()?, &mut deserializer)
        .and_then(|message| deserializer.end().map(|()| message))
        .map_err(|error| error.to_string())?;
    v1::ClientPolicy::decode(message.encode_to_vec().as_slice()).map_err(|error| error.to_string())
}

/// Writes a policy file, every field of it.
///
/// # Errors
/// If the message cannot be written as JSON.
pub fn write(policy: &v1::ClientPolicy) -> Result<serde_json::Value, String> {
    let mut message = DynamicMessage::new(descriptor()?);
    message.merge(policy.encode_to_vec().as_slice()).map_err(|error| error.to_string())?;
    let options = prost_reflect::SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| error.to_string())
}

fn descriptor() -> Result<MessageDescriptor, String> {
    let pool = DescriptorPool::decode(v1::DESCRIPTORS).map_err(|error| error.to_string())?;
    pool.get_message_by_name("countersign.v1.ClientPolicy")
        .ok_or_else(|| "the API has no ClientPolicy".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_file_reads_back() {
        let json = r#"{"name": "Shop", "roles": ["CLIENT_ROLE_SIGN_IN"], "challengeTtl": "90s", "networks": ["EVM"]}"#;
        let policy = read(json).unwrap();
        assert_eq!(policy.challenge_ttl.as_ref().unwrap().seconds, 90);
        let written = write(&policy).unwrap();
        assert_eq!(read(&written.to_string()).unwrap(), policy);
    }

    #[test]
    fn a_mistyped_field_is_refused_by_name() {
        let error = read(r#"{"name": "Shop", "challengeTtll": "90s"}"#).unwrap_err();
        assert!(error.contains("challengeTtll"), "{error}");
        assert!(read("{} {}").is_err() && read("").is_err());
    }
}

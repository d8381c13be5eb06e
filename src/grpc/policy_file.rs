//! A policy file: the JSON form of `ClientPolicy` (ProtoJSON).

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value};

use super::v1;

/// Reads a policy file over a policy: what the file names takes the place of what was there, and `null`
/// brings a field's default back. Unknown fields are refused: a mistyped rule must not be dropped silently.
///
/// # Errors
/// What is wrong with the JSON, and where.
pub fn read_over(base: &v1::ClientPolicy, json: &str) -> Result<v1::ClientPolicy, String> {
    // Read by itself first, so that a mistake is told at its place in the file.
    read(json)?;
    let named: Map<String, Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let descriptor = descriptor()?;
    let mut whole = write(base)?;
    for (name, value) in named {
        let field = descriptor.get_field_by_json_name(&name).or_else(|| descriptor.get_field_by_name(&name));
        whole[field.map_or(name, |field| field.json_name().to_owned())] = value;
    }
    read(&whole.to_string())
}

fn read(json: &str) -> Result<v1::ClientPolicy, String> {
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

/// What a policy message is made of.
pub(super) fn descriptor() -> Result<MessageDescriptor, String> {
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
    fn a_file_read_over_a_policy_changes_what_it_names_and_nothing_else() {
        let base =
            read(r#"{"name": "Shop", "disabled": true, "challengeTtl": "90s", "scope": "a"}"#).unwrap();
        let over = |json| read_over(&base, json).unwrap();
        assert_eq!(over("{}"), base);
        let named = over(r#"{"challenge_ttl": "60s", "scope": null, "networks": ["EVM"]}"#);
        assert_eq!(named.challenge_ttl.unwrap().seconds, 60);
        assert_eq!((named.name.as_str(), named.disabled, named.scope.as_str()), ("Shop", true, ""));
        assert_eq!(named.networks, ["EVM"]);
        for wrong in [r#"{"challengeTtll": "90s"}"#, "[]", "{", r#"{"name": 7}"#] {
            assert!(read_over(&base, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mistyped_field_is_refused_by_name() {
        let error = read(r#"{"name": "Shop", "challengeTtll": "90s"}"#).unwrap_err();
        assert!(error.contains("challengeTtll"), "{error}");
        assert!(read("{} {}").is_err() && read("").is_err());
    }
}

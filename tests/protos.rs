//! The published protos: their HTTP templates, and the retries that service_config.json promises.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail, and say why")]

use std::{collections::BTreeSet, fs, path::Path};

use countersign::grpc::v1::DESCRIPTORS;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Value;

fn config() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/countersign/v1/service_config.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Every HTTP path template of an RPC: the one of its `google.api.http` rule, and its additional bindings'.
fn http_templates(pool: &DescriptorPool, method: &MethodDescriptor) -> Vec<String> {
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    let options_with_rule = options.has_extension(&http).then(|| options.get_extension(&http));
    options_with_rule.iter().flat_map(|rule| templates_of(rule.as_message().unwrap())).collect()
}

fn templates_of(rule: &DynamicMessage) -> Vec<String> {
    let own = ["get", "put", "post", "delete", "patch"].map(|verb| rule.get_field_by_name(verb).unwrap());
    let own = own.iter().filter_map(|value| value.as_str()).map(str::to_owned);
    let additional = rule.get_field_by_name("additional_bindings").unwrap();
    let additional =
        additional.as_list().unwrap().iter().flat_map(|it| templates_of(it.as_message().unwrap()));
    own.filter(|template| !template.is_empty()).chain(additional).collect()
}

/// Envoy 1.40's transcoder refuses to start on a template that ends in a slash. One without it matches requests with
/// and without the slash.
#[test]
fn no_http_template_ends_in_a_slash() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut count = 0;
    for method in methods.filter(|method| method.full_name().starts_with("countersign.v1.")) {
        let templates = http_templates(&pool, &method);
        assert!(method.is_server_streaming() || !templates.is_empty(), "{} has none", method.full_name());
        for template in templates {
            assert!(!template.ends_with('/'), "{}: {template}", method.full_name());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} templates were found");
}

/// What the comment on an RPC says after `Retry: `, by the RPC's full name.
fn retries() -> Vec<(String, String)> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let mut found = Vec::new();
    for service in pool.services().filter(|service| service.full_name().starts_with("countersign.v1.")) {
        let file = service.parent_file().file_descriptor_proto().clone();
        let locations = file.source_code_info.unwrap().location;
        for method in service.methods() {
            let own = locations.iter().find(|location| location.path == method.path()).unwrap();
            let comment = own.leading_comments();
            let said = comment.lines().find_map(|line| line.trim().strip_prefix("Retry: "));
            let name = format!("{}/{}", service.full_name(), method.name());
            let said =
                said.unwrap_or_else(|| panic!("{name} does not say whether a retry is safe")).to_owned();
            found.push((name, said));
        }
    }
    found
}

#[test]
fn what_is_safe_to_retry_is_retried_and_nothing_else() {
    let safe: BTreeSet<_> =
        retries().into_iter().filter(|(_, said)| said.starts_with("safe")).map(|(name, _)| name).collect();
    assert!(safe.len() > 10, "the comments were not found: {safe:?}");
    let config = config();
    let configs = config["methodConfig"].as_array().unwrap();
    let retried: BTreeSet<_> = configs
        .iter()
        .filter(|config| config.get("retryPolicy").is_some())
        .flat_map(|config| config["name"].as_array().unwrap())
        .map(|name| format!("{}/{}", name["service"].as_str().unwrap(), name["method"].as_str().unwrap()))
        .collect();
    assert_eq!(retried, safe);
}

#[test]
fn every_rpc_says_safe_or_not_safe() {
    for (name, said) in retries() {
        assert!(said.starts_with("safe") || said.starts_with("not safe"), "{name}: {said}");
    }
}

/// A RefreshToken that is retried after the grace is taken for theft.
#[test]
fn a_call_and_its_retries_end_before_the_grace_and_a_stream_has_no_end() {
    let grace = countersign::domain::Policy::default().refresh_grace;
    for config in config()["methodConfig"].as_array().unwrap() {
        let is_stream = config["name"][0]["method"] == "WatchRevocations";
        let timeout =
            config["timeout"].as_str().map(|text| text.strip_suffix('s').unwrap().parse::<u64>().unwrap());
        assert_eq!(timeout.is_none(), is_stream);
        assert!(timeout.is_none_or(|seconds| seconds < grace.as_secs()));
    }
}

/// gRFC A6: at least two attempts, and times that a client takes.
#[test]
fn the_policy_is_one_that_clients_take() {
    for config in config()["methodConfig"].as_array().unwrap() {
        let policy = &config["retryPolicy"];
        let seconds = |field: &str| {
            let text = policy[field].as_str().unwrap().strip_suffix('s').unwrap();
            text.parse::<f64>().unwrap()
        };
        assert!((2..=5).contains(&policy["maxAttempts"].as_u64().unwrap()));
        assert!(seconds("initialBackoff") > 0.0 && seconds("maxBackoff") >= seconds("initialBackoff"));
        let codes: Vec<_> =
            policy["retryableStatusCodes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(codes, ["UNAVAILABLE", "ABORTED"]);
    }
}

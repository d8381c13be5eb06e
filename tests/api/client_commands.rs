//! `countersign client`, as an operator types it.

use crate::{
    process::{failure, run},
    support::TestStore,
};

on_both_stores![
    clients_are_made_listed_and_shown_from_the_command_line,
    clients_are_changed_and_ended_from_the_command_line,
    a_wrong_policy_is_refused_with_every_field_named,
];

async fn clients_are_made_listed_and_shown_from_the_command_line(store: &TestStore) {
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let policy = store.folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"name": "From file", "challengeTtl": "90s", "networks": ["EVM"]}"#).unwrap();
    let at_store = ["--database-url", &store.url];
    let create = ["client", "create", "--role", "sign_in", "--role", "INTROSPECT", "--policy-file"];
    let made = run(&[&create[..], &[policy.to_str().unwrap()], &at_store].concat());
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.contains("client_secret:  ccs_") && text.contains("authorization:  Basic "), "{text}");
    let id = text.lines().next().unwrap().rsplit(' ').next().unwrap();

    let listed = String::from_utf8(run(&[&["client", "list"], &at_store[..]].concat()).stdout).unwrap();
    assert_eq!(listed, format!("{id}  enabled   From file\n"));
    let shown = run(&[&["client", "show", id], &at_store[..]].concat());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["policy"]["challengeTtl"], "90s");
    assert_eq!(
        shown["policy"]["roles"],
        serde_json::json!(["CLIENT_ROLE_SIGN_IN", "CLIENT_ROLE_INTROSPECT"])
    );
    assert!(!shown.to_string().contains("ccs_"));
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    let said = failure(&run(&[&["client", "show", unknown], &at_store[..]].concat()), 1);
    assert!(said.contains("there is no client"), "{said}");
}

async fn clients_are_changed_and_ended_from_the_command_line(store: &TestStore) {
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let at_store = ["--database-url", &store.url, "--output", "json"];
    let client = |arguments: &[&str]| run(&[&["client"], arguments, &at_store[..]].concat());
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = client(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let made = json(&["create", "--name", "Shop"]);
    let id = made["client_id"].as_str().unwrap();
    let policy = store.folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"scope": "read", "realm": ""}"#).unwrap();
    let file = ["--policy-file", policy.to_str().unwrap()];
    let updated = json(&[&["update", id, "--role", "ADMIN"], &file[..]].concat());
    assert_eq!(updated["policy"]["scope"], "read");
    assert_eq!(updated["policy"]["name"], "Shop");
    assert_eq!(updated["policy"]["roles"], serde_json::json!(["CLIENT_ROLE_ADMIN"]));
    assert_eq!(json(&["disable", id])["disabled"], true);
    assert_eq!(json(&["enable", id])["disabled"], false);

    std::fs::write(&policy, r#"{"realm": "elsewhere"}"#).unwrap();
    assert!(failure(&client(&[&["update", id], &file[..]].concat()), 1).contains("realm: never changes"));
    assert!(failure(&client(&["update", id]), 1).contains("nothing to change"));
    assert!(failure(&client(&["update", id, "--name", ""]), 1).contains("name: must be"));
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    for arguments in [
        &["update", unknown, "--name", "x"][..],
        &["disable", unknown],
        &["enable", unknown],
        &["delete", unknown, "--yes"],
        &["add-secret", unknown],
        &["revoke-secret", unknown, unknown],
    ] {
        assert!(failure(&client(arguments), 1).contains("no such client"), "{arguments:?}");
    }

    let added = json(&["add-secret", id]);
    assert_ne!(added["client_secret"], made["client_secret"]);
    assert!(failure(&client(&["add-secret", id]), 1).contains("two live secrets"));
    let secret = added["secret_id"].as_str().unwrap();
    assert!(failure(&client(&["revoke-secret", id, unknown]), 1).contains("secret_id: is no secret"));
    assert_eq!(json(&["revoke-secret", id, secret])["live_secrets"], 1);
    let shown = run(&["client", "show", id, "--database-url", &store.url]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["secrets"].as_array().unwrap().len(), 1);
    assert_ne!(shown["secrets"][0]["secret_id"], secret);

    assert!(failure(&client(&["delete", id]), 1).contains("--yes"));
    assert_eq!(json(&["delete", id, "--yes"])["revoked_sessions"], 0);
    assert_eq!(client(&["list"]).stdout, b"");
}

async fn a_wrong_policy_is_refused_with_every_field_named(store: &TestStore) {
    assert!(run(&["migrate", "--database-url", &store.url]).status.success());
    let policy = store.folder.path().join("policy.json");
    let create = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        let file = policy.to_str().unwrap();
        failure(&run(&["client", "create", "--policy-file", file, "--database-url", &store.url]), 1)
    };
    let said = create(r#"{"challengeTtl": "1s", "origin": "a\nb", "scope": "a  b"}"#);
    for field in ["challenge_ttl", "name", "origin", "scope"] {
        assert!(said.contains(&format!("{field}: ")), "{field} is not named: {said}");
    }
    let said = create(r#"{"name": "x", "textTemplate": "no code", "networks": ["moon"]}"#);
    assert!(said.contains("text_template: ") && said.contains("networks: "), "{said}");
    assert!(create(r#"{"nam": "x"}"#).contains("nam"));
    assert!(create(r#"{"name": "x", "realm": "a realm"}"#).contains("realm: "));
    assert_eq!(store.count("clients", "1 = 1").await, 0);
}

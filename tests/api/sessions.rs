//! SessionService: sessions made, seen, listed and ended.

use countersign::{
    domain::{NetworkRule, Policy},
    grpc::v1::{CreateSessionRequest, ListSessionsRequest, RevokeReason, SessionState},
};
use tonic::Code;

use crate::{
    harness::{Server, reason, refusal, session_for, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    a_new_session_is_pending_and_pays_its_signer_by_default,
    a_deposit_may_go_to_another_network,
    a_wrong_field_is_named_and_nothing_is_written,
    networks_outside_the_policy_are_denied,
    a_session_is_visible_to_its_client_device_and_user_only,
    an_expired_session_is_answered_with_its_state,
    sessions_are_listed_newest_first_page_by_page,
    a_list_needs_exactly_one_filter,
    revoking_is_idempotent_and_the_first_reason_stays,
    logging_out_everywhere_ends_what_the_caller_may_end,
];

async fn a_new_session_is_pending_and_pays_its_signer_by_default(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let request = CreateSessionRequest {
        signing_address: wallet.address().as_str()[2..].to_lowercase(),
        signing_network: "EVM".to_owned(),
        ..Default::default()
    };
    let answer = client.create_session(request).await.unwrap();
    let session = answer.session.unwrap();
    assert!(answer.session_token.starts_with("cst_") && answer.session_token.len() == 47);
    assert_eq!(session.state(), SessionState::Pending);
    assert_eq!(session.client_id, client.client.id.to_string());
    assert_eq!(
        (session.signing_address.as_str(), session.signing_network.as_str()),
        (wallet.address().as_str(), "eip155:1")
    );
    assert_eq!(
        (&session.deposit_address, &session.deposit_network),
        (&session.signing_address, &session.signing_network)
    );
    assert_eq!((session.account_id.as_str(), session.authenticate_time), ("", None));
    let life = session.expire_time.unwrap().seconds - session.create_time.unwrap().seconds;
    assert_eq!(life, 600);
    assert_eq!(store.count("sessions", "token_hash IS NOT NULL").await, 1);
}

async fn a_deposit_may_go_to_another_network(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let deposit = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
    let request = CreateSessionRequest {
        deposit_address: deposit.to_owned(),
        deposit_network: "SOLANA".to_owned(),
        ..session_for(&wallet())
    };
    let session = client.create_session(request).await.unwrap().session.unwrap();
    assert_eq!(session.deposit_address, deposit);
    assert_eq!(session.deposit_network, "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp");
}

async fn a_wrong_field_is_named_and_nothing_is_written(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let good = session_for(&wallet());
    let text = |text: &str| text.to_owned();
    for (request, expected) in [
        (
            CreateSessionRequest { signing_address: text(""), ..good.clone() },
            ("INVALID_ADDRESS", "signing_address"),
        ),
        (
            CreateSessionRequest { signing_address: text("0x12"), ..good.clone() },
            ("INVALID_ADDRESS", "signing_address"),
        ),
        (
            CreateSessionRequest {
                signing_address: text("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
                ..good.clone()
            },
            ("INVALID_ADDRESS", "signing_address"),
        ),
        (
            CreateSessionRequest { signing_address: text("'; DROP TABLE sessions; --"), ..good.clone() },
            ("INVALID_ADDRESS", "signing_address"),
        ),
        (
            CreateSessionRequest { signing_network: text(""), ..good.clone() },
            ("INVALID_NETWORK", "signing_network"),
        ),
        (
            CreateSessionRequest { signing_network: text("eip155:01"), ..good.clone() },
            ("INVALID_NETWORK", "signing_network"),
        ),
        (
            CreateSessionRequest { deposit_address: text("0x"), ..good.clone() },
            ("INVALID_ADDRESS", "deposit_address"),
        ),
        (
            CreateSessionRequest { deposit_network: text("moon:1"), ..good.clone() },
            ("INVALID_NETWORK", "deposit_network"),
        ),
        (
            CreateSessionRequest { deposit_network: text("SOLANA"), ..good.clone() },
            ("INVALID_ADDRESS", "deposit_address"),
        ),
    ] {
        let (reason, field) = wrong_field(client.create_session(request).await);
        assert_eq!((reason.as_str(), field.as_str()), expected);
    }
    assert_eq!(store.count("sessions", "1 = 1").await, 0);
}

async fn networks_outside_the_policy_are_denied(store: &TestStore) {
    let server = Server::start(store).await;
    let networks = vec![NetworkRule::parse("networks", "POLYGON").unwrap()];
    let client = server.client(Policy { networks, ..Policy::default() }).await;
    let status = client.create_session(session_for(&wallet())).await.unwrap_err();
    assert!(status.message().contains("networks"), "{status:?}");
    assert_eq!(refusal::<()>(Err(status)), (Code::PermissionDenied, "POLICY_DENIED".to_owned()));
    let polygon = CreateSessionRequest { signing_network: "POLYGON".to_owned(), ..session_for(&wallet()) };
    client.create_session(polygon).await.unwrap();
}

async fn a_session_is_visible_to_its_client_device_and_user_only(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let stranger = server.client(Policy::default()).await;
    let wallet = wallet();
    let (session, device) = client.device_of(&wallet).await;
    let challenge = device.challenge_for(&wallet).await;
    let tokens = device.redeem(&wallet, &challenge).await.unwrap().tokens.unwrap();
    let user = client.with(&format!("JWT {}", tokens.access_token));
    for caller in [&client.caller, &device, &user] {
        let seen = caller.get_session(&session.id).await.unwrap();
        assert_eq!((seen.id.as_str(), seen.state()), (session.id.as_str(), SessionState::Active));
    }
    let (other_session, other_device) = client.device_of(&wallet).await;
    let not_found = (Code::NotFound, "SESSION_NOT_FOUND".to_owned());
    assert_eq!(refusal(stranger.get_session(&session.id).await), not_found);
    assert_eq!(refusal(other_device.get_session(&session.id).await), not_found);
    assert_eq!(refusal(user.get_session(&other_session.id).await), not_found);
    assert_eq!(refusal(stranger.revoke_session(&session.id).await), not_found);
    assert_eq!(refusal(user.revoke_session(&other_session.id).await), not_found);
    assert_eq!(
        wrong_field(client.get_session("not a uuid").await),
        ("INVALID_REQUEST".into(), "session_id".into())
    );
}

async fn an_expired_session_is_answered_with_its_state(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (session, device) = client.device_of(&wallet()).await;
    store.age("sessions", session.id.parse().unwrap(), 601).await;
    for caller in [&client.caller, &device] {
        assert_eq!(caller.get_session(&session.id).await.unwrap().state(), SessionState::Expired);
    }
    assert_eq!(reason(device.start(Default::default()).await), "SESSION_TOKEN_EXPIRED");
}

async fn sessions_are_listed_newest_first_page_by_page(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let stranger = server.client(Policy::default()).await;
    let wallet = wallet();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, client.sign_in(&wallet).await.session.unwrap());
    }
    stranger.sign_in(&wallet).await;
    let address = wallet.address().as_str().to_lowercase();
    for filter in [
        ListSessionsRequest { address, page_size: 2, ..Default::default() },
        ListSessionsRequest { account_id: made[0].account_id.clone(), page_size: 2, ..Default::default() },
    ] {
        let mut listed = Vec::new();
        let mut page_token = String::new();
        for size in [2, 2, 1] {
            let page =
                client.list_sessions(ListSessionsRequest { page_token, ..filter.clone() }).await.unwrap();
            assert_eq!(page.sessions.len(), size);
            listed.extend(page.sessions);
            page_token = page.next_page_token;
        }
        assert_eq!(page_token, "");
        assert_eq!(listed, made);
    }
}

async fn a_list_needs_exactly_one_filter(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let account_id = client.client.id.to_string();
    let address = wallet().address().to_string();
    for (request, field) in [
        (ListSessionsRequest::default(), "account_id"),
        (ListSessionsRequest { account_id: account_id.clone(), address, ..Default::default() }, "address"),
        (ListSessionsRequest { account_id: "x".into(), ..Default::default() }, "account_id"),
        (ListSessionsRequest { address: "x".into(), ..Default::default() }, "address"),
        (
            ListSessionsRequest { account_id: account_id.clone(), page_size: -1, ..Default::default() },
            "page_size",
        ),
        (ListSessionsRequest { account_id, page_token: "x".into(), ..Default::default() }, "page_token"),
    ] {
        assert_eq!(wrong_field(client.list_sessions(request).await).1, field);
    }
}

async fn revoking_is_idempotent_and_the_first_reason_stays(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let signed_in = client.sign_in(&wallet()).await;
    let (session, tokens) = (signed_in.session.unwrap(), signed_in.tokens.unwrap());
    let user = client.with(&format!("Bearer {}", tokens.access_token));
    let first = user.revoke_session(&session.id).await.unwrap();
    assert_eq!((first.state(), first.revoke_reason()), (SessionState::Revoked, RevokeReason::RevokedByUser));
    assert_eq!(client.revoke_session(&session.id).await.unwrap(), first);
    assert_eq!(reason(user.get_session(&session.id).await), "SESSION_REVOKED");
    assert_eq!(reason(client.refresh(&tokens.refresh_token).await), "SESSION_REVOKED");
}

async fn logging_out_everywhere_ends_what_the_caller_may_end(store: &TestStore) {
    let server = Server::start(store).await;
    let one = server.client_of("shops", Policy::default()).await;
    let two = server.client_of("shops", Policy::default()).await;
    let stranger = server.client(Policy::default()).await;
    let wallet = wallet();
    let account = one.sign_in(&wallet).await.account.unwrap();
    let at_two = two.sign_in(&wallet).await;
    assert_eq!(at_two.account.as_ref().unwrap().id, account.id, "one realm, one account");
    one.sign_in(&wallet).await;

    assert_eq!(reason(stranger.revoke_account_sessions(&account.id).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(one.revoke_account_sessions(&account.id).await.unwrap(), 2, "its own only");
    assert_eq!(one.revoke_account_sessions(&account.id).await.unwrap(), 0);
    one.sign_in(&wallet).await;
    let user = two.with(&format!("Bearer {}", at_two.tokens.unwrap().access_token));
    let other_account = one.sign_in(&crate::harness::wallet()).await.account.unwrap();
    assert_eq!(reason(user.revoke_account_sessions(&other_account.id).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(user.revoke_account_sessions(&account.id).await.unwrap(), 2, "at every client");
}

//! ChallengeService: challenges handed out and redeemed.

use countersign::{
    domain::{Policy, TextTemplate},
    grpc::v1::{
        ChallengeFormat, SessionState, StartChallengeRequest, VerificationMethod, VerifyChallengeRequest,
    },
    wallet::evm::EvmPrivateKey,
};

use crate::{
    harness::{
        ISSUER, Server, by_address, by_id, claims, reason, session_for, start_for, wallet, wrong_field,
    },
    support::TestStore,
};

on_both_stores![
    a_device_signs_in_by_address_alone,
    a_client_signs_in_without_a_session_beforehand,
    a_challenge_is_found_by_id_nonce_or_address_and_all_must_agree,
    the_text_is_the_clients_template_to_the_byte,
    a_session_pays_whom_the_client_named,
    a_spent_signature_is_refused_in_every_encoding,
    a_wrong_signature_changes_nothing,
    a_strangers_challenges_do_not_burn_the_victims,
    a_challenge_of_another_client_or_session_is_not_found,
    a_session_is_signed_in_once,
    an_expired_challenge_is_refused,
    a_session_asks_only_its_own_address,
    a_wrong_field_is_named_and_nothing_is_written,
    what_looks_like_an_injection_is_only_a_wrong_field,
];

async fn a_device_signs_in_by_address_alone(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    for created in [true, false] {
        let (session, device) = client.device_of(&wallet).await;
        let challenge = device.start(Default::default()).await.unwrap();
        let answer = device.verify(by_address(&wallet, &wallet.sign_text(&challenge.message))).await.unwrap();
        let active = answer.session.unwrap();
        assert_eq!((active.id, active.state), (session.id, SessionState::Active.into()));
        assert_eq!(answer.account.unwrap().created, created);
    }
    assert_eq!(store.count("accounts", "1 = 1").await, 1);
}

async fn a_client_signs_in_without_a_session_beforehand(store: &TestStore) {
    let server = Server::start(store).await;
    let policy = Policy { scope: "shop:buy".to_owned(), ..Policy::default() };
    let client = server.client(policy).await;
    let wallet = wallet();
    let answer = client.sign_in(&wallet).await;
    let (session, account, tokens) =
        (answer.session.unwrap(), answer.account.unwrap(), answer.tokens.unwrap());
    let verification = answer.verification.unwrap();
    assert_eq!(verification.method(), VerificationMethod::Eoa);
    assert_eq!(
        (verification.address, verification.network),
        (wallet.address().to_string(), "eip155:1".into())
    );
    assert_eq!(
        (session.account_id.as_str(), session.signing_address),
        (account.id.as_str(), wallet.address().to_string())
    );

    let claims = claims(&tokens.access_token);
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let expected = serde_json::json!({
        "iss": ISSUER, "aud": client.client.id.to_string(), "sub": account.id,
        "client_id": client.client.id.to_string(), "iat": iat, "exp": iat + 1800, "jti": claims["jti"],
        "sid": session.id, "auth_time": session.authenticate_time.unwrap().seconds, "token_type": "access",
        "address": wallet.address().as_str(), "network": "eip155:1", "wallet_kind": "eoa",
        "deposit_address": wallet.address().as_str(), "deposit_network": "eip155:1", "scope": "shop:buy",
    });
    assert_eq!(claims, expected);
    assert_eq!(tokens.access_token_expire_time.unwrap().seconds, exp);
    assert_eq!(tokens.refresh_token_expire_time, session.expire_time);
    assert_eq!(tokens.token_type, "Bearer");
}

async fn a_challenge_is_found_by_id_nonce_or_address_and_all_must_agree(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let none = VerifyChallengeRequest::default();
    for by in 0..4 {
        let challenge = client.challenge_for(&wallet).await;
        let signature = wallet.sign_text(&challenge.message);
        let (challenge_id, nonce) = (challenge.id.clone(), challenge.nonce.clone());
        let (address, network) = (challenge.address.clone(), challenge.network.clone());
        let request = match by {
            0 => VerifyChallengeRequest { challenge_id, ..none.clone() },
            1 => VerifyChallengeRequest { nonce, ..none.clone() },
            2 => VerifyChallengeRequest { address, ..none.clone() },
            _ => VerifyChallengeRequest {
                challenge_id,
                nonce,
                address,
                network,
                message: challenge.message.clone(),
                ..none.clone()
            },
        };
        client.verify(VerifyChallengeRequest { signature, ..request }).await.unwrap();
    }
    let challenge = client.challenge_for(&wallet).await;
    let named = by_id(&challenge, &wallet.sign_text(&challenge.message));
    for (request, field) in [
        (VerifyChallengeRequest { nonce: "other".into(), ..named.clone() }, "nonce"),
        (
            VerifyChallengeRequest {
                address: crate::harness::wallet().address().to_string(),
                ..named.clone()
            },
            "address",
        ),
        (VerifyChallengeRequest { network: "POLYGON".into(), ..named.clone() }, "network"),
        (
            VerifyChallengeRequest { message: challenge.message.replace('\n', "\r\n"), ..named.clone() },
            "message",
        ),
    ] {
        assert_eq!(wrong_field(client.verify(request).await).1, field);
    }
    client.verify(named).await.unwrap();
}

async fn the_text_is_the_clients_template_to_the_byte(store: &TestStore) {
    let server = Server::start(store).await;
    let template = "You’re now signing into {app}, make sure the origin is {origin} (Login-code:{nonce})";
    let policy = Policy {
        text_template: TextTemplate::parse(template).unwrap(),
        app: "Brine Testnet".to_owned(),
        origin: "https://brine.example".to_owned(),
        ..Policy::default()
    };
    let client = server.client(policy).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    assert_eq!(
        challenge.message,
        format!(
            "You’re now signing into Brine Testnet, make sure the origin is https://brine.example (Login-code:{})",
            challenge.nonce
        )
    );
    assert_eq!((challenge.nonce.len(), challenge.format()), (22, ChallengeFormat::Text));
    let life = challenge.expire_time.unwrap().seconds - challenge.create_time.unwrap().seconds;
    assert_eq!(life, 120);
    client.redeem(&wallet, &challenge).await.unwrap();
}

async fn a_session_pays_whom_the_client_named(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (wallet, payee) = (wallet(), wallet());
    let mut request = session_for(&wallet);
    request.deposit_address = payee.address().to_string();
    request.deposit_network = "POLYGON".to_owned();
    let token = client.create_session(request).await.unwrap().session_token;
    let device = client.with(&format!("bearer {token}"));
    let answer = device.sign_in(&wallet).await;
    let claims = claims(&answer.tokens.unwrap().access_token);
    assert_eq!(claims["deposit_address"], payee.address().as_str());
    assert_eq!(claims["deposit_network"], "eip155:137");
}

async fn a_spent_signature_is_refused_in_every_encoding(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let spent = wallet.sign_text(&challenge.message);
    client.verify(by_id(&challenge, &spent)).await.unwrap();
    let mut bytes = hex::decode(&spent[2..]).unwrap();
    let odd = bytes[64] - 27;
    bytes[32] |= odd << 7;
    let eip2098 = hex::encode(&bytes[..64]);
    for twin in [spent.clone(), spent[2..].to_uppercase(), eip2098] {
        assert_eq!(reason(client.verify(by_id(&challenge, &twin)).await), "CHALLENGE_ALREADY_USED");
        assert_eq!(reason(client.verify(by_address(&wallet, &twin)).await), "CHALLENGE_ALREADY_USED");
    }
    let next = client.challenge_for(&wallet).await;
    assert_eq!(reason(client.verify(by_id(&next, &spent)).await), "SIGNATURE_MISMATCH");
    assert_eq!(reason(client.verify(by_address(&wallet, &spent)).await), "SIGNATURE_MISMATCH");
}

async fn a_wrong_signature_changes_nothing(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let stranger = crate::harness::wallet().sign_text(&challenge.message);
    let other_text = wallet.sign_text("something else");
    let mut flipped = hex::decode(&wallet.sign_text(&challenge.message)[2..]).unwrap();
    flipped[64] = 55 - flipped[64];
    for wrong in [stranger, other_text, hex::encode(flipped)] {
        assert_eq!(reason(client.verify(by_id(&challenge, &wrong)).await), "SIGNATURE_MISMATCH");
        assert_eq!(reason(client.verify(by_address(&wallet, &wrong)).await), "SIGNATURE_MISMATCH");
    }
    for malformed in ["", "0x", "zz", "0x1234", &"00".repeat(65), &"ff".repeat(65)] {
        let refused = wrong_field(client.verify(by_id(&challenge, malformed)).await);
        assert_eq!(refused, ("INVALID_SIGNATURE_ENCODING".into(), "signature".into()), "{malformed}");
    }
    assert_eq!(store.count("sessions", "1 = 1").await + store.count("accounts", "1 = 1").await, 0);
    client.redeem(&wallet, &challenge).await.unwrap();
}

async fn a_strangers_challenges_do_not_burn_the_victims(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let victim = wallet();
    let challenge = client.challenge_for(&victim).await;
    for _ in 0..20 {
        let strange = client.challenge_for(&victim).await;
        let wrong = wallet().sign_text(&strange.message);
        assert_eq!(reason(client.verify(by_address(&victim, &wrong)).await), "SIGNATURE_MISMATCH");
    }
    let signature = victim.sign_text(&challenge.message);
    let answer = client.verify(by_address(&victim, &signature)).await.unwrap();
    assert!(answer.account.unwrap().created);
}

async fn a_challenge_of_another_client_or_session_is_not_found(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, stranger) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let wallet = wallet();
    let (_, device) = client.device_of(&wallet).await;
    let (_, other_device) = client.device_of(&wallet).await;
    let (of_client, of_device) = (client.challenge_for(&wallet).await, device.challenge_for(&wallet).await);
    for (challenge, callers) in
        [(&of_client, vec![&stranger.caller, &device]), (&of_device, vec![&stranger.caller, &other_device])]
    {
        for caller in callers {
            let signature = wallet.sign_text(&challenge.message);
            let by_nonce = VerifyChallengeRequest {
                nonce: challenge.nonce.clone(),
                signature: signature.clone(),
                ..Default::default()
            };
            assert_eq!(reason(caller.redeem(&wallet, challenge).await), "CHALLENGE_NOT_FOUND");
            assert_eq!(reason(caller.verify(by_nonce).await), "CHALLENGE_NOT_FOUND");
        }
    }
    let never_issued = by_address(&crate::harness::wallet(), &wallet.sign_text("x"));
    assert_eq!(reason(client.verify(never_issued).await), "CHALLENGE_NOT_FOUND");
    client.redeem(&wallet, &of_client).await.unwrap();
    device.redeem(&wallet, &of_device).await.unwrap();
}

async fn a_session_is_signed_in_once(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let (session, device) = client.device_of(&wallet).await;
    let (one, two) = (device.challenge_for(&wallet).await, device.challenge_for(&wallet).await);
    let tokens = device.redeem(&wallet, &one).await.unwrap().tokens.unwrap();
    assert_eq!(reason(device.redeem(&wallet, &two).await), "SESSION_ALREADY_ACTIVE");
    assert_eq!(reason(client.redeem(&wallet, &two).await), "SESSION_ALREADY_ACTIVE");
    assert_eq!(reason(device.start(start_for(&wallet)).await), "SESSION_ALREADY_ACTIVE");
    client.refresh(&tokens.refresh_token).await.unwrap();

    client.revoke_session(&session.id).await.unwrap();
    assert_eq!(reason(device.redeem(&wallet, &two).await), "SESSION_REVOKED");
    let (late, late_device) = client.device_of(&wallet).await;
    let challenge = late_device.challenge_for(&wallet).await;
    store.age("sessions", late.id.parse().unwrap(), 601).await;
    assert_eq!(reason(late_device.redeem(&wallet, &challenge).await), "SESSION_EXPIRED");
}

async fn an_expired_challenge_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    store.age("challenges", challenge.id.parse().unwrap(), 121).await;
    let signature = wallet.sign_text(&challenge.message);
    assert_eq!(reason(client.verify(by_id(&challenge, &signature)).await), "CHALLENGE_EXPIRED");
    assert_eq!(reason(client.verify(by_address(&wallet, &signature)).await), "CHALLENGE_EXPIRED");
    assert_eq!(store.count("sessions", "1 = 1").await, 0);
}

async fn a_session_asks_only_its_own_address(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (wallet, attacker) = (wallet(), wallet());
    let (_, device) = client.device_of(&wallet).await;
    assert_eq!(
        wrong_field(device.start(start_for(&attacker)).await),
        ("INVALID_ADDRESS".into(), "address".into())
    );
    let elsewhere = StartChallengeRequest { network: "SOLANA".into(), ..Default::default() };
    assert_eq!(wrong_field(device.start(elsewhere).await), ("INVALID_NETWORK".into(), "network".into()));
    // An externally owned account is the same wallet on every EVM chain.
    let polygon = StartChallengeRequest { network: "POLYGON".into(), ..Default::default() };
    let challenge = device.start(polygon).await.unwrap();
    let verification = device.redeem(&wallet, &challenge).await.unwrap().verification.unwrap();
    assert_eq!(verification.network, "eip155:137");
}

async fn a_wrong_field_is_named_and_nothing_is_written(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let good = start_for(&wallet);
    for (request, field) in [
        (StartChallengeRequest { address: String::new(), ..good.clone() }, "address"),
        (StartChallengeRequest { address: "0x0".into(), ..good.clone() }, "address"),
        (StartChallengeRequest { network: "moon".into(), ..good.clone() }, "network"),
        (StartChallengeRequest { network: "SOLANA".into(), ..good.clone() }, "address"),
        (StartChallengeRequest { format: 99, ..good.clone() }, "format"),
    ] {
        assert_eq!(wrong_field(client.start(request).await).1, field);
    }
    assert_eq!(store.count("challenges", "1 = 1").await, 0);
    let signature = wallet.sign_text("x");
    let signed = VerifyChallengeRequest { signature, ..Default::default() };
    for (request, field) in [
        (signed.clone(), "challenge_id"),
        (VerifyChallengeRequest { challenge_id: "x".into(), ..signed.clone() }, "challenge_id"),
        (VerifyChallengeRequest { nonce: "not alphanumeric!".into(), ..signed.clone() }, "nonce"),
        (VerifyChallengeRequest { address: "x".into(), ..signed.clone() }, "address"),
        (VerifyChallengeRequest { network: "x".into(), ..signed.clone() }, "network"),
    ] {
        assert_eq!(wrong_field(client.verify(request).await).1, field);
    }
}

async fn what_looks_like_an_injection_is_only_a_wrong_field(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let challenge = client.challenge_for(&wallet()).await;
    for text in ["'; DROP TABLE challenges; --", "\u{0}", "{nonce}", "\r\nlevel=ERROR forged", "%00", "\\"] {
        let request = VerifyChallengeRequest {
            nonce: text.into(),
            signature: EvmPrivateKey::generate(|| [7; 32]).sign_text("x"),
            ..Default::default()
        };
        assert_eq!(wrong_field(client.verify(request).await).1, "nonce", "{text}");
        let request = StartChallengeRequest { address: text.into(), ..Default::default() };
        assert_eq!(wrong_field(client.start(request).await).1, "address", "{text}");
        let message = VerifyChallengeRequest {
            challenge_id: challenge.id.clone(),
            message: text.into(),
            signature: EvmPrivateKey::generate(|| [7; 32]).sign_text("x"),
            ..Default::default()
        };
        assert_eq!(wrong_field(client.verify(message).await).1, "message", "{text}");
    }
    assert_eq!(store.count("challenges", "1 = 1").await, 1);
}

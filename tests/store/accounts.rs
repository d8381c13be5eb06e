//! Accounts are read with their wallets.

use countersign::domain::{AccountId, WalletKind};

use crate::{
    fixture::{Bench, REALM, new_address},
    linking::{contract, link, linked, wallet_link},
    support::TestStore,
};

on_both_stores!(
    an_account_is_read_with_its_wallets_in_the_order_of_their_links,
    an_account_is_none_for_another_realm,
    a_wallet_is_told_by_its_kind_and_network,
);

async fn an_account_is_read_with_its_wallets_in_the_order_of_their_links(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (first, second) = (new_address(), new_address());
    let user = bench.sign_in(&first).await;
    let alone = bench.account(user.account.id).await;
    assert_eq!((alone.account.id, alone.account.create_time), (user.account.id, user.account.create_time));
    assert_eq!(alone.wallets[0].link_time, user.account.create_time);
    assert_eq!(alone.wallets[0].last_sign_in_time, Some(user.account.create_time));

    let answered = linked(bench.link(&user, &second).await);
    assert_eq!(bench.account(user.account.id).await, answered);
    assert_eq!(bench.addresses(&user).await, [first, second.clone()]);
    assert_eq!(answered.wallets[0], alone.wallets[0]);
    assert!(answered.wallets[1].link_time > alone.wallets[0].link_time);
    assert_eq!(answered.wallets[1].last_sign_in_time, None);
    bench.sign_in(&second).await;
    assert!(bench.account(user.account.id).await.wallets[1].last_sign_in_time.is_some());
}

async fn an_account_is_none_for_another_realm(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.account.id;
    let own = bench.store.account(id, Some(REALM)).await.unwrap().unwrap();
    assert_eq!(own, bench.account(id).await);
    assert_eq!(bench.store.account(id, Some("banks")).await.unwrap(), None);
    assert_eq!(bench.store.account(AccountId::generate(), Some(REALM)).await.unwrap(), None);
    assert_eq!(bench.store.account(AccountId::generate(), None).await.unwrap(), None);
}

async fn a_wallet_is_told_by_its_kind_and_network(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (key, safe) = (new_address(), new_address());
    let user = bench.sign_in(&key).await;
    for network in ["eip155:10", "POLYGON"] {
        let challenge = bench.link_challenge(&user, &safe).await;
        let mut by_contract = wallet_link(&user, &challenge);
        by_contract.verification = contract(&safe, network);
        linked(link(bench.store.clone(), by_contract).await);
    }
    let wallets = bench.account(user.account.id).await.wallets;
    let told: Vec<_> =
        wallets.iter().map(|it| (&it.wallet.address, it.wallet.network.as_str(), it.wallet.kind)).collect();
    let expected = [
        (&key, "eip155:1", WalletKind::Eoa),
        (&safe, "eip155:10", WalletKind::Contract),
        (&safe, "eip155:137", WalletKind::Contract),
    ];
    assert_eq!(told, expected);
}

//! What the cases of linked wallets start from: linking challenges, and wallets that sign them.

use std::{sync::Arc, time::Duration};

use countersign::{
    domain::{
        AccountId, Address, ChainAddress, Challenge, LinkedWallets, Network, Verification,
        VerificationMethod, Wallet, WalletKind,
    },
    store::{
        LinkOutcome, NewChallenge, RedeemOutcome, Redemption, SignedIn, SignedInAs, Store, UnlinkOutcome,
        WalletLink, WalletUnlink,
    },
};

use crate::fixture::{Bench, redeem, redemption, retry_while_locked, signed_in, wallet_of};

/// How old a sign-in may be, in seconds.
pub const REAUTH_SECONDS: i64 = 600;

/// Who a sign-in was.
pub fn who(user: &SignedIn) -> SignedInAs {
    SignedInAs { session_id: user.session.id, account_id: user.account.id }
}

impl Bench<'_> {
    /// A challenge that links a wallet to what somebody signed in to.
    pub async fn link_challenge(&self, user: &SignedIn, address: &Address) -> Challenge {
        let unbound = self.new_challenge(&self.client, address).await;
        let new = NewChallenge {
            session_id: Some(user.session.id),
            link_to: Some(user.account.id),
            client_id: user.session.client_id,
            ..unbound
        };
        self.store.issue_challenge(new).await.unwrap()
    }

    /// A wallet that has signed such a challenge.
    pub async fn wallet_link(&self, user: &SignedIn, address: &Address) -> WalletLink {
        wallet_link(user, &self.link_challenge(user, address).await)
    }

    /// The same, linked or not.
    pub async fn link(&self, user: &SignedIn, address: &Address) -> LinkOutcome {
        link(Arc::clone(&self.store), self.wallet_link(user, address).await).await
    }

    /// Unlinks a plain key, or not.
    pub async fn unlink(&self, user: &SignedIn, address: &Address) -> UnlinkOutcome {
        unlink(Arc::clone(&self.store), wallet_unlink(user, address)).await
    }

    /// An account with its wallets.
    pub async fn account(&self, id: AccountId) -> LinkedWallets {
        self.store.account(id, None).await.unwrap().unwrap()
    }

    /// The addresses of an account's wallets.
    pub async fn addresses(&self, user: &SignedIn) -> Vec<Address> {
        self.account(user.account.id).await.wallets.into_iter().map(|linked| linked.wallet.address).collect()
    }

    /// Signs in with the contract at an address, on a chain.
    pub async fn contract_sign_in(&self, address: &Address, network: &str) -> SignedIn {
        let challenge = self.challenge(address).await;
        let verification = contract(address, network);
        let redemption = Redemption { verification, ..redemption(&self.client, &challenge) };
        signed_in(redeem(Arc::clone(&self.store), redemption).await)
    }
}

/// A contract wallet that has signed.
pub fn contract(address: &Address, network: &str) -> Verification {
    let ChainAddress { address, network } =
        ChainAddress { address: address.clone(), network: Network::parse("", network).unwrap() };
    let wallet = Wallet { address, network, kind: WalletKind::Contract };
    Verification { wallet, method: VerificationMethod::Eip1271 { block_number: 7 } }
}

/// The wallet that was asked to sign a linking challenge has.
pub fn wallet_link(user: &SignedIn, challenge: &Challenge) -> WalletLink {
    WalletLink {
        who: who(user),
        challenge_id: challenge.id,
        verification: Verification { wallet: wallet_of(challenge), method: VerificationMethod::Eoa },
        reauth_window: Duration::from_secs(REAUTH_SECONDS.unsigned_abs()),
        max_wallets: 16,
    }
}

/// A plain key that is to be unlinked.
pub fn wallet_unlink(user: &SignedIn, address: &Address) -> WalletUnlink {
    WalletUnlink {
        who: who(user),
        address: address.clone(),
        network: Network::ethereum(),
        reauth_window: Duration::from_secs(REAUTH_SECONDS.unsigned_abs()),
    }
}

/// Links as a task of its own can.
pub async fn link(store: Arc<dyn Store>, link: WalletLink) -> LinkOutcome {
    retry_while_locked(|| store.link_wallet(link.clone())).await
}

/// Unlinks as a task of its own can.
pub async fn unlink(store: Arc<dyn Store>, unlink: WalletUnlink) -> UnlinkOutcome {
    retry_while_locked(|| store.unlink_wallet(unlink.clone())).await
}

/// The account that a wallet must have been linked to.
pub fn linked(outcome: LinkOutcome) -> LinkedWallets {
    match outcome {
        LinkOutcome::Linked(account) => *account,
        other => panic!("not linked: {other:?}"),
    }
}

/// The account that a sign-in came to.
pub fn account_of(outcome: RedeemOutcome) -> AccountId {
    signed_in(outcome).account.id
}

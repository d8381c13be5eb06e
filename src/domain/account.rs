//! Accounts and the wallets behind them.

use time::OffsetDateTime;

use super::{AccountId, Address, Namespace, Network};

/// The person behind one or more wallets, within one realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// Whether this very sign-in made it.
    pub created: bool,
}

/// An account with the wallets that sign in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWallets {
    /// The account.
    pub account: Account,
    /// Its wallets, in the order in which they were linked; there is always one.
    pub wallets: Vec<LinkedWallet>,
}

/// A wallet of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWallet {
    /// The wallet; a plain key's network stands for every chain that it is the same wallet on.
    pub wallet: Wallet,
    /// When it was linked: for the first one, when it first signed in.
    pub link_time: OffsetDateTime,
    /// When it last signed in.
    pub last_sign_in_time: Option<OffsetDateTime>,
}

/// How a wallet proves itself; it is part of what the wallet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalletKind {
    /// An externally owned account: a secp256k1 key, the same wallet on every EVM chain.
    Eoa,
    /// A contract wallet (EIP-1271), on one chain.
    Contract,
    /// A Solana wallet: an Ed25519 key.
    Ed25519,
}

impl WalletKind {
    /// The claim `wallet_kind`, and what the store keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eoa => "eoa",
            Self::Contract => "contract",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Returns whether the wallet signs in to a session with any signing network of its namespace. The others sign in
    /// on their own network only.
    pub const fn signs_on_any_network(self) -> bool {
        match self {
            Self::Eoa => true,
            Self::Contract | Self::Ed25519 => false,
        }
    }

    /// Returns whether the address identifies the wallet on its chain only.
    pub const fn is_bound_to_chain(self) -> bool {
        self.namespace().is_none()
    }

    /// Namespace within which the address identifies the wallet; `None` for a wallet that is bound to its chain, since
    /// the same address on another chain may belong to someone else.
    const fn namespace(self) -> Option<Namespace> {
        match self {
            Self::Eoa => Some(Namespace::Eip155),
            Self::Contract => None,
            Self::Ed25519 => Some(Namespace::Solana),
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Eoa, Self::Contract, Self::Ed25519].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A wallet whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// The address that signed.
    pub address: Address,
    /// The network it signed for.
    pub network: Network,
    /// How it proved itself.
    pub kind: WalletKind,
}

impl Wallet {
    /// Scope within which the address identifies the wallet: a namespace or one chain.
    pub fn identity_scope(&self) -> &str {
        self.kind.namespace().map_or(self.network.as_str(), |namespace| namespace.as_str())
    }

    /// Wallet that an address identifies within an [`Self::identity_scope`].
    pub fn from_identity(scope: String, address: Address, kind: WalletKind) -> Self {
        let network = kind.namespace().map_or_else(|| Network::from_canonical(scope), Network::main);
        Self { address, network, kind }
    }

    /// Returns whether the wallet may sign in to a session with this signing network: a plain EVM key on any chain, any
    /// other wallet on its own network only. The redeeming statements enforce the same rule.
    pub fn signs_on(&self, network: &Network) -> bool {
        self.kind.signs_on_any_network() || self.network == *network
    }
}

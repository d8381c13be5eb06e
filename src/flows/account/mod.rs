//! AccountService: the wallets of an account.

mod get;
pub mod link_wallet;
pub mod unlink_wallet;

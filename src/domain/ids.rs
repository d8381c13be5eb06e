//! Ids: UUIDs that cannot be taken for one another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Violation;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id. The time inside (RFC 9562, version 7) keeps index pages together and decides
            /// nothing.
            #[expect(clippy::disallowed_methods, reason = "the one place where ids are made")]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Reads an id that `field` carries.
            ///
            /// # Errors
            /// A violation of `field` unless it is a UUID.
            pub fn parse(field: &str, text: &str) -> Result<Self, Violation> {
                text.parse().map_err(|_| Violation::request(field, "must be a UUID"))
            }

            /// The id as the store keeps it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// The id of a client.
    ClientId
);
id!(
    /// The id of a session.
    SessionId
);
id!(
    /// The id of a challenge.
    ChallengeId
);
id!(
    /// The id of an account: the `sub` of its tokens, stable for ever.
    AccountId
);
id!(
    /// The id of one access token: its `jti`.
    TokenId
);
id!(
    /// The id of a client secret.
    SecretId
);
id!(
    /// The id of a call that came without one.
    RequestId
);

//! How long an access token may be accepted, and so how long keys and revocations have to be known.

use std::time::Duration;

/// The longest `access_token_ttl` of a policy.
pub(super) const MAX_ACCESS_TOKEN_TTL: Duration = Duration::from_hours(24);

/// The age at which no checker accepts an access token any more: the longest life, and an hour for clocks that are
/// behind. For this long a retired key stays published, and a revoked key or a deleted client stays known as such.
pub const MAX_ACCESS_TOKEN_AGE: Duration = MAX_ACCESS_TOKEN_TTL.saturating_add(Duration::from_hours(1));

/// How long past its expiry a checker may accept an access token, since clocks differ. A revoked session stays known for
/// this long after its last access token has expired.
pub const MAX_CHECKER_LEEWAY: Duration = Duration::from_mins(1);

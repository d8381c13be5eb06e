//! Limits on how long an access token may be accepted, and so on how long keys and revocations must be kept.

use std::time::Duration;

/// The longest `access_token_ttl` of a policy.
pub(super) const MAX_ACCESS_TOKEN_TTL: Duration = Duration::from_hours(24);

/// Age from which no checker accepts an access token: the longest life, and an hour for clocks that are behind. A retired
/// key stays published, and the revocation of a key or a client is kept, for this long.
pub const MAX_ACCESS_TOKEN_AGE: Duration = MAX_ACCESS_TOKEN_TTL.saturating_add(Duration::from_hours(1));

/// Leeway that a checker may grant an access token past its expiry, since clocks differ. The revocation of a session is
/// kept for this long after its last access token has expired.
pub const MAX_CHECKER_LEEWAY: Duration = Duration::from_mins(1);

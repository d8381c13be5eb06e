//! The `authorization` metadata of a call, taken apart.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tonic::{Request, metadata::MetadataMap};

use super::call_record::{Call, note_authenticated, note_client};
use crate::{
    domain::Secret,
    flows::{Caller, Credentials, Error, Flows, Presented, Target},
};

/// The caller behind a request; the call's line in the log names its client.
///
/// # Errors
/// As [`Flows::authenticate`].
pub async fn authenticated<T>(flows: &Flows, request: &Request<T>) -> Result<Caller, Error> {
    let caller = flows.authenticate(&presented(request)).await?;
    note_authenticated(request.extensions(), caller.client_id());
    Ok(caller)
}

/// The same for a request that revokes, whatever budget its session has left.
///
/// # Errors
/// As [`Flows::authenticate_to_revoke`].
pub async fn authenticated_to_revoke<T>(
    flows: &Flows,
    request: &Request<T>,
    target: Target<'_>,
) -> Result<Caller, Error> {
    let caller = flows.authenticate_to_revoke(&presented(request), target).await?;
    note_authenticated(request.extensions(), caller.client_id());
    Ok(caller)
}

/// The credentials of a call and the address that it came from. The call's line in the log names the client that the
/// credentials name, whether they are valid or not.
pub fn presented<T>(request: &Request<T>) -> Presented {
    let credentials = credentials(request.metadata());
    if let Credentials::Basic { client_id, .. } = &credentials
        && let Ok(id) = client_id.parse()
    {
        note_client(request.extensions(), id);
    }
    Presented { credentials, origin: request.extensions().get::<Call>().and_then(|call| call.origin) }
}

/// The credentials of a call. Two values cannot both be meant, and count as unreadable.
fn credentials(metadata: &MetadataMap) -> Credentials {
    let mut values = metadata.get_all("authorization").iter();
    match (values.next(), values.next()) {
        (None, _) => Credentials::None,
        (Some(value), None) => value.to_str().ok().and_then(read).unwrap_or(Credentials::Unreadable),
        (Some(_), Some(_)) => Credentials::Unreadable,
    }
}

/// RFC 9110, section 11.4: the scheme in any case, a space, and the credentials.
pub fn read(value: &str) -> Option<Credentials> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(rest);
    }
    let is_token = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("jwt");
    (is_token && !rest.is_empty()).then(|| Credentials::Token(Secret::new(rest.to_owned())))
}

/// RFC 7617: base64 of id, colon, secret. What is not that is nobody's credentials.
fn basic(encoded: &str) -> Option<Credentials> {
    let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (client_id, client_secret) =
        decoded.as_deref().and_then(|text| text.split_once(':')).unwrap_or_default();
    Some(Credentials::Basic {
        client_id: client_id.to_owned(),
        client_secret: Secret::new(client_secret.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Credentials {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("authorization", value.parse().unwrap());
        }
        credentials(&metadata)
    }

    #[test]
    fn schemes_are_read_in_any_case() {
        for value in ["Basic aWQ6c2VjOnJldA==", "basic  aWQ6c2VjOnJldA=="] {
            let Credentials::Basic { client_id, client_secret } = of(&[value]) else { panic!("{value}") };
            assert_eq!((client_id.as_str(), client_secret.expose().as_str()), ("id", "sec:ret"));
        }
        for value in ["Bearer cst_x", "bearer cst_x", "JWT cst_x", "jwt cst_x"] {
            let Credentials::Token(token) = of(&[value]) else { panic!("{value}") };
            assert_eq!(token.expose(), "cst_x");
        }
        for value in ["Basic !!", "Basic aWQ=", "Basic id:secret"] {
            let Credentials::Basic { client_id, client_secret } = of(&[value]) else { panic!("{value}") };
            assert_eq!((client_id.as_str(), client_secret.expose().as_str()), ("", ""));
        }
        assert!(matches!(of(&[]), Credentials::None));
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed_at() {
        for values in [&["Bearer"][..], &["Bearer "], &["Digest x"], &["Bearer a", "Bearer a"]] {
            assert!(matches!(of(values), Credentials::Unreadable), "{values:?}");
        }
    }
}

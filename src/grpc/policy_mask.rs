//! An update mask: which fields of a policy a call changes, and what comes of it.

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _};

use super::{policy, policy_file::descriptor, v1};
use crate::{
    domain::{Client, Policy},
    flows::{Error, Result},
};

/// The whole policy, but for the realm, which never changes.
const EVERYTHING: &str = "*";

/// A policy with what a mask names taken from another one; what that leaves out has its default.
///
/// # Errors
/// A violation of `update_mask` if it names nothing, or what is no field.
pub fn masked(
    base: &v1::ClientPolicy,
    given: &v1::ClientPolicy,
    mask: &[String],
) -> Result<v1::ClientPolicy> {
    let wrong = |why: String| Err(Error::invalid("update_mask", why));
    if mask.is_empty() {
        return wrong("is required: the fields to change, or `*` for all of them".to_owned());
    }
    if mask == [EVERYTHING] {
        let realm = if given.realm.is_empty() { &base.realm } else { &given.realm };
        return Ok(v1::ClientPolicy { realm: realm.clone(), ..given.clone() });
    }
    let (mut changed, given) = (dynamic(base)?, dynamic(given)?);
    for path in mask {
        if take(&mut changed, &given, path).is_none() {
            return wrong(format!("`{}` is no field of ClientPolicy", path.escape_debug()));
        }
    }
    changed.transcode_to().map_err(Error::internal)
}

/// The policy that a client is to have, of a message that was made from the one it has.
///
/// # Errors
/// If the realm would change, or the message is no policy.
pub fn changed(client: &Client, message: v1::ClientPolicy) -> Result<Policy> {
    if message.realm != v1::ClientPolicy::from(client.clone()).realm {
        return Err(Error::invalid("realm", "never changes"));
    }
    let (policy, _) = policy::policy(message).map_err(Error::Invalid)?;
    Ok(policy)
}

fn dynamic(policy: &v1::ClientPolicy) -> Result<DynamicMessage> {
    let descriptor = descriptor().map_err(Error::internal)?;
    DynamicMessage::decode(descriptor, policy.encode_to_vec().as_slice()).map_err(Error::internal)
}

/// Gives a field what it has elsewhere, or does not have; `None` where the path names no field.
fn take(message: &mut DynamicMessage, given: &DynamicMessage, path: &str) -> Option<()> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.descriptor().get_field_by_name(name)?;
    match rest {
        Some(rest) if has_parts(&field) => {
            let given = given.get_field(&field);
            return take(message.get_field_mut(&field).as_message_mut()?, given.as_message()?, rest);
        }
        Some(_) => return None,
        None if given.has_field(&field) => message.set_field(&field, given.get_field(&field).into_owned()),
        None => message.clear_field(&field),
    }
    Some(())
}

/// Whether a field is a message of the API's own; a duration, say, is one value.
fn has_parts(field: &FieldDescriptor) -> bool {
    let is_own = |kind| matches!(kind, Kind::Message(message) if message.package_name() == "countersign.v1");
    !field.is_list() && is_own(field.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> v1::ClientPolicy {
        v1::ClientPolicy {
            name: "Shop".to_owned(),
            realm: "shops".to_owned(),
            domains: vec!["shop.example".to_owned()],
            rate_limit: Some(v1::RateLimit {
                per_client: Some(1),
                per_session: Some(2),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn over(given: &v1::ClientPolicy, mask: &[&str]) -> Result<v1::ClientPolicy> {
        masked(&policy(), given, &mask.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_mask_names_is_changed_and_nothing_else() {
        let given =
            v1::ClientPolicy { name: "Store".to_owned(), scope: "a".to_owned(), ..Default::default() };
        let expected = v1::ClientPolicy { name: "Store".to_owned(), ..policy() };
        assert_eq!(over(&given, &["name"]).unwrap(), expected);
        let expected = v1::ClientPolicy { domains: vec![], scope: "a".to_owned(), ..policy() };
        assert_eq!(over(&given, &["domains", "scope"]).unwrap(), expected);
    }

    #[test]
    fn a_part_of_a_field_is_changed_by_itself() {
        let limit = v1::RateLimit { per_client: Some(7), ..Default::default() };
        let given = v1::ClientPolicy { rate_limit: Some(limit), ..Default::default() };
        let parts = over(&given, &["rate_limit.per_client"]).unwrap().rate_limit.unwrap();
        assert_eq!((parts.per_client, parts.per_session), (Some(7), Some(2)));
        let limit = v1::RateLimit { per_client_refresh: Some(8), ..Default::default() };
        let given = v1::ClientPolicy { rate_limit: Some(limit), ..Default::default() };
        let parts = over(&given, &["rate_limit.per_client_refresh"]).unwrap().rate_limit.unwrap();
        assert_eq!((parts.per_client, parts.per_client_refresh), (Some(1), Some(8)));
        let left_out = over(&v1::ClientPolicy::default(), &["rate_limit.per_client"]).unwrap();
        assert_eq!(left_out.rate_limit.unwrap().per_client, None);
        assert_eq!(over(&v1::ClientPolicy::default(), &["rate_limit"]).unwrap().rate_limit, None);
    }

    #[test]
    fn everything_is_the_whole_policy_but_for_the_realm() {
        let given = v1::ClientPolicy { name: "Store".to_owned(), ..Default::default() };
        let expected = v1::ClientPolicy { realm: "shops".to_owned(), ..given.clone() };
        assert_eq!(over(&given, &["*"]).unwrap(), expected);
        let elsewhere = v1::ClientPolicy { realm: "banks".to_owned(), ..given };
        assert_eq!(over(&elsewhere, &["*"]).unwrap().realm, "banks");
    }

    #[test]
    fn a_mask_that_names_no_field_is_refused() {
        for mask in [
            &[][..],
            &[""],
            &["nmae"],
            &["name", "nmae"],
            &["*", "name"],
            &["name.first"],
            &["domains.0"],
            &["challenge_ttl.seconds"],
            &["rate_limit."],
            &["rateLimit"],
        ] {
            let Err(Error::Invalid(violations)) = over(&policy(), mask) else { panic!("{mask:?}") };
            assert_eq!(violations[0].field, "update_mask", "{mask:?}");
        }
    }
}

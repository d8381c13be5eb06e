//! SQL that both backends share: columns, predicates, and what needs a root key.
//!
//! Columns are listed by name, since a newer version may add others while this one runs. Prepared statements keep
//! the columns they were prepared with: with `*`, PostgreSQL refuses such a statement once a migration has added a
//! column, and sqlx's worker for SQLite breaks on it.

/// The columns of a session, apart from `now`.
macro_rules! session_columns {
    () => {
        "id, client_id, signing_address, signing_network, deposit_address, deposit_network, \
         create_time, update_time, expire_time, account_id, wallet_address, wallet_network, wallet_kind, \
         authenticate_time, hard_expire_time, refresh_generation, refresh_fingerprint, revoke_time, \
         revoke_reason"
    };
}

/// The columns of a challenge.
macro_rules! challenge_columns {
    () => {
        "id, client_id, session_id, purpose, format, nonce, message, typed_data_json, address, network, \
         create_time, expire_time"
    };
}

/// Only challenges of a format in [`ChallengeFormat::ALL`]. In a rolling upgrade a newer version stores rows of formats
/// that this one does not know and must not read.
///
/// [`ChallengeFormat::ALL`]: crate::domain::ChallengeFormat::ALL
macro_rules! known_format {
    () => {
        "format IN ('TEXT', 'SIWX', 'TYPED_DATA', 'NONCE')"
    };
}

/// The formats of [`known_format`] as rows, so that an index is read for one format at a time.
macro_rules! format_rows {
    () => {
        "VALUES ('TEXT'), ('SIWX'), ('TYPED_DATA'), ('NONCE')"
    };
}

/// Only signing keys of an algorithm in [`SigningAlgorithm::ALL`], for the same reason.
///
/// [`SigningAlgorithm::ALL`]: crate::domain::SigningAlgorithm::ALL
macro_rules! known_algorithm {
    () => {
        "algorithm IN ('ES256', 'EdDSA', 'RS256')"
    };
}

/// Only sign-in challenges of a client and, unless it is NULL, of a session.
macro_rules! sign_in_in_scope {
    ($client:literal, $session:literal) => {
        concat!(
            "client_id = ",
            $client,
            " AND (",
            $session,
            " IS NULL OR session_id = ",
            $session,
            ") AND purpose = 'SIGN_IN' AND ",
            crate::store::sql_fragments::known_format!()
        )
    };
}

/// Networks on which a wallet is expected: the main ones, those of the latest sign-ins of its account, and the chains of
/// contract wallets at its address. Others cannot add to them: a sign-in requires the wallet's signature.
macro_rules! expected_networks {
    ($client:literal, $address:literal) => {
        concat!(
            "SELECT 'eip155:1' AS network UNION SELECT 'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp' \
             UNION SELECT wallet_network FROM ( \
                 SELECT wallet_network FROM sessions \
                 WHERE account_id = (SELECT account_id FROM wallets \
                                     WHERE realm = (SELECT realm FROM clients WHERE id = ",
            $client,
            ") AND scope IN ('eip155', 'solana') AND address = ",
            $address,
            " LIMIT 1) \
                 ORDER BY id DESC LIMIT 16) AS latest \
             UNION SELECT scope FROM ( \
                 SELECT scope FROM wallets \
                 WHERE realm = (SELECT realm FROM clients WHERE id = ",
            $client,
            ") AND address = ",
            $address,
            " AND scope NOT IN ('eip155', 'solana') \
                 ORDER BY last_sign_in_time DESC LIMIT 8) AS contracts"
        )
    };
}

/// Everything that needs a root key or ever did, one row each; `$now` is the backend's clock.
macro_rules! root_key_uses {
    ($now:literal) => {
        concat!(
            "SELECT root_fingerprint AS fingerprint, 1 AS signing_keys, 0 AS sessions, FALSE AS canary \
             FROM signing_keys WHERE revoke_time IS NULL AND (remove_time IS NULL OR remove_time > ",
            $now,
            ") UNION ALL \
             SELECT refresh_fingerprint, 0, 1, FALSE FROM sessions \
             WHERE refresh_fingerprint IS NOT NULL AND revoke_time IS NULL AND expire_time > ",
            $now,
            " UNION ALL \
             SELECT token_fingerprint, 0, 1, FALSE FROM sessions \
             WHERE token_fingerprint IS NOT NULL AND account_id IS NULL AND revoke_time IS NULL AND expire_time > ",
            $now,
            " UNION ALL SELECT root_fingerprint, 0, 0, TRUE FROM root_key_canaries"
        )
    };
}

pub(super) use {
    challenge_columns, expected_networks, format_rows, known_algorithm, known_format, root_key_uses,
    session_columns, sign_in_in_scope,
};

#[cfg(test)]
mod tests {
    use crate::domain::{ChallengeFormat, Namespace, Network, SigningAlgorithm};

    #[test]
    fn a_wallet_is_expected_on_the_main_network_of_every_namespace() {
        let statement = expected_networks!("$1", "$2");
        for namespace in Namespace::ALL {
            for literal in [namespace.as_str(), Network::main(namespace).as_str()] {
                assert!(statement.contains(&format!("'{literal}'")), "{literal}");
            }
        }
    }

    #[test]
    fn statements_read_all_formats_and_algorithms_of_the_domain_and_no_others() {
        let formats = ChallengeFormat::ALL.map(|format| format!("'{}'", format.as_str())).join(", ");
        assert_eq!(known_format!(), format!("format IN ({formats})"));
        assert_eq!(format_rows!(), format!("VALUES ({})", formats.replace(", ", "), (")));
        let algorithms =
            SigningAlgorithm::ALL.map(|algorithm| format!("'{}'", algorithm.as_str())).join(", ");
        assert_eq!(known_algorithm!(), format!("algorithm IN ({algorithms})"));
    }
}

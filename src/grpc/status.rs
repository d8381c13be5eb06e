//! The one table from errors to gRPC codes and reasons.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    domain::{LogLines, Problem, Violation, jittered},
    flows::Error,
    state::error::Cause,
};

/// The `domain` of every ErrorInfo.
pub const ERROR_DOMAIN: &str = "countersign.v1";

/// Pause before a retry after the store or a chain did not answer, or a limit of the service was reached; jittered by half
/// of it, so that callers that failed together do not return together.
const OUTAGE_RETRY: Duration = Duration::from_secs(1);
/// When to come back after a contended call.
const CONTENTION_RETRY: Duration = Duration::from_millis(100);

/// Log lines a second for failures that only an operator can fix; one cause may fail many calls at once.
const FAILURE_LINES: u32 = 20;
/// Limits on these lines of the process. Internal errors have their own, because an outage of the store must not hide
/// them.
static STORE_FAILURES: LogLines = LogLines::per_second(FAILURE_LINES);
static INTERNAL_FAILURES: LogLines = LogLines::per_second(FAILURE_LINES);

/// gRPC status of a failed call. Errors that only an operator can fix are logged here, once and at a limited rate.
/// Failures of RPC nodes are logged per endpoint, and a known outage of the store when it begins.
pub fn status(error: &Error) -> Status {
    if let Error::Internal(cause) | Error::StoreUnavailable(cause) = error
        && !cause.is_logged()
    {
        log_failure(error, cause);
    }
    let (code, reason) = code_and_reason(error);
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    if let Error::Invalid(violations) = error {
        for Violation { field, description, .. } in violations {
            details.add_bad_request_violation(field, description);
        }
    }
    if let Some(delay) = retry_after(error) {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, error.to_string(), details)
}

fn log_failure(error: &Error, cause: &Cause) {
    let lines = if matches!(error, Error::Internal(_)) { &INTERNAL_FAILURES } else { &STORE_FAILURES };
    if lines.take() {
        tracing::error!(%cause, "{error}");
    }
}

/// Logs the number of suppressed lines, if a report is due.
pub(super) fn report_suppressed() {
    for (lines, of) in [(&STORE_FAILURES, "the store"), (&INTERNAL_FAILURES, "the service")] {
        if let Some(suppressed) = lines.report() {
            tracing::warn!(suppressed, "log lines of failed calls were suppressed: {of}");
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(&error)
    }
}

impl From<Violation> for Status {
    fn from(violation: Violation) -> Self {
        status(&violation.into())
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::StoreUnavailable(_) | Error::ChainRpcUnavailable(_) | Error::Overloaded(_) => {
            Some(jittered(OUTAGE_RETRY, 0.5))
        }
        Error::RateLimited { wait, .. } => Some(*wait),
        Error::Contention | Error::WatchInterrupted(_) | Error::Draining => Some(CONTENTION_RETRY),
        _ => None,
    }
}

/// Every error has its line; a new one does not compile without.
#[deny(clippy::wildcard_enum_match_arm)]
pub fn code_and_reason(error: &Error) -> (Code, &'static str) {
    use Code::{
        Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
        PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable,
    };
    match error {
        Error::Invalid(violations) => (InvalidArgument, input_reason(violations)),
        Error::CredentialsMissing(_) => (Unauthenticated, "CREDENTIALS_MISSING"),
        Error::ClientCredentialsInvalid => (Unauthenticated, "CLIENT_CREDENTIALS_INVALID"),
        Error::SessionTokenInvalid => (Unauthenticated, "SESSION_TOKEN_INVALID"),
        Error::SessionTokenExpired => (Unauthenticated, "SESSION_TOKEN_EXPIRED"),
        Error::AccessTokenInvalid => (Unauthenticated, "ACCESS_TOKEN_INVALID"),
        Error::AccessTokenExpired => (Unauthenticated, "ACCESS_TOKEN_EXPIRED"),
        Error::RefreshTokenInvalid => (Unauthenticated, "REFRESH_TOKEN_INVALID"),
        Error::RefreshTokenExpired => (Unauthenticated, "REFRESH_TOKEN_EXPIRED"),
        Error::RefreshTokenReused => (Unauthenticated, "REFRESH_TOKEN_REUSED"),
        Error::SessionRevoked => (Unauthenticated, "SESSION_REVOKED"),
        Error::SignatureMismatch => (Unauthenticated, "SIGNATURE_MISMATCH"),
        Error::ReauthenticationRequired => (Unauthenticated, "REAUTHENTICATION_REQUIRED"),
        Error::RoleRequired(_) => (PermissionDenied, "ROLE_REQUIRED"),
        Error::PolicyDenied(_) => (PermissionDenied, "POLICY_DENIED"),
        Error::ClientDisabled => (PermissionDenied, "CLIENT_DISABLED"),
        Error::SessionNotFound => (NotFound, "SESSION_NOT_FOUND"),
        Error::ChallengeNotFound => (NotFound, "CHALLENGE_NOT_FOUND"),
        Error::AccountNotFound => (NotFound, "ACCOUNT_NOT_FOUND"),
        Error::ClientNotFound => (NotFound, "CLIENT_NOT_FOUND"),
        Error::WalletNotFound => (NotFound, "WALLET_NOT_FOUND"),
        Error::ChallengeExpired => (FailedPrecondition, "CHALLENGE_EXPIRED"),
        Error::ChallengeAlreadyUsed => (FailedPrecondition, "CHALLENGE_ALREADY_USED"),
        Error::SessionAlreadyActive => (FailedPrecondition, "SESSION_ALREADY_ACTIVE"),
        Error::SessionExpired => (FailedPrecondition, "SESSION_EXPIRED"),
        Error::SecretLimitReached => (FailedPrecondition, "SECRET_LIMIT_REACHED"),
        Error::EtagMismatch => (FailedPrecondition, "ETAG_MISMATCH"),
        Error::LastWallet => (FailedPrecondition, "LAST_WALLET"),
        Error::WalletLimitReached => (FailedPrecondition, "WALLET_LIMIT_REACHED"),
        Error::WalletAlreadyLinked => (AlreadyExists, "WALLET_ALREADY_LINKED"),
        Error::RateLimited { .. } => (ResourceExhausted, "RATE_LIMITED"),
        Error::Overloaded(_) => (ResourceExhausted, "OVERLOADED"),
        Error::Contention => (Aborted, "CONTENTION"),
        Error::WatchInterrupted(_) => (Aborted, "WATCH_INTERRUPTED"),
        Error::Draining => (Unavailable, "DRAINING"),
        Error::DeadlineExceeded | Error::RequestIncomplete => (DeadlineExceeded, "DEADLINE_EXCEEDED"),
        Error::StoreUnavailable(_) => (Unavailable, "STORE_UNAVAILABLE"),
        Error::ChainRpcUnavailable(_) => (Unavailable, "CHAIN_RPC_UNAVAILABLE"),
        Error::Internal(_) => (Internal, "INTERNAL"),
    }
}

/// The reason of an error, by itself.
pub fn reason(error: &Error) -> &'static str {
    code_and_reason(error).1
}

/// The kind of the first wrong field.
fn input_reason(violations: &[Violation]) -> &'static str {
    match violations.first().map(|violation| violation.problem) {
        Some(Problem::Address) => "INVALID_ADDRESS",
        Some(Problem::Network) => "INVALID_NETWORK",
        Some(Problem::SignatureEncoding) => "INVALID_SIGNATURE_ENCODING",
        Some(Problem::Message) => "INVALID_MESSAGE",
        Some(Problem::Request) | None => "INVALID_REQUEST",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Role;

    /// Design, section 9: every reason that exists so far, with its code.
    fn table() -> Vec<(Error, Code, &'static str)> {
        let cause = || Cause("password=hunter2".to_owned());
        let limited = || Error::RateLimited { whose: "session", wait: Duration::from_millis(900) };
        let wrong = |problem| Error::from(Violation::new("some_field", problem, "is wrong"));
        vec![
            (wrong(Problem::Address), Code::InvalidArgument, "INVALID_ADDRESS"),
            (wrong(Problem::Network), Code::InvalidArgument, "INVALID_NETWORK"),
            (wrong(Problem::SignatureEncoding), Code::InvalidArgument, "INVALID_SIGNATURE_ENCODING"),
            (wrong(Problem::Message), Code::InvalidArgument, "INVALID_MESSAGE"),
            (wrong(Problem::Request), Code::InvalidArgument, "INVALID_REQUEST"),
            (Error::CredentialsMissing("x"), Code::Unauthenticated, "CREDENTIALS_MISSING"),
            (Error::ClientCredentialsInvalid, Code::Unauthenticated, "CLIENT_CREDENTIALS_INVALID"),
            (Error::SessionTokenInvalid, Code::Unauthenticated, "SESSION_TOKEN_INVALID"),
            (Error::SessionTokenExpired, Code::Unauthenticated, "SESSION_TOKEN_EXPIRED"),
            (Error::AccessTokenInvalid, Code::Unauthenticated, "ACCESS_TOKEN_INVALID"),
            (Error::AccessTokenExpired, Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED"),
            (Error::RefreshTokenInvalid, Code::Unauthenticated, "REFRESH_TOKEN_INVALID"),
            (Error::RefreshTokenExpired, Code::Unauthenticated, "REFRESH_TOKEN_EXPIRED"),
            (Error::RefreshTokenReused, Code::Unauthenticated, "REFRESH_TOKEN_REUSED"),
            (Error::SessionRevoked, Code::Unauthenticated, "SESSION_REVOKED"),
            (Error::SignatureMismatch, Code::Unauthenticated, "SIGNATURE_MISMATCH"),
            (Error::ReauthenticationRequired, Code::Unauthenticated, "REAUTHENTICATION_REQUIRED"),
            (Error::RoleRequired(Role::SignIn), Code::PermissionDenied, "ROLE_REQUIRED"),
            (Error::PolicyDenied("networks"), Code::PermissionDenied, "POLICY_DENIED"),
            (Error::ClientDisabled, Code::PermissionDenied, "CLIENT_DISABLED"),
            (Error::SessionNotFound, Code::NotFound, "SESSION_NOT_FOUND"),
            (Error::ChallengeNotFound, Code::NotFound, "CHALLENGE_NOT_FOUND"),
            (Error::AccountNotFound, Code::NotFound, "ACCOUNT_NOT_FOUND"),
            (Error::ClientNotFound, Code::NotFound, "CLIENT_NOT_FOUND"),
            (Error::WalletNotFound, Code::NotFound, "WALLET_NOT_FOUND"),
            (Error::ChallengeExpired, Code::FailedPrecondition, "CHALLENGE_EXPIRED"),
            (Error::ChallengeAlreadyUsed, Code::FailedPrecondition, "CHALLENGE_ALREADY_USED"),
            (Error::SessionAlreadyActive, Code::FailedPrecondition, "SESSION_ALREADY_ACTIVE"),
            (Error::SessionExpired, Code::FailedPrecondition, "SESSION_EXPIRED"),
            (Error::SecretLimitReached, Code::FailedPrecondition, "SECRET_LIMIT_REACHED"),
            (Error::LastWallet, Code::FailedPrecondition, "LAST_WALLET"),
            (Error::WalletLimitReached, Code::FailedPrecondition, "WALLET_LIMIT_REACHED"),
            (Error::WalletAlreadyLinked, Code::AlreadyExists, "WALLET_ALREADY_LINKED"),
            (limited(), Code::ResourceExhausted, "RATE_LIMITED"),
            (Error::Overloaded("x"), Code::ResourceExhausted, "OVERLOADED"),
            (Error::Contention, Code::Aborted, "CONTENTION"),
            (Error::EtagMismatch, Code::FailedPrecondition, "ETAG_MISMATCH"),
            (Error::WatchInterrupted("x".to_owned()), Code::Aborted, "WATCH_INTERRUPTED"),
            (Error::Draining, Code::Unavailable, "DRAINING"),
            (Error::DeadlineExceeded, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Error::RequestIncomplete, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Error::StoreUnavailable(cause()), Code::Unavailable, "STORE_UNAVAILABLE"),
            (Error::ChainRpcUnavailable(cause()), Code::Unavailable, "CHAIN_RPC_UNAVAILABLE"),
            (Error::Internal(cause()), Code::Internal, "INTERNAL"),
        ]
    }

    #[test]
    fn every_error_has_its_code_reason_and_a_text_for_humans() {
        for (error, code, reason) in table() {
            let status = status(&error);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
            assert_eq!(info.domain, ERROR_DOMAIN);
            assert!(!status.message().is_empty() && !status.message().contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn bad_input_names_its_field_and_waiting_comes_with_a_time() {
        for (error, ..) in table() {
            let details = status(&error).get_error_details();
            let names_field =
                details.bad_request().is_some_and(|bad| bad.field_violations[0].field == "some_field");
            assert_eq!(names_field, matches!(error, Error::Invalid(_)), "{error}");
            let waits = matches!(
                error,
                Error::Contention
                    | Error::WatchInterrupted(_)
                    | Error::Draining
                    | Error::StoreUnavailable(_)
                    | Error::ChainRpcUnavailable(_)
                    | Error::RateLimited { .. }
                    | Error::Overloaded(_)
            );
            assert_eq!(details.retry_info().is_some(), waits, "{error}");
        }
    }
}

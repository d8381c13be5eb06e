//! Every setting there is: its name, what it means, its default.

/// One setting. Its flag is `--KEY`, its variable `COUNTERSIGN_KEY`, its name in a file `KEY`.
pub struct Setting {
    /// The name, words with hyphens between.
    pub key: &'static str,
    /// What stands for the value in help texts.
    pub value_name: &'static str,
    /// What it means, for people.
    pub help: &'static str,
    /// What is in force where nothing is said.
    pub default: Fallback,
    /// How it may be given.
    pub kind: Kind,
    /// Which commands take it.
    pub group: Group,
}

/// What is in force where nothing is said.
#[derive(Clone, Copy)]
pub enum Fallback {
    /// A value.
    Value(&'static str),
    /// Something that needs words.
    Described(&'static str),
}

/// How a setting may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anywhere.
    Plain,
    /// Anywhere; true or false, and the flag takes no value.
    Switch,
    /// Anywhere, and as `KEY-file`: a file that holds it. Never printed.
    Secret,
    /// The same, and several: the flag may be repeated, a file may have a list, a text has commas between.
    SecretList,
    /// As `KEY-file`, or in the environment; never as a flag, which other users of the machine could read.
    /// Never printed.
    SecretOffTheCommandLine,
}

/// Who takes a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Every command that opens the store.
    Store,
    /// Commands that serve, and those that ask a running service.
    Operations,
    /// Commands that work with signing keys.
    Keys,
    /// Commands that serve.
    Serve,
}

impl Setting {
    const fn new(key: &'static str, value_name: &'static str, default: Fallback, help: &'static str) -> Self {
        Self { key, value_name, help, default, kind: Kind::Plain, group: Group::Serve }
    }

    const fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    const fn of_the_store(self) -> Self {
        Self { group: Group::Store, ..self }
    }

    const fn of_the_keys(self) -> Self {
        Self { group: Group::Keys, ..self }
    }

    const fn of_operations(self) -> Self {
        Self { group: Group::Operations, ..self }
    }

    /// Whether the value is never printed.
    pub const fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::SecretList | Kind::SecretOffTheCommandLine)
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        variable(self.key)
    }
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("COUNTERSIGN_{}", key.to_uppercase().replace('-', "_"))
}

/// The setting of a key.
///
/// # Panics
/// If there is none: keys are written in this program only.
pub fn setting(key: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.key == key).expect("the key of a setting in the table")
}

use Fallback::{Described, Value};
use Kind::{Secret, SecretList, SecretOffTheCommandLine, Switch};

/// The table, in the order of the reference.
pub const SETTINGS: [Setting; 32] = [
    Setting::new(
        "database-url",
        "URL",
        Described("`countersign.db` in the data directory"),
        "The store: `sqlite:FILE`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST/DATABASE`.",
    )
    .kind(Secret)
    .of_the_store(),
    Setting::new("data-dir", "DIR", Value("countersign-data"), "Where the embedded store lives.").of_the_store(),
    Setting::new(
        "database-connections",
        "NUMBER",
        Value("16"),
        "Maximum number of connections to PostgreSQL per instance; at least 3. Two are reserved: one for the probe \
         and the clock, one for keys and revocations. The others bound the concurrent uses of the store, also on \
         SQLite. Further calls queue, fairly over clients and sessions, and are rejected after 2 seconds as \
         RESOURCE_EXHAUSTED (`OVERLOADED`).",
    )
    .of_the_store(),
    Setting::new(
        "root-keys",
        "KEYS",
        Described("embedded store: made beside the database; PostgreSQL: required"),
        "The root keys, newest first, with white space or commas between, as `countersign keys new-root` prints \
         them.",
    )
    .kind(SecretOffTheCommandLine)
    .of_the_keys(),
    Setting::new(
        "migrate",
        "",
        Value("false"),
        "Bring the schema up to date first; an embedded store always is.",
    )
    .kind(Switch),
    Setting::new(
        "grpc-listen",
        "ADDRESS",
        Value("127.0.0.1:50051"),
        "Where gRPC listens; port 0 lets the system choose.",
    ),
    Setting::new(
        "http-listen",
        "ADDRESS",
        Value("127.0.0.1:50052"),
        "Where HTTP (`/.well-known/jwks.json`) listens; port 0 lets the system choose.",
    ),
    Setting::new(
        "operations-listen",
        "ADDRESS",
        Value("127.0.0.1:50053"),
        "Where `/metrics`, `/livez`, `/readyz` and `/log` are served, in plain text: a private address.",
    )
    .of_operations(),
    Setting::new(
        "tls-certificate-file",
        "FILE",
        Described("none: plain text"),
        "The certificate for `grpc-listen` and `http-listen`, followed by those that lead to its authority (PEM). \
         With its key it turns TLS on. Files that change are in force seconds later, without a restart.",
    ),
    Setting::new(
        "tls-key-file",
        "FILE",
        Described("none: plain text"),
        "The private key of the certificate (PEM; not encrypted).",
    ),
    Setting::new(
        "tls-client-ca-file",
        "FILE",
        Described("none: nobody is asked for a certificate"),
        "The authorities (PEM) of which one must have signed the certificate of whoever connects to `grpc-listen`. \
         What `http-listen` serves is public.",
    ),
    Setting::new(
        "plaintext-behind-mesh",
        "",
        Value("false"),
        "Says that a mesh or a proxy encrypts what reaches `grpc-listen` and `http-listen`, and what goes to `http` \
         endpoints of `chain-rpc`. Without it, and without TLS, they must be loopback addresses.",
    )
    .kind(Switch),
    Setting::new(
        "issuer",
        "URL",
        Value("http://127.0.0.1:50052"),
        "The `iss` of access tokens: the URL under which callers know this service.",
    ),
    Setting::new(
        "chain-rpc",
        "CHAIN=URL",
        Described("none: contract wallets do not sign in"),
        "A JSON-RPC endpoint of an EVM chain, such as `eip155:1=https://host/key`, that is asked about contract \
         wallets (EIP-1271, ERC-6492). Several, also of one chain, with commas between: those of one chain are tried \
         in turn. An endpoint is believed: whoever runs it, or answers in its place, could sign in as any contract \
         wallet of its chain, and one that lags behind still knows yesterday's owners. The latest block is asked, \
         which may not be final yet. `https` is verified against Mozilla's authorities.",
    )
    .kind(SecretList),
    Setting::new(
        "chain-rpc-timeout",
        "TIME",
        Value("5s"),
        "Total time that one verification may wait for RPC nodes. Each chain, and each endpoint of a chain, receives \
         a share of it before the next is tried. Must be less than `request-timeout`.",
    ),
    Setting::new(
        "key-rotation-interval",
        "TIME",
        Value("30d"),
        "How long a signing key signs before the prepared one takes its place; 0s for as long as nobody runs \
         `countersign keys rotate`.",
    ),
    Setting::new(
        "key-prepublish",
        "TIME",
        Value("1h"),
        "How long a signing key is in the JWKS before it signs: longer than anybody keeps a copy of that. Envoy keeps \
         one for 10 minutes, Istio for 20.",
    )
    .of_the_keys(),
    Setting::new(
        "revocations-max-age",
        "TIME",
        Value("1m"),
        "How old what an instance knows of revocations may become, while the store does not answer, before ext_authz \
         refuses every request as 503. From 1s to 1h.",
    ),
    Setting::new(
        "request-timeout",
        "TIME",
        Value("10s"),
        "The longest that a call may take; a shorter deadline of the caller counts.",
    ),
    Setting::new(
        "max-connections",
        "NUMBER",
        Value("1000"),
        "Maximum number of connections per port; each uses one open file (`ulimit -n`). At the limit, a new \
         connection evicts one without a running call: of the address with the most connections, first one that never \
         made a call, then one that never presented valid credentials, last any other. If every connection runs a \
         call, the new one is closed at once, so that its caller can try another instance.",
    ),
    Setting::new(
        "max-calls",
        "NUMBER",
        Value("1536"),
        "Maximum number of running calls, over all connections. The API may use two thirds of them; the rest is \
         reserved for health checks and ext_authz. Further calls are rejected as RESOURCE_EXHAUSTED (`OVERLOADED`).",
    ),
    Setting::new(
        "max-connection-age",
        "TIME",
        Value("1h"),
        "Maximum age of a connection, plus or minus a tenth, so that callers spread over newly started instances. \
         Running calls are finished; streams end. Some clients (tonic) fail a call that they were about to send and \
         must retry it. `0s` disables the limit.",
    ),
    Setting::new(
        "connection-idle-timeout",
        "TIME",
        Value("5m"),
        "Time without a running call after which a connection ends. An open stream is a running call.",
    ),
    Setting::new(
        "peer-timeout",
        "TIME",
        Value("10s"),
        "Timeout for a peer that the service waits for: for the TLS handshake, the first bytes of HTTP/2, the head of \
         an HTTP/1.1 request, the rest of a request, the answer to a ping, and for reading what is written to it. A \
         call whose peer stops sending is rejected; a call whose response is not read is reset.",
    ),
    Setting::new(
        "keepalive-interval",
        "TIME",
        Value("30s"),
        "How long an HTTP/2 connection is silent before its peer is asked, by a ping, whether it is still there.",
    ),
    Setting::new(
        "trusted-proxies",
        "CIDRS",
        Described("none: the caller's address is that of the connection"),
        "Trusted proxies, as comma-separated CIDRs such as `10.0.0.0/8,fd00::/8`. On a connection from one of them, \
         the caller's address is the last one in `x-forwarded-for`, read from the right, that is not itself a trusted \
         proxy. The header is ignored on all other connections.",
    ),
    Setting::new(
        "shutdown-delay",
        "TIME",
        Value("0s"),
        "How long new calls are still served after SIGTERM, while health says NOT_SERVING, so that a mesh can \
         notice.",
    ),
    Setting::new(
        "shutdown-timeout",
        "TIME",
        Value("20s"),
        "How long calls that run may take to finish after that; then the program ends with exit code 3.",
    ),
    Setting::new(
        "retention",
        "TIME",
        Value("24h"),
        "How long challenges and sessions stay after their end, so that expired, used and unknown can be told \
         apart. Below 24h less is told than the API promises. Signing keys stay for as long after their end.",
    )
    .of_the_store(),
    Setting::new(
        "clean-up-interval",
        "TIME",
        Value("1m"),
        "How often what has ended longer ago than `retention` is removed.",
    ),
    Setting::new(
        "log",
        "FILTER",
        Value("info"),
        "What is logged: a level, or a filter such as `warn,countersign=debug`. While the program runs, `PUT /log` on \
         the operations port puts another one in force, and `DELETE /log` this one again.",
    )
    .of_the_store(),
    Setting::new(
        "log-format",
        "FORMAT",
        Value("auto"),
        "`text`, `json`, or `auto`: text on a terminal, JSON elsewhere.",
    )
    .of_the_store(),
];

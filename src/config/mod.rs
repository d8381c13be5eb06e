//! Flags, environment and a file into typed settings, checked whole.

pub mod connections;
pub mod flags;
pub mod layers;
pub mod origin;
pub mod problem;
pub mod reference;
pub mod setting_checks;
pub mod table;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

pub use connections::{ConnectionSettings, TlsSettings};
pub use flags::{KeyFlags, OperationsFlags, ServeFlags, StoreFlags};
use layers::{Layers, SettingValue};
use origin::Origin;
use problem::Problem;
pub use problem::Problems;
pub use setting_checks::Checks;
use table::{Fallback, Setting, setting};

use crate::{
    domain::{ChainEndpoint, Secret},
    log,
};

/// How long a signing key may sign at most, and be published before: a year, and a month.
const LONGEST_ROTATION: Duration = Duration::from_hours(365 * 24);
const LONGEST_PREPUBLISH: Duration = Duration::from_hours(30 * 24);
const WATCHER_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Which store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Its URL, if one was given.
    pub database_url: Option<Secret<String>>,
    /// Where an embedded store lives.
    pub data_dir: PathBuf,
    /// How many connections an instance opens at most.
    pub connections: u32,
    /// How long rows stay after their end.
    pub retention: Duration,
}

/// Which store, and the keys that it is protected by.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The store.
    pub store: StoreSettings,
    /// The root keys, if they were given.
    pub root_keys: Option<Secret<String>>,
    /// How long a signing key is published before it signs.
    pub prepublish: Duration,
}

/// What `serve` runs with.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The store.
    pub store: StoreSettings,
    /// The root keys, if they were given.
    pub root_keys: Option<Secret<String>>,
    /// Whether the schema is to be brought up to date first.
    pub migrate: bool,
    /// Where gRPC listens.
    pub grpc_listen: SocketAddr,
    /// Where HTTP listens.
    pub http_listen: SocketAddr,
    /// Where operations listen.
    pub operations_listen: SocketAddr,
    /// The `iss` of access tokens.
    pub issuer: String,
    /// Where nodes of chains are asked about contract wallets.
    pub chain_rpc: Vec<ChainEndpoint>,
    /// How long each of them may take to answer.
    pub chain_rpc_timeout: Duration,
    /// How old what is known of revocations may be for ext_authz to go by it.
    pub revocations_max_age: Duration,
    /// Time after which a watcher of revocations that reads nothing is cut off. It has no flag: tests shorten it.
    pub watcher_stall_timeout: Duration,
    /// How long a signing key signs; zero for as long as nobody rotates it by hand.
    pub key_rotation_interval: Duration,
    /// How long a signing key is published before it signs.
    pub key_prepublish: Duration,
    /// The longest that a call may take.
    pub request_timeout: Duration,
    /// How connections are encrypted; `None` for plain text.
    pub tls: Option<TlsSettings>,
    /// What connections must keep to.
    pub connections: ConnectionSettings,
    /// How often what has ended is removed.
    pub clean_up_interval: Duration,
    /// How long new calls are still served after the end was called for.
    pub shutdown_delay: Duration,
    /// How long calls that run may take to finish then.
    pub shutdown_timeout: Duration,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A filter directive.
    pub filter: String,
    /// Whether for machines; `None` where the output decides.
    pub json: Option<bool>,
}

impl StoreSettings {
    /// The store's URL.
    pub fn url(&self) -> String {
        let embedded = || format!("sqlite:{}", self.data_dir.join("countersign.db").display());
        self.database_url.as_ref().map_or_else(embedded, |url| url.expose().clone())
    }
}

/// Reads settings one by one, and notes what is wrong.
pub struct Reader {
    layers: Layers,
    problems: Problems,
}

impl Reader {
    /// Over the layers that a command was started with.
    pub fn new(flags: &flags::FlagValues, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut problems = Problems::default();
        let variables = layers::of_this_program(variables, &mut problems);
        let from_environment = || variables.get("COUNTERSIGN_CONFIG").map(PathBuf::from);
        let config = flags.config.clone().or_else(from_environment);
        let layers = Layers::new(flags.by_key.clone(), variables, config.as_deref(), &mut problems);
        Self { layers, problems }
    }

    /// What is in force for a setting, as text, and where it came from; `None` where a default needs words.
    pub fn in_force(&mut self, setting: &Setting) -> (Option<String>, Origin) {
        match (self.layers.given(setting, &mut self.problems), setting.default) {
            (Some(SettingValue { text, origin }), _) => (Some(text), origin),
            (None, Fallback::Value(text)) => (Some(text.to_owned()), Origin::Default),
            (None, Fallback::Described(_)) => (None, Origin::Default),
        }
    }

    /// Variables that look like settings and are none.
    pub fn unknown_variables(&self) -> Vec<String> {
        self.layers.unknown_variables().into_iter().map(str::to_owned).collect()
    }

    /// The store.
    pub fn store(&mut self, checks: &Checks) -> StoreSettings {
        let settings = StoreSettings {
            database_url: self.text("database-url").map(Secret::new),
            data_dir: PathBuf::from(self.text("data-dir").unwrap_or_default()),
            connections: self.parsed("database-connections", "must be a number from 3 to 1000", |text| {
                text.parse().ok().filter(|number| (3..=1_000).contains(number))
            }),
            retention: self.parsed(
                "retention",
                "must be a length of time from 1s to 365d, such as 24h",
                |text| {
                    let year = Duration::from_hours(365 * 24);
                    humantime::parse_duration(text)
                        .ok()
                        .filter(|time| (Duration::from_secs(1)..=year).contains(time))
                },
            ),
        };
        let key = if settings.database_url.is_some() { "database-url" } else { "data-dir" };
        self.refuse(key, (checks.database_url)(&settings.url()));
        settings
    }

    /// How to log.
    pub fn log(&mut self) -> LogSettings {
        LogSettings {
            filter: self.parsed("log", log::MUST, |text| log::is_filter(text).then(|| text.to_owned())),
            json: self.parsed("log-format", "must be text, json or auto", |text| match text {
                "text" => Some(Some(false)),
                "json" => Some(Some(true)),
                "auto" => Some(None),
                _ => None,
            }),
        }
    }

    /// Where operations listen.
    pub fn operations(&mut self) -> SocketAddr {
        self.address("operations-listen")
    }

    /// The store and its keys.
    pub fn keys(&mut self, checks: &Checks) -> KeySettings {
        let settings = KeySettings {
            store: self.store(checks),
            root_keys: self.text("root-keys").map(Secret::new),
            prepublish: self.time_up_to("key-prepublish", Duration::ZERO, LONGEST_PREPUBLISH),
        };
        let keys = settings.root_keys.as_ref().map(|keys| keys.expose().as_str());
        if !self.problems.concern("root-keys") {
            self.refuse("root-keys", (checks.root_keys)(&settings.store.url(), keys));
        }
        settings
    }

    /// Everything that `serve` runs with.
    pub fn serve(&mut self, checks: &Checks) -> ServeSettings {
        let keys = self.keys(checks);
        let settings = ServeSettings {
            store: keys.store,
            root_keys: keys.root_keys,
            migrate: self.switch("migrate"),
            grpc_listen: self.address("grpc-listen"),
            http_listen: self.address("http-listen"),
            operations_listen: self.operations(),
            issuer: self.parsed("issuer", "must be an absolute URL without query and fragment", issuer),
            chain_rpc: self.chain_rpc(),
            chain_rpc_timeout: self.time("chain-rpc-timeout", Duration::from_millis(100)),
            request_timeout: self.time("request-timeout", Duration::from_millis(100)),
            revocations_max_age: self.time("revocations-max-age", Duration::from_secs(1)),
            watcher_stall_timeout: WATCHER_STALL_TIMEOUT,
            key_rotation_interval: self.time_up_to("key-rotation-interval", Duration::ZERO, LONGEST_ROTATION),
            key_prepublish: keys.prepublish,
            tls: self.tls(checks),
            connections: self.connections(),
            clean_up_interval: self.time("clean-up-interval", Duration::from_secs(1)),
            shutdown_delay: self.time("shutdown-delay", Duration::ZERO),
            shutdown_timeout: self.time("shutdown-timeout", Duration::ZERO),
        };
        self.refuse_shared_ports(&settings);
        self.refuse_untrusty_chains(&settings);
        if !self.switch("plaintext-behind-mesh") && settings.tls.is_none() {
            self.refuse_plaintext("grpc-listen", settings.grpc_listen);
            self.refuse_plaintext("http-listen", settings.http_listen);
        }
        settings
    }

    fn chain_rpc(&mut self) -> Vec<ChainEndpoint> {
        let given = self.text("chain-rpc").unwrap_or_default();
        ChainEndpoint::parse_list(&given).unwrap_or_else(|why| {
            self.refuse("chain-rpc", Err(why));
            Vec::new()
        })
    }

    /// Who answers in a node's place signs in anybody, and a call that ends before a chain's time is over never
    /// learns that it was silent.
    fn refuse_untrusty_chains(&mut self, settings: &ServeSettings) {
        if !settings.chain_rpc.is_empty() && settings.chain_rpc_timeout >= settings.request_timeout {
            self.refuse("chain-rpc-timeout", Err("must be less than request-timeout".to_owned()));
        }
        if let Some(at) = settings.chain_rpc.iter().position(ChainEndpoint::is_plaintext)
            && !self.switch("plaintext-behind-mesh")
        {
            let why = format!(
                "entry {} would be asked in plain text, and whoever answers in its place could sign in anybody: use \
                 https, or if a mesh encrypts it, say so by plaintext-behind-mesh",
                at + 1
            );
            self.refuse("chain-rpc", Err(why));
        }
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.none_or(value)
    }

    fn refuse_plaintext(&mut self, key: &str, address: SocketAddr) {
        if address.ip().is_loopback() {
            return;
        }
        let why = format!(
            "would serve plain text on {address}, which is not a loopback address; give tls-certificate-file and \
             tls-key-file, or if a mesh or a proxy protects the port, say so by plaintext-behind-mesh"
        );
        self.refuse(key, Err(why));
    }

    /// Notes what is wrong with a setting.
    fn refuse(&mut self, key: &str, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            let (_, origin) = self.in_force(setting(key));
            self.problems.push(Problem::new(key, &origin, why));
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.in_force(setting(key)).0
    }

    /// A value that a default always gives, or a problem.
    fn parsed<T: Default>(&mut self, key: &str, must: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let (text, origin) = self.in_force(setting(key));
        let text = text.unwrap_or_default();
        parse(&text).unwrap_or_else(|| {
            self.problems.push(Problem::new(key, &origin, format!("{must}, not `{text}`")));
            T::default()
        })
    }

    fn switch(&mut self, key: &str) -> bool {
        self.parsed(key, "must be true or false", |text| match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" | "" => Some(false),
            _ => None,
        })
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        let must = "must be an IP address and a port, such as 127.0.0.1:50051 or [::1]:50051";
        let parsed = self.parsed(key, must, |text| text.parse().ok().map(Some));
        parsed.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn time(&mut self, key: &str, least: Duration) -> Duration {
        self.time_up_to(key, least, Duration::from_hours(1))
    }

    fn time_up_to(&mut self, key: &str, least: Duration, most: Duration) -> Duration {
        let said = humantime::format_duration;
        let (least_said, most_said) = (said(least), said(most));
        let must =
            format!("must be a length of time from {least_said} to {most_said}, such as 500ms, 20s or 1m");
        self.parsed(key, &must, |text| {
            let time = humantime::parse_duration(text).ok()?;
            (least..=most).contains(&time).then_some(time)
        })
    }
}

/// RFC 8414, section 2: a URL without query and fragment. Plain http is for trying things.
fn issuer(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let is_valid =
        matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none();
    is_valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;

//! The settings as flags: made from the table, so that help and reference cannot differ from it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, error::Error};

use super::{
    Checks, KeySettings, LogSettings, Problems, Reader, ServeSettings, StoreSettings,
    layers::has_flag,
    table::{Fallback, Group, Kind, SETTINGS, Setting},
};

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct FlagValues {
    /// The texts by key.
    pub by_key: BTreeMap<String, String>,
    /// The settings file.
    pub config: Option<PathBuf>,
}

impl FlagValues {
    /// How to log; what is wrong with that is told with everything else.
    pub fn log(&self) -> LogSettings {
        Reader::new(self, std::env::vars_os()).log()
    }
}

/// The flags of a command that opens the store.
#[derive(Clone, Debug)]
pub struct StoreFlags(pub FlagValues);

/// The flags of a command that works with keys.
#[derive(Clone, Debug)]
pub struct KeyFlags(pub FlagValues);

/// The flags of a command that asks a running service.
#[derive(Clone, Debug)]
pub struct OperationsFlags(pub FlagValues);

/// The flags of a command that serves.
#[derive(Clone, Debug)]
pub struct ServeFlags(pub FlagValues);

impl StoreFlags {
    /// The store's settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn settings(&self, checks: &Checks) -> Result<StoreSettings, Problems> {
        let mut reader = Reader::new(&self.0, std::env::vars_os());
        let settings = reader.store(checks);
        reader.log();
        reader.finish(settings)
    }
}

impl KeyFlags {
    /// The settings of store and keys.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn settings(&self, checks: &Checks) -> Result<KeySettings, Problems> {
        let mut reader = Reader::new(&self.0, std::env::vars_os());
        let settings = reader.keys(checks);
        reader.log();
        reader.finish(settings)
    }
}

impl OperationsFlags {
    /// Where the service's operations listen.
    ///
    /// # Errors
    /// If that is no address.
    pub fn address(&self) -> Result<SocketAddr, Problems> {
        let mut reader = Reader::new(&self.0, std::env::vars_os());
        let address = reader.operations();
        reader.finish(address)
    }
}

impl ServeFlags {
    /// The settings of `serve`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn settings(&self, checks: &Checks) -> Result<ServeSettings, Problems> {
        let mut reader = Reader::new(&self.0, std::env::vars_os());
        let settings = reader.serve(checks);
        reader.log();
        for name in reader.unknown_variables() {
            tracing::warn!(%name, "this variable is no setting");
        }
        reader.finish(settings)
    }
}

macro_rules! flags {
    ($name:ident, $groups:expr) => {
        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Ok(Self(given(matches, $groups)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                self.0 = given(matches, $groups);
                Ok(())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args(arguments($groups))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

flags!(StoreFlags, &[Group::Store]);
flags!(OperationsFlags, &[Group::Operations]);
flags!(KeyFlags, &[Group::Store, Group::Keys]);
flags!(ServeFlags, &[Group::Store, Group::Operations, Group::Keys, Group::Serve]);

/// The settings of some groups, each with the names of its flags.
fn flags(groups: &[Group]) -> impl Iterator<Item = (&'static Setting, String)> {
    SETTINGS.iter().filter(|setting| groups.contains(&setting.group)).flat_map(|setting| {
        let direct = has_flag(setting).then(|| setting.key.to_owned());
        let file = setting.is_secret().then(|| format!("{}-file", setting.key));
        direct.into_iter().chain(file).map(move |flag| (setting, flag))
    })
}

fn arguments(groups: &'static [Group]) -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A TOML file with settings, by the names of their flags [env: COUNTERSIGN_CONFIG]");
    std::iter::once(config).chain(flags(groups).map(|(setting, flag)| argument(setting, flag))).collect()
}

fn argument(setting: &Setting, flag: String) -> Arg {
    let is_file = flag != setting.key;
    let argument = Arg::new(flag.clone()).long(flag).help(help(setting, is_file));
    if setting.kind == Kind::Switch {
        return argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    let argument = argument.value_name(if is_file { "FILE" } else { setting.value_name });
    if setting.kind == Kind::SecretList { argument.action(ArgAction::Append) } else { argument }
}

fn help(setting: &Setting, is_file: bool) -> String {
    if is_file {
        return format!("A file that holds `{}` [env: {}_FILE]", setting.key, setting.variable());
    }
    let (Fallback::Value(default) | Fallback::Described(default)) = setting.default;
    format!("{} [env: {}] [default: {default}]", setting.help, setting.variable())
}

fn given(matches: &ArgMatches, groups: &[Group]) -> FlagValues {
    let by_key = flags(groups)
        .filter_map(|(_, flag)| {
            let texts: Vec<&str> = matches.get_many::<String>(&flag)?.map(String::as_str).collect();
            Some((flag.clone(), texts.join(",")))
        })
        .collect();
    FlagValues { by_key, config: matches.get_one::<PathBuf>("config").cloned() }
}

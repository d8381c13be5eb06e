//! What was given for each setting, and where: flags outweigh the environment, which outweighs the file.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use super::{
    origin::Origin,
    problem::{Problem, Problems},
    table::{Kind, SETTINGS, Setting, variable},
};

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingValue {
    /// Its text.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// The three layers, as texts by key.
pub struct Layers {
    flags: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    file_path: String,
}

impl Layers {
    /// Puts the layers together: flags by key, variables by name, and the text of the settings file, if
    /// there is one. What is wrong with the file as a whole goes to `problems`.
    pub fn new(
        flags: BTreeMap<String, String>,
        variables: BTreeMap<String, String>,
        config: Option<&Path>,
        problems: &mut Problems,
    ) -> Self {
        let mut layers = Self { flags, variables, file: BTreeMap::new(), file_path: String::new() };
        if let Some(path) = config {
            layers.file_path = path.display().to_string();
            layers.file = read_file(path, problems);
        }
        layers
    }

    /// What was given for a setting, in the layer that weighs most.
    pub fn given(&self, setting: &Setting, problems: &mut Problems) -> Option<SettingValue> {
        type Layer<'a> = (&'a BTreeMap<String, String>, &'a dyn Fn(&str) -> (String, Origin));
        let of_flags = |key: &str| (key.to_owned(), Origin::Flag(format!("--{key}")));
        let of_variables = |key: &str| (variable(key), Origin::Variable(variable(key)));
        let of_file = |key: &str| (key.to_owned(), Origin::File(self.file_path.clone()));
        let layers: [Layer<'_>; 3] =
            [(&self.flags, &of_flags), (&self.variables, &of_variables), (&self.file, &of_file)];
        layers.into_iter().find_map(|(texts, named)| in_layer(setting, texts, named, problems))
    }

    /// Variables with this program's prefix that name no setting: typing errors, most likely.
    pub fn unknown_variables(&self) -> Vec<&str> {
        let known: Vec<String> = known_keys().iter().map(|key| variable(key)).collect();
        let is_known = |name: &str| {
            known.iter().any(|known| known == name)
                || ["COUNTERSIGN_CONFIG", "COUNTERSIGN_BENCH_AUTHORIZATION"].contains(&name)
                // Kubernetes tells a pod of a service named `countersign` in these.
                || name.starts_with("COUNTERSIGN_PORT")
                || name.starts_with("COUNTERSIGN_SERVICE_")
                || name.starts_with("COUNTERSIGN_TEST_")
        };
        self.variables.keys().map(String::as_str).filter(|name| !is_known(name)).collect()
    }
}

/// The variables with this program's prefix. What others hold, and in which encoding, is not its concern.
pub fn of_this_program(
    variables: impl Iterator<Item = (OsString, OsString)>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with("COUNTERSIGN_") {
            continue;
        }
        match value.into_string() {
            Ok(text) => {
                texts.insert(name, text);
            }
            Err(_) => problems.push(Problem::new(&name, &Origin::Variable(name.clone()), "is not UTF-8")),
        }
    }
    texts
}

/// The value in one layer: itself, or for a secret the file that holds it, but not both.
fn in_layer(
    setting: &Setting,
    texts: &BTreeMap<String, String>,
    named: &dyn Fn(&str) -> (String, Origin),
    problems: &mut Problems,
) -> Option<SettingValue> {
    let (name, origin) = named(setting.key);
    let direct = texts.get(&name).map(|text| SettingValue { text: text.clone(), origin: origin.clone() });
    if !setting.is_secret() {
        return direct;
    }
    let (file_name, file_origin) = named(&format!("{}-file", setting.key));
    match (direct, texts.get(&file_name)) {
        (Some(_), Some(_)) => {
            let why = format!("is given twice: also as {}-file, {file_origin}", setting.key);
            problems.push(Problem::new(setting.key, &origin, why));
            None
        }
        (direct, None) => direct,
        (None, Some(path)) => match fs::read_to_string(path) {
            Ok(text) => Some(SettingValue { text: text.trim().to_owned(), origin: file_origin }),
            Err(error) => {
                let key = format!("{}-file", setting.key);
                problems.push(Problem::new(&key, &file_origin, format!("{path}: {error}")));
                None
            }
        },
    }
}

/// Every name that may stand in a file.
fn known_keys() -> Vec<String> {
    SETTINGS
        .iter()
        .flat_map(|setting| {
            let file = setting.is_secret().then(|| format!("{}-file", setting.key));
            std::iter::once(setting.key.to_owned()).chain(file)
        })
        .collect()
}

fn read_file(path: &Path, problems: &mut Problems) -> BTreeMap<String, String> {
    let origin = Origin::File(path.display().to_string());
    let table = fs::read_to_string(path)
        .map_err(|error| error.to_string())
        .and_then(|text| text.parse::<toml::Table>().map_err(|error| syntax(&text, &error)));
    let table = table.unwrap_or_else(|why| {
        problems.push(Problem::new("config", &origin, why));
        toml::Table::new()
    });
    let known = known_keys();
    let mut texts = BTreeMap::new();
    for (name, value) in table {
        let key = name.replace('_', "-");
        let is_list = SETTINGS.iter().any(|it| it.key == key && it.kind == Kind::SecretList);
        match text(value, is_list) {
            _ if !known.contains(&key) => problems.push(Problem::new(&name, &origin, "is no setting")),
            // The table is in order, and `-` comes before `_`.
            Some(_) if texts.contains_key(&key) => {
                problems.push(Problem::new(&name, &origin, format!("is given twice: also as {key}")));
            }
            Some(text) => {
                texts.insert(key, text);
            }
            None => problems.push(Problem::new(&name, &origin, "must be a text, a number, or true or false")),
        }
    }
    texts
}

/// Where a file is no TOML, and why. The library's own display repeats the line, which may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

fn text(value: toml::Value, is_list: bool) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(entries) if is_list => entries
            .into_iter()
            .map(|entry| text(entry, false))
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.join(",")),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            None
        }
    }
}

/// Whether a setting has a flag of its own.
pub fn has_flag(setting: &Setting) -> bool {
    setting.kind != Kind::SecretOffTheCommandLine
}

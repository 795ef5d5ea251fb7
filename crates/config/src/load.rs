//! From text and environment to a checked configuration.
//!
//! The passes: find the file; read it into members; give each member to its key; let the
//! environment override; resolve references; look at keys whose feature is missing; build
//! the checked types; look at what several keys say together.
//!
//! Invariants: every pass adds its problems to the same list, so the report is complete; a
//! single error anywhere means that no configuration is handed out; without errors, nothing
//! that was written is silently ignored.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::checked::GatewayConfig;
use crate::document;
use crate::environment;
use crate::file_keys::FileKeys;
use crate::paths::BasePaths;
use crate::problem::{Origin, Problem, Problems, Severity};
use crate::settings::Settings;
use crate::together;

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: GatewayConfig,
    /// What is odd but no reason not to start.
    pub warnings: Vec<Problem>,
    /// The file that was read; `None` when the environment stands alone.
    pub path: Option<PathBuf>,
}

/// Reads the configuration from a file and the environment.
///
/// With `path` that file must exist. Without, the first of `tyk.conf`,
/// `~/.config/tyk/tyk.conf` and `/etc/tyk/tyk.conf` is read.
/// `TYK_GW_OMITCONFIGFILE=true` reads no file at all.
///
/// # Errors
///
/// [`Problems`] with everything that was found, when at least one thing is an error.
pub fn load(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let working_dir = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            let problem = Problem::error(
                Origin::Default,
                "",
                format!("the working directory is unusable: {error}"),
            );
            return Err(Problems::of(vec![problem]).expect("it holds an error"));
        }
    };
    load_in(&working_dir, path, env)
}

/// As [`load`], for a text that is already at hand; nothing is read but what it refers to.
///
/// `path` is the file the text is said to come from: problems name it, and relative paths
/// are relative to its directory.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(
    path: &Path,
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let working_dir = path.parent().unwrap_or(Path::new("")).to_owned();
    let env = env.into_iter().collect();
    let file = if environment::omits_file(&env) {
        None
    } else {
        Some((path.to_owned(), text.to_owned()))
    };
    read(&working_dir, Ok(file), &env)
}

/// As [`load`], with relative paths meant in `working_dir`.
pub(crate) fn load_in(
    working_dir: &Path,
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let env = env.into_iter().collect();
    let file = if environment::omits_file(&env) {
        Ok(None)
    } else {
        find(working_dir, path, &env).map(Some)
    };
    read(working_dir, file, &env)
}

impl Loaded {
    /// Takes warnings for errors, as `check --strict` does.
    ///
    /// # Errors
    ///
    /// [`Problems`] when there was a warning.
    pub fn strict(mut self) -> Result<Self, Problems> {
        for warning in &mut self.warnings {
            warning.severity = Severity::Error;
        }
        match Problems::of(std::mem::take(&mut self.warnings)) {
            Some(problems) => Err(problems),
            None => Ok(self),
        }
    }
}

/// The passes after the file is found; `file` is `None` when there is to be none.
fn read(
    working_dir: &Path,
    file: Result<Option<(PathBuf, String)>, Box<Problem>>,
    env: &BTreeMap<String, String>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let mut complete = true;
    let file = file.unwrap_or_else(|problem| {
        problems.push(*problem);
        complete = false;
        None
    });
    let config_dir = file
        .as_ref()
        .and_then(|(path, _)| path.parent())
        .map_or_else(|| working_dir.to_owned(), Path::to_owned);
    let mut settings = Settings::defaults(BasePaths {
        working_dir: working_dir.to_owned(),
        config_dir,
    });

    if let Some((path, text)) = &file {
        let keys = FileKeys::new();
        match document::read(text, &|group| keys.is_group(group)) {
            Ok(members) => keys.give(path, members, &mut settings, &mut problems),
            Err(broken) => {
                problems.push(unreadable(path, broken));
                complete = false;
            }
        }
    }
    environment::give(env, &mut settings, &mut problems);
    together::resolve_references(env, &mut settings, &mut problems);
    // Without the file's values, what the rest says together would mislead.
    if complete {
        together::check(&settings, &mut problems);
    }
    problems.sort_by_key(position);
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        return Err(Problems::of(problems).expect("one of them is an error"));
    }
    Ok(Loaded {
        config: GatewayConfig::from_settings(&settings),
        warnings: problems,
        path: file.map(|(path, _)| path),
    })
}

/// Problems are read from the top of the file to its end, then the environment.
fn position(problem: &Problem) -> (u8, usize) {
    match &problem.origin {
        Origin::File { line, .. } => (0, line.unwrap_or_default()),
        Origin::Env(_) => (1, 0),
        Origin::Default => (2, 0),
    }
}

/// The file to read and its text.
fn find(
    working_dir: &Path,
    explicit: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<(PathBuf, String), Box<Problem>> {
    if let Some(path) = explicit {
        let path = working_dir.join(path);
        return match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(error) => Err(Box::new(not_read(path, &error).hint(
                "give the path of a configuration file, or make one with `portcullis quickstart`",
            ))),
        };
    }
    let mut candidates = vec![working_dir.join("tyk.conf")];
    candidates.extend(
        env.get("HOME")
            .map(|home| Path::new(home).join(".config/tyk/tyk.conf")),
    );
    candidates.push(PathBuf::from("/etc/tyk/tyk.conf"));
    for path in &candidates {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok((path.clone(), text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Box::new(not_read(path.clone(), &error))),
        }
    }
    let tried: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let message = format!("there is no configuration file; tried {}", tried.join(", "));
    Err(Box::new(Problem::error(Origin::Default, "", message).hint(
        "make one with `portcullis quickstart`, name one with `--conf`, \
         or set TYK_GW_OMITCONFIGFILE=true to use the environment alone",
    )))
}

fn not_read(path: PathBuf, error: &io::Error) -> Problem {
    let message = format!("cannot read the configuration file: {error}");
    Problem::error(Origin::File { path, line: None }, "", message)
}

fn unreadable(path: &Path, broken: document::Broken) -> Problem {
    let origin = Origin::File {
        path: path.to_owned(),
        line: Some(broken.line),
    };
    let message = format!(
        "not JSON: {} (line {}, column {})",
        broken.message, broken.line, broken.column
    );
    let mut problem =
        Problem::error(origin, "", message).accepted("one JSON object, as Tyk writes it");
    problem.excerpt = Some(broken.excerpt);
    problem
}

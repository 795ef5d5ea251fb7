//! What the environment says, which wins over the file.
//!
//! Invariants: names are compared exactly, as the operating system does; a variable with one
//! of our prefixes that no key has is reported, except those an orchestrator sets for its
//! services.

use std::collections::BTreeMap;

use crate::file_keys::no_such_feature;
use crate::foreign;
use crate::key::{Key, Owner};
use crate::nearest::nearest;
use crate::problem::{Origin, Problem};
use crate::settings::Settings;
use crate::shown;
use crate::table;
use crate::value;

/// Discards the file when it is `true`.
const OMIT_FILE: &str = "TYK_GW_OMITCONFIGFILE";

/// Variables of the program itself, which are no configuration.
const OF_THE_PROGRAM: [&str; 3] = ["PORTCULLIS_LOG", "PORTCULLIS_GATEWAY", "PORTCULLIS_SECRET"];

/// Whether the environment wants no file to be read.
pub(crate) fn omits_file(env: &BTreeMap<String, String>) -> bool {
    env.get(OMIT_FILE)
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Gives each variable to its key.
pub(crate) fn give(
    env: &BTreeMap<String, String>,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    let mut names: BTreeMap<String, (&'static Key, bool)> = BTreeMap::new();
    for key in table::keys() {
        for (rank, tail) in key.env.iter().chain(key.env_aliases).enumerate() {
            names.insert(format!("{}{tail}", key.owner.prefix()), (key, rank == 0));
        }
    }
    let mut features: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (name, text) in env {
        if let Some((key, canonical)) = names.get(name) {
            let overruled =
                !canonical && key.env_name().is_some_and(|name| env.contains_key(&name));
            if !overruled {
                judge(key, name, text, settings, problems);
            }
            continue;
        }
        let owner = [Owner::Tyk, Owner::Own]
            .into_iter()
            .find(|owner| name.starts_with(owner.prefix()));
        let is_ours = name != OMIT_FILE && !OF_THE_PROGRAM.contains(&name.as_str());
        let Some(owner) = owner.filter(|_| is_ours) else {
            continue;
        };
        let tail = &name[owner.prefix().len()..];
        if is_of_orchestrator(tail) {
            continue;
        }
        match foreign::feature_of_env(tail).filter(|_| owner == Owner::Tyk) {
            Some(_) if matches!(text.trim(), "" | "0" | "false" | "FALSE" | "False") => {}
            Some(feature) => features.entry(feature.name).or_default().push(name.clone()),
            None => problems.push(unknown(name, tail, owner, &names)),
        }
    }
    for (feature, names) in features {
        problems.push(no_such_feature(
            feature,
            Origin::Env(names.join(", ")),
            &names.join(", "),
        ));
    }
}

fn judge(key: &Key, name: &str, text: &str, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let origin = Origin::Env(name.to_owned());
    match value::from_env(key.kind, text) {
        Ok(value) => settings.set(key, value, origin),
        Err(mut rejection) => {
            if text.trim().is_empty() {
                rejection.hint = Some("unset the variable to leave the key alone".to_owned());
            }
            problems.push(shown::rejected(
                key,
                key.path,
                origin,
                format!("\"{}\"", shown::text(key, text)),
                rejection,
            ));
        }
    }
}

fn unknown(
    name: &str,
    tail: &str,
    owner: Owner,
    names: &BTreeMap<String, (&'static Key, bool)>,
) -> Problem {
    let problem = Problem::warning(
        Origin::Env(name.to_owned()),
        name,
        "no key has this variable; it has no effect",
    );
    // The likeliest slip is to write the key of the file with underscores.
    let as_key = table::keys().find(|key| {
        key.owner == owner
            && key.path.replace('.', "_").eq_ignore_ascii_case(tail)
            && key.env.is_some()
    });
    let meant = match as_key {
        Some(key) => key.env_name(),
        None => nearest(
            tail,
            names
                .keys()
                .filter_map(|name| name.strip_prefix(owner.prefix())),
        )
        .map(|tail| format!("{}{tail}", owner.prefix())),
    };
    match meant {
        Some(meant) => problem.hint(format!("did you mean {meant}?")),
        None => problem.hint("unset it, or look it up in docs/configuration.md"),
    }
}

/// Kubernetes and Docker announce a service called `tyk-gw` or `portcullis` with variables
/// such as `PORTCULLIS_SERVICE_HOST` and `TYK_GW_PORT_8080_TCP_ADDR`.
fn is_of_orchestrator(tail: &str) -> bool {
    tail == "PORT"
        || tail.ends_with("SERVICE_HOST")
        || tail.contains("SERVICE_PORT")
        || (tail.contains("PORT_") && (tail.contains("_TCP") || tail.contains("_UDP")))
}

//! The reference page, made from the table.

use std::fmt::Write as _;

use crate::key::{Key, Status};
use crate::table::SECTIONS;

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table of keys in crates/config. Change it there, then run
     `UPDATE_DOCS=1 cargo test -p portcullis-config`. -->

The gateway reads `tyk.conf`, the JSON file of a Tyk gateway, and the environment variables that belong to it.

**Where.** `--conf FILE`, or the first of `tyk.conf`, `~/.config/tyk/tyk.conf` and `/etc/tyk/tyk.conf`.

**Order.** A value in the environment wins over the file, the file wins over the default.
With `TYK_GW_OMITCONFIGFILE=true` no file is read at all. `null` in the file means \"not set\".

**Names.** Keys of the file match whatever their case. A dot in this page stands for an object inside an object.
A variable begins with `TYK_GW_` and is not always the key in capitals, so take it from the table.
This gateway's own keys stand in one object `portcullis`, which a Tyk gateway ignores; their variables are the keys in
capitals after `PORTCULLIS_`.

**Values in variables.** Lists are separated by commas. Maps are `name:text,name:text`, each split at its last colon, so a
name may carry a port. `http_server_options.certificates` and `ports_whitelist` take the same JSON as the file.

**Relative paths** are tried in the working directory first and then in the directory of the configuration file; what exists
in neither is taken relative to the file. `portcullis.data_dir` is always relative to the file.

**References.** A key of type \"secret text or reference\" may hold `env://NAME` (read from the variable `TYK_SECRET_NAME`, in
capitals), `secrets://NAME` (an entry of `secrets`), `file://PATH` (without the line break at the end), `vault://`,
`consul://`, `kv://` or `$kv{…}`: see [References](references.md). A reference that cannot be resolved stops the start; it is
never used as the secret itself.

**Problems** are all reported at once, with file and line or variable, key, value, what is accepted and a hint. A value that
cannot be right stops the start. An unknown key, and a key of a Tyk feature that is not here, is a warning;
`portcullis check --strict` makes warnings errors.

**Status.** *not yet*: read and checked, without effect so far; a warning says so. *not yet, refused*: the same, but
because a protection would be missing the gateway does not start while it is set. *no effect*: accepted for
compatibility only.
";

/// The reference page of every key, in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, section.about);
        page.push_str("| Key | Environment | Type | Default | Effect |\n|---|---|---|---|---|\n");
        for key in section.keys {
            row(&mut page, key);
        }
    }
    page
}

fn row(page: &mut String, key: &Key) {
    let spelling = |name: &&str| format!("`{name}`");
    let mut names = vec![format!("`{}`", key.path)];
    names.extend(key.aliases.iter().map(spelling));
    let variables: Vec<String> = key
        .env
        .iter()
        .chain(key.env_aliases)
        .map(|tail| format!("`{}{tail}`", key.owner.prefix()))
        .collect();
    let default = match key.default {
        "null" => "–".to_owned(),
        "\"\"" | "[]" | "{}" => "empty".to_owned(),
        text => format!("`{}`", text.trim_matches('"')),
    };
    let status = match key.status {
        Status::InUse => String::new(),
        Status::NotYet(reason) => format!(" *Not yet: {reason}.*"),
        Status::Inert(reason) => format!(" *No effect: {reason}.*"),
    };
    let variables = if variables.is_empty() {
        "–".to_owned()
    } else {
        variables.join("<br>")
    };
    let _ = writeln!(
        page,
        "| {} | {variables} | {} | {default} | {}{status} |",
        names.join("<br>"),
        key.kind.name(),
        key.effect
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_what_the_table_says() {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(file.parent().expect("has a parent"))
                .expect("directory of the page");
            std::fs::write(&file, reference_page()).expect("the page can be written");
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == reference_page(),
            "docs/configuration.md is not what the table says: run `UPDATE_DOCS=1 cargo test -p portcullis-config`"
        );
    }
}

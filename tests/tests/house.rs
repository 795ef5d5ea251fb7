//! The repository's own habits: documents that tell the truth, arrows that go one way, one TLS
//! library, examples that work.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portcullis_tests::program;
use serde_json::Value;

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

/// Every file git knows or would take, by its path from the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let listed = output.ok().filter(|output| output.status.success());
    let mut files: Vec<String> = match listed {
        Some(output) => String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
        // A source archive has no history.
        None => walk(&root()),
    };
    files.retain(|file| root().join(file).is_file());
    assert!(files.iter().any(|file| file == "Cargo.toml"), "{files:?}");
    files
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name == "target" || name == ".git" || name == "corpus" => {}
                true => open.push(path),
                false => found.push(path.strip_prefix(root).unwrap().display().to_string()),
            }
        }
    }
    found
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Crates by folder name, each with the crates of this repository it uses.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let base = root().join("crates");
    let folder = |path: &Value| {
        let path = Path::new(path.as_str()?);
        Some(
            path.strip_prefix(&base)
                .ok()?
                .iter()
                .next()?
                .to_str()?
                .to_owned(),
        )
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter_map(|package| {
            let name = folder(&package["manifest_path"])?;
            let used = package["dependencies"].as_array().unwrap().iter();
            let used = used
                // What tests of a crate use is no arrow of its code.
                .filter(|dependency| dependency["kind"] != "dev")
                .filter_map(|dependency| folder(&dependency["path"]));
            Some((name, used.collect()))
        })
        .collect()
}

/// The crate table of ARCHITECTURE.md in its order: crate, and what it may use.
fn crate_table() -> Vec<(String, BTreeSet<String>)> {
    let text = read("ARCHITECTURE.md");
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, used] = cells[..] else {
            panic!("three columns: {line}")
        };
        let used = used
            .split(", ")
            .filter(|name| *name != "–")
            .map(str::to_owned);
        (name.trim_matches('`').to_owned(), used.collect())
    });
    rows.collect()
}

#[test]
fn the_crate_table_of_the_architecture_is_the_workspace() {
    let (table, crates) = (crate_table(), crates());
    let listed: BTreeSet<&String> = table.iter().map(|(name, _)| name).collect();
    assert_eq!(
        listed,
        crates.keys().collect(),
        "crates in ARCHITECTURE.md and in crates/"
    );
    for (place, (name, allowed)) in table.iter().enumerate() {
        let above: BTreeSet<String> = table[..place]
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        assert!(
            allowed.is_subset(&above),
            "`{name}` may use a crate that stands below it"
        );
        let used = &crates[name];
        assert!(
            used.is_subset(allowed),
            "`{name}` uses {used:?}, the table allows {allowed:?}"
        );
    }
}

#[test]
fn every_path_named_in_a_document_exists() {
    let mut missing = Vec::new();
    let mut named = 0;
    for document in files().iter().filter(|file| file.ends_with(".md")) {
        let text = read(document);
        let here = root().join(document).parent().unwrap().to_owned();
        let mut look = |base: &Path, path: &str| {
            named += 1;
            if !base.join(path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        };
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                look(&here, path);
            }
        }
        for code in text.split('`').skip(1).step_by(2) {
            let folder = code.split('/').next().unwrap();
            let is_ours = code.contains('/')
                && matches!(
                    folder,
                    "crates"
                        | "tests"
                        | "docs"
                        | "scripts"
                        | "bench"
                        | "fuzz"
                        | "packaging"
                        | ".ci"
                );
            // A command after its program, and what only exists once something has run.
            let path = code.split_whitespace().next().unwrap_or(code);
            let made = path.contains(['<', '*'])
                || path.chars().any(|c| c.is_ascii_uppercase()) && !path.ends_with("Dockerfile");
            if is_ours && !made {
                look(&root(), path);
            }
        }
    }
    assert!(
        named > 20,
        "only {named} paths found: the documents are read wrongly"
    );
    assert!(
        missing.is_empty(),
        "documents name what does not exist:\n{}",
        missing.join("\n")
    );
}

#[test]
fn no_second_tls_library_comes_in() {
    let rules = read("deny.toml");
    let banned: Vec<&str> = rules
        .split("{ crate = \"")
        .skip(1)
        .filter(|rule| rule.contains("a second"))
        .map(|rule| rule.split('"').next().unwrap())
        .collect();
    for certain in ["rustls", "ring", "openssl-src", "boring", "wolfssl"] {
        assert!(
            banned.contains(&certain),
            "deny.toml does not ban {certain}: {banned:?}"
        );
    }
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = read(lock);
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .collect();
        assert!(names.contains(&"portcullis-tls"), "{lock} is read wrongly");
        let found: Vec<_> = names.iter().filter(|name| banned.contains(name)).collect();
        assert!(found.is_empty(), "{lock} holds {found:?}");
        let libraries = names
            .iter()
            .filter(|name| name.starts_with("aws-lc") && name.ends_with("-sys"))
            .count();
        assert_eq!(libraries, 1, "{lock} holds {libraries} builds of AWS-LC");
    }
}

#[test]
fn every_source_file_opens_by_saying_what_it_is_for() {
    let is_source = |file: &&String| file.ends_with(".rs") && !file.contains("/tests/");
    let silent: Vec<String> = files()
        .iter()
        .filter(is_source)
        .filter(|file| !read(file).starts_with("//! "))
        .cloned()
        .collect();
    assert!(silent.is_empty(), "these files do not: {silent:#?}");
}

#[test]
fn unsafe_code_lives_in_the_tls_crate_alone() {
    let word = ["un", "safe"].concat();
    let forms = [
        format!("{word} {{"),
        format!("{word} fn"),
        format!("{word} impl"),
        format!("{word} extern"),
        format!("#[{word}("),
    ];
    let has = |file: &String| {
        let text = read(file);
        let mut code = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with("//"));
        code.any(|line| forms.iter().any(|form| line.contains(form)))
    };
    let rust: Vec<String> = files()
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .collect();
    let (tls, others): (Vec<String>, Vec<String>) = rust
        .into_iter()
        .partition(|file| file.starts_with("crates/tls/"));
    assert!(
        tls.iter().any(has),
        "the tls crate has some: the search is wrong"
    );
    let found: Vec<_> = others.into_iter().filter(has).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_example_passes_a_strict_check() {
    let copy = tempfile::tempdir().unwrap();
    for file in files()
        .iter()
        .filter(|file| file.starts_with("examples/") || file.starts_with("scripts/"))
    {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // Permissions come along, so what can be run there can be run here.
        fs::copy(root().join(file), to).unwrap();
    }
    let mut examples = 0;
    for entry in fs::read_dir(copy.path().join("examples")).unwrap() {
        let example = entry.unwrap().path();
        if !example.is_dir() {
            continue;
        }
        examples += 1;
        let made = Command::new(example.join("certs/make")).status().unwrap();
        assert!(made.success(), "{}", example.display());
        let conf = example.join("tyk.conf");
        let text = fs::read_to_string(&conf).unwrap();
        assert!(
            text.contains("\"max_version\": 772"),
            "{} leaves TLS 1.3 off",
            conf.display()
        );
        let checked = program::command(&["check", "--strict", "--conf", conf.to_str().unwrap()])
            .env("TYK_SECRET_GATEWAY_SECRET", "an example's")
            .output()
            .unwrap();
        let said = [
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr),
        ]
        .concat();
        assert_eq!(
            checked.status.code(),
            Some(0),
            "{}:\n{said}",
            example.display()
        );
        assert!(said.contains("served -> http"), "{said}");
    }
    assert!(examples >= 2, "{examples} examples");
}

#[test]
fn the_manual_lists_the_exit_statuses_of_the_help() {
    let help = program::run(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help
        .lines()
        .skip_while(|line| *line != "Exit status:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let manual = read("docs/cli.md");
    let mut statuses = 0;
    for line in lines {
        let (status, meaning) = line
            .trim()
            .split_once("  ")
            .expect("a status and its meaning");
        let row = format!("| {status} | {meaning} |");
        assert!(manual.contains(&row), "docs/cli.md lacks: {row}");
        statuses += 1;
    }
    assert_eq!(statuses, 6, "{help}");
}

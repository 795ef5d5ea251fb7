//! What `quickstart` prints once it answers.

use std::{fmt::Write, path::Path};

use super::{demo::Addresses, place::Made};

/// What was made, where it answers, and lines to paste.
pub fn text(dir: &Path, made: &Made, base: &str, demo: Addresses, client_id: &str) -> String {
    let curl = match base.starts_with("https:") {
        true => format!(
            "curl --cacert {}",
            quoted(&dir.join("certs/ca.pem").display().to_string())
        ),
        false => "curl".to_owned(),
    };
    let conf = quoted(&dir.join("tyk.conf").display().to_string());
    let secret = format!(
        "-H \"X-Tyk-Authorization: $(sed -n 's/.*\"secret\": \"\\(.*\\)\".*/\\1/p' {conf})\""
    );
    let file = |name: &str| quoted(&dir.join(name).display().to_string());
    let pair = |name: &str| {
        format!(
            "--cert {} --key {}",
            file(&format!("certs/{name}.pem")),
            file(&format!("certs/{name}.key"))
        )
    };
    let (client, stranger) = (pair("client"), pair("stranger"));
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };

    line(&format!("\nPortcullis quickstart in {}\n", dir.display()));
    for (title, entries) in [
        ("made", made.fresh().collect::<Vec<_>>()),
        ("renewed, expired or about to", made.renewed().collect()),
        ("kept as it is", made.kept().collect()),
        ("note", made.notes().collect()),
    ] {
        for (index, entry) in entries.iter().enumerate() {
            if index == 0 {
                line(&format!("  {title}:"));
            }
            line(&format!("    {entry}"));
        }
    }
    line(&format!("\n  gateway:       {base}"));
    line(&format!("  demo upstream: {}\n", demo.urls().join(", ")));
    line("Try it from another terminal:\n");
    for (what, command) in [
        (
            "A request, told back by the demo upstream",
            format!("{curl} '{base}/echo/hello?who=you'"),
        ),
        (
            "The same with a body, over HTTP/2",
            format!("{curl} --http2 --data 'some text' {base}/echo/"),
        ),
        (
            "Ten lines, one at a time",
            format!("{curl} --no-buffer {base}/streams/stream"),
        ),
        (
            "Server-sent events; Ctrl-C ends them",
            format!("{curl} --no-buffer {base}/streams/events"),
        ),
        (
            "The APIs that are loaded, from the Control API",
            format!("{curl} {secret} {base}/tyk/apis"),
        ),
        (
            "A key named demo-key, which opens /key/ five times in ten seconds",
            format!(
                "{curl} {secret} --data '{{\"org_id\": \"default\", \"rate\": 5, \"per\": 10, \
                 \"access_rights\": {{\"key\": {{\"api_id\": \"key\"}}}}}}' {base}/tyk/keys/demo-key"
            ),
        ),
        (
            "A request with that key; without it the answer is 401",
            format!("{curl} -H 'Authorization: demo-key' {base}/key/hello"),
        ),
        (
            "A client whose certificate is on the list of /mtls/",
            format!("{curl} {client} {base}/mtls/hello"),
        ),
        (
            "One whose certificate is not: 403",
            format!("{curl} {stranger} {base}/mtls/stranger"),
        ),
        (
            "Why that one is refused, in plain words; it asks nobody",
            format!("portcullis doctor --conf {conf} --host localhost --path /mtls/ {stranger}"),
        ),
        (
            "The client's certificate in the store",
            format!(
                "{curl} {secret} --data-binary @{} '{base}/tyk/certs?org_id=default'",
                file("certs/client.pem")
            ),
        ),
        (
            "A key that is this certificate, which opens /cert-auth/",
            format!(
                "{curl} {secret} --data '{{\"org_id\": \"default\", \"certificate\": \"{client_id}\", \
                 \"access_rights\": {{\"cert-auth\": {{\"api_id\": \"cert-auth\"}}}}}}' \
                 {base}/tyk/keys/create"
            ),
        ),
        (
            "A request by its owner",
            format!("{curl} {client} {base}/cert-auth/hello"),
        ),
        (
            "One by somebody else: 401",
            format!("{curl} {stranger} {base}/cert-auth/stranger"),
        ),
        (
            "An upstream that lets in nobody without a certificate, and tells whose it saw",
            format!("{curl} {base}/upstream-mtls/hello"),
        ),
        (
            "That hop step by step: certificate, key and authorities on both sides",
            format!("portcullis doctor --conf {conf} --api upstream-mtls"),
        ),
    ] {
        line(&format!("  # {what}"));
        line(&format!("  {command}\n"));
    }
    line(
        "Change a file in apps and save it: it is in force a second later. Ctrl-C ends everything.",
    );
    text
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::new();
    let _ = write!(quoted, "'{}'", word.replace('\'', r"'\''"));
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Addresses {
        Addresses {
            plain: ([127, 0, 0, 1], 2).into(),
            secure: ([127, 0, 0, 1], 3).into(),
        }
    }

    #[test]
    fn every_line_can_be_pasted_whatever_the_directory_is_called() {
        let text = text(
            Path::new("/tmp/it's here"),
            &Made::default(),
            "https://localhost:1",
            demo(),
            "id",
        );
        let commands: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("  curl "))
            .collect();
        assert_eq!(commands.len(), 14);
        for command in commands {
            assert!(
                command.contains(r"--cacert '/tmp/it'\''s here/certs/ca.pem'"),
                "{command}"
            );
        }
    }

    #[test]
    fn only_what_happened_is_announced() {
        let mut made = Made::default();
        made.keep("tyk.conf: kept");
        let text = text(Path::new("/q"), &made, "http://localhost:1", demo(), "id");
        assert!(
            text.contains("  kept as it is:\n    tyk.conf: kept\n"),
            "{text}"
        );
        assert!(
            !text.contains("made:") && !text.contains("renewed") && !text.contains("--cacert"),
            "{text}"
        );
    }
}

//! What is known about one configuration key.
//!
//! A [`Key`] is a row of the table in [`crate::table`]. It is the single source for reading
//! a value, for judging it, for its default and for its line on the reference page, so none
//! of the four can disagree with another.

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Where it stands in the file: JSON keys joined by dots.
    pub path: &'static str,
    /// The environment variable without its prefix; `None` when it can only stand in the file.
    pub env: Option<&'static str>,
    /// Whose key it is, which decides the prefix of the environment variable.
    pub owner: Owner,
    /// What may stand there.
    pub kind: Kind,
    /// The value when nothing is set, as JSON text; `null` means "decided at run time".
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub effect: &'static str,
    /// Whether setting it has an effect today.
    pub status: Status,
    /// Other spellings of `path` that are read as well; `path` wins over them.
    pub aliases: &'static [&'static str],
    /// Other spellings of `env` that are read as well; `env` wins over them.
    pub env_aliases: &'static [&'static str],
}

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A key of `tyk.conf`; environment prefix `TYK_GW_`.
    Tyk,
    /// A key of this gateway's own, under `portcullis`; environment prefix `PORTCULLIS_`.
    Own,
}

/// Whether setting a key has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The gateway acts on it.
    InUse,
    /// Read and checked, but the feature is not built yet. No such key asks for a protection: going on without one
    /// that was asked for would be worse than not to start.
    NotYet(
        /// What is missing.
        &'static str,
    ),
    /// Accepted without any effect, now and later.
    Inert(
        /// Why it has none.
        &'static str,
    ),
}

/// What may stand at a key. Limits are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// One of the given words.
    Choice(&'static [&'static str]),
    /// A list of the given words.
    ChoiceList(&'static [&'static str]),
    /// A file or directory.
    Path,
    /// Text that never reaches a log.
    Secret,
    /// As [`Kind::Secret`]; may also be a reference such as `env://NAME`.
    SecretOrReference,
    /// Names and texts that never reach a log.
    SecretMap,
    /// An IP address, empty for every interface.
    Address,
    /// A TCP port.
    Port,
    /// A whole number.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A number of bytes, at least the given one.
    Bytes(i64),
    /// Whole seconds, at least the given number.
    Seconds(i64),
    /// Seconds, fractions allowed, at least the given whole number.
    DecimalSeconds(i64),
    /// Whole milliseconds, at least the given number.
    Milliseconds(i64),
    /// A number that may have a fraction.
    Number,
    /// A TLS version as its protocol number.
    TlsVersion,
    /// A TLS version by name, `1.0` to `1.3`.
    TlsVersionName,
    /// A list of texts.
    TextList,
    /// Names and texts.
    TextMap,
    /// `[{"domain_name", "cert_file", "key_file"}]`.
    CertificatePairs,
    /// Protocol to ports and ranges.
    PortRules,
    /// Message id to `{"message", "code"}`.
    Messages,
    /// `true`, `false` or a list of ports.
    BoolOrPorts,
    /// A duration as Go writes it: nanoseconds, or text such as `5s`.
    GoDuration,
    /// Name to `{"type", "config"}` of a store that references read from.
    ValueStores,
    /// Any JSON object, kept as it is.
    Opaque,
}

impl Key {
    /// The full name of the environment variable.
    #[must_use]
    pub fn env_name(&self) -> Option<String> {
        self.env
            .map(|tail| format!("{}{tail}", self.owner.prefix()))
    }

    /// Whether values of this key must not be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(
            self.kind,
            Kind::Secret | Kind::SecretOrReference | Kind::SecretMap | Kind::ValueStores
        )
    }

    pub(crate) const fn not_yet(mut self, reason: &'static str) -> Self {
        self.status = Status::NotYet(reason);
        self
    }

    pub(crate) const fn inert(mut self, reason: &'static str) -> Self {
        self.status = Status::Inert(reason);
        self
    }

    pub(crate) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn also_env(mut self, aliases: &'static [&'static str]) -> Self {
        self.env_aliases = aliases;
        self
    }

    pub(crate) const fn without_env(mut self) -> Self {
        self.env = None;
        self
    }
}

impl Owner {
    /// What every environment variable of this owner begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Tyk => "TYK_GW_",
            Self::Own => "PORTCULLIS_",
        }
    }
}

impl Kind {
    /// The type as the reference page names it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Bool => "bool".into(),
            Self::Text => "text".into(),
            Self::Choice(words) => words_in_ticks(words, " \\| "),
            Self::ChoiceList(words) => format!("list of {}", words_in_ticks(words, " \\| ")),
            Self::Path => "path".into(),
            Self::Secret => "secret text".into(),
            Self::SecretOrReference => "secret text or reference".into(),
            Self::SecretMap => "map of secret texts".into(),
            Self::Address => "IP address".into(),
            Self::Port => "port".into(),
            Self::Integer { .. } => "integer".into(),
            Self::Bytes(_) => "integer, bytes".into(),
            Self::Seconds(_) => "integer, seconds".into(),
            Self::DecimalSeconds(_) => "number, seconds".into(),
            Self::Milliseconds(_) => "integer, milliseconds".into(),
            Self::Number => "number".into(),
            Self::TlsVersion => "integer, TLS version".into(),
            Self::TlsVersionName => "text, TLS version".into(),
            Self::TextList => "list of texts".into(),
            Self::TextMap => "map of texts".into(),
            Self::CertificatePairs => "list of certificate pairs".into(),
            Self::PortRules => "map of port rules".into(),
            Self::Messages => "map of messages".into(),
            Self::BoolOrPorts => "bool or list of ports".into(),
            Self::GoDuration => "duration".into(),
            Self::ValueStores => "map of stores".into(),
            Self::Opaque => "object".into(),
        }
    }

    /// What a value of this kind may be, for a problem report.
    #[must_use]
    pub fn accepted(self) -> String {
        let from = |unit: &str, min: i64| {
            if min == i64::MIN {
                format!("{unit}, as a number")
            } else {
                format!("{unit}, as a number from {min}")
            }
        };
        match self {
            Self::Bool => "true or false".into(),
            Self::Text => "a text".into(),
            Self::Choice(words) => {
                let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
                format!("one of {}", words_in_ticks(&words, ", "))
            }
            Self::ChoiceList(words) => format!("a list of {}", words_in_ticks(words, ", ")),
            Self::Path => "a path, as text".into(),
            Self::Secret => "a text".into(),
            Self::SecretOrReference => "a text, or a reference such as `env://NAME` or `file://PATH`".into(),
            Self::SecretMap | Self::TextMap => "an object of texts".into(),
            Self::Address => "an IPv4 or IPv6 address without a port, `localhost`, or an empty text for every interface".into(),
            Self::Port => "a port from 0 to 65535, as a number".into(),
            Self::Integer { min, max } => match (min == i64::MIN, max == i64::MAX) {
                (true, true) => "a whole number".into(),
                (false, true) => format!("a whole number from {min}"),
                (true, false) => format!("a whole number up to {max}"),
                (false, false) => format!("a whole number from {min} to {max}"),
            },
            Self::Bytes(min) => from("bytes", min),
            Self::Seconds(min) => from("whole seconds", min),
            Self::DecimalSeconds(min) => from("seconds", min),
            Self::Milliseconds(min) => from("whole milliseconds", min),
            Self::Number => "a number".into(),
            Self::TlsVersion => "771 (TLS 1.2) or 772 (TLS 1.3) as a number, 0 for the default".into(),
            Self::TlsVersionName => "`1.0`, `1.1`, `1.2` or `1.3`, as text".into(),
            Self::TextList => "a list of texts".into(),
            Self::CertificatePairs => {
                r#"a list of {"domain_name": …, "cert_file": …, "key_file": …}"#.into()
            }
            Self::PortRules => {
                r#"an object such as {"https": {"ports": [9443], "ranges": [{"from": 9000, "to": 9010}]}}"#.into()
            }
            Self::Messages => {
                r#"an object such as {"auth.key_not_found": {"message": "…", "code": 401}}"#.into()
            }
            Self::BoolOrPorts => "true, false or a list of ports".into(),
            Self::GoDuration => "a duration with its unit, such as \"5s\" or \"500ms\"".into(),
            Self::ValueStores => {
                r#"an object such as {"NAME": {"type": "file", "config": {"base_path": "/run/secrets"}}}; types are `env`, `inline`, `file`, `hashicorp_vault`, `hashicorp_consul`"#.into()
            }
            Self::Opaque => "an object".into(),
        }
    }
}

fn words_in_ticks(words: &[&str], separator: &str) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| {
            if word.is_empty() {
                "empty".to_owned()
            } else {
                format!("`{word}`")
            }
        })
        .collect();
    words.join(separator)
}

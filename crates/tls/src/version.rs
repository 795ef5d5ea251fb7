//! Which TLS versions a side speaks.
//!
//! Configuration gives two numbers, zero for "not set": 771 is TLS 1.2, 772 is TLS 1.3.
//! 1.0 and 1.1 are never spoken. The defaults stand in [`DEFAULT_SERVER`] and
//! [`DEFAULT_UPSTREAM`], one constant for each side.

use std::fmt;

use openssl::ssl::SslVersion;

/// What a server speaks when nothing is configured.
pub const DEFAULT_SERVER: VersionRange = VersionRange {
    min: Version::Tls12,
    max: Version::Tls12,
};

/// What we speak towards upstreams when nothing is configured.
pub const DEFAULT_UPSTREAM: VersionRange = VersionRange {
    min: Version::Tls12,
    max: Version::Tls12,
};

/// A version we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2, 771 in configuration.
    Tls12,
    /// TLS 1.3, 772 in configuration.
    Tls13,
}

impl Version {
    /// The number on the wire and in configuration.
    pub fn number(self) -> u16 {
        match self {
            Version::Tls12 => 771,
            Version::Tls13 => 772,
        }
    }

    pub(crate) fn ssl(self) -> SslVersion {
        match self {
            Version::Tls12 => SslVersion::TLS1_2,
            Version::Tls13 => SslVersion::TLS1_3,
        }
    }
}

/// The versions of one side; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionRange {
    min: Version,
    max: Version,
}

/// Which configuration keys a range comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `http_server_options.min_version` and `.max_version`.
    Server,
    /// `proxy_ssl_min_version` and `proxy_ssl_max_version`.
    Upstream,
}

impl Side {
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Side::Server => (
                "http_server_options.min_version",
                "http_server_options.max_version",
            ),
            Side::Upstream => ("proxy_ssl_min_version", "proxy_ssl_max_version"),
        }
    }

    fn default(self) -> VersionRange {
        match self {
            Side::Server => DEFAULT_SERVER,
            Side::Upstream => DEFAULT_UPSTREAM,
        }
    }
}

/// Two numbers that make no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to resolve `{}` and `{}`: {problem}", side.keys().0, side.keys().1)]
pub struct VersionError {
    /// Whose configuration it is.
    pub side: Side,
    /// What is wrong.
    pub problem: VersionProblem,
}

/// What is wrong with a pair of versions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionProblem {
    /// A minimum alone, above the default maximum.
    #[error(
        "provided minTLS ({}) exceeds the default maximum TLS version ({}); provide both versions explicitly",
        Name(*min), Name(*default)
    )]
    MinAboveDefault {
        /// The minimum as given.
        min: u16,
        /// The default maximum.
        default: u16,
    },
    /// A maximum alone, below the default minimum.
    #[error(
        "provided maxTLS ({}) is lower than the default minimum TLS version ({}); provide both versions explicitly",
        Name(*max), Name(*default)
    )]
    MaxBelowDefault {
        /// The maximum as given.
        max: u16,
        /// The default minimum.
        default: u16,
    },
    /// Both given, the wrong way round.
    #[error(
        "TLS validation error: minTLS ({min:#x} / {}) cannot be greater than maxTLS ({max:#x} / {})",
        Name(*min), Name(*max)
    )]
    Reversed {
        /// The minimum as given.
        min: u16,
        /// The maximum as given.
        max: u16,
    },
    /// A maximum below what we speak.
    #[error("maxTLS ({}) is not supported; accepted are 771 (TLS 1.2) and 772 (TLS 1.3)", Name(*max))]
    TooOld {
        /// The maximum as given.
        max: u16,
    },
    /// No TLS version has this number.
    #[error("{number} is no TLS version; accepted are 771 (TLS 1.2) and 772 (TLS 1.3)")]
    Unknown {
        /// The number as given.
        number: u16,
    },
}

/// A minimum of TLS 1.0 or 1.1, which was raised to 1.2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {min} ({}) is not supported; TLS 1.2 (771) is used as the minimum", side.keys().0, Name(*min))]
pub struct RaisedMinimum {
    /// Whose configuration it is.
    pub side: Side,
    /// The minimum as given.
    pub min: u16,
}

/// An API's versions and the gateway's have nothing in common; its connections must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no supported versions satisfy MinVersion and MaxVersion")]
pub struct NoVersion;

impl VersionRange {
    /// The range the two configured numbers (zero: not set) mean, with a warning if the
    /// minimum had to be raised.
    pub fn resolve(
        min: u16,
        max: u16,
        side: Side,
    ) -> Result<(VersionRange, Option<RaisedMinimum>), VersionError> {
        let fail = |problem| Err(VersionError { side, problem });
        let default = side.default();
        let (default_min, default_max) = (default.min.number(), default.max.number());
        let ceiling = match side {
            Side::Server => default_max,
            // A minimum alone lifts the maximum with it.
            Side::Upstream => Version::Tls13.number(),
        };
        if max == 0 && min > ceiling {
            return fail(VersionProblem::MinAboveDefault {
                min,
                default: ceiling,
            });
        }
        if min == 0 && max != 0 && max < default_min {
            return fail(VersionProblem::MaxBelowDefault {
                max,
                default: default_min,
            });
        }
        if min != 0 && max != 0 && min > max {
            return fail(VersionProblem::Reversed { min, max });
        }
        if let Some(number) = [min, max]
            .into_iter()
            .find(|n| *n != 0 && !(769..=772).contains(n))
        {
            return fail(VersionProblem::Unknown { number });
        }
        if max != 0 && max < Version::Tls12.number() {
            return fail(VersionProblem::TooOld { max });
        }
        let raised = (min != 0 && min < 771).then_some(RaisedMinimum { side, min });
        let min = version(min).unwrap_or(default.min);
        let max = version(max).unwrap_or(default.max.max(min));
        Ok((VersionRange { min, max }, raised))
    }

    /// The range of one API towards its upstream: its own numbers where they are set, the
    /// gateway's otherwise. All four are as configured, zero for "not set".
    pub fn for_api(gateway: (u16, u16), api: (u16, u16)) -> Result<VersionRange, NoVersion> {
        let either = |own, inherited| if own != 0 { own } else { inherited };
        let (min, max) = (either(api.0, gateway.0), either(api.1, gateway.1));
        let low = if min > 772 {
            return Err(NoVersion);
        } else {
            version(min)
        };
        let low = low.unwrap_or(DEFAULT_UPSTREAM.min);
        let high = match max {
            0 => DEFAULT_UPSTREAM.max.max(low),
            1..=770 => return Err(NoVersion),
            771 => Version::Tls12,
            _ => Version::Tls13,
        };
        if low > high {
            Err(NoVersion)
        } else {
            Ok(VersionRange {
                min: low,
                max: high,
            })
        }
    }

    /// The lowest version.
    pub fn min(self) -> Version {
        self.min
    }

    /// The highest version.
    pub fn max(self) -> Version {
        self.max
    }

    /// Whether `version` is spoken.
    pub fn contains(self, version: Version) -> bool {
        self.min <= version && version <= self.max
    }
}

/// A configured number as a version; `None` when it is not set. Too old counts as 1.2.
fn version(number: u16) -> Option<Version> {
    match number {
        0 => None,
        772.. => Some(Version::Tls13),
        _ => Some(Version::Tls12),
    }
}

/// A version number as Go prints it.
struct Name(u16);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            768 => f.write_str("SSLv3"),
            number @ 769..=772 => write!(f, "TLS 1.{}", number - 769),
            number => write!(f, "{number:#06X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TLS12: VersionRange = VersionRange {
        min: Version::Tls12,
        max: Version::Tls12,
    };
    const TLS13: VersionRange = VersionRange {
        min: Version::Tls13,
        max: Version::Tls13,
    };
    const BOTH: VersionRange = VersionRange {
        min: Version::Tls12,
        max: Version::Tls13,
    };

    fn range(min: u16, max: u16, side: Side) -> VersionRange {
        VersionRange::resolve(min, max, side).unwrap().0
    }

    fn error(min: u16, max: u16, side: Side) -> String {
        VersionRange::resolve(min, max, side)
            .unwrap_err()
            .to_string()
    }

    /// IN-89 with our default of 771 to 771.
    #[test]
    fn unset_numbers_take_the_default_and_set_ones_win() {
        assert_eq!(range(0, 0, Side::Server), TLS12);
        assert_eq!(range(0, 772, Side::Server), BOTH);
        assert_eq!(range(771, 771, Side::Server), TLS12);
        assert_eq!(range(772, 772, Side::Server), TLS13);
        let (range, raised) = VersionRange::resolve(770, 0, Side::Server).unwrap();
        assert_eq!(range, TLS12);
        assert_eq!(
            raised.unwrap().to_string(),
            "`http_server_options.min_version` 770 (TLS 1.1) is not supported; TLS 1.2 (771) is used as the minimum"
        );
        assert_eq!(
            VersionRange::resolve(771, 772, Side::Server).unwrap().1,
            None
        );
    }

    /// IN-90 start-up fails with these texts.
    #[test]
    fn contradicting_numbers_fail_with_the_known_texts() {
        let prefix = "failed to resolve `http_server_options.min_version` and `http_server_options.max_version`: ";
        assert_eq!(
            error(0, 770, Side::Server),
            format!(
                "{prefix}provided maxTLS (TLS 1.1) is lower than the default minimum TLS version (TLS 1.2); provide both versions explicitly"
            )
        );
        assert_eq!(
            error(773, 0, Side::Server),
            format!(
                "{prefix}provided minTLS (0x0305) exceeds the default maximum TLS version (TLS 1.2); provide both versions explicitly"
            )
        );
        assert_eq!(
            error(772, 771, Side::Server),
            format!(
                "{prefix}TLS validation error: minTLS (0x304 / TLS 1.3) cannot be greater than maxTLS (0x303 / TLS 1.2)"
            )
        );
        assert!(error(770, 770, Side::Server).contains("maxTLS (TLS 1.1) is not supported"));
        assert!(error(0, 12, Side::Server).contains("is lower than the default minimum"));
        assert!(error(771, 800, Side::Server).contains("800 is no TLS version"));
    }

    /// The default maximum is 771, so 772 alone as minimum cannot work on the server.
    #[test]
    fn a_server_minimum_above_the_default_maximum_needs_both() {
        assert!(error(772, 0, Side::Server).ends_with(
            "provided minTLS (TLS 1.3) exceeds the default maximum TLS version (TLS 1.2); provide both versions explicitly"
        ));
    }

    #[test]
    fn an_upstream_minimum_alone_lifts_the_maximum() {
        assert_eq!(range(772, 0, Side::Upstream), TLS13);
        assert_eq!(range(0, 0, Side::Upstream), TLS12);
        assert_eq!(range(0, 772, Side::Upstream), BOTH);
    }

    /// OUT-26 and OUT-27.
    #[test]
    fn upstream_contradictions_fail_with_the_known_texts() {
        let prefix = "failed to resolve `proxy_ssl_min_version` and `proxy_ssl_max_version`: ";
        assert_eq!(
            error(772, 771, Side::Upstream),
            format!(
                "{prefix}TLS validation error: minTLS (0x304 / TLS 1.3) cannot be greater than maxTLS (0x303 / TLS 1.2)"
            )
        );
        assert_eq!(
            error(0, 770, Side::Upstream),
            format!(
                "{prefix}provided maxTLS (TLS 1.1) is lower than the default minimum TLS version (TLS 1.2); provide both versions explicitly"
            )
        );
    }

    #[test]
    fn an_api_overrides_number_by_number_and_may_leave_nothing() {
        assert_eq!(VersionRange::for_api((0, 772), (0, 771)), Ok(TLS12));
        assert_eq!(VersionRange::for_api((772, 772), (0, 771)), Err(NoVersion));
        assert_eq!(VersionRange::for_api((0, 0), (772, 0)), Ok(TLS13));
        assert_eq!(VersionRange::for_api((0, 771), (772, 0)), Err(NoVersion));
        assert_eq!(VersionRange::for_api((0, 0), (0, 0)), Ok(TLS12));
        assert_eq!(VersionRange::for_api((0, 0), (0, 770)), Err(NoVersion));
    }
}

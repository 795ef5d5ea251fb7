//! Which ports API definitions may open.
//!
//! Invariant: the main port and the Control API port are allowed without being listed,
//! whatever the white list says; everything else is closed unless it is listed or the
//! check is switched off.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use crate::value::Rejection;

/// The protocols a listener can have in the white list.
const PROTOCOLS: &[&str] = &["http", "https", "tcp", "tls"];

/// Ports and ranges by protocol, as written in `ports_whitelist`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRules(BTreeMap<String, Ports>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ports {
    single: Vec<u16>,
    /// Both limits belong to the range.
    ranges: Vec<(u16, u16)>,
}

/// The ports API definitions may open on this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortWhitelist {
    disabled: bool,
    rules: PortRules,
    always: Vec<(&'static str, u16)>,
}

/// Why a listener is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{protocol}:{port} trying to open disabled port")]
pub struct PortNotAllowed {
    /// The protocol asked for.
    pub protocol: String,
    /// The port asked for.
    pub port: u16,
}

impl PortWhitelist {
    /// The white list of a gateway with these ports of its own.
    ///
    /// `control_port` 0 means that the Control API shares the main port.
    #[must_use]
    pub fn new(
        rules: PortRules,
        disabled: bool,
        use_ssl: bool,
        main_port: u16,
        control_port: u16,
    ) -> Self {
        let protocol = if use_ssl { "https" } else { "http" };
        let mut always = vec![(protocol, main_port)];
        if control_port != 0 {
            always.push((protocol, control_port));
        }
        Self {
            disabled,
            rules,
            always,
        }
    }

    /// Allows the main port that the operating system picked for port 0.
    pub(crate) fn allow_main(&mut self, port: u16) {
        self.always[0].1 = port;
    }

    /// Whether a listener may be opened.
    ///
    /// `h2c` is judged as `http`, which it is on the wire.
    ///
    /// # Errors
    ///
    /// [`PortNotAllowed`] when the port is not on the list.
    pub fn permits(&self, protocol: &str, port: u16) -> Result<(), PortNotAllowed> {
        let listed = if protocol == "h2c" { "http" } else { protocol };
        if self.disabled || self.always.contains(&(listed, port)) || self.rules.list(listed, port) {
            Ok(())
        } else {
            Err(PortNotAllowed {
                protocol: protocol.to_owned(),
                port,
            })
        }
    }
}

impl PortRules {
    fn list(&self, protocol: &str, port: u16) -> bool {
        self.0.get(protocol).is_some_and(|ports| {
            ports.single.contains(&port)
                || ports
                    .ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&port))
        })
    }

    pub(crate) fn from_json(json: Json) -> Result<Self, Rejection> {
        let Json::Object(members) = json else {
            return Err(Rejection::new("is not an object"));
        };
        let mut rules = BTreeMap::new();
        for (protocol, value) in members {
            let name = protocol.to_ascii_lowercase();
            if !PROTOCOLS.contains(&name.as_str()) {
                return Err(Rejection::at(
                    format!(".{protocol}"),
                    "is not one of `http`, `https`, `tcp`, `tls`",
                ));
            }
            rules.insert(name, Ports::from_json(&format!(".{protocol}"), value)?);
        }
        Ok(Self(rules))
    }
}

impl Ports {
    fn from_json(inside: &str, json: Json) -> Result<Self, Rejection> {
        let Json::Object(members) = json else {
            return Err(Rejection::at(
                inside,
                "is not an object with `ports` and `ranges`",
            ));
        };
        let mut ports = Self::default();
        for (name, value) in members {
            let inside = format!("{inside}.{name}");
            let items = match value {
                Json::Array(items) => items,
                Json::Null => continue,
                _ => return Err(Rejection::at(inside, "is not a list")),
            };
            for (index, item) in items.iter().enumerate() {
                let inside = format!("{inside}[{index}]");
                match name.to_ascii_lowercase().as_str() {
                    "ports" => ports.single.push(port(&inside, item)?),
                    "ranges" => ports.ranges.push(range(&inside, item)?),
                    _ => return Err(Rejection::at(inside, "is neither `ports` nor `ranges`")),
                }
            }
        }
        Ok(ports)
    }
}

fn range(inside: &str, item: &Json) -> Result<(u16, u16), Rejection> {
    let limit = |name: &str| match item.get(name) {
        Some(value) => port(&format!("{inside}.{name}"), value),
        None => Err(Rejection::at(inside, format!("has no `{name}`"))),
    };
    let (from, to) = (limit("from")?, limit("to")?);
    if from > to {
        return Err(Rejection::at(
            inside,
            format!("begins at {from} and ends before it, at {to}"),
        ));
    }
    Ok((from, to))
}

fn port(inside: &str, item: &Json) -> Result<u16, Rejection> {
    item.as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .ok_or_else(|| Rejection::at(inside, "is not a port from 1 to 65535"))
}

impl fmt::Display for PortRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (protocol, ports)) in self.0.iter().enumerate() {
            let single = ports.single.iter().map(u16::to_string);
            let ranges = ports.ranges.iter().map(|(from, to)| format!("{from}-{to}"));
            let all: Vec<String> = single.chain(ranges).collect();
            write!(
                formatter,
                "{}{protocol}: {}",
                if index > 0 { "; " } else { "" },
                all.join(", ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(json: Json) -> PortRules {
        PortRules::from_json(json).expect("rules of the test are right")
    }

    /// The text inbound case 101 wants in the log; that nothing listens is proven end to end.
    #[test]
    fn a_port_that_is_not_listed_is_named_in_the_error() {
        let whitelist = PortWhitelist::new(PortRules::default(), false, true, 8080, 0);
        let refused = whitelist
            .permits("https", 9443)
            .expect_err("nothing lists 9443");
        assert_eq!(
            refused.to_string(),
            "https:9443 trying to open disabled port"
        );
    }

    /// IN-102
    #[test]
    fn both_limits_of_a_range_belong_to_it() {
        let listed =
            rules(json!({"tls": {"ranges": [{"from": 6000, "to": 6010}], "ports": [7000]}}));
        let whitelist = PortWhitelist::new(listed, false, false, 8080, 0);
        for (port, allowed) in [
            (5999, false),
            (6000, true),
            (6005, true),
            (6010, true),
            (6011, false),
            (7000, true),
        ] {
            assert_eq!(whitelist.permits("tls", port).is_ok(), allowed, "{port}");
        }
        assert!(
            whitelist.permits("tcp", 6005).is_err(),
            "a range counts for its own protocol only"
        );
    }

    #[test]
    fn main_and_control_port_need_no_listing_for_the_gateways_own_protocol() {
        let plain = PortWhitelist::new(PortRules::default(), false, false, 8080, 9090);
        assert!(plain.permits("http", 8080).is_ok() && plain.permits("http", 9090).is_ok());
        assert!(plain.permits("h2c", 8080).is_ok());
        assert!(plain.permits("https", 8080).is_err());
        let tls = PortWhitelist::new(PortRules::default(), false, true, 8080, 9090);
        assert!(tls.permits("https", 9090).is_ok() && tls.permits("http", 9090).is_err());
        assert!(
            tls.permits("https", 0).is_err(),
            "a control port of 0 lists nothing"
        );
    }

    #[test]
    fn a_switched_off_check_allows_every_port() {
        let whitelist = PortWhitelist::new(PortRules::default(), true, true, 8080, 0);
        assert!(whitelist.permits("tcp", 22).is_ok());
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused_with_their_place() {
        for (written, inside) in [
            (
                json!({"https": {"ranges": [{"from": 10, "to": 9}]}}),
                ".https.ranges[0]",
            ),
            (
                json!({"https": {"ranges": [{"from": 10}]}}),
                ".https.ranges[0]",
            ),
            (json!({"udp": {}}), ".udp"),
            (json!({"tcp": {"ports": [70000]}}), ".tcp.ports[0]"),
            (json!({"tcp": {"ports": [0]}}), ".tcp.ports[0]"),
            (json!({"tcp": {"port": [1]}}), ".tcp.port[0]"),
            (json!({"tcp": 443}), ".tcp"),
        ] {
            let rejection = PortRules::from_json(written).expect_err("refused");
            assert_eq!(rejection.inside, inside);
        }
    }
}

//! Logs on standard error: text for people, JSON for machines.
//!
//! The level is what `PORTCULLIS_LOG` says, or `TYK_LOGLEVEL`, or the configuration, in this
//! order.

use portcullis_config::{LogFormat, LogLevel, Logs};
use tracing_subscriber::{EnvFilter, filter::ParseError};

const FILTER: &str = "PORTCULLIS_LOG";
const LEVEL: &str = "TYK_LOGLEVEL";

/// Libraries whose debugging lines nobody asks for with a level; a filter can.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,tungstenite=warn";

/// Why the log filter of the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a filter.
    #[error(
        "the environment variable {FILTER} holds `{value}`, which is no log filter; \
         accepted is a level (`debug`) or levels by module (`info,portcullis_gateway=debug`)"
    )]
    Filter {
        /// What it holds.
        value: String,
        /// What the parser said.
        #[source]
        source: ParseError,
    },
    /// Not a level.
    #[error(
        "the environment variable {LEVEL} holds `{value}`; accepted are debug, info, warn and error"
    )]
    Level {
        /// What it holds.
        value: String,
    },
}

/// Sends the log of the whole process to standard error.
///
/// # Errors
/// [`FilterError`] when the environment asks for something that is not a filter.
pub fn start(logs: &Logs) -> Result<(), FilterError> {
    let filter = filter(logs, |name| std::env::var(name).ok())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match logs.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false)
                .init();
        }
    }
    Ok(())
}

fn filter(
    logs: &Logs,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<EnvFilter, FilterError> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(value) = set(FILTER) {
        return EnvFilter::builder()
            .parse(&value)
            .map_err(|source| FilterError::Filter { value, source });
    }
    let level = match set(LEVEL) {
        Some(value) => match value.to_ascii_lowercase().as_str() {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            _ => return Err(FilterError::Level { value }),
        },
        None => logs.level,
    };
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    Ok(EnvFilter::new(format!("{level},{QUIET}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> Logs {
        Logs {
            level: LogLevel::Warn,
            format: LogFormat::Text,
            access_log: false,
            access_log_format: LogFormat::Json,
            access_log_template: Vec::new(),
            enable_key_logging: false,
        }
    }

    fn asked(variables: &[(&str, &str)]) -> Result<String, FilterError> {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        filter(&logs(), variable).map(|filter| filter.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_configuration_and_our_filter_over_the_level() {
        assert!(asked(&[]).unwrap().contains("warn"));
        assert!(asked(&[(LEVEL, "ERROR")]).unwrap().ends_with(",error"));
        assert_eq!(
            asked(&[(LEVEL, "error"), (FILTER, "debug")]).unwrap(),
            "debug"
        );
        assert!(
            asked(&[(LEVEL, ""), (FILTER, "")])
                .unwrap()
                .ends_with(",warn")
        );
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_the_levels_there_are() {
        let said = asked(&[(LEVEL, "loud")]).unwrap_err().to_string();
        assert!(
            said.contains("TYK_LOGLEVEL") && said.contains("`loud`") && said.contains("info"),
            "{said}"
        );
        assert!(matches!(
            asked(&[(FILTER, "a=b=c")]),
            Err(FilterError::Filter { .. })
        ));
    }
}

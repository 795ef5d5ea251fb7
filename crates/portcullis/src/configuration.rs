//! Reads the configuration the way every verb needs it.

use std::path::Path;

use portcullis_config::{Loaded, Problems};

use crate::exit::Failure;

/// The variable of the main port; `--port` is the last word on the same thing.
const PORT_VARIABLE: &str = "TYK_GW_LISTENPORT";

/// Reads file and environment; `port` wins over both.
///
/// # Errors
/// Every problem there is, when one of them is an error.
pub fn load(path: Option<&Path>, port: Option<u16>) -> Result<Loaded, Failure> {
    read(path, port).map_err(Failure::Configuration)
}

/// As [`load`], for those who say themselves what a wrong configuration means to them.
///
/// # Errors
/// As [`load`].
pub fn read(path: Option<&Path>, port: Option<u16>) -> Result<Loaded, Problems> {
    // Names that are not text are no names of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        })
        .filter(|(name, _)| port.is_none() || name != PORT_VARIABLE)
        .chain(port.map(|port| (PORT_VARIABLE.to_owned(), port.to_string())));
    portcullis_config::load(path, environment)
}

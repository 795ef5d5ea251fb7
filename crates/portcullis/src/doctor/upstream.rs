//! An upstream, connected to as the gateway would.

use portcullis_gateway::{Destination, Diagnosis, reach};

use crate::{cert::when, cli::DoctorArguments, configuration, exit::Failure};

/// What the arguments say to connect to.
pub fn destination(arguments: &DoctorArguments) -> Option<Destination<'_>> {
    let api = arguments.api.as_deref().map(Destination::Api);
    api.or(arguments.upstream.as_deref().map(Destination::Url))
}

/// Connects to it.
///
/// # Errors
/// When the configuration cannot be used.
pub fn examine(
    arguments: &DoctorArguments,
    destination: Destination<'_>,
) -> Result<Diagnosis, Failure> {
    let loaded = configuration::load(arguments.conf.as_deref(), None)?;
    Ok(reach(&loaded.config, destination, when::now())?)
}

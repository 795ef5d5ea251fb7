//! `portcullis gateway`: runs a gateway until it is told to stop.

use portcullis_config::Loaded;
use portcullis_gateway::RunOptions;

use crate::{
    cli::GatewayArguments,
    configuration,
    exit::{Exit, Failure},
    logging,
};

/// Runs the gateway of a configuration file.
///
/// # Errors
/// When it does not start.
pub fn run(arguments: &GatewayArguments) -> Result<Exit, Failure> {
    serve(
        configuration::load(arguments.conf.as_deref(), arguments.port)?,
        RunOptions::default(),
    )
}

/// Runs the gateway of a configuration that was read.
///
/// # Errors
/// When it does not start.
pub fn serve(loaded: Loaded, options: RunOptions) -> Result<Exit, Failure> {
    logging::start(&loaded.config.logs)?;
    let file = loaded
        .path
        .as_deref()
        .map(|path| path.display().to_string());
    tracing::info!(version = crate::version::NUMBER, file, "starting");
    for warning in &loaded.warnings {
        tracing::warn!(key = warning.key, at = %warning.origin, hint = warning.hint, "{}", warning.message);
    }
    // How it stopped is in the log; being cut short by a deadline or a second signal is what was
    // asked for.
    portcullis_gateway::run(loaded.config, options)?;
    Ok(Exit::Success)
}

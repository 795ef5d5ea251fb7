//! A client and a configuration, without a gateway between.

use portcullis_gateway::{Diagnosis, Outcome, Question, diagnose};

use super::Identity;
use crate::{cert::when, cli::DoctorArguments, configuration, exit::Failure};

/// What would become of a client.
///
/// # Errors
/// When the configuration cannot be used.
pub fn examine(
    arguments: &DoctorArguments,
    client: Option<&Identity>,
) -> Result<Diagnosis, Failure> {
    let loaded = configuration::load(arguments.conf.as_deref(), None)?;
    let question = Question {
        host: arguments.host.as_deref().unwrap_or_default(),
        path: &arguments.path,
        port: arguments.port,
        chain: client.map(|client| client.chain.clone()),
        at: when::now(),
    };
    let mut diagnosis = diagnose(&loaded.config, &question)?;
    let says = match client {
        None => "the client presents no certificate".to_owned(),
        Some(client) => {
            let leaf = client.chain.leaf();
            let name = portcullis_pki::names::distinguished_name(leaf.subject_name());
            let along = client.certificates.len() - 1;
            let print = client.chain.fingerprint();
            match along {
                0 => format!("the client presents {name} ({print}) and nothing along with it"),
                _ => format!("the client presents {name} ({print}) and {along} more along with it"),
            }
        }
    };
    diagnosis.steps.insert(
        0,
        portcullis_gateway::Step {
            step: "client",
            outcome: Outcome::Note,
            says,
        },
    );
    Ok(diagnosis)
}

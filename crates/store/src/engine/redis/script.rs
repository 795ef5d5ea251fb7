//! Several commands in one round trip, none of which another client comes between.

use fred::{
    clients::{Client, WithOptions},
    error::Error,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue, Value},
};

/// A script that a server keeps under its digest.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn of(text: &'static str) -> Self {
        let digest = openssl::sha::sha1(text.as_bytes());
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, digest }
    }

    /// Runs it on entries of one node: by its digest, with its text where a server does not know it yet.
    pub(super) async fn run<T: FromValue>(
        &self,
        client: &WithOptions<Client>,
        keys: &[&str],
        arguments: Vec<Value>,
    ) -> Result<T, Error> {
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let with = |script: &str| {
            let mut all = vec![script.into(), count.into()];
            all.extend(keys.iter().map(|key| Value::from(*key)));
            all.extend(arguments.iter().cloned());
            all
        };
        // The name that decides on the node of a cluster comes third.
        let command = |name| CustomCommand::new_static(name, ClusterHash::Offset(2), false);
        match client.custom(command("EVALSHA"), with(&self.digest)).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.custom(command("EVAL"), with(self.text)).await
            }
            answer => answer,
        }
    }
}

//! Signals as commands and payloads.

use serde::{Deserialize, Serialize};

use crate::engine::messages;

/// What one node tells all.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// Definitions or policies changed: load them again.
    Reload,
    /// These sessions changed or are gone, each by any name it may be remembered under: the hash
    /// of its token, the token, a custom name.
    KeysChanged(Vec<String>),
    /// Answers remembered for an API are void.
    ApiCacheDropped(String),
    /// Keys of identity providers remembered for an API are void.
    JwksDropped(String),
    /// How busy a node is.
    Load(NodeLoad),
    /// A certificate of the store was added or removed.
    CertificateChanged {
        /// Its id.
        id: String,
    },
}

/// How busy a node is; sent every two seconds, so that nodes can share rate limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeLoad {
    /// Its host.
    pub host_name: String,
    /// Its own id, new with each start.
    #[serde(rename = "ID")]
    pub id: String,
    /// Requests a second; never 0.
    pub load_per_sec: i64,
    /// What a node with no share of its own sends; unused.
    pub percentage: f64,
    /// Digest of its tags: only nodes with the same share limits.
    pub tag_hash: String,
}

impl Signal {
    /// Where it is sent.
    pub(super) fn channel(&self) -> &'static str {
        match self {
            Self::CertificateChanged { .. } => messages::OURS,
            _ => messages::FLEET,
        }
    }

    /// Command and payload.
    pub(super) fn written(&self) -> (&'static str, String) {
        match self {
            Self::Reload => ("GroupReload", String::new()),
            Self::KeysChanged(names) => ("KeySpaceUpdateNotification", names.join(",")),
            Self::ApiCacheDropped(id) => ("DeleteAPICache", id.clone()),
            Self::JwksDropped(id) => ("InvalidateJWKSCacheForAPI", id.clone()),
            Self::Load(load) => (
                "NoticeGatewayDRLNotification",
                serde_json::to_string(load).expect("a load is JSON"),
            ),
            Self::CertificateChanged { id } => ("CertificateChanged", id.clone()),
        }
    }

    /// The signal of a command; `None` for one that asks for what this node does not do.
    pub(super) fn read(command: &str, payload: &str, ours: bool) -> Result<Option<Self>, String> {
        if ours {
            return match command {
                "CertificateChanged" => Ok(Some(Self::CertificateChanged {
                    id: payload.to_owned(),
                })),
                // A newer version may say more.
                _ => Ok(None),
            };
        }
        Ok(Some(match command {
            "ApiUpdated" | "ApiAdded" | "ApiRemoved" | "PolicyChanged" | "GroupReload" => {
                Self::Reload
            }
            "KeySpaceUpdateNotification" => Self::KeysChanged(
                payload
                    .split(',')
                    .map(|item| item.split(':').next().unwrap_or_default().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect(),
            ),
            "DeleteAPICache" => Self::ApiCacheDropped(payload.to_owned()),
            "InvalidateJWKSCacheForAPI" => Self::JwksDropped(payload.to_owned()),
            "NoticeGatewayDRLNotification" => {
                let mut load: NodeLoad = serde_json::from_str(payload)
                    .map_err(|error| format!("its payload is no load of a node: {error}"))?;
                load.load_per_sec = load.load_per_sec.max(1);
                Self::Load(load)
            }
            "UserKeyReset"
            | "OAuthPurgeLapsedTokens"
            | "ClientIdPChanged"
            | "NoticeConfigUpdated"
            | "NoticeDashboardZeroConf"
            | "NoticeDashboardConfigRequest"
            | "NoticeGatewayConfigResponse" => return Ok(None),
            _ => return Err("Unknown notification command".to_owned()),
        }))
    }
}

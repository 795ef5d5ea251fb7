//! Answers of the Control API to definitions it does not take.
//!
//! Every text that Tyk's clients may compare stands here, once.

/// A refused request: the HTTP status and the `message` of the error body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// What the client is told.
    pub message: String,
}

impl Rejection {
    /// Any status and text.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The body is not a definition at all.
    #[must_use]
    pub fn malformed() -> Self {
        Self::new(400, "Request malformed")
    }

    /// As [`Rejection::malformed`], in the spelling of OAS import and patch.
    #[must_use]
    pub fn malformed_oas() -> Self {
        Self::new(400, "request malformed")
    }

    /// A definition that is readable but cannot be right.
    #[must_use]
    pub fn invalid(reason: &str) -> Self {
        let reason = reason.trim_end_matches('.');
        Self::new(
            400,
            format!("Validation of API Definition failed. Reason: {reason}."),
        )
    }

    /// An id that could not be a file name.
    #[must_use]
    pub fn invalid_id() -> Self {
        Self::new(400, "Invalid API ID")
    }

    /// An update without an id in the path.
    #[must_use]
    pub fn id_missing() -> Self {
        Self::new(400, "Must specify an apiID to update")
    }

    /// An update whose path and body name different APIs.
    #[must_use]
    pub fn id_mismatch() -> Self {
        Self::new(
            400,
            "Request APIID does not match that in Definition! For Update operations these must match.",
        )
    }

    /// No such API.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404, "API not found")
    }

    /// An OAS API changed through the Classic route.
    #[must_use]
    pub fn classic_expected() -> Self {
        Self::new(
            400,
            "this API endpoint only supports Tyk Classic APIs; please use the appropriate Tyk OAS API endpoint",
        )
    }

    /// A Classic API read through the OAS route.
    #[must_use]
    pub fn classic_read_as_oas() -> Self {
        Self::new(
            400,
            "the requested API definition is in Tyk classic format, please use old api endpoint",
        )
    }

    /// A Classic API changed through the OAS route.
    #[must_use]
    pub fn classic_changed_as_oas() -> Self {
        Self::new(
            400,
            "the supplied API definition is in OAS format, please use the Tyk classic format for this API",
        )
    }

    /// An OAS document without the gateway's settings.
    #[must_use]
    pub fn extension_missing() -> Self {
        Self::new(400, "the payload should contain x-tyk-api-gateway")
    }

    /// An import with the gateway's settings.
    #[must_use]
    pub fn extension_in_import() -> Self {
        Self::new(
            400,
            "the import payload should not contain x-tyk-api-gateway",
        )
    }

    /// Definitions come from the Dashboard (`use_db_app_configs`).
    #[must_use]
    pub fn dashboard_mode() -> Self {
        Self::new(
            500,
            "Due to enabled use_db_app_configs, please use the Dashboard API",
        )
    }

    /// The file of an API to delete is not there or cannot be removed.
    #[must_use]
    pub fn delete_failed() -> Self {
        Self::new(500, "Delete failed")
    }

    /// The file of an API cannot be written.
    #[must_use]
    pub fn write_failed() -> Self {
        Self::new(500, "file object creation failed, write error")
    }

    /// A new version without a name.
    #[must_use]
    pub fn version_name_missing() -> Self {
        Self::new(422, "The new version name is required")
    }

    /// A new version of an API that is not there or is a version itself.
    #[must_use]
    pub fn not_a_base(id: &str) -> Self {
        Self::new(400, format!("{id} is not a valid Base API version"))
    }

    /// A first version of an API that has no version name of its own.
    #[must_use]
    pub fn base_name_missing(id: &str) -> Self {
        Self::new(
            422,
            format!("you need to provide a version name for the new Base API: {id}"),
        )
    }
}

//! Operation: definitions, Control API, logs, keys.

use std::path::PathBuf;
use std::time::Duration;

use crate::compound::MessageOverride;
use crate::secret::Secret;
use crate::settings::Settings;

/// Where policies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySource {
    /// Files.
    File,
    /// The Dashboard.
    Service,
    /// The bridge.
    Rpc,
}

/// API definitions and policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Definitions {
    /// Directory of API definitions.
    pub app_path: PathBuf,
    /// Reload when a file in it changes.
    pub watch_app_path: bool,
    /// Serve every API a second time under `/<api_id>/`.
    pub api_id_paths: bool,
    /// Reloads asked for within this time are done together.
    pub reload_interval: Duration,
    /// Directory of the embedded store.
    pub data_dir: PathBuf,
    /// Where policies come from.
    pub policy_source: PolicySource,
    /// Address of the Dashboard that serves policies.
    pub policy_connection_string: Secret,
    /// File that holds all policies.
    pub policy_record_name: Option<PathBuf>,
    /// Directory with one file per policy.
    pub policy_path: Option<PathBuf>,
    /// A policy keeps the id it is written with.
    pub allow_explicit_policy_id: bool,
    /// A policy id may hold any character.
    pub allow_unsafe_policy_ids: bool,
}

impl Definitions {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let app_path = settings
            .optional_text("app_path")
            .unwrap_or_else(|| "apps/".to_owned());
        Self {
            app_path: settings.base.resolve(app_path),
            watch_app_path: settings.bool("portcullis.watch_app_path"),
            api_id_paths: settings.bool("portcullis.api_id_paths"),
            reload_interval: settings.duration_or_default("reload_interval"),
            data_dir: settings
                .base
                .beside_config(settings.text("portcullis.data_dir")),
            policy_source: match settings.text("policies.policy_source").as_str() {
                "service" => PolicySource::Service,
                "rpc" => PolicySource::Rpc,
                _ => PolicySource::File,
            },
            policy_connection_string: settings.secret("policies.policy_connection_string"),
            policy_record_name: settings.path("policies.policy_record_name"),
            policy_path: settings.path("policies.policy_path"),
            allow_explicit_policy_id: settings.bool("policies.allow_explicit_policy_id"),
            allow_unsafe_policy_ids: settings.bool("allow_unsafe_policy_ids"),
        }
    }
}

/// Control API, health and life cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Serve `/config` and `/env`.
    pub enable_config_inspection: bool,
    /// Leave `X-Generator` out.
    pub hide_generator_header: bool,
    /// Serve `/tyk/health`.
    pub enable_health_checks: bool,
    /// Time window of its numbers.
    pub health_check_window: Duration,
    /// Path of the liveness check, with its leading slash.
    pub liveness_path: String,
    /// Path of the readiness check, with its leading slash.
    pub readiness_path: String,
    /// Time between two checks of what the gateway depends on.
    pub liveness_check_duration: Duration,
    /// Longest time for requests to finish after the signal to stop.
    pub graceful_shutdown_timeout: Duration,
    /// Time between the readiness check turning 503 and the listeners closing.
    pub graceful_shutdown_delay: Duration,
    /// Directory of error and webhook templates.
    pub template_path: Option<PathBuf>,
    /// Texts and statuses that replace those of error answers, by message id.
    pub override_messages: Vec<(String, MessageOverride)>,
    /// Rules that replace error answers, as written.
    pub error_overrides: serde_json::Value,
    /// Handlers of events of the gateway as a whole, as written.
    pub event_handlers: serde_json::Value,
}

impl Control {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let endpoint = |key: &str, default: &str| {
            let name = settings.text(key);
            let name = name.trim_matches('/');
            format!("/{}", if name.is_empty() { default } else { name })
        };
        Self {
            enable_config_inspection: settings.bool("enable_config_inspection"),
            hide_generator_header: settings.bool("hide_generator_header"),
            enable_health_checks: settings.bool("health_check.enable_health_checks"),
            health_check_window: settings
                .duration_or_default("health_check.health_check_value_timeouts"),
            liveness_path: endpoint("health_check_endpoint_name", "hello"),
            readiness_path: endpoint("readiness_check_endpoint_name", "ready"),
            liveness_check_duration: settings.duration_or_default("liveness_check.check_duration"),
            graceful_shutdown_timeout: settings
                .duration_or_default("graceful_shutdown_timeout_duration"),
            graceful_shutdown_delay: settings
                .duration("graceful_shutdown_delay_seconds")
                .unwrap_or_default(),
            template_path: settings.path("template_path"),
            override_messages: settings.messages("override_messages"),
            error_overrides: settings.opaque("error_overrides"),
            event_handlers: settings.opaque("event_handlers"),
        }
    }
}

/// Least important message that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What failed.
    Error,
}

/// Form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Least important message.
    pub level: LogLevel,
    /// Form of log lines.
    pub format: LogFormat,
    /// Write a line for every request.
    pub access_log: bool,
    /// Form of these lines.
    pub access_log_format: LogFormat,
    /// Fields of these lines; empty means all.
    pub access_log_template: Vec<String>,
    /// Show whole key ids.
    pub enable_key_logging: bool,
}

impl Logs {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let format = |name: &str| {
            if name == "json" {
                LogFormat::Json
            } else {
                LogFormat::Text
            }
        };
        let own = settings.optional_text("portcullis.log_format");
        Self {
            level: match settings.text("log_level").as_str() {
                "debug" => LogLevel::Debug,
                "warn" => LogLevel::Warn,
                "error" => LogLevel::Error,
                _ => LogLevel::Info,
            },
            format: format(&own.unwrap_or_else(|| settings.text("log_format"))),
            access_log: settings.bool("access_logs.enabled"),
            access_log_format: format(&settings.text("portcullis.access_log_format")),
            access_log_template: settings.list("access_logs.template"),
            enable_key_logging: settings.bool("enable_key_logging"),
        }
    }
}

/// Keys and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Store keys under a hash.
    pub hash_keys: bool,
    /// Hash for new keys; `None` means the legacy form.
    pub hash_key_function: Option<String>,
    /// Hashes keys may have been stored with before.
    pub hash_key_function_fallback: Vec<String>,
    /// Hash of passwords.
    pub basic_auth_hash_key_function: String,
    /// The Control API lists keys by their hashes.
    pub enable_hashed_keys_listing: bool,
    /// Find keys only by key or hash.
    pub disable_key_actions_by_username: bool,
    /// Shorter keys are never looked up.
    pub min_token_length: usize,
    /// A key without access rights reaches every API.
    pub allow_master_keys: bool,
    /// Refuse organisation keys for organisations without an API.
    pub suppress_default_org_store: bool,
    /// Store every key for this long; `None` when not forced, zero means without end.
    pub forced_session_lifetime: Option<Duration>,
    /// Store a key at least until it expires.
    pub session_lifetime_respects_key_expiration: bool,
    /// How long a key is remembered; `None` asks the store every time.
    pub session_cache: Option<Duration>,
    /// How long a known key goes on while the store does not answer.
    pub session_grace: Duration,
    /// How often forgotten keys are swept out.
    pub session_cache_eviction: Duration,
    /// Count requests in Redis.
    pub enable_redis_rolling_limiter: bool,
    /// Count requests in Redis, beside the traffic.
    pub enable_sentinel_rate_limiter: bool,
    /// Rates up to so many requests a second and node are counted by all nodes together.
    pub drl_threshold: usize,
}

impl Identity {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let ten_seconds = Duration::from_secs(10);
        let cached = settings
            .duration("local_session_cache.cached_session_timeout")
            .unwrap_or(ten_seconds);
        let lifetime = settings
            .duration("global_session_lifetime")
            .unwrap_or_default();
        Self {
            hash_keys: settings.bool("hash_keys"),
            hash_key_function: settings.optional_text("hash_key_function"),
            hash_key_function_fallback: settings.list("hash_key_function_fallback"),
            basic_auth_hash_key_function: settings
                .optional_text("basic_auth_hash_key_function")
                .unwrap_or_else(|| "bcrypt".to_owned()),
            enable_hashed_keys_listing: settings.bool("enable_hashed_keys_listing"),
            disable_key_actions_by_username: settings.bool("disable_key_actions_by_username"),
            min_token_length: settings.limit("min_token_length").unwrap_or(3),
            allow_master_keys: settings.bool("allow_master_keys"),
            suppress_default_org_store: settings.bool("suppress_default_org_store"),
            forced_session_lifetime: settings
                .bool("force_global_session_lifetime")
                .then_some(lifetime),
            session_lifetime_respects_key_expiration: settings
                .bool("session_lifetime_respects_key_expiration"),
            session_cache: Some(cached)
                .filter(|_| !settings.bool("local_session_cache.disable_cached_session_state")),
            session_grace: settings
                .duration("portcullis.session_grace")
                .unwrap_or_default(),
            session_cache_eviction: settings
                .duration("local_session_cache.cached_session_eviction")
                .unwrap_or(ten_seconds),
            enable_redis_rolling_limiter: settings.bool("enable_redis_rolling_limiter"),
            enable_sentinel_rate_limiter: settings.bool("enable_sentinel_rate_limiter"),
            drl_threshold: settings.limit("drl_threshold").unwrap_or(5),
        }
    }
}

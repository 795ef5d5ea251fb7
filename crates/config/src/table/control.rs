//! Definitions, Control API, life cycle, logs.

use super::{Section, tyk};
use crate::key::Kind;

pub(super) const DEFINITIONS: Section = Section {
    title: "API definitions and policies",
    about: "Where definitions come from and when they are read again.",
    keys: &[
        tyk(
            "app_path",
            "APPPATH",
            Kind::Path,
            "\"apps/\"",
            "Directory of API definitions; what the Control API saves goes there too.",
        ),
        tyk(
            "reload_interval",
            "RELOADINTERVAL",
            Kind::Seconds(0),
            "1",
            "Reloads asked for within this time are done together; 0 means 1.",
        ),
        tyk(
            "policies.policy_source",
            "POLICIES_POLICYSOURCE",
            Kind::Choice(&["", "file", "service", "rpc"]),
            "\"file\"",
            "Where policies come from: a file, the Dashboard or the bridge; empty means a file.",
        ),
        tyk(
            "policies.policy_connection_string",
            "POLICIES_POLICYCONNECTIONSTRING",
            Kind::SecretOrReference,
            "\"\"",
            "Address of the Dashboard that serves policies.",
        )
        .not_yet("policies from the Dashboard"),
        tyk(
            "policies.policy_record_name",
            "POLICIES_POLICYRECORDNAME",
            Kind::Path,
            "\"\"",
            "File that holds all policies by id.",
        ),
        tyk(
            "policies.policy_path",
            "POLICIES_POLICYPATH",
            Kind::Path,
            "\"\"",
            "Directory with one file per policy.",
        ),
        tyk(
            "policies.allow_explicit_policy_id",
            "POLICIES_ALLOWEXPLICITPOLICYID",
            Kind::Bool,
            "false",
            "A policy keeps the id it is written with.",
        )
        .not_yet("policies from the Dashboard"),
        tyk(
            "allow_unsafe_policy_ids",
            "ALLOWUNSAFEPOLICYIDS",
            Kind::Bool,
            "false",
            "Lets a policy id hold any character.",
        ),
    ],
};

pub(super) const CONTROL: Section = Section {
    title: "Control API and life cycle",
    about: "The administration interface, health and stopping.",
    keys: &[
        tyk(
            "control_api_port",
            "CONTROLAPIPORT",
            Kind::Port,
            "0",
            "Port of the Control API; 0 means the main port.",
        ),
        tyk(
            "control_api_hostname",
            "CONTROLAPIHOSTNAME",
            Kind::Text,
            "\"\"",
            "Host name of the Control API; it decides which TLS rules a connection gets, and does not close `/tyk` to other hosts.",
        ),
        tyk(
            "enable_config_inspection",
            "ENABLECONFIGINSPECTION",
            Kind::Bool,
            "false",
            "Serves `/config` and `/env` to whoever has the secret.",
        )
        .not_yet("configuration inspection"),
        tyk(
            "hide_generator_header",
            "HIDEGENERATORHEADER",
            Kind::Bool,
            "false",
            "Leaves `X-Generator` out of answers made here.",
        ),
        tyk(
            "health_check.enable_health_checks",
            "HEALTHCHECK_ENABLEHEALTHCHECKS",
            Kind::Bool,
            "false",
            "Serves `/tyk/health`.",
        ),
        tyk(
            "health_check.health_check_value_timeouts",
            "HEALTHCHECK_HEALTHCHECKVALUETIMEOUT",
            Kind::Seconds(0),
            "60",
            "Time window of the numbers in `/tyk/health`; 0 means 60.",
        ),
        tyk(
            "health_check_endpoint_name",
            "HEALTHCHECKENDPOINTNAME",
            Kind::Text,
            "\"hello\"",
            "Path of the liveness check; empty means `hello`.",
        ),
        tyk(
            "readiness_check_endpoint_name",
            "READINESSCHECKENDPOINTNAME",
            Kind::Text,
            "\"ready\"",
            "Path of the readiness check; empty means `ready`.",
        ),
        tyk(
            "liveness_check.check_duration",
            "LIVENESSCHECK_CHECKDURATION",
            Kind::Seconds(0),
            "10",
            "Time between two checks of the parts the gateway depends on; 0 means 10.",
        ),
        tyk(
            "graceful_shutdown_timeout_duration",
            "GRACEFULSHUTDOWNTIMEOUTDURATION",
            Kind::Seconds(0),
            "30",
            "Longest time for requests to finish after the signal to stop; 0 means 30.",
        ),
        tyk(
            "graceful_shutdown_delay_seconds",
            "GRACEFULSHUTDOWNDELAYSECONDS",
            Kind::Seconds(0),
            "0",
            "Time between the readiness check turning 503 and the listeners closing.",
        ),
        tyk(
            "template_path",
            "TEMPLATEPATH",
            Kind::Path,
            "\"templates\"",
            "Directory of templates for error bodies and webhooks.",
        )
        .not_yet("own error templates"),
        tyk(
            "override_messages",
            "OVERRIDEMESSAGES",
            Kind::Messages,
            "{}",
            "Text and status of error answers, by message id: `auth.auth_field_missing` and `auth.key_not_found`; other ids have no effect.",
        )
        .without_env(),
        tyk(
            "error_overrides",
            "ERROROVERRIDES",
            Kind::Opaque,
            "{}",
            "Rules by which error answers are replaced: status or class of statuses to a list of `match` and `response`; rules of an API stand before them.",
        ),
        tyk(
            "event_handlers",
            "EVENTHANDLERS",
            Kind::Opaque,
            "{}",
            "What to do at events of the gateway as a whole.",
        )
        .not_yet("events")
        .without_env(),
    ],
};

pub(super) const OBSERVABILITY: Section = Section {
    title: "Logs",
    about: "What is written, and how.",
    keys: &[
        tyk(
            "log_level",
            "LOGLEVEL",
            Kind::Choice(&["", "debug", "info", "warn", "error"]),
            "\"\"",
            "Least important message that is logged; empty means `info`.",
        ),
        tyk(
            "log_format",
            "LOGFORMAT",
            Kind::Choice(&["", "default", "standard", "text", "json"]),
            "\"\"",
            "Form of log lines; all but `json` mean text.",
        ),
        tyk(
            "access_logs.enabled",
            "ACCESSLOGS_ENABLED",
            Kind::Bool,
            "false",
            "Writes a line for every request.",
        ),
        tyk(
            "access_logs.template",
            "ACCESSLOGS_TEMPLATE",
            Kind::TextList,
            "[]",
            "Fields of that line; empty means all. The prefix is always written.",
        ),
        tyk(
            "enable_key_logging",
            "ENABLEKEYLOGGING",
            Kind::Bool,
            "false",
            "Shows whole key ids in logs.",
        )
        .not_yet("keys"),
    ],
};

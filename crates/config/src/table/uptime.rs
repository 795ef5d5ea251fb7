//! Tests of upstreams: how often, how many at a time, and what makes a host count as down.

use super::{Section, tyk};
use crate::key::Kind;

pub(super) const UPTIME: Section = Section {
    title: "Uptime tests",
    about: "What is tested stands in API definitions. Every node tests for itself.",
    keys: &[
        tyk(
            "uptime_tests.disable",
            "UPTIMETESTS_DISABLE",
            Kind::Bool,
            "false",
            "Tests nothing; every host counts as up.",
        ),
        tyk(
            "uptime_tests.poller_group",
            "UPTIMETESTS_POLLERGROUP",
            Kind::Text,
            "\"\"",
            "Nodes of which one tests for all.",
        )
        .inert("every node tests for itself"),
        tyk(
            "uptime_tests.config.failure_trigger_sample_size",
            "UPTIMETESTS_CONFIG_FAILURETRIGGERSAMPLESIZE",
            Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            "3",
            "So many failures in a row make a host count as down, and so many successes as up again; 0 means 3.",
        ),
        tyk(
            "uptime_tests.config.time_wait",
            "UPTIMETESTS_CONFIG_TIMEWAIT",
            Kind::Seconds(0),
            "10",
            "Time between two runs of a test; 0 means 10.",
        ),
        tyk(
            "uptime_tests.config.checker_pool_size",
            "UPTIMETESTS_CONFIG_CHECKERPOOLSIZE",
            Kind::Integer {
                min: 0,
                max: 100_000,
            },
            "0",
            "Tests at a time; 0 means 50.",
        ),
        tyk(
            "uptime_tests.config.enable_uptime_analytics",
            "UPTIMETESTS_CONFIG_ENABLEUPTIMEANALYTICS",
            Kind::Bool,
            "false",
            "Records every result for a Dashboard.",
        )
        .not_yet("analytics records"),
    ],
};

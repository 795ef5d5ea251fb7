//! Tests of upstreams, as the gateway runs them.

use std::{num::NonZeroU32, time::Duration};

use crate::settings::Settings;

/// Tests at a time where nothing is said: they wait more than they work.
const AT_A_TIME: usize = 50;

/// How upstreams are tested (`uptime_tests`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UptimeTests {
    /// Nothing is tested.
    pub disabled: bool,
    /// Failures in a row that make a host count as down, and successes that make it count as up.
    pub in_a_row: NonZeroU32,
    /// Time between two runs of a test.
    pub every: Duration,
    /// Tests at a time.
    pub at_a_time: usize,
}

impl UptimeTests {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let config = |name: &str| format!("uptime_tests.config.{name}");
        // Nobody reads what would be recorded, and nodes need no group.
        settings.bool(&config("enable_uptime_analytics"));
        settings.text("uptime_tests.poller_group");
        let in_a_row = settings.limit(&config("failure_trigger_sample_size"));
        Self {
            disabled: settings.bool("uptime_tests.disable"),
            in_a_row: in_a_row
                .and_then(|count| u32::try_from(count).ok())
                .and_then(NonZeroU32::new)
                .unwrap_or(const { NonZeroU32::new(3).expect("three") }),
            every: settings.duration_or_default(&config("time_wait")),
            at_a_time: settings
                .limit(&config("checker_pool_size"))
                .unwrap_or(AT_A_TIME),
        }
    }
}

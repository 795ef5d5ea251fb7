//! The contract of the key-value store as tests: whatever keeps it passes [`every_rule`].
//!
//! Invariants: a rule touches only names that begin with the prefix it is given, so that rules and
//! test processes can share one store; it waits for conditions, never for time to pass.

mod counters;
mod expiry;
mod lists;
mod slides;
mod values;

use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_store::{Condition, Engine, Lifetime};

/// How long a condition may take to come true. Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every rule, one after the other, on names that begin with `prefix`.
///
/// # Panics
/// When the engine breaks one.
pub async fn every_rule(engine: &Engine, prefix: &str) {
    values::are_kept_byte_for_byte(engine, &format!("{prefix}bytes-")).await;
    values::of_several_entries_come_in_the_order_asked_for(engine, &format!("{prefix}many-")).await;
    values::have_lengths_in_bytes(engine, &format!("{prefix}lengths-")).await;
    values::are_written_only_under_their_condition(engine, &format!("{prefix}when-")).await;
    values::are_created_by_one_of_many_at_once(engine, &format!("{prefix}once-")).await;
    values::are_replaced_only_by_who_knows_them(engine, &format!("{prefix}replace-")).await;
    values::are_gone_once_removed(engine, &format!("{prefix}remove-")).await;
    values::are_found_by_a_prefix_taken_literally(engine, &format!("{prefix}names-")).await;
    lists::keep_their_order(engine, &format!("{prefix}order-")).await;
    lists::lose_every_occurrence_of_a_member(engine, &format!("{prefix}member-")).await;
    lists::cease_to_exist_with_their_last_member(engine, &format!("{prefix}last-")).await;
    lists::lose_nothing_to_appends_at_once(engine, &format!("{prefix}appends-")).await;
    lists::and_values_are_not_taken_for_each_other(engine, &format!("{prefix}types-")).await;
    lists::and_an_entry_come_together_or_not_at_all(engine, &format!("{prefix}pair-")).await;
    lists::have_one_place_for_an_entry_made_by_many_at_once(engine, &format!("{prefix}race-"))
        .await;
    expiry::is_forever_unless_said_otherwise(engine, &format!("{prefix}forever-")).await;
    expiry::hides_an_entry_from_every_operation(engine, &format!("{prefix}hidden-")).await;
    expiry::is_replaced_with_the_value(engine, &format!("{prefix}again-")).await;
    counters::count_every_increase_once(engine, &format!("{prefix}count-")).await;
    counters::start_anew_after_their_window(engine, &format!("{prefix}window-")).await;
    counters::are_values_of_digits(engine, &format!("{prefix}digits-")).await;
    counters::refuse_what_is_no_number(engine, &format!("{prefix}number-")).await;
    slides::hold_no_more_than_allowed(engine, &format!("{prefix}slide-")).await;
    slides::tell_requests_of_one_moment_apart(engine, &format!("{prefix}moment-")).await;
    slides::block_while_they_are_marked(engine, &format!("{prefix}marked-")).await;
}

/// Writes an entry that stays, whatever was there.
async fn put(engine: &Engine, key: &str, value: impl Into<Bytes>) {
    let value = value.into();
    let written = engine
        .set(key, value, Lifetime::Forever, Condition::Always)
        .await;
    assert!(written.unwrap(), "{key} is written without a condition");
}

/// Writes an entry that lives for a moment.
async fn put_for(engine: &Engine, key: &str, value: &'static str, time: Duration) {
    let lifetime = Lifetime::For(time);
    let written = engine
        .set(
            key,
            Bytes::from_static(value.as_bytes()),
            lifetime,
            Condition::Always,
        )
        .await;
    assert!(written.unwrap(), "{key} is written without a condition");
}

/// The value of an entry, which is text.
async fn text(engine: &Engine, key: &str) -> Option<String> {
    let value = engine.get(key).await.unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// Waits until an entry is gone.
async fn gone(engine: &Engine, key: &str) {
    let begun = Instant::now();
    while engine.exists(key).await.unwrap() {
        assert!(begun.elapsed() < PATIENCE, "{key} does not expire");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Some names that begin with `prefix`.
fn names<const N: usize>(prefix: &str, ends: [&str; N]) -> Vec<String> {
    ends.iter().map(|end| format!("{prefix}{end}")).collect()
}

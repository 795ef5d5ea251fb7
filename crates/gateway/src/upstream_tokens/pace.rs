//! When a token endpoint is asked again after it granted nothing.
//!
//! Invariants:
//! - It is left in peace for [`SHORTEST`] after whatever went wrong.
//! - While it goes on saying that it will not have what it is asked, pauses double up to [`LONGEST`]: only a change
//!   helps, and some lock out those who keep asking.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::request::Denial;

/// The first pause, and every one after an outage.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// How asking went lately.
#[derive(Default)]
pub struct Pace {
    /// Until when it is not asked, and why.
    barred: Option<(Instant, Arc<str>)>,
    /// The next pause after it will not have what it is asked.
    growing: Option<Duration>,
}

impl Pace {
    /// Why it is not to be asked now.
    pub fn bars(&self, now: Instant) -> Option<Arc<str>> {
        let (until, why) = self.barred.as_ref()?;
        (now < *until).then(|| why.clone())
    }

    /// It granted nothing. From when on it may be asked again.
    pub fn went_wrong(&mut self, denial: Denial, now: Instant) -> Instant {
        let pause = match denial.is_final {
            true => self.growing.unwrap_or(SHORTEST),
            false => SHORTEST,
        };
        self.growing = denial.is_final.then_some((pause * 2).min(LONGEST));
        let again = now + pause;
        self.barred = Some((again, denial.why.into()));
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(is_final: bool) -> Denial {
        Denial {
            why: "no".to_owned(),
            is_final,
        }
    }

    #[test]
    fn pauses_grow_while_the_endpoint_will_not_have_it_and_stay_short_while_it_is_away() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let seconds = Duration::from_secs;
        assert_eq!(pace.bars(now), None);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(pace.went_wrong(denial(true), now), now + seconds(pause));
        }
        assert_eq!(pace.bars(now + seconds(59)).as_deref(), Some("no"));
        assert_eq!(pace.bars(now + seconds(60)), None);
        for _ in 0..3 {
            assert_eq!(pace.went_wrong(denial(false), now), now + seconds(1));
        }
        assert_eq!(pace.went_wrong(denial(true), now), now + seconds(1));
    }
}

//! How long the entry of a session lives. This is about storage: a session that has expired opens
//! nothing, whether its entry is still there or not.

use std::time::Duration;

use portcullis_apidef::session::Session;
use portcullis_config::Identity;

use crate::Lifetime;

/// What an API says about entries of its keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApiLifetime {
    /// How long they live; `None` is as long as the session says.
    pub lifetime: Option<Duration>,
    /// At least until the key expires.
    pub respects_expiration: bool,
}

/// How long the entry of a session lives from `now`, in Unix seconds.
pub(super) fn of(session: &Session, api: ApiLifetime, identity: &Identity, now: i64) -> Lifetime {
    if let Some(forced) = identity.forced_session_lifetime {
        return lasting(forced);
    }
    let left = |grace: i64| {
        if session.expires <= 0 {
            return Lifetime::Forever;
        }
        let left = session.expires.saturating_sub(now).saturating_add(grace);
        // An entry that should be gone lives for a moment: 0 would be for ever.
        seconds(left.max(1))
    };
    match (
        session.post_expiry_action.as_str(),
        session.post_expiry_grace_period,
    ) {
        ("delete", _) => return left(0),
        ("retain", -1) => return Lifetime::Forever,
        ("retain", grace) if grace > 0 => return left(grace),
        _ => {}
    }
    let own = u64::try_from(session.session_lifetime)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    let Some(lifetime) = own.or(api.lifetime) else {
        return Lifetime::Forever;
    };
    if identity.session_lifetime_respects_key_expiration || api.respects_expiration {
        if session.expires <= 0 {
            return Lifetime::Forever;
        }
        if let Lifetime::For(until_expiry) = left(0) {
            return lasting(lifetime.max(until_expiry));
        }
    }
    lasting(lifetime)
}

fn lasting(time: Duration) -> Lifetime {
    if time.is_zero() {
        Lifetime::Forever
    } else {
        Lifetime::For(time)
    }
}

fn seconds(seconds: i64) -> Lifetime {
    lasting(Duration::from_secs(
        u64::try_from(seconds).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW: i64 = 1_000;

    fn identity(change: impl FnOnce(&mut Identity)) -> Identity {
        let loaded = portcullis_config::load_text(Path::new("tyk.conf"), "{}", []).unwrap();
        let mut identity = loaded.config.identity;
        change(&mut identity);
        identity
    }

    fn session(expires: i64, action: &str, grace: i64, lifetime: i64) -> Session {
        Session {
            expires,
            post_expiry_action: action.to_owned(),
            post_expiry_grace_period: grace,
            session_lifetime: lifetime,
            ..Session::default()
        }
    }

    fn api(seconds: u64, respects_expiration: bool) -> ApiLifetime {
        ApiLifetime {
            lifetime: Some(seconds)
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            respects_expiration,
        }
    }

    #[track_caller]
    fn lives(session: &Session, api: ApiLifetime, seconds: Option<u64>) {
        let lifetime = of(session, api, &identity(|_| {}), NOW);
        let expected = seconds.map_or(Lifetime::Forever, |seconds| {
            Lifetime::For(Duration::from_secs(seconds))
        });
        assert_eq!(lifetime, expected);
    }

    #[test]
    fn what_is_forced_for_all_wins_and_zero_is_for_ever() {
        let forced = |seconds| {
            identity(|identity| {
                identity.forced_session_lifetime = Some(Duration::from_secs(seconds));
            })
        };
        let any = session(NOW + 5, "delete", 0, 7);
        assert_eq!(
            of(&any, api(9, true), &forced(60), NOW),
            Lifetime::For(Duration::from_secs(60))
        );
        assert_eq!(of(&any, api(9, true), &forced(0), NOW), Lifetime::Forever);
    }

    #[test]
    fn an_entry_that_is_deleted_on_expiry_lives_until_then() {
        lives(&session(NOW + 50, "delete", 0, 7), api(9, false), Some(50));
        lives(&session(NOW - 50, "delete", 0, 7), api(9, false), Some(1));
        lives(&session(0, "delete", 0, 7), api(9, false), None);
    }

    #[test]
    fn an_entry_that_is_retained_lives_for_its_grace_longer() {
        lives(&session(NOW + 50, "retain", 10, 7), api(9, false), Some(60));
        lives(&session(NOW - 50, "retain", 10, 7), api(9, false), Some(1));
        lives(&session(NOW + 50, "retain", -1, 7), api(9, false), None);
        lives(&session(0, "retain", 10, 7), api(9, false), None);
        // Without a grace it says nothing.
        lives(&session(NOW + 50, "retain", 0, 7), api(9, false), Some(7));
    }

    #[test]
    fn the_lifetime_of_the_session_comes_before_that_of_the_api() {
        lives(&session(0, "", 0, 7), api(9, false), Some(7));
        lives(&session(0, "", 0, 0), api(9, false), Some(9));
        lives(&session(0, "", 0, -1), api(0, false), None);
    }

    #[test]
    fn a_lifetime_that_respects_expiry_reaches_it() {
        lives(&session(NOW + 50, "", 0, 7), api(0, true), Some(50));
        lives(&session(NOW + 5, "", 0, 7), api(0, true), Some(7));
        lives(&session(0, "", 0, 7), api(0, true), None);
        let global = identity(|identity| identity.session_lifetime_respects_key_expiration = true);
        let lifetime = of(&session(NOW + 50, "", 0, 0), api(9, false), &global, NOW);
        assert_eq!(lifetime, Lifetime::For(Duration::from_secs(50)));
    }
}

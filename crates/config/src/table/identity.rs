//! Keys, sessions and limits of those who call.

use super::{ANY, Section, at_least, tyk};
use crate::key::Kind;

const HASHES: &[&str] = &["murmur32", "murmur64", "murmur128", "sha256"];

pub(super) const IDENTITY: Section = Section {
    title: "Keys and sessions",
    about: "How keys are stored, found and limited.",
    keys: &[
        tyk(
            "hash_keys",
            "HASHKEYS",
            Kind::Bool,
            "false",
            "Stores keys under a hash instead of as they are.",
        ),
        tyk(
            "hash_key_function",
            "HASHKEYFUNCTION",
            Kind::Choice(&["", "murmur32", "murmur64", "murmur128", "sha256"]),
            "\"\"",
            "Hash for new keys; empty means the legacy form.",
        ),
        tyk(
            "hash_key_function_fallback",
            "HASHKEYFUNCTIONFALLBACK",
            Kind::ChoiceList(HASHES),
            "[]",
            "Hashes that keys may have been stored with before.",
        ),
        tyk(
            "basic_auth_hash_key_function",
            "BASICAUTHHASHKEYFUNCTION",
            Kind::Choice(&["", "bcrypt", "murmur32", "murmur64", "murmur128", "sha256"]),
            "\"\"",
            "Hash of passwords; empty means bcrypt.",
        ),
        tyk(
            "enable_hashed_keys_listing",
            "ENABLEHASHEDKEYSLISTING",
            Kind::Bool,
            "false",
            "Lets the Control API list keys by their hashes.",
        ),
        tyk(
            "disable_key_actions_by_username",
            "DISABLEKEYACTIONSBYUSERNAME",
            Kind::Bool,
            "false",
            "Finds keys only by key or hash, never by a custom name.",
        ),
        tyk(
            "min_token_length",
            "MINTOKENLENGTH",
            at_least(0),
            "0",
            "Shorter keys are never looked up; 0 means 3.",
        ),
        tyk(
            "allow_master_keys",
            "ALLOWMASTERKEYS",
            Kind::Bool,
            "false",
            "Lets a key without access rights reach every API.",
        ),
        tyk(
            "suppress_default_org_store",
            "SUPRESSDEFAULTORGSTORE",
            Kind::Bool,
            "false",
            "Refuses organisation keys for organisations without an API.",
        ),
        tyk(
            "force_global_session_lifetime",
            "FORCEGLOBALSESSIONLIFETIME",
            Kind::Bool,
            "false",
            "Stores every key for `global_session_lifetime`.",
        ),
        tyk(
            "global_session_lifetime",
            "GLOBALSESSIONLIFETIME",
            Kind::Seconds(ANY),
            "0",
            "How long keys are stored when forced; 0 or less means without end.",
        ),
        tyk(
            "session_lifetime_respects_key_expiration",
            "SESSIONLIFETIMERESPECTSKEYEXPIRATION",
            Kind::Bool,
            "false",
            "Stores a key at least until it expires.",
        ),
        tyk(
            "local_session_cache.disable_cached_session_state",
            "LOCALSESSIONCACHE_DISABLECACHESESSIONSTATE",
            Kind::Bool,
            "false",
            "Asks the store at every request instead of remembering keys for seconds.",
        ),
        tyk(
            "local_session_cache.cached_session_timeout",
            "LOCALSESSIONCACHE_CACHEDSESSIONTIMEOUT",
            Kind::Seconds(0),
            "0",
            "How long a key is remembered; 0 means 10.",
        ),
        tyk(
            "local_session_cache.cached_session_eviction",
            "LOCALSESSIONCACHE_CACHESESSIONEVICTION",
            Kind::Seconds(0),
            "0",
            "How often forgotten keys are swept out; 0 means 10.",
        ),
        tyk(
            "enable_redis_rolling_limiter",
            "ENABLEREDISROLLINGLIMITER",
            Kind::Bool,
            "false",
            "Counts requests for rate limits in the store, by all nodes together.",
        ),
        tyk(
            "enable_sentinel_rate_limiter",
            "ENABLESENTINELRATELIMITER",
            Kind::Bool,
            "false",
            "As `enable_redis_rolling_limiter`, and a rate that is used up is blocked for `per` seconds, by a marker all nodes see.",
        ),
        tyk(
            "drl_threshold",
            "DRLTHRESHOLD",
            Kind::Integer {
                min: 0,
                max: 1_000_000_000,
            },
            "0",
            "Rates of at most so many requests a second for each node are counted in the store, by all nodes together; larger ones are split between the nodes. 0 means 5.",
        ),
    ],
};

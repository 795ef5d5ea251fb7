//! Sliding windows as a fleet keeps them, and the markers of those that are used up.
//!
//! Invariants:
//! - The answer of one round trip decides.
//! - A refused request leaves no trace in the window.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fred::{
    interfaces::KeysInterface,
    types::{Expiration, SetOptions, Value},
};

use super::{Redis, Script, millis};
use crate::{Slide, StoreError, Window, engine::slides::marker_of};

/// Score and member are the time in nanoseconds. A member that is taken by another node's request of the
/// same moment gets a suffix. The second name, if there is one, is the marker of a window that is used
/// up. Answers whether there was room, how many are in the window, and the member.
static SLIDE: LazyLock<Script> = LazyLock::new(|| {
    Script::of(
        "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2]) \
         local within = redis.call('ZCARD', KEYS[1]) \
         if within >= tonumber(ARGV[3]) or KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then \
           return {0, within, ''} end \
         local member, again = ARGV[1], 0 \
         while redis.call('ZADD', KEYS[1], 'NX', ARGV[1], member) == 0 do \
           again = again + 1 member = ARGV[1] .. '-' .. again end \
         redis.call('PEXPIRE', KEYS[1], ARGV[4]) \
         if KEYS[2] and within + 1 >= tonumber(ARGV[3]) then \
           redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[4]) end \
         return {1, within + 1, member}",
    )
});

/// Takes a request out of a window again.
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::of("return redis.call('ZREM', KEYS[1], ARGV[1])"));

impl Redis {
    pub(in crate::engine) async fn slide(
        &self,
        key: &str,
        now: SystemTime,
        window: Window,
    ) -> Result<Slide, StoreError> {
        let Window { per, most, blocks } = window;
        if !blocks {
            return self
                .slid(&[key], now, per, most)
                .await
                .map(|(slide, _)| slide);
        }
        let marker = marker_of(key);
        if self.is_cluster() {
            return self.slide_apart(key, marker, now, per, most).await;
        }
        let slid = self.slid(&[key, &marker], now, per, most).await;
        slid.map(|(slide, _)| slide)
    }

    async fn slid(
        &self,
        keys: &[&str],
        now: SystemTime,
        per: Duration,
        most: u64,
    ) -> Result<(Slide, String), StoreError> {
        let now = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let arguments: Vec<Value> = vec![
            now.to_string().into(),
            now.saturating_sub(per.as_nanos()).to_string().into(),
            most.to_string().into(),
            millis(per).into(),
        ];
        let (allowed, in_window, member): (i64, u64, String) = SLIDE
            .run(&self.client()?, keys, arguments)
            .await
            .map_err(self.named(keys[0]))?;
        let slide = Slide {
            allowed: allowed == 1,
            in_window,
        };
        Ok((slide, member))
    }

    /// The same where a window and its marker have nodes of their own: both are asked at once, and what
    /// follows from the answers nobody waits for.
    async fn slide_apart(
        &self,
        key: &str,
        marker: String,
        now: SystemTime,
        per: Duration,
        most: u64,
    ) -> Result<Slide, StoreError> {
        let client = self.client()?;
        let names = [key];
        let (marked, slid) = tokio::join!(
            client.exists::<u64, _>(&marker),
            self.slid(&names, now, per, most)
        );
        let marked = marked.map_err(self.named(&marker))? > 0;
        let (mut slide, member) = slid?;
        if !slide.allowed {
            return Ok(slide);
        }
        if marked {
            slide = Slide {
                allowed: false,
                in_window: slide.in_window - 1,
            };
            let key = key.to_owned();
            tokio::spawn(async move {
                let keys = [&*key];
                let given = GIVE_BACK.run::<i64>(&client, &keys, vec![member.into()]);
                if let Err(error) = given.await {
                    tracing::debug!(%error, "a refused request keeps its place in its window");
                }
            });
        } else if slide.in_window >= most {
            tokio::spawn(async move {
                let (expires, options) = (Expiration::PX(millis(per)), SetOptions::NX);
                let set = client.set::<(), _, _>(marker, "1", Some(expires), Some(options), false);
                if let Err(error) = set.await {
                    tracing::debug!(%error, "other nodes are not told that a rate is used up");
                }
            });
        }
        Ok(slide)
    }
}

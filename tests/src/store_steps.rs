//! Steps on a store that follow from a number, so that whoever knows how many were acknowledged knows
//! what has to be there.

use std::{collections::BTreeMap, time::Duration};

use portcullis_store::{Condition, Engine, Lifetime, StoreError};

/// One step of one task. Each task has names of its own.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    task: usize,
    round: u64,
    kind: u64,
}

/// What the steps of a task made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// Values and whether they expire.
    pub values: BTreeMap<String, (String, bool)>,
    /// The members of its list.
    pub list: Vec<String>,
}

const KINDS: u64 = 5;

impl Step {
    /// The step of this number.
    pub fn of(task: usize, number: u64) -> Self {
        Self {
            task,
            round: number / KINDS,
            kind: number % KINDS,
        }
    }

    fn prefix(task: usize) -> String {
        format!("task-{task}/")
    }

    fn key(self, round: u64) -> String {
        format!("{}value-{round}", Self::prefix(self.task))
    }

    fn list(task: usize) -> String {
        format!("{}list", Self::prefix(task))
    }

    fn pair(self) -> [String; 2] {
        [
            format!("kept-{}", self.round),
            format!("removed-{}", self.round),
        ]
    }

    /// Takes the step on a store.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// When the store has not what the steps before it made.
    pub async fn take(self, engine: &Engine) -> Result<(), StoreError> {
        let key = self.key(self.round);
        match self.kind {
            0 => {
                let written = engine
                    .set(&key, "first".into(), Lifetime::Forever, Condition::IfAbsent)
                    .await?;
                assert!(written, "{self:?}");
            }
            1 => {
                engine
                    .list_append(&Self::list(self.task), &self.pair())
                    .await?;
            }
            2 => {
                let hour = Lifetime::For(Duration::from_secs(3600));
                let written = engine
                    .set(&key, "second".into(), hour, Condition::IfPresent)
                    .await?;
                assert!(written, "{self:?}");
            }
            3 => {
                let before = self.round.checked_sub(1).map(|round| self.key(round));
                let removed = engine
                    .remove(&before.into_iter().collect::<Vec<_>>())
                    .await?;
                assert_eq!(removed, u64::from(self.round > 0), "{self:?}");
            }
            _ => {
                let [_, member] = self.pair();
                let removed = engine.list_remove(&Self::list(self.task), &member).await?;
                assert_eq!(removed, 1, "{self:?}");
            }
        }
        Ok(())
    }
}

impl Made {
    /// What the first `count` steps of a task make.
    pub fn by(task: usize, count: u64) -> Self {
        let mut made = Self::default();
        for step in (0..count).map(|number| Step::of(task, number)) {
            let key = step.key(step.round);
            match step.kind {
                0 => {
                    made.values.insert(key, ("first".to_owned(), false));
                }
                1 => made.list.extend(step.pair()),
                2 => {
                    made.values.insert(key, ("second".to_owned(), true));
                }
                3 => {
                    if let Some(before) = step.round.checked_sub(1) {
                        made.values.remove(&step.key(before));
                    }
                }
                _ => {
                    let [_, member] = step.pair();
                    made.list.retain(|other| *other != member);
                }
            }
        }
        made
    }

    /// What a store has of a task.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// When a name that was listed has no value.
    pub async fn found(engine: &Engine, task: usize) -> Result<Self, StoreError> {
        let list = Step::list(task);
        let mut made = Self {
            list: engine.list(&list).await?.unwrap_or_default(),
            values: BTreeMap::new(),
        };
        for name in engine.keys_with_prefix(&Step::prefix(task)).await? {
            if name == list {
                continue;
            }
            let value = engine.get(&name).await?.expect("listed");
            let value = String::from_utf8_lossy(&value).into_owned();
            let expires = engine.lifetime(&name).await? != Some(Lifetime::Forever);
            made.values.insert(name, (value, expires));
        }
        Ok(made)
    }
}

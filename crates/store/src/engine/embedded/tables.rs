//! What the file holds, and every change as a function of one transaction.
//!
//! ```text
//! entries   name                 -> kind, expiry, value (a list: next place and number of members)
//! members   list, place          -> member
//! places    list, member, place  -> nothing: finds a member without reading the list
//! expiries  expiry, name         -> nothing: finds what is due
//! about     "format"             -> number of this layout
//! ```
//!
//! Invariants:
//! - `members`, `places` and `expiries` say what `entries` says; whoever changes one changes all.
//! - A change that is refused ([`Failure::Rule`]) has changed nothing; any other failure ends the
//!   transaction.

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    TableError, WriteTransaction,
};

use super::clock::{NEVER, is_over};
use crate::{Condition, StoreError};

/// The layout above.
pub(super) const FORMAT: u64 = 1;

const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const MEMBERS: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("members");
const PLACES: TableDefinition<'_, (&str, &str, u64), ()> = TableDefinition::new("places");
const EXPIRIES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("expiries");

const VALUE: u8 = 0;
const LIST: u8 = 1;

/// Bytes before a value: kind and expiry.
const HEAD: usize = 9;

/// Why an operation did not happen.
pub(super) enum Failure {
    /// It may not; the store is well.
    Rule(StoreError),
    /// The store is not well.
    Storage(redb::Error),
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<redb::StorageError> for Failure {
    fn from(error: redb::StorageError) -> Self {
        Self::Storage(error.into())
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        Self::Storage(error.into())
    }
}

/// An entry without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    expires: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    List { next: u64, count: u64 },
}

/// An entry that has not expired.
pub(super) enum Live<'a> {
    /// A value with its expiry.
    Value { value: &'a [u8], expires: u64 },
    /// A list; it never expires.
    List,
}

/// Splits a row of `entries`; `None` when it was not written by us.
fn split(row: &[u8]) -> Option<(Head, &[u8])> {
    let (head, rest) = row.split_first_chunk::<HEAD>()?;
    let [kind, expires @ ..] = *head;
    let expires = u64::from_be_bytes(expires);
    let kind = match kind {
        VALUE => Kind::Value,
        LIST => {
            let (next, count) = rest.split_first_chunk::<8>()?;
            Kind::List {
                next: u64::from_be_bytes(*next),
                count: u64::from_be_bytes(count.try_into().ok()?),
            }
        }
        _ => return None,
    };
    Some((Head { expires, kind }, rest))
}

fn split_or_fail(row: &[u8]) -> Result<(Head, &[u8]), redb::Error> {
    split(row).ok_or_else(|| redb::Error::Corrupted("a row of entries".to_owned()))
}

fn value_row(expires: u64, value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + value.len());
    row.push(VALUE);
    row.extend(expires.to_be_bytes());
    row.extend(value);
    row
}

fn list_row(next: u64, count: u64) -> [u8; HEAD + 16] {
    let mut row = [0; HEAD + 16];
    row[0] = LIST;
    row[HEAD..HEAD + 8].copy_from_slice(&next.to_be_bytes());
    row[HEAD + 8..].copy_from_slice(&count.to_be_bytes());
    row
}

pub(super) fn is_a_list(key: &str) -> Failure {
    Failure::Rule(StoreError::entry(
        key,
        "is a list where a value is asked for",
    ))
}

fn is_a_value(key: &str) -> Failure {
    Failure::Rule(StoreError::entry(
        key,
        "is a value where a list is asked for",
    ))
}

/// The number a value of digits stands for.
pub(super) fn number(key: &str, value: &[u8]) -> Result<i64, Failure> {
    let digits = std::str::from_utf8(value).ok();
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::Rule(StoreError::entry(
            key,
            "is no whole number, so it cannot be counted on",
        ))
    })
}

/// Makes the tables of a new store.
pub(super) fn make(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert("format", FORMAT)?;
    Tables::open(&transaction, 0)?;
    transaction.commit()?;
    Ok(())
}

/// The number of the layout; `None` for a database that is not ours.
pub(super) fn format(transaction: &ReadTransaction) -> Result<Option<u64>, redb::Error> {
    let table = match transaction.open_table(ABOUT) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(table.get("format")?.map(|number| number.value()))
}

/// The store as one reader sees it.
pub(super) struct View {
    transaction: ReadTransaction,
    entries: redb::ReadOnlyTable<&'static str, &'static [u8]>,
    now: u64,
}

impl View {
    pub(super) fn open(database: &Database, now: u64) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let entries = transaction.open_table(ENTRIES)?;
        Ok(Self {
            transaction,
            entries,
            now,
        })
    }

    /// What `work` makes of an entry.
    pub(super) fn entry<T>(
        &self,
        key: &str,
        work: impl FnOnce(Live<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let Some(row) = self.entries.get(key)? else {
            return Ok(None);
        };
        let (head, value) = split_or_fail(row.value())?;
        if is_over(head.expires, self.now) {
            return Ok(None);
        }
        let live = match head.kind {
            Kind::Value => Live::Value {
                value,
                expires: head.expires,
            },
            Kind::List { .. } => Live::List,
        };
        work(live).map(Some)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<Vec<String>>, Failure> {
        let found = self.entry(key, |live| match live {
            Live::List => Ok(()),
            Live::Value { .. } => Err(is_a_value(key)),
        })?;
        if found.is_none() {
            return Ok(None);
        }
        let members = self.transaction.open_table(MEMBERS)?;
        let rows = members.range((key, 0)..=(key, u64::MAX))?;
        let list = rows.map(|row| Ok(row?.1.value().to_owned()));
        list.collect::<Result<_, Failure>>().map(Some)
    }

    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for row in self.entries.range(prefix..)? {
            let (name, row) = row?;
            if !name.value().starts_with(prefix) {
                break;
            }
            let (head, _) = split_or_fail(row.value())?;
            if !is_over(head.expires, self.now) {
                names.push(name.value().to_owned());
            }
        }
        Ok(names)
    }

    /// True when something has expired and is still there.
    pub(super) fn has_due(&self) -> Result<bool, Failure> {
        let expiries = self.transaction.open_table(EXPIRIES)?;
        let first = expiries.first()?;
        Ok(first.is_some_and(|(key, _)| is_over(key.value().0, self.now)))
    }
}

/// The store as one transaction changes it.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, &'static [u8]>,
    members: Table<'t, (&'static str, u64), &'static str>,
    places: Table<'t, (&'static str, &'static str, u64), ()>,
    expiries: Table<'t, (u64, &'static str), ()>,
    now: u64,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, now: u64) -> Result<Self, redb::Error> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            members: transaction.open_table(MEMBERS)?,
            places: transaction.open_table(PLACES)?,
            expiries: transaction.open_table(EXPIRIES)?,
            now,
        })
    }

    fn head(&self, key: &str) -> Result<Option<Head>, redb::Error> {
        let row = self.entries.get(key)?;
        row.map(|row| split_or_fail(row.value()).map(|(head, _)| head))
            .transpose()
    }

    /// The entry, unless it has expired.
    fn live(&self, key: &str) -> Result<Option<Head>, redb::Error> {
        let head = self.head(key)?;
        Ok(head.filter(|head| !is_over(head.expires, self.now)))
    }

    /// Whether there is an entry of this name.
    pub(super) fn holds(&self, key: &str) -> Result<bool, redb::Error> {
        Ok(self.live(key)?.is_some())
    }

    pub(super) fn set(
        &mut self,
        key: &str,
        value: &[u8],
        expires: u64,
        condition: Condition,
    ) -> Result<bool, Failure> {
        let wanted = match condition {
            Condition::Always => true,
            Condition::IfPresent => self.live(key)?.is_some(),
            Condition::IfAbsent => self.live(key)?.is_none(),
        };
        if wanted {
            self.put(key, value, expires)?;
        }
        Ok(wanted)
    }

    /// Writes a value in the place of another, with the expiry of that one; whether it was there.
    pub(super) fn replace(
        &mut self,
        key: &str,
        before: &[u8],
        after: &[u8],
    ) -> Result<bool, Failure> {
        let Some(head) = self.live(key)? else {
            return Ok(false);
        };
        let same = match head.kind {
            Kind::Value => {
                let row = self.entries.get(key)?;
                let value = row
                    .as_ref()
                    .map(|row| split_or_fail(row.value()).map(|(_, value)| value == before));
                value.transpose()?.unwrap_or(false)
            }
            Kind::List { .. } => return Err(is_a_list(key)),
        };
        if same {
            self.put(key, after, head.expires)?;
        }
        Ok(same)
    }

    /// Writes a value, whatever was there.
    pub(super) fn put(&mut self, key: &str, value: &[u8], expires: u64) -> Result<(), redb::Error> {
        self.clear(key)?;
        self.entries
            .insert(key, value_row(expires, value).as_slice())?;
        if expires != NEVER {
            self.expiries.insert((expires, key), ())?;
        }
        Ok(())
    }

    /// Removes an entry; whether it was there and had not expired.
    pub(super) fn remove(&mut self, key: &str) -> Result<bool, redb::Error> {
        let live = self.live(key)?.is_some();
        self.clear(key)?;
        Ok(live)
    }

    /// Removes all there is about a name.
    fn clear(&mut self, key: &str) -> Result<(), redb::Error> {
        let Some(head) = self.head(key)? else {
            return Ok(());
        };
        if head.expires != NEVER {
            self.expiries.remove((head.expires, key))?;
        }
        if let Kind::List { .. } = head.kind {
            self.members
                .retain_in((key, 0)..=(key, u64::MAX), |_, _| false)?;
            let mut places = Vec::new();
            for row in self.places.range((key, "", 0)..)? {
                let row = row?;
                let (of, member, place) = row.0.value();
                if of != key {
                    break;
                }
                places.push((member.to_owned(), place));
            }
            for (member, place) in places {
                self.places.remove((key, member.as_str(), place))?;
            }
        }
        self.entries.remove(key)?;
        Ok(())
    }

    pub(super) fn list_append(&mut self, key: &str, values: &[String]) -> Result<(), Failure> {
        let (mut next, mut count) = match self.live(key)?.map(|head| head.kind) {
            Some(Kind::Value) => return Err(is_a_value(key)),
            Some(Kind::List { next, count }) => (next, count),
            None => (0, 0),
        };
        if values.is_empty() {
            return Ok(());
        }
        if count == 0 {
            // A value that has expired may be in the way.
            self.clear(key)?;
        }
        for value in values {
            self.members.insert((key, next), value.as_str())?;
            self.places.insert((key, value.as_str(), next), ())?;
            (next, count) = (next + 1, count + 1);
        }
        self.entries.insert(key, list_row(next, count).as_slice())?;
        Ok(())
    }

    pub(super) fn list_remove(&mut self, key: &str, value: &str) -> Result<u64, Failure> {
        let (next, count) = match self.live(key)?.map(|head| head.kind) {
            Some(Kind::Value) => return Err(is_a_value(key)),
            Some(Kind::List { next, count }) => (next, count),
            None => return Ok(0),
        };
        let mut places = Vec::new();
        for row in self
            .places
            .range((key, value, 0)..=(key, value, u64::MAX))?
        {
            places.push(row?.0.value().2);
        }
        for place in &places {
            self.members.remove((key, *place))?;
            self.places.remove((key, value, *place))?;
        }
        let removed = places.len() as u64;
        match count.saturating_sub(removed) {
            0 => {
                self.entries.remove(key)?;
            }
            left if removed > 0 => {
                self.entries.insert(key, list_row(next, left).as_slice())?;
            }
            _ => {}
        }
        Ok(removed)
    }

    /// Removes up to `limit` entries that have expired.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<(), redb::Error> {
        let mut due = Vec::new();
        for row in self
            .expiries
            .range(..(self.now.saturating_add(1), ""))?
            .take(limit)
        {
            let row = row?;
            let (expires, key) = row.0.value();
            due.push((expires, key.to_owned()));
        }
        for (expires, key) in due {
            self.expiries.remove((expires, key.as_str()))?;
            if self.head(&key)?.is_some_and(|head| head.expires == expires) {
                self.clear(&key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).unwrap();
        make(&database).unwrap();
        database
    }

    fn change<T>(
        database: &Database,
        now: u64,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failure>,
    ) -> T {
        let transaction = database.begin_write().unwrap();
        let result = work(&mut Tables::open(&transaction, now).unwrap());
        let Ok(result) = result else {
            panic!("refused")
        };
        transaction.commit().unwrap();
        result
    }

    /// How many rows each table has: entries, members, places, expiries.
    fn rows(database: &Database) -> [u64; 4] {
        use redb::ReadableTableMetadata as _;
        let transaction = database.begin_read().unwrap();
        [
            transaction.open_table(ENTRIES).unwrap().len().unwrap(),
            transaction.open_table(MEMBERS).unwrap().len().unwrap(),
            transaction.open_table(PLACES).unwrap().len().unwrap(),
            transaction.open_table(EXPIRIES).unwrap().len().unwrap(),
        ]
    }

    fn texts(members: &[&str]) -> Vec<String> {
        members.iter().map(|member| (*member).to_owned()).collect()
    }

    #[test]
    fn a_new_store_says_its_format() {
        let database = database();
        let transaction = database.begin_read().unwrap();
        assert_eq!(format(&transaction).unwrap(), Some(FORMAT));
    }

    /// Whatever replaces or removes an entry leaves no row of it behind.
    #[test]
    fn no_row_is_left_behind() {
        let database = database();
        change(&database, 1, |tables| {
            tables.set("a", b"1", 100, Condition::Always)?;
            tables.set("a", b"2", 200, Condition::Always)?;
            tables.list_append("l", &texts(&["x", "y", "x"]))?;
            tables.list_append("l2", &texts(&["x"]))
        });
        assert_eq!(rows(&database), [3, 4, 4, 1]);
        change(&database, 1, |tables| {
            tables.list_remove("l", "x")?;
            tables.set("a", b"3", NEVER, Condition::Always)
        });
        assert_eq!(rows(&database), [3, 2, 2, 0]);
        change(&database, 1, |tables| {
            tables.set("l", b"a value", 50, Condition::Always)?;
            tables.list_remove("l2", "x")
        });
        assert_eq!(rows(&database), [2, 0, 0, 1]);
        change(&database, 50, |tables| {
            tables.list_append("l", &texts(&["z"]))
        });
        assert_eq!(rows(&database), [2, 1, 1, 0]);
        change(&database, 50, |tables| {
            tables.remove("l")?;
            Ok(tables.remove("a")?)
        });
        assert_eq!(rows(&database), [0; 4]);
    }

    #[test]
    fn what_has_expired_is_swept_a_step_at_a_time_and_nothing_else() {
        let database = database();
        change(&database, 1, |tables| {
            for n in 0..10 {
                tables.set(&format!("short-{n}"), b"", 100 + n, Condition::Always)?;
            }
            tables.set("long", b"", 1_000, Condition::Always)?;
            tables.set("forever", b"", NEVER, Condition::Always)
        });
        let due = |now| View::open(&database, now).unwrap().has_due().ok();
        assert_eq!(due(99), Some(false));
        assert_eq!(due(104), Some(true));
        change(&database, 104, |tables| Ok(tables.sweep(3)?));
        assert_eq!(rows(&database), [9, 0, 0, 8]);
        change(&database, 104, |tables| Ok(tables.sweep(3)?));
        assert_eq!(rows(&database), [7, 0, 0, 6]);
        assert_eq!(due(104), Some(false));
        change(&database, 999, |tables| Ok(tables.sweep(100)?));
        assert_eq!(rows(&database), [2, 0, 0, 1]);
    }

    /// A name that ends where another goes on is another name.
    #[test]
    fn lists_of_similar_names_are_apart() {
        let database = database();
        change(&database, 1, |tables| {
            tables.list_append("l", &texts(&["a", "b"]))?;
            tables.list_append("l\0", &texts(&["a"]))?;
            tables.list_append("la", &texts(&["a"]))?;
            Ok(tables.remove("l")?)
        });
        assert_eq!(rows(&database), [2, 2, 2, 0]);
    }

    #[test]
    fn a_row_that_is_not_ours_is_damage() {
        for row in [&[][..], &[VALUE; 8], &[9; 20], &[LIST; 10]] {
            assert!(split(row).is_none(), "{row:?}");
        }
        let row = value_row(7, b"v");
        let head = Head {
            expires: 7,
            kind: Kind::Value,
        };
        assert_eq!(split(&row), Some((head, &b"v"[..])));
    }
}

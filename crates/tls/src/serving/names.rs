//! Which certificates go by a name.
//!
//! Every certificate that claims a name is remembered, not only the one that has it, so that
//! another takes over when that one leaves.
//!
//! Invariants:
//! - The claims of the latest configuration step decide; within it, of each family of keys the
//!   last one. In which order claims came and went makes no difference.
//! - Names are kept in shards that sets share; a change copies the shards it touches.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use portcullis_pki::KeyKind;

/// Names a shard is meant for.
const SHARD: usize = 128;

/// A claim of a certificate to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its slot.
    pub(crate) index: u32,
    /// The configuration step it comes from.
    pub(crate) step: u8,
    /// Its kind of key.
    pub(crate) family: Family,
}

/// Kinds of keys that share a name, in the order they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ecdsa,
    Ed25519,
    Rsa,
}

impl From<KeyKind> for Family {
    fn from(kind: KeyKind) -> Family {
        match kind {
            KeyKind::Rsa { .. } => Family::Rsa,
            KeyKind::Ed25519 => Family::Ed25519,
            _ => Family::Ecdsa,
        }
    }
}

/// The certificates of one name: at most one of each family, most preferred first.
pub(crate) type Choice = [Option<u32>; 3];

/// Who claims a name.
#[derive(Clone)]
enum Claims {
    /// As nearly everywhere.
    One(Claim),
    /// Several, and what comes of it.
    Several(Box<(Choice, Vec<Claim>)>),
}

impl Claims {
    fn choice(&self) -> Choice {
        match self {
            Claims::One(claim) => {
                let mut choice = Choice::default();
                choice[claim.family as usize] = Some(claim.index);
                choice
            }
            Claims::Several(several) => several.0,
        }
    }

    fn add(&mut self, claim: Claim) {
        match self {
            Claims::One(first) if *first == claim => {}
            Claims::One(first) => {
                let claims = vec![*first, claim];
                *self = Claims::Several(Box::new((decide(&claims), claims)));
            }
            Claims::Several(several) => {
                let (choice, claims) = &mut **several;
                if !claims.contains(&claim) {
                    claims.push(claim);
                    *choice = decide(claims);
                }
            }
        }
    }

    /// Takes a claim away; true when none is left.
    fn remove(&mut self, claim: Claim) -> bool {
        let left = match self {
            Claims::One(only) => return *only == claim,
            Claims::Several(several) => {
                let (choice, claims) = &mut **several;
                claims.retain(|other| *other != claim);
                *choice = decide(claims);
                match claims.as_slice() {
                    [] => return true,
                    [only] => *only,
                    _ => return false,
                }
            }
        };
        *self = Claims::One(left);
        false
    }
}

fn decide(claims: &[Claim]) -> Choice {
    let last_step = claims.iter().map(|claim| claim.step).max();
    let mut choice = Choice::default();
    for claim in claims.iter().filter(|claim| Some(claim.step) == last_step) {
        let place = &mut choice[claim.family as usize];
        *place = (*place).max(Some(claim.index));
    }
    choice
}

/// Names of one sort, exact or wildcard.
#[derive(Clone)]
pub(crate) struct Names {
    shards: Vec<Arc<HashMap<Box<str>, Claims>>>,
    hasher: RandomState,
}

impl Names {
    /// None yet, with room for about so many.
    pub(crate) fn for_about(names: usize) -> Names {
        let shards = names.div_ceil(SHARD).max(1).next_power_of_two();
        Names {
            shards: vec![Arc::default(); shards],
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Choice> {
        let shard = self.shards.get(self.shard(name))?;
        shard.get(name).map(Claims::choice)
    }

    pub(crate) fn claim(&mut self, name: &str, claim: Claim) {
        let number = self.shard(name);
        let shard = Arc::make_mut(&mut self.shards[number]);
        match shard.get_mut(name) {
            Some(claims) => claims.add(claim),
            None => {
                shard.insert(name.into(), Claims::One(claim));
            }
        }
    }

    pub(crate) fn give_up(&mut self, name: &str, claim: Claim) {
        let number = self.shard(name);
        let shard = Arc::make_mut(&mut self.shards[number]);
        if shard
            .get_mut(name)
            .is_some_and(|claims| claims.remove(claim))
        {
            shard.remove(name);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Lets go of room that was made for more.
    pub(crate) fn shrink(&mut self) {
        for shard in &mut self.shards {
            Arc::make_mut(shard).shrink_to_fit();
        }
    }

    fn shard(&self, name: &str) -> usize {
        // The map below takes the other bits of a hash of its own.
        let hash = usize::try_from(self.hasher.hash_one(name) >> 32).unwrap_or(0);
        hash & (self.shards.len() - 1)
    }

    /// How many shards these names and those hold in common.
    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Names) -> (usize, usize) {
        let shared = self.shards.iter().zip(&other.shards);
        let shared = shared.filter(|(one, other)| Arc::ptr_eq(one, other));
        (shared.count(), self.shards.len())
    }
}

impl Default for Names {
    fn default() -> Names {
        Names::for_about(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(index: u32, step: u8, family: Family) -> Claim {
        Claim {
            index,
            step,
            family,
        }
    }

    #[test]
    fn what_a_claim_gives_up_falls_to_the_one_before() {
        let mut names = Names::default();
        let (first, second, late) = (
            claim(0, 1, Family::Ecdsa),
            claim(1, 1, Family::Ecdsa),
            claim(9, 3, Family::Rsa),
        );
        for claim in [first, second, late] {
            names.claim("a.test", claim);
        }
        assert_eq!(names.find("a.test"), Some([None, None, Some(9)]));
        names.give_up("a.test", late);
        assert_eq!(names.find("a.test"), Some([Some(1), None, None]));
        names.give_up("a.test", second);
        assert_eq!(names.find("a.test"), Some([Some(0), None, None]));
        names.give_up("a.test", first);
        assert_eq!((names.find("a.test"), names.len()), (None, 0));
    }

    #[test]
    fn the_order_of_claims_makes_no_difference() {
        let claims = [
            claim(4, 1, Family::Rsa),
            claim(2, 1, Family::Ecdsa),
            claim(3, 1, Family::Ed25519),
            claim(7, 1, Family::Ecdsa),
        ];
        let (mut one, mut other) = (Names::default(), Names::default());
        claims.iter().for_each(|claim| one.claim("a", *claim));
        claims
            .iter()
            .rev()
            .for_each(|claim| other.claim("a", *claim));
        assert_eq!(one.find("a"), Some([Some(7), Some(3), Some(4)]));
        assert_eq!(one.find("a"), other.find("a"));
    }

    #[test]
    fn a_claim_made_twice_is_given_up_once() {
        let mut names = Names::default();
        for _ in 0..2 {
            names.claim("a", claim(1, 1, Family::Rsa));
        }
        names.give_up("a", claim(1, 1, Family::Rsa));
        assert_eq!(names.find("a"), None);
    }

    /// What a name costs beside its own bytes, a hundred thousand times.
    #[test]
    fn a_name_is_small() {
        assert_eq!(size_of::<(Box<str>, Claims)>(), 32);
    }
}

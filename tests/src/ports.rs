//! Ports for tests that must know one before anything listens on it.
//!
//! They come from below the range the system hands out by itself, and a UDP socket on the same
//! number keeps other test processes from taking them, so nobody can step in between.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

const RANGE: std::ops::Range<u16> = 10_240..32_000;

static HELD: Mutex<Vec<(u16, UdpSocket)>> = Mutex::new(Vec::new());

/// A TCP port that nothing listens on; this process keeps it to itself until it ends.
///
/// # Panics
/// When every port is taken.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many free ports in a row.
///
/// # Panics
/// When there is no such row.
pub fn free_ports(count: u16) -> u16 {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes begin at different places so that they seldom meet.
    let places = u32::from(RANGE.end - RANGE.start - count);
    let start = std::process::id().wrapping_mul(7919) % places;
    for step in 0..places {
        let first = RANGE.start
            + u16::try_from((start + step) % places).expect("below the end of the range");
        if (first..first + count).any(|port| held.iter().any(|(taken, _)| *taken == port)) {
            continue;
        }
        let row: Option<Vec<_>> = (first..first + count)
            .map(|port| Some((port, reserve(port)?)))
            .collect();
        if let Some(row) = row {
            held.extend(row);
            return first;
        }
    }
    panic!("no free port");
}

/// True for a port that this process keeps.
pub fn is_reserved(port: u16) -> bool {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.iter().any(|(taken, _)| *taken == port)
}

fn reserve(port: u16) -> Option<UdpSocket> {
    let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
    Some(reservation)
}

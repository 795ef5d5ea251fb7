//! Ports for tests that must know one before anything listens on it.
//!
//! They come from below the range the system hands out by itself, and a UDP socket on the same
//! number keeps other test processes from taking them, so nobody can step in between.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Mutex,
};

const RANGE: std::ops::Range<u16> = 10_240..32_000;

static HELD: Mutex<Vec<(u16, UdpSocket)>> = Mutex::new(Vec::new());

/// A TCP port that nothing listens on; this process keeps it to itself until it ends.
///
/// # Panics
/// When every port is taken.
pub fn free_port() -> u16 {
    let mut held = HELD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Processes begin at different places so that they seldom meet.
    let count = u32::from(RANGE.end - RANGE.start);
    let start = std::process::id().wrapping_mul(7919) % count;
    for step in 0..count {
        let port = RANGE.start
            + u16::try_from((start + step) % count).expect("below the end of the range");
        if held.iter().any(|(taken, _)| *taken == port) {
            continue;
        }
        let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            held.push((port, reservation));
            return port;
        }
    }
    panic!("no free port");
}

/// True for a port that [`free_port`] gave out in this process.
pub fn is_reserved(port: u16) -> bool {
    let held = HELD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    held.iter().any(|(taken, _)| *taken == port)
}

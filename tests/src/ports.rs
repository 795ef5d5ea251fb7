//! Ports for tests that must know one before anything listens on it.
//!
//! They come from below the range the system hands out by itself, and a UDP socket on the same
//! number keeps other test processes from taking them, so nobody can step in between.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt::set_socket_reuseaddr,
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
    // Bound and never listening: another thread may start a process meanwhile, which holds a copy of
    // every socket for a moment, and who waits for a server on this port would find that one.
    probe(port)?;
    Some(reservation)
}

/// A socket that is bound to the port, when nothing listens there.
fn probe(port: u16) -> Option<OwnedFd> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let probe = socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()?;
    set_socket_reuseaddr(&probe, true).ok()?;
    bind(&probe, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).ok()?;
    Some(probe)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn nothing_answers_on_a_port_while_it_is_tried() {
        let port = free_port();
        let _probe = probe(port).expect("nothing listens");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        assert!(
            server.is_ok(),
            "a copy of the probe keeps no server from it"
        );
    }

    #[test]
    fn a_port_that_something_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert!(reserve(port).is_none());
    }
}

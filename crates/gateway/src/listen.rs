//! Listening sockets: one for each worker on each port.
//!
//! All sockets of a port share it through `SO_REUSEPORT`, so the kernel spreads connections over
//! the workers and no worker hands a connection to another.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections the kernel holds for us until a worker accepts them.
const BACKLOG: i32 = 4096;

/// A peer that has been silent this long is asked whether it is still there, so that relayed
/// connections of vanished clients end.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(source))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, or another gateway, has it: stop that or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE (see packaging/portcullis.service)"
        }
        io::ErrorKind::AddrNotAvailable => "; the address is not one of this machine",
        _ => "",
    }
}

/// Opens one socket a worker on a port; port 0 lets the system choose one. `None` as address means
/// every interface, IPv6 included where the machine has it.
///
/// # Errors
/// [`BindError`]; sockets already opened are closed.
pub fn open(
    address: Option<IpAddr>,
    port: u16,
    workers: usize,
) -> Result<(u16, Vec<TcpListener>), BindError> {
    refuse_taken(address, port)?;
    let first = match address {
        Some(address) => bind(SocketAddr::new(address, port), false)?,
        None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true) {
            Ok(socket) => socket,
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // No IPv6 on this machine.
            Err(_) => bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false)?,
        },
    };
    let bound = first.local_addr().map_err(|source| BindError {
        address: SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port),
        source,
    })?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(bind(bound, address.is_none() && bound.is_ipv6())?);
    }
    Ok((bound.port(), sockets))
}

/// Sharing a port would silently share it with another gateway of the same user as well: a first
/// try without sharing finds out.
fn refuse_taken(address: Option<IpAddr>, port: u16) -> Result<(), BindError> {
    if port == 0 {
        return Ok(());
    }
    let address = SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
    let alone = || -> io::Result<()> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    alone().map_err(|source| BindError { address, source })
}

fn bind(address: SocketAddr, both_families: bool) -> Result<TcpListener, BindError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!both_families)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit these, which saves system calls for each.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE),
        )?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| BindError { address, source })
}

//! Ports that no two test processes of this machine get at the same time.
//!
//! A port that is free when it is looked at may be taken before it is used. So a process first locks a block of ports, with a lock file
//! that lasts as long as the process, and hands out each port of its blocks once.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::sync::Mutex;

use rand::seq::SliceRandom;
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpSocket;

use crate::Result;

/// They lie below the range that the system takes ports of outgoing connections from, so that a restart finds its port free.
const FIRST: u16 = 11_000;
const BLOCKS: u16 = 105;
/// Ports in a block.
const BLOCK: u16 = 200;

/// What this process has.
struct Ports {
    /// Blocks whose locks are held until the process ends.
    locks: Vec<File>,
    blocks: HashSet<u16>,
    /// Ports of these blocks that have not been handed out.
    unused: Vec<u16>,
}

/// An address on loopback that nobody listens on, and that no other caller gets, in this process or in another one of tests.
///
/// # Errors
/// When all ports are taken.
pub fn free_address() -> Result<SocketAddr> {
    static PORTS: Mutex<Option<Ports>> = Mutex::new(None);
    let mut ports = PORTS.lock().map_err(|error| error.to_string())?;
    let ports = ports.get_or_insert_with(|| Ports {
        locks: Vec::new(),
        blocks: HashSet::new(),
        unused: Vec::new(),
    });
    loop {
        let Some(port) = ports.unused.pop() else {
            ports.lock_block()?;
            continue;
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // Other programs may have it.
        if probe(address).is_ok() {
            return Ok(address);
        }
    }
}

/// Fails when somebody listens there. The socket never listens itself: a process that is being started holds a copy of it until
/// its program runs, and a copy that listens would keep the port in use after the probe.
fn probe(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Ports {
    fn lock_block(&mut self) -> Result<()> {
        let mut blocks: Vec<u16> = (0..BLOCKS).filter(|block| !self.blocks.contains(block)).collect();
        blocks.shuffle(&mut rand::rng());
        for block in blocks {
            let path = std::env::temp_dir().join(format!("openconnect-ports-{block}.lock"));
            // It may be another user's.
            let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
                continue;
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.locks.push(file);
                self.blocks.insert(block);
                let first = FIRST + block * BLOCK;
                self.unused.extend(first..first + BLOCK);
                self.unused.shuffle(&mut rand::rng());
                return Ok(());
            }
        }
        Err("every port for tests is taken by another process".into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_probe_finds_who_listens_and_keeps_nobody_from_it() {
        let address = free_address().unwrap();
        let kept = probe(address).unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        assert!(probe(address).is_err());
        drop((listener, kept));
    }

    #[test]
    fn every_address_is_handed_out_once() {
        let many = usize::from(BLOCK) + 50;
        let addresses: HashSet<SocketAddr> = (0..many).map(|_| free_address().unwrap()).collect();
        assert_eq!(addresses.len(), many);
    }
}

//! Binding a port: one that was asked for must be free, a default one gives way.
//!
//! A busy port that was asked for is an error that names who holds it, where the kernel lets us see; a busy default
//! port is warned about and a free one is taken, so that a second `weir up` on a laptop still shows its page.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use procfs::process::FDTarget;
use tracing::warn;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `HOST:PORT`.
    pub address: String,
    /// Whether a person asked for it (flag, environment, file); a default may give way.
    pub asked: bool,
}

/// A port could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address.
    #[error("{what}: {address:?} is no HOST:PORT to listen on: {reason}")]
    Address {
        /// What should listen.
        what: &'static str,
        /// As given.
        address: String,
        /// Why it is none.
        reason: String,
    },
    /// The port was asked for and is taken.
    #[error("{what}: {address} is in use by {holder}; stop it or choose another port with {flag}")]
    InUse {
        /// What should listen.
        what: &'static str,
        /// As given.
        address: String,
        /// `name (pid 7)`, or that it cannot be seen.
        holder: String,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// The system said no.
    #[error("{what}: cannot listen on {address}: {source}")]
    Io {
        /// What should listen.
        what: &'static str,
        /// As given.
        address: String,
        /// What it said.
        source: io::Error,
    },
}

impl Listen {
    /// The address that was asked for, else the default.
    #[must_use]
    pub fn asked_or(asked: Option<&str>, default: &str) -> Self {
        Self { address: asked.unwrap_or(default).to_owned(), asked: asked.is_some() }
    }

    /// Binds it. `what` and `flag` are for messages: `OTLP/gRPC`, `--otlp-grpc`.
    ///
    /// # Errors
    /// When it is no address, or is in use and was asked for, or the system says no.
    pub fn bind(&self, what: &'static str, flag: &'static str) -> Result<tokio::net::TcpListener, ListenError> {
        let address = self.resolve(what)?;
        let failed = |source| ListenError::Io { what, address: self.address.clone(), source };
        let listener = match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !self.asked => {
                let other = TcpListener::bind(SocketAddr::new(address.ip(), 0)).map_err(failed)?;
                let taken = other.local_addr().map_err(failed)?;
                warn!(busy = %address, holder = holder_of(address), %taken, "{what}: the default port is in use, another was taken");
                other
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let holder = holder_of(address);
                return Err(ListenError::InUse { what, address: self.address.clone(), holder, flag });
            }
            other => other.map_err(failed)?,
        };
        listener.set_nonblocking(true).map_err(failed)?;
        tokio::net::TcpListener::from_std(listener).map_err(failed)
    }

    fn resolve(&self, what: &'static str) -> Result<SocketAddr, ListenError> {
        let wrong = |reason: String| ListenError::Address { what, address: self.address.clone(), reason };
        let mut found = self.address.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        found.next().ok_or_else(|| wrong("the name has no address".to_owned()))
    }
}

/// Which process listens on `address`, as far as this user may see.
fn holder_of(address: SocketAddr) -> String {
    find_holder(address).unwrap_or_else(|| "a process that this user cannot see".to_owned())
}

fn find_holder(address: SocketAddr) -> Option<String> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let inode =
        tables.into_iter().flatten().flatten().find(|entry| {
            entry.local_address.port() == address.port() && entry.state == procfs::net::TcpState::Listen
        })?;
    for process in procfs::process::all_processes().ok()?.flatten() {
        let Ok(files) = process.fd() else { continue };
        let holds =
            |file: procfs::process::FDInfo| matches!(file.target, FDTarget::Socket(found) if found == inode.inode);
        if files.flatten().any(holds) {
            let name = process.stat().map_or_else(|_| "process".to_owned(), |stat| stat.comm);
            return Some(format!("{name} (pid {})", process.pid));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_that_was_asked_for_names_its_holder_and_a_default_gives_way() {
        let first = Listen { address: "127.0.0.1:0".into(), asked: true }.bind("page", "--listen").unwrap();
        let taken = first.local_addr().unwrap();
        let error = Listen { address: taken.to_string(), asked: true }.bind("page", "--listen").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("(pid {})", std::process::id())) && text.contains("--listen"), "{text}");
        let other = Listen { address: taken.to_string(), asked: false }.bind("page", "--listen").unwrap();
        assert_ne!(other.local_addr().unwrap().port(), taken.port());
    }

    #[tokio::test]
    async fn what_is_no_address_is_said_to_be_none() {
        let error = Listen { address: "9347".into(), asked: true }.bind("page", "--listen").unwrap_err();
        assert!(error.to_string().contains("is no HOST:PORT"), "{error}");
    }
}

//! Step 7: a connection to a checked address, with TLS for the name.
//!
//! Invariant: only an address is ever dialled, never a name; the certificate is checked for the name the
//! guest asked for. Plain HTTP is spoken to upstreams that the operator opened and to nobody else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::budget::Place;
use crate::config::{DoorConfig, DoorSetupError};
use crate::error::ConnectFailure;
use crate::wire::{Meter, Metered, Wire};

/// How long a connection that nobody needs any more may take to say good-bye.
const PARTING: Duration = Duration::from_secs(1);

/// An open network connection that speaks HTTP/1.1, one request at a time. It ends with this.
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Metered>,
    pub(crate) meter: Arc<Meter>,
    /// That it is gone says that it is not needed; what is sent here, how it ends.
    needed: oneshot::Sender<Ending>,
}

/// How long what is on its way may take, and what is held until then.
struct Ending {
    until: Instant,
    _held: Arc<Place>,
}

impl Line {
    /// Lets go of a connection on which something is on its way that is to arrive, by `until`. It keeps its place as long.
    pub(crate) fn send_to_its_end(self, until: Instant, place: Arc<Place>) {
        // Nobody hears this where the connection has ended.
        let _ = self.needed.send(Ending { until, _held: place });
    }
}

/// Opens sockets to addresses: the last thing between the product and the world.
pub(crate) trait Sockets: Send + Sync {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// The machine's own.
pub(crate) struct SystemSockets;

impl Sockets for SystemSockets {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Makes connections.
pub(crate) struct Dialler {
    sockets: Arc<dyn Sockets>,
    tls: TlsConnector,
    pub(crate) trusted: Vec<TrustAnchor<'static>>,
    max_headers: usize,
    max_header_bytes: usize,
}

impl Dialler {
    /// Trusts what the machine trusts, or the browsers' list where the machine has none, and the
    /// operator's own.
    pub(crate) fn new(config: &DoorConfig, sockets: Arc<dyn Sockets>) -> Result<Self, DoorSetupError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for root in &config.extra_roots {
            roots.add(CertificateDer::from(root.clone())).map_err(DoorSetupError::Root)?;
        }
        let trusted = roots.roots.clone();
        // The provider is named here, so that no other crate's default can take its place.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(DoorSetupError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would tie connections of different tenants together.
        tls.resumption = Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(tls));
        let (max_headers, max_header_bytes) = (config.max_headers, config.max_header_bytes);
        Ok(Self { sockets, tls, trusted, max_headers, max_header_bytes })
    }

    /// Connects to the first of the addresses that answers, each having its share of the time.
    pub(crate) async fn connect(
        &self,
        addresses: &[SocketAddr],
        tls_name: Option<&str>,
        within: Duration,
    ) -> Result<Line, ConnectFailure> {
        let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut failure = ConnectFailure::Unreachable;
        for address in addresses {
            match tokio::time::timeout(share, self.connect_to(*address, tls_name)).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(reason)) => failure = reason,
                Err(_) => failure = ConnectFailure::Timeout,
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: SocketAddr, tls_name: Option<&str>) -> Result<Line, ConnectFailure> {
        let stream = self.sockets.open(address).await.map_err(|_| ConnectFailure::Unreachable)?;
        // Requests are written whole; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let meter = Arc::new(Meter::default());
        let wire = Wire::new(stream, meter.clone());
        match tls_name {
            None => self.speak(wire, meter).await,
            Some(name) => {
                let name = ServerName::try_from(name.to_owned()).map_err(|_| ConnectFailure::Tls)?;
                let stream = self.tls.connect(name, wire).await.map_err(|_| ConnectFailure::Tls)?;
                self.speak(stream, meter).await
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        meter: Arc<Meter>,
    ) -> Result<Line, ConnectFailure> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(self.max_headers)
            .max_header_size(self.max_header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| ConnectFailure::Unreachable)?;
        let (needed, unneeded) = oneshot::channel::<Ending>();
        // It ends when the other side closes; its errors reach the request. And when nobody needs it any more: left to itself,
        // it would keep what is on its way, a whole body, until the other side has read that, if it ever does.
        tokio::spawn(async move {
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                ending = unneeded => {
                    let until = ending.as_ref().map_or_else(|_| Instant::now() + PARTING, |ending| ending.until);
                    drop(timeout_at(until, connection).await);
                }
            }
        });
        Ok(Line { sender, meter, needed })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::time::Instant;

    use super::*;

    /// Nobody is there.
    struct Silence;

    impl Sockets for Silence {
        fn open(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
            Box::pin(std::future::pending())
        }
    }

    /// Mutation: `Dialler::connect`, give each address all of the time.
    #[tokio::test(start_paused = true)]
    async fn many_addresses_take_no_longer_than_one() {
        let dialler = Dialler::new(&DoorConfig::default(), Arc::new(Silence)).unwrap();
        let addresses = ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443", "192.0.2.4:443"];
        let began = Instant::now();
        let line = dialler.connect(&addresses.map(|one| one.parse().unwrap()), None, Duration::from_secs(8)).await;
        assert!(matches!(line, Err(ConnectFailure::Timeout)));
        assert_eq!(began.elapsed().as_secs(), 8);
    }
}

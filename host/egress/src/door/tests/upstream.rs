//! A server on the loopback that does as it is told and writes down what it gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What to do once a request was read to its end.
#[derive(Clone)]
pub(super) enum Reaction {
    /// Answer, and wait for the next on the same connection.
    Answer(Vec<u8>),
    /// Answer with what this makes of the request.
    Echo(fn(&Seen) -> String),
    /// Send the head once and the body until the other side has had enough.
    Endless { head: String, body: Vec<u8> },
    /// Send this and then nothing, or nothing ever again.
    Partial { bytes: String, then_close: bool },
    /// Say nothing and keep the connection.
    Hang,
    /// Say nothing and close.
    Close,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// All values of a header.
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    handshakes: Mutex<Vec<Option<HandshakeKind>>>,
}

impl Upstream {
    /// Reacts to the nth request, counted from 0 over all connections.
    pub(super) async fn start(
        tls: Option<Arc<ServerConfig>>,
        react: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let react: Arc<dyn Fn(usize) -> Reaction + Send + Sync> = Arc::new(react);
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let (shared, react, tls) = (shared.clone(), react.clone(), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, &shared, react.as_ref()).await,
                            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => {
                                    shared.handshakes.lock().unwrap().push(stream.get_ref().1.handshake_kind());
                                    serve(stream, &shared, react.as_ref()).await
                                }
                                Err(_) => None,
                            },
                        }
                    });
                }
            }
        });
        Self { address, shared, task }
    }

    /// Reads the head of each request, says this, and reads on when it is told to.
    pub(super) async fn hasty(tls: Arc<ServerConfig>, says: &'static str, told: Arc<Notify>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (shared, tls, told) = (shared.clone(), tls.clone(), told.clone());
                    tokio::spawn(async move {
                        let mut stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                        let mut seen = read_head(&mut stream).await?;
                        write(&mut stream, says.as_bytes()).await?;
                        told.notified().await;
                        read_body(&mut stream, &mut seen).await?;
                        shared.seen.lock().unwrap().push(seen);
                        std::future::pending::<Option<()>>().await
                    });
                }
            }
        });
        Self { address, shared, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What the TLS of each connection began with.
    pub(super) fn handshakes(&self) -> Vec<Option<HandshakeKind>> {
        self.shared.handshakes.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the other side closes, or a reaction does.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    shared: &Shared,
    react: &(dyn Fn(usize) -> Reaction + Send + Sync),
) -> Option<()> {
    loop {
        let mut seen = read_head(&mut stream).await?;
        read_body(&mut stream, &mut seen).await?;
        let nth = {
            let mut all = shared.seen.lock().unwrap();
            all.push(seen);
            all.len() - 1
        };
        match react(nth) {
            Reaction::Answer(bytes) => write(&mut stream, &bytes).await?,
            Reaction::Echo(echo) => {
                let text = echo(&shared.seen.lock().unwrap()[nth]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                write(&mut stream, format!("{head}{text}").as_bytes()).await?;
            }
            Reaction::Endless { head, body } => {
                write(&mut stream, head.as_bytes()).await?;
                while write(&mut stream, &body).await.is_some() {}
                return None;
            }
            Reaction::Partial { bytes, then_close } => {
                write(&mut stream, bytes.as_bytes()).await?;
                if !then_close {
                    std::future::pending::<()>().await;
                }
                return stream.shutdown().await.ok();
            }
            Reaction::Hang => std::future::pending::<()>().await,
            Reaction::Close => return stream.shutdown().await.ok(),
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}

/// As far as its head, and what came with that.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some(Seen { head: String::from_utf8(bytes).ok()?, body });
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, seen: &mut Seen) -> Option<()> {
    let length = seen.header("content-length").first().map_or(0, |length| length.parse::<usize>().unwrap());
    while seen.body.len() < length {
        if stream.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

/// A certificate for the name that signs itself, and a server that has it.
pub(super) fn certificate_for(name: &str) -> (Vec<u8>, Arc<ServerConfig>) {
    certificate_for_all(&[name])
}

pub(super) fn certificate_for_all(names: &[&str]) -> (Vec<u8>, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (certificate.der().to_vec(), Arc::new(config))
}

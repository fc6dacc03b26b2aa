//! Step 6: from a name to addresses, once, and the decision whether they may be dialled.
//!
//! Invariant: a request's name is resolved once, every address of the answer is checked, and one of
//! exactly those is dialled. Nothing resolves a second time, so a name that changes its mind in between
//! (DNS rebinding) gains nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::address;
use crate::error::{ConnectFailure, Denial, DoorError};
use crate::route::{Destination, Dial};

/// How many addresses of a name are tried.
const MOST_ADDRESSES: usize = 4;
/// However long a name server says its answer holds.
const LONGEST_TTL: Duration = Duration::from_secs(300);

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// All addresses of a fully qualified name. Never asked about what is an address already.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The name servers did not answer.
    #[error("the name could not be resolved")]
    Failed,
    /// This machine has no usable resolver configuration.
    #[error("this host has no name servers configured")]
    NotConfigured,
}

/// The machine's own name servers, without its search domains.
pub(crate) struct SystemResolver(Option<TokioResolver>);

impl SystemResolver {
    /// Reads the machine's configuration. Where there is none, names do not resolve and development
    /// upstreams still work.
    pub(crate) fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(forgetful);
        Self(
            built
                .inspect_err(|error| tracing::warn!(error = %error, "no name servers: outbound names will not resolve"))
                .ok(),
        )
    }
}

/// One that asks again in time.
fn forgetful(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    builder.options_mut().positive_max_ttl = Some(LONGEST_TTL);
    builder.build()
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            let resolver = self.0.as_ref().ok_or(ResolveError::NotConfigured)?;
            // The final dot keeps search domains out.
            match resolver.lookup_ip(format!("{host}.")).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) if error.is_no_records_found() => Err(ResolveError::NoAddress),
                Err(_) => Err(ResolveError::Failed),
            }
        })
    }
}

/// The addresses that may be dialled, best first.
pub(crate) async fn addresses(resolver: &dyn Resolve, destination: &Destination) -> Result<Vec<SocketAddr>, DoorError> {
    let (host, port, opened) = match &destination.dial {
        Dial::Public => (destination.name.as_str(), 443, false),
        Dial::Opened { host, port } => (host.as_str(), *port, true),
    };
    let found = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolver.resolve(host).await,
    };
    let unresolved = |reason: ResolveError| DoorError::Connect {
        host: destination.name.clone(),
        reason: ConnectFailure::Resolve(reason),
    };
    let found = found.map_err(unresolved)?;
    if !opened {
        check(&destination.name, &found)?;
    }
    if found.is_empty() {
        return Err(unresolved(ResolveError::NoAddress));
    }
    let mut found: Vec<SocketAddr> = found.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    // A machine without IPv6 fails on it slowly at times; one without IPv4 is rare.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.truncate(MOST_ADDRESSES);
    Ok(found)
}

/// One address inside somebody's network spoils them all: which of them is dialled would be chance.
fn check(host: &str, addresses: &[IpAddr]) -> Result<(), Denial> {
    let refused = addresses.iter().find_map(|address| Some((*address, address::refusal(*address)?)));
    match refused {
        Some((address, block)) => Err(Denial::Address { host: host.to_owned(), address, block }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use hickory_resolver::config::ResolverConfig;

    use super::*;

    /// Gives its answers one after the other, and counts.
    pub(crate) struct Script {
        answers: Mutex<VecDeque<Vec<IpAddr>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Script {
        pub(crate) fn new(answers: &[&[&str]]) -> Self {
            let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
            Self { answers: Mutex::new(answers.iter().map(parse).collect()), asked: Mutex::default() }
        }

        pub(crate) fn asked(&self) -> usize {
            self.asked.lock().unwrap().len()
        }
    }

    impl Resolve for Script {
        fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
            self.asked.lock().unwrap().push(host.to_owned());
            let answer = self.answers.lock().unwrap().pop_front().ok_or(ResolveError::NoAddress);
            Box::pin(async move { answer })
        }
    }

    fn public() -> Destination {
        Destination { name: "api.example.com".into(), tls: true, dial: Dial::Public }
    }

    async fn resolve(answer: &[&str]) -> Result<Vec<String>, DoorError> {
        let script = Script::new(&[answer]);
        let found = addresses(&script, &public()).await.map(|found| found.iter().map(ToString::to_string).collect());
        assert_eq!(script.asked(), 1);
        found
    }

    #[tokio::test]
    async fn public_addresses_may_be_dialled() {
        assert_eq!(resolve(&["2606:4700::1", "8.8.8.8"]).await.unwrap(), ["8.8.8.8:443", "[2606:4700::1]:443"]);
    }

    /// Mutation: `addresses`, leave out `truncate`: a name of a thousand addresses has each dialled.
    #[tokio::test]
    async fn of_many_addresses_a_few_are_dialled() {
        assert_eq!(resolve(&["8.8.8.8"; MOST_ADDRESSES + 1]).await.unwrap().len(), MOST_ADDRESSES);
    }

    /// Mutation: resolve.rs, `forgetful`, as long as the name server says.
    #[tokio::test]
    async fn a_name_servers_answer_holds_for_five_minutes_at_most() {
        let builder = TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default());
        let resolver = forgetful(builder).unwrap();
        assert_eq!(resolver.options().positive_max_ttl, Some(Duration::from_secs(300)));
    }

    /// With `check` removed, or asking only the first address, this fails.
    #[tokio::test]
    async fn one_address_inside_somebodys_network_spoils_them_all() {
        for answer in [
            &["169.254.169.254"][..],
            &["8.8.8.8", "127.0.0.1"],
            &["10.0.0.1", "8.8.8.8"],
            &["8.8.8.8", "::1"],
            &["64:ff9b::a00:1"],
        ] {
            assert!(matches!(resolve(answer).await, Err(DoorError::Denied(Denial::Address { .. }))), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_a_connection_that_was_not_made() {
        let error = resolve(&[]).await.unwrap_err();
        assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Resolve(ResolveError::NoAddress), .. }));
        assert!(!error.request_sent() && error.retryable());
    }

    /// Should a literal ever get past the rules, it does not get past the table.
    #[tokio::test]
    async fn an_address_in_place_of_a_name_is_checked_too() {
        for name in ["127.0.0.1", "[::1]", "169.254.169.254"] {
            let destination = Destination { name: name.into(), ..public() };
            let result = addresses(&Script::new(&[]), &destination).await;
            assert!(matches!(result, Err(DoorError::Denied(Denial::Address { .. }))), "{name}");
        }
    }

    #[tokio::test]
    async fn what_the_operator_opened_may_be_anywhere() {
        let dial = Dial::Opened { host: "127.0.0.1".into(), port: 4010 };
        let found = addresses(&Script::new(&[]), &Destination { dial, ..public() }).await.unwrap();
        assert_eq!(found, ["127.0.0.1:4010".parse().unwrap()]);
    }
}

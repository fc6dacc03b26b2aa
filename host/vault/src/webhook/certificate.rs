//! RSA with SHA-256, by a certificate that the provider serves.
//!
//! Invariants: a request chooses which certificate, never at whose host; the chain holds now, whenever it was fetched.

use std::time::Duration;

use bulkhead_manifest::HostPattern;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use url::Url;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::{Inbound, Refusal, one_header};

/// Certificates of one chain.
const LONGEST_CHAIN: usize = 8;
/// Longest URL of one, bytes.
const LONGEST_URL: usize = 512;

/// Where the request says that its certificate is, if that is at the provider's.
pub(super) fn url(header: &str, hosts: &[HostPattern], request: &Inbound<'_>) -> Result<Url, Refusal> {
    let text = one_header(request, header)?;
    let malformed = |problem| Refusal::Malformed { place: format!("header {header}"), problem };
    if text.len() > LONGEST_URL {
        return Err(malformed("it is too long for the URL of a certificate"));
    }
    let url = Url::parse(text).map_err(|_| malformed("it is no URL"))?;
    if url.as_str() != text {
        return Err(malformed("it is not written as URLs usually are"));
    }
    let plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    // A query would make ever other names of what stands at one.
    if !plain || url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(malformed("it is not https, or says more than a host and a path"));
    }
    match url.host_str() {
        Some(host) if hosts.iter().any(|pinned| pinned.matches(host)) => Ok(url),
        host => Err(Refusal::Elsewhere { host: host.unwrap_or_default().to_owned() }),
    }
}

/// Whether it is a certificate at all, and not what a server says in the place of one.
pub(super) fn is_one(pem: &[u8]) -> bool {
    let first = CertificateDer::pem_slice_iter(pem).next().and_then(Result::ok);
    first.is_some_and(|first| EndEntityCert::try_from(&first).is_ok())
}

/// Whether any of the signatures is one of any of the messages by the first certificate of `pem`.
pub(super) fn fits(
    pem: &[u8],
    subject: Option<&str>,
    trusted: &[TrustAnchor<'static>],
    now_ms: u64,
    messages: &[Vec<u8>],
    signatures: &[Vec<u8>],
) -> Result<bool, Refusal> {
    let broken = |problem: &dyn std::fmt::Display| Refusal::Certificate { problem: problem.to_string() };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(LONGEST_CHAIN).collect();
    let chain = chain.map_err(|_| broken(&"it is not PEM"))?;
    let Some((first, others)) = chain.split_first() else { return Err(broken(&"there is none")) };
    let certificate = EndEntityCert::try_from(first).map_err(|error| broken(&error))?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
    certificate
        .verify_for_usage(ALL_VERIFICATION_ALGS, trusted, others, now, KeyUsage::server_auth(), None, None)
        .map_err(|error| broken(&error))?;
    if let Some(subject) = subject {
        let name = ServerName::try_from(subject).map_err(|error| broken(&error))?;
        certificate.verify_is_valid_for_subject_name(&name).map_err(|error| broken(&error))?;
    }
    let verifies = |message: &Vec<u8>, signature: &Vec<u8>| {
        certificate.verify_signature(webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    };
    Ok(messages.iter().any(|message| signatures.iter().any(|signature| verifies(message, signature))))
}

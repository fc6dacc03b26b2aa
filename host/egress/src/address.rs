//! Which addresses are on the public internet.
//!
//! What is set aside stands in [`special`]. For IPv6 only global unicast space counts as public at all, less what is set aside
//! in it. An IPv6 address that carries an IPv4 address inside is judged by that one; one of ISATAP's, which lies in a network's
//! own space, by both; one of Teredo's is not public whatever it carries.
//!
//! Invariant: in doubt an address is not public. To follow a change of the registries, change the tables; the standard
//! library's own test for this is not stable yet.

mod special;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;
use url::Host;

pub use self::special::Special;

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

const TEREDO: Ipv6Net = v6(0x2001, 0, 32);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);

/// What keeps an address from being public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Block {
    /// It lies in a range that is set aside.
    #[error("{0}")]
    Special(Special),
    /// It is an IPv6 address that leads on to an IPv4 address, which lies in one.
    #[error("{special}, carried by {by}")]
    Carried {
        /// How it leads there.
        by: Carrier,
        /// Where the carried one lies.
        special: Special,
    },
}

/// How an IPv6 address carries an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Carrier {
    /// `::ffff:0:0/96`.
    #[error("IPv4 mapping (::ffff:0:0/96)")]
    Mapped,
    /// The prefix that everybody knows.
    #[error("NAT64 (64:ff9b::/96)")]
    Nat64,
    /// `2002::/16`.
    #[error("6to4 (2002::/16)")]
    SixToFour,
    /// The client behind its NAT.
    #[error("Teredo (2001::/32)")]
    Teredo,
    /// An interface of `0:5efe` or `200:5efe`.
    #[error("ISATAP (::5efe:0:0)")]
    Isatap,
}

/// What keeps an address from being public; `None` for one that is.
///
/// A NAT64 prefix of a network's own cannot be told from other global space; the one that is known to everybody is
/// unwrapped.
pub(crate) fn refusal(address: IpAddr) -> Option<Block> {
    let IpAddr::V6(v6) = address else { return Special::range_of(address).map(Block::Special) };
    let inside =
        |by, carried: Ipv4Addr| Special::range_of(carried.into()).map(|special| Block::Carried { by, special });
    match carried_v4(v6) {
        Some((by, carried)) => inside(by, carried),
        None => {
            let further = teredo_v4(v6).map(|client| (Carrier::Teredo, client));
            let further = further.or_else(|| Some((Carrier::Isatap, isatap_v4(v6)?)));
            let further = further.and_then(|(by, carried)| inside(by, carried));
            further.or_else(|| Special::range_of(address).map(Block::Special))
        }
    }
}

/// The IPv4 address that the router of an ISATAP network sends it on to.
fn isatap_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., s4, s5, s6, s7] = address.segments();
    // The one bit says whether the IPv4 address is meant to be unique in the world.
    (s4 & !0x0200 == 0 && s5 == 0x5efe).then(|| joined(s6, s7))
}

/// The IPv4 address of the client, which is written with every bit flipped.
fn teredo_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., s6, s7] = address.segments();
    TEREDO.contains(&address).then(|| joined(!s6, !s7))
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

/// The IPv4 address that the packets would end up at, and nowhere else.
fn carried_v4(address: Ipv6Addr) -> Option<(Carrier, Ipv4Addr)> {
    let [_, s1, s2, _, _, _, s6, s7] = address.segments();
    if SIX_TO_FOUR.contains(&address) {
        return Some((Carrier::SixToFour, joined(s1, s2)));
    }
    if NAT64.contains(&address) {
        return Some((Carrier::Nat64, joined(s6, s7)));
    }
    address.to_ipv4_mapped().map(|carried| (Carrier::Mapped, carried))
}

/// How an address is written in the place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Literal {
    /// `127.0.0.1`.
    #[error("in four decimal numbers")]
    Dotted,
    /// `127.1`: the last number stands for several.
    #[error("in fewer than four numbers")]
    Short,
    /// `2130706433`.
    #[error("in one number")]
    Number,
    /// `0177.0.0.1`.
    #[error("in octal")]
    Octal,
    /// `0x7f.0.0.1`.
    #[error("in hexadecimal")]
    Hex,
    /// `[::1]`.
    #[error("as IPv6")]
    V6,
    /// `[::ffff:127.0.0.1]`.
    #[error("as IPv4 mapped into IPv6")]
    Mapped,
    /// `[64:ff9b::127.0.0.1]`.
    #[error("as IPv4 that NAT64 carries")]
    Nat64,
    /// `[2002:7f00:1::]`.
    #[error("as IPv4 that 6to4 carries")]
    SixToFour,
    /// `[2001:0:7f00:1::]`.
    #[error("as IPv4 that Teredo carries")]
    Teredo,
    /// `[2606:4700::5efe:10.0.0.1]`.
    #[error("as IPv4 that ISATAP carries")]
    Isatap,
}

/// How the address is written that a parser finds in the host of a URL; `None` for a name.
pub(crate) fn literal(text: &str, parsed: &Host<&str>) -> Option<Literal> {
    let address = match parsed {
        Host::Domain(_) => return None,
        Host::Ipv4(_) => return Some(literal_v4(text)),
        Host::Ipv6(address) => address,
    };
    Some(match address {
        _ if address.to_ipv4_mapped().is_some() => Literal::Mapped,
        _ if NAT64.contains(address) => Literal::Nat64,
        _ if SIX_TO_FOUR.contains(address) => Literal::SixToFour,
        _ if TEREDO.contains(address) => Literal::Teredo,
        _ if isatap_v4(*address).is_some() => Literal::Isatap,
        _ => Literal::V6,
    })
}

fn literal_v4(text: &str) -> Literal {
    let numbers: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    if numbers.iter().any(|number| number.starts_with("0x")) {
        return Literal::Hex;
    }
    if numbers.iter().any(|number| number.len() > 1 && number.starts_with('0')) {
        return Literal::Octal;
    }
    match numbers.len() {
        1 => Literal::Number,
        4 => Literal::Dotted,
        _ => Literal::Short,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// With a line taken out of the tables that no other stands behind, or an unwrapping out of `carried_v4`, this fails at an
    /// address beside it; with any line, the corpus does (`door::tests::walls`).
    #[test]
    fn addresses_inside_somebodys_network_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:0:808:808::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff::1",
            "100::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "4000::1",
            "1::1",
            "e000::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:169.254.169.254",
        ] {
            assert!(refusal(address.parse().unwrap()).is_some(), "{address} counts as public");
        }
    }

    #[test]
    fn public_addresses_are_not_refused() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "54.187.174.169",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2620:4f:8001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "3ffe::1",
            "2606:4700::5efe:8.8.8.8",
            "2606:4700::300:5efe:10.0.0.1",
        ] {
            assert_eq!(refusal(address.parse().unwrap()), None, "{address}");
        }
    }

    /// Mutation: `Block`, without who carries it.
    #[test]
    fn a_refusal_says_which_block_and_who_carries_it() {
        for (address, words) in [
            ("10.1.2.3", "private use (10.0.0.0/8)"),
            ("::1", "loopback (::1/128)"),
            ("4000::1", "reserved, beyond global unicast (outside 2000::/3)"),
            ("::ffff:127.0.0.1", "loopback (127.0.0.0/8), carried by IPv4 mapping (::ffff:0:0/96)"),
            ("2001:0:808:808:0:ffff:f5ff:fffe", "private use (10.0.0.0/8), carried by Teredo (2001::/32)"),
            ("2001:0:808:808:0:ffff:f7f7:f7f7", "Teredo (2001::/32)"),
        ] {
            assert_eq!(refusal(address.parse().unwrap()).unwrap().to_string(), words, "{address}");
        }
    }
}

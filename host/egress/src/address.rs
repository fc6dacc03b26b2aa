//! Which addresses are on the public internet.
//!
//! The blocks are IANA's special-purpose address registries (IPv4 and IPv6). For IPv6 only global
//! unicast space counts as public at all, less what is set aside in it. An IPv6 address that carries an
//! IPv4 address inside is judged by that one; one of ISATAP's, which lies in a network's own space, by both.
//!
//! Invariant: in doubt an address is not public. To follow a change of the registries, change the
//! tables; the standard library's own test for this is not stable yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use url::Host;

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local and cloud metadata"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved and broadcast"),
];

const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Set aside within global unicast space. Teredo (2001::/32) is in the first.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 0, 23), "protocol assignments and Teredo"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
];

const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);

/// Which block keeps an address from being public; `None` for one that is.
///
/// A NAT64 prefix of a network's own cannot be told from other global space; the one that is known to
/// everybody is unwrapped.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => match carried_v4(address) {
            Some(carried) => refusal_v4(carried),
            None => refusal_v6(address),
        },
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4.iter().find(|(block, _)| block.contains(&address)).map(|(_, name)| *name)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if !GLOBAL_UNICAST_V6.contains(&address) {
        return Some("not global unicast");
    }
    let special = SPECIAL_V6.iter().find(|(block, _)| block.contains(&address)).map(|(_, name)| *name);
    special.or_else(|| refusal_v4(isatap_v4(address)?))
}

/// The IPv4 address that the router of an ISATAP network sends it on to.
fn isatap_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., s4, s5, s6, s7] = address.segments();
    // The one bit says whether the IPv4 address is meant to be unique in the world.
    (s4 & !0x0200 == 0 && s5 == 0x5efe).then(|| joined(s6, s7))
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

/// The IPv4 address that the packets would end up at.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, s1, s2, _, _, _, s6, s7] = address.segments();
    if SIX_TO_FOUR.contains(&address) {
        return Some(joined(s1, s2));
    }
    if NAT64.contains(&address) {
        return Some(joined(s6, s7));
    }
    address.to_ipv4_mapped()
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

    /// With a line taken out of the tables, or an unwrapping out of `carried_v4`, this fails at an
    /// address beside it.
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
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
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
            "2620:4f:8000::1",
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
}

//! What addresses that are not on the public internet are for.
//!
//! The ranges are those of IANA's special-purpose address registries (IPv4 and IPv6), also those that everybody can reach, with
//! multicast and what earlier standards set aside. What carries an IPv4 address (mapping, NAT64, 6to4) is judged by that one,
//! beside this file. To follow a change of the registries: a case of [`Special`] and a row of its table.
//!
//! Invariant: a row stands before those that it lies in, so the first one that holds an address names it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// A range that is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Special {
    #[error("this host on this network (0.0.0.0/32)")]
    ThisHost,
    #[error("this network (0.0.0.0/8)")]
    ThisNetwork,
    #[error("private use (10.0.0.0/8)")]
    Private10,
    #[error("carrier-grade NAT (100.64.0.0/10)")]
    CarrierNat,
    #[error("loopback (127.0.0.0/8)")]
    Loopback,
    #[error("link-local, and the cloud's metadata (169.254.0.0/16)")]
    LinkLocal,
    #[error("private use (172.16.0.0/12)")]
    Private172,
    #[error("IPv4 service continuity (192.0.0.0/29)")]
    DualStackLite,
    #[error("the IPv4 dummy address (192.0.0.8/32)")]
    Dummy,
    #[error("port control anycast (192.0.0.9/32)")]
    PortControlAnycast,
    #[error("TURN anycast (192.0.0.10/32)")]
    TurnAnycast,
    #[error("NAT64 discovery (192.0.0.170/31)")]
    Nat64Discovery,
    #[error("protocol assignments (192.0.0.0/24)")]
    ProtocolAssignments,
    #[error("documentation (192.0.2.0/24)")]
    Documentation1,
    #[error("AS112 (192.31.196.0/24)")]
    As112,
    #[error("automatic multicast tunnels (192.52.193.0/24)")]
    MulticastTunnels,
    #[error("6a44 relays (192.88.99.2/32)")]
    Relay6a44,
    #[error("6to4 relays (192.88.99.0/24)")]
    Relay6to4,
    #[error("private use (192.168.0.0/16)")]
    Private192,
    #[error("AS112, delegated directly (192.175.48.0/24)")]
    DirectAs112,
    #[error("benchmarking (198.18.0.0/15)")]
    Benchmarking,
    #[error("documentation (198.51.100.0/24)")]
    Documentation2,
    #[error("documentation (203.0.113.0/24)")]
    Documentation3,
    #[error("multicast (224.0.0.0/4)")]
    Multicast,
    #[error("broadcast (255.255.255.255/32)")]
    Broadcast,
    #[error("reserved (240.0.0.0/4)")]
    Reserved,
    #[error("no address (::/128)")]
    UnspecifiedV6,
    #[error("loopback (::1/128)")]
    LoopbackV6,
    #[error("IPv4-compatible (::/96)")]
    CompatibleV6,
    #[error("IPv4-translated (::ffff:0:0:0/96)")]
    TranslatedV6,
    #[error("NAT64 of a network's own (64:ff9b:1::/48)")]
    LocalNat64,
    #[error("discard-only (100::/64)")]
    DiscardOnly,
    #[error("the IPv6 dummy prefix (100:0:0:1::/64)")]
    DummyV6,
    #[error("Teredo (2001::/32)")]
    Teredo,
    #[error("port control anycast (2001:1::1/128)")]
    PortControlAnycastV6,
    #[error("TURN anycast (2001:1::2/128)")]
    TurnAnycastV6,
    #[error("service registration anycast (2001:1::3/128)")]
    ServiceDiscoveryAnycast,
    #[error("benchmarking (2001:2::/48)")]
    BenchmarkingV6,
    #[error("automatic multicast tunnels (2001:3::/32)")]
    MulticastTunnelsV6,
    #[error("AS112 (2001:4:112::/48)")]
    As112V6,
    #[error("ORCHID (2001:10::/28)")]
    Orchid,
    #[error("ORCHIDv2 (2001:20::/28)")]
    OrchidV2,
    #[error("drone remote ids (2001:30::/28)")]
    DroneIds,
    #[error("protocol assignments (2001::/23)")]
    ProtocolAssignmentsV6,
    #[error("documentation (2001:db8::/32)")]
    DocumentationV6,
    #[error("AS112, delegated directly (2620:4f:8000::/48)")]
    DirectAs112V6,
    #[error("documentation (3fff::/20)")]
    LargeDocumentationV6,
    #[error("segment routing (5f00::/16)")]
    SegmentRouting,
    #[error("unique local (fc00::/7)")]
    UniqueLocal,
    #[error("link-local (fe80::/10)")]
    LinkLocalV6,
    #[error("site-local (fec0::/10)")]
    SiteLocal,
    #[error("multicast (ff00::/8)")]
    MulticastV6,
    #[error("reserved, beyond global unicast (outside 2000::/3)")]
    ReservedV6,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

const SPECIAL_V4: &[(Ipv4Net, Special)] = &[
    (v4(0, 0, 0, 0, 32), Special::ThisHost),
    (v4(0, 0, 0, 0, 8), Special::ThisNetwork),
    (v4(10, 0, 0, 0, 8), Special::Private10),
    (v4(100, 64, 0, 0, 10), Special::CarrierNat),
    (v4(127, 0, 0, 0, 8), Special::Loopback),
    (v4(169, 254, 0, 0, 16), Special::LinkLocal),
    (v4(172, 16, 0, 0, 12), Special::Private172),
    (v4(192, 0, 0, 0, 29), Special::DualStackLite),
    (v4(192, 0, 0, 8, 32), Special::Dummy),
    (v4(192, 0, 0, 9, 32), Special::PortControlAnycast),
    (v4(192, 0, 0, 10, 32), Special::TurnAnycast),
    (v4(192, 0, 0, 170, 31), Special::Nat64Discovery),
    (v4(192, 0, 0, 0, 24), Special::ProtocolAssignments),
    (v4(192, 0, 2, 0, 24), Special::Documentation1),
    (v4(192, 31, 196, 0, 24), Special::As112),
    (v4(192, 52, 193, 0, 24), Special::MulticastTunnels),
    (v4(192, 88, 99, 2, 32), Special::Relay6a44),
    (v4(192, 88, 99, 0, 24), Special::Relay6to4),
    (v4(192, 168, 0, 0, 16), Special::Private192),
    (v4(192, 175, 48, 0, 24), Special::DirectAs112),
    (v4(198, 18, 0, 0, 15), Special::Benchmarking),
    (v4(198, 51, 100, 0, 24), Special::Documentation2),
    (v4(203, 0, 113, 0, 24), Special::Documentation3),
    (v4(224, 0, 0, 0, 4), Special::Multicast),
    (v4(255, 255, 255, 255, 32), Special::Broadcast),
    (v4(240, 0, 0, 0, 4), Special::Reserved),
];

const SPECIAL_V6: &[(Ipv6Net, Special)] = &[
    (v6([0; 8], 128), Special::UnspecifiedV6),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Special::LoopbackV6),
    (v6([0; 8], 96), Special::CompatibleV6),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), Special::TranslatedV6),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Special::LocalNat64),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), Special::DiscardOnly),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), Special::DummyV6),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Special::Teredo),
    (v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128), Special::PortControlAnycastV6),
    (v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128), Special::TurnAnycastV6),
    (v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128), Special::ServiceDiscoveryAnycast),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Special::BenchmarkingV6),
    (v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32), Special::MulticastTunnelsV6),
    (v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48), Special::As112V6),
    (v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), Special::Orchid),
    (v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28), Special::OrchidV2),
    (v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28), Special::DroneIds),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Special::ProtocolAssignmentsV6),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Special::DocumentationV6),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), Special::DirectAs112V6),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Special::LargeDocumentationV6),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), Special::SegmentRouting),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Special::UniqueLocal),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Special::LinkLocalV6),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Special::SiteLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Special::MulticastV6),
];

const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

impl Special {
    /// The range that an address lies in; `None` for a public one.
    pub(super) fn range_of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => SPECIAL_V4.iter().find(|(range, _)| range.contains(&address)).map(|(_, it)| *it),
            IpAddr::V6(address) => {
                let special = SPECIAL_V6.iter().find(|(range, _)| range.contains(&address)).map(|(_, it)| *it);
                special.or_else(|| (!GLOBAL_UNICAST_V6.contains(&address)).then_some(Self::ReservedV6))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: a row behind one that it lies in.
    #[test]
    fn each_range_is_told_with_its_numbers_and_none_hides_another() {
        let v4 = SPECIAL_V4.iter().map(|(range, special)| {
            let middle = range.network().to_bits().midpoint(range.broadcast().to_bits());
            (range.to_string(), IpAddr::V4(middle.into()), special)
        });
        let v6 = SPECIAL_V6.iter().map(|(range, special)| {
            let middle = range.network().to_bits().midpoint(range.broadcast().to_bits());
            (range.to_string(), IpAddr::V6(middle.into()), special)
        });
        for (range, middle, special) in v4.chain(v6) {
            assert!(special.to_string().ends_with(&format!(" ({range})")), "{special}: {range}");
            assert_eq!(Special::range_of(middle), Some(*special), "{range}");
        }
    }
}

//! Who is served next: the arithmetic of a claim, without a database.
//!
//! Tenants take turns. The one with the fewest runs under way goes first; among equals the more urgent; among those, the
//! order of the ring, which each claim enters where the last one left it. So a tenant with a hundred thousand lanes
//! delays a tenant with one by at most one run of each, and a person's click overtakes everybody's syncs but not
//! another tenant's fair share. Within a tenant, connections take turns in the same way.

use std::collections::HashMap;

use bulkhead_manifest::{ConnectionId, TenantId};

use crate::runs::Priority;

/// A tenant with something ready at a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) priority: Priority,
    pub(crate) tenant: TenantId,
    /// How many of its runs are under way.
    pub(crate) load: u64,
    /// Where in its ring it was found.
    pub(crate) place: usize,
}

/// A connection of a seat's tenant with something ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) seat: usize,
    pub(crate) connection: ConnectionId,
    /// How many more of its lanes may run.
    pub(crate) room: u64,
}

/// How many lanes to take of which offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) offer: usize,
    pub(crate) want: u32,
}

/// The seats that are looked at more closely, best first.
pub(crate) fn best_seats(mut seats: Vec<Seat>, per_tenant: u32, limit: usize) -> Vec<Seat> {
    seats.retain(|seat| seat.load < u64::from(per_tenant));
    seats.sort_by_key(|seat| (seat.load, seat.priority, seat.place));
    seats.truncate(limit);
    seats
}

/// Deals `limit` places out, one at a time, each to whoever has least.
pub(crate) fn deal(seats: &[Seat], offers: &[Offer], per_tenant: u32, limit: u32) -> Vec<Share> {
    let mut load: HashMap<TenantId, u64> = seats.iter().map(|seat| (seat.tenant, seat.load)).collect();
    let mut room: HashMap<ConnectionId, u64> = offers.iter().map(|offer| (offer.connection, offer.room)).collect();
    let mut shares: Vec<Share> = (0..offers.len()).map(|offer| Share { offer, want: 0 }).collect();
    for _ in 0..limit {
        let next = offers
            .iter()
            .zip(shares.iter_mut())
            .filter_map(|(offer, share)| {
                let seat = seats.get(offer.seat)?;
                let load = *load.get(&seat.tenant)?;
                let free = *room.get(&offer.connection)? > 0 && load < u64::from(per_tenant);
                free.then_some((load, seat.priority, share.want, offer.seat, share.offer, share, offer, seat))
            })
            .min_by_key(|(load, priority, want, seat, offer, ..)| (*load, *priority, *want, *seat, *offer));
        let Some((.., share, offer, seat)) = next else { break };
        share.want += 1;
        if let Some(load) = load.get_mut(&seat.tenant) {
            *load += 1;
        }
        if let Some(room) = room.get_mut(&offer.connection) {
            *room -= 1;
        }
    }
    shares.retain(|share| share.want > 0);
    shares
}

/// Where each ring goes on. Kept in memory: after a restart the rings begin anew, which harms nobody.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    tenants: [Option<TenantId>; Priority::COUNT],
    connections: HashMap<TenantId, ConnectionId>,
    /// Claims in a row that found ready lanes and could take none.
    pub(crate) dry: u32,
}

/// More places than this are not worth remembering.
const MOST_PLACES: usize = 10_000;

impl Rotation {
    /// After which tenant the ring of this priority goes on.
    pub(crate) fn tenant(&self, priority: Priority) -> [u8; 16] {
        self.tenants.get(priority as usize).copied().flatten().map_or([0; 16], |tenant| *tenant.as_bytes())
    }

    /// After which connection the ring of this tenant goes on.
    pub(crate) fn connection(&self, tenant: TenantId) -> [u8; 16] {
        self.connections.get(&tenant).map_or([0; 16], |connection| *connection.as_bytes())
    }

    /// Moves on after a claim: past the seats that were looked at, and past the connections that got something; where
    /// a tenant's connections got nothing, past those that were looked at.
    pub(crate) fn advance(&mut self, seats: &[Seat], offers: &[Offer], shares: &[Share]) {
        for priority in [Priority::Person, Priority::Webhook, Priority::Sync] {
            let last = seats.iter().filter(|seat| seat.priority == priority).max_by_key(|seat| seat.place);
            if let (Some(seat), Some(place)) = (last, self.tenants.get_mut(priority as usize)) {
                *place = Some(seat.tenant);
            }
        }
        if self.connections.len() > MOST_PLACES {
            self.connections.clear();
        }
        let offered = offers.iter().filter_map(|offer| Some((seats.get(offer.seat)?.tenant, offer.connection)));
        self.connections.extend(offered);
        let served = shares.iter().filter_map(|share| {
            let offer = offers.get(share.offer)?;
            Some((seats.get(offer.seat)?.tenant, offer.connection))
        });
        self.connections.extend(served);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    fn connection(number: u8) -> ConnectionId {
        ConnectionId::from_bytes([number; 16])
    }

    fn seat(number: u8, priority: Priority, load: u64) -> Seat {
        Seat { priority, tenant: tenant(number), load, place: usize::from(number) }
    }

    fn wants(shares: &[Share]) -> Vec<(usize, u32)> {
        shares.iter().map(|share| (share.offer, share.want)).collect()
    }

    #[test]
    fn places_are_dealt_evenly_between_tenants() {
        let seats = [seat(1, Priority::Sync, 0), seat(2, Priority::Sync, 0)];
        let offers = [
            Offer { seat: 0, connection: connection(1), room: 100 },
            Offer { seat: 0, connection: connection(2), room: 100 },
            Offer { seat: 1, connection: connection(3), room: 100 },
        ];
        assert_eq!(wants(&deal(&seats, &offers, u32::MAX, 8)), [(0, 2), (1, 2), (2, 4)]);
    }

    #[test]
    fn whoever_has_less_under_way_catches_up_first() {
        let seats = [seat(1, Priority::Person, 5), seat(2, Priority::Sync, 0)];
        let offers = [
            Offer { seat: 0, connection: connection(1), room: 100 },
            Offer { seat: 1, connection: connection(2), room: 100 },
        ];
        assert_eq!(wants(&deal(&seats, &offers, u32::MAX, 4)), [(1, 4)]);
    }

    #[test]
    fn among_equals_the_more_urgent_goes_first() {
        let seats = [seat(1, Priority::Sync, 0), seat(2, Priority::Person, 0)];
        let offers = [
            Offer { seat: 0, connection: connection(1), room: 1 },
            Offer { seat: 1, connection: connection(2), room: 1 },
        ];
        assert_eq!(wants(&deal(&seats, &offers, u32::MAX, 1)), [(1, 1)]);
    }

    #[test]
    fn room_and_the_cap_of_a_tenant_are_kept() {
        let seats = [seat(1, Priority::Person, 0), seat(1, Priority::Sync, 0)];
        let offers = [
            Offer { seat: 0, connection: connection(1), room: 2 },
            Offer { seat: 1, connection: connection(1), room: 2 },
            Offer { seat: 1, connection: connection(2), room: 9 },
        ];
        assert_eq!(wants(&deal(&seats, &offers, 3, 10)), [(0, 2), (2, 1)]);
    }

    #[test]
    fn the_ring_goes_on_after_the_last_seat_that_was_looked_at() {
        let mut rotation = Rotation::default();
        let seats = [seat(3, Priority::Sync, 0), seat(2, Priority::Sync, 0)];
        rotation.advance(&seats, &[], &[]);
        assert_eq!(rotation.tenant(Priority::Sync), [3; 16]);
        assert_eq!(rotation.tenant(Priority::Person), [0; 16]);
    }

    /// Mutation: `advance`, without `MOST_PLACES`.
    #[test]
    fn not_every_place_in_a_ring_is_remembered() {
        let mut rotation = Rotation::default();
        for number in 0..=u64::try_from(MOST_PLACES).unwrap() + 1 {
            let one = Seat { tenant: TenantId::new(number), ..seat(1, Priority::Sync, 0) };
            rotation.advance(&[one], &[Offer { seat: 0, connection: connection(1), room: 1 }], &[]);
        }
        assert!((1..=MOST_PLACES).contains(&rotation.connections.len()));
    }
}

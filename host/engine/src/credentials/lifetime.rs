//! How long an authorization lives, and when it has to be looked at before it ends. Pure.
//!
//! Invariants: a refresh token is used at the latest after [`LONGEST_IDLE_MS`] or half of what its provider lets it rest,
//! whichever is sooner; where only a person can go on, that stands to be read [`WARN_MS`] before, and where nothing could be
//! renewed when that was last tried, it stands as soon as it matters.

use bulkhead_manifest::{Auth, OAuth2};
use bulkhead_store::Credential;
use serde::{Deserialize, Serialize};

use crate::oauth::Tokens;
use crate::warnings::{DAY_MS, Warning};

/// No refresh token rests longer than this.
const LONGEST_IDLE_MS: u64 = 60 * DAY_MS;
/// However near its end is said to be, it is not used sooner: halves of what is left would never come to an end.
const SHORTEST_IDLE_MS: u64 = 5 * 60_000;
/// How long before the end a person is told, and told again.
const WARN_MS: [u64; 2] = [14 * DAY_MS, 3 * DAY_MS];
/// After a refresh that failed, how long nobody tries again: at least and at most.
const RETRY_MS: (u64, u64) = (10 * 60_000, 12 * 3_600_000);
/// Since when a token has to be over for a person to be told that none is to be had.
const OVER_MS: u64 = 10 * 60_000;
/// How long nobody may have a token renewed by a 401, where one before led to the token that is held: the first time, and
/// how often that doubles.
const REFUSALS_MS: (u64, u32) = (60_000, 6);

/// What is known of a credential without opening it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    /// When the access token ends.
    pub expires_ms: Option<u64>,
    /// Whether there is a refresh token, and until when it is accepted if nobody uses it.
    pub refreshes: bool,
    pub refresh_expires_ms: Option<u64>,
    /// When a person gave it, and when only a person can go on.
    pub authorized_ms: Option<u64>,
    pub ends_ms: Option<u64>,
    /// What the provider says it gave.
    pub scopes: Option<Vec<String>>,
    /// Of how many renewals in a row, this one the last, a 401 was the reason.
    pub refused: u32,
}

impl Meta {
    /// Of tokens that a provider gave just now, in the place of those that `earlier` is about and that were written at its
    /// time. `refreshes`: whether there is a refresh token, be it the one from before.
    pub(crate) fn of(
        tokens: &Tokens,
        auth: &Auth,
        earlier: Option<(&Self, u64)>,
        refreshes: bool,
        now_ms: u64,
    ) -> Self {
        let passed_ms = earlier.map_or(0, |(_, written_ms)| now_ms.saturating_sub(written_ms));
        let earlier = earlier.map(|(earlier, _)| earlier);
        let after = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1_000));
        let in_days = |days: u32| u64::from(days) * DAY_MS;
        let expires_ms = tokens.expires_in_s.map(after);
        let authorized_ms = earlier.map_or(Some(now_ms), |earlier| earlier.authorized_ms);
        let oauth = match auth {
            Auth::OAuth2(oauth) => Some(oauth.as_ref()),
            _ => None,
        };
        let declared = |days: fn(&OAuth2) -> Option<u32>| oauth.and_then(days).map(in_days);
        // Nought: it does not end.
        let told = tokens.refresh_expires_in_s.filter(|seconds| *seconds > 0).map(after);
        let idle = declared(|oauth| oauth.refresh_idle_days).map(|idle| now_ms.saturating_add(idle));
        // One that has passed was wrong: the token was accepted.
        let before = earlier.and_then(|earlier| earlier.refresh_expires_ms).filter(|end| *end > now_ms);
        let refresh_expires_ms = told.into_iter().chain(idle).min().or(before);
        // One that does not move with time is for good; one that begins anew moves as much as time passed.
        let stands = before.filter(|before| match told {
            Some(end) => end.saturating_sub(*before) < passed_ms / 2,
            None => idle.is_none(),
        });
        let ends_ms = match oauth {
            None => None,
            Some(_) if !refreshes => expires_ms,
            Some(_) => {
                let life = declared(|oauth| oauth.refresh_days).zip(authorized_ms).map(|(life, since)| since + life);
                life.into_iter().chain(stands).min()
            }
        };
        let scopes = tokens.scopes.clone().or_else(|| earlier?.scopes.clone());
        let refresh_expires_ms = refresh_expires_ms.filter(|_| refreshes);
        Self { expires_ms, refreshes, refresh_expires_ms, authorized_ms, ends_ms, scopes, refused: 0 }
    }

    /// Whether a 401 is a reason to renew what was written then. It is, once; but where the token that came of it is refused
    /// as well, the token is hardly what is wrong, and who makes the requests must not make renewals of them.
    pub(crate) fn is_refusable(&self, written_ms: u64, now_ms: u64) -> bool {
        let (first, doublings) = REFUSALS_MS;
        let rest_ms = self.refused.checked_sub(1).map_or(0, |times| first << times.min(doublings));
        now_ms >= written_ms.saturating_add(rest_ms)
    }

    /// When the refresh token, which was written then, has to be used.
    fn exercise_ms(&self, written_ms: u64) -> Option<u64> {
        let idle = self.refresh_expires_ms.map_or(u64::MAX, |end| end.saturating_sub(written_ms) / 2);
        self.refreshes.then(|| written_ms.saturating_add(idle.clamp(SHORTEST_IDLE_MS, LONGEST_IDLE_MS)))
    }

    /// Whether that is now, or soon enough.
    pub(crate) fn is_to_be_exercised(&self, written_ms: u64, now_ms: u64) -> bool {
        self.exercise_ms(written_ms).is_some_and(|at| at.saturating_sub(at.saturating_sub(written_ms) / 10) <= now_ms)
    }

    /// When it has to be looked at next, up to a tenth earlier by `dice`, so that many that were authorized together do
    /// not come back together. `None`: never.
    pub(crate) fn next_look_ms(&self, written_ms: u64, now_ms: u64, dice: u16) -> Option<u64> {
        let exercise = self.exercise_ms(written_ms).map(|at| {
            let tenth = at.saturating_sub(written_ms) / 10;
            at - tenth * u64::from(dice) / u64::from(u16::MAX)
        });
        let marks = self.ends_ms.into_iter().flat_map(|end| WARN_MS.map(|ahead| end.saturating_sub(ahead)));
        exercise.into_iter().chain(marks.filter(|mark| *mark > now_ms)).min()
    }

    /// When to try again what failed: the longer it is overdue, the longer it rests.
    pub(crate) fn retry_ms(&self, written_ms: u64, now_ms: u64, dice: u16) -> u64 {
        let overdue = now_ms.saturating_sub(self.exercise_ms(written_ms).unwrap_or(now_ms));
        let wait = overdue.clamp(RETRY_MS.0, RETRY_MS.1);
        now_ms + wait + wait / 4 * u64::from(dice) / u64::from(u16::MAX)
    }

    /// What a person has to do, about what is kept in `row`.
    pub(crate) fn warning(&self, row: &Credential, now_ms: u64) -> Option<Warning> {
        let failing = || {
            let since_ms = super::renewal::failed_ms(row)?;
            self.matters(row.updated_ms, now_ms).then(|| {
                let message = "No fresh token could be had when its provider was last asked, and the one it has does not hold. \
                               The log says why. Where that stays so, authorize it again.";
                Warning { code: "authorization-not-renewed", since_ms, message: message.to_owned() }
            })
        };
        self.ending(now_ms).or_else(failing)
    }

    /// Whether somebody misses a renewal that failed: the token is over, or the refresh token rests for too long.
    fn matters(&self, written_ms: u64, now_ms: u64) -> bool {
        let over = self.expires_ms.is_some_and(|end| end.saturating_add(OVER_MS) <= now_ms);
        over || self.exercise_ms(written_ms).is_some_and(|due| due.saturating_add(DAY_MS) <= now_ms)
    }

    /// That it ends, and only a person can go on.
    fn ending(&self, now_ms: u64) -> Option<Warning> {
        let end = self.ends_ms?;
        let mark = WARN_MS.into_iter().rev().map(|ahead| end.saturating_sub(ahead)).find(|mark| *mark <= now_ms)?;
        let since_ms = mark.max(self.authorized_ms.unwrap_or_default());
        if end <= now_ms {
            let message = "Its authorization has ended, and only a person can give a new one. Authorize it again.";
            return Some(Warning { code: "authorization-ended", since_ms: end, message: message.to_owned() });
        }
        let left = (end - now_ms).div_ceil(DAY_MS);
        let days = if left == 1 { "1 day".to_owned() } else { format!("{left} days") };
        let message = format!(
            "Its authorization ends within {days}, and only a person can give a new one. Authorize it again before that."
        );
        Some(Warning { code: "authorization-ends", since_ms, message })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::Manifest;
    use bulkhead_vault::Secret;
    use serde_json::Map;

    use super::*;

    fn oauth2(more: &str) -> Auth {
        let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        let urls = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"";
        Manifest::parse(&format!("{connector}[auth]\nkind = \"oauth2\"\n{urls}\n{more}\n")).unwrap().auth
    }

    fn tokens(refresh_expires_in_s: Option<u64>) -> Tokens {
        Tokens {
            access_token: Secret::from_string("a".into()),
            refresh_token: None,
            expires_in_s: Some(3_600),
            refresh_expires_in_s,
            scopes: None,
            extra: Map::new(),
        }
    }

    /// Mutations: `exercise_ms`, without the half; without `LONGEST_IDLE_MS`; `Meta::of`, without `idle`, without `told`.
    #[test]
    fn a_refresh_token_is_used_after_sixty_days_or_half_of_its_rest() {
        let at = |more: &str, told_days: Option<u64>| {
            let meta = Meta::of(&tokens(told_days.map(|days| days * 86_400)), &oauth2(more), None, true, 0);
            meta.next_look_ms(0, 0, 0).unwrap() / DAY_MS
        };
        assert_eq!(at("", None), 60);
        assert_eq!(at("refresh_idle_days = 60", None), 30, "Xero");
        assert_eq!(at("", Some(100)), 50, "QuickBooks");
        assert_eq!(at("refresh_idle_days = 40", Some(100)), 20);
        assert_eq!(at("", Some(365)), 60);
        assert_eq!(at("", Some(0)), 60, "nought is no end");
        let many = Meta::of(&tokens(None), &oauth2(""), None, true, 0);
        assert_eq!(many.next_look_ms(0, 0, u16::MAX).unwrap() / DAY_MS, 54, "not all at once, and never later");
        let exercised = |day| many.is_to_be_exercised(0, day * DAY_MS);
        assert!(!exercised(53) && exercised(54), "and whoever looks then, uses it");
    }

    /// Mutations: `Meta::of`, `ends_ms` from now instead of from the authorization; `expires_ms` for every kind.
    #[test]
    fn where_only_a_person_can_go_on_that_is_known_before() {
        let (capped, now_ms) = (oauth2("refresh_days = 30"), 7 * DAY_MS);
        let first = Meta::of(&tokens(None), &capped, None, true, now_ms);
        let refreshed = Meta::of(&tokens(None), &capped, Some((&first, now_ms)), true, now_ms + 20 * DAY_MS);
        assert_eq!((first.ends_ms, refreshed.ends_ms), (Some(37 * DAY_MS), Some(37 * DAY_MS)));
        let alone = Meta::of(&tokens(None), &oauth2(""), None, false, now_ms);
        assert_eq!(alone.ends_ms, Some(now_ms + 3_600_000));
        let forever = Meta::of(&Tokens { expires_in_s: None, ..tokens(None) }, &oauth2(""), None, false, now_ms);
        assert_eq!((forever.ends_ms, forever.next_look_ms(now_ms, now_ms, 0)), (None, None));
        let key = Auth::TokenExchange(Box::new(exchange()));
        let minted = Meta::of(&tokens(None), &key, None, false, now_ms);
        assert_eq!((minted.ends_ms, minted.next_look_ms(now_ms, now_ms, 0)), (None, None), "the host gets another");
    }

    fn exchange() -> bulkhead_manifest::TokenExchange {
        serde_json::from_value(serde_json::json!({ "fields": [], "url": "https://a.example/t", "token": "/t" }))
            .unwrap()
    }

    /// Mutations: `WARN_MS`, either of them; `warning`, the mark that comes first.
    #[test]
    fn a_person_is_told_fourteen_and_three_days_before() {
        let (meta, row) = (Meta { ends_ms: Some(100 * DAY_MS), ..Meta::default() }, row(0, None));
        assert_eq!(meta.warning(&row, 86 * DAY_MS - 1), None);
        for (day, since, words) in [(86, 86, "within 14 days"), (96, 86, "within 4 days"), (97, 97, "within 3 days")] {
            let warning = meta.warning(&row, day * DAY_MS).unwrap();
            assert_eq!((warning.code, warning.since_ms), ("authorization-ends", since * DAY_MS));
            assert!(warning.message.contains(words), "{}", warning.message);
        }
        assert_eq!(meta.warning(&row, 100 * DAY_MS).unwrap().code, "authorization-ended");
        let looks: Vec<_> = [0, 86, 97].map(|day| meta.next_look_ms(0, day * DAY_MS, 0)).into();
        assert_eq!(looks, [Some(86 * DAY_MS), Some(97 * DAY_MS), None]);
    }

    fn row(updated_ms: u64, failed_ms: Option<u64>) -> Credential {
        Credential {
            owner: bulkhead_store::Owner::App(bulkhead_manifest::AppId::from_bytes([1; 16])),
            name: crate::credentials::AUTHORIZATION.to_owned(),
            tenant: None,
            generation: 1,
            sealed: Vec::new(),
            meta: "{}".to_owned(),
            lease_until_ms: failed_ms.unwrap_or_default() + crate::credentials::renewal::PAUSE_MS,
            lease_holder: Some(if failed_ms.is_some() { "pause" } else { "node/refresh" }.to_owned()),
            look_at_ms: None,
            updated_ms,
            ends_ms: None,
        }
    }

    /// A provider that counts down to one day, and one that begins anew.
    ///
    /// Mutations: `Meta::of`, `stands`, never; for every end; whatever `refresh_days` says.
    #[test]
    fn an_end_that_does_not_move_when_the_token_is_used_is_a_persons_matter() {
        let auth = oauth2("");
        let told = |day: u64, left: u64, earlier: Option<&Meta>| {
            let earlier = earlier.map(|earlier| (earlier, 0));
            Meta::of(&tokens(Some(left * 86_400)), &auth, earlier, true, day * DAY_MS)
        };
        let first = told(0, 365, None);
        assert_eq!(first.ends_ms, None, "it may begin anew");
        let (fixed, sliding) = (told(350, 15, Some(&first)), told(350, 365, Some(&first)));
        assert_eq!((fixed.ends_ms, sliding.ends_ms), (first.refresh_expires_ms, None));
        let used = row(352 * DAY_MS, None);
        assert_eq!(fixed.warning(&used, 352 * DAY_MS).unwrap().code, "authorization-ends");
        // Said once only: it stands until it turns out to be wrong.
        let silent = |day: u64, earlier: &Meta| Meta::of(&tokens(None), &auth, Some((earlier, 0)), true, day * DAY_MS);
        assert_eq!(silent(350, &first).ends_ms, first.refresh_expires_ms);
        let beyond = silent(366, &first);
        assert_eq!((beyond.ends_ms, beyond.refresh_expires_ms), (None, None), "it was accepted after its end");
        let capped = oauth2("refresh_days = 352");
        let both = Meta::of(&tokens(Some(15 * 86_400)), &capped, Some((&first, 0)), true, 350 * DAY_MS);
        assert_eq!(both.ends_ms, Some(352 * DAY_MS), "whichever is sooner");
        let idle = Meta::of(&tokens(None), &oauth2("refresh_idle_days = 7"), Some((&first, 0)), true, DAY_MS);
        assert_eq!(idle.ends_ms, None, "what is declared begins anew");
    }

    /// Mutation: `exercise_ms`, without `SHORTEST_IDLE_MS`.
    #[test]
    fn a_token_whose_end_is_near_is_not_used_at_every_look() {
        for (left_s, minutes) in [(0, 5), (60, 5), (20 * 60, 10)] {
            let meta = Meta { refreshes: true, refresh_expires_ms: Some(DAY_MS + left_s * 1_000), ..Meta::default() };
            assert_eq!(
                meta.next_look_ms(DAY_MS, DAY_MS, 0),
                Some(DAY_MS + minutes * 60_000),
                "{left_s} s before its end"
            );
        }
    }

    /// Mutations: `warning`, without `failing`; `matters`, always; without either of its parts.
    #[test]
    fn where_no_token_was_to_be_had_a_person_is_told_once_it_is_missed() {
        let lives = |expires_ms| Meta { refreshes: true, expires_ms: Some(expires_ms), ..Meta::default() };
        let told = |meta: &Meta, failed_ms, now_ms| meta.warning(&row(0, failed_ms), now_ms).map(|told| told.since_ms);
        let hour = 3_600_000;
        let brief = lives(hour);
        assert_eq!(told(&brief, Some(hour), hour + OVER_MS - 1), None, "it may be over in a moment");
        assert_eq!(told(&brief, Some(hour), hour + OVER_MS), Some(hour));
        assert_eq!(told(&brief, None, 10 * hour), None, "nobody was asked: nobody needs one");
        let long = lives(400 * DAY_MS);
        let due = LONGEST_IDLE_MS + DAY_MS;
        assert_eq!((told(&long, Some(due - 2), due - 1), told(&long, Some(due - 2), due)), (None, Some(due - 2)));
    }

    /// Mutations: `is_refusable`, always; without doubling; without an end to it.
    #[test]
    fn a_401_renews_a_token_and_the_token_that_came_of_one_only_after_a_while() {
        let rests = |refused: u32| {
            let meta = Meta { refused, ..Meta::default() };
            let minute = |minutes: u64| minutes * 60_000;
            (0..200).find(|minutes| meta.is_refusable(7, 7 + minute(*minutes))).unwrap()
        };
        assert_eq!([0, 1, 2, 3, 7, 8, u32::MAX].map(rests), [0, 1, 2, 4, 64, 64, 64], "minutes");
    }

    /// Mutation: `retry_ms`, without `clamp`.
    #[test]
    fn what_fails_is_tried_again_later_and_later() {
        let meta = Meta { refreshes: true, ..Meta::default() };
        let due = LONGEST_IDLE_MS;
        let wait = |overdue| meta.retry_ms(0, due + overdue, 0) - due - overdue;
        assert_eq!((wait(0), wait(3_600_000), wait(10 * DAY_MS)), (RETRY_MS.0, 3_600_000, RETRY_MS.1));
    }
}

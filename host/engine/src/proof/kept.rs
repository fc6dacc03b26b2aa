//! What was fetched to verify requests, and how often for whom.
//!
//! Invariants: what is known outlives a try that failed, for a day; who names what is not there spends his own address's
//! minute, and what was there before is asked for anew whatever was spent. Each owner knows for himself: what another's
//! request came to is nothing to him, and no other's proofs drive his out, unless [`MOST_OWNERS`] others are asked since: then
//! all of his goes, and is fetched again when he is. What has proved a request is kept apart: nothing that strangers name drives
//! it out. All of it is bounded: of each kind, of one owner, and in owners.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::Scheme;
use bytes::Bytes;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use url::Url;

use super::NotNow;
use crate::ingress::Target;

/// How long what was found is good for; nobody's signature is believed by it after its certificate's own end.
pub(super) const FOUND_MS: u64 = 60 * 60_000;
/// And at least, where a signer's key is not among it.
pub(super) const RENEWED_MS: u64 = 60_000;
/// And at most, where it cannot be had anew.
const STALE_MS: u64 = 24 * 60 * 60_000;
/// How long it is believed that there is nothing.
const ABSENT_MS: u64 = 60_000;
/// How long nobody tries again who did not get there.
const UNREACHABLE_MS: u64 = 5_000;
/// What is remembered for one owner, bytes: so much of what has proved a request, and as much of the rest, which is two of the
/// largest; what each counts beside what was found; and for how many owners.
const MOST_KEPT: u64 = 132 << 10;
const EACH: usize = 512;
const MOST_OWNERS: u64 = 1_000;
/// For one address a minute: certificates and lists of keys; questions, of which every delivery takes one.
const FETCHES: u32 = 20;
pub(super) const QUESTIONS: u32 = 300;

/// What was fetched to verify requests, and how much in this minute.
pub(crate) struct Proofs {
    kept: Cache<String, Share>,
    fetches: Spent,
    pub(super) questions: Spent,
}

/// What one owner knows.
#[derive(Clone)]
struct Share {
    /// What has proved a request, and what stands there since.
    proved: Part,
    /// What was only named.
    named: Part,
}

type Part = Cache<Key, Arc<Kept>>;
/// By what it is for, too: what proves nothing to one scheme may prove something to another.
type Key = (Discriminant<Scheme>, Url);

/// What is wanted, and who wants it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) url: &'a Url,
    pub(super) at: &'a Target,
    pub(super) owner: &'a str,
}

/// How much in this minute, for each address.
#[derive(Default)]
pub(super) struct Spent(Mutex<(u64, HashMap<Target, u32>)>);

/// What became of the newest try, and what is believed.
#[derive(Debug)]
pub(super) struct Kept {
    tried_ms: u64,
    found: Found,
}

#[derive(Clone, Debug)]
pub(super) enum Found {
    /// And when; `missed`: it could not be had anew.
    Bytes {
        bytes: Bytes,
        at_ms: u64,
        missed: bool,
    },
    Absent,
    Unreachable,
}

/// What there is to verify by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Material {
    /// `None` where there is nothing.
    pub(super) bytes: Option<Bytes>,
    /// It could not be had anew.
    pub(super) missed: bool,
}

impl Default for Proofs {
    fn default() -> Self {
        let kept = Cache::builder().max_capacity(MOST_OWNERS).eviction_policy(EvictionPolicy::lru());
        let kept = kept.time_to_idle(Duration::from_millis(STALE_MS)).build();
        Self { kept, fetches: Spent::default(), questions: Spent::default() }
    }
}

impl Proofs {
    /// What is known to stand there, or what `fetching` finds.
    pub(super) async fn find(
        &self,
        wanted: Wanted<'_>,
        now_ms: u64,
        found_ms: u64,
        fetching: impl Future<Output = Found>,
    ) -> Result<Arc<Kept>, NotNow> {
        let (share, key) = (self.share(wanted.owner).await, wanted.key());
        let part = if share.proved.contains_key(&key) { &share.proved } else { &share.named };
        let old = part.get(&key).await;
        // What is asked for anew the provider has had: it does not count among what strangers name.
        let known = old.as_ref().and_then(|old| old.known(now_ms));
        let kept = match old.filter(|kept| kept.is_good(now_ms, found_ms)) {
            Some(kept) => kept,
            // Nor does it drive out what is known.
            None if known.is_none() && !self.fetches.spend(wanted.at, 0, FETCHES, now_ms) => return Err(NotNow::Later),
            None => {
                let fetching = async {
                    let may = known.is_some() || self.fetches.spend(wanted.at, 1, FETCHES, now_ms);
                    let found = if may { fetching.await } else { Found::Unreachable };
                    let missed = matches!(found, Found::Unreachable);
                    Arc::new(Kept { tried_ms: now_ms, found: known.filter(|_| missed).unwrap_or(found) })
                };
                let entry = part.entry(key).or_insert_with_if(fetching, |kept| !kept.is_good(now_ms, found_ms)).await;
                // At once: what is too much would stay for as long as nothing more comes.
                part.run_pending_tasks().await;
                entry.into_value()
            }
        };
        if matches!(kept.found, Found::Unreachable) { Err(NotNow::Later) } else { Ok(kept) }
    }

    /// What was found there has proved a request: it is kept where nothing drives it out that strangers name.
    pub(super) async fn proved(&self, by: Wanted<'_>, kept: Arc<Kept>) {
        let (share, key) = (self.share(by.owner).await, by.key());
        if !share.proved.contains_key(&key) {
            share.proved.insert(key.clone(), kept).await;
            share.proved.run_pending_tasks().await;
            share.named.invalidate(&key).await;
        }
    }

    async fn share(&self, owner: &str) -> Share {
        self.kept.get_with_by_ref(owner, async { Share { proved: part(), named: part() } }).await
    }
}

impl Wanted<'_> {
    fn key(&self) -> Key {
        (discriminant(self.scheme), self.url.clone())
    }
}

fn part() -> Part {
    // What was used longest ago goes first: a key that its provider has no use for any more.
    let part = Cache::builder().max_capacity(MOST_KEPT).eviction_policy(EvictionPolicy::lru());
    part.weigher(|_, kept: &Arc<Kept>| kept.weight()).build()
}

impl Spent {
    /// Whether so many more are let for this address now; none more, whether it was not too much already.
    pub(super) fn spend(&self, at: &Target, more: u32, most: u32, now_ms: u64) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        if spent.0 != minute {
            *spent = (minute, HashMap::new());
        }
        let count = spent.1.entry(at.clone()).or_default();
        *count = count.saturating_add(more);
        *count <= most
    }
}

impl Kept {
    pub(super) fn material(&self) -> Material {
        match &self.found {
            Found::Bytes { bytes, missed, .. } => Material { bytes: Some(bytes.clone()), missed: *missed },
            Found::Absent | Found::Unreachable => Material::default(),
        }
    }

    fn is_good(&self, now_ms: u64, found_ms: u64) -> bool {
        let (since_ms, for_ms) = match self.found {
            Found::Bytes { at_ms, missed: false, .. } => (at_ms, found_ms),
            Found::Absent => (self.tried_ms, ABSENT_MS),
            Found::Bytes { missed: true, .. } | Found::Unreachable => (self.tried_ms, UNREACHABLE_MS),
        };
        now_ms.abs_diff(since_ms) < for_ms
    }

    fn weight(&self) -> u32 {
        let found = if let Found::Bytes { bytes, .. } = &self.found { bytes.len() } else { 0 };
        u32::try_from(found.saturating_add(EACH)).unwrap_or(u32::MAX)
    }

    /// What is believed although it is to be had anew.
    fn known(&self, now_ms: u64) -> Option<Found> {
        match &self.found {
            Found::Bytes { bytes, at_ms, .. } if now_ms.abs_diff(*at_ms) < STALE_MS => {
                Some(Found::Bytes { bytes: bytes.clone(), at_ms: *at_ms, missed: true })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutations: `spend`, always; for all addresses together; without a new minute.
    #[test]
    fn so_much_is_fetched_for_one_address_a_minute() {
        let spends = Spent::default();
        let at = |name: &str| Target::Endpoint(name.to_owned());
        let spent = |name, now_ms| (0..FETCHES + 5).filter(|_| spends.spend(&at(name), 1, FETCHES, now_ms)).count();
        assert_eq!(spent("one", 0), FETCHES as usize);
        assert_eq!(spent("one", 59_999), 0);
        assert!(!spends.spend(&at("one"), 0, FETCHES, 59_999) && spends.spend(&at("other"), 0, FETCHES, 59_999));
        assert_eq!(spent("other", 59_999), FETCHES as usize);
        assert_eq!(spent("one", 60_000), FETCHES as usize);
    }

    /// Mutation: `find`, of one number for questions and for what is fetched.
    #[tokio::test]
    async fn what_is_asked_takes_nothing_from_what_may_be_fetched() {
        let (proofs, scheme, at) = (Proofs::default(), jwt(), Target::Endpoint("e".to_owned()));
        for _ in 0..=FETCHES {
            assert!(proofs.questions.spend(&at, 1, QUESTIONS, 0));
        }
        let url = Url::parse("https://keys.example/certs").unwrap();
        let wanted = Wanted { scheme: &scheme, url: &url, at: &at, owner: "o" };
        assert!(proofs.find(wanted, 0, FOUND_MS, async { found(b"keys", 0) }).await.is_ok());
    }

    fn bytes(at_ms: u64, missed: bool) -> Found {
        Found::Bytes { bytes: Bytes::new(), at_ms, missed }
    }

    #[test]
    fn what_was_fetched_is_good_for_its_time() {
        const THEN: u64 = 100_000_000;
        let good = |found, later_ms, found_ms| Kept { tried_ms: THEN, found }.is_good(THEN + later_ms, found_ms);
        let fetched = || bytes(THEN, false);
        assert!(good(fetched(), FOUND_MS - 1, FOUND_MS) && !good(fetched(), FOUND_MS, FOUND_MS));
        assert!(!good(fetched(), RENEWED_MS, RENEWED_MS));
        assert!(good(Found::Absent, ABSENT_MS - 1, 0) && !good(Found::Absent, ABSENT_MS, 0));
        assert!(!good(Found::Unreachable, UNREACHABLE_MS, FOUND_MS));
        let missed = || bytes(THEN - 1, true);
        assert!(good(missed(), UNREACHABLE_MS - 1, 0) && !good(missed(), UNREACHABLE_MS, FOUND_MS));
    }

    /// Mutation: `known`, for ever.
    #[test]
    fn what_cannot_be_had_anew_is_believed_for_a_day() {
        let known = |found, now_ms| Kept { tried_ms: 0, found }.known(now_ms).is_some();
        assert!(known(bytes(0, false), STALE_MS - 1) && known(bytes(0, true), STALE_MS - 1));
        assert!(!known(bytes(0, false), STALE_MS) && !known(Found::Absent, 0) && !known(Found::Unreachable, 0));
    }

    fn jwt() -> Scheme {
        scheme("kind = \"jwt\"\nkeys_url = \"https://k.example/k\"\nissuers = [\"i\"]\nsecret_claim = \"email\"")
    }

    fn certificate() -> Scheme {
        let key =
            "{ kind = \"certificate\", url_header = \"X-Url\", hosts = [\"k.example\"], subject = \"k.example\" }";
        scheme(&format!(
            "kind = \"public_key\"\nheader = \"X-S\"\nencoding = \"base64\"\nsigned = \"{{body}}\"\nkey = {key}"
        ))
    }

    fn scheme(scheme: &str) -> Scheme {
        let connector = "[connector]\nname = \"told\"\nversion = \"1.0.0\"\ntitle = \"T\"\ncontract = \"0.1\"\n";
        let text = format!("{connector}[webhook]\n[webhook.scheme]\n{scheme}\n[[webhook.split]]\n");
        let manifest = bulkhead_manifest::Manifest::parse(&text).unwrap();
        manifest.webhook.unwrap().schemes().next().unwrap().clone()
    }

    fn found(text: &'static [u8], at_ms: u64) -> Found {
        Found::Bytes { bytes: Bytes::from_static(text), at_ms, missed: false }
    }

    /// Mutations: `find`, what a try came to in the place of what is known; what is asked for anew counted like the rest; what
    /// could not be had anew like what was.
    #[tokio::test]
    async fn what_is_known_outlives_a_signer_that_is_away_and_strangers_who_spend_its_minute() {
        let (proofs, scheme) = (Proofs::default(), certificate());
        let at = Target::Endpoint("e".to_owned());
        let find = async |name: &str, now_ms: u64, found| {
            let url = Url::parse(&format!("https://keys.example/{name}")).unwrap();
            let wanted = Wanted { scheme: &scheme, url: &url, at: &at, owner: "o" };
            proofs.find(wanted, now_ms, RENEWED_MS, async { found }).await.ok().map(|kept| kept.material())
        };
        let is = |text: &'static [u8], missed| Some(Material { bytes: Some(Bytes::from_static(text)), missed });
        assert_eq!(find("keys", 0, found(b"old", 0)).await, is(b"old", false));
        // It is away for a moment, and nobody tries again at once.
        let away = RENEWED_MS;
        assert_eq!(find("keys", away, Found::Unreachable).await, is(b"old", true));
        assert_eq!(find("keys", away + 1, found(b"new", away + 1)).await, is(b"old", true));
        // Strangers name what is not there, until the minute is spent.
        let later = away + UNREACHABLE_MS;
        for number in 0..2 * FETCHES {
            find(&number.to_string(), later, Found::Absent).await;
        }
        assert_eq!(find("another", later, found(b"other", later)).await, None, "spent");
        assert_eq!(find("keys", later, found(b"new", later)).await, is(b"new", false));
        // It is believed for a day.
        let (before, after) = (later + STALE_MS - 1, later + STALE_MS + UNREACHABLE_MS);
        assert_eq!(find("keys", before, Found::Unreachable).await, is(b"new", true));
        assert_eq!(find("keys", after, Found::Unreachable).await, None);
        // What its signer takes away is gone.
        assert_eq!(find("keys", after + UNREACHABLE_MS, found(b"new", after)).await, is(b"new", false));
        assert_eq!(find("keys", after + 2 * RENEWED_MS, Found::Absent).await, Some(Material::default()));
    }

    /// Mutations: `share`, one for all; `find`, without the scheme.
    #[tokio::test]
    async fn what_came_of_it_is_nothing_to_another_owner_or_another_scheme() {
        let (proofs, jwt, certificate) = (Proofs::default(), jwt(), certificate());
        let (url, at) = (Url::parse("https://keys.example/certs").unwrap(), Target::Endpoint("e".to_owned()));
        let find = async |owner: &str, scheme: &Scheme, found| {
            let wanted = Wanted { scheme, url: &url, at: &at, owner };
            proofs.find(wanted, 0, FOUND_MS, async { found }).await.ok().and_then(|kept| kept.material().bytes)
        };
        // No certificate stands there, or there was no place left to ask from.
        assert_eq!(find("one", &certificate, Found::Unreachable).await, None);
        for owner in ["one", "other"] {
            assert!(find(owner, &jwt, found(b"keys", 0)).await.is_some(), "{owner}");
        }
        assert!(find("other", &certificate, found(b"certificate", 0)).await.is_some());
        assert_eq!(find("one", &certificate, found(b"certificate", 0)).await, None, "it is not tried again at once");
    }

    /// The largest that is fetched.
    static LARGE: [u8; 64 << 10] = [0; 64 << 10];

    /// Asks for what stands there by that name, each time at another address, and with `proves` keeps it as a proof.
    async fn large(proofs: &Proofs, owner: &str, names: impl Iterator<Item = u64>, proves: bool) {
        for name in names {
            let (url, at) =
                (Url::parse(&format!("https://keys.example/{name}")).unwrap(), Target::Endpoint(name.to_string()));
            let wanted = Wanted { scheme: &certificate(), url: &url, at: &at, owner };
            let kept = proofs.find(wanted, 0, FOUND_MS, async { found(&LARGE, 0) }).await.ok().unwrap();
            if proves {
                proofs.proved(wanted, kept).await;
            }
        }
    }

    /// Mutations: `share`, one for all; `part`, without `weigher`; `find`, without `run_pending_tasks`.
    #[tokio::test]
    async fn nobody_drives_out_what_another_owner_knows() {
        let (proofs, scheme) = (Proofs::default(), certificate());
        let (url, at) = (Url::parse("https://keys.example/known").unwrap(), Target::Endpoint("e".to_owned()));
        let wanted = Wanted { scheme: &scheme, url: &url, at: &at, owner: "one" };
        let find = async |found| proofs.find(wanted, 0, FOUND_MS, async { found }).await.ok();
        assert!(find(found(b"known", 0)).await.is_some());
        large(&proofs, "other", 0..100, false).await;
        let kept = proofs.share("other").await.named.iter().count() as u64;
        assert!((1..=MOST_KEPT / LARGE.len() as u64).contains(&kept), "{kept}");
        assert_eq!(find(Found::Unreachable).await.unwrap().material().bytes.as_deref(), Some(&b"known"[..]));
    }

    /// Mutations: `proved`, nothing; `find`, look among what was only named alone.
    #[tokio::test]
    async fn what_strangers_name_drives_out_nothing_that_has_proved_a_request() {
        let (proofs, scheme) = (Proofs::default(), certificate());
        let at = Target::Endpoint("e".to_owned());
        let find = async |name: &str, now_ms: u64, found, proves: bool| {
            let url = Url::parse(&format!("https://keys.example/{name}")).unwrap();
            let wanted = Wanted { scheme: &scheme, url: &url, at: &at, owner: "o" };
            let kept = proofs.find(wanted, now_ms, FOUND_MS, async { found }).await.ok()?;
            if proves {
                proofs.proved(wanted, Arc::clone(&kept)).await;
            }
            kept.material().bytes
        };
        for (name, proves) in [("proved", true), ("named", false)] {
            assert!(find(name, 0, found(b"keys", 0), proves).await.is_some());
        }
        large(&proofs, "o", 0..100, false).await;
        assert!(proofs.fetches.spend(&at, FETCHES - 2, FETCHES, 0));
        assert_eq!(find("named", 0, found(b"keys", 0), false).await, None, "it is driven out, and the minute is spent");
        assert_eq!(find("proved", FOUND_MS - 1, Found::Absent, false).await.as_deref(), Some(&b"keys"[..]));
        // It ages like what has proved nothing, and what stands there then stays with it.
        assert_eq!(find("proved", FOUND_MS, found(b"newer", FOUND_MS), false).await.as_deref(), Some(&b"newer"[..]));
        large(&proofs, "o", 100..200, false).await;
        assert_eq!(find("proved", FOUND_MS, Found::Absent, false).await.as_deref(), Some(&b"newer"[..]));
        assert_eq!(find("proved", 2 * FOUND_MS, Found::Absent, false).await, None, "its signer took it away");
    }

    /// Mutations: `part`, without `weigher`; without `eviction_policy`; `proved`, without `run_pending_tasks`.
    #[tokio::test]
    async fn of_what_has_proved_requests_what_was_used_longest_ago_goes_first() {
        let proofs = Proofs::default();
        // The first proves another request before each of the others.
        large(&proofs, "o", (1..100).flat_map(|number| [0, number]), true).await;
        let proved = proofs.share("o").await.proved;
        let mut names: Vec<String> = proved.iter().map(|(key, _)| key.1.path().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["/0", "/99"]);
    }

    /// Mutations: `Proofs::default`, without `max_capacity`; without `eviction_policy`.
    #[tokio::test]
    async fn of_so_many_owners_who_asked_longest_ago_is_forgotten_first() {
        let proofs = Proofs::default();
        for number in 0..MOST_OWNERS + 100 {
            proofs.share("often").await;
            proofs.share(&number.to_string()).await;
        }
        proofs.kept.run_pending_tasks().await;
        assert!(proofs.kept.iter().count() as u64 <= MOST_OWNERS);
        let last = (MOST_OWNERS + 99).to_string();
        assert!(proofs.kept.contains_key("often") && proofs.kept.contains_key(&last) && !proofs.kept.contains_key("0"));
    }
}

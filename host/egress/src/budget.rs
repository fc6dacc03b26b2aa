//! Step 3: how many requests are under way at once, and how many in a while (a tenant's on this node are [`Pace`]'s); and,
//! after the answer, what it says of that.
//!
//! Invariants:
//! - A request waits no longer than it was told to, for its places and its turns together; who waits for a turn in a
//!   budget holds nothing that is shared more widely than the budget.
//! - One owner's requests take another's places only where a budget says that both share it, and a budget is shared only
//!   by connectors of one publisher: else anybody could declare a tiny one for `api.stripe.com` and starve everybody.
//! - What the host asks for itself in a connection's name has places and paces of its own, as many: some for tokens, and some
//!   for whether webhooks are genuine, which strangers make it ask. Budgets, which are the provider's, it shares with what the
//!   connection's guests send.
//! - In the line of a budget that tenants share none stands so long that another's first request has to be turned away:
//!   whoever has one there already waits half as long with the next.
//!
//! Places (`concurrency`) are counted by each node for itself; budgets are the ledger's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_manifest::{EgressRule, RateRule, RateScope};
use bulkhead_vault::mac::hmac_sha256_framed;
use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use crate::config::DoorConfig;
use crate::error::DoorError;
use crate::learn::lessons;
use crate::ledger::{BudgetKey, Ledger};
use crate::pace::{Pace, Turns};
use crate::rate::{Budgeted, Patience, Rates, Terms, limited};
use crate::read::Head;
use crate::request::{By, Pass};

/// Places, by who shares them. A key without requests takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    lanes: Mutex<HashMap<BudgetKey, Arc<Semaphore>>>,
    rates: Rates,
    pace: Pace,
    /// Of what the host asks for itself.
    host_pace: Pace,
    /// Of what strangers make it ask.
    question_pace: Pace,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    budget: Arc<Budget>,
    key: BudgetKey,
    permit: Option<OwnedSemaphorePermit>,
}

/// The places that one request has.
#[derive(Debug)]
pub(crate) struct Places {
    /// Its connection's. What is still on its way when its answer is there keeps it.
    pub(crate) own: Arc<Place>,
    /// Those that others share.
    pub(crate) shared: Vec<Place>,
}

/// Everything that one request counts for, the narrowest first. Where nothing is declared, what its connection sends
/// under the rule: that is held back where a provider asks for it.
#[derive(Debug)]
pub(crate) struct Scopes<'a> {
    own: BudgetKey,
    tenant: &'a str,
    by: By,
    /// Those that other tenants may fall under, too.
    shared: Vec<RateScope>,
    budgets: Vec<Budgeted>,
    /// As long as `budgets`, or empty.
    rules: Vec<&'a RateRule>,
}

/// Nobody waits for longer, whatever is configured.
const LONGEST_WAIT_MS: u64 = 86_400_000;

impl<'a> Scopes<'a> {
    /// Of a request to `url` that `rule` allows.
    pub(crate) fn of(pass: &Pass<'a>, rule: &EgressRule, url: &Url) -> Self {
        let name = |parts: &[&[u8]]| hmac_sha256_framed(pass.effect.key, parts);
        let owner = pass.owner.as_bytes();
        let declared: BTreeMap<BudgetKey, &RateRule> =
            pass.budgets.iter().filter(|rule| covers(rule, url)).map(|rule| (shared_by(rule, pass), rule)).collect();
        let mut declared: Vec<(BudgetKey, &RateRule)> = declared.into_iter().collect();
        declared.sort_by_key(|(key, rule)| (rule.scope, rule.paths.is_empty(), rule.host.is_none(), *key));
        let mut budgets: Vec<Budgeted> =
            declared.iter().map(|(key, rule)| Budgeted { key: *key, terms: Some(Terms::of(rule)) }).collect();
        if budgets.is_empty() {
            // Of the rule, not of the URL: who asks for ever new names under a pattern makes no new budgets.
            let key = name(&[b"bulkhead pause 1", owner, rule.host.as_str().as_bytes()]);
            budgets.push(Budgeted { key, terms: None });
        }
        let places: &[u8] = match pass.by {
            By::Guest => b"bulkhead places 1",
            By::Host => b"bulkhead host places 1",
            By::Webhook => b"bulkhead question places 1",
        };
        let own = name(&[places, owner]);
        let is_shared = [(RateScope::App, pass.app_is_shared), (RateScope::Host, pass.publisher != pass.tenant)];
        let shared = is_shared.into_iter().filter_map(|(scope, is_shared)| is_shared.then_some(scope)).collect();
        let rules = declared.into_iter().map(|(_, rule)| rule).collect();
        Self { own, tenant: pass.tenant, by: pass.by, shared, budgets, rules }
    }

    /// Those of one scope, with what is declared of them.
    fn within(&self, scope: RateScope) -> impl Iterator<Item = (&Budgeted, Option<&&'a RateRule>)> {
        let all = self.budgets.iter().enumerate().map(|(nth, budget)| (budget, self.rules.get(nth)));
        all.filter(move |(_, rule)| rule.map_or(RateScope::Connection, |rule| rule.scope) == scope)
    }
}

/// The name of a declared budget: who shares it, and its terms, so that another version's other terms are another
/// budget. Of a request's own nothing but its connection.
fn shared_by(rule: &RateRule, pass: &Pass<'_>) -> BudgetKey {
    let (scope, who) = match rule.scope {
        RateScope::Connection => ("connection", pass.owner),
        // A credential of its own has no app to share with.
        RateScope::App => ("app", pass.app.unwrap_or(pass.owner)),
        RateScope::Host => ("host", pass.publisher),
    };
    let numbers = [Some(rule.requests), Some(rule.per_seconds), rule.burst, rule.concurrency];
    // None that is declared is 0.
    let terms = numbers.map(|number| number.unwrap_or_default().to_be_bytes()).concat();
    let host = rule.host.as_ref().map_or("", |host| host.as_str());
    let mut parts = vec![b"bulkhead budget 2".as_slice(), scope.as_bytes(), who.as_bytes(), &terms, host.as_bytes()];
    parts.extend(rule.paths.iter().map(|path| path.as_str().as_bytes()));
    hmac_sha256_framed(pass.effect.key, &parts)
}

impl Budget {
    /// Waits until the request may go by its tenant's pace, its connection's places and every declared budget it falls under.
    pub(crate) async fn spend(
        self: &Arc<Self>,
        scopes: &Scopes<'_>,
        ledger: &dyn Ledger,
        config: &DoorConfig,
    ) -> Result<Places, DoorError> {
        let until = Instant::now() + Duration::from_millis(config.budget_wait_ms.min(LONGEST_WAIT_MS));
        self.rates.refuse(&scopes.budgets, until)?;
        self.turns_of(scopes, config).next(until).await?;
        let own = Arc::new(self.acquire(scopes.own, config.per_connection_concurrency, until).await?);
        let mut shared = Vec::new();
        let mut spent = Vec::new();
        let waited = async {
            for scope in [RateScope::Connection, RateScope::App, RateScope::Host] {
                let (mut line, mut standing) = (Vec::new(), Vec::new());
                // Of what is left: it may have waited long in a line of its own.
                let halfway = until - until.saturating_duration_since(Instant::now()) / 2;
                // Everybody goes by one order: no two wait for what the other holds.
                for (budget, rule) in scopes.within(scope) {
                    let mut patience = Patience::until(until);
                    if scopes.shared.contains(&scope) {
                        let stands = self.rates.stand(budget, scopes.tenant);
                        patience = Patience { soon: halfway, until: if stands.is_alone { until } else { halfway } };
                        standing.push(stands);
                    }
                    if let Some(count) = rule.and_then(|rule| rule.concurrency) {
                        let count = usize::try_from(count).unwrap_or(usize::MAX);
                        shared.push(self.acquire(budget.key, count, patience.until).await?);
                    }
                    line.push((budget, patience));
                }
                self.turns(line, ledger, &mut spent).await?;
            }
            // What was learned meanwhile.
            while let Some(held) = self.rates.held_until(&scopes.budgets) {
                if held > until {
                    return Err(limited(held));
                }
                sleep_until(held).await;
            }
            Ok(())
        };
        let waited = waited.await;
        match waited {
            Ok(()) => Ok(Places { own, shared }),
            Err(error) => {
                spent.into_iter().for_each(|(budget, turn)| self.rates.give_back(budget, turn));
                Err(error)
            }
        }
    }

    /// A tenant's turns on this node.
    pub(crate) fn turns_of<'a>(&'a self, scopes: &Scopes<'a>, config: &DoorConfig) -> Turns<'a> {
        let pace = match scopes.by {
            By::Guest => &self.pace,
            By::Host => &self.host_pace,
            By::Webhook => &self.question_pace,
        };
        Turns { pace, tenant: scopes.tenant, per_second: config.per_tenant_requests_per_second }
    }

    /// Spends from each budget of a scope and waits for its turn: where that is to come, before the others are asked, whose
    /// turns would be over by then.
    async fn turns<'s>(
        &self,
        line: Vec<(&'s Budgeted, Patience)>,
        ledger: &dyn Ledger,
        spent: &mut Vec<(&'s Budgeted, Instant)>,
    ) -> Result<(), DoorError> {
        let waits = |(budget, patience)| (Reverse(self.rates.waits_until(budget)), budget, patience);
        let mut waits: Vec<_> = line.into_iter().map(waits).collect();
        waits.sort_by_key(|(until, ..)| *until);
        let free = waits.split_off(waits.partition_point(|(Reverse(until), ..)| until.is_some()));
        for (_, budget, patience) in waits {
            let turn = self.rates.turn(budget, patience, ledger).await?;
            spent.push((budget, turn));
            sleep_until(turn).await;
        }
        let (mut last, mut refused) = (Instant::now(), None);
        let asked = free
            .into_iter()
            .map(|(_, budget, patience)| async move { (budget, self.rates.turn(budget, patience, ledger).await) });
        for (budget, turn) in join_all(asked).await {
            match turn {
                Ok(turn) => {
                    last = last.max(turn);
                    spent.push((budget, turn));
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => {
                sleep_until(last).await;
                Ok(())
            }
        }
    }

    /// Holds back what the answer asks to hold back, and says for how long, in milliseconds.
    pub(crate) async fn learn(&self, scopes: &Scopes<'_>, head: &Head, pass: &Pass<'_>) -> Option<u64> {
        let lessons = lessons(head.status, &head.headers, &scopes.rules, pass.clock.now_ms());
        for (nth, wait) in &lessons {
            if let Some(budget) = scopes.budgets.get(*nth) {
                self.rates.hold_back(budget, *wait, pass.ledger).await;
            }
        }
        lessons.iter().map(|(_, wait)| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).max()
    }

    /// Waits for one of `places`.
    async fn acquire(self: &Arc<Self>, key: BudgetKey, places: usize, until: Instant) -> Result<Place, DoorError> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes
                .entry(key)
                .or_insert_with(|| Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))))
                .clone()
        };
        // From here on dropping it cleans up, whether a permit comes or the caller goes away.
        let mut place = Place { budget: self.clone(), key, permit: None };
        match timeout_at(until, lane.acquire_owned()).await {
            Ok(Ok(permit)) => {
                place.permit = Some(permit);
                Ok(place)
            }
            _ => Err(DoorError::RateLimited { retry_after_ms: 1_000 }),
        }
    }
}

/// Whether a request to this URL counts.
fn covers(rule: &RateRule, url: &Url) -> bool {
    let host = rule.host.as_ref().is_none_or(|host| host.matches(url.host_str().unwrap_or_default()));
    host && (rule.paths.is_empty() || rule.paths.iter().any(|path| path.may_match(url.path())))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        let mut lanes = self.budget.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds or waits for a place has a share in the lane beside the map's.
        if lanes.get(&self.key).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;

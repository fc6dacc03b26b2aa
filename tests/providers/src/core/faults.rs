//! Misbehaviour on demand: which requests it strikes, and what it does to them.
//!
//! **Invariant.** A rule strikes the requests it names, skips as many as it says, and is spent after as many as it
//! says. Several rules may strike one request: latencies add up, of the others the first one given wins.
//!
//! **To extend.** A variant of [`Fault`], and its arm in `front.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock::Lock;

/// What is done to a request.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Wait before acting.
    Latency {
        millis: u64,
    },
    /// Answer with this status in the provider's own error shape, after acting or without it.
    Answer {
        status: u16,
        #[serde(default)]
        act: bool,
        /// Store this answer under the request's idempotency key, so that a retry is given it again.
        #[serde(default)]
        remember: bool,
        #[serde(default)]
        retry_after_seconds: Option<u32>,
        /// Sent as `Stripe-Should-Retry`; QuickBooks has no such header.
        #[serde(default)]
        should_retry: Option<bool>,
    },
    /// Answer 200 with a fault inside. QuickBooks only; Stripe treats it as a 500.
    FaultInsideSuccess {
        code: String,
        message: String,
        #[serde(default)]
        act: bool,
    },
    HangUpBeforeActing,
    /// The effect stays, the client learns nothing.
    HangUpAfterActing,
    /// Act, send the headers and half of the body, then drop the connection.
    CutAnswer,
    /// Before acting: every access token expires (QuickBooks), every key is revoked (Stripe).
    ExpireAccess,
    /// Before acting: every token is revoked, refresh tokens too.
    RevokeAccess,
}

/// Which requests a fault strikes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct FaultRule {
    /// None strikes every method.
    #[serde(default)]
    pub method: Option<String>,
    /// A path in which `*` stands for any run of characters.
    pub path: String,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are struck; 0 means until the faults are cleared.
    #[serde(default = "once")]
    pub times: u32,
    pub fault: Fault,
}

impl FaultRule {
    /// Strikes the next request whose path matches, once.
    pub fn new(path: impl Into<String>, fault: Fault) -> Self {
        Self { method: None, path: path.into(), skip: 0, times: once(), fault }
    }

    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

fn once() -> u32 {
    1
}

/// What the faults in force do to one request.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    pub(crate) latency: Duration,
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Lock<Vec<FaultRule>>,
}

impl Faults {
    pub(crate) fn add(&self, rule: FaultRule) {
        self.rules.get().push(rule);
    }

    pub(crate) fn clear(&self) {
        self.rules.get().clear();
    }

    /// The rules that still wait for a request.
    pub(crate) fn pending(&self) -> Vec<FaultRule> {
        self.rules.get().clone()
    }

    pub(crate) fn strike(&self, method: &str, path: &str) -> Strike {
        let mut strike = Strike::default();
        let mut rules = self.rules.get();
        rules.retain_mut(|rule| {
            let is_latency = matches!(rule.fault, Fault::Latency { .. });
            let taken = !is_latency && strike.fault.is_some();
            if taken || !matches(rule.method.as_deref(), &rule.path, method, path) {
                return true;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return true;
            }
            match &rule.fault {
                Fault::Latency { millis } => strike.latency += Duration::from_millis(*millis),
                other => strike.fault = Some(other.clone()),
            }
            let spent = rule.times == 1;
            rule.times = rule.times.saturating_sub(1);
            !spent
        });
        strike
    }
}

/// Whether a request is one of those meant. The method is compared without regard to case.
pub(crate) fn matches(method: Option<&str>, pattern: &str, actual_method: &str, path: &str) -> bool {
    method.is_none_or(|method| method.eq_ignore_ascii_case(actual_method)) && glob(pattern, path)
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let starts = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
    starts.into_iter().any(|start| rest.get(start..).is_some_and(|rest| glob(tail, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        assert!(glob("*", "/v1/customers"));
        assert!(glob("/v1/*/confirm", "/v1/payment_intents/pi_1/confirm"));
        assert!(glob("/v3/company/*/invoice", "/v3/company/1/invoice"));
        assert!(!glob("/v3/company/*/invoice", "/v3/company/1/invoice/5"));
        assert!(!glob("/v1/customers", "/v1/customers/cus_1"));
    }

    #[test]
    fn a_rule_skips_strikes_and_is_spent() {
        let faults = Faults::default();
        faults.add(FaultRule::new("/a", Fault::HangUpBeforeActing).method("POST").skip(1).times(2));
        let struck = |method| faults.strike(method, "/a").fault.is_some();
        assert_eq!([struck("GET"), struck("POST"), struck("post")], [false, false, true]);
        assert_eq!([struck("POST"), struck("POST")], [true, false]);
        assert!(faults.pending().is_empty());
    }

    #[test]
    fn latency_adds_to_another_fault() {
        let faults = Faults::default();
        faults.add(FaultRule::new("*", Fault::Latency { millis: 5 }).times(0));
        faults.add(FaultRule::new("*", Fault::CutAnswer));
        let strike = faults.strike("GET", "/");
        assert_eq!((strike.latency.as_millis(), strike.fault), (5, Some(Fault::CutAnswer)));
        assert_eq!(faults.pending().len(), 1);
    }
}

//! The manner in which webhooks are sent: how often, in which order, how signed.
//!
//! **Invariant.** A plan loses nothing and adds nothing but the copies it names.

use serde::{Deserialize, Serialize};

use super::ids::Ids;

/// The order in which waiting notices are sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    #[default]
    AsEmitted,
    Reversed,
    /// The same seed gives the same order; the copies of a notice are shuffled too.
    Shuffled {
        seed: u64,
    },
    /// These first, by event id; the others follow as they were emitted.
    Given {
        ids: Vec<String>,
    },
}

/// What is done to the signature.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Signature {
    #[default]
    Valid,
    /// Well formed, made with a secret that was never given out.
    Wrong,
    /// Made correctly, but so many seconds ago. The same as valid where a scheme has no timestamp.
    Old { seconds: i64 },
    /// No signature header at all.
    Missing,
}

/// The manner in which notices are sent. The default: each once, as emitted, one after the other, well signed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct DeliveryPlan {
    pub copies: u32,
    pub order: Order,
    pub signature: Signature,
    /// How many deliveries may be under way at once.
    pub concurrency: usize,
    /// How many notices share one body, where the format allows more than one.
    pub batch: usize,
}

impl Default for DeliveryPlan {
    fn default() -> Self {
        Self { copies: 1, order: Order::default(), signature: Signature::default(), concurrency: 1, batch: usize::MAX }
    }
}

impl DeliveryPlan {
    /// The notices in the order and the number of copies that the plan asks for.
    pub(crate) fn arranged<T: Clone>(&self, notices: Vec<T>, id: impl Fn(&T) -> &str) -> Vec<T> {
        let copies = usize::try_from(self.copies).unwrap_or(usize::MAX);
        let copied = notices.into_iter().flat_map(|notice| std::iter::repeat_n(notice, copies));
        let mut all: Vec<T> = copied.collect();
        match &self.order {
            Order::AsEmitted => {}
            Order::Reversed => all.reverse(),
            Order::Shuffled { seed } => {
                let dice = Ids::seeded(*seed);
                all.sort_by_cached_key(|_| dice.next());
            }
            Order::Given { ids } => {
                let rank = |id: &str| ids.iter().position(|given| given == id);
                all.sort_by_key(|notice| rank(id(notice)).unwrap_or(ids.len()));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(order: Order, copies: u32) -> String {
        let plan = DeliveryPlan { order, copies, ..DeliveryPlan::default() };
        plan.arranged(vec!["a", "b", "c", "d"], |id| id).concat()
    }

    #[test]
    fn notices_are_arranged_as_the_plan_says() {
        assert_eq!(order_of(Order::AsEmitted, 2), "aabbccdd");
        assert_eq!(order_of(Order::Reversed, 1), "dcba");
        assert_eq!(order_of(Order::Given { ids: vec!["c".into(), "a".into()] }, 1), "cabd");
        assert_eq!(order_of(Order::AsEmitted, 0), "");
    }

    #[test]
    fn a_seed_fixes_the_shuffle_and_loses_nothing() {
        let shuffled = order_of(Order::Shuffled { seed: 7 }, 2);
        assert_eq!(shuffled, order_of(Order::Shuffled { seed: 7 }, 2));
        let mut sorted: Vec<char> = shuffled.chars().collect();
        sorted.sort_unstable();
        assert_eq!(sorted.into_iter().collect::<String>(), "aabbccdd");
    }
}

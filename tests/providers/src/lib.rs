//! Small faithful servers for Stripe, for QuickBooks Online, and for a key service, on loopback and in memory.
//!
//! They serve the demo, the integration tests and the benchmarks.
//!
//! **Invariants.** A simulator refuses whatever the provider's documentation does not allow, in the provider's own
//! error shape; it counts every side effect; it misbehaves only when told to, and then exactly as often as told.
//! Money is never a float: Stripe amounts are integer minor units, QuickBooks amounts are decimals read from the
//! digits on the wire.
//!
//! **To extend.** A provider is a folder with an implementation of [`core::front::Provider`]; connections, faults,
//! holds, the record of requests and webhook deliveries come from [`core`] unchanged.

// The largest objects are written out as one `json!`.
#![recursion_limit = "256"]

mod core;
mod quickbooks;
mod stripe;
mod transit;

pub use self::core::delivery_plan::{DeliveryPlan, Order, Signature};
pub use self::core::delivery_record::DeliveryRecord;
pub use self::core::effects::Duplicate;
pub use self::core::faults::{Fault, FaultRule};
pub use self::core::gates::{Hold, Point};
pub use self::core::instruments::Instruments;
pub use self::core::ledger::RequestRecord;
pub use self::core::signing::{intuit_signature, pkce_s256, stripe_signature};
pub use self::quickbooks::{
    Consent, PaymentView, QuickBooks, QuickBooksConfig, Realm, Tokens, WebhookFormat, WebhookTarget,
};
pub use self::stripe::{ChargeRequest, Charged, Stripe, StripeConfig, StripeInvoice};
pub use self::transit::Transit;

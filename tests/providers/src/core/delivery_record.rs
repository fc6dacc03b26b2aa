//! What is written down about a delivery.

use serde::{Deserialize, Serialize};

use super::delivery_plan::Signature;

/// One delivery, as it went.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeliveryRecord {
    pub number: u64,
    /// The ids of the events in the body.
    pub events: Vec<String>,
    pub endpoint: String,
    pub url: String,
    /// 1 for the first delivery of these events to this endpoint.
    pub attempt: u32,
    pub signature: Signature,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Microseconds since 1970, like the two that follow.
    pub started_at_us: u64,
    pub last_byte_sent_at_us: Option<u64>,
    pub answered_at_us: Option<u64>,
    pub status: Option<u16>,
    pub answer: String,
    pub error: Option<String>,
}

impl DeliveryRecord {
    /// The receiver answered 2xx.
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

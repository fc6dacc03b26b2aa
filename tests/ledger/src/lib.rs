//! A connector for the stories about crashes: it reads, has one effect, and reads again.

use bulkhead_sdk::prelude::*;

/// What is booked, and how.
#[derive(Deserialize, JsonSchema)]
struct Booking {
    /// Names the entry; a word that needs no encoding.
    entry: String,
    /// Whether the ledger is asked where it recognises a repeated request.
    keyed: bool,
    /// How long the ledger is waited for, milliseconds. Without it as long as the host allows.
    patience_ms: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
struct Booked {
    entry: String,
}

struct Ledger;

#[connector]
impl Ledger {
    /// Books one entry.
    #[action]
    fn book(input: Booking) -> Result<Booked, Failure> {
        let at = |place: &str| format!("https://ledger.example/{place}/{}", input.entry);
        let sent = |request: http::Request| {
            let request = match input.patience_ms {
                Some(patience) => request.timeout_ms(patience),
                None => request,
            };
            request.send()?.error_for_status()
        };
        sent(http::get(at("before")))?;
        let place = if input.keyed { "keyed-entries" } else { "entries" };
        sent(http::post(at(place)).json(&json!({ "entry": input.entry })).effect("entry"))?;
        sent(http::get(at("after")))?;
        Ok(Booked { entry: input.entry })
    }
}

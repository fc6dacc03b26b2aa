//! A connector for the stories about crashes: it reads, has an effect or several, and reads again.

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

/// Bookings that leave together, and an entry that is read along with them.
#[derive(Deserialize, JsonSchema)]
struct Bookings {
    bookings: Vec<Booking>,
    read: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Booked {
    entry: String,
}

/// What a good answer may say.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    not_yet: bool,
}

impl Booking {
    fn at(&self, place: &str) -> String {
        format!("https://ledger.example/{place}/{}", self.entry)
    }

    fn place(&self) -> String {
        self.at(if self.keyed { "keyed-entries" } else { "entries" })
    }

    fn request(&self, document: &Value) -> http::Request {
        self.in_time(http::post(self.place()).json(document).effect("entry"))
    }

    fn in_time(&self, request: http::Request) -> http::Request {
        match self.patience_ms {
            Some(patience) => request.timeout_ms(patience),
            None => request,
        }
    }
}

struct Ledger;

#[connector]
impl Ledger {
    /// Books one entry.
    #[action]
    fn book(input: Booking) -> Result<Booked, Failure> {
        let sent = |request: http::Request| input.in_time(request).send()?.error_for_status();
        sent(http::get(input.at("before")))?;
        sent(input.request(&json!({ "entry": input.entry })))?;
        sent(http::get(input.at("after")))?;
        Ok(Booked { entry: input.entry })
    }

    /// Books several entries at once.
    #[action]
    fn book_all(input: Bookings) -> Result<Vec<Booked>, Failure> {
        let bookings = input.bookings.iter().map(|booking| booking.request(&json!({ "entry": booking.entry })));
        let read = input.read.iter().map(|entry| http::get(format!("https://ledger.example/after/{entry}")));
        for answer in http::send_all(bookings.chain(read)) {
            if answer?.error_for_status()?.json::<Said>()?.not_yet {
                return Err(Failure::unavailable("the ledger says: not yet"));
            }
        }
        Ok(input.bookings.into_iter().map(|Booking { entry, .. }| Booked { entry }).collect())
    }

    /// Books an entry, comes back until the ledger is through with it, and books its end.
    #[action]
    fn job(input: Booking, resume: Option<u32>) -> Result<Outcome<Booked>, Failure> {
        let Some(polls) = resume else {
            input.request(&json!({ "entry": input.entry })).send()?.error_for_status()?;
            return Outcome::later(0, &0);
        };
        if http::get(input.at("after")).send()?.error_for_status()?.json::<Said>()?.not_yet {
            return Outcome::later(0, &(polls + 1));
        }
        input.request(&json!({ "end": input.entry })).send()?.error_for_status()?;
        Ok(Outcome::done(Booked { entry: input.entry }))
    }

    /// Books an entry under a number that counts up from run to run.
    #[action]
    fn number(input: Booking) -> Result<Booked, Failure> {
        let number: u32 = state::get("number")?.unwrap_or_default();
        input.request(&json!({ "entry": input.entry, "number": number })).send()?.error_for_status()?;
        state::set("number", &(number + 1))?;
        Ok(Booked { entry: input.entry })
    }
}

//! A connector whose requests are those of an ordinary HTTP client: by wstd, as people send them, and by the bare
//! functions of `wasi:http`, as nobody should.
//!
//! Whatever it sees is its answer. To add a way to misuse `wasi:http`: a case of `misuse::Misuse`.

#![allow(clippy::expect_used, reason = "what a client never does may fail by panicking")]

mod misuse;
mod order;
mod requests;

use bulkhead_sdk::prelude::*;

struct Client;

#[connector]
impl Client {
    /// Sends one request.
    #[action]
    fn fetch(input: requests::Wanted) -> Result<requests::Fetched, Failure> {
        Ok(wstd::runtime::block_on(requests::fetch(&input)))
    }

    /// Books an entry between two reads.
    #[action]
    fn book(input: requests::Booking) -> Result<Value, Failure> {
        wstd::runtime::block_on(requests::book(&input))
    }

    /// Sends all at once, and says which was there when.
    #[action]
    fn race(input: order::Race) -> Result<Value, Failure> {
        Ok(wstd::runtime::block_on(order::race(input)))
    }

    /// Waits for an answer so long and no longer.
    #[action]
    fn wait(input: order::Patience) -> Result<Value, Failure> {
        Ok(wstd::runtime::block_on(order::wait(&input)))
    }

    /// Does what no client does.
    #[action]
    fn misuse(input: misuse::Misuse) -> Result<Value, Failure> {
        Ok(misuse::now(&input))
    }
}

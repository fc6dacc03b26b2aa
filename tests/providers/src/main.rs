//! Both simulators in a process of their own, for the demo and for tests in other languages.
//!
//! Prints one line of JSON with the two base URLs, and runs until its standard input closes or it is interrupted:
//! a parent that dies takes it along.

use std::io::{Read, Write};

use serde_json::json;
use simulated_providers::{QuickBooks, QuickBooksConfig, Realm, Stripe, StripeConfig};

const USAGE: &str = "usage: simulated-providers [--stripe-key KEY]… [--client-id ID] [--client-secret SECRET] \
                     [--redirect-uri URI]… [--realm ID=NAME]…";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (stripe, quickbooks) = configured(std::env::args().skip(1))?;
    let stripe = Stripe::start(stripe).await;
    let quickbooks = QuickBooks::start(quickbooks).await;
    let urls = json!({ "stripe": stripe.url(), "quickbooks": quickbooks.url() });
    let mut out = std::io::stdout();
    writeln!(out, "{urls}")?;
    out.flush()?;
    tokio::select! {
        () = input_closed() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// What is not given stays at its default; a flag that can be repeated replaces the default when it is first given.
fn configured(mut args: impl Iterator<Item = String>) -> Result<(StripeConfig, QuickBooksConfig), String> {
    let (mut stripe, mut quickbooks) = (StripeConfig::default(), QuickBooksConfig::default());
    let (mut keys, mut uris, mut realms) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--stripe-key" => keys.push(value),
            "--client-id" => quickbooks.client_id = value,
            "--client-secret" => quickbooks.client_secret = value,
            "--redirect-uri" => uris.push(value),
            "--realm" => {
                let (id, name) = value.split_once('=').ok_or_else(|| format!("--realm needs ID=NAME\n{USAGE}"))?;
                realms.push(Realm { id: id.to_owned(), company_name: name.to_owned() });
            }
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    if !keys.is_empty() {
        stripe.api_keys = keys;
    }
    if !uris.is_empty() {
        quickbooks.redirect_uris = uris;
    }
    if !realms.is_empty() {
        quickbooks.realms = realms;
    }
    Ok((stripe, quickbooks))
}

/// Reading blocks, so a thread of its own does it; the process does not wait for that thread.
async fn input_closed() {
    let (closed, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 1024];
        let mut input = std::io::stdin();
        while matches!(input.read(&mut ignored), Ok(read) if read > 0) {}
        // The receiver is gone when an interrupt came first.
        let _ = closed.send(());
    });
    // An error means that the thread is gone, and the input with it.
    let _ = told.await;
}

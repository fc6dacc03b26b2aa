//! What a run says about itself: bounded per run, shown with the run.
//!
//! ```no_run
//! # use bulkhead_sdk::prelude::*;
//! # let (count, page) = (3, "next");
//! log::info!("pulled {count} customers");
//! log::warn!(count = count, page = page; "the provider repeats itself");
//! ```
//!
//! Fields are anything that serializes. Never log what a person would not want to read about themselves.

use serde_json::{Map, Value};

use crate::host;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of the run's log. The macros are nicer.
pub fn write(level: Level, message: &str, fields: Map<String, Value>) {
    let fields = if fields.is_empty() { String::new() } else { Value::Object(fields).to_string() };
    host::log(level, message, &fields);
}

/// For people who watch a long run. Not kept.
pub fn progress(done: u64, total: Option<u64>, note: &str) {
    host::progress(done, total, note);
}

pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident; $($($key:ident).+ = $value:expr),+ ; $($message:tt)+) => {{
        let mut fields = $crate::__private::Map::new();
        $(fields.insert(
            [$(stringify!($key)),+].join("."),
            $crate::__private::to_value(&$value).unwrap_or_default(),
        );)+
        $crate::log::write($crate::log::Level::$level, &format!($($message)+), fields)
    }};
    ($level:ident; $($message:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &format!($($message)+), $crate::__private::Map::new())
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($line:tt)+) => { $crate::__log!(Debug; $($line)+) }; }

#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($line:tt)+) => { $crate::__log!(Info; $($line)+) }; }

#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($line:tt)+) => { $crate::__log!(Warn; $($line)+) }; }

#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($line:tt)+) => { $crate::__log!(Error; $($line)+) }; }

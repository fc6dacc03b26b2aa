//! Requests that are too large in one way or another.

use bulkhead_sdk::prelude::*;

use crate::destinations::Reached;

const URL: &str = "https://api.allowed.example/v1/take";

/// In which way.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub(crate) enum Size {
    Body {
        bytes: u32,
    },
    /// One header of so many bytes.
    Header {
        bytes: u32,
    },
    /// So many headers.
    Headers {
        count: u32,
    },
    Url {
        bytes: u32,
    },
}

pub(crate) fn send(size: &Size) -> Reached {
    let filler = |bytes: &u32| "x".repeat(*bytes as usize);
    Reached::by(match size {
        Size::Body { bytes } => http::post(URL).text("text/plain", filler(bytes)),
        Size::Header { bytes } => http::post(URL).header("x-filler", filler(bytes)),
        Size::Headers { count } => {
            (0..*count).fold(http::post(URL), |request, number| request.header(format!("x-{number}"), "1"))
        }
        Size::Url { bytes } => http::get(format!("{URL}/{}", filler(bytes))),
    })
}

//! Inbound webhooks: one delivery at a time, verified by the host and cut down to this connection's part.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Event, Failure, json};

/// One inbound webhook request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub method: String,
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Delivery {
    /// A `POST` of this document; for tests.
    pub fn post(body: impl Into<Value>) -> Delivery {
        Delivery {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.into().to_string(),
        }
    }

    /// The body as JSON of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        json::kept("The webhook's body", &self.body)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first query parameter of that name, decoded.
    pub fn query_param(&self, name: &str) -> Option<String> {
        crate::http::url::pairs(&self.query).find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// What came of a delivery.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Receipt {
    pub events: Vec<Event>,
    /// Streams to pull now.
    pub pulls: Vec<String>,
    /// Used only where the manifest says `reply = "run"`.
    pub reply: Option<Reply>,
}

impl Receipt {
    /// Nothing came of it; true of deliveries that do not matter to us.
    pub fn new() -> Receipt {
        Receipt::default()
    }

    /// Reports an event.
    #[must_use]
    pub fn event(mut self, event: Event) -> Receipt {
        self.events.push(event);
        self
    }

    /// Reports several.
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = Event>) -> Receipt {
        self.events.extend(events);
        self
    }

    /// Asks the host to pull this stream now.
    #[must_use]
    pub fn pull(mut self, stream: impl Into<String>) -> Receipt {
        self.pulls.push(stream.into());
        self
    }

    /// Answers the provider; only where the manifest says `reply = "run"`.
    #[must_use]
    pub fn reply(mut self, reply: Reply) -> Receipt {
        self.reply = Some(reply);
        self
    }
}

/// What the provider gets as the answer to its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// An empty body.
    pub fn new(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: String::new() }
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Reply {
        self.body = body.into();
        self
    }

    /// A JSON body with its content type.
    pub fn json(self, body: &impl Serialize) -> Result<Reply, Failure> {
        Ok(self.header("content-type", "application/json").body(json::encode(body)?))
    }
}

/// A webhook that we hold at the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    pub id: String,
    /// What `unregister` and the next `register` will need; an object.
    pub details: Value,
    /// When the host is to register again, in milliseconds since 1970.
    pub renew_at_ms: Option<u64>,
}

impl Registration {
    pub fn new(id: impl Into<String>) -> Registration {
        Registration { id: id.into(), details: Value::Object(serde_json::Map::new()), renew_at_ms: None }
    }

    /// What `unregister` and the next `register` will need. Secrets do not belong here: the manifest captures them.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Registration {
        self.details = details.into();
        self
    }

    /// When to register again, in milliseconds since 1970.
    #[must_use]
    pub fn renew_at_ms(mut self, at_ms: u64) -> Registration {
        self.renew_at_ms = Some(at_ms);
        self
    }
}

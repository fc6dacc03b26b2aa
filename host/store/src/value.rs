//! What a statement is given: the three kinds of value that both databases store alike, and everything of ours that
//! turns into them.

use bulkhead_manifest::{
    AppId, ConnectionId, ConnectorId, DeliveryId, EventId, KeyId, RouteId, RunId, SessionId, TenantId, VersionId,
};

/// One bound value. The kind is kept for NULL too, because Postgres wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
    Id(Option<[u8; 16]>),
}

impl Value<'_> {
    /// What it takes besides its row.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.map_or(0, str::len),
            Self::Bytes(bytes) => bytes.map_or(0, <[u8]>::len),
            Self::Int(_) | Self::Id(_) => 0,
        }
    }
}

/// Times, sizes and counts are unsigned with us and signed in SQL. What does not fit means "never" or "without end".
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Int(Some(signed(number)))
    }
}
impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(Some(i64::from(number)))
    }
}
impl From<bool> for Value<'_> {
    fn from(yes: bool) -> Self {
        Self::Int(Some(i64::from(yes)))
    }
}
impl From<Option<u64>> for Value<'_> {
    fn from(number: Option<u64>) -> Self {
        Self::Int(number.map(signed))
    }
}
impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}
impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(text))
    }
}
impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}
impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Text(text.as_deref())
    }
}
impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}
impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}
impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}
impl<'a> From<&'a [u8; 32]> for Value<'a> {
    fn from(bytes: &'a [u8; 32]) -> Self {
        Self::Bytes(Some(bytes))
    }
}
impl<'a> From<&'a Option<[u8; 32]>> for Value<'a> {
    fn from(bytes: &'a Option<[u8; 32]>) -> Self {
        Self::Bytes(bytes.as_ref().map(<[u8; 32]>::as_slice))
    }
}

macro_rules! id_values {
    ($($id:ident)+) => {$(
        impl From<$id> for Value<'_> {
            fn from(id: $id) -> Self {
                Self::Id(Some(*id.as_bytes()))
            }
        }
        impl From<Option<$id>> for Value<'_> {
            fn from(id: Option<$id>) -> Self {
                Self::Id(id.map(|id| *id.as_bytes()))
            }
        }
    )+};
}
id_values! { AppId ConnectionId ConnectorId DeliveryId EventId KeyId RouteId RunId SessionId TenantId VersionId }

/// The values of a statement, in order: `bind![tenant, id, now_ms]`.
macro_rules! bind {
    ($($value:expr),* $(,)?) => { [$($crate::value::Value::from($value)),*] };
}
pub(crate) use bind;

/// Ids as a JSON list of hex texts: how a list of them is given to one statement on both engines.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! What a statement gives back: rows of either database, read by column name into our own types.
//!
//! To read a new type from a column, implement [`Column`]; to read a new struct, declare it with [`row!`].

use std::str::FromStr;

use bulkhead_manifest::{
    AppId, ConnectionId, ConnectorId, DeliveryId, EventId, KeyId, RouteId, RunId, SessionId, TenantId, VersionId,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::error::{Result, StoreError};

/// A row of whichever database this is.
pub(crate) enum AnyRow {
    Lite(SqliteRow),
    Pg(PgRow),
}

/// One column of a row.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'r> {
    row: &'r AnyRow,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Name(&'static str),
    At(usize),
}

macro_rules! cell_reader {
    ($name:ident -> $type:ty) => {
        fn $name(self) -> Result<Option<$type>> {
            Ok(match (self.row, self.place) {
                (AnyRow::Lite(row), Place::Name(name)) => row.try_get(name)?,
                (AnyRow::Lite(row), Place::At(index)) => row.try_get(index)?,
                (AnyRow::Pg(row), Place::Name(name)) => row.try_get(name)?,
                (AnyRow::Pg(row), Place::At(index)) => row.try_get(index)?,
            })
        }
    };
}

impl<'r> Cell<'r> {
    cell_reader!(int -> i64);
    cell_reader!(text -> String);
    cell_reader!(bytes -> Vec<u8>);

    fn corrupt(self, found: impl Into<String>) -> StoreError {
        let column = match self.place {
            Place::Name(name) => name.to_owned(),
            Place::At(index) => format!("number {}", index + 1),
        };
        StoreError::Corrupt { column, found: found.into() }
    }

    fn present<T>(self, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.corrupt("NULL"))
    }
}

/// A type that one column can be read into.
pub(crate) trait Column: Sized {
    /// None where the column is NULL.
    fn read(cell: Cell<'_>) -> Result<Option<Self>>;
}

impl Column for i64 {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        cell.int()
    }
}
impl Column for String {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        cell.text()
    }
}
impl Column for Vec<u8> {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        cell.bytes()
    }
}
impl Column for bool {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        Ok(cell.int()?.map(|number| number != 0))
    }
}

macro_rules! number_columns {
    ($($type:ty)+) => {$(
        impl Column for $type {
            fn read(cell: Cell<'_>) -> Result<Option<Self>> {
                let narrow = |number| <$type>::try_from(number).map_err(|_| cell.corrupt(format!("{number}")));
                cell.int()?.map(narrow).transpose()
            }
        }
    )+};
}
number_columns! { u64 u32 u16 }

impl<const N: usize> Column for [u8; N] {
    fn read(cell: Cell<'_>) -> Result<Option<Self>> {
        let exact = |bytes: Vec<u8>| {
            let length = bytes.len();
            bytes.try_into().map_err(|_| cell.corrupt(format!("{length} bytes instead of {N}")))
        };
        cell.bytes()?.map(exact).transpose()
    }
}

macro_rules! id_columns {
    ($($id:ident)+) => {$(
        impl Column for $id {
            fn read(cell: Cell<'_>) -> Result<Option<Self>> {
                Ok(<[u8; 16]>::read(cell)?.map($id::from_bytes))
            }
        }
    )+};
}
id_columns! { AppId ConnectionId ConnectorId DeliveryId EventId KeyId RouteId RunId SessionId TenantId VersionId }

/// Reads a column whose text is a word of ours.
pub(crate) fn word<T: FromStr>(cell: Cell<'_>) -> Result<Option<T>> {
    let parse = |text: String| text.parse().map_err(|_| cell.corrupt(format!("`{text}`")));
    cell.text()?.map(parse).transpose()
}

/// A column's place in a struct: required, or optional where NULL is allowed.
pub(crate) trait Field: Sized {
    fn field(cell: Cell<'_>) -> Result<Self>;
}
impl<T: Column> Field for T {
    fn field(cell: Cell<'_>) -> Result<Self> {
        cell.present(T::read(cell)?)
    }
}
impl<T: Column> Field for Option<T> {
    fn field(cell: Cell<'_>) -> Result<Self> {
        T::read(cell)
    }
}

/// A type that a whole row can be read into.
pub(crate) trait Shape: Sized {
    fn shape(row: &AnyRow) -> Result<Self>;
}

impl AnyRow {
    /// The column of this name.
    pub(crate) fn named<T: Field>(&self, name: &'static str) -> Result<T> {
        T::field(Cell { row: self, place: Place::Name(name) })
    }

    /// The column at this index.
    pub(crate) fn at<T: Field>(&self, index: usize) -> Result<T> {
        T::field(Cell { row: self, place: Place::At(index) })
    }
}

macro_rules! tuple_shapes {
    ($(($($type:ident $index:literal),+);)+) => {$(
        impl<$($type: Field),+> Shape for ($($type,)+) {
            fn shape(row: &AnyRow) -> Result<Self> {
                Ok(($(row.at::<$type>($index)?,)+))
            }
        }
    )+};
}
tuple_shapes! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
}

/// Declares a public struct that is read from a row: each field from the column of its name, or of the name after `in`.
macro_rules! row {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty $(, in $column:literal)?; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )+
        }
        impl $crate::row::Shape for $name {
            fn shape(row: &$crate::row::AnyRow) -> $crate::Result<Self> {
                Ok(Self { $( $field: row.named($crate::row::row!(@name $field $($column)?))?, )+ })
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $column:literal) => { $column };
}
pub(crate) use row;

/// Declares a public enum whose values are words in the database, in JSON and on the wire.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$case_meta:meta])* $case:ident = $word:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$case_meta])* #[serde(rename = $word)] $case, )+
        }
        impl $name {
            /// Every one, in order.
            pub const ALL: &[Self] = &[$(Self::$case),+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$case => $word, )+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::row::UnknownWord;
            fn from_str(word: &str) -> std::result::Result<Self, $crate::row::UnknownWord> {
                match word {
                    $( $word => Ok(Self::$case), )+
                    other => Err($crate::row::UnknownWord { word: other.chars().take(40).collect() }),
                }
            }
        }
        impl $crate::row::Column for $name {
            fn read(cell: $crate::row::Cell<'_>) -> $crate::Result<Option<Self>> {
                $crate::row::word(cell)
            }
        }
        impl From<$name> for $crate::value::Value<'_> {
            fn from(word: $name) -> Self {
                Self::Text(Some(word.as_str()))
            }
        }
    };
}
pub(crate) use words;

/// A text that is none of the words expected here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not known here")]
pub struct UnknownWord {
    /// The text, cut short.
    pub word: String,
}

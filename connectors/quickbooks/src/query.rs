//! QuickBooks' query language, built so that a value can never become part of the query.

use std::fmt::Write as _;

use bulkhead_sdk::prelude::*;

/// The most that one answer holds.
pub(crate) const MOST: u32 = 1_000;

/// `select * from …`.
pub(crate) struct Select {
    entity: &'static str,
    conditions: Vec<String>,
    order: Option<String>,
    start: u32,
    most: u32,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Comparison {
    Equals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `%` stands for any text.
    Like,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Comparison::Equals => "=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Like => "LIKE",
        }
    }
}

impl Select {
    pub(crate) fn from(entity: &'static str) -> Select {
        Select { entity, conditions: Vec::new(), order: None, start: 1, most: MOST }
    }

    /// `field` is ours or passed [`is_field`]; `value` may be anything.
    pub(crate) fn with(mut self, field: &str, comparison: Comparison, value: &str) -> Select {
        self.conditions.push(format!("{field} {} {}", comparison.sign(), quoted(value)));
        self
    }

    /// A condition on a yes-or-no field, which QuickBooks wants unquoted.
    pub(crate) fn with_flag(mut self, field: &str, value: bool) -> Select {
        self.conditions.push(format!("{field} = {value}"));
        self
    }

    /// Ascending.
    pub(crate) fn order_by(mut self, field: &str) -> Select {
        self.order = Some(field.to_owned());
        self
    }

    /// `skip` is how many of the first to leave out; QuickBooks counts from 1.
    pub(crate) fn page(mut self, skip: u32, most: u32) -> Select {
        self.start = skip.saturating_add(1);
        self.most = most.clamp(1, MOST);
        self
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("select * from {}", self.entity);
        if !self.conditions.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(text, " where {}", self.conditions.join(" and "));
        }
        if let Some(field) = &self.order {
            let _ = write!(text, " orderby {field}");
        }
        let _ = write!(text, " startposition {} maxresults {}", self.start, self.most);
        text
    }
}

/// Whether a text from outside may stand as a field: `Balance`, `MetaData.LastUpdatedTime`.
pub(crate) fn is_field(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.len() <= 64 && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    text.split('.').count() <= 2 && text.split('.').all(word)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_as_quickbooks_documents_it() {
        let query = Select::from("Invoice")
            .with("MetaData.LastUpdatedTime", Comparison::GreaterOrEqual, "2026-01-01T08:00:00Z")
            .with_flag("Active", true)
            .order_by("MetaData.LastUpdatedTime")
            .page(100, 50);
        assert_eq!(
            query.text(),
            "select * from Invoice where MetaData.LastUpdatedTime >= '2026-01-01T08:00:00Z' and Active = true orderby MetaData.LastUpdatedTime startposition 101 maxresults 50"
        );
        assert_eq!(Select::from("Customer").text(), "select * from Customer startposition 1 maxresults 1000");
    }

    #[test]
    fn a_value_can_not_leave_its_quotes() {
        for (value, quoted_value) in
            [("O'Neil", r"'O\'Neil'"), (r"\", r"'\\'"), (r"\' or Id > '0", r"'\\\' or Id > \'0'"), ("", "''")]
        {
            assert_eq!(quoted(value), quoted_value);
        }
    }

    #[test]
    fn only_words_are_fields() {
        for good in ["Id", "Balance", "MetaData.LastUpdatedTime"] {
            assert!(is_field(good), "{good}");
        }
        for bad in ["", ".", "Id ", "Id = '1' or Id", "a.b.c", "Name;", "Ünicode", "1"] {
            assert!(!is_field(bad), "{bad}");
        }
    }

    #[test]
    fn a_page_stays_within_what_quickbooks_gives() {
        assert!(Select::from("Item").page(0, 5_000).text().ends_with("startposition 1 maxresults 1000"));
        assert!(Select::from("Item").page(u32::MAX, 0).text().ends_with("startposition 4294967295 maxresults 1"));
    }
}
